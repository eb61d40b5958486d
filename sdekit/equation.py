"""A process as a step sees it: drift and noise as vector-space operations on one state.

A state of k components is an array with the components on the first axis (a `Vec` inside numba
kernels), so that a step adds and scales states without knowing k or the structure of the noise.
"""

import dataclasses
import functools
import inspect
from collections import namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple

from . import arrays


def components(x):
    """The components of a state as a tuple."""
    return tuple(x)


def assemble(items, like):
    """A state shaped like `like` from one value per component, numbers or arrays."""
    if not isinstance(items, (tuple, list)) or len(items) != len(like):
        got = len(items) if isinstance(items, (tuple, list)) else type(items).__name__
        raise ValueError(f"drift and diffusion must return a tuple of {len(like)} values, one per component, got {got}")
    return arrays.stack([like[0] * 0 + item for item in items])


def row_product(row, dw):
    """Σ_j g_j dW_j; a number in place of dw stands for all dW_j."""
    return sum(g * (dw if isinstance(dw, (int, float)) else dw[j]) for j, g in enumerate(row))


def product(rows, dw, like):
    """The matrix-vector product Σ_j g_ij dW_j as a state shaped like `like`."""
    return assemble([row_product(row, dw) for row in rows], like)


# --- the drift, by the form of the state ---


def _single_drift(process, t, x):
    return process.drift(t, x)


def _coupled_drift(process, t, x):
    return assemble(process.drift(t, *components(x)), x)


# --- the noise g dW, by the form of the state and the structure of the noise ---


def _no_noise(process, t, x, dw):
    return 0.0 * x


def _single_noise(process, t, x, dw):
    return process.diffusion(t, x) * dw


def _coupled_noise(process, t, x, dw):
    return assemble(process.diffusion(t, *components(x)), x) * dw


def _single_product(process, t, x, dw):
    return row_product(process.diffusion(t, x)[0], dw)


def _coupled_product(process, t, x, dw):
    return product(process.diffusion(t, *components(x)), dw, x)


class Equation(NamedTuple):
    """What a step sees of a process: f(t, x), g(t, x)·dW, and the process itself for its closed forms."""

    process: Any
    f: Callable
    g: Callable

    def drift(self, t, x):
        return self.f(self.process, t, x)

    def noise(self, t, x, dw):
        return self.g(self.process, t, x, dw)


def equation(process, coupled, noise):
    """The `Equation` of a process with one or several state arguments and a structure of noise."""
    if noise == "none":
        g = _no_noise
    elif noise == "general":
        g = _coupled_product if coupled else _single_product
    else:
        g = _coupled_noise if coupled else _single_noise
    return Equation(process, _coupled_drift if coupled else _single_drift, g)


# --- what a process is ---------------------------------------------------------------------------


class Structure(NamedTuple):
    """What is found out about a process and its state before a solve."""

    components: int | None  # k, or None where one argument holds the state
    channels: int  # m, the noises of a lane
    noise: str  # "none", "diagonal" or "general"
    additive: bool
    event_dims: int


def as_record(process):
    """The process, a dataclass instance converted into a NamedTuple of the same fields and methods.

    So are processes that it holds.
    """
    if path_parameters(process):
        changed = {n: as_record(v) for n, v in zip(process._fields, process) if hasattr(type(v), "drift")}
        return process._replace(**changed) if changed else process
    if not dataclasses.is_dataclass(process) or isinstance(process, type):
        return process
    names = [f.name for f in dataclasses.fields(process)]
    return as_record(_record_class(type(process))(*(getattr(process, n) for n in names)))


@functools.cache
def _record_class(cls):
    names = [f.name for f in dataclasses.fields(cls)]
    kept = {
        name: member
        for base in reversed(cls.__mro__[:-1])
        for name, member in vars(base).items()
        if name not in names and (not name.startswith("__") or name == "__doc__")
    }
    return type(cls.__name__, (namedtuple(cls.__name__, names),), {**kept, "__slots__": ()})


def arguments(function):
    """How many state arguments a function (t, *x) takes; None where it takes any number (`*x`)."""
    parameters = list(inspect.signature(getattr(function, "forward", function)).parameters.values())[1:]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in places and p.default is p.empty for p in parameters)


