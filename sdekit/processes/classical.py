"""The classical one-component processes: Brownian motion, OU, GBM and CIR."""

import math
from dataclasses import dataclass
from typing import Any

from sdekit import math as sm
from sdekit.laws import NoncentralChiSquare, Normal
from sdekit.processes import forms
from sdekit.processes.forms import between, centred, growth, normal
from sdekit.processes.gaussian import GaussianPath

__all__ = ["CIR", "GBM", "OU", "Brownian"]

EVER = (-math.inf, math.inf)


@dataclass(frozen=True, eq=False, repr=False)
class Brownian(GaussianPath):
    """Brownian motion with drift.

        dX = mu dt + sigma dW
        X_t | X_s = x  ~  N(x + mu (t − s), sigma² (t − s))

    Units: mu in state per time, sigma in state per √time. Defaults: mu = 0, sigma = 1.
    With mu = 0 and data at t = 0: alpha = 1, sigma(t) = sigma·√t (`marginal` and what follows from
    it; they raise for another mu and for t < 0).

    Source: B. Øksendal, "Stochastic Differential Equations", sixth edition, 2003, section 2.2.
    """

    mu: Any = 0.0
    sigma: Any = 1.0

    domain = EVER
    x0 = 0.0

    def __post_init__(self):
        forms.numbers(self, least=["sigma"])

    def clean(self):
        return centred(self)

    def drift(self, t, x):
        return self.mu

    def diffusion(self, t, x):
        return self.sigma

    def transition(self, s, t, x):
        s, t = between(self, s, t, x)
        return normal(x + self.mu * (t - s), self.step(s, t)[1])

    def step(self, s, t):
        return 1.0, self.sigma * self.sigma * (t - s)

    def slope(self, t):
        return 0.0

    def power(self, t):
        return self.sigma * self.sigma

    def time(self, log_snr):
        centred(self)
        scale = sm.exp(-log_snr) / self.sigma
        return scale * scale


@dataclass(frozen=True, eq=False, repr=False)
class OU(GaussianPath):
    """Ornstein–Uhlenbeck process.

        dX = theta (mu − X) dt + sigma dW
        X_t | X_s = x  ~  N(mu + (x − mu) e^{−theta h}, sigma² (1 − e^{−2 theta h})/(2 theta)),
        h = t − s;    stationary law N(mu, sigma²/(2 theta)) for theta > 0

    Units: theta per time, mu in state, sigma in state per √time. Defaults: theta = 1, mu = 0,
    sigma = 1. theta may be 0 (Brownian motion) or negative (unstable).
    With mu = 0 and data at t = 0: alpha = e^{−theta t}, sigma(t)² = the variance above with h = t
    (`marginal` and what follows from it; they raise for another mu and for t < 0).

    Source: G. E. Uhlenbeck and L. S. Ornstein, "On the theory of the Brownian motion", Physical
    Review 36, 1930, doi:10.1103/PhysRev.36.823.
    """

    theta: Any = 1.0
    mu: Any = 0.0
    sigma: Any = 1.0

    domain = EVER

    def __post_init__(self):
        forms.numbers(self, least=["sigma"])

    def clean(self):
        return centred(self)

    def drift(self, t, x):
        return self.theta * (self.mu - x)

    def diffusion(self, t, x):
        return self.sigma

    def transition(self, s, t, x):
        s, t = between(self, s, t, x)
        ratio, variance = self.step(s, t)
        return normal(self.mu + (x - self.mu) * ratio, variance)

    def step(self, s, t):
        y = -self.theta * (t - s)
        return sm.exp(y), self.sigma * self.sigma * (t - s) * growth(2.0 * y)

    def slope(self, t):
        return -self.theta

    def power(self, t):
        return self.sigma * self.sigma

    def time(self, log_snr):
        """From e^{−2 log_snr} = sigma² (e^{2 theta t} − 1)/(2 theta)."""
        centred(self)
        scale = sm.exp(-log_snr) / self.sigma
        square = scale * scale
        return forms.into_domain(self, square * forms.slowing(2.0 * self.theta * square), log_snr)

    def stationary(self):
        forms.require(self, "theta", self.theta > 0, "positive for a stationary law")
        return Normal(self.mu, self.sigma * self.sigma / (2.0 * self.theta))


