"""Methods for stochastic differential equations dX = f(t, X) dt + g(t, X) dW.

In every step dw ~ N(0, |h|), and where a second dz ~ N(0, |h|) comes along it is independent of dw
and the integral of the Brownian path over the step is I₍₁,₀₎ = h (dw + dz/√3) / 2.
"""

import math

from .. import math as sm
from .method import method
from .taken import Taken

__all__ = ["euler_maruyama", "heun", "stratonovich_midpoint", "milstein", "milstein_strat", "sra1", "sri1w1", "exact"]

RSQRT3 = 1 / math.sqrt(3)


@method(strong={"general": 0.5, "diagonal": 0.5, "additive": 1.0}, weak=1.0, order=1)
def euler_maruyama(sde, t, t1, x, h, dw):
    """Euler–Maruyama; converges to the Itô solution.

        x' = x + f(t, x) h + g(t, x) dW

    Order: strong 1/2 (1 for additive noise), weak 1. Cost: 1 drift, 1 diffusion.
    Source: G. Maruyama, "Continuous Markov processes and stochastic equations", 1955, doi:10.1007/BF02846028.
    """
    return x + sde.drift(t, x) * h + sde.noise(t, x, dw)


def _heun(sde, t, t1, x, h, dw):
    """`heun` with the difference to Euler's step, local error of order 1."""
    f, g = sde.drift(t, x), sde.noise(t, x, dw)
    y = x + f * h + g
    better = x + (f + sde.drift(t1, y)) * (0.5 * h) + (g + sde.noise(t1, y, dw)) * 0.5
    return Taken(better, better - y)


def _milstein(sde, t, t1, x, h, dw):
    """`milstein` with the difference to Euler–Maruyama's step, the drift's at its end, local error of order 1."""
    root = sm.sqrt(abs(h))
    f = sde.drift(t, x)
    y = x + f * h + sde.noise(t, x, root)
    double = (dw * dw - abs(h)) * (0.5 / root)
    change = sde.noise(t, y, double) - sde.noise(t, x, double)
    better = x + f * h + sde.noise(t, x, dw) + change
    return Taken(better, change + (sde.drift(t1, better) - f) * (0.5 * h))


def _sra1(sde, t, t1, x, h, dw, dz):
    """`sra1` with the difference to Euler–Maruyama's step, local error of order 3/2."""
    mean = (dw + dz * RSQRT3) * 0.5
    f = sde.drift(t, x)
    change = (sde.drift(t + 0.75 * h, x + f * (0.75 * h) + sde.noise(t1, x, 1.5 * mean)) - f) * (2 / 3 * h)
    return Taken(x + f * h + change + sde.noise(t1, x, dw - mean) + sde.noise(t, x, mean), change)


@method(
    strong={"general": 0.5, "diagonal": 1.0, "additive": 1.0},
    weak=1.0,
    order=2,
    calculus="stratonovich",
    drifts=2,
    evaluates_end=True,
    error_order=0.0,
    embedded=_heun,
)
def heun(sde, t, t1, x, h, dw):
    """Stochastic Heun (trapezoidal predictor–corrector); converges to the Stratonovich solution.

        y  = x + f(t, x) h + g(t, x) dW
        x' = x + ½ [f(t, x) + f(t1, y)] h + ½ [g(t, x) + g(t1, y)] dW

    Order: strong 1/2 (1 where the noise commutes), weak 1. Cost: 2 drifts, 2 diffusions.
    Use for Stratonovich problems, additive noise, and equations without noise, where it is Heun's method (the
    explicit trapezoid) of order 2.
    Source: W. Rümelin, "Numerical treatment of stochastic differential equations", 1982, doi:10.1137/0719041.
    """
    f, g = sde.drift(t, x), sde.noise(t, x, dw)
    y = x + f * h + g
    return x + (f + sde.drift(t1, y)) * (0.5 * h) + (g + sde.noise(t1, y, dw)) * 0.5


@method(strong={"general": 0.5, "diagonal": 1.0, "additive": 1.0}, weak=1.0, order=2, calculus="stratonovich", drifts=2)
def stratonovich_midpoint(sde, t, t1, x, h, dw):
    """Explicit midpoint; converges to the Stratonovich solution.

        y  = x + ½ f(t, x) h + ½ g(t, x) dW
        x' = x + f(t + h/2, y) h + g(t + h/2, y) dW

    Order: strong 1/2 (1 where the noise commutes), weak 1. Cost: 2 drifts, 2 diffusions.
    Never evaluates the end of the step.
    Source: K. Burrage, P. Burrage, "High strong order explicit Runge–Kutta methods for stochastic
    ordinary differential equations", 1996, doi:10.1016/S0168-9274(96)00027-X.
    """
    middle = t + 0.5 * h
    y = x + sde.drift(t, x) * (0.5 * h) + sde.noise(t, x, 0.5 * dw)
    return x + sde.drift(middle, y) * h + sde.noise(middle, y, dw)


