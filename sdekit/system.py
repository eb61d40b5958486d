"""A process bound to its state: what is found out about both before a solve, once, for all who step."""

import functools
import inspect
import types
from typing import Any, NamedTuple

import numpy as np

from . import arrays
from .equation import equation
from .probe import Probe
from .records import parameters, path_parameters, replaced, title, values
from .steps import sequence

__all__ = ["System", "bind", "declared", "state_arguments"]


class System(NamedTuple):
    """A process and the form of its state, checked.

    process      the process as a record
    components   k, or None where one argument holds the state
    channels     m, the noises of a path
    noise        "none", "diagonal" or "general", as declared
    additive     whether the noise does not depend on the state
    crossing     None, or what of the diffusion depends on another component: noise that does not commute
    commutative  whether general noise is declared to commute
    event_dims   axes at the end of x0 that make up one state
    path_shape   the path axes: those of x0 broadcast with the shapes of array parameters
    correlation  None, or the lower factor (k, k) that every normal of a step is multiplied by
    jumps        times at which the coefficients jump, float64, increasing
    """

    process: Any
    components: int | None
    channels: int
    noise: str
    additive: bool
    crossing: str | None
    commutative: bool
    event_dims: int
    path_shape: tuple[int, ...]
    correlation: Any
    jumps: np.ndarray

    @property
    def equation(self):
        """What a step sees."""
        coupled, crosses = self.components is not None, self.crossing is not None
        return equation(self.process, coupled, self.noise, self.event_dims, crosses)

    @property
    def kind(self):
        """The kind of noise that a method has to serve: "none", "additive", "diagonal" or "general"."""
        if self.noise == "none":
            return "none"
        if self.additive:
            return "additive"
        return "general" if self.crossing else self.noise

    @property
    def areas(self):
        """How many noises have Lévy areas, which their iterated integrals do not come without; 0 where they commute."""
        return self.channels if self.kind == "general" and not self.commutative and self.channels > 1 else 0

    @property
    def name(self):
        return title(self.process)


def bind(process, x0, t0):
    """The `System` of a process and states like `x0`, an array or tensor, path axes first, at time `t0`.

    The diffusion is probed on the first path. Raises a ValueError where the process, its parameters or the shape of
    the state do not fit what is declared.
    """
    process = _checked(process, x0)
    name = title(process)
    noise = declared(process, "noise", "diagonal", ("none", "diagonal", "general"))
    declared(process, "calculus", "ito", ("ito", "stratonovich"))
    if noise != "none" and not callable(getattr(process, "diffusion", None)):
        raise ValueError(
            f"{name} declares noise = {noise!r}, but has no diffusion(t, *x); without noise declare 'none'"
        )
    k, event_dims = _form(process, x0)
    additive = noise == "none" or bool(getattr(process, "additive", False))
    commutative = bool(getattr(process, "commutative", False))
    channels, crossing = k or 1, None
    if noise != "none":
        with np.errstate(all="ignore"):
            probe = Probe(process, x0, float(t0), k, event_dims)
            channels = probe.channels(noise)
            probe.check_additive(additive)
            if noise == "diagonal" and not additive and not commutative:
                crossing = probe.crossing()
            if noise == "general" and commutative:
                probe.check_commutative()
    path_shape = _path_shape(process, tuple(x0.shape[: x0.ndim - event_dims]))
    correlation, jumps = _correlation(process, noise, k), _jumps(process)
    kept = {"correlation": correlation, "jumps": jumps}  # as arrays, which compile once whatever their values
    process = replaced(process, **{n: kept[n] for n, v in values(process).items() if n in kept and v is not None})
    return System(
        process, k, channels, noise, additive, crossing, commutative, event_dims, path_shape, correlation, jumps
    )


def declared(process, attribute, default, allowed):
    """A class attribute of the process, checked."""
    value = getattr(process, attribute, default)
    if value not in allowed:
        raise ValueError(f"{title(process)}.{attribute} must be one of {allowed}, got {value!r}")
    return value


@functools.lru_cache(1024)
def _signature(function):
    return list(inspect.signature(function).parameters.values())


def state_arguments(function, name="drift"):
    """How many state arguments a function (t, *x) takes; None where it takes any number (`*x`).

    Raises where an argument named t is not the first.
    """
    function = getattr(function, "forward", function)
    bound = isinstance(function, types.MethodType)
    every = _signature(function.__func__)[1:] if bound else _signature(function)
    if any(p.name == "t" for p in every[1:]):
        raise ValueError(f"{name} takes ({', '.join(p.name for p in every)}), but the time t comes first: (t, x)")
    if any(p.kind is p.VAR_POSITIONAL for p in every[1:]):
        return None
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in places and p.default is p.empty for p in every[1:])


# --- process and parameters ----------------------------------------------------------------------


