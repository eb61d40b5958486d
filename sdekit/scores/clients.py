"""Models of other libraries, called as networks here are."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .. import arrays
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
    if not arrays.is_tensor(value) or not arrays.is_tensor(x):
        return value
    value = value.to(x.device, x.dtype if value.is_floating_point() else value.dtype)
    return value.expand(len(x), *value.shape[1:]) if value.ndim and len(value) == 1 else value


def from_karras(denoiser: Callable, sigma_max: float = 80.0, *, module: Any = None) -> Prediction:
    """A network `model(x, sigma) -> denoised` of EDM or k-diffusion, sigma of shape (B,), under `EDM(sigma_max)`.

    `score.given(c)` calls `model(x, sigma, c)`, and `model(x, sigma, **c)` where c is a dictionary, as k-diffusion's
    `extra_args`; `on_path` takes it to another process. `module` is the torch module that a function calls.
    Source: T. Karras et al., "Elucidating the design space of diffusion-based generative models", 2022,
    arXiv:2206.00364.
    """
    return from_denoiser(Model(_held(denoiser, module)), EDM(float(sigma_max)))
