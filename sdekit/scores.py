"""Scores: what a network predicts, read as the pair (D, ε).

With x_t = alpha·x_0 + sigma·ε the pair is D = E[x_0 | x_t] and ε = E[ε | x_t], so that
x = alpha·D + sigma·ε, and the score is ∇ log p_t(x) = −ε / sigma (Tweedie's formula; B. Efron,
"Tweedie's formula and selection bias", JASA 2011, doi:10.1198/jasa.2011.tm11181). The pair is the
canonical object because every single prediction loses something at one end of the path.

A network is any callable `(t, x)`. It receives x of shape (B, *event) and t of shape (B,), in the
type and device of x (t in float32 at least), and returns the shape of x. B is the first axis of x;
where `event_dims` says that several axes count paths they are flattened into one, and where it says
that none does B is 1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from . import arrays
from . import math as sm

__all__ = ["from_denoiser", "from_noise", "from_score", "from_v", "from_velocity"]


class Score(Protocol):
    """What `Reverse` and the samplers need to know about a distribution under a process.

    `event_dims` counts the trailing axes that make up one state; None: all axes but the first.
    """

    @property
    def process(self) -> Any: ...

    @property
    def event_dims(self) -> int | None: ...

    def pair(self, t, x) -> tuple[Any, Any]:
        """(D, ε) at time t, both of x's shape; t is a number or one value per path."""

    def __call__(self, t, x) -> Any:
        """∇ log p_t(x), of x's shape."""


# --- adapters ------------------------------------------------------------------------------------


class Prediction(NamedTuple):
    """A network together with the rule that turns its output into the pair."""

    network: Callable
    process: Any
    event_dims: int | None
    to_pair: Callable

    def pair(self, t, x):
        t, x = weak(t), floating(x)
        return self.to_pair(self.process, t, x, evaluate(self.network, t, x, self.event_dims))

    def __call__(self, t, x):
        t, x = weak(t), floating(x)
        _, sigma = schedule(self.process.marginal(t), x)
        nonzero(sigma, t, "sigma", "the score −ε/sigma is undefined there; use the pair")
        return -self.pair(t, x)[1] / sigma


class Direct(NamedTuple):
    """A network that is the score; without a process it has no pair."""

    network: Callable
    process: Any
    event_dims: int | None

    def pair(self, t, x):
        t, x = weak(t), floating(x)
        alpha, sigma = marginal(self.process, t, x)
        nonzero(alpha, t, "alpha", "a score does not give the denoised state there")
        nonzero(sigma, t, "sigma", "a score does not give the noise there")
        score = self(t, x)
        return (x + sigma * sigma * score) / alpha, -sigma * score

    def __call__(self, t, x):
        return evaluate(self.network, weak(t), floating(x), self.event_dims)


def from_score(fn, process=None, event_dims=None):
    """A network that predicts the score s = ∇ log p_t:  D = (x + sigma² s) / alpha,  ε = −sigma s.

    The pair is undefined at both ends, alpha = 0 and sigma = 0, and raises there.
    """
    return Direct(fn, process, event_dims)


def from_noise(net, process, event_dims=None):
    """A network that predicts the noise ε:  D = (x − sigma ε) / alpha.

    The pair is undefined where alpha = 0 and raises there; so does the score where sigma = 0.
    """
    return Prediction(net, process, event_dims, _noise)


def from_denoiser(net, process, event_dims=None):
    """A network that predicts the clean data D:  ε = (x − alpha D) / sigma.

    The pair and the score are undefined where sigma = 0 and raise there.
    """
    return Prediction(net, process, event_dims, _denoiser)


def from_v(net, process, event_dims=None):
    """A network that predicts v = alpha ε − sigma D.

        D = (alpha x − sigma v) / (alpha² + sigma²),   ε = (sigma x + alpha v) / (alpha² + sigma²)

    Defined at both ends; the score raises where sigma = 0.
    Source: T. Salimans, J. Ho, "Progressive distillation for fast sampling of diffusion models",
    ICLR 2022, arXiv:2202.00512, appendix D (there alpha² + sigma² = 1).
    """
    return Prediction(net, process, event_dims, _v)


def from_velocity(net, process, event_dims=None):
    """A network that predicts the velocity u = alpha′ D + sigma′ ε, in the process's own time.

        D = (sigma′ x − sigma u) / w,   ε = (alpha u − alpha′ x) / w,
        w = alpha sigma′ − alpha′ sigma

    Defined wherever the rates are finite, as at both ends of `FlowPath`, where u = ε − x_0; raises
    elsewhere (`VP` at t = 0, where sigma′ is infinite).
    Source: Y. Lipman et al., "Flow matching for generative modeling", ICLR 2023, arXiv:2210.02747.
    """
    return Prediction(net, process, event_dims, _velocity)


def _noise(process, t, x, eps):
    alpha, sigma = schedule(process.marginal(t), x)
    nonzero(alpha, t, "alpha", "predicted noise does not give the denoised state there")
    return (x - sigma * eps) / alpha, eps


