"""The classical one-component processes: Brownian motion, OU, GBM and CIR."""

import math
from typing import Any, NamedTuple

from sdekit import math as sm
from sdekit.laws import LogNormal, NoncentralChiSquare, Normal
from sdekit.processes import forms
from sdekit.processes.forms import centred, elapsed, growth, over

__all__ = ["CIR", "GBM", "OU", "Brownian"]

EVER = (-math.inf, math.inf)


class Brownian(NamedTuple):
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

    noise = "diagonal"
    calculus = "ito"
    additive = True
    event_dims = 0
    domain = EVER
    x0 = 0.0

    def drift(self, t, x):
        return self.mu

    def diffusion(self, t, x):
        return self.sigma

    def transition(self, s, t, x):
        dt = sm.expand(elapsed(sm.inside(self, s), sm.inside(self, t)), x)
        return Normal(x + self.mu * dt, self.sigma * self.sigma * dt)

    def marginal(self, t):
        centred(self)
        return 1.0, self.sigma * sm.sqrt(elapsed(0.0, sm.inside(self, t)))

    def rates(self, t):
        centred(self)
        return 0.0, over(0.5 * self.sigma, sm.sqrt(elapsed(0.0, sm.inside(self, t))))

    def time(self, log_snr):
        centred(self)
        root = sm.exp(-log_snr) / self.sigma
        return root * root

    perturb = forms.perturb

    def check(self):
        forms.finite(self, "mu", "sigma")
        forms.require(self, "sigma", self.sigma >= 0, "at least 0")


class OU(NamedTuple):
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

    noise = "diagonal"
    calculus = "ito"
    additive = True
    event_dims = 0
    domain = EVER
    x0 = 1.0

    def drift(self, t, x):
        return self.theta * (self.mu - x)

    def diffusion(self, t, x):
        return self.sigma

    def spread(self, dt):
        """Variance gained in the time dt from a known state."""
        return self.sigma * self.sigma * dt * growth(-2.0 * self.theta * dt)

    def transition(self, s, t, x):
        dt = sm.expand(elapsed(sm.inside(self, s), sm.inside(self, t)), x)
        return Normal(self.mu + (x - self.mu) * sm.exp(-self.theta * dt), self.spread(dt))

    def marginal(self, t):
        centred(self)
        dt = elapsed(0.0, sm.inside(self, t))
        return sm.exp(-self.theta * dt), sm.sqrt(self.spread(dt))

    def rates(self, t):
        centred(self)
        dt = elapsed(0.0, sm.inside(self, t))
        alpha = sm.exp(-self.theta * dt)
        gain = 0.5 * self.sigma * self.sigma * alpha * alpha
        return -self.theta * alpha, over(gain, sm.sqrt(self.spread(dt)))

    def time(self, log_snr):
        """From e^{−2 log_snr} = sigma² (e^{2 theta t} − 1)/(2 theta)."""
        centred(self)
        root = sm.exp(-log_snr) / self.sigma
        y = 2.0 * self.theta * root * root
        zero = y == 0
        safe = sm.where(zero, 1.0, y)
        t = root * root * sm.where(zero, 1.0, sm.log1p(safe) / safe)
        return forms.into_domain(self, t, log_snr)

    perturb = forms.perturb

    def stationary(self):
        forms.require(self, "theta", self.theta > 0, "positive for a stationary law")
        return Normal(self.mu, self.sigma * self.sigma / (2.0 * self.theta))

    def check(self):
        forms.finite(self, "theta", "mu", "sigma")
        forms.require(self, "sigma", self.sigma >= 0, "at least 0")


class GBM(NamedTuple):
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

    noise = "diagonal"
    calculus = "ito"
    additive = False
    event_dims = 0
    domain = EVER
    x0 = 1.0

    def drift(self, t, x):
        return self.mu * x

    def diffusion(self, t, x):
        return self.sigma * x

    def transition(self, s, t, x):
        dt = sm.expand(elapsed(sm.inside(self, s), sm.inside(self, t)), x)
        log_var = self.sigma * self.sigma * dt
        return LogNormal(x * sm.exp(self.mu * dt - 0.5 * log_var), log_var)

    def check(self):
        forms.finite(self, "mu", "sigma")
        forms.require(self, "sigma", self.sigma >= 0, "at least 0")


class CIR(NamedTuple):
    """Cox–Ingersoll–Ross square-root process, by full truncation (x⁺ = max(x, 0)).

        dX = kappa (theta − X⁺) dt + sigma √X⁺ dW
        X_t | X_s = x  ~  c·χ²(4 kappa theta/sigma², x e^{−kappa h}/c),
        c = sigma² (1 − e^{−kappa h})/(4 kappa),  h = t − s

    Stationary law: gamma of shape 2 kappa theta/sigma² and mean theta. The exact process never goes
    below 0, and not to 0 either where 2 kappa theta >= sigma² (Feller); a discretised one does, and
    then neither drift nor noise sees the negative part.
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

    noise = "diagonal"
    calculus = "ito"
    additive = False
    event_dims = 0
    domain = EVER
    x0 = 1.0

    def drift(self, t, x):
        return self.kappa * (self.theta - sm.maximum(x, 0.0))

    def diffusion(self, t, x):
        return self.sigma * sm.sqrt(sm.maximum(x, 0.0))

    def transition(self, s, t, x):
        dt = sm.expand(elapsed(sm.inside(self, s), sm.inside(self, t)), x)
        scale = 0.25 * self.sigma * self.sigma * dt * growth(-self.kappa * dt)
        df = 4.0 * self.kappa * self.theta / (self.sigma * self.sigma)
        return NoncentralChiSquare(df, scale, sm.exp(-self.kappa * dt) * sm.maximum(x, 0.0))

    def stationary(self):
        forms.require(self, "kappa", self.kappa > 0, "positive for a stationary law")
        variance = self.sigma * self.sigma
        df = 4.0 * self.kappa * self.theta / variance
        return NoncentralChiSquare(df, 0.25 * variance / self.kappa, 0.0 * self.theta)

    def check(self):
        forms.finite(self, "kappa", "theta", "sigma")
        forms.require(self, "kappa", self.kappa >= 0, "at least 0")
        forms.require(self, "theta", self.theta >= 0, "at least 0")
        forms.require(self, "sigma", self.sigma > 0, "positive")
