"""The targets that a plan is solved on: Gaussians of all sizes and random mixtures, with their exact flows.

States are y = x/alpha at the level l = log(sigma/alpha), where all processes are the same. A member is a mixture in
d dimensions of K points m_k with weights w_k, blurred along the axes by variances v; for a Gaussian they are at 0.
With s = e^l, q = 1/(v + s²), and p the softmax of log w_k + Σ q (m_k y − m_k²/2),

    D = s² q M + v q y,   M = Σ p_k m_k,   dD/dy = v q + s² q C q,   C = Σ p_k (m_k − M)(m_k − M)ᵀ

Mixtures of one dimension alone lack what targets of several have: there is more than one boundary, and none is met
straight on. There are two sizes: what is solved on the larger one is better, also on the smaller, with few evaluations,
and worse with many. Every other mixture has its points in clusters: data such as patches of photographs have detail far
below their spread, which is decided late.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..methods.multistep import integral

CLUSTERS, CLOSEST = 3, 0.1  # of a clustered mixture, and their least size as a share of their distances
VARIANCES = 24  # of the Gaussians, a number that dimensions divide
LEAST = 1e-3  # the least of their variances, and their share of the largest where that is below 1
SMALLEST, FINEST = 0.3, 0.03  # of a mixture: its size, and its blur, as shares of the spread
GAUSSIANS = 3.0  # what their errors weigh against those of the mixtures
LIGHTEST = 0.02  # weight of a point
FLOW = 400  # steps of the flow: its error is a hundredth of that of twenty steps


class Size(NamedTuple):
    """Of a mixture."""

    dims: int
    points: int
    paths: int  # trajectories


SMALL, LARGE = Size(3, 12, 16), Size(8, 32, 8)


class Family(NamedTuple):
    """T trajectories along d axes, of mixtures of K points.

    points (T, K, d), log_weights (T, K), variances (T, d)
    start, end (T, d)  states, and where the exact flow takes them
    scale (T, 1)   1/(spread · √(entries)) of each trajectory's error
    member (T,)    numbers of the targets; the Gaussians are 0, the mixtures of odd numbers are clustered
    """

    points: Any
    log_weights: Any
    variances: Any
    start: Any
    end: Any
    scale: Any
    member: Any


def family(spread, high, low, count, seed, size=SMALL):
    """Gaussians and `count` mixtures of at most that standard deviation, between the levels high and low."""
    rng, noise = np.random.default_rng(seed), math.exp(high)
    parts = [gaussians(spread, noise, size), *(mixture(rng, spread, noise, size, count, 1 + i) for i in range(count))]
    made = Family(*map(np.concatenate, zip(*parts, strict=True)))
    return made._replace(end=flow(made, high, low))


def gaussians(spread, noise, size):
    """Variances log-uniform up to spread², each at one standard deviation."""
    variances = np.geomspace(LEAST * min(1.0, spread**2), spread**2, VARIANCES).reshape(size.dims, -1).T
    n, start = len(variances), np.sqrt(variances + noise**2)
    empty = np.zeros((n, size.points, size.dims)), np.zeros((n, size.points)), variances
    return *empty, start, start, np.full((n, 1), GAUSSIANS / (spread * math.sqrt(VARIANCES))), np.zeros(n, int)


def mixture(rng, spread, noise, size, count, number):
    """One mixture, and starts from its law at the first level."""
    dims, points, paths = size
    weights = np.maximum(rng.dirichlet(np.ones(points)), LIGHTEST)
    weights /= weights.sum()
    means = rng.standard_normal((points, dims))
    if number % 2:
        centers = rng.standard_normal((CLUSTERS, dims))[rng.integers(0, CLUSTERS, points)]
        means = centers + CLOSEST ** rng.random() * means
    means -= weights @ means
    deviation = math.sqrt(np.linalg.eigvalsh((means.T * weights) @ means)[-1])
    means *= spread * SMALLEST ** rng.random() / deviation
    gaps = np.linalg.norm(means[:, None] - means, axis=-1) + np.diag(np.full(points, np.inf))
    least = FINEST * spread
    most = max(math.sqrt(2) * least, gaps.min(1).mean() / 2)
    variances = np.exp(2 * rng.uniform(math.log(least), math.log(most), dims))
    drawn = means[rng.choice(points, paths, p=weights)] + np.sqrt(variances) * rng.standard_normal((paths, dims))
    start = drawn + noise * rng.standard_normal((paths, dims))
    shared = (np.tile(a, (paths, *[1] * a.ndim)) for a in (means, np.log(weights), variances))
    scale = np.full((paths, 1), 1 / (spread * math.sqrt(count * paths * dims)))
    return *shared, start, start, scale, np.full(paths, number)


def posterior(family, y, level):
    """(D, M, p, s² q, q) at a level, a float."""
    s2 = math.exp(2 * level)
    q = 1 / (family.variances + s2)
    log = family.log_weights + _of_points(family, y * q, q)
    p = np.exp(log - log.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    mean, share = (p[:, None] @ family.points)[:, 0], s2 * q
    return share * mean + (1 - share) * y, mean, p, share, q


def slopes(family, y, level):
    """(D, dD/dy (T, d, d), dD/dl), D and the last (T, d)."""
    clean, mean, p, share, q = posterior(family, y, level)
    about = family.points - mean[:, None]
    weighted = p[..., None] * about
    by_state = share[..., None] * (weighted.swapaxes(1, 2) @ about) * q[:, None]
    by_state += (1 - share)[..., None] * np.eye(y.shape[1])
    rate = -2 * share * q  # dq/dl
    bend = (_of_points(family, y * rate, rate)[:, None] @ weighted)[:, 0]
    return clean, by_state, 2 * share * (1 - share) * (mean - y) + share * bend


def _of_points(family, linear, square):
    """Σ (m_k linear − m_k² square/2) over the axes, (T, K)."""
    m = family.points
    return (m @ linear[..., None] - 0.5 * (m * m) @ square[..., None])[..., 0]


def flow(family, high, low):
    """Where the exact flow takes the starts: exponential multistep of order 4, in many equal steps."""
    levels, y, past = np.linspace(high, low, FLOW + 1), family.start, []
    h = (high - low) / FLOW
    for level in levels[:-1]:
        past = [posterior(family, y, level)[0], *past[:3]]
        bends = integral(h, [-h * j for j in range(1, len(past))]) if len(past) > 1 else []
        y = math.exp(-h) * y - math.expm1(-h) * past[0] + sum(w * (v - past[0]) for w, v in zip(bends, past[1:]))
    return y
