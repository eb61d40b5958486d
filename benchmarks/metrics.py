"""Metrics of samples and densities. What exact samples give is the floor of each: `measure(target, target)`.

Samples are arrays or tensors (N, *event), read as vectors in float64; results are Python floats, or with their standard
error and floor a `sk.convergence.metrics.Measured`.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch

import sdekit as sk
from generative.standard import optional, word

__all__ = [
    "cell_probabilities", "energy_distance", "kl_exact", "kl_grid", "kl_knn", "measure", "mmd", "modes_found", "nll",
    "sliced_w2", "wasserstein",
]  # fmt: skip


Measured = sk.convergence.metrics.Measured


def cell_probabilities(target, cells=50):
    """P (cells, cells) of the squares of the window [−box, box]² under target.log_prob, normalised to 1.

    Product of two Gauss–Legendre rules with 5 points in each cell. For eight Gaussians the relative error is 1e-6 in
    cells of more than 1e-12 and 7e-4 in the emptiest; a density that is constant inside each cell is met exactly.
    """
    cells = sk.checks.integer("cells", cells, 1)
    nodes, weights = np.polynomial.legendre.leggauss(5)
    half = target.box / cells
    x = (half * (nodes + 2 * np.arange(cells)[:, None] + 1) - target.box).ravel()
    points = torch.cartesian_prod(torch.as_tensor(x), torch.as_tensor(x))
    p = in_batches(target.log_prob, points).exp().numpy().reshape(cells, 5, cells, 5)
    p = np.einsum("aibj,i,j->ab", p, half * weights, half * weights)
    return p / p.sum()


def kl_grid(samples, target, cells=50):
    """KL(q ‖ p) = Σ q log(q/p) with q the shares of the samples in cells² squares; floor (K − 1)/2N.

    The outermost squares reach to infinity: samples beyond the window count there, none is dropped. Where p = 0 on a
    cell that holds samples the result is inf. K counts the cells in which N exact samples have at least 0.1 on average
    (with that the floor is within 7 % of the mean over exact samples of each set here). Likelihood-ratio statistics:
    2N·KL of exact samples is nearly chi-square with K − 1 degrees of freedom, hence the floor; the standard error is
    √(Var_q(log q/p)/N + (K − 1)/2N²).
    """
    cells, x, p = sk.checks.integer("cells", cells, 1), _vectors(samples), cell_probabilities(target, cells)
    index = np.clip(np.floor((x + target.box) * (cells / (2 * target.box))), 0, cells - 1).astype(int)
    counts = np.zeros_like(p)
    np.add.at(counts, tuple(index.T), 1.0)
    occupied, n = counts > 0, len(x)
    q, freedom = counts[occupied] / n, float((n * p >= 0.1).sum() - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = np.log(q / p[occupied])
        value = (q * log_ratio).sum()
        variance = (q * (log_ratio - value) ** 2).sum() / n + freedom / (2 * n * n)
    return Measured(float(value), math.sqrt(variance), freedom / (2 * n))


def kl_exact(model, target, n=10_000, seed=None):
    """KL(model ‖ target) = mean of log q(x) − log p(x) over n draws x of the model; floor 0, with its standard error.

    Where the model's log_prob is a lower bound the result is one, too. Models whose density is that of an ODE say in
    `density_of` with which options `sample` draws from it.
    """
    x = model.sample(n, seed=seed, **getattr(model, "density_of", {}))
    return _mean(in_batches(model.log_prob, x) - in_batches(target.log_prob, x))


def nll(model, data):
    """−mean log q over data, in nats per event; its floor is the entropy, `nll(target, data)`."""
    return _mean(-in_batches(model.log_prob, data))


def kl_knn(samples, other, k=5):
    """KL between the laws of two sets of samples, (N, d) and (M, d), from distances to k-th nearest neighbours.

        (d/N) Σ log(ν_k(x_i) / ρ_k(x_i)) + log(M / (N − 1)),   ρ: among samples without x_i itself, ν: among others

    Source: Q. Wang, S. Kulkarni, S. Verdú, "Divergence estimation for multidimensional densities via k-nearest-neighbor
    distances", IEEE Trans. Inf. Theory 55(5), 2009, doi:10.1109/TIT.2009.2016060.
    """
    from scipy.spatial import cKDTree

    x, y = _pair(samples, other)
    k = sk.checks.integer("k", k, 1, min(len(x) - 1, len(y)))
    rho, nu = cKDTree(x).query(x, [k + 1])[0], cKDTree(y).query(x, [k])[0]
    return float(x.shape[1] * np.log(nu / rho).mean() + math.log(len(y) / (len(x) - 1)))


def wasserstein(samples, other, order=2, limit=2000):
    """W₁ or W₂ between the first `limit` of each, exactly, by POT's network simplex. The floor falls as N^(−1/d)."""
    import ot

    order, (x, y) = sk.checks.integer("order", order, 1, 2), _pair(samples, other, limit)
    cost = ot.dist(x, y, metric="sqeuclidean" if order == 2 else "euclidean")
    return float(ot.emd2([], [], cost, numItermax=2_000_000) ** (1 / order))


