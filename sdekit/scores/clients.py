"""Models of other libraries, called as networks here are."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import arrays
from .. import math as sm
from ..processes import EDM
from ..reprs import line
from .predictions import Prediction, _held, from_denoiser


class Model(NamedTuple):
    """A model called `(x, level[, c])`, whose result is a tensor or has one in `.sample`.

    The level is `time(t)`, and the output is multiplied by `sign`. The second half of twice as many channels as x has
    is left out: a learned variance.
    """

    model: Callable
    time: Callable | None = None
    sign: float = 1.0

    __repr__ = line

    def __call__(self, t, x, *c):
        level = t if self.time is None else self.time(t)
        (condition,) = c or ((),)
        named = isinstance(condition, Mapping)
        more = {name: rowwise(value, x) for name, value in condition.items()} if named else {}
        given = () if named else c
        if _second(self.model) == "timestep":
            out = self.model(x, level, *given, **more)
        else:  # of transformers it is a keyword
            out = self.model(x, *given, timestep=level, **more)
        out = out[0] if isinstance(out, tuple) else getattr(out, "sample", out)
        if x.ndim > 1 and out.ndim == x.ndim and out.shape[1] == 2 * x.shape[1]:
            out = out[:, : x.shape[1]]
        return out if self.sign == 1.0 else self.sign * out

    @property
    def parameters(self):
        return getattr(self.model, "parameters", None)


@functools.lru_cache(256)
def _named(function):
    return list(inspect.signature(function).parameters)


def _second(model):
    """ "timestep" unless a model takes that as a keyword behind its second argument."""
    function = getattr(type(model), "forward", model)
    names = _named(function) if callable(function) else []
    late = names.index("timestep") if "timestep" in names else 0
    return "keyword" if late > 1 + (function is not model) else "timestep"


def rowwise(value, x):
    """Tensors of a condition, nested ones too, in the type and on the device of x; one row stands for all samples."""
    if isinstance(value, Mapping):
        return {name: rowwise(entry, x) for name, entry in value.items()}
    if isinstance(value, np.ndarray) and arrays.is_tensor(x):
        value = arrays.torch().as_tensor(value)
    if not arrays.is_tensor(value) or not arrays.is_tensor(x):
        return value
    value = value.to(x.device, x.dtype if value.is_floating_point() else value.dtype)
    return value.expand(len(x), *value.shape[1:]) if value.ndim and len(value) == 1 else value


class Levelled(NamedTuple):
    """A model in the coordinates alpha² + sigma² = 1 of data divided by `size`, read as a denoiser of the process.

    It is called with `level(alpha, sigma)` of the process, and `read(a, s, x, out)` is its D.
    """

    model: Any
    process: Any
    level: Callable
    read: Callable
    size: float = 1.0

    __repr__ = line

    @property
    def parameters(self):
        return self.model.parameters

    def __call__(self, t, x, *c):
        alpha, sigma = (v + 0.0 * t for v in self.process.marginal(t))
        norm = sm.sqrt(alpha * alpha + (sigma / self.size) ** 2)
        a, s, scale = (sm.expand(v, x) for v in (alpha / norm, sigma / self.size / norm, 1.0 / (norm * self.size)))
        x = x * arrays.to_type(scale, x.dtype)
        out = self.model(self.level(alpha, sigma), x, *c)
        return arrays.to_type(self.size * self.read(a, s, x, out), x.dtype)


# D from what a network predicts, where a² + s² = 1.


def of_noise(a, s, x, out):
    return (x - s * out) / a


def of_clean(a, s, x, out):
    return out


def of_v(a, s, x, out):
    return a * x - s * out


def of_minus_v(a, s, x, out):
    return a * x + s * out


READ = {"epsilon": of_noise, "sample": of_clean, "v_prediction": of_v}


def quarter_log(alpha, sigma):
    """¼ log(sigma/alpha)."""
    return 0.25 * sm.log(sigma / alpha)


def angle(alpha, sigma):
    """The angle arctan(sigma/alpha) as a share of π/2."""
    return sm.arctan2(sigma, alpha) * (2.0 / math.pi)


def from_karras(denoiser: Callable, sigma_max: float = 80.0, *, module: Any = None) -> Prediction:
    """A network `model(x, sigma) -> denoised` of EDM or k-diffusion, sigma of shape (B,), under `EDM(sigma_max)`.

    `score.given(c)` calls `model(x, sigma, c)`, and `model(x, sigma, **c)` where c is a dictionary, as k-diffusion's
    `extra_args`; `on_path` takes it to another process. `module` is the torch module that a function calls.
    Source: T. Karras et al., "Elucidating the design space of diffusion-based generative models", 2022,
    arXiv:2206.00364.
    """
    return from_denoiser(Model(_held(denoiser, module)), EDM(float(sigma_max)))
