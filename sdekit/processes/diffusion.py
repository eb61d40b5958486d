"""Noising processes with a noise level of their own: VE, EDM, and the straight path to noise.

Time runs from data to noise and has no unit, except where a class says so; the state has the unit
of the data.
"""

from dataclasses import dataclass
from typing import Any

from sdekit import math as sm
from sdekit.processes import forms
from sdekit.processes.forms import over
from sdekit.processes.gaussian import GaussianPath

__all__ = ["EDM", "VE", "FlowPath"]

LOWEST = -60.0  # log(alpha/sigma) below which a straight path's time is 1 to rounding


@dataclass(frozen=True, eq=False, repr=False)
class VE(GaussianPath):
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

    def __post_init__(self):
        forms.numbers(self, positive=["sigma_min"])
        forms.require(self, "sigma_max", self.sigma_max > self.sigma_min, "above sigma_min")

    def speed(self):
        """d log sigma(t)/dt."""
        return sm.log(self.sigma_max / self.sigma_min)

    def sigma(self, t):
        return self.sigma_min * sm.exp(self.speed() * t)

    def step(self, s, t):
        sigma = self.sigma(s)
        return 1.0, sigma * sigma * sm.expm1(2.0 * self.speed() * (t - s))

    def slope(self, t):
        return 0.0

    def power(self, t):
        sigma = self.sigma(t)
        return 2.0 * self.speed() * sigma * sigma

    def marginal(self, t):
        return 1.0, self.sigma(sm.inside(self, t))

    def rates(self, t):
        return 0.0, self.speed() * self.sigma(sm.inside(self, t))

    def time(self, log_snr):
        t = -(log_snr + sm.log(self.sigma_min)) / self.speed()
        return forms.into_domain(self, t, log_snr)


@dataclass(frozen=True, eq=False, repr=False)
class EDM(GaussianPath):
    """Variance-exploding process in which time is the noise level.

        dX = √(2t) dW,    alpha = 1,    sigma(t) = t,    0 <= t <= sigma_max
        variance from s to t: (t − s)(t + s)

    Units: t and sigma_max, the end of the domain, in the state's unit. Default: sigma_max = 80.

    Source: T. Karras et al., "Elucidating the design space of diffusion-based generative models",
    2022, table 1, arXiv:2206.00364.
    """

    sigma_max: Any = 80.0

    finest = 2e-3

    def __post_init__(self):
        forms.numbers(self, positive=["sigma_max"])

    @property
    def domain(self):
        return 0.0, self.sigma_max

    def step(self, s, t):
        return 1.0, (t - s) * (t + s)

    def slope(self, t):
        return 0.0

    def power(self, t):
        return 2.0 * t

    def marginal(self, t):
        return 1.0, sm.inside(self, t)

    def rates(self, t):
        sm.inside(self, t)
        return 0.0, 1.0

    def time(self, log_snr):
        return forms.into_domain(self, sm.exp(-log_snr), log_snr)


@dataclass(frozen=True, eq=False, repr=False)
class FlowPath(GaussianPath):
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

    def __post_init__(self):
        forms.numbers(self, least=["sigma_min"], positive=["sigma"])
        forms.require(self, "sigma_min", self.sigma_min < self.sigma, "below sigma")

    @property
    def finest(self):
        return 0.0 if forms.holds(self.sigma_min > 0) else 1e-3

    def step(self, s, t):
        end = s == 1  # then t is 1 as well, and nothing happens
        left = sm.where(end, 1.0, 1.0 - s)
        straight, blur = t * (1.0 - s) + s * (1.0 - t), 2.0 * (1.0 - s) * (1.0 - t)
        variance = self.sigma * (t - s) / (left * left) * (self.sigma * straight + self.sigma_min * blur)
        return sm.where(end, 1.0, (1.0 - t) / left), variance

    def slope(self, t):
        return -over(1.0, 1.0 - t)

    def power(self, t):
        return over(2.0 * self.sigma * (self.sigma_min * (1.0 - t) + self.sigma * t), 1.0 - t)

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
