"""What the paths of a level gave."""

import math

import numpy as np

from ..stats.sums import central


class Samples:
    """A level: how many paths, and the power sums of what they gave, about the first block's means."""

    def __init__(self, quantity, n, seed, coarse=True):
        self.quantity, self.n, self.coarse = quantity, n, coarse
        self.seed = int(np.random.SeedSequence((seed, n)).generate_state(1, np.uint64)[0])
        self.count, self.pivots, self.sums = 0, None, np.zeros((2, 4))

    def values(self, paths):
        """What the first paths give on n steps."""
        return np.concatenate([fine for fine, _ in self.quantity.pairs(self.n, self.seed, 0, paths, self.coarse)])

    def add(self, paths):
        for fine, coarse in self.quantity.pairs(self.n, self.seed, self.count, paths, self.coarse):
            both = np.stack([fine if coarse is None else fine - coarse, fine])
            if self.pivots is None:
                self.pivots = both.mean(1, keepdims=True)
            one = both - self.pivots
            two = one * one
            self.sums += np.stack([power.sum(1) for power in (one, two, two * one, two * two)], 1)
            self.count += fine.size
        return self

    def _moments(self, row):
        means = self.sums[row] / self.count
        variance, _, fourth = central(*means)
        return float(self.pivots[row, 0] + means[0]), max(float(variance), 0.0), float(fourth)

    @property
    def mean(self):
        return self._moments(0)[0]

    @property
    def variance(self):
        return self._moments(0)[1]

    @property
    def kurtosis(self):
        _, variance, fourth = self._moments(0)
        return fourth / variance**2 if variance > 0 else 3.0

    @property
    def stderr(self):
        return math.sqrt(self.variance / self.count)

    @property
    def finer(self):
        """(mean, its standard error) of the payoff on n steps."""
        mean, variance, _ = self._moments(1)
        return mean, math.sqrt(variance / self.count)

    @property
    def cost(self):
        return self.quantity.cost(self.n, self.coarse)
