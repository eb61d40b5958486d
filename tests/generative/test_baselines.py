"""Baselines: densities integrate to 1, agree with closed forms, and belong to the samples."""

import math

import numpy as np
import pytest
from backends import needs

needs("torch", "zuko", "sklearn")

import torch  # noqa: E402

import sdekit as sk  # noqa: E402
from generative.baselines import GMM, VAE, RealNVP  # noqa: E402
from generative.checkpoints import load, save  # noqa: E402
from generative.data import eight_gaussians  # noqa: E402
from generative.gan import GAN, WGAN  # noqa: E402
from generative.metrics import in_batches, kl_grid  # noqa: E402
from generative.training import fit  # noqa: E402

COV = np.array([[2.0, 0.6], [0.6, 0.5]])
GAUSSIAN = sk.Gaussian([1.0, -2.0], COV)
FLOWS = pytest.mark.parametrize("spline", [False, True], ids=["affine", "spline"])


def draws(n, seed, target=GAUSSIAN):
    return target.sample(n, seed, like=torch.empty(0))


def roughened(model, scale=0.1):
    """The model with random weights, so that it is not nearly the identity."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += scale * torch.randn_like(weight)
    return model


def test_gmm_finds_the_mixture_it_was_given():
    """8 components from 20,000 samples: mean log p is that of the truth within the 47 parameters' worth,
    47/2N = 0.0012 on average; 0.01 is 20 standard deviations more."""
    model = GMM()
    fit(model, eight_gaussians.sample(20_000, seed=1))
    fresh = eight_gaussians.sample(20_000, seed=2)
    gap = float((eight_gaussians.log_prob(fresh) - model.log_prob(fresh)).mean())
    assert -1e-3 < gap < 0.01
    value, _, floor = kl_grid(model.sample(100_000, seed=0), eight_gaussians)
    assert value < floor + 0.005
    assert model.log_prob(fresh).dtype == fresh.dtype and model.density == "exact"
    assert float(model.loss(fresh)) == pytest.approx(-float(model.log_prob(fresh).mean()))


def test_gmm_with_one_component_is_the_sample_mean_and_covariance():
    model, x = GMM(components=1, shape=(2, 1)), draws(2000, 1)
    model.fit(x[:, :, None])
    y = x.double().numpy()
    exact = sk.Gaussian(y.mean(0), np.cov(y.T, bias=True)).log_prob(x)
    assert torch.allclose(model.log_prob(x[:, :, None]), exact, atol=1e-4)
    assert model.sample(5, seed=0).shape == (5, 2, 1)


@FLOWS
def test_flow_density_integrates_to_one_and_is_that_of_the_samples(spline):
    """Integral over a grid to 1e-3; the change of variables against the Jacobian of the map by finite differences."""
    model = roughened(RealNVP(layers=3, width=16, spline=spline)).double()
    model.standardise(draws(1000, 1).double())
    x = torch.linspace(-14, 14, 500, dtype=torch.float64)
    area = float(x[1] - x[0]) ** 2
    total = float(in_batches(model.log_prob, torch.cartesian_prod(x, x)).exp().sum()) * area
    assert total == pytest.approx(1, abs=1e-3)

    z = torch.randn(20, 2, dtype=torch.float64)

    def push(z):
        return model.units.inverse(model.flow().transform.inv(z))

    jacobian = torch.stack([torch.autograd.functional.jacobian(push, one) for one in z])
    base = -0.5 * (z**2).sum(1) - math.log(2 * math.pi)
    assert torch.allclose(model.log_prob(push(z)), base - jacobian.det().abs().log(), atol=1e-8)


@FLOWS
def test_flow_reaches_the_likelihood_of_gaussian_data(spline):
    """KL to the truth below 2e-2 nats after a second of training."""
    torch.manual_seed(0)
    model = RealNVP(layers=3, width=32, depth=1, spline=spline)
    fit(model, draws(20_000, 1), steps=150, batch=512, lr=1e-2, ema=0.9, seed=0)
    fresh = draws(20_000, 2)
    gap = GAUSSIAN.log_prob(fresh) - model.log_prob(fresh)
    assert float(gap.detach().mean()) < 2e-2


def principal(model, x):
    """Sets a linear VAE to the optimum of probabilistic PCA on x; returns the law that the model then is.

    W = U (Λ − σ²)^½,   σ² = mean of the other eigenvalues,   z | x ~ N(M⁻¹Wᵀ(x − m), σ²M⁻¹),   M = WᵀW + σ²
    """
    u = model.units(x).double().numpy()
    values, vectors = np.linalg.eigh(np.cov(u.T, bias=True))
    values, vectors = values[::-1], vectors[:, ::-1]
    q, var = model.latent, values[model.latent :].mean()
    w = vectors[:, :q] * np.sqrt(values[:q] - var)
    m = w.T @ w + var * np.eye(q)  # diagonal
    encoder, decoder = model.encoder[0], model.decoder[0]
    with torch.no_grad():
        decoder.weight.copy_(torch.as_tensor(w))
        decoder.bias.copy_(torch.as_tensor(u.mean(0)))
        encoder.weight.zero_()
        gain = np.linalg.solve(m, w.T)
        encoder.weight[:q] = torch.as_tensor(gain)
        encoder.bias[:q] = torch.as_tensor(-gain @ u.mean(0))
        encoder.bias[q:] = torch.as_tensor(0.5 * np.log(var / np.diag(m)))
        model.log_sigma.fill_(0.5 * math.log(var))
    scale, shift = model.units.scale.double().numpy(), model.units.shift.double().numpy()
    cov = (w @ w.T + var * np.eye(len(w))) * scale[:, None] * scale
    return sk.Gaussian(shift + scale * u.mean(0), cov)


def correlated(n, seed, d=4):
    root = np.array([[1.5, 0, 0, 0], [1.0, 0.8, 0, 0], [-0.5, 1.0, 0.4, 0], [0.3, -0.2, 0.1, 0.5]])
    return torch.as_tensor(sk.noise.normal((n, d), seed) @ root.T + np.arange(d)).float()


@pytest.mark.parametrize("particles", [1, 5])
def test_linear_vae_at_the_optimum_has_the_likelihood_of_probabilistic_pca(particles):
    """There q(z | x) is the posterior, so that every weight, hence the bound and the loss, is p(x) itself."""
    x = correlated(2000, 1)
    model = VAE((4,), latent=2, depth=0, particles=particles, draws=3).double()
    model.standardise(x)
    exact = principal(model, x).log_prob(x.double())
    assert torch.allclose(model.log_prob(x.double()), exact, atol=1e-6)
    assert float(model.loss(x.double()).detach()) == pytest.approx(-float(exact.mean()), abs=1e-6)
    sample = model.sample(50_000, seed=0)  # 5 standard errors, 14 entries: false failures below 1e-5
    assert np.allclose(np.cov(sample.T.numpy()), principal(model, x).cov, atol=5 * 2**0.5 * 6 / 50_000**0.5)


def test_linear_vae_learns_probabilistic_pca():
    """Within 2e-2 nats of the closed-form optimum after two seconds of training, and never above it on the data."""
    x = correlated(5000, 1)
    torch.manual_seed(0)
    model, best = VAE((4,), latent=2, depth=0, particles=1), VAE((4,), latent=2, depth=0)
    fit(model, x, steps=600, batch=512, lr=2e-2, seed=0)
    best.standardise(x)
    bound = torch.stack([model.log_prob(x, seed=s).mean() for s in range(32)]).mean()  # normals are the same for all x
    gap = principal(best, x).log_prob(x).mean() - bound
    assert -1e-4 < float(gap.detach()) < 2e-2


def test_vae_bound_rises_to_the_likelihood():
    """A rough decoder: the bound with 1, 8 and 512 draws rises to the marginal by quadrature over z, as means over
    x. The normals are the same for all x, so that the mean with 512 draws is off by about 0.005."""
    torch.manual_seed(1)
    model = roughened(VAE(latent=1, width=16, sigma=0.3), 0.3).double()
    model.units.known = True
    assert model.density == "bound" and not model.log_sigma.requires_grad
    with torch.no_grad():
        model.log_sigma.fill_(math.log(0.3))
        x = model.sample(300, seed=1)
        z = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
        joint = -0.5 * ((x[:, None] - model.decoder(z)) ** 2).sum(2) / 0.09 - math.log(2 * math.pi * 0.09)
        exact = (joint - 0.5 * z[:, 0] ** 2 - 0.5 * math.log(2 * math.pi)).logsumexp(1) + math.log(16 / 4000)
        bounds = []
        for model.draws, seeds in ((1, 64), (8, 32), (512, 16)):
            bounds.append(float(torch.stack([model.log_prob(x, seed=s).mean() for s in range(seeds)]).mean()))
    assert bounds[0] < bounds[1] < bounds[2] < float(exact.mean()) + 0.025
    assert bounds[2] > float(exact.mean()) - 0.1


def test_a_mixture_says_what_it_is():
    assert repr(GMM(8)) == "GMM(components=8, shape=(2,), restarts=3)"
    model = ready(GMM(2))
    assert model.sample(np.int64(5)).shape == (5, 2)
    for wrong in (True, 0, 5.0, "5", None):
        with pytest.raises(ValueError, match="n must be an integer >= 1, got"):
            model.sample(wrong)


def ready(model):
    """The model with first weights, but having seen data."""
    if hasattr(model, "units"):
        model.units.fit(draws(100, 1))
    else:
        model.fit(draws(100, 1), seed=0)
    return model


@pytest.mark.parametrize("make", [GMM, RealNVP, VAE], ids=lambda m: m.__name__)
def test_samples_are_a_function_of_the_seed(make):
    model, state = make(), torch.get_rng_state()
    with pytest.raises(ValueError, match=f"{make.__name__} is not trained yet: fit"):
        model.sample(64, seed=3)
    x = ready(model).sample(64, seed=3)
    assert x.shape == (64, 2) and x.dtype == torch.float32 and not x.requires_grad
    assert torch.allclose(x, model.sample(128, seed=3)[:64], atol=1e-6)
    assert not torch.allclose(x, model.sample(64, seed=4))
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(ValueError, match="labels"):
        model.sample(4, c=torch.zeros(4, dtype=torch.long), seed=0)
    with pytest.raises(ValueError, match="labels"):
        model.loss(x, c=torch.zeros(64, dtype=torch.long))


@pytest.mark.parametrize("make", [GMM, lambda: RealNVP(spline=True, layers=2), VAE, GAN, WGAN])
def test_models_come_back_from_files(make, tmp_path):
    model = ready(make())
    save(model, tmp_path / "model.pt")
    assert torch.equal(load(tmp_path / "model.pt").sample(10, seed=1), model.sample(10, seed=1))


def test_units_shift_and_scale_the_density():
    """log p of data times a and shifted is lower by log a per feature."""
    model, x = RealNVP(layers=1), draws(100, 1)
    before = model.log_prob(x)
    model.units.scale.fill_(10.0)
    model.units.shift.fill_(3.0)
    assert torch.allclose(model.log_prob(3 + 10 * x), before - 2 * math.log(10), atol=1e-4)
    with pytest.raises(ValueError, match="shape"):
        model.standardise(torch.zeros(5, 3))


@pytest.mark.parametrize("arguments", [{"latent": 0}, {"particles": 0}, {"beta": -1.0}, {"sigma": 0.0}])
def test_impossible_autoencoders_are_refused(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))}.* must be "):
        VAE(**arguments)