def sliced_w2(samples, other, directions=200, seed=None):
    """W₂ between projections, squared and averaged over random directions, then its root (POT)."""
    import ot

    (x, y), directions = _pair(samples, other), sk.checks.integer("directions", directions, 1)
    seed = word(sk.noise.fresh(seed))
    return float(ot.sliced_wasserstein_distance(x, y, None, None, directions, seed=seed))


def mmd(samples, other, limit=2000):
    """Squared maximum mean discrepancy, without bias (floor 0, can be negative); Gaussian kernel.

    Its width is the median distance within the first `limit` of the others.
    Source: A. Gretton et al., "A kernel two-sample test", JMLR 13, 2012, equation (3).
    """
    distances = _distances(samples, other, limit)
    gamma = 0.5 / np.median(distances[1]) ** 2
    return _two_sample(*(np.exp(-gamma * d * d) for d in distances))


def energy_distance(samples, other, limit=2000):
    """2 E‖X − Y‖ − E‖X − X′‖ − E‖Y − Y′‖, without bias (floor 0, can be negative), of the first `limit` of each.

    Source: G. Székely, M. Rizzo, "Energy statistics", 2013, doi:10.1016/j.jspi.2013.03.018.
    """
    return -_two_sample(*_distances(samples, other, limit))


def modes_found(samples, modes, std, share=0.2):
    """(modes found, quality): a sample belongs to its nearest mode if it lies within 3 std of it; a mode is found if it
    has at least `share` of its 1/K of the samples; quality is the share of samples that belong to a mode. In the plane
    exact samples have quality 1 − exp(−9/2) = 0.989.
    """
    std, share = sk.checks.real("std", std, above=0), sk.checks.real("share", share, 0)
    squares = ((_vectors(samples)[:, None] - _vectors(modes)) ** 2).sum(2)
    near = squares.min(1) <= (3 * std) ** 2
    counts = np.bincount(squares.argmin(1)[near], minlength=len(modes))
    return int((counts >= share * len(samples) / len(modes)).sum()), float(near.mean())


def measure(model, target, n=400_000, seed=None):
    """Every metric that model and target allow, as a dictionary; `measure(target, target)` is the floor.

    The grid and the modes take n samples, the others 10,000, those of all pairs 2,000; samples that are not finite are
    left out, and the share of the others told. The target is drawn with seeds that models do not use: equal seeds would
    give both the same normals.
    """
    seed, begun = sk.noise.fresh(seed), time.perf_counter()
    x = model.sample(n, seed=seed)
    row = {"samples/s": n / (time.perf_counter() - begun)}
    row |= {"NFE": getattr(model, "nfe", 0), "density": getattr(model, "density", "exact")}
    finite = torch.as_tensor(x).flatten(1).isfinite().all(1)
    if not finite.all():
        x, row["finite"] = x[finite], float(finite.double().mean())
    if not len(x):
        return row
    few = x[:10_000]
    other = target.sample(len(few), seed=(seed + 2**32) % 2**64)
    if getattr(target, "box", None) is not None:
        row["KL grid"], _, row["floor"] = kl_grid(x, target)
    if row["density"] != "none":
        row["KL exact"], row["NLL"] = kl_exact(model, target, len(few), seed).value, nll(model, other).value
    row |= {"KL knn": kl_knn(few, other), "W1": wasserstein(few, other, 1), "W2": wasserstein(few, other)}
    row |= {"sliced W2": sliced_w2(few, other), "MMD²": mmd(few, other), "energy": energy_distance(few, other)}
    if getattr(target, "modes", None) is not None:
        row["modes"], row["quality"] = modes_found(x, target.modes, target.std)
    return row


@torch.no_grad()
def in_batches(function, x, size=20_000):
    """function(x) in batches of rows on the host, joined there."""
    return torch.cat([function(part).cpu() for part in torch.as_tensor(x).cpu().split(size)])


def _vectors(x, name="samples"):
    """Samples as vectors (N, d), float64 on the host."""
    try:
        x = torch.as_tensor(x).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} must be an array (N, *event), got {sk.checks.shown(x)}") from None
    if x.ndim < 2 or len(x) == 0 or x.is_complex():
        raise ValueError(f"{name} must be real and of shape (N, *event) with N > 0, got {x.dtype}, {tuple(x.shape)}")
    x = x.double().flatten(1).numpy()
    if not np.isfinite(x).all():
        raise ValueError(f"{name} must be finite; count and leave out those that are not before")
    return x


def _pair(samples, other, limit=None):
    """Two sets of samples as vectors of one length, the first `limit` of each."""
    limit, x, y = optional(sk.checks.integer, "limit", limit, 2), _vectors(samples), _vectors(other, "other")
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"samples and other must be of the same events, got {x.shape[1]} and {y.shape[1]} numbers each"
        )
    return x[:limit], y[:limit]


def _mean(values):
    values = values.detach().double()
    return Measured(float(values.mean()), float(values.std()) / math.sqrt(len(values)))


def _distances(samples, other, limit):
    """Distances within samples, within others, and between them."""
    from scipy.spatial.distance import cdist

    x, y = _pair(samples, other, limit)
    return cdist(x, x), cdist(y, y), cdist(x, y)


def _two_sample(xx, yy, xy):
    """mean of xx and of yy off the diagonal, minus twice the mean of xy."""
    within = sum((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (xx, yy))
    return float(within - 2 * xy.mean())
