"""Moments and covariances: power sums about a pivot, whose leaves are added exactly."""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from .. import reprs
from ..backends import kernel_module
from ..checks import real
from .exactly import exact_sum, rounded
from .part import LEAF

__all__ = ["Covariance", "Moments", "comoments", "covariance", "moments"]


def kernel(name, x):
    """A compiled function for states of the type of x."""
    return kernel_module("sums").compiled(name, x.dtype)


def deviate(level):
    """The standard normal z that |Z| exceeds with probability 1 − level."""
    return NormalDist().inv_cdf(0.5 + real("level", level, above=0, below=1) / 2)


def central(m1, m2, m3, m4):
    """The central moments 2, 3 and 4 of means of powers."""
    return m2 - m1 * m1, m3 - 3 * m1 * m2 + 2 * m1**3, m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4


def _ratio(a, b):
    """a/b, NaN or infinite where b is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return a / b


class Moments(NamedTuple):
    """Moments over the paths; arrays are of shape (times, *further path axes, *event).

    count     values that are finite
    mean      their mean
    variance  with the denominator count − 1
    third     central moment Σ(x − mean)³/count
    fourth    central moment Σ(x − mean)⁴/count

    Rounding is some 1e-14 of the moments about the first path, which is as good as exact unless that path is hundreds
    of standard deviations from the mean.
    """

    count: Any
    mean: np.ndarray
    variance: np.ndarray
    third: np.ndarray
    fourth: np.ndarray

    __repr__ = reprs.line

    @property
    def std(self):
        return np.sqrt(self.variance)

    @property
    def stderr(self):
        """Of the mean: std/√count."""
        return np.sqrt(_ratio(self.variance, self.count))

    @property
    def skewness(self):
        """third/σ³ with σ² = Σ(x − mean)²/count; NaN where that is 0."""
        return _ratio(self.third, self._spread**1.5)

    @property
    def kurtosis(self):
        """fourth/σ⁴: 3 for a normal law."""
        return _ratio(self.fourth, self._spread**2)

    @property
    def _spread(self):
        return self.variance * _ratio(self.count - 1, self.count)

    def mean_interval(self, level=0.95):
        """(low, high): mean ± z·stderr, the normal approximation."""
        return self.mean - deviate(level) * self.stderr, self.mean + deviate(level) * self.stderr

    def variance_interval(self, level=0.95):
        """(low, high): variance ± z √((μ₄ − σ⁴)/count), for many paths."""
        error = deviate(level) * np.sqrt(np.maximum(self.fourth - self._spread**2, 0) / self.count)
        return self.variance - error, self.variance + error


@dataclass(frozen=True)
class _Moments:
    name = "moments"

    def collect(self, part):
        sums = np.empty((len(part.cuts) - 1, *part.pivot.shape, 5))
        kernel("power_sums", part.x)(part.x, part.pivot, part.cuts, np.empty(LEAF), sums)
        return exact_sum(sums)

    def combine(self, total, state):
        return state if total is None else total + state

    def conclude(self, total, part):
        n, s1, s2, s3, s4 = np.moveaxis(rounded(total), -1, 0)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            second, third, fourth = central(s1 / n, s2 / n, s3 / n, s4 / n)
            variance = np.maximum(second, 0) * n / (n - 1)
            found = n.astype(np.int64), part.pivot + s1 / n, variance, third, fourth
        return Moments(*(value.reshape(part.shape) for value in found))

    def __repr__(self):
        return self.name


class Covariance(NamedTuple):
    """Covariances over the paths of which all K values are finite.

    count       (*entries) such paths
    mean        (*entries, K)
    covariance  (*entries, K, K) with the denominator count − 1

    `covariance` has K components for each time and further path; `comoments` has K times for each entry of a state.
    """

    count: Any
    mean: np.ndarray
    covariance: np.ndarray

    __repr__ = reprs.line

    @property
    def correlation(self):
        """covariance over the product of the standard deviations; NaN where one of them is 0."""
        std = np.sqrt(np.diagonal(self.covariance, axis1=-2, axis2=-1))
        return _ratio(self.covariance, std[..., :, None] * std[..., None, :])


@dataclass(frozen=True)
class _Products:
    name: str

    def collect(self, part):
        pivot = self._grouped(part.pivot[:, None], part)
        sums = np.empty((len(part.cuts) - 1, *pivot.shape[:2], pivot.shape[1] + 2))
        d = np.empty((*pivot.shape[:2], LEAF))
        for leaf, (a, b) in enumerate(zip(part.cuts, part.cuts[1:])):
            x = self._grouped(part.x[:, a:b], part)
            good = np.isfinite(x).all(1, keepdims=True)
            d[..., b - a :] = 0
            d[..., : b - a] = np.where(good, x - pivot, 0)
            sums[leaf, ..., -1] = good.sum(-1)
            kernel("products", d)(d, sums[leaf])
        return exact_sum(sums)

    def _grouped(self, x, part):
        """x (times, paths, entries) as (entries of the result, K, paths)."""
        if self.name == "comoments":
            return x.transpose(2, 0, 1)
        x = x.reshape(*x.shape[:2], -1, part.events)
        return x.transpose(0, 2, 3, 1).reshape(-1, part.events, x.shape[1])

    def combine(self, total, state):
        return state if total is None else total + state

    def conclude(self, total, part):
        total = rounded(total)
        n, first, second = total[:, :1, -1], total[..., 0], total[..., 1:-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self._grouped(part.pivot[:, None], part)[..., 0] + first / n
            covariance = (second - first[:, :, None] * first[:, None, :] / n[..., None]) / (n[..., None] - 1)
        times, *rest = part.shape
        k = mean.shape[1]
        shape = rest if self.name == "comoments" else [times, *rest[: len(rest) - part.sol.event_dims]]
        return Covariance(n.reshape(shape).astype(np.int64), mean.reshape(*shape, k), covariance.reshape(*shape, k, k))

    def __repr__(self):
        return self.name


moments, covariance, comoments = _Moments(), _Products("covariance"), _Products("comoments")
