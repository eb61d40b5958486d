"""Noising processes with a noise level of their own: VE, EDM, and the straight path to noise.

All are linear and Markov: x_t = alpha·x_0 + sigma·ε with x_0 clean data, and for s <= t
    X_t | X_s = x  ~  N(r x, sigma_t² − r² sigma_s²),   r = alpha_t/alpha_s,
where each class factors the variance so that nothing cancels, however close s and t are.
Time runs from data to noise and has no unit, except where a class says so; the state has the unit
of the data. `time(log_snr)` inverts log(alpha/sigma), which falls in t. `rates` are the derivatives
of `marginal`; where sigma starts like √t its rate at 0 is inf.
"""

from typing import Any, NamedTuple

from sdekit import math as sm
from sdekit.laws import Normal
from sdekit.processes import forms
from sdekit.processes.forms import elapsed, over

__all__ = ["EDM", "VE", "FlowPath"]

LOWEST = -60.0  # log(alpha/sigma) below which a straight path's time is 1 to rounding


class VE(NamedTuple):
    """Variance-exploding process.

        dX = sigma(t) √(2 log(sigma_max/sigma_min)) dW,    0 <= t <= 1
        alpha = 1,    sigma(t) = sigma_min (sigma_max/sigma_min)ᵗ
        variance from s to t: sigma(t)² − sigma(s)²

    x_0 is clean data, so the state at t = 0 already carries noise of standard deviation sigma_min:
    a solution that starts at t = 0 starts from x_0 + sigma_min·ε.
    Units: sigma_min and sigma_max in the state's unit. Defaults: sigma_min = 0.01, sigma_max = 50.

    Source: Y. Song et al., "Score-based generative modeling through stochastic differential
    equations", 2021, appendices B and C, arXiv:2011.13456.
    """

    sigma_min: Any = 0.01
    sigma_max: Any = 50.0

    noise = "diagonal"
    calculus = "ito"
    additive = True
    event_dims = 0
    domain = (0.0, 1.0)
    x0 = 1.0

    def rate(self):
        """d log sigma(t)/dt."""
        return sm.log(self.sigma_max / self.sigma_min)

    def drift(self, t, x):
        sm.inside(self, t)
        return 0.0 * x

    def diffusion(self, t, x):
        rate = self.rate()
        sigma = self.sigma_min * sm.exp(rate * sm.inside(self, t))
        return sm.expand(sigma * sm.sqrt(2.0 * rate), x)

    def transition(self, s, t, x):
        dt = elapsed(sm.inside(self, s), sm.inside(self, t))
        rate = self.rate()
        sigma = self.sigma_min * sm.exp(rate * s)
        return Normal(x, sm.expand(sigma * sigma * sm.expm1(2.0 * rate * dt), x))

    def marginal(self, t):
        return 1.0, self.sigma_min * sm.exp(self.rate() * sm.inside(self, t))

    def rates(self, t):
        rate = self.rate()
        return 0.0, rate * self.sigma_min * sm.exp(rate * sm.inside(self, t))

    def time(self, log_snr):
        t = -(log_snr + sm.log(self.sigma_min)) / self.rate()
        return forms.into_domain(self, t, log_snr)

    perturb = forms.perturb

    def check(self):
        forms.finite(self, *self._fields)
        forms.require(self, "sigma_min", self.sigma_min > 0, "positive")
        forms.require(self, "sigma_max", self.sigma_max > self.sigma_min, "above sigma_min")


