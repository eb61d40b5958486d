"""Langevin sampling of N(m, s²): the unadjusted chain's bias is the predicted one, the adjusted chain has none."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import sdekit as sk  # noqa: E402
from generative.langevin import langevin_sample, mala, score_of  # noqa: E402

MEAN, STD, STEP = 0.5, 0.6, 0.4  # step / 2s² = 0.56: the unadjusted chain's variance is 2.25 times too large
CHAINS, STEPS = 20_000, 60


def log_prob(x):
    """N(m, s²) in every entry, without its constant."""
    return -0.5 * (((x - MEAN) / STD) ** 2).flatten(1).sum(1)


def start(n=CHAINS, d=1):
    """Draws of the law itself, so that nothing has to be waited for."""
    return torch.as_tensor(MEAN + STD * sk.noise.normal((n, d), seed=11))


def within(x, mean, var):
    """Mean and variance of independent normals, each within 5 standard errors: false failures 1.2e-6."""
    n = x.numel()
    assert abs(float(x.mean()) - mean) < 5 * math.sqrt(var / n)
    assert abs(float(x.var()) / var - 1) < 5 * math.sqrt(2 / n)


def test_score_is_the_gradient():
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    assert torch.allclose(score_of(log_prob)(0.0, x), -(x - MEAN) / STD**2)


def test_unadjusted_chains_have_the_predicted_bias():
    """x ← m + a (x − m) + √(2τ) z with a = 1 − τ/s²: variance after n steps, and s²/(1 − τ/2s²) in the limit."""
    a = 1 - STEP / STD**2
    var = STD**2 * a ** (2 * STEPS) + 2 * STEP * (1 - a ** (2 * STEPS)) / (1 - a * a)
    assert var == pytest.approx(STD**2 / (1 - STEP / (2 * STD**2)), rel=1e-6)
    x = langevin_sample(log_prob, start(), STEP, STEPS, seed=1)
    within(x, MEAN, var)
    assert torch.equal(x, langevin_sample(log_prob, start(), STEP, STEPS, seed=1))


def test_adjusted_chains_have_none():
    """Same step, same length: the law is kept. The variance would be 2.25 times as large without the test."""
    x, acceptance = mala(log_prob, start(), STEP, STEPS, seed=1)
    within(x, MEAN, STD**2)
    assert 0.3 < float(acceptance.mean()) < 0.95 and acceptance.shape == (CHAINS,)
    assert torch.equal(x, mala(log_prob, start(), STEP, STEPS, seed=1).x)


def test_adjusted_chains_reach_the_law_from_elsewhere():
    """300 short steps from 2.5 std away; the memory of the start is below 1e-6."""
    x, acceptance = mala(log_prob, torch.full((5000, 1), 2.0, dtype=torch.float64), 0.1, 300, seed=2)
    within(x, MEAN, STD**2)
    assert float(acceptance.mean()) > 0.9


def test_acceptance_is_the_metropolis_rule():
    """One step of one chain, by hand in numpy, for many chains."""
    x = start(200, 2)
    z = sk.noise.normal(x.shape, 5, sk.noise.Stream.PROPOSAL, like=x, n=0).numpy()
    u = sk.noise.uniform((200,), 5, sk.noise.Stream.ACCEPTANCE, like=x, n=0).numpy()
    a = x.numpy()

    def drifted(a):
        return a - STEP * (a - MEAN) / STD**2

    b = drifted(a) + math.sqrt(2 * STEP) * z
    log_p = [-(((c - MEAN) / STD) ** 2).sum(1) / 2 for c in (a, b)]
    log_q = [-((c - drifted(e)) ** 2).sum(1) / (4 * STEP) for c, e in ((b, a), (a, b))]
    accept = np.log(u) < log_p[1] - log_p[0] + log_q[1] - log_q[0]
    chains = mala(log_prob, x, STEP, 1, seed=5)
    assert 20 < accept.sum() < 180
    assert np.allclose(chains.x.numpy(), np.where(accept[:, None], b, a))
    assert (chains.acceptance.numpy() == accept).all()


def test_two_dimensions_share_one_decision_and_impossible_states_are_refused():
    """Exponential law on the quadrant x, y > 0: chains stay inside and have mean and variance 1 (5 standard errors, of
    correlated nothing: chains are independent; false failures 2e-6)."""

    def quadrant(x):
        return torch.where((x > 0).all(1), -x.sum(1), -math.inf)

    x = -torch.as_tensor(sk.noise.uniform((4000, 2), seed=1)).log()  # the law itself
    chains = mala(quadrant, x, 0.3, 40, seed=3)
    assert (chains.x > 0).all() and 0.3 < float(chains.acceptance.mean()) < 0.99
    assert (chains.x.mean(0) - 1).abs().max() < 5 / 4000**0.5
    assert (chains.x.var(0) - 1).abs().max() < 5 * (8 / 4000) ** 0.5  # fourth moment of the exponential: 9


def test_a_fitted_model_is_sampled():
    """A correlated Gaussian, learned by EM, then 4000 chains from its log_prob: 5 standard errors, 4e-6 for all."""
    pytest.importorskip("sklearn")
    pytest.importorskip("zuko")
    from generative import GMM, fit

    law = sk.Gaussian(np.array([1.0, -2.0]), np.array([[1.0, 0.6], [0.6, 0.8]]))
    model = GMM(1)
    fit(model, law.sample(3000, seed=1))
    x, acceptance = mala(model.log_prob, torch.zeros(4000, 2, dtype=torch.float64), 0.2, 80, seed=0)
    mean, cov = model.means[0], model.covs[0]
    var = cov.diagonal()
    assert ((x.mean(0) - mean).abs() < 5 * (var / 4000).sqrt()).all()
    spread = ((torch.outer(var, var) + cov**2) / 4000).sqrt()
    assert ((torch.cov(x.T) - cov).abs() < 5 * spread).all() and 0.5 < acceptance.mean() < 1


def test_shapes_and_types_are_kept():
    """Images of shape (1, 2, 2), float32: shapes and types are kept."""
    x = mala(log_prob, torch.zeros(10, 1, 2, 2), 0.1, 5, seed=0)
    y = langevin_sample(log_prob, torch.zeros(10, 1, 2, 2), 0.1, 5, seed=0)
    assert x.x.shape == y.shape == (10, 1, 2, 2) and x.x.dtype == y.dtype == torch.float32


@pytest.mark.parametrize("sample", [langevin_sample, mala])
def test_arguments_are_checked(sample):
    with pytest.raises(ValueError, match="log_prob must return one value for each of 4 rows, got shape"):
        sample(lambda x: -(x**2), torch.zeros(4, 2), 0.1, 3)
    for step, n in ((0.1, -3), (0.0, 3), ("0.1", 3), (0.1, None)):
        with pytest.raises(ValueError, match="(step must be a real number, above 0|n must be an integer >= 1)"):
            sample(log_prob, torch.zeros(4, 2), step, n)
    with pytest.raises(ValueError, match="x0 must be finite numbers"):
        sample(log_prob, torch.zeros(4, 2) * math.nan, 0.1, 3)
