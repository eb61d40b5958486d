"""Statistics made of integers: extremes, histograms, quantiles, and what became of the paths."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import reprs
from ..checks import array, real, shown
from ..solution import host
from .sums import deviate, kernel

__all__ = ["Extremes", "Histogram", "Quantiles", "extremes", "histogram", "quantiles", "tally"]


class Extremes(NamedTuple):
    """The extremes over the paths, each (times, *further path axes, *event); NaN and −1 where nothing is finite.

    least, least_path      the least value, and the index of the path that has it first
    largest, largest_path  the largest value, and the index of the path that has it first
    """

    least: np.ndarray
    least_path: np.ndarray
    largest: np.ndarray
    largest_path: np.ndarray

    __repr__ = reprs.line


@dataclass(frozen=True)
class _Extremes:
    name = "extremes"

    def collect(self, part):
        good, found = np.isfinite(part.x), []
        for sign in (1, -1):
            x = np.where(good, sign * part.x.astype(np.float64, copy=False), math.inf)
            row = x.argmin(1)
            found.append((np.take_along_axis(x, row[:, None], 1)[:, 0], part.first + row))
        return tuple(np.stack(each) for each in zip(*found))

    def combine(self, total, state):
        if total is None:
            return state
        closer = state[0] < total[0]
        return tuple(np.where(closer, new, old) for new, old in zip(state, total))

    def conclude(self, total, part):
        values, paths = total
        none = np.isinf(values)
        values, paths = np.where(none, np.nan, values), np.where(none, -1, paths)
        return Extremes(*(v.reshape(part.shape) for v in (values[0], paths[0], -values[1], paths[1])))

    def __repr__(self):
        return self.name


extremes = _Extremes()


class Histogram(NamedTuple):
    """Counts over the paths.

    edges   (bins + 1,)
    counts  (times, *further path axes, *event, bins) values in edges[i] <= x < edges[i + 1]
    below   (times, …) values below the first edge
    above   (times, …) values from the last edge on
    """

    edges: np.ndarray
    counts: np.ndarray
    below: np.ndarray
    above: np.ndarray

    __repr__ = reprs.line

    @property
    def density(self):
        """Share of all finite values in a bin over its width."""
        total = self.counts.sum(-1) + self.below + self.above
        return self.counts / total[..., None] / np.diff(self.edges)


@dataclass(frozen=True, init=False, eq=False)
class histogram:
    """Counts in bins with these increasing edges: a `Histogram`."""

    edges: np.ndarray
    name = "histogram"

    def __init__(self, edges):
        edges = array("edges", edges)
        if edges.ndim != 1 or len(edges) < 2 or edges.dtype.kind not in "iuf" or not (np.diff(edges) > 0).all():
            raise ValueError(f"edges must be at least two increasing numbers, got {shown(edges)}")
        if not np.isfinite(edges).all():
            raise ValueError("edges must be finite: what lies outside of them is counted as below and above")
        object.__setattr__(self, "edges", edges.astype(np.float64))

    def collect(self, part):
        counts = np.zeros((*part.pivot.shape, len(self.edges) + 1), np.int64)
        kernel("binned", part.x)(part.x, self.edges, counts)
        return counts

    def combine(self, total, state):
        return state if total is None else total + state

    def conclude(self, total, part):
        counts = total.reshape(*part.shape, -1)
        return Histogram(self.edges, counts[..., 1:-1], counts[..., 0], counts[..., -1])


class Quantiles(NamedTuple):
    """Quantiles over the paths, of shape (levels, times, *further path axes, *event); NaN where nothing is finite.

    levels    of the quantiles
    values    within accuracy·|q| + floor of q, the value of rank ⌈level·count⌉ of `count` finite ones
    low, high  bounds of the quantile of the law with 95 % confidence: of the bins at the ranks
              level·count ± 1.96 √(level (1 − level) count), the normal approximation of the binomial law
    count     (times, …) finite values
    accuracy  relative, as it is: half the width of a bin
    floor     absolute
    """

    levels: tuple[float, ...]
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: Any
    accuracy: float
    floor: float

    __repr__ = reprs.line


@dataclass(frozen=True, init=False)
class quantiles:
    """Quantiles at these levels from integer counts: `Quantiles`.

    accuracy  of a value relative to it
    floor     values of less than that in size are taken as zero

    A bin holds the numbers that share sign, exponent and leading bits of the fraction: each power of 2 is cut into
    2^p equal bins with 2^−(p+1) <= accuracy. Bins are found without a logarithm, so that all machines agree. For values
    of one sign between 2^a and 2^b a time has (b − a) 2^p counts at most.
    Source: C. Masson, J. Rim, H. Lee, "DDSketch", 2019, arXiv:1908.10693, with linear bins between powers of 2.
    """

    levels: tuple[float, ...]
    accuracy: float
    floor: float
    name = "quantiles"

    def __init__(self, levels, accuracy=1e-3, floor=1e-9):
        if not np.iterable(levels) or isinstance(levels, str) or not getattr(levels, "__len__", int)():
            raise ValueError(f"levels must be a sequence of numbers between 0 and 1, got {shown(levels)}")
        object.__setattr__(self, "levels", tuple(real("levels", q, 0, 1) for q in levels))
        object.__setattr__(self, "accuracy", real("accuracy", accuracy, least=2.0**-20, below=0.5))
        object.__setattr__(self, "floor", real("floor", floor, least=2.0**-1022, below=math.inf))

    @property
    def _bits(self):
        """(bits that are left out, number of the floor's bin less one)."""
        shift = 52 - max(0, math.ceil(-math.log2(2 * self.accuracy)))
        return shift, (int(np.float64(self.floor).view(np.int64)) >> shift) - 1

    def collect(self, part):
        found = []
        count = kernel("sketched", part.x)
        for t, e in np.ndindex(part.pivot.shape):
            low, counts = count(part.x, t, e, *self._bits)
            at = np.flatnonzero(counts)
            found.append((low + at, counts[at]))
        return found

    def combine(self, total, state):
        total = [(0, np.zeros(0, np.int64))] * len(state) if total is None else total
        return [_counted(*old, *new) for old, new in zip(total, state)]

    def conclude(self, total, part):
        rows = [self._found(low, counts) for low, counts in total]
        values = np.array(rows).reshape(*part.shape, 3, -1)
        values, low, high = np.moveaxis(values, (-2, -1), (0, 1))
        count = np.array([counts.sum() for _, counts in total]).reshape(part.shape)
        return Quantiles(self.levels, values, low, high, count, 2.0 ** -(53 - self._bits[0]), self.floor)

    def _found(self, low, counts):
        """(3, levels) values and bounds from the counts of the bins low, low + 1, …"""
        n, levels = int(counts.sum()), np.array(self.levels)
        if n == 0:
            return np.full((3, len(levels)), np.nan)
        spread = deviate(0.95) * np.sqrt(levels * (1 - levels) * n)
        ranks = np.stack([np.ceil(levels * n), np.floor(levels * n - spread), np.ceil(levels * n + spread) + 1])
        bins = low + np.searchsorted(counts.cumsum(), np.clip(ranks, 1, n))
        lower, upper = self._edges(bins)
        return np.stack([(lower[0] + upper[0]) / 2, lower[1], upper[2]])

    def _edges(self, bins):
        """(lower, upper) edges of bins by their signed numbers."""
        shift, base = self._bits
        inner, outer = (((np.abs(bins) + base + more) << shift).view(np.float64) for more in (0, 1))
        inner, outer = np.where(bins == 0, -self.floor, inner), np.where(bins == 0, self.floor, outer)
        return np.where(bins < 0, -outer, inner), np.where(bins < 0, -inner, outer)


def _counted(low, counts, bins, more):
    """(low, counts) of consecutive bins with `more` added to these bins, or to those from one number on."""
    if not len(more):
        return low, counts
    bins = bins if np.ndim(bins) else bins + np.arange(len(more))
    first = min(low, bins[0]) if len(counts) else bins[0]
    last = max(low + len(counts), bins[-1] + 1) if len(counts) else bins[-1] + 1
    total = np.zeros(last - first, np.int64)
    total[low - first : low - first + len(counts)] = counts
    total[bins - first] += more
    return int(first), total


@dataclass(frozen=True)
class tally:
    """What became of the paths: (failed, stopped by each of the events)."""

    events: int
    name = "tally"

    def collect(self, part):
        failed, event = host(part.sol.failed), host(part.sol.event)
        stopped = [int((event == i).sum()) for i in range(self.events)] if self.events else []
        return np.array([int(failed.sum()), *stopped])

    def combine(self, total, state):
        return state if total is None else total + state

    def conclude(self, total, part):
        return tuple(int(n) for n in total)
