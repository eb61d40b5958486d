"""Calling a network on numpy arrays and torch tensors alike, and checks that scores share."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import arrays
from .. import math as sm
from ..arrays import beside as like
from ..arrays import holds


def weak(value):
    """Numbers as Python floats, so that x keeps its type; arrays and tensors as they are."""
    return value if type(value) is float or arrays.is_tensor(value) or np.ndim(value) else float(value)


def floating(x):
    """x as a floating-point array or tensor; integers become float64 (torch: its default)."""
    if arrays.is_tensor(x):
        return x if x.is_floating_point() else x.to(arrays.torch().get_default_dtype())
    x = np.asarray(x)
    return x if x.dtype.kind == "f" else x.astype(np.float64)


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
    return arrays.broadcast(value, path).reshape((math.prod(path),))


def per_sample(c, path, x):
    """A condition as one value per sample, of shape (B, …); floating-point values get the type of x."""
    if not (hasattr(c, "shape") or isinstance(c, (int, float))):
        return c
    if arrays.is_tensor(x):
        c = arrays.torch().as_tensor(c, device=x.device)
        real = c.is_floating_point()
    else:
        c = np.asarray(c.detach().cpu() if arrays.is_tensor(c) else c)
        real = c.dtype.kind == "f"
    c, shape, count = arrays.to_type(c, x.dtype) if real else c, tuple(c.shape), math.prod(path)
    if path and shape[: len(path)] == path:
        return c.reshape((count, *shape[len(path) :]))
    if shape and shape[0] != 1:
        raise ValueError(f"c has shape {shape}; expected a number, (1, …) or one value per path, {(*path, '…')}")
    return arrays.broadcast(c.reshape(shape or (1,)), (count, *shape[1:]))


def evaluate(network, t, x, event_dims=None, condition=None):
    """`network(t, x[, c])` called with (B,), (B, *event), (B, …); the result has the shape and type of x."""
    path = path_axes(x, event_dims)
    batch = x.reshape((math.prod(path), *x.shape[len(path) :]))
    if arrays.is_tensor(x):
        own = parameter(network)
        batch = batch if own is None else batch.to(own.dtype)
        wide = batch.new_empty(0, dtype=arrays.torch().promote_types(batch.dtype, arrays.torch().float32))
    else:
        if callable(getattr(network, "parameters", None)) and parameter(network) is not None:
            raise ValueError(
                "x is a numpy array, but the network is one of torch; start from a tensor (`Reverse.start`)"
            )
        wide = np.empty(0, np.result_type(x.dtype, np.float32))
    given = () if condition is None else (per_sample(condition, path, batch),)
    out = network(per_path(t, path, wide), batch, *given)
    if getattr(out, "shape", None) != batch.shape:
        got = getattr(out, "shape", type(out).__name__)
        raise ValueError(f"the network returned {got} for x of shape {tuple(batch.shape)}; it must keep that")
    if not (out.is_floating_point() if arrays.is_tensor(out) else np.asarray(out).dtype.kind == "f"):
        raise ValueError(
            f"the network returned values of {out.dtype} for x of {batch.dtype}; they must be real numbers"
        )
    return like(out, x).reshape(x.shape)


HIDDEN = 3  # how many functions deep a torch network is looked for
MANY = 64  # and among how many entries of one that holds several


def parameter(network, depth=HIDDEN):
    """The first floating-point parameter of a torch network, or of one that a function holds or calls; or None."""
    parameters = getattr(network, "parameters", None)
    for own in parameters() if callable(parameters) else ():
        if arrays.is_tensor(own) and own.is_floating_point():
            return own
    for held in _held(network) if depth and not isinstance(network, (type, types.ModuleType)) else ():
        own = parameter(held, depth - 1)
        if own is not None:
            return own
    return None


def _held(function):
    """What a function, bound method, partial, record of functions or container may call."""
    match function:
        case types.FunctionType():
            known, defaults = function.__globals__, function.__defaults__ or ()
            cells = [cell.cell_contents for cell in function.__closure__ or () if cell != types.CellType()]
            named = [known[name] for name in function.__code__.co_names if name in known]
            return [*cells, *defaults, *(function.__kwdefaults__ or {}).values(), *named]
        case functools.partial():
            return [function.func, *function.args, *function.keywords.values()]
        case types.MethodType():
            return [function.__self__]
        case tuple() | list() | set() | frozenset():
            return _callable(function)
        case dict():
            return _callable(function.values())
        case _:
            return _callable(getattr(function, "__dict__", {}).values())


def _callable(values):
    """Those of the first values that may be called, or hold what may be."""
    first = itertools.islice(values, MANY)
    return [v for v in first if callable(v) or isinstance(v, (tuple, list, set, frozenset, dict))]


def network_parameter(score):
    """The first floating-point parameter of the first torch network that a score or a score in it has, or None."""
    own = parameter(getattr(score, "network", None))
    held = (field for field in (score if isinstance(score, tuple) else ()) if hasattr(field, "pair"))
    return own if own is not None else next((p for p in map(network_parameter, held) if p is not None), None)


def example(score):
    """An empty tensor of the kind in which the states of a score's torch network are kept, or None.

    It is on the device and in the type of the network's parameters, but in float32 at least. Where a
    score is made from others the first that has a torch network counts.
    """
    own = network_parameter(score)
    if own is not None:
        return own.new_empty(0, dtype=arrays.torch().promote_types(own.dtype, arrays.torch().float32)).detach()
    return None


class Held(NamedTuple):
    """A function that calls a torch module, from which type and device are read."""

    function: Callable
    module: Any

    def __call__(self, *args):
        return self.function(*args)

    @property
    def parameters(self):
        return self.module.parameters


def known_time(process, t):
    """t, or the first time that networks of the process know (`DiscreteVP`: 0) where t is before it."""
    first = getattr(process, "first_level", None)
    return t if first is None else sm.maximum(t, first)


def nonzero(value, t, name, why):
    """Raise where a coefficient is zero; a tensor on a device is not waited for and not checked."""
    if not holds(value != 0.0):
        raise ValueError(f"{name}(t) = 0 at t = {t}: {why}")


def finite(value):
    """False for an infinite or undefined number; arrays are not looked at."""
    return not isinstance(value, float) or math.isfinite(value)


def differs(a, b):
    """Whether one process is plainly another than the other (numbers are compared, arrays are not)."""
    if a is b or type(a) is not type(b):
        return a is not b
    numbers = (int, float)
    names = [f.name for f in dataclasses.fields(a)] if dataclasses.is_dataclass(a) else getattr(a, "_fields", ())
    pairs = ((getattr(a, name), getattr(b, name)) for name in names)
    return any(isinstance(u, numbers) and isinstance(v, numbers) and u != v for u, v in pairs)


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
