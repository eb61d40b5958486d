"""Closed forms and checks that several processes share.

x_t = alpha·x_0 + sigma·ε with x_0 clean data. Times are numbers, or arrays of the leading axes of
the state, one value per path. A value that does not depend on time (the alpha of `VE`) is a plain
number whatever the shape of t. Where a formula has a removable singularity its value and its
derivatives are those of the limit.
"""

import math
from typing import Any

import numpy as np

from sdekit import arrays, reprs
from sdekit import math as sm
from sdekit.arrays import holds, like, on_host
from sdekit.laws import LogNormal, Normal
from sdekit.records import values

__all__: list[str] = []

INVERSION_SLACK = 1e-6  # of the domain: room for the rounding of a float32 log_snr at its ends
NEAR = 0.1  # where quotients give way to series: beyond, two derivatives lose at most two digits


def growth(y):
    """(e^y − 1)/y = 1 + y/2! + y²/3! + …"""
    near = sm.abs(y) < NEAR
    a, b = sm.where(near, y, 0.0), sm.where(near, 1.0, y)
    tail = 1.0 + a * (1.0 / 7.0) * (1.0 + a * 0.125 * (1.0 + a * (1.0 / 9.0) * (1.0 + a * 0.1)))
    series = 1.0 + a * (1.0 / 3.0) * (1.0 + a * 0.25 * (1.0 + a * 0.2 * (1.0 + a * (1.0 / 6.0) * tail)))
    return sm.where(near, 1.0 + 0.5 * a * series, sm.expm1(b) / b)


def slowing(y):
    """log(1 + y)/y = 2/(2 + y) · (1 + z/3 + z²/5 + …), z = (y/(2 + y))²."""
    near = sm.abs(y) < NEAR
    a, b = sm.where(near, y, 0.0), sm.where(near, 1.0, y)
    half = 1.0 / (2.0 + a)
    z = a * half * a * half
    series = 1.0 + z * (1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + z * (1 / 13))))))
    return sm.where(near, 2.0 * half * series, sm.log1p(b) / b)


def over(a, b):
    """a/b for a, b >= 0, and inf at b = 0 for every type, Python floats included."""
    zero = b == 0
    return sm.where(zero, math.inf, a / sm.where(zero, 1.0, b))


def root(variance):
    """√variance; where that is 0, at the time of clean data, it counts as constant in the parameters."""
    zero = variance == 0
    return sm.where(zero, 0.0, sm.sqrt(sm.where(zero, 1.0, variance)))


def noising(process):
    """The process itself; raises for what has no marginal alpha·x_0 + sigma·ε."""
    if isinstance(process, type) or not hasattr(process, "marginal"):
        raise ValueError(f"process must be a noising process with a marginal, such as sdekit.VP(), got {process!r}")
    return process


# Checks are made on the host. Code for compiled kernels cannot raise with a text or look at types,
# so such a function names the arithmetic that stands in for it there.


def in_kernels(simple):
    """Decorator: compiled kernels call `simple` in place of the function."""

    def mark(function):
        function.in_kernels = simple
        return function

    return mark


@in_kernels(lambda mean, var: Normal(mean, var))
def normal(mean, var):
    """`Normal` of a variance that needs no check."""
    return Normal._make((mean, var))


@in_kernels(lambda median, log_var: LogNormal(median, log_var))
def log_normal(median, log_var):
    """The same for `LogNormal`."""
    return LogNormal._make((median, log_var))


@in_kernels(lambda s, t: t - s)
def elapsed(s, t):
    """t − s, the length of a transition; raises where t < s."""
    if not holds(s <= t):
        raise ValueError(f"t = {t} is before s = {s}; use s <= t")
    return t - s


def between(process, s, t, x):
    """s and t as they broadcast against x; raises unless both are in the domain and s <= t."""
    s, t = sm.inside(process, s), sm.inside(process, t)
    elapsed(s, t)
    return sm.expand(s, x), sm.expand(t, x)


@in_kernels(lambda process: 0.0)
def centred(process):
    """0, the time of clean data, where mu is 0; else raises: x_t is then no alpha·x_0 + sigma·ε."""
    want = "0 for marginal, rates, time and perturb (subtract the mean, or use transition)"
    require(process, "mu", process.mu == 0, want)
    return 0.0


def require(process, name, condition, want):
    """Raises a ValueError that names the parameter, its value and what it has to be."""
    if not holds(condition):
        value = getattr(process, name)
        raise ValueError(f"{type(process).__name__}: {name} = {value!r} has to be {want}")


def numbers(process, least=(), positive=()):
    """Raises unless the parameters are finite real numbers, or arrays of them.

    Those named in `least` have to be at least 0, those in `positive` above it.
    """
    for name, value in values(process).items():
        require(process, name, arrays.is_real(value), "a real number, or an array of one per path")
        require(process, name, abs(value) < math.inf, "finite")
    for name in least:
        require(process, name, getattr(process, name) >= 0, "at least 0")
    for name in positive:
        require(process, name, getattr(process, name) > 0, "positive")


class Process:
    """What a process of this package is unless it says otherwise; compared and shown as a value, arrays as wholes.

    Subclasses are frozen dataclasses of their parameters (with eq=False, repr=False).
    """

    noise = "diagonal"
    calculus = "ito"
    additive = False
    event_dims = 0
    domain: tuple = (-math.inf, math.inf)
    x0: Any = 1.0

    def __eq__(self, other):
        """Whether two processes are of one class with equal parameters."""
        if type(self) is not type(other):
            return NotImplemented
        pairs = zip(values(self).values(), values(other).values())
        return all(u is v or (np.shape(u) == np.shape(v) and bool(np.all(on_host(u == v)))) for u, v in pairs)

    def __hash__(self):
        """Equal for equal processes; arrays count by their shape."""
        return hash((type(self), *(getattr(value, "shape", value) for value in values(self).values())))

    __repr__ = reprs.line


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
    arrays.without_gradient(type(process).__name__ + " without `time`", log_snr)
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
