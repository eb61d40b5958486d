"""Elementary functions under one name for Python floats, numpy arrays and torch tensors.

Each function answers in the type it was asked in: a Python float (or int, or `np.float64` scalar)
gives a Python float, an array an array, a tensor a tensor on its device, differentiable. Python
floats are weak: mixed with a float32 array or tensor the result is float32. Where a value leaves
the domain or the range the result is NaN or an infinity, without an exception or a warning.

Inside numba-compiled functions the same names are vectorisable versions of their own, registered
by `sdekit.backends.kernels`; torch is never imported here.
"""

import functools
import math

import numpy as np

from .arrays import is_tensor, torch

__all__ = [
    "abs", "arctan", "cos", "exp", "expand", "expm1", "floor", "inside", "isfinite", "log", "log1p",
    "maximum", "minimum", "power", "sign", "sin", "sqrt", "tan", "tanh", "where",
]  # fmt: skip


NUMBER = (float, int)


def _weak(value):
    """Numbers as Python floats: `np.float64` scalars would widen float32 data."""
    return float(value) if isinstance(value, NUMBER) else value


def _unary(number):
    """Decorator: the function of this name in numpy and torch, for any array type.

    `number` computes it for Python numbers; where it raises, numpy knows which NaN or infinity.
    """

    def decorate(stub):
        name = stub.__name__
        ufunc = getattr(np, name)

        @functools.wraps(stub)
        def function(x):
            if isinstance(x, NUMBER):
                try:
                    return number(x)
                except (ValueError, OverflowError):
                    with np.errstate(all="ignore"):
                        return float(ufunc(float(x)))
            if is_tensor(x):
                return getattr(torch(), name)(x)
            with np.errstate(all="ignore"):
                return ufunc(x)

        return function

    return decorate


def _binary(number, tensors):
    """The same for two arguments, of which one may be a number: `tensors` is the torch version."""

    def decorate(stub):
        ufunc = getattr(np, stub.__name__)

        @functools.wraps(stub)
        def function(x, y):
            if isinstance(x, NUMBER) and isinstance(y, NUMBER):
                try:
                    return number(float(x), float(y))
                except (ValueError, OverflowError):
                    with np.errstate(all="ignore"):
                        return float(ufunc(float(x), float(y)))
            x, y = _weak(x), _weak(y)
            if is_tensor(x) or is_tensor(y):
                return tensors(x, y)
            with np.errstate(all="ignore"):
                return ufunc(x, y)

        return function

    return decorate


def _bounded(name, bound):
    """torch.minimum or torch.maximum, which take no numbers, or the clamp that does."""

    def function(x, y):
        if is_tensor(x) and is_tensor(y):
            return getattr(torch(), name)(x, y)
        return x.clamp(**{bound: y}) if is_tensor(x) else y.clamp(**{bound: x})

    return function


@_unary(math.exp)
def exp(x):
    """e^x."""


@_unary(math.expm1)
def expm1(x):
    """e^x - 1, without cancellation at small x."""


@_unary(math.log)
def log(x):
    """Natural logarithm; -inf at 0, NaN below."""


@_unary(math.log1p)
def log1p(x):
    """log(1 + x), without cancellation at small x."""


@_unary(math.sqrt)
def sqrt(x):
    """Square root; NaN below 0."""


@_unary(math.sin)
def sin(x):
    """Sine of x in radians."""


@_unary(math.cos)
def cos(x):
    """Cosine of x in radians."""


@_unary(math.tan)
def tan(x):
    """Tangent of x in radians."""


@_unary(math.tanh)
def tanh(x):
    """Hyperbolic tangent."""


@_unary(math.atan)
def arctan(x):
    """Inverse tangent, in [-pi/2, pi/2]."""


@_unary(math.fabs)
def abs(x):
    """Absolute value."""


@_unary(lambda x: float(math.floor(x)))
def floor(x):
    """The largest integer not above x, as a float."""


@_unary(lambda x: math.copysign(1.0 if x else 0.0, x) if x == x else math.nan)
def sign(x):
    """-1, 0 or 1; at NaN torch has 0, all others NaN."""


@_unary(math.isfinite)
def isfinite(x):
    """Whether x is neither infinite nor NaN: a bool, or an array of them."""


@_binary(math.pow, lambda x, y: torch().pow(x, y))
def power(x, y):
    """x^y; NaN for x < 0 unless y is an integer; 1 for y = 0."""


@_binary(lambda x, y: x if x < y or x != x else y, _bounded("minimum", "max"))
def minimum(x, y):
    """The smaller of the two; NaN if either is NaN."""


@_binary(lambda x, y: x if x > y or x != x else y, _bounded("maximum", "min"))
def maximum(x, y):
    """The larger of the two; NaN if either is NaN."""


def where(condition, x, y):
    """x where the condition holds, else y; both are evaluated.

    Two numbers make an array of numpy's or torch's default floating-point type.
    """
    if isinstance(condition, (bool, np.bool_)) and isinstance(x, NUMBER) and isinstance(y, NUMBER):
        return float(x if condition else y)
    x, y = _weak(x), _weak(y)
    if not (is_tensor(condition) or is_tensor(x) or is_tensor(y)):
        return np.where(condition, x, y)
    if not is_tensor(condition):
        device = (x if is_tensor(x) else y).device
        condition = torch().as_tensor(condition, dtype=torch().bool, device=device)
    return torch().where(condition, x, y)


def expand(t, x):
    """t, one value for each of the leading axes of x, with trailing axes to broadcast against x.

    (B,) against (B, C, H, W) becomes (B, 1, 1, 1). A number stays as it is.
    """
    missing = getattr(x, "ndim", 0) - getattr(t, "ndim", 0)
    if missing <= 0 or isinstance(t, NUMBER):
        return t
    return t.reshape(tuple(t.shape) + (1,) * missing)


def inside(process, t):
    """t, a number or an array of times; a `ValueError` unless all are in `process.domain`."""
    lo, hi = process.domain
    ok = (t >= lo) & (t <= hi)
    if ok if isinstance(ok, bool) else ok.all():
        return t
    bad = t if isinstance(t, NUMBER) else t[~ok].ravel()[0] if t.ndim else t
    raise ValueError(
        f"t = {float(bad)!r} is outside the domain of {type(process).__name__}; use times with {lo} <= t <= {hi}"
    )