@method(strong={"diagonal": 1.0, "additive": 1.0}, weak=1.0, order=1, error_order=0.0, embedded=_milstein)
def milstein(sde, t, t1, x, h, dw):
    """Derivative-free Milstein for diagonal noise; converges to the Itô solution.

        y  = x + f(t, x) h + g(t, x) √|h|
        x' = x + f(t, x) h + g(t, x) dW + [g(t, y) − g(t, x)] (dW² − |h|) / (2 √|h|)

    Order: strong 1, weak 1. Cost: 1 drift, 2 diffusions.
    Source: P. Kloeden, E. Platen, "Numerical Solution of Stochastic Differential Equations", 1992, eq. (11.1.3).
    """
    root = sm.sqrt(abs(h))
    drift = sde.drift(t, x) * h
    y = x + drift + sde.noise(t, x, root)
    double = (dw * dw - abs(h)) * (0.5 / root)
    return x + drift + sde.noise(t, x, dw - double) + sde.noise(t, y, double)


@method(strong={"diagonal": 1.0, "additive": 1.0}, weak=1.0, order=1, calculus="stratonovich")
def milstein_strat(sde, t, t1, x, h, dw):
    """Derivative-free Milstein for diagonal noise; converges to the Stratonovich solution.

        y± = x ± g(t, x) √|h|
        x' = x + f(t, x) h + g(t, x) dW + [g(t, y+) − g(t, y−)] dW² / (4 √|h|)

    dW² has mean |h|, so that an error of the one-sided difference would accumulate and leave strong
    order 1/2; the central one keeps order 1.
    Order: strong 1, weak 1. Cost: 1 drift, 3 diffusions.
    Source: after P. Kloeden, E. Platen, "Numerical Solution of Stochastic Differential Equations",
    1992, eq. (10.3.4), the derivative replaced by a central difference.
    """
    root = sm.sqrt(abs(h))
    kick = sde.noise(t, x, root)
    double = dw * dw * (0.25 / root)
    change = sde.noise(t, x + kick, double) - sde.noise(t, x - kick, double)
    return x + sde.drift(t, x) * h + sde.noise(t, x, dw) + change


@method(strong={"additive": 1.5}, weak=2.0, order=2, drifts=2, normals=2, error_order=0.5, embedded=_sra1)
def sra1(sde, t, t1, x, h, dw, dz):
    """Rößler's SRA1 for additive noise.

        J  = I₍₁,₀₎ / h
        y  = x + ¾ f(t, x) h + 3/2 g(t1) J
        x' = x + [⅓ f(t, x) + ⅔ f(t + ¾ h, y)] h + g(t1) (dW − J) + g(t) J

    Order: strong 3/2, weak 2. Cost: 2 drifts, 3 diffusions, 2 normals. Itô and Stratonovich agree.
    Source: A. Rößler, "Runge–Kutta methods for the strong approximation of solutions of stochastic
    differential equations", 2010, table 6.3, doi:10.1137/09076636X.
    """
    mean = (dw + dz * RSQRT3) * 0.5
    f = sde.drift(t, x)
    y = x + f * (0.75 * h) + sde.noise(t1, x, 1.5 * mean)
    drift = (f + 2 * sde.drift(t + 0.75 * h, y)) * (h / 3)
    return x + drift + sde.noise(t1, x, dw - mean) + sde.noise(t, x, mean)


def _sri1w1_stages(sde, t, t1, x, h, dw, dz):
    size = abs(h)
    root = sm.sqrt(size)
    j11 = (dw * dw - size) * (0.5 / root)
    j10 = (dw + dz * RSQRT3) * 0.5
    j111 = dw * (dw * dw - 3 * size) * (1 / (6 * size))
    quarter = t + 0.25 * h
    f1 = sde.drift(t, x) * h
    f2 = sde.drift(t + 0.75 * h, x + 0.75 * f1 + sde.noise(t, x, 1.5 * j10)) * h
    x2 = x + 0.25 * f1 + sde.noise(t, x, 0.5 * root)
    x3 = x + f1 - sde.noise(t, x, root)
    x4 = x + 0.25 * f1 + sde.noise(t, x, -5 * root) + sde.noise(quarter, x2, 3 * root) + sde.noise(t1, x3, 0.5 * root)
    return j11, j10, j111, quarter, f1, f2, x2, x3, x4


