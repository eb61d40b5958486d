"""Elementary functions under one name for Python floats, numpy arrays and torch tensors.

Each function answers in the type it was asked in: a Python float (or int, or `np.float64` scalar)
gives a Python float, an array an array, a tensor a tensor on its device, differentiable. Python
floats are weak: mixed with a float32 array or tensor the result is float32. Where a value leaves
the domain or the range the result is NaN or an infinity, without an exception or a warning.

Inside numba-compiled functions the same names are vectorisable versions of their own, registered
by `sdekit.backends.kernels`; torch is never imported here.
"""

import builtins
import functools
import math
import operator

import numpy as np

from .arrays import alike, bounded, check_table, holds, interp_tensors, is_tensor, single, special, torch

__all__ = [
    "abs", "arccos", "arcsin", "arcsinh", "arctan", "arctan2", "cbrt", "ceil", "clip", "cos", "cosh", "erf", "erfc",
    "exp", "expand", "expm1", "floor", "inside", "interp", "isfinite", "log", "log1p", "maximum", "minimum", "mod",
    "power", "round", "sign", "sin", "sinh", "sqrt", "tan", "tanh", "where",
]  # fmt: skip


NUMBER = (float, int)


def _weak(value):
    """Numbers as Python floats: `np.float64` scalars would widen float32 data."""
    return float(value) if isinstance(value, NUMBER) else value


def _unary(number, arrays=None, tensors=None):
    """Decorator: the function of this name in numpy and torch, for any array type.

    `number` computes it for Python numbers; where it raises, numpy knows which NaN or infinity.
    `arrays` and `tensors` compute it where numpy and torch have no function of this name.
    """

    def decorate(stub):
        name = stub.__name__
        ufunc = arrays or getattr(np, name)

        @functools.wraps(stub)
        def function(x):
            if isinstance(x, NUMBER):
                try:
                    return number(x)
                except (ValueError, OverflowError):
                    with np.errstate(all="ignore"):
                        return float(ufunc(float(x)))
            if is_tensor(x):
                return (tensors or getattr(torch(), name))(x)
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
                except (ValueError, ArithmeticError):
                    with np.errstate(all="ignore"):
                        return float(ufunc(float(x), float(y)))
            x, y = _weak(x), _weak(y)
            if is_tensor(x) or is_tensor(y):
                return tensors(x, y)
            with np.errstate(all="ignore"):
                return ufunc(x, y)

        return function

    return decorate


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


@_unary(math.asin)
def arcsin(x):
    """Inverse sine, in [-pi/2, pi/2]; NaN for |x| > 1."""


@_unary(math.acos)
def arccos(x):
    """Inverse cosine, in [0, pi]; NaN for |x| > 1."""


@_unary(math.sinh)
def sinh(x):
    """Hyperbolic sine, (e^x - e^-x)/2."""


@_unary(math.cosh)
def cosh(x):
    """Hyperbolic cosine, (e^x + e^-x)/2."""


@_unary(math.asinh)
def arcsinh(x):
    """Inverse hyperbolic sine, log(x + sqrt(1 + x^2))."""


@_unary(math.erf, special("erf"))
def erf(x):
    """Error function, 2/sqrt(pi) times the integral of exp(-s^2) over s from 0 to x.

    The normal distribution function is erfc(-x/sqrt(2))/2, which keeps its digits in both tails.
    """


@_unary(math.erfc, special("erfc"))
def erfc(x):
    """1 - erf(x), without cancellation at large x."""


@_unary(lambda x: float(np.cbrt(x)), tensors=lambda x: torch().sign(x) * torch().abs(x) ** (1 / 3))
def cbrt(x):
    """Cube root, that of -x negated for x < 0; its derivative at 0, which is infinite, is NaN on torch."""


@_unary(math.fabs)
def abs(x):
    """Absolute value."""


@_unary(lambda x: float(math.floor(x)))
def floor(x):
    """The largest integer not above x, as a float."""


@_unary(lambda x: float(math.ceil(x)))
def ceil(x):
    """The smallest integer not below x, as a float."""


@_unary(lambda x: float(builtins.round(x)), np.rint)
def round(x):
    """The integer nearest to x, the even one of two, as a float."""


@_unary(lambda x: math.copysign(1.0 if x else 0.0, x) if x == x else math.nan)
def sign(x):
    """-1, 0 or 1; at NaN torch has 0, all others NaN."""


@_unary(math.isfinite)
def isfinite(x):
    """Whether x is neither infinite nor NaN: a bool, or an array of them."""


@_binary(math.pow, lambda x, y: torch().pow(x, y))
def power(x, y):
    """x^y; NaN for x < 0 unless y is an integer; 1 for y = 0."""


@_binary(lambda x, y: x if x < y or x != x else y, bounded("minimum", "max"))
def minimum(x, y):
    """The smaller of the two; NaN if either is NaN."""


@_binary(lambda x, y: x if x > y or x != x else y, bounded("maximum", "min"))
def maximum(x, y):
    """The larger of the two; NaN if either is NaN."""


@_binary(operator.mod, lambda x, y: torch().remainder(*alike(x, y)))
def mod(x, y):
    """x - floor(x/y) y, with the sign of y; NaN for y = 0 and for infinite x."""


@_binary(math.atan2, lambda y, x: torch().arctan2(*alike(y, x)))
def arctan2(y, x):
    """The angle of the point (x, y), in [-pi, pi]."""


def clip(x, lo, hi):
    """x within [lo, hi]: minimum(maximum(x, lo), hi)."""
    return minimum(maximum(x, lo), hi)


def interp(x, xp, fp):
    """The piecewise linear function with value fp[i] at xp[i], computed in float64; constant beyond the ends.

    xp, fp: arrays, tensors or tuples of one length, xp rising; where two are equal the function jumps at
    them and the last one counts. In compiled functions the search of a captured array is vectorised, and a
    tuple, of which each entry is tried, suits tables of up to about 30 knots.
    """
    if is_tensor(x) or is_tensor(xp) or is_tensor(fp):
        return interp_tensors(x, xp, fp)
    xp, fp = np.asarray(xp, np.float64), np.asarray(fp, np.float64)
    check_table(xp, fp)
    if not (xp[1:] >= xp[:-1]).all():
        raise ValueError("xp must not fall: sort it, and fp with it")
    y = np.interp(x, xp, fp)
    return float(y) if isinstance(x, NUMBER) else y.astype(np.result_type(np.asarray(x), np.float16))


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
    if missing <= 0 or single(t):
        return t
    return t.reshape(tuple(t.shape) + (1,) * missing)


def inside(process, t):
    """t, a number or an array of times; a `ValueError` unless all are in `process.domain`."""
    lo, hi = process.domain
    ok = (t >= lo) & (t <= hi)
    if holds(ok):
        return t
    bad = t if isinstance(t, NUMBER) else t[~ok].ravel()[0] if t.ndim else t
    raise ValueError(
        f"t = {float(bad)!r} is outside the domain of {type(process).__name__}; use times with {lo} <= t <= {hi}"
    )
