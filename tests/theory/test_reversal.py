"""The page Time reversal: the statements that its marks lead to."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from calculus import curvature, integral, residual, slope

import sdekit as sk

NUMPY = sk.backends.numpy()
MIXTURE = sk.GaussianMixture([0.3, 0.7], [-1.0, 0.8], stds=[0.4, 0.3])
PROCESSES = [sk.OU(), sk.VP(), sk.SubVP(), sk.VE(sigma_min=0.1, sigma_max=5.0), sk.EDM(), sk.FlowPath()]
GAUSSIAN = sk.Gaussian([0.0], std=0.5)
HERMITE, MASS = np.polynomial.hermite_e.hermegauss(60)
MASS = MASS / MASS.sum()
each_process = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)


def marginal_law(process, t):
    """The mixture that the data have become."""
    alpha, sigma = process.marginal(t)
    stds = np.sqrt(alpha**2 * MIXTURE.stds**2 + sigma**2)
    return sk.GaussianMixture(MIXTURE.weights, alpha * MIXTURE.means, stds=stds)


def cdf(law, x):
    """The distribution function of a mixture."""
    erf = np.vectorize(math.erf)
    return (0.5 + 0.5 * erf((x[:, None] - law.means) / (law.stds * math.sqrt(2)))) @ law.weights


def spread(process, t, n=21):
    """States where the density at t has its mass, and their scale."""
    scale = math.hypot(*process.marginal(t))
    return scale * np.linspace(-1.8, 1.8, n), scale


@each_process
@pytest.mark.parametrize("eta", [1.0, 0.5, 0.0])
def test_reverse_equation_has_the_same_law(process, eta):
    """Fokker–Planck of `Reverse`, whose times decrease, is solved by the forward p_t, for any eta."""
    score = MIXTURE.score(process)
    reverse = sk.Reverse(process, score, eta)
    t = 0.4
    x, scale = spread(process, t)
    size = residual(lambda s, y: np.exp(score.log_prob(s, y)), reverse, t, x, 1e-3, 0.01 * scale, sign=-1.0)
    assert size < 1e-6


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_reverse_drift_has_the_whole_square(factor):
    """f − c g² ∇log p with a c other than 1 does not keep the law."""
    vp, t = sk.VP(), 0.4
    score = MIXTURE.score(vp)

    def drift(t, x):
        return vp.drift(t, x) - factor * vp.diffusion(t, x) ** 2 * score(t, x)

    x, _ = spread(vp, t)
    wrong = SimpleNamespace(drift=drift, diffusion=vp.diffusion)
    assert residual(lambda s, y: np.exp(score.log_prob(s, y)), wrong, t, x, 1e-3, 0.01, sign=-1.0) > 0.1


def test_probability_flow_keeps_quantiles():
    """In one dimension x_t moves so that P(X_t ≤ x_t) stays; from noise back to data."""
    vp = sk.VP()
    x0 = np.linspace(-1.5, 1.4, 12)
    ode = sk.Reverse(vp, MIXTURE.score(vp), eta=0)
    start = sk.solve(sk.noiseless(ode), x0, [1e-3, 1.0], tol=1e-9, backend=NUMPY).final
    np.testing.assert_allclose(cdf(marginal_law(vp, 1.0), start), cdf(marginal_law(vp, 1e-3), x0), atol=1e-6)


@pytest.mark.parametrize("eta, method", [(1.0, sk.euler_maruyama), (0.0, sk.heun)])
def test_samples_have_the_law_of_the_data(eta, method):
    """Kolmogorov–Smirnov of 4000 paths at 2/√n: false failure 0.07 %, once for this seed."""
    vp, n = sk.VP(), 4000
    reverse = sk.Reverse(vp, MIXTURE.score(vp), eta)
    grid = sk.grids.log_snr(vp, 150)
    x = sk.solve(reverse, reverse.start((n,), seed=1), grid=grid, method=method, seed=2, backend=NUMPY).final
    found = cdf(marginal_law(vp, float(grid[-1])), np.sort(x))
    assert np.abs(found - (np.arange(n) + 0.5) / n).max() < 2 / math.sqrt(n)


def test_prior():
    """N(0, σ(T)²), and the distance of x_T to it in KL is that of α(T)x_0: 5e-5 for VP; for VE N(0, 1) is far off."""
    ve = sk.VE(sigma_max=50.0)
    z = sk.Reverse(ve, MIXTURE.score(ve)).start((20_000,), seed=0)
    assert abs(z.std() / 50 - 1) < 5 / math.sqrt(2 * 20_000)
    law, unit = marginal_law(sk.VP(), 1.0), sk.Gaussian(0.0, std=1.0)
    gap = integral(lambda x: np.exp(law.log_prob(x)) * (law.log_prob(x) - unit.log_prob(x)), -9.0, 9.0)
    assert 0 <= gap < 5e-5


@each_process
def test_tweedie(process):
    """∇log p_t = (α E[x_0 | x_t] − x_t)/σ²: the score by differences, the mean by quadrature over the posterior."""
    t = 0.4
    alpha, sigma = process.marginal(t)
    x, scale = spread(process, t)
    mean, _ = posterior(alpha, sigma, x)
    by_differences = slope(lambda y: marginal_law(process, t).log_prob(y), x, 0.02 * scale)
    np.testing.assert_allclose((alpha * mean - x) / sigma**2, by_differences, atol=1e-7 / scale)
    clean, eps = MIXTURE.score(process).pair(t, x)
    np.testing.assert_allclose(clean, mean, atol=1e-9)
    np.testing.assert_allclose(-eps / sigma, by_differences, atol=1e-7 / scale)


def posterior(alpha, sigma, x):
    """Mean and variance of x_0 given x_t = x, by quadrature."""

    def moment(k):
        def weighted(y):
            return y**k * np.exp(MIXTURE.log_prob(y) - 0.5 * ((x[:, None] - alpha * y) / sigma) ** 2)

        return integral(weighted, -4.0, 4.0)

    mean = moment(1) / moment(0)
    return mean, moment(2) / moment(0) - mean**2


@each_process
def test_posterior_variance(process):
    """Var[x_0 | x_t] = (σ²/α²)(1 + σ² ∂² log p_t)."""
    t = 0.4
    alpha, sigma = process.marginal(t)
    x, scale = spread(process, t)
    bent = curvature(lambda y: marginal_law(process, t).log_prob(y), x, 0.02 * scale)
    _, variance = posterior(alpha, sigma, x)
    np.testing.assert_allclose((sigma / alpha) ** 2 * (1 + sigma**2 * bent), variance, atol=1e-5)


def joint(alpha, sigma):
    """(weights, x_0, ε, x_t) of a quadrature over data and noise."""
    x0 = (MIXTURE.means[:, None] + MIXTURE.stds[:, None] * HERMITE).ravel()
    weight = (MIXTURE.weights[:, None] * MASS).ravel()
    eps = np.broadcast_to(HERMITE, (len(x0), len(HERMITE)))
    return weight[:, None] * MASS, x0[:, None], eps, alpha * x0[:, None] + sigma * eps


@each_process
@pytest.mark.parametrize("bump", [np.sin, np.cos, lambda x: 0 * x + 0.3], ids=["sin", "cos", "constant"])
def test_denoising_score_matching(process, bump):
    """E|s + ε/σ|² = E|s − ∇log p_t|² + a constant: for s = ∇log p_t + φ it exceeds its minimum by E φ²."""
    t = 0.4
    alpha, sigma = process.marginal(t)
    weight, _, eps, x = joint(alpha, sigma)
    best = MIXTURE.score(process)(t, x)

    def loss(s):
        return (weight * (s + eps / sigma) ** 2).sum()

    excess = loss(best + bump(x)) - loss(best)
    np.testing.assert_allclose(excess, (weight * bump(x) ** 2).sum(), rtol=2e-4, atol=1e-9)
    assert loss(best) > 0  # the variance of ε given x_t, which no network removes


def test_predictions_are_one_another():
    """Noise, clean data, v, velocity and score each give the pair (D, ε)."""
    vp, x = sk.VP(), np.linspace(-2, 2, 9)
    score, scores, t = MIXTURE.score(vp), sk.scores, np.full(9, 0.4)
    alpha, sigma = vp.marginal(0.4)
    clean, eps = score.pair(0.4, x)
    np.testing.assert_allclose(alpha * clean + sigma * eps, x, atol=1e-12)
    for kind in ("noise", "denoiser", "v", "velocity", "score"):
        net = getattr(scores, f"as_{kind}")(score)
        again = getattr(scores, f"from_{kind}")(net, vp, event_dims=0).pair(t, x)
        np.testing.assert_allclose(again, (clean, eps), atol=1e-10, err_msg=kind)
    (da, ds), velocity = vp.rates(0.4), scores.as_velocity(score)
    np.testing.assert_allclose(velocity(t, x), da * clean + ds * eps, rtol=1e-10)


def test_corrector_keeps_the_law():
    """The current of dX = s dt + √2 dW at p_t is zero: Langevin steps correct without moving the law they aim at."""
    vp, t = sk.VP(), 0.4
    langevin, law = sk.Langevin(MIXTURE.score(vp)), marginal_law(vp, t)
    x, _ = spread(vp, t)
    back = slope(lambda y: 0.5 * langevin.diffusion(t, y) ** 2 * np.exp(law.log_prob(y)), x, 0.01)
    np.testing.assert_allclose(langevin.drift(t, x) * np.exp(law.log_prob(x)), back, atol=1e-7)


@pytest.mark.parametrize("n", [20, 40, 80])
def test_predictor_corrector(n):
    """On Gaussian data, where the law of the samples is exact: a corrector takes a third off the error, or more."""
    vp = sk.VP()
    grid = sk.grids.uniform(vp, n, 1.0, 1e-2)
    wanted = sk.convergence.law.exact_law(GAUSSIAN, vp, 1e-2)

    def error(method):
        return sk.convergence.law.gaussian_law(GAUSSIAN, vp, method, grid).w2(wanted)

    alone, corrected = error(sk.euler_maruyama), error(sk.predictor_corrector(sk.euler_maruyama, sk.langevin(0.16, 4)))
    assert corrected < 2 / 3 * alone


def test_annealed_langevin():
    """More Langevin steps at each level bring the law of annealed Langevin dynamics closer to that of the data."""
    ve = sk.VE(sigma_min=0.05, sigma_max=5.0)
    grid = sk.grids.log_snr(ve, 60, end=0.0)
    wanted = sk.convergence.law.exact_law(GAUSSIAN, ve, float(grid[-1]))
    laws = [
        sk.convergence.law.gaussian_law(GAUSSIAN, ve, sk.annealed_langevin(0.1, steps), grid) for steps in (1, 5, 25)
    ]
    far = [law.w2(wanted) for law in laws]
    assert far[0] > far[1] > far[2]