def _sri1w1(sde, t, t1, x, h, dw, dz):
    """`sri1w1` with its part beyond strong order 1, of order 3/2: C. Rackauckas, Q. Nie, "Adaptive methods for
    stochastic differential equations via natural embeddings and rejection sampling with memory", 2017, eq. (20).
    """
    j11, j10, j111, quarter, f1, f2, x2, x3, x4 = _sri1w1_stages(sde, t, t1, x, h, dw, dz)
    euler = f1 + sde.noise(t, x, -1 * dw - j11) + sde.noise(quarter, x2, (dw + j11) * (4 / 3))
    change = (
        (f2 - f1) * (2 / 3)
        + sde.noise(t, x, 2 * (j10 - j111))
        + sde.noise(quarter, x2, (5 * j111 - 4 * j10) * (1 / 3))
        + sde.noise(t1, x3, (j10 + j111) * (-2 / 3))
        + sde.noise(quarter, x4, j111)
    )
    return Taken(x + euler + sde.noise(t1, x3, (2 * dw - j11) * (1 / 3)) + change, change)


@method(
    strong={"diagonal": 1.5, "additive": 1.5},
    weak=1.5,
    order=2,
    drifts=2,
    normals=2,
    error_order=0.5,
    embedded=_sri1w1,
)
def sri1w1(sde, t, t1, x, h, dw, dz):
    """Rößler's SRI1W1 for diagonal noise; converges to the Itô solution.

        J₁ = dW,  J₁₁ = (dW² − |h|)/(2 √|h|),  J₁₀ = I₍₁,₀₎/h,  J₁₁₁ = (dW³ − 3 |h| dW)/(6 |h|)
        f₁ = f(t, x),   g₁ = g(t, x)
        f₂ = f(t + ¾ h, x + ¾ f₁ h + 3/2 g₁ J₁₀)
        g₂ = g(t + ¼ h, x + ¼ f₁ h + ½ g₁ √|h|)
        g₃ = g(t1,      x + f₁ h − g₁ √|h|)
        g₄ = g(t + ¼ h, x + ¼ f₁ h + (−5 g₁ + 3 g₂ + ½ g₃) √|h|)
        x' = x + (⅓ f₁ + ⅔ f₂) h + g₁ (−J₁ − J₁₁ + 2 J₁₀ − 2 J₁₁₁) + g₂ (4/3 J₁ + 4/3 J₁₁ − 4/3 J₁₀ + 5/3 J₁₁₁)
               + g₃ (⅔ J₁ − ⅓ J₁₁ − ⅔ J₁₀ − ⅔ J₁₁₁) + g₄ J₁₁₁

    Order: strong 3/2, weak 3/2 (2 for additive noise and for a diffusion linear in x: elsewhere the stages
    at ±√|h| leave an error of order h^{5/2} in the second moment of a step). Cost: 2 drifts, 4 diffusions,
    2 normals.
    Source: A. Rößler, "Runge–Kutta methods for the strong approximation of solutions of stochastic
    differential equations", 2010, table 6.2, doi:10.1137/09076636X.
    """
    j11, j10, j111, quarter, f1, f2, x2, x3, x4 = _sri1w1_stages(sde, t, t1, x, h, dw, dz)
    return (
        x
        + (f1 + 2 * f2) * (1 / 3)
        + sde.noise(t, x, -1 * dw - j11 + 2 * (j10 - j111))
        + sde.noise(quarter, x2, (4 * (dw + j11 - j10) + 5 * j111) * (1 / 3))
        + sde.noise(t1, x3, (2 * (dw - j10 - j111) - j11) * (1 / 3))
        + sde.noise(quarter, x4, j111)
    )


@method(noise=("none", "additive", "diagonal"), drifts=0, needs=("transition",))
def exact(sde, t, t1, x, h, dw):
    """The process's own transition, drawn with the normal dw/√|h|: exact in law for steps of any size.

    Not exact along a given Brownian path, so there is no strong order. Serves the processes whose
    transition is Normal or LogNormal.
    """
    return sde.process.transition(t, t1, x).sample(dw * (1 / sm.sqrt(abs(h))))
