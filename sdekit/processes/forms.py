"""Closed forms and checks that several processes share.

x_t = alpha·x_0 + sigma·ε with x_0 clean data. Times are numbers, or arrays of the leading axes of
the state, one value per path. A value that does not depend on time (the alpha of `VE`) is a plain
number whatever the shape of t.
"""

import math

import numpy as np

from sdekit import arrays
from sdekit import math as sm

__all__: list[str] = []

INVERSION_SLACK = 1e-6  # of the domain: room for the rounding of a float32 log_snr at its ends


def growth(y):
    """(e^y − 1)/y, and 1 at y = 0."""
    zero = y == 0
    safe = sm.where(zero, 1.0, y)
    return sm.where(zero, 1.0, sm.expm1(safe) / safe)


def over(a, b):
    """a/b for a, b >= 0, and inf at b = 0 for every type, Python floats included."""
    zero = b == 0
    return sm.where(zero, math.inf, a / sm.where(zero, 1.0, b))


def perturb(process, x0, t, z):
    """alpha(t)·x0 + sigma(t)·z: a draw of x_t given clean data x0, from standard normals z."""
    alpha, sigma = process.marginal(t)
    return sm.expand(alpha, x0) * x0 + sm.expand(sigma, x0) * z


# Checks are made on the host. Code for compiled kernels cannot raise with a text or look at types,
# so such a function names the arithmetic that stands in for it there.


def in_kernels(simple):
    """Decorator: compiled kernels call `simple` in place of the function."""

    def mark(function):
        function.in_kernels = simple
        return function

    return mark


@in_kernels(lambda s, t: t - s)
def elapsed(s, t):
    """t − s, the length of a transition; raises where t < s."""
    if not holds(s <= t):
        raise ValueError(f"t = {t} is before s = {s}; use s <= t")
    return t - s


@in_kernels(lambda process: None)
def centred(process):
    """Nothing, where mu is 0; else raises: x_t is then no alpha·x_0 + sigma·ε."""
    want = "0 for marginal, rates, time and perturb (subtract the mean, or use transition)"
    require(process, "mu", process.mu == 0, want)


def holds(condition):
    """Whether a comparison holds in every entry of a number, array or tensor."""
    return bool(condition.all() if hasattr(condition, "all") else condition)


def require(process, name, condition, want):
    """Raises a ValueError that names the parameter, its value and what it has to be."""
    if not holds(condition):
        value = getattr(process, name)
        raise ValueError(f"{type(process).__name__}: {name} = {value} has to be {want}")


def finite(process, *names):
    """Raises unless the parameters are finite numbers, or arrays of them."""
    for name in names:
        try:
            size = abs(getattr(process, name))
        except TypeError:
            require(process, name, False, "a number, or an array of one per path")
        require(process, name, size < math.inf, "finite")


# Inversion of log(alpha/sigma), on the host.


def log_ratio(process, t):
    """log(alpha/sigma) at t: +inf where sigma is 0."""
    alpha, sigma = process.marginal(t)
    return sm.log(alpha) - sm.log(sigma)


def unreached(process, log_snr):
    """The error for a log_snr that does not occur in the domain."""
    lo, hi = process.domain
    reach = "" if hi == math.inf else f": {log_ratio(process, hi)} to {log_ratio(process, lo)} do"
    return ValueError(f"log_snr = {log_snr} does not occur in {type(process).__name__}{reach}")


def into_domain(process, t, log_snr):
    """t clipped to the domain where rounding left it; raises where log_snr does not occur there."""
    lo, hi = process.domain
    slack = INVERSION_SLACK * (hi - lo) if hi < math.inf else 0.0
    if not holds((t >= lo - slack) & (t <= hi + slack)):
        raise unreached(process, log_snr)
    return sm.minimum(sm.maximum(t, lo), hi)


def time_of(process, log_snr):
    """The t at which log(alpha/sigma) = log_snr: the process's own `time`, or else by bisection."""
    return process.time(log_snr) if hasattr(process, "time") else bisect_time(process, log_snr)


def bisect_time(process, log_snr):
    """The t of the domain at which log(alpha/sigma) = log_snr, by bisection in float64.

    log(alpha/sigma) has to fall strictly in t on a finite domain. Arrays are inverted entry by
    entry and keep their type; values that do not occur raise a ValueError.
    """
    lo, hi = (float(end) for end in process.domain)
    target = on_host(log_snr)
    top, bottom = log_ratio(process, lo), log_ratio(process, hi)
    slack = INVERSION_SLACK * (1.0 + abs(bottom))
    if not np.all((target <= top + slack) & (target >= bottom - slack)):
        raise unreached(process, log_snr)
    if isinstance(log_snr, (float, int)) and isinstance(top, float):
        return lo if log_snr >= top else _bisect_number(process, float(log_snr), lo, hi)
    left = np.where(target <= bottom, hi, np.full(target.shape, lo))
    right = np.where(target >= top, lo, np.full(target.shape, hi))
    while np.any((left < (middle := 0.5 * (left + right))) & (middle < right)):
        early = log_ratio(process, middle) > target
        left, right = np.where(early, middle, left), np.where(early, right, middle)
    return like(log_snr, right)


def _bisect_number(process, target, left, right):
    """The same for one number, in Python floats, which is an order of magnitude quicker."""
    while left < (middle := 0.5 * (left + right)) < right:
        left, right = (middle, right) if log_ratio(process, middle) > target else (left, middle)
    return right


def on_host(value):
    """A float64 numpy array of a number, array or tensor."""
    value = value.detach().cpu().numpy() if arrays.is_tensor(value) else value
    return np.asarray(value, dtype=np.float64)


def like(value, result):
    """A float64 numpy array as what `value` is: a float, an array or a tensor, in its precision."""
    if arrays.is_tensor(value):
        return (value if value.is_floating_point() else value.double()).new_tensor(result)
    if isinstance(value, (float, int)):
        return float(result) if result.ndim == 0 else result
    return result.astype(value.dtype, copy=False) if value.dtype.kind == "f" else result
