"""Variance-preserving noising processes: linear rate, cosine schedule, and sub-VP.

Time runs from data to noise and has no unit, except where a class says so; the state has the unit
of the data. `finest`: Song et al. 2021, appendix C.
"""

import math
from dataclasses import dataclass
from typing import Any

from sdekit import math as sm
from sdekit.laws import Normal
from sdekit.processes import forms
from sdekit.processes.gaussian import GaussianPath

__all__ = ["VP", "CosineVP", "SubVP"]


@dataclass(frozen=True, eq=False, repr=False)
class VP(GaussianPath):
    """Variance-preserving process with a linear rate.

        dX = −β X/(2 sigma²) dt + √β dW,    β(t) = beta_min + t (beta_max − beta_min),  0 <= t <= 1
        alpha = e^{−B/(2 sigma²)},    sigma(t)² = sigma² (1 − e^{−B/sigma²}),    B = ∫₀ᵗ β

    The parameter sigma is the standard deviation in the state's unit that is preserved; beta in
    state² per time. Defaults: beta_min = 0.1, beta_max = 20, sigma = 1.

    Source: Y. Song et al., "Score-based generative modeling through stochastic differential
    equations", 2021, appendices B and C, arXiv:2011.13456.
    """

    beta_min: Any = 0.1
    beta_max: Any = 20.0
    sigma: Any = 1.0

    finest = 1e-3

    def __post_init__(self):
        forms.numbers(self, least=["beta_min"], positive=["beta_max", "sigma"])
        forms.require(self, "beta_max", self.beta_max >= self.beta_min, "at least beta_min")

    def beta(self, t):
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def beta_integral(self, s, t):
        """∫ β from s to t."""
        return (t - s) * (self.beta_min + 0.5 * (s + t) * (self.beta_max - self.beta_min))

    def step(self, s, t):
        variance = self.sigma * self.sigma
        y = -self.beta_integral(s, t) / variance
        return sm.exp(0.5 * y), -variance * sm.expm1(y)

    def slope(self, t):
        return -0.5 * self.beta(t) / (self.sigma * self.sigma)

    def time(self, log_snr):
        """From e^{−2 log_snr} = sigma² (e^{B/sigma²} − 1)."""
        variance = self.sigma * self.sigma
        total = variance * sm.log1p(sm.exp(-2.0 * log_snr) / variance)
        return forms.into_domain(self, self.time_of(total), log_snr)

    def time_of(self, total):
        """The t with B(t) = total."""
        slope = self.beta_max - self.beta_min
        rate = self.beta_min + sm.sqrt(self.beta_min * self.beta_min + 2.0 * slope * total)
        return 2.0 * total / sm.where(rate == 0, 1.0, rate)

    def stationary(self):
        return Normal(0.0, self.sigma * self.sigma)


@dataclass(frozen=True, eq=False, repr=False)
class CosineVP(GaussianPath):
    """Variance-preserving process of the cosine schedule.

        dX = −β X/2 dt + √β dW,    β(t) = 2 k cot(v),    0 <= t <= 0.9946
        alpha = sin(v)/sin(v₀),    sigma² = 1 − alpha²,
        v(t) = k (1 − t),    k = π/(2 (1 + offset))

    (sin v is the schedule's cos((t + offset)/(1 + offset)·π/2).) β is infinite at t = 1, so the
    domain ends at 0.9946, where alpha = 0.0084. Default: offset = 0.008.

    Source: A. Nichol and P. Dhariwal, "Improved denoising diffusion probabilistic models", 2021,
    equation 17, arXiv:2102.09672. End of the domain: C. Lu et al., "DPM-Solver: a fast ODE solver
    for diffusion probabilistic model sampling in around 10 steps", 2022, arXiv:2206.00927.
    """

    offset: Any = 0.008

    domain = (0.0, 0.9946)
    finest = 1e-3

    def __post_init__(self):
        forms.numbers(self, positive=["offset"])

    def speed(self):
        """k, the rate at which the angle v falls."""
        return 0.5 * math.pi / (1.0 + self.offset)

    def beta(self, t):
        k = self.speed()
        return 2.0 * k / sm.tan(k * (1.0 - t))

    def step(self, s, t):
        """r = sin(v_t)/sin(v_s), 1 − r² = sin(v_s − v_t) sin(v_s + v_t)/sin(v_s)²."""
        k = self.speed()
        # sin(v_s + v_t) = sin(π − v_s − v_t): near π the supplement is the accurate argument
        total = sm.minimum(2.0 - s - t, s + t + 2.0 * self.offset)
        start = sm.sin(k * (1.0 - s))
        return sm.sin(k * (1.0 - t)) / start, sm.sin(k * (t - s)) * sm.sin(k * total) / (start * start)

    def time(self, log_snr):
        """From tan(u)² = tan(u₀)² + e^{−2 log_snr}/cos(u₀)² with u = π/2 − v, u₀ = π/2 − v₀ = k·offset."""
        k = self.speed()
        first = k * self.offset
        tan, cos = sm.tan(first), sm.cos(first)
        angle = sm.arctan(sm.sqrt(tan * tan + sm.exp(-2.0 * log_snr) / (cos * cos)))
        return forms.into_domain(self, (angle - first) / k, log_snr)

    def stationary(self):
        return Normal(0.0, 1.0)


@dataclass(frozen=True, eq=False, repr=False)
class SubVP(GaussianPath):
    """Sub-variance-preserving process.

        dX = −β X/2 dt + √(β (1 − e^{−2B})) dW,    β(t) = beta_min + t (beta_max − beta_min)
        alpha = e^{−B/2},    sigma = 1 − e^{−B},    B = ∫₀ᵗ β,    0 <= t <= 1
        variance from s to t:  (1 − e^{−(B_t − B_s)}) (1 − e^{−(B_t + B_s)})

    (sigma is the standard deviation itself: 1 − alpha², not its root.)
    Defaults: beta_min = 0.1, beta_max = 20.

    Source: Y. Song et al., "Score-based generative modeling through stochastic differential
    equations", 2021, appendices B and C, arXiv:2011.13456.
    """

    beta_min: Any = 0.1
    beta_max: Any = 20.0

    finest = 1e-3

    def __post_init__(self):
        forms.numbers(self, least=["beta_min"], positive=["beta_max"])
        forms.require(self, "beta_max", self.beta_max >= self.beta_min, "at least beta_min")

    beta = VP.beta
    beta_integral = VP.beta_integral
    time_of = VP.time_of

    def step(self, s, t):
        gap = self.beta_integral(s, t)
        total = self.beta_integral(0.0, s) + self.beta_integral(0.0, t)
        return sm.exp(-0.5 * gap), sm.expm1(-gap) * sm.expm1(-total)

    def power(self, t):
        return -self.beta(t) * sm.expm1(-2.0 * self.beta_integral(0.0, t))

    def marginal(self, t):
        total = self.beta_integral(0.0, sm.inside(self, t))
        return sm.exp(-0.5 * total), -sm.expm1(-total)

    def rates(self, t):
        alpha, beta = self.marginal(t)[0], self.beta(t)
        return -0.5 * beta * alpha, beta * alpha * alpha

    def time(self, log_snr):
        """From e^{−log_snr} = 2 sinh(B/2) = 2y, so that e^{B/2} = y + √(y² + 1)."""
        y = 0.5 * sm.exp(-log_snr)
        # log1p keeps small y: √(y² + 1) − 1 = y²/(√(y² + 1) + 1)
        total = 2.0 * sm.log1p(y + y * (y / (sm.sqrt(y * y + 1.0) + 1.0)))
        return forms.into_domain(self, self.time_of(total), log_snr)
