"""A multistep sampler in x/alpha at levels l = log(sigma/alpha), and its derivatives in grid and weights.

    y' = r y + (1 − r) [D_0 + Σ_j W_j (D_{−j} − D_0)],   r = e^{l′ − l},   j = 1 … LAGS

What it does to a constant D is exact. The parameters of n steps are u (n), whose softmax are the steps' shares of the
window, and the weights W row after row: min(i, LAGS) for the step i.
"""

import math
from typing import NamedTuple

import numpy as np

from ..methods.multistep import integral
from .family import posterior, slopes

LAGS = 3  # earlier evaluations in a step; with more it over-fits


class Window(NamedTuple):
    """n steps from the level high down to low."""

    high: float
    low: float
    n: int

    def entries(self):
        """(i, j): the steps and evaluations of the weights, in order."""
        steps = range(self.n)
        return np.array([(i, i - j) for i in steps for j in range(1, min(LAGS, i) + 1)], int).reshape(-1, 2).T

    def levels(self, u):
        """(n + 1) levels, and their derivatives in u (n + 1, n)."""
        share = np.exp(u - u.max())
        share /= share.sum()
        done = np.append(0.0, np.cumsum(share))
        levels = self.high + (self.low - self.high) * done
        levels[-1] = self.low
        before = np.arange(self.n) < np.arange(self.n + 1)[:, None]
        return levels, (self.low - self.high) * share * (before - done[:, None])

    def fixed(self, order):
        """Parameters of the method of this order on equal steps: D is the polynomial through the last values."""
        h, weights = (self.high - self.low) / self.n, []
        for i in range(self.n):
            nodes = [-h * j for j in range(1, min(i, order - 1) + 1)]
            row = np.zeros(min(i, LAGS))
            row[: len(nodes)] = np.divide(integral(h, nodes), -math.expm1(-h)) if nodes else ()
            weights.append(row)
        return np.concatenate([np.zeros(self.n), *weights])

    def matrix(self, weights):
        """W (n, n): what the evaluations j = 0 … i weigh in the step i; rows add up to 1."""
        (i, j), full = self.entries(), np.eye(self.n)
        full[i, j] = weights
        np.subtract.at(full, (i, i), weights)
        return full


def sampled(window, parameters, family):
    """Where the sampler takes the family's starts (T, d)."""
    levels, _ = window.levels(parameters[: window.n])
    full, y, values = window.matrix(parameters[window.n :]), family.start, []
    for i, (level, ratio) in enumerate(zip(levels, np.exp(np.diff(levels)))):
        values.append(posterior(family, y, level)[0])
        y = ratio * y + (1 - ratio) * sum(full[i, j] * values[j] for j in range(max(0, i - LAGS), i + 1))
    return y


def sensitivities(window, parameters, family):
    """The same, and the derivatives in the parameters (T, d, parameters)."""
    levels, by_u = window.levels(parameters[: window.n])
    full, y, values, moved = window.matrix(parameters[window.n :]), family.start, [], []
    size = len(parameters)
    grid, place = np.zeros((window.n + 1, size)), np.full((window.n, window.n), -1)
    grid[:, : window.n] = by_u
    place[*window.entries()] = np.arange(window.n, size)
    by_y = np.zeros((*y.shape, size))
    for i, ratio in enumerate(np.exp(np.diff(levels))):
        clean, by_state, by_level = slopes(family, y, levels[i])
        values.append(clean)
        moved.append(by_state @ by_y + by_level[..., None] * grid[i])
        used = range(max(0, i - LAGS), i + 1)
        mean = sum(full[i, j] * values[j] for j in used)
        by_y = ratio * by_y + (1 - ratio) * sum(full[i, j] * moved[j] for j in used)
        by_y += (ratio * (y - mean))[..., None] * (grid[i + 1] - grid[i])
        for j in used[:-1]:
            by_y[..., place[i, j]] += (1 - ratio) * (values[j] - clean)
        y = ratio * y + (1 - ratio) * mean
    return y, by_y
