"""The page Stochastic differential equations: the statements that its marks lead to."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from calculus import curvature, drift_term, expectation, integral, residual, slope

import sdekit as sk

NUMPY = sk.backends.numpy()
SIGMA, STEPS, PATHS = 0.5, 1000, 50
NORMALS = np.random.default_rng(3).normal(size=(STEPS, PATHS))
# process, start, s < u < t, and the range in which the transition has all but 1e-12 of its mass
LINEAR = [sk.Brownian(mu=0.4, sigma=0.7), sk.OU(theta=1.3, mu=0.5, sigma=0.8)]
NOISING = [sk.VP(), sk.CosineVP(), sk.SubVP(), sk.VE(sigma_min=0.1, sigma_max=5.0), sk.EDM(), sk.FlowPath()]
POSITIVE = [sk.GBM(mu=0.3, sigma=0.4), sk.CIR(kappa=1.0, theta=1.0, sigma=0.5)]


def named(process):
    return type(process).__name__


def window(law, positive):
    """Where the law has its mass."""
    low, high = law.mean - 9 * law.std, law.mean + 9 * law.std
    return (max(low, 1e-9), high + 9 * law.std) if positive else (low, high)


def along(process, method, x0=1.0):
    """States at time 1 along the same Brownian paths, and these."""
    sol = sk.solve(process, np.full(PATHS, x0), [0, 1], method, h=1 / STEPS, noise=NORMALS, backend=NUMPY)
    return sol.final, NORMALS.sum(0) / math.sqrt(STEPS)


def test_ito_and_stratonovich():
    """dX = σ X dW is exp(σW − σ²t/2) for Itô and exp(σW) for Stratonovich, path by path."""
    noise = {"diffusion": lambda t, x: SIGMA * x}
    ito, w = along(sk.process(lambda t, x: 0.0 * x, **noise), sk.milstein)
    circle, _ = along(sk.process(lambda t, x: 0.0 * x, **noise, calculus="stratonovich"), sk.heun)
    np.testing.assert_allclose(ito, np.exp(SIGMA * w - SIGMA**2 / 2), rtol=5e-3)
    np.testing.assert_allclose(circle, np.exp(SIGMA * w), rtol=5e-3)


def test_conversion():
    """f dt + g dW is (f − ½ g g′) dt + g ∘ dW: for g = sin x, f = cos x the same paths; without the term, others."""
    ito, _ = along(sk.process(lambda t, x: np.cos(x), lambda t, x: np.sin(x)), sk.milstein)

    def circle(x):
        return along(sk.process(x, lambda t, x: np.sin(x), calculus="stratonovich"), sk.heun)[0]

    converted = circle(lambda t, x: np.cos(x) - 0.5 * np.sin(x) * np.cos(x))
    assert np.abs(ito - converted).max() < 0.01 < 0.05 < np.abs(ito - circle(lambda t, x: np.cos(x))).max()


def test_ito_formula():
    """Y = log X of dX = μX dt + σX dW obeys dY = (μ − ½σ²) dt + σ dW."""
    x, _ = along(sk.GBM(mu=0.3, sigma=SIGMA), sk.milstein)
    y, _ = along(sk.Brownian(mu=0.3 - SIGMA**2 / 2, sigma=SIGMA), sk.euler_maruyama, x0=0.0)
    np.testing.assert_allclose(np.log(x), y, atol=5e-3)


def test_euler_maruyama():
    """A step is x + f h + g √h z: the factor √h is there once."""
    ou, z, h = sk.OU(theta=2.0, mu=0.3, sigma=0.7), np.linspace(-2, 2, 5), 0.01
    step = sk.solve(ou, 1.0 + 0 * z, grid=[0.0, h], method=sk.euler_maruyama, noise=z[None], backend=NUMPY).final
    np.testing.assert_allclose(step, 1.0 + 2.0 * (0.3 - 1.0) * h + 0.7 * math.sqrt(h) * z, rtol=1e-14)


@pytest.mark.parametrize("process", LINEAR + NOISING + POSITIVE, ids=named)
def test_fokker_planck(process):
    """∂p/∂t = −∂(f p)/∂x + ½ ∂²(g² p)/∂x² for the density of every transition, within 1e-6 of its largest term."""
    law = process.transition(0.1, 0.4, 1.2)
    x = np.linspace(law.mean - 2 * law.std, law.mean + 2 * law.std, 21)

    def density(t, y):
        return np.exp(process.transition(0.1, t, 1.2).log_prob(y))

    assert residual(density, process, 0.4, x, 2e-3, 0.03 * law.std) < 1e-6


@pytest.mark.parametrize("wrong", ["no half", "no square", "sign"])
def test_fokker_planck_has_its_half_its_square_and_its_sign(wrong):
    """Without one of them the residual is of the order of the equation's own terms."""
    ou = sk.OU(theta=1.0, sigma=0.5)
    change = {
        "no half": (ou.drift, lambda t, x: math.sqrt(2) * ou.sigma),
        "no square": (ou.drift, lambda t, x: math.sqrt(ou.sigma)),
        "sign": (lambda t, x: -ou.drift(t, x), ou.diffusion),
    }
    drift, diffusion = change[wrong]

    def density(t, y):
        return np.exp(ou.transition(0.0, t, 1.0).log_prob(y))

    x = np.linspace(0.0, 1.2, 21)
    assert residual(density, SimpleNamespace(drift=drift, diffusion=diffusion), 0.5, x, 1e-3, 0.01) > 0.1


