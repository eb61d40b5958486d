"""Targets: distributions of clean data whose scores are known exactly under any process.

`target.score(process)` is a `Score`: under x_t = alpha·x_0 + sigma·ε the law of x_t is a mixture of
Gaussians again. `target.score()` without a process is the score of the clean data, for `Langevin`.
All of it is computed in float64, whatever the type of x, and returned in x's own type.

Data may be numbers (event_dims = 0) or arrays of any shape (event_dims = their number of axes).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from . import arrays, noise
from . import math as sm
from .scores import checked, floating, like, nonzero, path_axes, per_path, weak

__all__ = ["Empirical", "Gaussian", "GaussianMixture"]

TINY = 1e-290  # stands for a variance of zero, so that 0/0 becomes 0
# Paths (at least) and distances that `Empirical` works on at a time: 2 MB, which stay in cache.
PATHS, ENTRIES = 256, 2**18

# `Reverse.start` draws normal 0 of the same stream, from other Philox counters than these.
UNIFORM, NORMAL = 4, 8


# --- exact scores --------------------------------------------------------------------------------
#
# Inside, the states are the columns of a matrix (d, B): a value per path then broadcasts as it is,
# and numpy's inner loops run over the paths, which are many, and not over d.


class MixtureScore(NamedTuple):
    """Σ w_k N(m_k, S_k) under a process: with C_k = alpha² S_k + sigma² and r_k = x − alpha m_k,

        D = Σ p_k (m_k + alpha S_k C_k⁻¹ r_k),   ε = sigma Σ p_k C_k⁻¹ r_k,
        p_k ∝ w_k N(x; alpha m_k, C_k),          score = −Σ p_k C_k⁻¹ r_k.

    No step cancels, so both ends, sigma = 0 and alpha = 0, are exact. `variances` (K, d) are the
    eigenvalues of S_k and the columns of `bases` (K, d, d) its eigenvectors; None: the axes.
    """

    process: Any
    log_weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray
    bases: np.ndarray | None
    event_dims: int

    def pair(self, t, x):
        """(D, ε), of x's shape. Where sigma = 0: (x/alpha, 0)."""
        x, states, alpha, sigma = _columns(self, t, x)
        _, clean, eps = _mix(self._components(states, alpha, sigma, sigma))
        return _restore(clean, x), _restore(eps, x)

    def __call__(self, t, x):
        """∇ log p_t(x)."""
        x, states, alpha, sigma = _columns(self, t, x)
        self._need_density(t, sigma)
        return _restore(_mix(self._components(states, alpha, sigma, -1.0))[2], x)

    def log_prob(self, t, x):
        """log p_t(x), of the shape of the path axes."""
        x, states, alpha, sigma = _columns(self, t, x)
        self._need_density(t, sigma)
        log = _mix(self._components(states, alpha, sigma, -1.0))[0]
        return like(log, x).reshape(path_axes(x, self.event_dims))

    def _need_density(self, t, sigma):
        if not self.variances.all():
            nonzero(sigma, t, "sigma", "the target's covariance is singular: no density there")

    def _components(self, x, alpha, sigma, scale):
        """log(w_k N(x)), D_k and scale · C_k⁻¹ r_k, for one component after the other."""
        for k, log_weight in enumerate(self.log_weights):
            mean, variance = like(self.means[k][:, None], x), self.variances[k][:, None]
            basis = None if self.bases is None else like(self.bases[k], x)
            variance = variance if isinstance(alpha, float) else like(variance, x)
            total = sm.maximum(alpha * alpha * variance + sigma * sigma, TINY)
            z = x - alpha * mean
            z = z if basis is None else basis.T @ z
            gain, slope = z * like(alpha * variance / total, x), z * like(scale / total, x)
            norm = like(sm.log(2 * math.pi * total).sum(0), x)
            log = log_weight - 0.5 * ((z * z / like(total, x)).sum(0) + norm)
            yield log, mean + _turn(basis, gain), _turn(basis, slope)


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

    def pair(self, t, x):
        """(D, ε), of x's shape. Where sigma = 0: ε = 0; with bandwidth 0 D is the nearest point."""
        x, states, alpha, sigma = _columns(self, t, x)
        v, mean, _ = self._posterior(states, alpha, sigma)
        eps = sigma / v * (states - alpha * mean)
        b2 = self.bandwidth**2
        clean = sigma * sigma / v * mean + alpha * b2 / v * states if b2 else mean
        return _restore(clean, x), _restore(eps, x)

    def __call__(self, t, x):
        """∇ log p_t(x)."""
        x, states, alpha, sigma = _columns(self, t, x)
        self._need_density(t, sigma)
        v, mean, _ = self._posterior(states, alpha, sigma)
        return _restore((alpha * mean - states) / v, x)

    def log_prob(self, t, x):
        """log p_t(x), of the shape of the path axes."""
        x, states, alpha, sigma = _columns(self, t, x)
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
        query, count = _concatenate(query, 0), x.shape[1]
        size = max(PATHS, ENTRIES // len(self.points))
        parts = [query[:, a : a + size] for a in range(0, max(count, 1), size)]
        logs, means = zip(*(_mix(self._chunks(part)) for part in parts), strict=True)
        return v, center + _concatenate(means, 1), _concatenate(logs, 0)

    def _chunks(self, query):
        """log Σ exp(exponents) and the weighted mean, for one chunk of the data after the other."""
        step = max(1, ENTRIES // max(query.shape))
        for start in range(0, len(self.points), step):
            points = like(self.points[start : start + step], query)
            exponents = points @ query
            top = _library(query).amax(exponents, 0)
            weights = sm.exp(exponents - top)
            total = weights.sum(0)
            yield top + sm.log(total), (points.T @ weights)[:-1] / total


def _mix(parts):
    """From (log_k, *values_k): log Σ exp log_k and the means with these weights, in one pass."""
    parts = iter(parts)
    log, *values = next(parts)
    for more, *others in parts:
        top = sm.maximum(log, more)
        new = sm.exp(more - top)
        total = sm.exp(log - top) + new
        log, share = top + sm.log(total), new / total
        values = [a + share * (b - a) for a, b in zip(values, others, strict=True)]
    return log, *values


def _columns(score, t, x):
    """(x, its states as float64 columns, alpha, sigma), the latter numbers or arrays (B,)."""
    t, x = weak(t), floating(x)
    path = path_axes(x, score.event_dims)
    d = score.means.shape[1] if isinstance(score, MixtureScore) else len(score.center)
    if math.prod(x.shape[len(path) :]) != d:
        dims = score.event_dims
        raise ValueError(f"x has shape {tuple(x.shape)}; its last {dims} axes must hold {d} values")
    states = x.reshape((math.prod(path), d)).T
    if arrays.is_tensor(x):
        states = states.to(arrays.torch().float64).contiguous()
    else:
        states = states.astype(np.float64, order="C")
    process = score.process
    alpha, sigma = (1.0, 0.0) if process is None else map(weak, process.marginal(t))
    if not (isinstance(alpha, float) and isinstance(sigma, float)):
        alpha, sigma = (per_path(v, path, states) for v in (alpha, sigma))
    return x, states, alpha, sigma


def _restore(states, x):
    return like(states.T.reshape(x.shape), x)


def _library(x):
    return arrays.torch() if arrays.is_tensor(x) else np


def _concatenate(parts, axis):
    return parts[0] if len(parts) == 1 else _library(parts[0]).concatenate(parts, axis)


def _turn(basis, z):
    return z if basis is None else basis @ z


# --- targets -------------------------------------------------------------------------------------


def _array(value, name):
    value = np.array(value.detach().cpu() if arrays.is_tensor(value) else value, np.float64)
    if not np.isfinite(value).all():
        raise ValueError(f"{name} must be finite, got {value}")
    return value


def _spread(covs, stds, shape, names):
    """(covs (K, d, d), None) or (None, stds of `shape` = (K, *event)), whichever was given."""
    count, d = shape[0], math.prod(shape[1:])
    if (covs is None) == (stds is None):
        raise ValueError(f"give either {names[0]} or {names[1]}")
    if covs is None:
        stds = _array(stds, names[1])
        if stds.ndim > len(shape) or (stds < 0).any():
            raise ValueError(f"{names[1]} must be >= 0 and of shape {shape} or its leading axes, got {stds}")
        stds = stds.reshape(stds.shape + (1,) * (len(shape) - stds.ndim))
        return None, np.broadcast_to(stds, shape).copy()
    covs = _array(covs, names[0])
    if covs.size != count * d * d or (d > 1 and covs.shape[-2:] != (d, d)):
        raise ValueError(f"{names[0]} must hold {count} matrices {d} by {d}, got shape {covs.shape}")
    covs = covs.reshape(count, d, d)
    if not np.allclose(covs, covs.swapaxes(1, 2), rtol=0.0, atol=1e-10 * np.abs(covs).max()):
        raise ValueError(f"{names[0]} must be symmetric")
    return covs, None


def _eigen(covs, stds, shape):
    """Eigenvalues (K, d), zero where they are zero but for rounding, and eigenvectors or None."""
    if covs is None:
        return stds.reshape(shape[0], -1) ** 2, None
    values, vectors = np.linalg.eigh(covs)
    floor = values.shape[1] * np.finfo(np.float64).eps * np.abs(values).max(1, keepdims=True)
    if (values < -10 * floor).any():
        raise ValueError(f"a covariance has the negative eigenvalue {values.min()}")
    return np.where(values > floor, values, 0.0), vectors


def _gaussian(mean, cov=None, std=None):
    mean = _array(mean, "mean")
    cov, std = _spread(
        None if cov is None else _array(cov, "cov")[None],
        None if std is None else _array(std, "std")[None],
        (1, *mean.shape),
        ("cov", "std"),
    )
    return mean, None if cov is None else cov[0], None if std is None else std[0]


@checked(_gaussian)
class Gaussian(NamedTuple):
    """N(mean, cov), or independent entries with standard deviations std.

    mean: a number, or an array of the shape of one state, d entries in all. Give cov, of shape
    (d, d) over the flattened state (a number for a scalar), or std, a number or of the shape of
    mean. Both may be singular. The record keeps them in float64.
    """

    mean: Any
    cov: Any = None
    std: Any = None

    @property
    def event_dims(self):
        return self.mean.ndim

    def mixture(self):
        """The same law as a mixture of one."""
        one = [None if a is None else a[None] for a in self]
        return GaussianMixture(np.ones(1), *one)

    def eigen(self):
        """(variances, basis): cov = basis diag(variances) basisᵀ; basis None is the identity."""
        variances, bases = self.mixture().eigen()
        return variances[0], None if bases is None else bases[0]

    def score(self, process=None):
        """The exact score under a process with `marginal`; without one, of the clean data."""
        return self.mixture().score(process)

    def log_prob(self, x):
        """log p(x), of the shape of x's path axes (many calls: keep `score()` and use its own)."""
        return self.score().log_prob(0.0, x)

    def sample(self, n, seed=0, like=None):
        """n draws (n, *event): numpy float64, or the type of `like`; more draws append to fewer."""
        return self.mixture().sample(n, seed, like)


def _mixture(weights, means, covs=None, stds=None):
    weights, means = _array(weights, "weights"), _array(means, "means")
    if weights.ndim != 1 or not (weights > 0).all() or means.shape[:1] != weights.shape:
        raise ValueError(f"weights must be positive, one per mean, got {weights} for means {means.shape}")
    return weights / weights.sum(), means, *_spread(covs, stds, means.shape, ("covs", "stds"))


@checked(_mixture)
class GaussianMixture(NamedTuple):
    """Σ w_k N(means_k, covs_k), or independent entries with standard deviations stds_k.

    weights (K,) are positive and are divided by their sum; means (K, *event), (K,) for scalar data.
    Give covs (K, d, d) over the flattened state ((K,) variances for scalar data), or stds, a number
    or of shape (K,) or (K, *event). The record keeps them in float64.
    """

    weights: Any
    means: Any
    covs: Any = None
    stds: Any = None

    @property
    def event_dims(self):
        return self.means.ndim - 1

    def eigen(self):
        """(variances (K, d), bases (K, d, d)); bases None stands for identities."""
        return _eigen(self.covs, self.stds, self.means.shape)

    def score(self, process=None):
        """The exact score under a process with `marginal`; without one, of the clean data."""
        means = self.means.reshape(len(self.means), -1)
        return MixtureScore(_with_marginal(process), np.log(self.weights), means, *self.eigen(), self.event_dims)

    def log_prob(self, x):
        """log p(x), of the shape of x's path axes."""
        return self.score().log_prob(0.0, x)

    def sample(self, n, seed=0, like=None):
        """n draws (n, *event): numpy float64, or the type of `like`; more draws append to fewer."""
        u = noise.uniform((n,), seed, n=UNIFORM)
        label = np.searchsorted(np.cumsum(self.weights)[:-1], u, side="right")
        variances, bases = self.eigen()
        z, root = noise.normal((n, variances.shape[1]), seed, n=NORMAL), np.sqrt(variances)
        if bases is None:
            z = z * root[label]
        else:  # the symmetric root: it does not depend on the signs of eigenvectors
            for k, basis in enumerate(bases):
                z[label == k] = z[label == k] @ (basis * root[k] @ basis.T)
        return _typed(self.means[label] + z.reshape(n, *self.means.shape[1:]), like)


def _empirical(data, bandwidth=0.0):
    if not arrays.is_tensor(data):
        data = np.asarray(data)
    data = floating(data)
    if data.ndim == 0 or 0 in data.shape or not _library(data).isfinite(data).all():
        raise ValueError(f"data must be finite and not empty, of shape (N, *event), got {tuple(data.shape)}")
    if not (math.isfinite(bandwidth) and bandwidth >= 0):
        raise ValueError(f"bandwidth must be finite and >= 0, got {bandwidth}")
    return data, float(bandwidth)


@checked(_empirical)
class Empirical(NamedTuple):
    """A data set (N, *event), each point blurred by N(0, bandwidth²); bandwidth 0: the bare points.

    The data are an array or a tensor and are not copied here; a score holds one float64 copy. Where
    x is on a device, give the data as a tensor on it: otherwise each evaluation moves them there.
    """

    data: Any
    bandwidth: float = 0.0

    @property
    def event_dims(self):
        return self.data.ndim - 1

    def score(self, process=None):
        """The exact score under a process with `marginal`; without one, of the blurred data."""
        data = self.data.reshape((len(self.data), -1))
        data = data.to(arrays.torch().float64) if arrays.is_tensor(data) else data.astype(np.float64)
        center = data.mean(0)
        data = data - center
        points = _concatenate([data, -0.5 * (data * data).sum(1)[:, None]], 1)
        return EmpiricalScore(_with_marginal(process), center, points, self.bandwidth, self.event_dims)

    def log_prob(self, x):
        """log p(x), of the shape of x's path axes; raises where bandwidth = 0."""
        return self.score().log_prob(0.0, x)

    def sample(self, n, seed=0, like=None):
        """n draws (n, *event) with replacement, in the type of `like` or else of the data."""
        like = self.data if like is None else like
        pick = (noise.uniform((n,), seed, n=UNIFORM) * len(self.data)).astype(np.int64)
        picked = _typed(self.data[pick], like)
        if self.bandwidth == 0.0:
            return picked
        return picked + self.bandwidth * noise.normal(picked.shape, seed, n=NORMAL, like=picked)


def _with_marginal(process):
    if process is not None and not hasattr(process, "marginal"):
        raise ValueError(f"{type(process).__name__} has no marginal(t), so there is no exact score under it")
    return process


def _typed(value, x):
    return value if x is None else like(value, x)
