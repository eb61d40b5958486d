"""Flows: paths, exact velocities as minima, likelihood, pairing, reflow, and the continuous normalizing flow."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import sdekit as sk  # noqa: E402
from generative import CNF, MLP, FlowMatching, fit, optimal_pairs, reflow  # noqa: E402

PATHS = {"ot": sk.FlowPath(), "sigma_min": sk.FlowPath(sigma_min=0.02), "vp": sk.VP(), "cosine": sk.CosineVP()}
TARGET = sk.GaussianMixture([0.4, 0.6], [[-1.0, 0.5], [0.8, -0.2]], stds=0.4)
STD = torch.tensor([math.sqrt(0.16 + 0.24 * 1.8**2), math.sqrt(0.16 + 0.24 * 0.7**2)])


class Exact(torch.nn.Module):
    """The velocity of the target along a path, times one parameter that starts at 1."""

    shape = (2,)

    def __init__(self, path, target=TARGET):
        super().__init__()
        self.network, self.factor = sk.scores.as_velocity(target.score(path)), torch.nn.Parameter(torch.ones(()))

    def forward(self, t, x):
        return self.factor * self.network(t, x)


def exact(name, **options):
    return FlowMatching(Exact(PATHS[name]), PATHS[name], **options)


def draws(n, seed):
    return TARGET.sample(n, seed, like=torch.empty(0))


# --- matching ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PATHS)
def test_the_exact_velocity_is_a_minimum(name):
    """Gradient 0 within 7 standard errors of 12 batches (Student: 2e-5 a case), and not at a factor of 1.2."""
    model = exact(name)
    for factor, zero in ((1.0, True), (1.2, False)):
        model.net.factor.data.fill_(factor)
        torch.manual_seed(0)
        found = [torch.autograd.grad(model.loss(draws(1000, k)), model.net.factor)[0] for k in range(12)]
        mean, error = torch.stack(found).mean(), torch.stack(found).std() / math.sqrt(12)
        assert (mean.abs() < 7 * error) == zero


@pytest.mark.parametrize("name", PATHS)
def test_log_prob_of_the_exact_velocity(name):
    model, x = exact(name), draws(30, 5)
    blur = 0.02 if name == "sigma_min" else 0.0
    law = TARGET._replace(stds=np.sqrt(TARGET.stds**2 + blur**2))
    assert (model.log_prob(x, steps=60) - law.log_prob(x)).abs().mean() < 2e-2


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(
    ("method", "steps"),
    [(sk.midpoint, 40), (sk.dpmpp_2m, 40), (sk.ancestral, 100), (sk.euler_maruyama, 400)],
    ids=["midpoint", "2m", "ancestral", "em"],
)
def test_samples_of_the_exact_velocity(name, method, steps):
    """ODE and SDE alike. Mean and spread of 4000 draws: 5 standard errors (1e-5 for all) and 0.04 for the solver."""
    x = exact(name).sample(4000, seed=1, method=method, steps=steps)
    assert ((x.mean(0) - 0.08).abs() < 5 * STD / math.sqrt(4000) + 0.04).all()
    assert ((x.std(0) - STD).abs() < 5 * STD / math.sqrt(8000) + 0.04).all()


def test_standardised_inside():
    """At its start the network is 0, which moves nothing: samples are N(mean, variance) of the data."""
    model = FlowMatching(MLP((2,), 8, 1))
    scale, shift = torch.tensor([3.0, 0.2]), torch.tensor([10.0, -1.0])
    model.standardise(shift + scale * torch.randn(50_000, 2, generator=torch.Generator().manual_seed(0)))
    x = model.sample(4000, seed=0)
    assert ((x.mean(0) - shift) / scale).abs().max() < 5 / math.sqrt(4000) + 0.02
    log = torch.distributions.Normal(shift, scale).log_prob(x[:50]).sum(1)
    assert (model.log_prob(x[:50], steps=4) - log).abs().max() < 2e-2


def test_trains_on_a_gaussian():
    """A short training on correlation 0.8; seed fixed."""
    torch.manual_seed(0)
    root = torch.tensor([[2.0, 0.0], [1.6, 1.2]])
    law = torch.distributions.MultivariateNormal(torch.tensor([1.0, -2.0]), scale_tril=root)
    data = law.mean + torch.randn(20_000, 2) @ root.T
    model = FlowMatching(MLP((2,), 32, 1, waves=0))
    fit(model, data, steps=400, batch=512, lr=1e-2, ema=0.98, seed=0)
    x = law.mean + torch.randn(200, 2) @ root.T
    assert (model.log_prob(x, steps=16) - law.log_prob(x)).mean().abs() < 2e-2


def test_labels_and_guidance():
    class Labelled(torch.nn.Module):
        shape = (2,)

        def forward(self, t, x, c=None):
            c = torch.full((len(x),), -1) if c is None else c
            return torch.where(c == -1, 9, c)[:, None].expand(x.shape).to(x)

    model, c = FlowMatching(Labelled()), torch.arange(6) % 3
    noise = model.sample(6, seed=0) + 9  # x(0) = x(1) − u
    assert torch.allclose(model.sample(6, c, seed=0), noise - c[:, None], atol=1e-5)
    assert torch.allclose(model.sample(6, c, guidance=2.0, seed=0), noise - (9 + 2 * (c[:, None] - 9)), atol=1e-5)
    assert model.nfe == 64


# --- pairs ---------------------------------------------------------------------------------------


def test_optimal_pairs_are_the_cheapest_permutation():
    from scipy.optimize import linear_sum_assignment

    torch.manual_seed(0)
    x, y = torch.randn(60, 2, 2), torch.randn(60, 2, 2)
    rows = optimal_pairs(x, y)
    assert torch.equal(rows.sort().values, torch.arange(60))
    cost = torch.cdist(x.flatten(1), y.flatten(1)).square()
    best = cost[linear_sum_assignment(cost.numpy())].sum()
    assert cost[torch.arange(60), rows].sum() == pytest.approx(float(best), rel=1e-5)


def test_optimal_pairing_shortens_the_way():
    """And keeps the law: what it trains on is still noise and data."""
    model, free = exact("ot", pairing="optimal"), exact("ot")
    for m in (model, free):
        m.net.factor.data.zero_()  # then the loss is E|ε − x₀|²
    torch.manual_seed(0)
    x = draws(256, 0)
    assert model.loss(x) < 0.7 * free.loss(x)
    with pytest.raises(ValueError, match="the velocity gives no score"):
        model.sample(5, method=sk.euler_maruyama, steps=10, seed=0)
    with pytest.raises(ValueError, match="the velocity gives no score"):
        model.sample(5, method=sk.ancestral, steps=10, eta=0, seed=0)
    assert model.sample(5, method=sk.euler_maruyama, steps=10, eta=0, seed=0).shape == (5, 2)


def test_reflow_pairs_noise_with_where_it_goes():
    """For N(0, 1) the exact flow of the straight path is the identity in units; its pairs make velocity 0 perfect."""
    teacher = FlowMatching(Exact(sk.FlowPath(), sk.GaussianMixture([1.0], [[0.0, 0.0]], stds=1.0)))
    teacher.units.scale.fill_(3.0)
    student, pairs = reflow(teacher, 200, seed=4, steps=60)
    assert pairs.shape == (200, 2, 2) and student.pairing == "given" and teacher.pairing == "independent"
    assert torch.allclose(3 * pairs[:, 0], pairs[:, 1], atol=2e-2)
    assert torch.equal(pairs[:, 1], teacher.sample(200, seed=4, steps=60))
    student.net.factor.data.zero_()
    assert student.loss(pairs) < 1e-4 and teacher.loss(pairs[:, 1]) > 0.3
    with pytest.raises(ValueError, match="the velocity gives no score"):
        student.sample(5, method=sk.ancestral, seed=0)


def test_reflow_straightens(tmp_path):
    """One Euler step of the student is nearer to its full solution than one of the teacher. Seeds fixed."""
    from generative import load

    torch.manual_seed(0)
    teacher = FlowMatching(MLP((2,), 32, 1, waves=0))
    fit(teacher, draws(20_000, 0), steps=150, batch=256, lr=1e-2, ema=0.95, seed=0)
    student, pairs = reflow(teacher, 2000, seed=0)
    fit(student, pairs, steps=150, batch=256, lr=5e-3, ema=0.95, checkpoint=tmp_path / "s.pt", seed=0)

    def bend(model):
        one, many = (model.sample(500, method=sk.euler, steps=n, seed=0) for n in (1, 50))
        return (one - many).square().mean()

    assert bend(student) < 0.5 * bend(teacher)
    assert load(tmp_path / "s.pt").pairing == "given"


# --- maximum likelihood --------------------------------------------------------------------------


def test_cnf_learns_by_its_likelihood():
    """The loss is −log p per entry, its gradient goes through the solver; a Gaussian of correlation 0.8, seed fixed."""
    torch.manual_seed(0)
    root = torch.tensor([[2.0, 0.0], [1.6, 1.2]])
    law = torch.distributions.MultivariateNormal(torch.tensor([1.0, -2.0]), scale_tril=root)
    data = law.mean + torch.randn(5000, 2) @ root.T
    model = CNF(MLP((2,), 16, 1, waves=0), steps=2)
    fit(model, data, steps=60, batch=128, lr=2e-2, ema=0.9, seed=0)
    x = law.mean + torch.randn(500, 2) @ root.T
    assert (model.log_prob(x) - law.log_prob(x)).mean().abs() < 2e-2
    assert model.loss(x).item() == pytest.approx(-model.log_prob(x, steps=2).mean().item() / 2, rel=1e-5)
    y = model.sample(4000, seed=0)
    assert (torch.cov(y.T) - root @ root.T).abs().max() < 0.5 and model.nfe == 64


def test_cnf_starts_as_a_gaussian():
    model = CNF(MLP((3,), 8, 1))
    x = torch.randn(20, 3)
    assert torch.allclose(model.log_prob(x), torch.distributions.Normal(0, 1).log_prob(x).sum(1), atol=1e-4)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="pairing must be"):
        FlowMatching(MLP((2,), 8, 1), pairing="ot")
    with pytest.raises(ValueError, match="last time of OU"):
        FlowMatching(MLP((2,), 8, 1), sk.OU())
    with pytest.raises(ValueError, match="optimal pairs across classes give no law of a class"):
        FlowMatching(MLP((2,), 8, 1, classes=2), pairing="optimal").loss(torch.zeros(4, 2), torch.zeros(4).long())
    with pytest.raises(ValueError, match=r"x must hold pairs \(N, 2, \*shape\), see `reflow`; got \(4, 2\)"):
        FlowMatching(MLP((2,), 8, 1), pairing="given").loss(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="model must be a FlowMatching, got a CNF"):
        reflow(CNF(MLP((2,), 8, 1)), 10, seed=0)
    for options in ({"method": sk.ancestral}, {"eta": 1.0}):
        with pytest.raises(ValueError, match="pairs are those of the ODE"):
            reflow(FlowMatching(MLP((2,), 8, 1)), 10, **options)
