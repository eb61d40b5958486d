"""Exponential one-step samplers: they read the pair (D, ε) and the schedule of `Reverse`, and bring their own noise.

A step runs from t to t1, where there is less noise: (a0, s0) and (a1, s1) are alpha and sigma at its ends,
λ = log(alpha/sigma), h = λ1 − λ0 > 0, z is standard normal and x = a0 D + s0 ε. Seen as x/alpha over λ all
processes are the same, so that all of them give the same x/alpha at equal signal-to-noise ratios.
The eta of `Reverse` is not used. Where alpha(t) = 0 (pure noise, h infinite) a step is one of first order,
and a step to sigma(t1) = 0 returns D; neither evaluates more than that.
"""

import math

import numpy as np

from .. import math as sm
from ..arrays import combined
from ..checks import integer, real
from .method import family, method

__all__ = ["ddim", "ancestral", "exponential_euler", "dpm_solver", "dpmpp_sde"]

SERIES, TERMS = 1.5, 22  # for |z| below the first, phi is that many terms of its power series


# --- shared with the multistep samplers ----------------------------------------------------------


def schedule(sde, t, t1):
    """(a0, s0, a1, s1, h): alpha and sigma at both ends, h = log(a1/s1) − log(a0/s0), inf where a0 = 0 or s1 = 0."""
    (a0, s0), (a1, s1) = sde.process.marginal(t), sde.process.marginal(t1)
    if any(getattr(value, "ndim", 0) for value in (a0, s0, a1, s1)):
        raise ValueError("the process has one schedule per path (an array parameter); samplers take one for all paths")
    h = sm.log((a1 / a0) * (s0 / s1)) if a0 > 0 and s1 > 0 else math.inf
    return a0, s0, a1, s1, h


def first_order(plan, x, clean):
    """Terms of x' = (s1/s0) x + a1 (1 − e^{−h}) D: the flow's exact step with D constant. `plan` is a `schedule`."""
    _, s0, a1, s1, h = plan
    if s0 == 0:
        raise ValueError("the first time has sigma = 0, where x tells nothing of the noise; start later, or use ddim")
    return (s1 / s0, x), (-a1 * math.expm1(-h), clean)


def stochastic(plan, x, clean, noise, dt):
    """Terms of x' = (s1/s0) e^{−h} x + s1 √(1 − e^{−2h}) z + a1 (1 − e^{−2h}) D: the reverse SDE's, with D constant.

    z = noise/√|dt|.
    """
    _, s0, a1, s1, h = plan
    gain = -math.expm1(-2 * h)
    return (s1 / s0 * math.exp(-h), x), (s1 * math.sqrt(gain / abs(dt)), noise), (a1 * gain, clean)


def phi(k, z):
    """φ_k(z) = ∫₀¹ e^{(1−u) z} u^{k−1}/(k−1)! du = (φ_{k−1}(z) − 1/(k−1)!)/z,  φ_0 = e^z;   φ_k(0) = 1/k!.

    Exponential integrators weigh a slope that is polynomial over the step with these. For a float z.
    """
    if abs(z) < SERIES:
        return sum(z**n / math.factorial(n + k) for n in reversed(range(TERMS)))
    value = math.expm1(z) / z
    for j in range(1, k):
        value = (value - 1 / math.factorial(j)) / z
    return value


# --- methods -------------------------------------------------------------------------------------


