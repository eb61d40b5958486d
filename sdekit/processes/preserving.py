"""Variance-preserving noising processes: linear rate, cosine schedule, and sub-VP.

All are linear and Markov: x_t = alpha·x_0 + sigma·ε with x_0 clean data, and for s <= t
    X_t | X_s = x  ~  N(r x, sigma_t² − r² sigma_s²),   r = alpha_t/alpha_s,
where each class factors the variance so that nothing cancels, however close s and t are.
Time runs from data to noise and has no unit, except where a class says so; the state has the unit
of the data. `time(log_snr)` inverts log(alpha/sigma), which falls in t. `rates` are the derivatives
of `marginal`; where sigma starts like √t its rate at 0 is inf. `finest` is the smallest time at which
networks are usually evaluated (Song et al. 2021, appendix C), where `sdekit.grids` end unless told.
"""

import math
from typing import Any, NamedTuple

from sdekit import math as sm
from sdekit.laws import Normal
from sdekit.processes import forms
from sdekit.processes.forms import elapsed, over

__all__ = ["VP", "CosineVP", "SubVP"]


class VP(NamedTuple):
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

    noise = "diagonal"
    calculus = "ito"
    additive = True
    event_dims = 0
    domain = (0.0, 1.0)
    finest = 1e-3
    x0 = 1.0

    def variance(self):
        """sigma², which is preserved."""
        return self.sigma * self.sigma

    def beta(self, t):
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def beta_integral(self, s, t):
        """∫ β from s to t."""
        return (t - s) * (self.beta_min + 0.5 * (s + t) * (self.beta_max - self.beta_min))

    def beta_total(self, t):
        """B(t)."""
        return self.beta_integral(0.0, t)

    def drift(self, t, x):
        beta = sm.expand(self.beta(sm.inside(self, t)), x)
        return -0.5 * beta / self.variance() * x

    def diffusion(self, t, x):
        return sm.sqrt(sm.expand(self.beta(sm.inside(self, t)), x))

    def transition(self, s, t, x):
        elapsed(sm.inside(self, s), sm.inside(self, t))
        variance = self.variance()
        y = sm.expand(self.beta_integral(s, t), x) / variance
        return Normal(sm.exp(-0.5 * y) * x, -variance * sm.expm1(-y))

    def marginal(self, t):
        variance = self.variance()
        y = self.beta_total(sm.inside(self, t)) / variance
        return sm.exp(-0.5 * y), sm.sqrt(-variance * sm.expm1(-y))

    def rates(self, t):
        alpha, sigma = self.marginal(t)
        gain = 0.5 * self.beta(t) * alpha
        return -gain / self.variance(), over(gain * alpha, sigma)

    def time(self, log_snr):
        """From e^{−2 log_snr} = sigma² (e^{B/sigma²} − 1)."""
        variance = self.variance()
        total = variance * sm.log1p(sm.exp(-2.0 * log_snr) / variance)
        return forms.into_domain(self, self.time_of(total), log_snr)

    def time_of(self, total):
        """The t with B(t) = total."""
        slope = self.beta_max - self.beta_min
        rate = self.beta_min + sm.sqrt(self.beta_min * self.beta_min + 2.0 * slope * total)
        return 2.0 * total / sm.where(rate == 0, 1.0, rate)

    perturb = forms.perturb

    def stationary(self):
        return Normal(0.0, self.variance())

    def check(self):
        forms.finite(self, *self._fields)
        check_rates(self)
        forms.require(self, "sigma", self.sigma > 0, "positive")


def check_rates(process):
    forms.require(process, "beta_min", process.beta_min >= 0, "at least 0")
    forms.require(process, "beta_max", process.beta_max > 0, "positive")
    forms.require(process, "beta_max", process.beta_max >= process.beta_min, "at least beta_min")


