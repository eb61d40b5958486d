"""The page Langevin and Hamiltonian chains: the statements that its marks lead to."""

import math

import numpy as np
import pytest
from calculus import slope

import sdekit as sk

torch = pytest.importorskip("torch")
pytest.importorskip("zuko")
import generative as gen  # noqa: E402

NUMPY = sk.backends.numpy()
MIXTURE = sk.GaussianMixture([0.3, 0.7], [-1.0, 0.8], stds=[0.5, 0.6])
SCORE = MIXTURE.score()
MEAN, STD = 0.5, 0.6
CHAINS = 4000


def ula(step):
    """(gain, scale) of x' − m = gain (x − m) + scale z for N(m, s²), read off the library's step."""
    langevin = sk.Langevin(sk.Gaussian(MEAN, std=STD).score())
    x, z = np.array([MEAN, MEAN + 1.0, MEAN]), np.array([0.0, 0.0, 1.0])
    moved = sk.solve(langevin, x, grid=[0.0, step], method=sk.langevin, noise=z[None], backend=NUMPY).final
    assert moved[0] == pytest.approx(MEAN)
    return moved[1] - MEAN, moved[2] - MEAN


def variance(step):
    """Of the stationary law of the chain."""
    gain, scale = ula(step)
    return scale**2 / (1 - gain**2)


def distance(x):
    """Kolmogorov's distance of draws to the mixture, in units of 1/√n."""
    x = np.sort(np.asarray(x).ravel())
    erf = np.vectorize(math.erf)
    exact = (0.5 + 0.5 * erf((x[:, None] - MIXTURE.means) / (MIXTURE.stds * math.sqrt(2)))) @ MIXTURE.weights
    return np.abs(exact - (np.arange(len(x)) + 0.5) / len(x)).max() * math.sqrt(len(x))


def energy(x, p):
    """H(x, p) = −log p(x) + ½ p²."""
    return -MIXTURE.log_prob(x) + 0.5 * p**2


def leapfrog(x, p, step, n):
    """n steps of Störmer–Verlet for dx/dt = p, dp/dt = ∇log p(x)."""
    for _ in range(n):
        p = p + 0.5 * step * SCORE(0.0, x)
        x = x + step * p
        p = p + 0.5 * step * SCORE(0.0, x)
    return x, p


def exact_draws(seed):
    return MIXTURE.sample(CHAINS, seed=seed)


def log_prob(x):
    """The mixture's, of tensors (n, 1)."""
    return SCORE.log_prob(0.0, x[:, 0])


def test_langevin_keeps_the_law():
    """The probability current s p − ∂p/∂x of `Langevin` at p is zero."""
    langevin, x = sk.Langevin(SCORE), np.linspace(-2, 2, 21)
    back = slope(lambda y: 0.5 * langevin.diffusion(0.0, y) ** 2 * np.exp(MIXTURE.log_prob(y)), x, 0.02)
    np.testing.assert_allclose(langevin.drift(0.0, x) * np.exp(MIXTURE.log_prob(x)), back, atol=1e-8)


def test_langevin_of_a_gaussian():
    """For N(m, s²) the mean falls as e^{−t/s²}: Langevin is OU with θ = 1/s², σ = √2."""
    langevin, ou = sk.Langevin(sk.Gaussian(MEAN, std=STD).score()), sk.OU(1 / STD**2, MEAN, math.sqrt(2))
    x = np.linspace(-1, 2, 7)
    np.testing.assert_allclose(langevin.drift(0.0, x), ou.drift(0.0, x), rtol=1e-12)
    np.testing.assert_allclose(langevin.diffusion(0.0, x), ou.diffusion(0.0, x), rtol=1e-12)
    assert ou.stationary().var == pytest.approx(STD**2)


@pytest.mark.parametrize("step", [0.01, 0.1, 0.4])
def test_ula_variance(step):
    """For N(m, s²) the chain settles to N(m, s²/(1 − h/(2s²)))."""
    assert variance(step) == pytest.approx(STD**2 / (1 - step / (2 * STD**2)), rel=1e-9)


def test_ula_bias_has_order_one():
    """(variance − s²)/h tends to ½."""
    slopes = [(variance(h) - STD**2) / h for h in (1e-2, 1e-3, 1e-4)]
    np.testing.assert_allclose(slopes, 0.5, rtol=0.02)
    assert abs(slopes[2] - 0.5) < abs(slopes[1] - 0.5) < abs(slopes[0] - 0.5)


def test_ula_diverges_beyond_twice_the_variance():
    """|1 − h/s²| < 1 for h < 2 s² only."""
    assert abs(ula(1.99 * STD**2)[0]) < 1 < abs(ula(2.01 * STD**2)[0])


