"""How far samples are from what they should be, with standard errors and with the floor that exact samples have.

A metric is made from the truth and measures samples x of shape (n, *event), arrays or tensors:

    measure = sliced_cramer(law);  measure(x).value, measure(x).stderr, measure(x).floor

`rmse`, `misplaced` and `kl` compare with the probability flow from the same start, so that nothing random is
left in them. `sliced_cramer`, `kernel_mmd` and `class_frequencies` compare laws; all three are squared distances

    V = Σ_m w_m |mean of g_m(x) − E g_m|²,    E V = Σ_m w_m Var g_m / n  for n exact samples: the floor,

with functions g_m whose expectations are known exactly.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .. import noise
from ..processes.forms import on_host
from ..targets import Empirical, GaussianMixture

__all__ = ["Measured", "class_frequencies", "kernel_mmd", "kl", "law_at", "misplaced", "rmse", "sliced_cramer"]

BLOCKS = 25  # of samples, for the standard errors
EDGES = 1025  # points at which distribution functions are compared
REACH = 9.0  # standard deviations to the edge of the box; outside lies less than 1e-18 of a Gaussian
BATCH = 2048  # states whose gradients are recorded at a time
PERIOD = 7.0  # bandwidths between periodic images of the box: they add exp(−7²/2) = 2e-11 to the kernel


class Measured(NamedTuple):
    """A measured distance, its standard error, and what n exact samples give on average."""

    value: float
    stderr: float
    floor: float = 0.0


def law_at(target, process, t):
    """The law of x_t = alpha·x_0 + sigma·ε for clean data from the target, a `GaussianMixture`."""
    alpha, sigma = process.marginal(float(t))
    if isinstance(target, Empirical):
        data = on_host(target.data)
        spread = math.hypot(alpha * target.bandwidth, sigma)
        return GaussianMixture(np.ones(len(data)), alpha * data, stds=spread)
    mixture = target if isinstance(target, GaussianMixture) else target.mixture()
    if mixture.covs is None:
        return mixture._replace(means=alpha * mixture.means, stds=np.hypot(alpha * mixture.stds, sigma))
    covs = alpha**2 * mixture.covs + sigma**2 * np.eye(mixture.covs.shape[-1])
    return mixture._replace(means=alpha * mixture.means, covs=covs)


# --- against the flow from the same start --------------------------------------------------------


def rmse(reference, floor=0.0):
    """√ E|x − y|², per entry of a state, to the end points y of the exact flow from the same starts.

    `floor` is the accuracy of y; exact samples have distance 0.
    """
    reference = _rows(reference)

    def measure(x):
        square = ((_rows(x) - reference) ** 2).mean(1)
        value = math.sqrt(square.mean())
        return Measured(value, _stderr(square) / (2 * value) if value else 0.0, floor)

    return measure


def misplaced(reference, data):
    """The share of samples whose nearest data point is not that of the exact flow from the same start."""
    nearest = _nearest(_rows(data))
    right = nearest(_rows(reference))

    def measure(x):
        wrong = (nearest(_rows(x)) != right).astype(np.float64)
        return Measured(float(wrong.mean()), _stderr(wrong))

    return measure


def kl(start, end):
    """KL(law of a map's images ‖ `end`) for states from the law `start`, two Gaussian mixtures, by change of variables.

        log r = log p_start(x) − log |det ∂y/∂x| − log p_end(y),    KL = E[log r + 1/r − 1]

    measure(x, move) takes states x (n, *event) and y = move(x), which moves tensors one by one. E 1/r = 1, so the
    last two terms change no expectation; they make each sample's share positive, and small where r is near 1. All
    that holds for a one-to-one map. One that folds, as steps that are far too long do, puts several sheets on one
    another, of which each sample sees its own: then it is an estimate. The exact flow has 0. Automatic
    differentiation by torch, one backward pass per entry of a state.
    """

    def measure(x, move):
        import torch

        parts = torch.as_tensor(x).split(BATCH)
        log = np.concatenate([log_ratio(torch, part.detach().clone().requires_grad_(), move) for part in parts])
        shares = log + np.expm1(-log)
        return Measured(float(shares.mean()), _stderr(shares))

    def log_ratio(torch, x, move):
        y = move(x)
        columns = y.reshape(len(y), -1).sum(0)
        rows = [torch.autograd.grad(column, x, retain_graph=True)[0].reshape(len(x), -1) for column in columns]
        volume = torch.linalg.slogdet(torch.stack(rows, 1).double())[1]
        x, y = x.detach(), y.detach()
        return on_host(start.log_prob(x) - end.log_prob(y) - volume)

    return measure


# --- against a law -------------------------------------------------------------------------------


def sliced_cramer(law, directions=16):
    """∫ (F_n − F)² dx, the distribution functions being those of projections, averaged over fixed directions.

    law   a `GaussianMixture`: its projections have F(x) = Σ w_k Φ((x − m_k)/s_k).
    The directions of the plane are equally spaced, those of other spaces random, the same at each call. The
    integral is a sum over 1025 points of a box that reaches 9 standard deviations beyond all means; samples
    outside of it count as lying on its edge.
    Source: G. Székely, M. Rizzo, "Energy statistics: a class of statistics based on distances", 2013,
    doi:10.1016/j.jspi.2013.03.018 (twice this is the energy distance of the projections).
    """
    from scipy import special

    across = _directions(math.prod(law.means.shape[1:]), directions)
    means, stds = _projected(law, across)
    if not stds.all():
        raise ValueError("law has no density: end before sigma = 0, or give the target a bandwidth")
    low, high = (means - REACH * stds).min(0), (means + REACH * stds).max(0)
    edges = np.linspace(low, high, EDGES)
    exact = sum(w * special.ndtr((edges - m) / s) for w, m, s in zip(law.weights, means, stds, strict=True))
    weights = np.broadcast_to((high - low) / (EDGES - 1) / len(across.T), exact.shape)

    def below(x):
        """The shares of x (n, d) at or below each edge."""
        shares = np.empty_like(exact)
        for share, v, a, b in zip(shares.T, across.T, low, high, strict=True):
            cell = np.ceil((x @ v - a) * ((EDGES - 1) / (b - a)))
            cell = cell.clip(0, EDGES - 1).astype(np.int64)
            share[:] = np.cumsum(np.bincount(cell, minlength=EDGES)) / len(x)
        return shares

    return _squared_distance(below, exact, weights, exact * (1 - exact))


def kernel_mmd(law, bandwidth=None):
    """E k(x, x') − 2 E k(x, y) + E k(y, y') with k(x, y) = exp(−|x − y|²/2b²), y from the law: MMD².

    law        a `GaussianMixture` of states of two numbers.
    bandwidth  b; default: the root mean square of the components' standard deviations.
    In a box that holds the law, and to which samples are clipped, k is a Fourier series with positive
    coefficients, k(x, y) = Σ_ω c_ω exp(iω·(x − y)), up to 1e-10; so MMD² = Σ_ω c_ω |φ_n(ω) − φ(ω)|² with the
    characteristic functions of the samples, one matrix product, and of the mixture, in closed form.
    Source: A. Gretton et al., "A kernel two-sample test", JMLR 2012.
    """
    if math.prod(law.means.shape[1:]) != 2:
        raise ValueError(f"kernel_mmd is for states of two numbers, got a law of shape {law.means.shape[1:]}")
    means, covs = law.means.reshape(-1, 2), _covariances(law)
    spread = np.sqrt(np.einsum("kii->ki", covs))
    b = float(bandwidth or math.sqrt((law.weights @ spread**2).mean()))
    if not b > 0:
        raise ValueError(f"bandwidth must be positive, got {b}; the default is the size of the law's components")
    low, high = (means - REACH * spread).min(0), (means + REACH * spread).max(0)
    step = 2 * math.pi / (high - low + PERIOD * b)
    # c_j falls to 1e-10 of c_0
    counts = [int(math.sqrt(2 * math.log(1e10)) / (b * s)) + 1 for s in step]
    j = np.arange(counts[0] + 1)[:, None], np.arange(counts[1] + 1)[None, :]
    c = [b * s / math.sqrt(2 * math.pi) * np.exp(-0.5 * (i * s * b) ** 2) for i, s in zip(j, step)]
    # φ(−ω) is the conjugate of φ(ω): the frequencies (j, ±l) with j, l >= 0 stand for all, the axes shared
    weights = (c[0] * c[1] * np.where(j[0] > 0, 2.0, 1.0) * np.where(j[1] > 0, 1.0, 0.5)).ravel()
    signs = np.concatenate([weights, weights])

    def exact(sign):
        u, v = step[0] * j[0], sign * step[1] * j[1]
        square = [covs[:, 0, 0], 2 * covs[:, 0, 1], covs[:, 1, 1]]
        terms = zip(law.weights, means, *square, strict=True)
        phases = (w * np.exp(1j * (u * m[0] + v * m[1]) - 0.5 * (a * u**2 + o * u * v + d * v**2))
                  for w, m, a, o, d in terms)  # fmt: skip
        return sum(phases).ravel()

    def characteristic(x):
        x = x.clip(low, high)
        one, two = (_powers(np.exp(1j * s * column), n) for s, column, n in zip(step, x.T, counts))
        return np.concatenate([(one @ two.T).ravel(), (one @ two.conj().T).ravel()]) / len(x)

    expected = np.concatenate([exact(1), exact(-1)])
    return _squared_distance(characteristic, expected, signs, 1 - np.abs(expected) ** 2)


def class_frequencies(data, labels):
    """Σ (p̂_c − p_c)²/p_c over the classes c of the nearest data points; the floor is (classes − 1)/n.

    p̂_c are the shares of the samples, p_c those of the data; n times the value is Pearson's chi-square.
    """
    nearest, (_, labels) = _nearest(_rows(data)), np.unique(on_host(labels), return_inverse=True)
    exact = np.bincount(labels) / len(labels)

    def shares(x):
        return np.bincount(labels[nearest(x)], minlength=len(exact)) / len(x)

    return _squared_distance(shares, exact, 1 / exact, exact * (1 - exact))


def _squared_distance(means_of, exact, weights, variances):
    """measure(x) of Σ w |mean g(x) − exact|², means_of(x) being the means over samples x (n, d).

    Standard error: jackknife over blocks of samples. Near the floor it is √2 too large.
    """

    def distance(means):
        return float((weights * np.abs(means - exact) ** 2).sum())

    def measure(x):
        x = _rows(x)
        floor = float((weights * variances).sum() / len(x))
        if not np.isfinite(x).all():
            return Measured(math.nan, math.nan, floor)
        blocks = np.array_split(x, min(BLOCKS, len(x)))
        sums = np.stack([len(block) * means_of(block) for block in blocks])
        total = sums.sum(0)
        without = [distance((total - part) / (len(x) - len(block))) for part, block in zip(sums, blocks)]
        error = np.std(without) * math.sqrt(len(blocks) - 1)
        return Measured(distance(total / len(x)), float(error), floor)

    return measure


# --- parts ---------------------------------------------------------------------------------------


def _rows(x):
    """States as rows (n, d) in float64."""
    x = on_host(x)
    return x.reshape(len(x), -1)


def _stderr(values):
    """Standard error of the mean."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def _nearest(data):
    """A function: the index of the nearest of the data (N, d) for each of x (n, d)."""
    half = 0.5 * (data * data).sum(1)

    def nearest(x):
        return np.concatenate([(half - part @ data.T).argmin(1) for part in np.array_split(x, len(x) // 1024 + 1)])

    return nearest


def _directions(d, count):
    """Unit vectors as columns (d, count); one on the line, equally spaced in the plane."""
    if d == 1:
        return np.ones((1, 1))
    if d == 2:
        angle = math.pi * (np.arange(count) + 0.5) / count
        return np.stack([np.cos(angle), np.sin(angle)])
    v = noise.normal((d, count), 0, noise.Stream.DIRECTION)
    return v / np.linalg.norm(v, axis=0)


def _projected(law, across):
    """Means and standard deviations (K, directions) of the components' projections."""
    variances, bases = law.eigen()
    means = law.means.reshape(len(law.means), -1) @ across
    if bases is None:
        return means, np.sqrt(variances @ across**2)
    return means, np.sqrt(np.einsum("kj,kjm->km", variances, np.einsum("kij,im->kjm", bases, across) ** 2))


def _covariances(law):
    variances, bases = law.eigen()
    return np.einsum("kj,jl->kjl", variances, np.eye(2)) if bases is None else law.covs


def _powers(z, count):
    """z⁰, …, z^count as rows, in single precision: off by 1e-6, which is nothing beside 1/√n."""
    rows = np.empty((count + 1, len(z)), np.complex64)
    rows[0] = 1
    for before, after in pairwise(rows):
        np.multiply(before, z, out=after, casting="same_kind")
    return rows