class CosineVP(NamedTuple):
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

    noise = "diagonal"
    calculus = "ito"
    additive = True
    event_dims = 0
    domain = (0.0, 0.9946)
    finest = 1e-3
    x0 = 1.0

    def variance(self):
        return 1.0

    def speed(self):
        """k, the rate at which the angle v falls."""
        return 0.5 * math.pi / (1.0 + self.offset)

    def beta(self, t):
        k = self.speed()
        return 2.0 * k / sm.tan(k * (1.0 - t))

    def gain(self, s, t):
        """1 − (alpha_t/alpha_s)² = sin(v_s − v_t) sin(v_s + v_t)/sin(v_s)²."""
        k = self.speed()
        # sin(v_s + v_t) = sin(π − v_s − v_t): near π the supplement is the accurate argument
        total = sm.minimum(2.0 - s - t, s + t + 2.0 * self.offset)
        start = sm.sin(k * (1.0 - s))
        return sm.sin(k * (t - s)) * sm.sin(k * total) / (start * start)

    def ratio(self, s, t):
        """alpha_t/alpha_s."""
        k = self.speed()
        return sm.sin(k * (1.0 - t)) / sm.sin(k * (1.0 - s))

    def transition(self, s, t, x):
        elapsed(sm.inside(self, s), sm.inside(self, t))
        return Normal(sm.expand(self.ratio(s, t), x) * x, sm.expand(self.gain(s, t), x))

    def marginal(self, t):
        t = sm.inside(self, t)
        return self.ratio(0.0, t), sm.sqrt(self.gain(0.0, t))

    drift = VP.drift
    diffusion = VP.diffusion
    rates = VP.rates
    perturb = forms.perturb
    stationary = VP.stationary

    def time(self, log_snr):
        """From tan(u)² = tan(u₀)² + e^{−2 log_snr}/cos(u₀)² with u = π/2 − v, u₀ = π/2 − v₀ = k·offset."""
        k = self.speed()
        first = k * self.offset
        tan, cos = sm.tan(first), sm.cos(first)
        angle = sm.arctan(sm.sqrt(tan * tan + sm.exp(-2.0 * log_snr) / (cos * cos)))
        return forms.into_domain(self, (angle - first) / k, log_snr)

    def check(self):
        forms.finite(self, "offset")
        forms.require(self, "offset", self.offset > 0, "positive")


class SubVP(NamedTuple):
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

    noise = "diagonal"
    calculus = "ito"
    additive = True
    event_dims = 0
    domain = (0.0, 1.0)
    finest = 1e-3
    x0 = 1.0

    def variance(self):
        return 1.0

    beta = VP.beta
    beta_integral = VP.beta_integral
    beta_total = VP.beta_total
    time_of = VP.time_of
    drift = VP.drift
    perturb = forms.perturb

    def diffusion(self, t, x):
        total = self.beta_total(sm.inside(self, t))
        return sm.sqrt(sm.expand(-self.beta(t) * sm.expm1(-2.0 * total), x))

    def transition(self, s, t, x):
        elapsed(sm.inside(self, s), sm.inside(self, t))
        gap = sm.expand(self.beta_integral(s, t), x)
        total = sm.expand(self.beta_total(s) + self.beta_total(t), x)
        return Normal(sm.exp(-0.5 * gap) * x, sm.expm1(-gap) * sm.expm1(-total))

    def marginal(self, t):
        total = self.beta_total(sm.inside(self, t))
        return sm.exp(-0.5 * total), -sm.expm1(-total)

    def rates(self, t):
        alpha = sm.exp(-0.5 * self.beta_total(sm.inside(self, t)))
        return -0.5 * self.beta(t) * alpha, self.beta(t) * alpha * alpha

    def time(self, log_snr):
        """From e^{−log_snr} = 2 sinh(B/2) = 2y, so that e^{B/2} = y + √(y² + 1)."""
        y = 0.5 * sm.exp(-log_snr)
        # log1p keeps small y: √(y² + 1) − 1 = y²/(√(y² + 1) + 1)
        total = 2.0 * sm.log1p(y + y * (y / (sm.sqrt(y * y + 1.0) + 1.0)))
        return forms.into_domain(self, self.time_of(total), log_snr)

    def check(self):
        forms.finite(self, *self._fields)
        check_rates(self)
