"""Nonlinear processes: a double well, Lorenz's system with noise, Heston's price and variance."""

from dataclasses import dataclass
from typing import Any

from sdekit import math as sm
from sdekit.processes import forms

__all__ = ["DoubleWell", "Heston", "Lorenz"]


@dataclass(frozen=True, eq=False, repr=False)
class DoubleWell(forms.Process):
    """Motion in the potential V = x⁴/4 − x²/2, with minima at ±1.

        dX = (X − X³) dt + sigma dW,    stationary density ∝ exp(−2 V(x)/sigma²)

    Units: dimensionless state and time, sigma in state per √time. Default: sigma = 0.5 (a barrier
    of 1/4 against sigma²/2 = 1/8: hops are rare but seen).

    Source: C. W. Gardiner, "Handbook of Stochastic Methods", third edition, 2004, chapter 9.
    """

    sigma: Any = 0.5

    additive = True

    def __post_init__(self):
        forms.numbers(self, least=["sigma"])

    def drift(self, t, x):
        return x - x * x * x

    def diffusion(self, t, x):
        return self.sigma


@dataclass(frozen=True, eq=False, repr=False)
class Lorenz(forms.Process):
    """Lorenz's convection model with an independent noise on each component.

        dx = prandtl (y − x) dt + sigma dW₁
        dy = (x (rho − z) − y) dt + sigma dW₂
        dz = (x y − beta z) dt + sigma dW₃

    Units: dimensionless; sigma in state per √time. Defaults: prandtl = 10, rho = 28, beta = 8/3
    (the chaotic regime of the source), sigma = 1.

    Source: E. N. Lorenz, "Deterministic nonperiodic flow", Journal of the Atmospheric Sciences 20,
    1963, equations 25–27, doi:10.1175/1520-0469(1963)020<0130:DNF>2.0.CO;2.
    """

    prandtl: Any = 10.0
    rho: Any = 28.0
    beta: Any = 8.0 / 3.0
    sigma: Any = 1.0

    additive = True
    event_dims = 1
    x0 = (1.0, 1.0, 1.0)

    def __post_init__(self):
        forms.numbers(self, least=["sigma"])

    def drift(self, t, x, y, z):
        return self.prandtl * (y - x), x * (self.rho - z) - y, x * y - self.beta * z

    def diffusion(self, t, x, y, z):
        return self.sigma, self.sigma, self.sigma


@dataclass(frozen=True, eq=False, repr=False)
class Heston(forms.Process):
    """Heston's stochastic volatility: price S and variance v, by full truncation (v⁺ = max(v, 0)).

        dS = mu S dt + √v⁺ S dW₁
        dv = kappa (theta − v⁺) dt + sigma √v⁺ (rho dW₁ + √(1 − rho²) dW₂)

    Units: time in years, S in currency, v and theta per year, mu and kappa per year, sigma (the
    volatility of variance) per year, rho a correlation. Defaults: mu = 0.05, kappa = 2,
    theta = 0.04 (a volatility of 20 %), sigma = 0.3, rho = −0.7.

    Source: S. L. Heston, "A closed-form solution for options with stochastic volatility", Review of
    Financial Studies 6, 1993, equations 1–4, doi:10.1093/rfs/6.2.327; full truncation: R. Lord,
    R. Koekkoek and D. van Dijk, 2010, doi:10.1080/14697680802392496.
    """

    mu: Any = 0.05
    kappa: Any = 2.0
    theta: Any = 0.04
    sigma: Any = 0.3
    rho: Any = -0.7

    noise = "general"
    event_dims = 1
    x0 = (100.0, 0.04)

    def __post_init__(self):
        forms.numbers(self, least=["kappa", "theta", "sigma"])
        forms.require(self, "rho", abs(self.rho) <= 1, "between -1 and 1")

    def drift(self, t, price, variance):
        return self.mu * price, self.kappa * (self.theta - sm.maximum(variance, 0.0))

    def diffusion(self, t, price, variance):
        root = sm.sqrt(sm.maximum(variance, 0.0))
        along = self.sigma * self.rho
        across = self.sigma * sm.sqrt(1.0 - self.rho * self.rho)
        return (root * price, 0.0), (along * root, across * root)