@dataclass(frozen=True, eq=False, repr=False)
class GBM(forms.Process):
    """Geometric Brownian motion (Itô).

        dX = mu X dt + sigma X dW
        X_t = X_s exp((mu − sigma²/2)(t − s) + sigma (W_t − W_s)),    E[X_t | x] = x e^{mu (t − s)}

    Units: mu per time, sigma per √time; the state in any unit. Defaults: mu = 0.05, sigma = 0.2
    (a yearly return and volatility). The transition is a `LogNormal` on the side of x.

    Source: F. Black and M. Scholes, "The pricing of options and corporate liabilities", Journal of
    Political Economy 81, 1973, doi:10.1086/260062.
    """

    mu: Any = 0.05
    sigma: Any = 0.2

    def __post_init__(self):
        forms.numbers(self, least=["sigma"])

    def drift(self, t, x):
        return self.mu * x

    def diffusion(self, t, x):
        return self.sigma * x

    def transition(self, s, t, x):
        s, t = between(self, s, t, x)
        log_var = self.sigma * self.sigma * (t - s)
        return forms.log_normal(x * sm.exp(self.mu * (t - s) - 0.5 * log_var), log_var)


@dataclass(frozen=True, eq=False, repr=False)
class CIR(forms.Process):
    """Cox–Ingersoll–Ross square-root process, by full truncation (x⁺ = max(x, 0)).

        dX = kappa (theta − X⁺) dt + sigma √X⁺ dW
        X_t | X_s = x  ~  c·χ²(4 kappa theta/sigma², x e^{−kappa h}/c),
        c = sigma² (1 − e^{−kappa h})/(4 kappa),  h = t − s

    Stationary law: gamma of shape 2 kappa theta/sigma² and mean theta. The exact process never goes
    below 0, and not to 0 either where 2 kappa theta >= sigma² (Feller); a discretised one does, and
    then neither drift nor noise sees the negative part. The law is computed on the host, without
    gradients (`sdekit.laws.NoncentralChiSquare`).
    Units: kappa per time, theta in state, sigma in √(state/time).
    Defaults: kappa = 1, theta = 1, sigma = 0.5.

    Source: J. C. Cox, J. E. Ingersoll and S. A. Ross, "A theory of the term structure of interest
    rates", Econometrica 53, 1985, doi:10.2307/1911242; full truncation: R. Lord, R. Koekkoek and
    D. van Dijk, "A comparison of biased simulation schemes for stochastic volatility models",
    Quantitative Finance 10, 2010, doi:10.1080/14697680802392496.
    """

    kappa: Any = 1.0
    theta: Any = 1.0
    sigma: Any = 0.5

    host_transition = True  # its law is sampled by scipy

    def __post_init__(self):
        forms.numbers(self, least=["kappa", "theta"], positive=["sigma"])

    def drift(self, t, x):
        return self.kappa * (self.theta - sm.maximum(x, 0.0))

    def diffusion(self, t, x):
        return self.sigma * sm.sqrt(sm.maximum(x, 0.0))

    def transition(self, s, t, x):
        s, t = between(self, s, t, x)
        y = -self.kappa * (t - s)
        scale = 0.25 * self.sigma * self.sigma * (t - s) * growth(y)
        df = 4.0 * self.kappa * self.theta / (self.sigma * self.sigma)
        return NoncentralChiSquare._make((df, scale, sm.exp(y) * sm.maximum(x, 0.0)))

    def stationary(self):
        forms.require(self, "kappa", self.kappa > 0, "positive for a stationary law")
        variance = self.sigma * self.sigma
        df = 4.0 * self.kappa * self.theta / variance
        return NoncentralChiSquare(df, 0.25 * variance / self.kappa, 0.0 * self.theta)
