"""Data sets as targets: points, or points blurred by a Gaussian."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .. import arrays, noise, reprs
from .. import math as sm
from ..checks import integer
from ..scores import checked, floating, like, nonzero, path_axes
from .columns import (
    TINY,
    columns,
    concatenate,
    library,
    mix,
    real_array,
    restore,
    typed,
    with_marginal,
)

# Paths (at least) and distances that a score works on at a time: 2 MB, which stay in cache.
PATHS, ENTRIES = 256, 2**18


class EmpiricalScore(NamedTuple):
    """N data points y_k, blurred by the bandwidth b, under a process: with v = alpha² b² + sigma²,

        M = Σ p_k y_k,   p_k ∝ exp(−|x − alpha y_k|² / 2v)
        D = (sigma² M + alpha b² x) / v,   ε = sigma (x − alpha M) / v,   score = (alpha M − x) / v

    in one pass over the data with an online softmax (M. Milakov, N. Gimelshein, "Online normalizer
    calculation for softmax", 2018, arXiv:1805.02867): about 10 MB beside the data, x and results of
    its size, however many points there are, unless torch records gradients (then all weights are
    kept, 8 bytes per path and point). `points` (N, d + 1) hold y − center and
    −|y − center|²/2 in float64, so that the exponents are one matrix product. They are off by a few
    1e-16 |x||y|/v, which tells points apart that lie further than 1e-7 |y| from each other.
    """

    process: Any
    center: Any
    points: Any
    bandwidth: float
    event_dims: int

    __repr__ = reprs.line

    def pair(self, t, x):
        """(D, ε), of x's shape. Where sigma = 0: ε = 0; with bandwidth 0 D is the nearest point."""
        x, states, alpha, sigma = columns(self, t, x, len(self.center))
        v, mean, _ = self._posterior(states, alpha, sigma)
        eps = sigma / v * (states - alpha * mean)
        b2 = self.bandwidth**2
        clean = sigma * sigma / v * mean + alpha * b2 / v * states if b2 else mean
        return restore(clean, x), restore(eps, x)

    def __call__(self, t, x):
        """∇ log p_t(x)."""
        x, states, alpha, sigma = columns(self, t, x, len(self.center))
        self._need_density(t, sigma)
        v, mean, _ = self._posterior(states, alpha, sigma)
        return restore((alpha * mean - states) / v, x)

    def log_prob(self, t, x):
        """log p_t(x), of the shape of the path axes."""
        x, states, alpha, sigma = columns(self, t, x, len(self.center))
        self._need_density(t, sigma)
        v, _, log = self._posterior(states, alpha, sigma)
        r = states - alpha * like(self.center[:, None], states)
        norm = 0.5 * len(states) * sm.log(2 * math.pi * v) + math.log(len(self.points))
        log = log - 0.5 * (r * r).sum(0) / v - norm
        return like(log, x).reshape(path_axes(x, self.event_dims))

    def _need_density(self, t, sigma):
        if self.bandwidth == 0.0:
            nonzero(sigma, t, "sigma", "data points have no density there; give a bandwidth")

    def _posterior(self, x, alpha, sigma):
        """v, M, and log Σ exp((|x − alpha center|² − |x − alpha y_k|²) / 2v)."""
        v = sm.maximum(alpha * alpha * self.bandwidth**2 + sigma * sigma, TINY)
        center = like(self.center[:, None], x)
        query = [(x - alpha * center) * (alpha / v), 0 * x[:1] + alpha * alpha / v]
        query, count = concatenate(query, 0), x.shape[1]
        size = max(PATHS, ENTRIES // len(self.points))
        parts = [query[:, a : a + size] for a in range(0, max(count, 1), size)]
        logs, means = zip(*(mix(self._chunks(part)) for part in parts), strict=True)
        return v, center + concatenate(means, 1), concatenate(logs, 0)

    def _chunks(self, query):
        """log Σ exp(exponents) and the weighted mean, for one chunk of the data after the other."""
        step = max(1, ENTRIES // max(query.shape))
        for start in range(0, len(self.points), step):
            points = like(self.points[start : start + step], query)
            exponents = points @ query
            top = library(query).amax(exponents, 0)
            weights = sm.exp(exponents - top)
            total = weights.sum(0)
            yield top + sm.log(total), (points.T @ weights)[:-1] / total


def _empirical(data, bandwidth=0.0):
    data = floating(real_array(data, "data"))
    if data.ndim == 0 or 0 in data.shape or not library(data).isfinite(data).all():
        raise ValueError(f"data must be finite and not empty, of shape (N, *event), got {tuple(data.shape)}")
    if not (arrays.is_real(bandwidth) and np.ndim(bandwidth) == 0 and 0 <= bandwidth < math.inf):
        raise ValueError(f"bandwidth must be a finite number >= 0, got {bandwidth!r}")
    return data, float(bandwidth)


@checked(_empirical)
class Empirical(NamedTuple):
    """A data set (N, *event), each point blurred by N(0, bandwidth²); bandwidth 0: the bare points.

    The data are an array or a tensor and are not copied here; a score holds one float64 copy. Where
    x is on a device, give the data as a tensor on it: otherwise each evaluation moves them there.
    """

    data: Any
    bandwidth: float = 0.0

    __repr__ = reprs.line

    @property
    def event_dims(self):
        return self.data.ndim - 1

    def score(self, process=None):
        """The exact score under a process with `marginal`; without one, of the blurred data."""
        data = self.data.reshape((len(self.data), -1))
        data = data.to(arrays.torch().float64) if arrays.is_tensor(data) else data.astype(np.float64)
        center = data.mean(0)
        data = data - center
        points = concatenate([data, -0.5 * (data * data).sum(1)[:, None]], 1)
        return EmpiricalScore(with_marginal(process), center, points, self.bandwidth, self.event_dims)

    def log_prob(self, x):
        """log p(x), of the shape of x's path axes; raises where bandwidth = 0."""
        return self.score().log_prob(0.0, x)

    def sample(self, n, seed=None, like=None):
        """n draws (n, *event) with replacement, in the type of `like` or else of the data."""
        n, seed = integer("n", n), noise.fresh(seed)
        like = self.data if like is None else like
        pick = (noise.uniform((n,), seed) * len(self.data)).astype(np.int64)
        picked = typed(self.data[pick], like)
        if self.bandwidth == 0.0:
            return picked
        return picked + self.bandwidth * noise.normal(picked.shape, seed, like=picked)
