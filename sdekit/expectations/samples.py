"""What the paths of a level gave."""

import itertools
import math

import numpy as np

from ..stats.sums import central
from .numbers import counted, sobol
from .quantity import Failed

FEW = 16  # paths from whose means sums are taken


def values(quantity, n, coarse, scrambled, seed, first, paths):
    """The differences and the finer values of some paths of a level, (2, paths)."""
    which = quantity.needs(n), seed, first, paths
    fine, coarser = quantity.pair(sobol(*which) if scrambled else counted(*which, quantity.threads), coarse)
    return np.stack([fine if coarser is None else fine - coarser, fine])


def sums(quantity, pivots, *which):
    """Sums over `values` of their powers about the pivots, (2, 4)."""
    one = values(quantity, *which) - pivots
    with np.errstate(over="ignore", invalid="ignore"):  # `Samples.merge` says it
        two = one * one
        pairs = (one, one), (two, one), (two, two)
        return np.stack([one.sum(1), *(np.einsum("ij,ij->i", a, b) for a, b in pairs)], 1)


class Samples:
    """A level: how many paths, and the power sums of what they gave, about the means of the first ones.

    With scramblings the paths are as many points of each of them, whose means tell the error.
    """

    def __init__(self, quantity, n, seed, coarse=True, scramblings=0):
        self.quantity, self.n, self.coarse, self.scramblings = quantity, n, coarse, scramblings
        self.seed = int(np.random.SeedSequence((seed, n)).generate_state(1, np.uint64)[0])
        self.count, self.sums = 0, np.zeros((max(1, scramblings), 2, 4))
        self.pivots = values(quantity, *self._which(0, 0, FEW)).mean(1, keepdims=True)

    def _which(self, stratum, first, paths):
        """The arguments of `values`."""
        seed = (self.seed, stratum) if self.scramblings else self.seed
        return self.n, self.coarse, self.scramblings > 0, seed, first, paths

    def calls(self, paths):
        """The arguments of `sums` for so many more paths."""
        strata, block = len(self.sums), self.quantity.block(self.n)
        begin, end = self.count // strata, (self.count + paths) // strata
        for stratum, first in itertools.product(range(strata), range(begin, end, block)):
            yield self.pivots, *self._which(stratum, first, min(block, end - first))

    def merge(self, call, found):
        """Take in the `sums` of a call."""
        if not np.isfinite(found).all():
            raise Failed(f"what f gives on {self.n} steps is too large: its fourth powers are not finite")
        seed, paths = call[4], call[6]
        self.sums[seed[1] if self.scramblings else 0] += found
        self.count += paths

    def moments(self, row=0):
        """(mean, variance, fourth central moment) of the differences, or of the finer values (row 1)."""
        means = self.sums.sum(0)[row] / self.count
        variance, _, fourth = central(*means)
        return float(self.pivots[row, 0] + means[0]), max(float(variance), 0.0), float(fourth)

    def error(self, row=0):
        """The standard error of a mean."""
        if not self.scramblings:
            return math.sqrt(self.moments(row)[1] / self.count)
        means = self.sums[:, row, 0] * (self.scramblings / self.count)
        return float(means.std(ddof=1)) / math.sqrt(self.scramblings)

    @property
    def mean(self):
        return self.moments()[0]

    @property
    def variance(self):
        return self.moments()[1]

    @property
    def kurtosis(self):
        _, variance, fourth = self.moments()
        return fourth / variance**2 if variance > 0 else 3.0

    @property
    def stderr(self):
        return self.error()

    @property
    def finer(self):
        """(mean, its standard error) of the payoff on n steps."""
        return self.moments(1)[0], self.error(1)

    @property
    def cost(self):
        return self.quantity.cost(self.n, self.coarse)