def test_fokker_planck_of_stratonovich():
    """For dX = σX ∘ dW the noise term is ½ ∂(g ∂(g p)); the density is that of exp(σW)."""
    law, x, h = sk.GBM(mu=SIGMA**2 / 2, sigma=SIGMA), np.linspace(0.5, 2.0, 21), 0.01

    def density(t, y):
        return np.exp(law.transition(0.0, t, 1.0).log_prob(y))

    change = slope(lambda t: density(t, x), 0.5, 1e-3)
    spread = 0.5 * slope(lambda y: SIGMA * y * slope(lambda z: SIGMA * z * density(0.5, z), y, h), x, h)
    np.testing.assert_allclose(change, spread, atol=1e-7)


@pytest.mark.parametrize("process", [sk.OU(theta=1.3, mu=0.5, sigma=0.8), sk.CIR(), sk.VP()], ids=named)
def test_stationary_law(process):
    """The probability current f p − ½ ∂(g² p)/∂x of the stationary law is zero."""
    law = process.stationary()
    x = np.linspace(law.mean - law.std, law.mean + 2 * law.std, 21)
    p = np.exp(law.log_prob(x))
    back = slope(lambda y: 0.5 * process.diffusion(0.3, y) ** 2 * np.exp(law.log_prob(y)), x, 0.02)
    np.testing.assert_allclose(process.drift(0.3, x) * p, back, atol=1e-8)


def test_stationary_law_of_ou():
    """N(μ, σ²/(2θ)), and the transition tends to it."""
    ou = sk.OU(theta=2.0, mu=0.5, sigma=0.8)
    for law in (ou.stationary(), ou.transition(0.0, 20.0, 3.0)):
        np.testing.assert_allclose((law.mean, law.var), (0.5, 0.8**2 / 4), rtol=1e-12)


@pytest.mark.parametrize("process", LINEAR + NOISING + POSITIVE, ids=named)
def test_chapman_kolmogorov(process):
    """∫ p(t, y | u, z) p(u, z | s, x) dz = p(t, y | s, x)."""
    s, u, t, x = 0.1, 0.25, 0.6, 1.2
    middle, end = process.transition(s, u, x), process.transition(s, t, x)
    y = end.mean + end.std * np.linspace(-1.5, 2.0, 5)[:, None]

    def onward(z):
        return np.exp(process.transition(u, t, z).log_prob(y))

    got = expectation(onward, middle, *window(middle, process in POSITIVE))
    np.testing.assert_allclose(got, np.exp(end.log_prob(y[:, 0])), rtol=1e-8)