def _denoiser(process, t, x, clean):
    alpha, sigma = schedule(process.marginal(t), x)
    nonzero(sigma, t, "sigma", "a denoised state does not give the noise there")
    return clean, (x - alpha * clean) / sigma


def _v(process, t, x, v):
    alpha, sigma = schedule(process.marginal(t), x)
    total = alpha * alpha + sigma * sigma
    return (alpha * x - sigma * v) / total, (sigma * x + alpha * v) / total


def _velocity(process, t, x, u):
    alpha, sigma, dalpha, dsigma = schedule((*process.marginal(t), *process.rates(t)), x)
    if isinstance(t, float) and not (finite(dalpha) and finite(dsigma)):
        raise ValueError(f"alpha′ or sigma′ is infinite at t = {t}: a velocity gives no pair there")
    det = alpha * dsigma - dalpha * sigma
    return (dsigma * x - sigma * u) / det, (alpha * u - dalpha * x) / det


# --- numpy and torch alike -----------------------------------------------------------------------


def weak(value):
    """Numbers as Python floats, so that x keeps its type; arrays and tensors as they are."""
    return value if arrays.is_tensor(value) or np.ndim(value) else float(value)


def floating(x):
    """x as a floating-point array or tensor; integers become float64 (torch: its default)."""
    if arrays.is_tensor(x):
        return x if x.is_floating_point() else x.to(arrays.torch().get_default_dtype())
    x = np.asarray(x)
    return x if x.dtype.kind == "f" else x.astype(np.float64)


def like(value, x):
    """A number, array or tensor in the array type, floating-point type and device of x."""
    if arrays.is_tensor(x):
        return arrays.torch().as_tensor(value, dtype=x.dtype, device=x.device)
    with np.errstate(over="ignore"):
        return np.asarray(value.detach().cpu() if arrays.is_tensor(value) else value, x.dtype)


def schedule(values, x):
    """Values of a schedule beside x: floats stay, arrays over path axes get x's type and axes."""
    values = [weak(v) for v in values]
    return tuple(v if isinstance(v, float) else sm.expand(like(v, x), x) for v in values)


def marginal(process, t, x):
    """(alpha, sigma) beside x; no process means clean data, (1, 0)."""
    return (1.0, 0.0) if process is None else schedule(process.marginal(t), x)


def path_axes(x, event_dims):
    """The shape of x without the axes of one state."""
    if event_dims is None:
        return tuple(x.shape[:1])
    if x.ndim < event_dims:
        raise ValueError(f"x has shape {tuple(x.shape)}, but a state has event_dims = {event_dims} axes")
    return tuple(x.shape[: x.ndim - event_dims])


def per_path(value, path, x):
    """A number or an array over leading path axes as one value per path: shape (B,), type of x."""
    shape = tuple(getattr(value, "shape", ()))
    if shape != path[: len(shape)]:
        raise ValueError(f"t has shape {shape}; expected () or one value per path, {path}")
    value = like(value, x)
    value = value.reshape(shape + (1,) * (len(path) - len(shape)))
    xp = arrays.torch() if arrays.is_tensor(x) else np
    return xp.broadcast_to(value, path).reshape((math.prod(path),))


def evaluate(network, t, x, event_dims=None):
    """`network(t, x)` called with (B,) and (B, *event); the result has the shape and type of x."""
    path = path_axes(x, event_dims)
    batch = x.reshape((math.prod(path), *x.shape[len(path) :]))
    if arrays.is_tensor(x):
        wide = x.new_empty(0, dtype=arrays.torch().promote_types(x.dtype, arrays.torch().float32))
    else:
        wide = np.empty(0, np.result_type(x.dtype, np.float32))
    out = network(per_path(t, path, wide), batch)
    if getattr(out, "shape", None) != batch.shape:
        got = getattr(out, "shape", type(out).__name__)
        raise ValueError(f"the network returned {got} for x of shape {tuple(batch.shape)}; it must keep that")
    return like(out, x).reshape(x.shape)


def nonzero(value, t, name, why):
    """Raise where a coefficient is zero; a tensor on a device is not waited for and not checked."""
    looked_at = value.device.type == "cpu" if arrays.is_tensor(value) else True
    if looked_at and (value == 0.0 if isinstance(value, float) else bool((value == 0).any())):
        raise ValueError(f"{name}(t) = 0 at t = {t}: {why}")


def finite(value):
    """False for an infinite or undefined number; arrays are not looked at."""
    return not isinstance(value, float) or math.isfinite(value)


def checked(check):
    """Class decorator of a NamedTuple: arguments pass through `check`, which returns the fields.

    A NamedTuple cannot define `__new__` itself. Pickling passes through `check` as well, so it must
    leave its own result alone; `_make` and `_replace` do not.
    """

    def decorate(cls):
        plain = cls.__new__

        @functools.wraps(plain)
        def new(cls, *args, **kwargs):
            return plain(cls, *check(*args, **kwargs))

        cls.__new__ = new
        return cls

    return decorate