def test_mala_keeps_the_law():
    """4000 chains from the law itself, 8 steps of 0.6: Kolmogorov at 2/√n, false failure 0.07 %; ULA fails."""
    x0 = torch.as_tensor(exact_draws(1))[:, None]
    chains = gen.mala(log_prob, x0, 0.6, 8, seed=3)
    assert distance(chains.x) < 2 and 0.5 < float(chains.acceptance.mean()) < 0.95
    assert distance(gen.langevin_sample(log_prob, x0, 0.6, 8, seed=3)) > 2.5


def test_mala_is_reversible():
    """Of pairs (x, x') of a step E[a(x) b(x')] = E[b(x) a(x')]: within 4 standard errors; ULA's differ."""
    x0 = torch.as_tensor(MIXTURE.sample(40_000, seed=1))[:, None]

    def asymmetry(x1):
        a, b = (x0[:, 0], x1[:, 0]), (x0[:, 0] ** 3, x1[:, 0] ** 3)
        gap = a[0] * b[1] - b[0] * a[1]
        return abs(float(gap.mean() / gap.std())) * math.sqrt(len(gap))

    assert asymmetry(gen.mala(log_prob, x0, 0.6, 1, seed=3).x) < 4
    assert asymmetry(gen.langevin_sample(log_prob, x0, 0.6, 1, seed=3)) > 6


def test_leapfrog_is_reversible():
    """With the momentum turned round the steps lead back."""
    x, p = np.linspace(-2, 2, 9), np.linspace(1, -1, 9)
    there, momentum = leapfrog(x, p, 0.2, 15)
    back, turned = leapfrog(there, -momentum, 0.2, 15)
    np.testing.assert_allclose((back, -turned), (x, p), atol=1e-12)


def test_leapfrog_keeps_volume():
    """The Jacobian of (x, p) ↦ (x', p') has determinant 1, which Euler's step has not."""
    x, p = np.linspace(-2, 2, 9), np.linspace(1, -1, 9)
    wide = [slope(lambda y: np.stack(leapfrog(y, p, 0.2, 5)), x, 1e-2), None]
    wide[1] = slope(lambda y: np.stack(leapfrog(x, y, 0.2, 5)), p, 1e-2)
    np.testing.assert_allclose(wide[0][0] * wide[1][1] - wide[0][1] * wide[1][0], 1.0, atol=1e-6)
    assert np.abs(0.2**2 * slope(lambda y: SCORE(0.0, y), x, 1e-2)).max() > 0.01  # det of Euler is 1 − h² s′


def test_leapfrog_has_order_two():
    """Over a fixed time the error of the energy is of order h², a quarter at half the step."""
    x, p = np.linspace(-1.5, 1.5, 9), np.linspace(0.5, -0.4, 9)

    def error(step):
        return np.abs(energy(*leapfrog(x, p, step, round(2 / step))) - energy(x, p)).max()

    assert error(0.05) / error(0.025) == pytest.approx(4, rel=0.1)


def test_one_leapfrog_step_is_mala():
    """x' = x + ½ε² s(x) + ε v: the Langevin proposal of step h = ½ε², and the same acceptance."""
    x, z, step = np.linspace(-1.5, 1.5, 9), np.linspace(1, -1, 9), 0.7
    y, momentum = leapfrog(x, z, step, 1)
    h = step**2 / 2
    langevin = sk.Langevin(SCORE)
    proposal = sk.solve(langevin, x, grid=[0.0, h], method=sk.langevin, noise=z[None], backend=NUMPY).final
    np.testing.assert_allclose(y, proposal, rtol=1e-12)

    def log_q(to, origin):
        return -((to - origin - h * SCORE(0.0, origin)) ** 2) / (4 * h)

    metropolis = MIXTURE.log_prob(y) - MIXTURE.log_prob(x) + log_q(x, y) - log_q(y, x)
    np.testing.assert_allclose(energy(x, z) - energy(y, momentum), metropolis, atol=1e-12)


def hmc(x, step, n, length, rng, adjusted=True):
    """n Hamiltonian steps of `length` leapfrog steps each."""
    for _ in range(n):
        p = rng.normal(size=x.shape)
        y, q = leapfrog(x, p, step, length)
        accept = np.log(rng.uniform(size=x.shape)) < energy(x, p) - energy(y, q)
        x = np.where(accept, y, x) if adjusted else y
    return x


def test_hmc_keeps_the_law():
    """4000 chains from the law itself, 5 steps: Kolmogorov at 2/√n, false failure 0.07 %; unadjusted ones fail."""
    rng = np.random.default_rng(0)
    assert distance(hmc(exact_draws(1), 0.8, 5, 3, rng)) < 2
    assert distance(hmc(exact_draws(1), 0.8, 5, 3, rng, adjusted=False)) > 2.5


def test_hmc_finds_the_law():
    """From a point, where a chain that only kept a law could stay: 2/√n again."""
    rng = np.random.default_rng(1)
    assert distance(hmc(np.zeros(CHAINS), 0.7, 30, 3, rng)) < 2
