"""Gaussians and mixtures of them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .. import arrays, noise, reprs
from .. import math as sm
from ..checks import integer
from ..scores import checked, like, nonzero, path_axes
from .columns import TINY, columns, mix, real_array, restore, typed, with_marginal


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

    __repr__ = reprs.line

    def pair(self, t, x):
        """(D, ε), of x's shape. Where sigma = 0: (x/alpha, 0)."""
        x, states, alpha, sigma = columns(self, t, x, self.means.shape[1])
        _, clean, eps = mix(self._components(states, alpha, sigma, sigma))
        return restore(clean, x), restore(eps, x)

    def __call__(self, t, x):
        """∇ log p_t(x)."""
        x, states, alpha, sigma = columns(self, t, x, self.means.shape[1])
        self._need_density(t, sigma)
        return restore(mix(self._components(states, alpha, sigma, -1.0))[2], x)

    def log_prob(self, t, x):
        """log p_t(x), of the shape of the path axes."""
        x, states, alpha, sigma = columns(self, t, x, self.means.shape[1])
        self._need_density(t, sigma)
        log = mix(self._components(states, alpha, sigma, -1.0))[0]
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


def _turn(basis, z):
    return z if basis is None else basis @ z


def _array(value, name):
    value = arrays.on_host(real_array(value, name)).copy()
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

    __repr__ = reprs.line

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

    def sample(self, n, seed=None, like=None):
        """n draws (n, *event): numpy float64, or the type of `like`; of one seed, more append to fewer."""
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

    __repr__ = reprs.line

    @property
    def event_dims(self):
        return self.means.ndim - 1

    def eigen(self):
        """(variances (K, d), bases (K, d, d)); bases None stands for identities."""
        return _eigen(self.covs, self.stds, self.means.shape)

    def score(self, process=None):
        """The exact score under a process with `marginal`; without one, of the clean data."""
        means = self.means.reshape(len(self.means), -1)
        return MixtureScore(with_marginal(process), np.log(self.weights), means, *self.eigen(), self.event_dims)

    def log_prob(self, x):
        """log p(x), of the shape of x's path axes."""
        return self.score().log_prob(0.0, x)

    def sample(self, n, seed=None, like=None):
        """n draws (n, *event): numpy float64, or the type of `like`; of one seed, more append to fewer."""
        n, seed = integer("n", n), noise.fresh(seed)
        u = noise.uniform((n,), seed)
        label = np.searchsorted(np.cumsum(self.weights)[:-1], u, side="right")
        variances, bases = self.eigen()
        z, root = noise.normal((n, variances.shape[1]), seed), np.sqrt(variances)
        if bases is None:
            z = z * root[label]
        else:  # the symmetric root: it does not depend on the signs of eigenvectors
            for k, basis in enumerate(bases):
                z[label == k] = z[label == k] @ (basis * root[k] @ basis.T)
        return typed(self.means[label] + z.reshape(n, *self.means.shape[1:]), like)
