"""log_prob of every model with an exact density: it integrates to 1, and is the closed form on Gaussian data."""

import pytest
from backends import needs

needs("torch", "zuko", "sklearn")

import torch  # noqa: E402

import sdekit as sk  # noqa: E402
from benchmarks.metrics import in_batches  # noqa: E402
from generative import CNF, GMM, MLP, Diffusion, FlowMatching, RealNVP, fit  # noqa: E402
from generative.data import two_moons  # noqa: E402

GAUSSIAN = sk.Gaussian([1.0, -2.0], [[4.0, 3.2], [3.2, 4.0]])  # correlation 0.8


def flow(spline):
    return RealNVP(layers=3, width=32, depth=1, spline=spline)


def on(make):
    """The models that are given a network."""
    return {
        "CNF": CNF(make(), steps=2),
        "flow matching": FlowMatching(make()),
        "diffusion": Diffusion(make(), sk.VP(), "v"),
    }


def perceptron():
    return MLP((2,), 16, 1, waves=0)


class Affine(torch.nn.Module):
    """A(t) x + b(t), with A and b from a perceptron of t: the form that scores and velocities of Gaussians have."""

    shape = (2,)

    def __init__(self):
        super().__init__()
        self.coefficients = torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.SiLU(), torch.nn.Linear(32, 6))

    def forward(self, t, x):
        found = self.coefficients(t[:, None])
        return torch.einsum("bij,bj->bi", found[:, :4].unflatten(1, (2, 2)), x) + found[:, 4:]


def trained(model, data, **settings):
    fit(model, data, ema=0.98, **settings, seed=0)
    return model


@pytest.mark.parametrize("name", ["GMM", "RealNVP", "spline flow", "CNF", "flow matching", "diffusion"])
def test_integrates_to_one(name):
    """By the rectangle rule with steps of 0.1, after a training too short to be good, on data that are not Gaussian."""
    torch.manual_seed(0)
    models = {"GMM": GMM(3), "RealNVP": flow(False), "spline flow": flow(True)} | on(perceptron)
    model = trained(models[name], two_moons.sample(20_000, seed=0), steps=40, batch=512, lr=1e-2)
    x = torch.arange(-4, 4, 0.1)
    total = in_batches(model.log_prob, torch.cartesian_prod(x, x)).double().exp().sum() * 0.1**2
    assert float(total) == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("GMM", {}),
        ("RealNVP", {"steps": 250, "batch": 512, "lr": 1e-2}),
        ("CNF", {"steps": 130, "batch": 512, "lr": 2e-2}),
        ("flow matching", {"steps": 800, "batch": 1024, "lr": 2e-2}),
        ("diffusion", {"steps": 1000, "batch": 2048, "lr": 2e-2}),
    ],
)
def test_agrees_with_the_closed_form_on_gaussian_data(name, settings):
    """Mean of |log q − log p| over fresh data; the seeds are fixed."""
    torch.manual_seed(0)
    models = {"GMM": GMM(1), "RealNVP": flow(False)} | on(Affine)
    model = trained(models[name], GAUSSIAN.sample(100_000, seed=0, like=torch.empty(0)), **settings)
    x = GAUSSIAN.sample(500, seed=1, like=torch.empty(0))
    with torch.no_grad():
        error = (model.log_prob(x) - GAUSSIAN.log_prob(x)).abs().mean()
    assert error < 2e-2 and model.density == "exact"