@family
def ddim(eta=0.0):
    """Denoising diffusion implicit models: the flow (eta = 0), with fresh noise in place of a share of ε.

        x' = a1 D + √(s1² − τ²) ε + τ z,   τ² = eta² s1² (1 − e^{−2h})

    eta scales the standard deviation of the fresh noise, 0 to 1; with 0 no normals are drawn, and the step
    also runs from data to noise. eta = 1 is `ancestral`.
    Order: 1; weak 1 for eta > 0. Cost: 1 evaluation.
    Source: J. Song, C. Meng, S. Ermon, "Denoising diffusion implicit models", ICLR 2021, arXiv:2010.02502,
    equations 12 and 16.
    """
    eta = real("eta", eta, 0, 1)
    kinds = {"noise": ("none", "additive"), "needs": ("pair",)}

    if eta == 0:

        @method(**kinds, order=1, streams=())
        def ddim(sde, t, t1, x, dt):
            clean, eps = sde.process.pair(t, x)
            a1, s1 = sde.process.marginal(t1)
            return combined((a1, clean), (s1, eps))

        return ddim

    @method(**kinds, weak=1)
    def ddim(sde, t, t1, x, dt, dw):
        _, _, a1, s1, h = schedule(sde, t, t1)
        clean, eps = sde.process.pair(t, x)
        kept = math.sqrt((1 - eta * eta) + eta * eta * math.exp(-2 * h))
        fresh = eta * math.sqrt(-math.expm1(-2 * h))
        return combined((a1, clean), (s1 * kept, eps), (s1 * fresh / math.sqrt(abs(dt)), dw))

    return ddim


@method(noise=("none", "additive"), weak=1, needs=("pair",))
def ancestral(sde, t, t1, x, dt, dw):
    """Ancestral sampling: a draw of x_{t1} given x_t and x_0 = D.

        x' = (s1/s0) e^{−h} x + a1 (1 − e^{−2h}) D + s1 √(1 − e^{−2h}) z

    This is DDPM with its fixed small variance, `ddim(1)`, SDE-DPM-Solver++ of first order and the ancestral
    Euler method: one and the same.
    Order: weak 1. Cost: 1 evaluation.
    Source: J. Ho, A. Jain, P. Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020,
    arXiv:2006.11239, equations 6 and 7.
    """
    return combined(*stochastic(schedule(sde, t, t1), x, sde.process.pair(t, x)[0], dw, dt))


@method(noise=("none", "additive"), weak=1, needs=("pair",))
def exponential_euler(sde, t, t1, x, dt, dw):
    """Exponential Euler–Maruyama of the reverse SDE: its linear part is exact, the score is frozen over the step.

        x' = (a1/a0) x + W ∇log p_t(x) + s1 √(e^{2h} − 1) z,    W = ∫ (a1/alpha) g² du from t1 to t

    g² = −alpha² d(sigma²/alpha²), so that W = 2 a1 (s0/a0)² ∫₀ʰ alpha(λ0 + u) e^{−2u} du; for `VP` it is
    2 sigma² (a1/a0 − 1). Unlike all others here it depends on alpha at equal signal-to-noise ratio.
    Order: weak 1. Cost: 1 evaluation.
    Source: V. De Bortoli, "Convergence of denoising diffusion models under the manifold hypothesis", 2022,
    arXiv:2208.05314; "EI" of E. Pierret, B. Galerne, "Diffusion models for Gaussian distributions: exact
    solutions and Wasserstein errors", ICML 2025, arXiv:2405.14250.
    """
    a0, s0, a1, s1, h = plan = schedule(sde, t, t1)
    clean, eps = sde.process.pair(t, x)
    if not h < math.inf:
        return combined(*stochastic(plan, x, clean, dw, dt))
    kept = 1 - 2 * _frozen(sde.process, a0, s0, h)
    return combined((a1, clean), (a1 * s0 / a0 * kept, eps), (s1 * math.sqrt(math.expm1(2 * h) / abs(dt)), dw))


# Exact to rounding on panels of h <= 1: alpha is analytic in λ, for variance-preserving processes up to |Im λ| = π/2.
NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)


def _frozen(process, a0, s0, h):
    """∫₀ʰ (alpha(λ0 + u)/a0) e^{−2u} du, by Gauss–Legendre on panels."""
    panels = math.ceil(h)
    width = h / panels
    u = (width * (np.arange(panels)[:, None] + 0.5 * (NODES + 1))).ravel()
    alpha = process.marginal(process.time(math.log(a0 / s0) + u))[0]
    return float(0.5 * width * (np.tile(WEIGHTS, panels) * (alpha / a0) * np.exp(-2 * u)).sum())