class EDM(NamedTuple):
    """Variance-exploding process in which time is the noise level.

        dX = √(2t) dW,    alpha = 1,    sigma(t) = t,    0 <= t <= sigma_max
        variance from s to t: (t − s)(t + s)

    Units: t and sigma_max, the end of the domain, in the state's unit. Default: sigma_max = 80.

    Source: T. Karras et al., "Elucidating the design space of diffusion-based generative models",
    2022, table 1, arXiv:2206.00364.
    """

    sigma_max: Any = 80.0

    noise = "diagonal"
    calculus = "ito"
    additive = True
    event_dims = 0
    finest = 2e-3
    x0 = 1.0

    @property
    def domain(self):
        return 0.0, self.sigma_max

    def drift(self, t, x):
        sm.inside(self, t)
        return 0.0 * x

    def diffusion(self, t, x):
        return sm.sqrt(2.0 * sm.expand(sm.inside(self, t), x))

    def transition(self, s, t, x):
        dt = elapsed(sm.inside(self, s), sm.inside(self, t))
        return Normal(x, sm.expand(dt * (t + s), x))

    def marginal(self, t):
        return 1.0, sm.inside(self, t)

    def rates(self, t):
        sm.inside(self, t)
        return 0.0, 1.0

    def time(self, log_snr):
        return forms.into_domain(self, sm.exp(-log_snr), log_snr)

    perturb = forms.perturb

    def check(self):
        forms.finite(self, "sigma_max")
        forms.require(self, "sigma_max", self.sigma_max > 0, "positive")


class FlowPath(NamedTuple):
    """The Markov process along the straight path between data (t = 0) and normal noise (t = 1).

        dX = −X/(1 − t) dt + √(2 sigma·sigma(t)/(1 − t)) dW,    0 <= t <= 1
        alpha = 1 − t,    sigma(t) = sigma_min (1 − t) + sigma·t
        variance from s to t: sigma (t − s) (sigma (t (1 − s) + s (1 − t)) + 2 sigma_min (1 − s)(1 − t))/(1 − s)²

    The parameters are standard deviations of noise in the state's unit, with sigma_min < sigma; default 1 and 0.
    With sigma_min the path ends at t = 0 in data blurred by that much.
    At t = 1 drift and noise are infinite; alpha, sigma, rates and transition are exact there.

    Source: Y. Lipman et al., "Flow matching for generative modeling", 2023, arXiv:2210.02747
    (example II with time reversed).
    """

    sigma: Any = 1.0
    sigma_min: Any = 0.0

    noise = "diagonal"
    calculus = "ito"
    additive = True
    event_dims = 0
    domain = (0.0, 1.0)
    x0 = 1.0

    @property
    def finest(self):
        return 0.0 if forms.holds(self.sigma_min > 0) else 1e-3

    def drift(self, t, x):
        t = sm.expand(sm.inside(self, t), x)
        return -over(1.0, 1.0 - t) * x

    def diffusion(self, t, x):
        t = sm.expand(sm.inside(self, t), x)
        return sm.sqrt(over(2.0 * self.sigma * (self.sigma_min * (1.0 - t) + self.sigma * t), 1.0 - t))

    def transition(self, s, t, x):
        dt = elapsed(sm.inside(self, s), sm.inside(self, t))
        end = s == 1  # then t is 1 as well, and nothing happens
        left = sm.where(end, 1.0, 1.0 - s)
        ratio = sm.where(end, 1.0, (1.0 - t) / left)
        gain = self.sigma * sm.expand(dt / (left * left), x)
        straight = sm.expand(t * (1.0 - s) + s * (1.0 - t), x)
        blur = sm.expand(2.0 * (1.0 - s) * (1.0 - t), x)
        return Normal(sm.expand(ratio, x) * x, gain * (self.sigma * straight + self.sigma_min * blur))

    def marginal(self, t):
        t = sm.inside(self, t)
        return 1.0 - t, self.sigma_min * (1.0 - t) + self.sigma * t

    def rates(self, t):
        sm.inside(self, t)
        return -1.0, self.sigma - self.sigma_min

    def time(self, log_snr):
        """(r − sigma_min)/(r − sigma_min + sigma) with r = sigma(t)/alpha = e^−log_snr."""
        r = sm.exp(-sm.maximum(log_snr, LOWEST)) - self.sigma_min
        return forms.into_domain(self, r / (r + self.sigma), log_snr)

    perturb = forms.perturb

    def check(self):
        forms.finite(self, "sigma", "sigma_min")
        forms.require(self, "sigma", self.sigma > 0, "positive")
        forms.require(
            self, "sigma_min", (self.sigma_min >= 0) & (self.sigma_min < self.sigma), "0 or more, below sigma"
        )