@pytest.mark.parametrize("process", [sk.OU(), *NOISING], ids=named)
def test_moment_equations(process):
    """α′ = a α and (σ²)′ = 2 a σ² + g² for the drift a(t) x."""
    t = 0.4
    (alpha, sigma), a, g = process.marginal(t), process.drift(t, 1.0), process.diffusion(t, 1.0)
    np.testing.assert_allclose(slope(lambda s: process.marginal(s)[0], t, 1e-3), a * alpha, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        slope(lambda s: process.marginal(s)[1] ** 2, t, 1e-3), 2 * a * sigma**2 + g**2, rtol=1e-8
    )


def test_kernels():
    """α and σ of VP, sub-VP, VE and OU from β, σ and θ by quadrature: none of the library's closed forms."""
    t, vp = 0.7, sk.VP(beta_min=0.2, beta_max=9.0)
    grown = integral(lambda s: 0.2 + s * (9.0 - 0.2), 0.0, t)
    np.testing.assert_allclose(vp.marginal(t), (math.exp(-grown / 2), math.sqrt(1 - math.exp(-grown))), rtol=1e-12)
    np.testing.assert_allclose(sk.SubVP(0.2, 9.0).marginal(t), (math.exp(-grown / 2), 1 - math.exp(-grown)), rtol=1e-12)
    ve = sk.VE(sigma_min=0.1, sigma_max=5.0)
    np.testing.assert_allclose(ve.transition(0.3, t, 2.0).var, ve.marginal(t)[1] ** 2 - ve.marginal(0.3)[1] ** 2)
    gained = integral(lambda s: ve.diffusion(s, 0 * s) ** 2, 0.0, t)
    np.testing.assert_allclose(ve.marginal(t)[1] ** 2, 0.1**2 + gained, rtol=1e-12)  # σ_min is in the data
    ou = sk.OU(theta=1.3, sigma=0.8)
    gained = integral(lambda s: 0.8**2 * np.exp(-2 * 1.3 * (t - s)), 0.0, t)
    np.testing.assert_allclose(ou.marginal(t), (math.exp(-1.3 * t), math.sqrt(gained)), rtol=1e-12)


def test_variance_is_preserved_or_explodes():
    """VP keeps the variance 1 of its data; VE adds to it; sub-VP stays below VP."""
    for t in (0.1, 0.5, 0.9):
        (a, s), (b, r), (one, big) = sk.VP().marginal(t), sk.SubVP().marginal(t), sk.VE().marginal(t)
        assert math.isclose(a * a + s * s, 1.0) and a == b and r < s and one == 1.0
        assert math.isclose(big, 0.01 * 5000**t)


def test_backward_equation():
    """u(s, x) = E[h(X_t) | X_s = x] obeys ∂u/∂s + f ∂u/∂x + ½ g² ∂²u/∂x² = 0; h = cos, OU."""
    ou, x = sk.OU(theta=1.3, mu=0.5, sigma=0.8), np.linspace(-1, 2, 9)

    def u(s, x):
        law = ou.transition(s, 1.0, x)
        return np.cos(law.mean) * np.exp(-law.var / 2)

    left = slope(lambda s: u(s, x), 0.4, 1e-3)
    right = ou.drift(0.4, x) * slope(lambda y: u(0.4, y), x, 0.02) + 0.32 * curvature(lambda y: u(0.4, y), x, 0.02)
    np.testing.assert_allclose(left + right, 0.0, atol=1e-9)


def test_drift_alone_moves_density():
    """Without noise the equation is the continuity equation: the density e^{t} p(e^{t} x) of dx = −x dt."""

    def density(t, y):
        return math.exp(t) * np.exp(-0.5 * (math.exp(t) * y) ** 2)

    x = np.linspace(-1, 1, 9)
    moved = drift_term(density, lambda t, y: -y, 0.3, x, 0.02)
    np.testing.assert_allclose(-moved, [slope(lambda s, y=y: density(s, y), 0.3, 1e-3) for y in x], atol=1e-9)