def structure(process, x, t):
    """The `Structure` of a process for a state like `x` (an array or tensor), its diffusion probed at time `t`.

    Raises a ValueError where the process or the shape of the state does not fit what is declared.
    """
    name = type(process).__name__
    if isinstance(process, type) or not callable(getattr(process, "drift", None)):
        raise ValueError(f"process must have the methods drift(t, *x) and diffusion(t, *x), got {process!r}")
    noise = declared(process, "noise", "diagonal", ("none", "diagonal", "general"))
    declared(process, "calculus", "ito", ("ito", "stratonovich"))
    count = arguments(getattr(process, "states_of", process.drift))
    k = count if count is None or count > 1 else 0  # 0: one argument holds the state
    if k is None and x.ndim:
        k = x.shape[-1]
    if k is None or (k and (x.ndim == 0 or x.shape[-1] != k)):
        raise ValueError(
            f"x0 has shape {tuple(x.shape)}, but {name} has {k or 'several'} components: "
            f"the last axis of x0 must hold them"
        )
    event_dims = getattr(process, "event_dims", 1 if k else 0)
    event_dims = 1 if k else max(x.ndim - 1, 0) if event_dims is None else event_dims
    if event_dims > x.ndim:
        raise ValueError(f"x0 has shape {tuple(x.shape)}, but a state of {name} has {event_dims} axes")
    additive = noise == "none" or bool(getattr(process, "additive", False))
    channels = k or 1
    if noise == "general" and not k and event_dims:
        raise ValueError(f"{name} couples {event_dims} axes in one argument; its noise must be 'diagonal' or 'none'")
    if noise != "none":
        if not callable(getattr(process, "diffusion", None)):
            raise ValueError(
                f"{name} declares noise = {noise!r}, but has no diffusion(t, *x); without noise declare 'none'"
            )
        empty = 0 in x.shape
        first = x[(slice(0, 1) if empty or (event_dims and not k) else 0,) * (x.ndim - event_dims)]
        states = [tuple(y[..., i] for i in range(k)) if k else (y,) for y in (first, first * 1.25 + 0.5)]
        one = with_parameters(process, lambda a: a.reshape(-1)[0] if 0 not in a.shape else 1.0)
        values = [one.diffusion(t, *state) for state in states]
        channels = _channels(name, noise, values[0], k)
        if additive and not _same(*values):
            raise ValueError(f"{name} declares additive = True, but its diffusion depends on the state")
    return Structure(k or None, channels, noise, additive, event_dims)


def path_parameters(record):
    """Names of the fields in which an array holds one value per path: those of a process but its `shared` ones."""
    if not (hasattr(type(record), "drift") and hasattr(record, "_fields")):
        return ()
    return tuple(n for n in record._fields if n not in getattr(type(record), "shared", ()))


def with_parameters(process, convert):
    """The process with `convert(array)` in place of each array that holds one value per path.

    Numbers of numpy's types become Python's, which leave float32 states what they are.
    """
    changed = {}
    for name in path_parameters(process):
        value = getattr(process, name)
        if path_parameters(value):
            changed[name] = with_parameters(value, convert)
        elif getattr(value, "ndim", 0):
            changed[name] = convert(value)
        elif arrays.is_number(value):
            changed[name] = float(value)
    return process._replace(**changed) if changed else process


def declared(process, attribute, default, allowed):
    """A class attribute of the process, checked."""
    value = getattr(process, attribute, default)
    if value not in allowed:
        raise ValueError(f"{type(process).__name__}.{attribute} must be one of {allowed}, got {value!r}")
    return value


def _channels(name, noise, diffusion, k):
    """The number of noises, from a value of the diffusion, which must have the declared structure."""
    rows = diffusion if isinstance(diffusion, (tuple, list)) else None
    matrix = rows is not None and all(isinstance(row, (tuple, list)) for row in rows)
    if noise == "general":
        if not matrix or len(rows) != (k or 1) or len({len(row) for row in rows}) != 1:
            raise ValueError(
                f"{name} declares noise = 'general', so its diffusion must return {k or 1} rows of equal length"
            )
        return len(rows[0])
    if matrix or (rows is not None and len(rows) != k) or (rows is None and k):
        raise ValueError(
            f"{name} declares noise = 'diagonal', so its diffusion must return "
            + (f"a tuple of {k} values" if k else "one value")
        )
    return k or 1


def _same(a, b):
    """Whether two values of a diffusion, numbers, arrays or nested tuples, are equal."""
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    equal = a == b
    return bool(equal.all()) if hasattr(equal, "all") else bool(equal)