@family
def dpm_solver(order=2):
    """Single-step DPM-Solver: exponential Runge–Kutta for the flow in λ, in terms of ε.

        y(r) = a D + s ε  with (a, s) at λ0 + r h,   ε_r = ε(y(r)),   first order: x' = y(1)
        2:  x' = y(1) − s1 (e^h − 1) (ε_{1/2} − ε)
        3:  y ← y(2/3) − (4/3) s h φ₂(2h/3) (ε_{1/3} − ε),   x' = y(1) − (3/2) s1 h φ₂(h) (ε_{2/3} − ε)

    Order: `order`, 1 to 3. Cost: `order` evaluations; never evaluates the end of the step.
    Source: C. Lu et al., "DPM-Solver: a fast ODE solver for diffusion probabilistic model sampling in
    around 10 steps", NeurIPS 2022, arXiv:2206.00927, algorithms 1 and 2 (r1 = 1/2; r1 = 1/3, r2 = 2/3).
    """
    order = integer("order", order, 1, 3)

    @method(noise=("none", "additive"), order=order, drifts=order, streams=(), needs=("pair",))
    def dpm_solver(sde, t, t1, x, dt):
        process = sde.process
        a0, s0, a1, s1, h = schedule(sde, t, t1)
        clean, eps = process.pair(t, x)

        def line(a, s, c=0.0, other=eps):
            """a D + s (ε + c (other − ε))."""
            return combined((a, clean), (s * (1 - c), eps), *([(s * c, other)] if c else ()))

        def noise(r, *bend):
            """ε at λ0 + r h."""
            time = process.time(math.log(a0 / s0) + r * h)
            return process.pair(time, line(*process.marginal(time), *bend))[1]

        if order > 1 and s0 == 0:
            raise ValueError(f"t = {t} has sigma = 0, where log-SNR is infinite; start later, or use ddim")
        if order == 1 or not h < math.inf:
            return line(a1, s1)
        if order == 2:
            return line(a1, s1, -math.expm1(h), noise(1 / 2))
        later = noise(2 / 3, -4 / 3 * h * phi(2, 2 / 3 * h), noise(1 / 3))
        return line(a1, s1, -1.5 * h * phi(2, h), later)

    return dpm_solver


@method(noise=("none", "additive"), weak=2, drifts=2, normals=2, needs=("pair",))
def dpmpp_sde(sde, t, t1, x, dt, dw, dz):
    """Stochastic DPM-Solver++, single-step, with the midpoint in λ: exponential midpoint for the reverse SDE.

        y  = (s/s0) e^{−h/2} x + a (1 − e^{−h}) D + s √(1 − e^{−h}) ζ,   (a, s) at λ0 + h/2,   D' = D(y)
        x' = (s1/s0) e^{−h} x + a1 (1 − e^{−2h}) D' + s1 √(1 − e^{−2h}) z
        ζ  = (z + e^{h/2} z')/√(1 + e^h)

    z and z' are independent. ζ is then the share in z of the Brownian path's first half, which makes the
    step of weak order 2; with independent noise at the midpoint it would be 1.
    Order: weak 2. Cost: 2 evaluations; never evaluates the end of the step.
    Source: C. Lu et al., "DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models",
    2022, arXiv:2211.01095 (data prediction for the reverse SDE; the single-step form and its noise are derived here).
    """
    a0, s0, _, _, h = plan = schedule(sde, t, t1)
    clean = sde.process.pair(t, x)[0]
    if not h < math.inf:
        return combined(*stochastic(plan, x, clean, dw, dt))
    middle = sde.process.time(math.log(a0 / s0) + h / 2)
    kept, (spread, _), gained = stochastic(schedule(sde, t, middle), x, clean, dw, dt)
    share = spread / math.sqrt(1 + math.exp(h))
    y = combined(kept, (share, dw), (share * math.exp(h / 2), dz), gained)
    return combined(*stochastic(plan, x, sde.process.pair(middle, y)[0], dw, dt))
