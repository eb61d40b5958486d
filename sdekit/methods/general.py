"""Methods for noises that need not commute, taken one by one: g_j is column j of the diffusion, dW_j its increment."""

import math

from .. import math as sm
from ..checks import real
from ..equation import area, summed
from .method import Method, family, method

__all__ = ["milstein_general", "ri6"]


def _integrated(j, i, sde, t, x, y, g, there, w, areas, h, root):
    """[g_j(there) − g_j(x)] I_ij/√|h|."""
    within = 0.5 * w[i] * w[j] - (0.5 * abs(h) if i == j else 0.0)
    return (there[j] - g[j]) * (within * (1 / root) + area(sde, x, areas, i, j))


def _along(i, sde, t, x, y, g, w, areas, h, root):
    """What all noises change by along noise i."""
    there = sde.columns(t, y + g[i] * root)
    return summed(_integrated, g, i, sde, t, x, y, g, there, w, areas, h, root)


def _milstein(sde, t, t1, x, h, dw, *areas):
    root = sm.sqrt(abs(h))
    y, g, w = x + sde.drift(t, x) * h, sde.columns(t, x), sde.channels(dw, x)
    return y + sde.noise(t, x, dw) + summed(_along, g, sde, t, x, y, g, w, areas, h, root)


@family
def milstein_general(scale: float = 1.0) -> Method:
    """Derivative-free Milstein for general noise; converges to the Itô solution.

        y_i = x + f(t, x) h + g_i(t, x) √|h|
        x'  = x + f(t, x) h + g(t, x) dW + Σ_ij [g_j(t, y_i) − g_j(t, x)] I_ij / √|h|
        I_ij = ½ (dW_i dW_j − |h| δ_ij) + A_ij

    The Lévy areas A_ij are drawn given dW, with an error of at most |h| √(|h|/scale) in the mean square
    (`sdekit.levy`); `scale` is the time in which the coefficients change, and the cost grows with its root. They are
    left out where the noise commutes: diagonal and additive noise, and general noise that is declared commutative.
    Order: strong 1, weak 1. Cost: 1 drift, m + 1 diffusions of m noises, and about m √(m scale/(30 |h|)) normals.
    Source: P. Kloeden, E. Platen, "Numerical Solution of Stochastic Differential Equations", 1992, eq. (11.1.7).
    """
    strong = {"general": 1.0, "diagonal": 1.0, "additive": 1.0}
    scale = real("scale", scale, above=0, below=math.inf)
    return method(strong=strong, weak=1.0, order=1, columns=True, areas=scale)(_milstein)


def _weak(i, j, w, v, root):
    """Î_ij/√|h| of i ≠ j, 0 of i = j: its moments, to the order that counts, are those of I_ij."""
    if i == j:
        return 0.0 * w[i]
    return (0.5 / root) * w[i] * w[j] + (0.5 * v[j] if j < i else -0.5 * v[i])


def _other(j, i, g, w, v, root):
    return g[j] * _weak(i, j, w, v, root)


def _stages(i, sde, t, t1, x, y, g, w, v, root):
    """What noise i adds."""
    kick, others = g[i] * root, summed(_other, g, i, g, w, v, root)
    ahead, behind = sde.columns(t1, y + kick)[i], sde.columns(t1, y - kick)[i]
    up, down = sde.columns(t, x + others)[i], sde.columns(t, x - others)[i]
    double = (w[i] * w[i] - root * root) * (0.25 / root)
    return (ahead + behind + up + down) * (0.25 * w[i]) + (ahead - behind) * double + (up - down) * (0.5 * root)


@method(
    strong={"general": 0.5, "diagonal": 1.0, "additive": 1.0},
    weak=2.0,
    order=2,
    drifts=2,
    normals=2,
    evaluates_end=True,
    columns=True,
)
def ri6(sde, t, t1, x, h, dw, dz):
    """Rößler's RI6 for general noise, of weak order 2; converges to the Itô solution.

        y   = x + f(t, x) h
        y±  = y ± g_i(t, x) √|h|,   z± = x ± Σ_{j≠i} g_j(t, x) Î_ij / √|h|
        x'  = x + ½ [f(t, x) + f(t1, y + g(t, x) dW)] h
              + Σ_i {¼ [g_i(t1, y+) + g_i(t1, y−) + g_i(t, z+) + g_i(t, z−)] dW_i
                     + ¼ [g_i(t1, y+) − g_i(t1, y−)] (dW_i² − |h|)/√|h| + ½ [g_i(t, z+) − g_i(t, z−)] √|h|}
        Î_ij = ½ (dW_i dW_j − √|h| dZ_i) for i < j,   ½ (dW_i dW_j + √|h| dZ_j) for i > j

    Order: weak 2, strong 1/2 (1 for diagonal and additive noise). Cost: 2 drifts, 4 m + 1 diffusions of m noises
    (5 of diagonal noise), 2 normals. The source's variables of two and three values are normals here, whose moments
    agree with theirs to the order that counts, so that dW is that of the Brownian path.
    Source: A. Rößler, "Second order Runge–Kutta methods for Itô stochastic differential equations", 2009,
    doi:10.1137/060673308.
    """
    root = sm.sqrt(abs(h))
    f, g = sde.drift(t, x), sde.columns(t, x)
    y, w, v = x + f * h, sde.channels(dw, x), sde.channels(dz, x)
    slope = f + sde.drift(t1, y + sde.noise(t, x, dw))
    return x + slope * (0.5 * h) + summed(_stages, g, sde, t, t1, x, y, g, w, v, root)
