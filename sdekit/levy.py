"""Lévy areas: what the iterated integrals of two noises over a step have beyond its increments.

    I_ij = ∫∫ dW_i dW_j = ½ (dW_i dW_j − h δ_ij) + A_ij,     A_ij = −A_ji

With X_k, Y_k ~ N(0, 1), one for each noise, from the Fourier series of the bridge, ξ = dW/√h and V_k = Y_k + √2 ξ,

    A_ij = h/(2π) Σ_k (X_ki V_kj − X_kj V_ki)/k.

Of the terms k > p that part which has ξ in it is normal given ξ, and is drawn as such; the other,
Σ (X_ki Y_kj − X_kj Y_ki)/k, whose covariance is 2 Σ 1/k² times the identity, is taken for normal. The areas then have
their means and covariances given dW, and each is, in the mean square, within h √m/(2 √3 π p) of one of the exact law.
Source: M. Wiktorsson, "Joint characteristic function and simultaneous simulation of iterated Itô integrals for multiple
independent Brownian motions", 2001, doi:10.1214/aoap/1015345301; J. Mrongowius, A. Rößler, "On the approximation and
simulation of iterated stochastic integrals and the corresponding Lévy areas in terms of a multidimensional Brownian
motion", 2022, doi:10.1080/07362994.2021.1922291.
"""

import functools
import math

from . import arrays, noise

__all__: list[str] = []

ROOT2 = math.sqrt(2)


def terms(m, h, scale):
    """p, the least number of terms for which the error of an area of m noises is at most h √(h/scale)."""
    p = math.ceil(math.sqrt(m * scale / (12 * math.pi**2 * abs(h))))
    if quad(m, p) + m * m >= 65536:
        raise ValueError(
            f"scale is {scale:g}, for which the areas of {m} noises over a step of {abs(h):g} take {p} terms of their "
            f"series; give the time in which the coefficients change"
        )
    return p


def quad(m, k):
    """The first counter of term k, which has 2 m normals X, Y, four of a counter; what is left over is not used."""
    return k * ((m + 1) // 2)


@functools.lru_cache(1024)
def tail(p):
    """√(2 Σ 1/k²) of the terms k > p."""
    return math.sqrt(2 * (math.pi**2 / 6 - sum(1 / k**2 for k in range(p, 0, -1))))


def normals(rows, step, first, count):
    """The first `count` normals of the counters `first`, … of a step, from a function `rows` as loops have it."""
    words = (noise.word(noise.Stream.AREA, first + q) for q in range(-(-count // 4)))
    return arrays.joined([rows(4 * step, 4, word) for word in words])[:count]


def areas(z, p, normals):
    """A_ij/h as m rows of m, each of the shape of ξ_i, for the normals ξ of dW, of shape (m, …).

    p        the terms of the series that are taken
    normals  a function (first counter, count) of count standard normals, (count, …), independent of z
    """
    m, rest, total = len(z), tail(p), 0.0
    for k in range(p):
        xy = normals(quad(m, k), 2 * m)
        v = (xy[m:] + ROOT2 * z) * (1 / (k + 1))
        total = total + xy[:m, None] * v[None]
    last = normals(quad(m, p), m + m * (m - 1) // 2)
    total, others = total + last[:m, None] * (rest * z)[None], iter(last[m:])
    rows = [[0.0 * z[0]] * m for _ in range(m)]
    for i in range(m):
        for j in range(i + 1, m):
            rows[i][j] = (total[i, j] - total[j, i] + rest * next(others)) * (0.5 / math.pi)
            rows[j][i] = -rows[i][j]
    return [arrays.stack(row) for row in rows]