def _checked(process, x0):
    """The process, whose parameters are numbers or arrays of them."""
    if isinstance(process, type):
        raise ValueError(
            f"process must be an object with its parameters, got the class {process.__name__}; call it first"
        )
    if not callable(getattr(process, "drift", None)):
        raise ValueError(f"process must have the methods drift(t, *x) and diffusion(t, *x), got {process!r}")
    for owner, name, value in parameters(process):
        _parameter(owner, name, value)
        if getattr(value, "requires_grad", False) and not arrays.is_tensor(x0):
            raise ValueError(f"{name} of {owner} requires a gradient, which arrays do not carry; give x0 as a tensor")
    return process


def _parameter(owner, name, value):
    """Raise for what is no real number, nor an array of them."""
    if isinstance(value, list):
        raise ValueError(f"{name} of {owner} is a list; give a number, or an array of one per path")
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{name} of {owner} is a masked array; fill it, or drop the masked paths")
    if arrays.is_tensor(value):
        kind = "c" if value.is_complex() else "b" if value.dtype == arrays.torch().bool else "f"
    else:
        kind = "c" if isinstance(value, complex) else getattr(getattr(value, "dtype", None), "kind", None)
    if kind is not None and kind not in ("iuf" if getattr(value, "ndim", 0) else "biuf"):
        what = getattr(value, "dtype", type(value).__name__)
        raise ValueError(f"{name} of {owner} must hold real numbers, got {what}")


def _form(process, x):
    """(k or None, event_dims) of a process for states like x."""
    name = title(process)
    count = state_arguments(getattr(process, "states_of", process.drift), f"drift of {name}")
    if callable(getattr(process, "diffusion", None)):
        state_arguments(process.diffusion, f"diffusion of {name}")
    k = count if count is None or count > 1 else 0  # 0: one argument holds the state
    if k is None and x.ndim:
        k = x.shape[-1]
    if k is None or (k and (x.ndim == 0 or x.shape[-1] != k)):
        raise ValueError(
            f"x0 has shape {tuple(x.shape)}, but {name} has {k or 'several'} components: "
            f"the last axis of x0 must hold them, and drift takes (t, {', '.join('xyz'[: k or 2])}…) one by one"
        )
    dims = 1 if k else getattr(process, "event_dims", 0)
    dims = max(x.ndim - 1, 0) if dims is None else dims
    if type(dims) is not int or dims < 0:
        raise ValueError(f"{name}.event_dims must be an integer >= 0 or None, got {dims!r}")
    if dims > x.ndim:
        raise ValueError(f"x0 has shape {tuple(x.shape)}, but a state of {name} has {dims} axes")
    return k or None, dims


def _path_shape(process, path):
    """The path axes of x0 broadcast with the shapes of the array parameters."""
    for owner, name, value in parameters(process):
        if getattr(value, "ndim", 0) and not path_parameters(value):
            try:
                path = np.broadcast_shapes(path, tuple(value.shape))
            except ValueError:
                raise ValueError(
                    f"{name} of {owner} has shape {tuple(value.shape)}, which does not broadcast with the path axes "
                    f"{path} of x0; give a number, or one value per path. With x0 of the shape of a parameter, paths=n "
                    f"runs n paths of each value"
                ) from None
    return path


def _jumps(process):
    """The declared jumps as increasing float64 times."""
    jumps = getattr(process, "jumps", None)
    return np.empty(0) if jumps is None else np.unique(sequence(f"jumps of {title(process)}", jumps)[0])


def _correlation(process, noise, k):
    """The lower factor of the declared correlation, or None."""
    given = getattr(process, "correlation", None)
    if given is None:
        return None
    name = f"correlation of {title(process)}"
    if noise != "diagonal" or not k:
        raise ValueError(f"{name} is given, but it is for diagonal noise on two or more components")
    if getattr(given, "requires_grad", False):
        raise ValueError(f"{name} requires a gradient, which is not offered: write the noise as general")
    matrix = given.cpu().numpy() if arrays.is_tensor(given) else np.asanyarray(given)
    if not arrays.is_real(matrix) or matrix.shape != (k, k) or not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be a matrix of shape {(k, k)}, the same for all paths; got shape {matrix.shape}")
    matrix = matrix.astype(np.float64)
    if np.array_equal(matrix, np.tril(matrix)):
        if not np.allclose((matrix**2).sum(1), 1, atol=1e-6):
            raise ValueError(f"{name} is a lower factor; its rows must have norm 1, got {(matrix**2).sum(1) ** 0.5}")
        return matrix
    if not (np.allclose(matrix, matrix.T, atol=1e-6) and np.allclose(np.diag(matrix), 1, atol=1e-6)):
        raise ValueError(f"{name} must be symmetric with ones on its diagonal, or a lower factor; got {matrix}")
    values, vectors = np.linalg.eigh(matrix)
    if values[0] < -1e-6:
        raise ValueError(f"{name} must be positive semidefinite; its least eigenvalue is {values[0]:.3g}")
    upper = np.linalg.qr((vectors * np.sqrt(values.clip(0))).T, mode="r")  # singular ones have no Cholesky factor
    return upper.T * np.where(np.diag(upper) < 0, -1.0, 1.0)
