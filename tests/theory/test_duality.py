"""The page Adversarial dualities: the statements that its marks lead to."""

import math

import numpy as np
import pytest
from calculus import NODES, WEIGHTS
from scipy.stats import wasserstein_distance

import sdekit as sk

X, DX = 9 * NODES, 9 * WEIGHTS  # a quadrature over [−9, 9]
P = sk.GaussianMixture([0.3, 0.7], [-1.0, 0.8], stds=[0.5, 0.6])
Q = sk.Gaussian(0.2, std=1.3)
LOG_P, LOG_Q = P.log_prob(X), Q.log_prob(X)
RATIO = LOG_P - LOG_Q
MIDDLE = np.logaddexp(LOG_P, LOG_Q) - math.log(2)
OTHERS = {"sin": 0.4 * np.sin(2 * X), "cos": -0.3 * np.cos(X), "half": -0.5 * RATIO, "bump": np.exp(-(X**2))}
each_other = pytest.mark.parametrize("bump", OTHERS.values(), ids=OTHERS)


def mean(values, log_density):
    """E of values under a density."""
    return float((DX * np.exp(log_density) * values).sum())


def kl(log_p, log_q):
    return mean(log_p - log_q, log_p)


def donsker_varadhan(critic):
    """E_P T − log E_Q e^T."""
    return mean(critic, LOG_P) - math.log(mean(np.exp(critic), LOG_Q))


def fenchel(critic):
    """E_P T − E_Q e^{T − 1}."""
    return mean(critic, LOG_P) - mean(np.exp(critic - 1), LOG_Q)


def game(logit):
    """E_P log D + E_Q log(1 − D) with D = 1/(1 + e^{−logit})."""
    return -mean(np.logaddexp(0, -logit), LOG_P) - mean(np.logaddexp(0, logit), LOG_Q)


@each_other
def test_donsker_varadhan(bump):
    """KL(P ‖ Q) is attained by T = log p/q, plus any constant, and by no other T."""
    exact = kl(LOG_P, LOG_Q)
    assert donsker_varadhan(RATIO) == pytest.approx(exact, rel=1e-9) == donsker_varadhan(RATIO + 3.0)
    assert donsker_varadhan(RATIO + bump) < exact - 1e-3


@each_other
def test_fenchel_bound_is_weaker(bump):
    """E_P T − E_Q e^{T−1} is attained by 1 + log p/q, and lies below Donsker–Varadhan for every T."""
    exact = kl(LOG_P, LOG_Q)
    assert fenchel(1 + RATIO) == pytest.approx(exact, rel=1e-9)
    assert fenchel(1 + RATIO + bump) <= donsker_varadhan(1 + RATIO + bump) < exact
    assert fenchel(RATIO) < exact - 0.1  # unlike Donsker–Varadhan it knows constants


def test_jensen_shannon_is_the_mean_divergence_to_the_mixture():
    """½ KL(P ‖ M) + ½ KL(Q ‖ M) ≤ log 2, symmetric, unlike the mean of KL(P ‖ Q) and KL(Q ‖ P)."""
    js = 0.5 * kl(LOG_P, MIDDLE) + 0.5 * kl(LOG_Q, MIDDLE)
    entropy = -mean(MIDDLE, MIDDLE) + 0.5 * mean(LOG_P, LOG_P) + 0.5 * mean(LOG_Q, LOG_Q)
    assert js == pytest.approx(entropy, rel=1e-9) and 0 < js < math.log(2)
    assert js < 0.25 * (kl(LOG_P, LOG_Q) + kl(LOG_Q, LOG_P))  # a bound, Lin 1991: not an equality


@each_other
def test_discriminator(bump):
    """max_D E_P log D + E_Q log(1 − D) = 2 JS − 2 log 2 at D = p/(p + q), and less for any other D."""
    js = 0.5 * kl(LOG_P, MIDDLE) + 0.5 * kl(LOG_Q, MIDDLE)
    assert game(RATIO) == pytest.approx(2 * js - 2 * math.log(2), rel=1e-9)
    assert game(RATIO + bump) < game(RATIO) - 1e-3


def test_equilibrium():
    """A discriminator that knows nothing, D = 1/2, has the loss 2 log 2 in `gen.GAN`."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("zuko")
    import generative as gen

    model = gen.GAN()
    with torch.no_grad():
        for weight in model.critic.parameters():
            weight.zero_()
    assert model.loss(torch.randn(8, 2)).item() == pytest.approx(2 * math.log(2))


def difference(x):
    """F_Q − F_P on a fine grid."""
    p, q = np.exp(P.log_prob(x)), np.exp(Q.log_prob(x))
    return np.cumsum(q - p) * (x[1] - x[0]), p, q


def test_kantorovich_rubinstein():
    """W₁ = ∫|F_P − F_Q| = max E_P f − E_Q f over slopes at most 1: attained where f′ = sign(F_Q − F_P)."""
    x = np.linspace(-9, 9, 18_001)
    (gap, p, q), step = difference(x), x[1] - x[0]
    w1 = np.abs(gap).sum() * step
    assert w1 == pytest.approx(wasserstein_distance(x, x, p, q), rel=1e-4)

    def dual(slope):
        return float(((p - q) * np.cumsum(slope)).sum()) * step**2

    assert dual(np.sign(gap)) == pytest.approx(w1, rel=1e-3)
    for other in (np.ones_like(x), np.cos(x), np.sign(gap) * 0.9, np.sign(np.roll(gap, 900)), np.tanh(5 * gap)):
        assert dual(other) < w1 - 1e-2
    assert dual(1.5 * np.sign(gap)) > w1  # beyond the slopes that are allowed


def test_distance_of_parallel_supports():
    """Point masses at 0 and θ: JS = log 2 and KL = ∞ whatever θ ≠ 0 is, W₁ = |θ|."""
    for theta in (0.5, -0.01):
        p, q = np.array([1.0, 0.0]), np.array([0.0, 1.0])
        middle = 0.5 * (p + q)
        js = 0.5 * (p[0] * math.log(p[0] / middle[0]) + q[1] * math.log(q[1] / middle[1]))
        assert js == pytest.approx(math.log(2))
        assert wasserstein_distance([0.0], [theta]) == pytest.approx(abs(theta))


def test_mean_gap_is_below_the_distance():
    """Any critic with slopes at most 1 gives a lower bound: |E_P X − E_Q X| ≤ W₁, equal for shifts."""
    x = np.linspace(-9, 9, 18_001)
    gap, p, q = difference(x)
    assert abs(((p - q) * x).sum()) * 1e-3 < np.abs(gap).sum() * 1e-3
    shifted = np.exp(sk.Gaussian(1.0, std=1.3).log_prob(x)), np.exp(Q.log_prob(x))
    assert wasserstein_distance(x, x, *shifted) == pytest.approx(0.8, rel=1e-5)
