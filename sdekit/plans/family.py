"""The targets that a plan is solved on: Gaussians of all sizes and random mixtures, with their exact flows.

States are y = x/alpha at the level l = log(sigma/alpha), where all processes are the same. A member is a mixture in
d dimensions of K points m_k with weights w_k, blurred along the axes by variances v; for a Gaussian they are at 0.
With s = e^l, q = 1/(v + s²), and p the softmax of log w_k + Σ q (m_k y − m_k²/2),

    D = s² q M + v q y,   M = Σ p_k m_k,   dD/dy = v q + s² q C q,   C = Σ p_k (m_k − M)(m_k − M)ᵀ

Mixtures of one dimension alone lack what targets of several have: there is more than one boundary, and none is met
straight on. Plans that are solved on eight dimensions serve targets of two, six, ten and 64; a few steps cannot tell so
many points apart, and are better spent on what fewer have in common. Every other mixture has its points in clusters:
data such as patches of photographs have detail far below their spread, which is decided late. Points are blurred by a
share of their distances: with far less, a trajectory ends at one point or at another, its error jumps, and no
derivative tells how to lessen it.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..methods.multistep import integral

CLUSTERS, CLOSEST = 3, 0.1  # of a clustered mixture, and their least size as a share of their distances
SIZES = 24  # of the Gaussians, a number that the dimensions divide
LEAST = 1e-3  # the least of their variances, and their share of the largest where that is below 1
SMALLEST = 0.3  # of a mixture: its least size as a share of the spread
BLURS = 0.12, 0.5  # least and largest, as shares of the mean distance between nearest points
GAUSSIANS = 3.0  # what their errors weigh against those of the mixtures
LIGHTEST = 0.02  # weight of a point
FLOW = 400  # steps of the flow: its error is a hundredth of that of twenty steps


class Size(NamedTuple):
    """Of a member."""

    dims: int
    points: int
    paths: int  # trajectories


SMALL, LARGE = Size(3, 12, 16), Size(8, 32, 8)
FEW = 7  # steps at most for which members are small


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


def family(spread, high, low, steps, count, seed):
    """Gaussians and `count` mixtures of at most that standard deviation, for steps from the level high to low."""
    rng, noise, size = np.random.default_rng(seed), math.exp(high), SMALL if steps <= FEW else LARGE
    parts = [gaussians(spread, noise, size), *(mixture(rng, spread, noise, size, count, 1 + i) for i in range(count))]
    made = Family(*map(np.concatenate, zip(*parts, strict=True)))
    return made._replace(end=flow(made, high, low))


def gaussians(spread, noise, size):
    """Variances log-uniform up to spread², each at one standard deviation."""
    variances = np.geomspace(LEAST * min(1.0, spread**2), spread**2, SIZES).reshape(size.dims, -1).T
    n, start = len(variances), np.sqrt(variances + noise**2)
    empty = np.zeros((n, size.points, size.dims)), np.zeros((n, size.points)), variances
    return *empty, start, start, np.full((n, 1), GAUSSIANS / (spread * math.sqrt(SIZES))), np.zeros(n, int)


def mixture(rng, spread, noise, size, count, number):
    """One mixture, and starts from its law at the first level."""
    d, k, paths = size
    weights = np.maximum(rng.dirichlet(np.ones(k)), LIGHTEST)
    weights /= weights.sum()
    points = rng.standard_normal((k, d))
    if number % 2:
        centers = rng.standard_normal((CLUSTERS, d))[rng.integers(0, CLUSTERS, k)]
        points = centers + CLOSEST ** rng.random() * points
    points -= weights @ points
    largest = math.sqrt(np.linalg.eigvalsh((points.T * weights) @ points)[-1])
    points *= spread * SMALLEST ** rng.random() / largest
    gaps = np.linalg.norm(points[:, None] - points, axis=-1) + np.diag(np.full(k, np.inf))
    variances = (gaps.min(1).mean() * np.exp(rng.uniform(*np.log(BLURS), d))) ** 2
    drawn = points[rng.choice(k, paths, p=weights)] + np.sqrt(variances) * rng.standard_normal((paths, d))
    start = drawn + noise * rng.standard_normal((paths, d))
    shared = (np.tile(a, (paths, *[1] * a.ndim)) for a in (points, np.log(weights), variances))
    scale = np.full((paths, 1), 1 / (spread * math.sqrt(count * paths * d)))
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
