"""The page Latent variables: the statements that its marks lead to."""

import math

import numpy as np
import pytest
from calculus import slope

import sdekit as sk

torch = pytest.importorskip("torch")
pytest.importorskip("zuko")
import generative as gen  # noqa: E402

D, CODE = 4, 2
RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(400, CODE)) @ RNG.normal(size=(CODE, D)) + 0.4 * RNG.normal(size=(400, D))
MEAN, COV = DATA.mean(0), np.cov(DATA.T, bias=True)


def solution():
    """(W, σ²) of largest likelihood: σ² the mean of the eigenvalues left out, W = U (Λ − σ²)^½."""
    values, vectors = np.linalg.eigh(COV)
    noise = values[:-CODE].mean()
    return vectors[:, -CODE:] * np.sqrt(values[-CODE:] - noise), noise


def likelihood(weight, noise):
    """Mean log-likelihood of the data under N(mean, W Wᵀ + σ²)."""
    return sk.Gaussian(MEAN, weight @ weight.T + noise * np.eye(D)).log_prob(DATA).mean()


def posterior(weight, noise):
    """Gain and covariance of z given x: N(M⁻¹ Wᵀ (x − mean), σ² M⁻¹), M = Wᵀ W + σ²."""
    inverse = np.linalg.inv(weight.T @ weight + noise * np.eye(CODE))
    return inverse @ weight.T, noise * inverse


def bound(weight, noise, gain, cov):
    """E_q log p(x, z) − E_q log q of q = N(gain (x − mean), cov), in closed form, the mean over the data."""
    m = (DATA - MEAN) @ gain.T
    off = ((DATA - MEAN - m @ weight.T) ** 2).sum(1) + np.trace(weight.T @ weight @ cov)
    decoded = -0.5 * off / noise - 0.5 * D * math.log(2 * math.pi * noise)
    return float((decoded - gaussian_kl(m, cov)).mean())


def gaussian_kl(m, cov):
    """KL(N(m, Σ) ‖ N(0, I)) = ½ (|m|² + tr Σ − log det Σ − d), for each row of m."""
    return 0.5 * ((m**2).sum(-1) + np.trace(cov) - np.linalg.slogdet(cov)[1] - m.shape[-1])


def linear_vae(weight, noise, gain, std, particles=1):
    """`gen.VAE` with the affine encoder N(gain (x − mean), std²) and the decoder N(mean + W z, σ²)."""
    model = gen.VAE((D,), CODE, depth=0, sigma=math.sqrt(noise), particles=particles, draws=1).double()
    encoder, decoder = model.encoder[0], model.decoder[0]
    with torch.no_grad():
        encoder.weight.copy_(torch.as_tensor(np.concatenate([gain, np.zeros((CODE, D))])))
        encoder.bias.copy_(torch.as_tensor(np.concatenate([-gain @ MEAN, np.log(std)])))
        decoder.weight.copy_(torch.as_tensor(weight))
        decoder.bias.copy_(torch.as_tensor(MEAN))
        model.log_sigma.fill_(0.5 * math.log(noise))
    return model


def test_kl_of_gaussians():
    """½ (|m|² + tr Σ − log det Σ − d) against torch's; as the covariance shrinks it grows, since log det Σ falls."""
    m, root = np.array([0.5, -1.0]), np.array([[0.8, 0.0], [0.3, 0.5]])
    p, q = (
        torch.distributions.MultivariateNormal(torch.as_tensor(a), torch.as_tensor(b))
        for a, b in ((m, root @ root.T), (np.zeros(2), np.eye(2)))
    )
    assert gaussian_kl(m, root @ root.T) == pytest.approx(float(torch.distributions.kl_divergence(p, q)))
    assert gaussian_kl(m, 1e-6 * np.eye(2)) > gaussian_kl(m, 1e-3 * np.eye(2)) > gaussian_kl(m, np.eye(2))


def test_gap_of_the_bound():
    """log p(x) − ELBO = KL(q ‖ p(z | x)), for q with a wrong mean and a wrong covariance."""
    weight, noise = solution()
    gain, cov = posterior(weight, noise)
    other, wide = gain + 0.1, cov * 1.7
    m = np.linalg.solve(np.linalg.cholesky(cov), (DATA - MEAN).dot((other - gain).T).T).T  # in units of the posterior
    gap = gaussian_kl(m, 1.7 * np.eye(CODE)).mean()
    assert likelihood(weight, noise) - bound(weight, noise, other, wide) == pytest.approx(gap, rel=1e-10)


def test_ppca_solution_is_the_best():
    """The likelihood is flat at (W, σ²) and smaller all around, but for rotations of W, which change nothing."""
    weight, noise = solution()
    best = likelihood(weight, noise)
    for _ in range(10):
        side, wider = RNG.normal(size=weight.shape), RNG.normal()

        def moved(s, side=side, wider=wider):
            return likelihood(weight + s * side, noise * math.exp(s * wider))

        assert abs(slope(moved, 0.0, 1e-3)) < 1e-8 and max(moved(0.1), moved(-0.1)) < best
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert likelihood(weight @ turn, noise) == pytest.approx(best, rel=1e-12)


def test_ppca_bound_is_tight():
    """With the posterior as q the bound is the likelihood, in closed form and in `gen.VAE` with any draw of z."""
    weight, noise = solution()
    gain, cov = posterior(weight, noise)
    assert bound(weight, noise, gain, cov) == pytest.approx(likelihood(weight, noise), rel=1e-10)
    model = linear_vae(weight, noise, gain, np.sqrt(cov.diagonal()))
    want = sk.Gaussian(MEAN, weight @ weight.T + noise * np.eye(D)).log_prob(DATA)
    for seed in (0, 1):
        np.testing.assert_allclose(model.log_prob(torch.as_tensor(DATA), seed=seed).detach().numpy(), want, rtol=1e-6)


def test_more_particles_make_it_tighter():
    """E log mean_K w rises with K to log p(x); q is 1.5 times too wide. Means of 20,000 draws: 0.02 is 5 σ and more."""
    weight, noise = solution()
    gain, cov = posterior(weight, noise)
    x, wide = torch.as_tensor(DATA[:1]).repeat(20_000, 1), 1.5 * np.sqrt(cov.diagonal())
    torch.manual_seed(0)
    with torch.no_grad():
        one, four, many = (-float(linear_vae(weight, noise, gain, wide, k).loss(x)) for k in (1, 4, 32))
    exact = float(sk.Gaussian(MEAN, weight @ weight.T + noise * np.eye(D)).log_prob(DATA[0]))
    assert one + 0.02 < four and four + 0.02 < many and abs(many - exact) < 0.02
