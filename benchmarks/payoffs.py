"""Six expectations with exact values: calls, a digital and an Asian option, two processes of variance, a barrier."""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import integrate, interpolate, linalg, stats

import sdekit as sk

RATE = 0.05
DISCOUNT = math.exp(-RATE)

MIRRORED: dict[str, Any] = {"antithetic": True}
SCRAMBLED: dict[str, Any] = {"scramblings": 32}
EXACT = {"exact": True, "backend": None}


class Problem(NamedTuple):
    """A payoff with its exact expectation; the arguments of its levels, and of other ways by name."""

    name: str
    f: Any
    process: Any
    x0: Any
    truth: float
    given: dict
    others: dict


def lognormal_call(mean, deviation, strike):
    """E max(Y − K, 0) of a lognormal Y of this mean, whose logarithm has this standard deviation."""
    high = math.log(mean / strike) / deviation + 0.5 * deviation
    return mean * stats.norm.cdf(high) - strike * stats.norm.cdf(high - deviation)


def call():
    truth = DISCOUNT * lognormal_call(100 / DISCOUNT, 0.2, 100)
    others = {"exact": EXACT, "exact, control": {**EXACT, "control": None}, "exact, scrambled": {**EXACT, **SCRAMBLED}}
    f = lambda x: DISCOUNT * np.maximum(x - 100, 0)  # noqa: E731
    return Problem("call", f, sk.GBM(mu=RATE, sigma=0.2), 100.0, truth, MIRRORED, others)


def digital():
    truth = DISCOUNT * stats.norm.cdf((RATE - 0.02) / 0.2)
    process, others = sk.GBM(mu=RATE, sigma=0.2), {"exact": EXACT, "exact, scrambled": {**EXACT, **SCRAMBLED}}
    return Problem("digital", lambda x: DISCOUNT * (x > 100), process, 100.0, truth, {"inner": 64}, others)


def asian():
    """The arithmetic mean of a price at all times; the geometric one, which is lognormal, is the control.

    Value: V. Linetsky, "Spectral expansions for Asian (average price) options", 2004, doi:10.1287/opre.1040.0113.
    """
    deviation = 0.5 / math.sqrt(3)
    mean = 2.0 * math.exp((RATE - 0.125) / 2 + deviation**2 / 2)
    geometric = DISCOUNT * lognormal_call(mean, deviation, 2.0)
    along = {"mean": sk.path.mean()}
    both = {**along, "log": sk.path.mean(np.log)}
    control = [(lambda x, mean, log: DISCOUNT * np.maximum(np.exp(log) - 2, 0), geometric)]
    f = lambda x, mean, log=None: DISCOUNT * np.maximum(mean - 2, 0)  # noqa: E731
    others = {"control": {"along": both, "control": control, **MIRRORED}}
    return Problem("asian", f, sk.GBM(mu=RATE, sigma=0.5), 2.0, 0.2464156905, {"along": along, **MIRRORED}, others)


def cir():
    """The Laplace transform of the law: (1 + 2 c u)^{−2κθ/σ²} exp(−u x e^{−κ}/(1 + 2 c u)), c = σ² (1 − e^{−κ})/4κ."""
    kappa, theta, sigma, x0, u = 2.0, 0.5, 0.5, 0.3, 3.0
    c = sigma**2 * -math.expm1(-kappa) / (4 * kappa)
    truth = (1 + 2 * c * u) ** (-2 * kappa * theta / sigma**2) * math.exp(-u * x0 * math.exp(-kappa) / (1 + 2 * c * u))
    process = sk.CIR(kappa=kappa, theta=theta, sigma=sigma)
    return Problem("cir", lambda x: np.exp(-u * x), process, x0, truth, MIRRORED, {"exact": EXACT})


def heston():
    """A call by Gil-Pelaez' integrals of the characteristic function of log S, in Albrecher's form."""
    kappa, theta, sigma, rho, v, spot, strike = 2.0, 0.04, 0.3, -0.7, 0.04, 100.0, 100.0

    def characteristic(z):
        beta = kappa - rho * sigma * 1j * z
        d = np.sqrt(beta**2 + sigma**2 * (1j * z + z * z))
        g, e = (beta - d) / (beta + d), np.exp(-d)
        variance = kappa * theta / sigma**2 * ((beta - d) - 2 * np.log((1 - g * e) / (1 - g)))
        return np.exp(1j * z * (math.log(spot) + RATE) + variance + v / sigma**2 * (beta - d) * (1 - e) / (1 - g * e))

    def probability(shift):
        def of(z):
            moved = characteristic(z - 1j * shift) / characteristic(-1j * shift)
            return (np.exp(-1j * z * math.log(strike)) * moved / (1j * z)).real

        return 0.5 + integrate.quad(of, 1e-9, 200, limit=500, epsabs=1e-12)[0] / math.pi

    truth = spot * probability(1) - strike * DISCOUNT * probability(0)
    f = lambda x: DISCOUNT * np.maximum(x[:, 0] - strike, 0)  # noqa: E731
    control = [(lambda x: DISCOUNT * x[:, 0], spot)]
    others = {"control": {"control": control, **MIRRORED}}
    return Problem("heston", f, sk.Heston(mu=RATE), (spot, v), float(truth), MIRRORED, others)


def barrier():
    """P(dX = −X dt + dW from 0 has not met 1 by t = 1) = Σ e^{−λ} ψ(0) ∫ψ w/∫ψ² w, w = e^{−x²}.

    Eigenfunctions, ½ψ″ − x ψ′ = −λ ψ with ψ(1) = 0, by Chebyshev collocation on [−6, 1]; no slope at −6.
    """
    n = 96
    nodes = np.cos(np.pi * np.arange(n + 1) / n)
    ends = np.r_[2, np.ones(n - 1), 2] * (-1.0) ** np.arange(n + 1)
    gaps = nodes[:, None] - nodes + np.eye(n + 1)
    derivative = np.outer(ends, 1 / ends) / gaps
    derivative -= np.diag(derivative.sum(1))
    x, derivative = (7 * nodes - 5) / 2, derivative * 2 / 7
    operator = 0.5 * derivative @ derivative - x[:, None] * derivative
    inner = slice(1, n)  # of ψ(1) = 0 and of the slope at −6 the ends follow
    last = -derivative[n, inner] / derivative[n, n]
    rates, vectors = linalg.eig(operator[inner, inner] + np.outer(operator[inner, n], last))
    order = np.argsort(-rates.real)[:12]
    psi = np.vstack([np.zeros(12), vectors[:, order].real, last @ vectors[:, order].real])
    at, weights = np.polynomial.legendre.leggauss(400)
    at, weights = (7 * at - 5) / 2, weights * 3.5
    values = interpolate.BarycentricInterpolator(x, psi)(np.r_[at, 0.0])
    density = (weights * np.exp(-(at**2)))[:, None]
    share = (values[:-1] * density).sum(0) / (values[:-1] ** 2 * density).sum(0)
    truth = float((np.exp(rates[order].real) * share * values[-1]).sum())
    along = {"along": {"a": sk.path.survival(1.0)}}
    return Problem("barrier", lambda x, a: a, sk.OU(sigma=1.0), 0.0, truth, {**along, **MIRRORED}, {})


PROBLEMS = {problem.__name__: problem for problem in (call, digital, asian, cir, heston, barrier)}
