"""Diffusion: exact networks are minima of every loss; preconditioning, weightings, sampling and likelihood."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import sdekit as sk  # noqa: E402
from generative import MLP, Diffusion, fit  # noqa: E402

PROCESSES = {
    "ou": (sk.OU(theta=0.7, sigma=1.2), {"end": 7.0}),
    "vp": (sk.VP(), {}),
    "cosine": (sk.CosineVP(), {}),
    "subvp": (sk.SubVP(), {}),
    "ve": (sk.VE(0.01, 30.0), {}),
    "edm": (sk.EDM(30.0), {}),
    "flow": (sk.FlowPath(), {}),
    "straight": (sk.FlowPath(sigma_min=0.02), {}),
    "ddpm": (sk.DiscreteVP(), {}),
}
TARGET = sk.GaussianMixture([0.4, 0.6], [[-1.0, 0.5], [0.8, -0.2]], stds=0.4)
READERS = {
    "noise": sk.scores.as_noise,
    "denoiser": sk.scores.as_denoiser,
    "v": sk.scores.as_v,
    "score": sk.scores.as_score,
}


class Exact(torch.nn.Module):
    """The perfect network of a prediction, times one parameter that starts at 1."""

    def __init__(self, process, prediction="v", target=TARGET):
        super().__init__()
        self.shape = target.means.shape[1:]
        self.network, self.factor = READERS[prediction](target.score(process)), torch.nn.Parameter(torch.ones(()))

    def forward(self, t, x):
        return self.factor * self.network(t, x)


def exact(name, prediction="v", **options):
    process, more = PROCESSES[name]
    return Diffusion(Exact(process, prediction), process, prediction, scaled=False, **more, **options)


def draws(n, seed):
    return TARGET.sample(n, seed, like=torch.empty(0))


def gradients(model, parameter, rounds=12, batch=1000):
    """d loss/d parameter of independent batches: (mean, standard error)."""
    torch.manual_seed(0)
    found = []
    for k in range(rounds):
        found.append(torch.autograd.grad(model.loss(draws(batch, k)), parameter)[0].double())
    found = torch.stack(found)
    return found.mean(0), found.std(0) / math.sqrt(rounds)


@pytest.mark.parametrize("prediction", READERS)
@pytest.mark.parametrize("name", PROCESSES)
def test_the_exact_network_is_a_minimum(name, prediction):
    """Expected gradient 0: within 7 standard errors of 12 batches (Student: 2e-5 a case); not at a factor of 1.5."""
    model = exact(name, prediction)
    mean, error = gradients(model, model.net.factor)
    assert mean.abs() < 7 * error
    model.net.factor.data.fill_(1.5)
    mean, error = gradients(model, model.net.factor)
    assert mean > 7 * error


@pytest.mark.parametrize("weighting", ["sigma2", "likelihood", "lognormal"])
@pytest.mark.parametrize("name", ["vp", "edm", "ou"])
def test_weightings_keep_the_minimum(name, weighting):
    """As above, 2e-5 a case."""
    model = exact(name, weighting=weighting)
    mean, error = gradients(model, model.net.factor)
    assert mean.abs() < 7 * error


class Linear(torch.nn.Module):
    """F = factor · u + shift: for unit Gaussian data E|F − F*|² = 1 + factor² + shift² per entry, at any noise."""

    shape = (2,)

    def __init__(self):
        super().__init__()
        self.factor, self.shift = torch.nn.Parameter(torch.tensor(0.5)), torch.nn.Parameter(torch.tensor(0.3))

    def forward(self, level, u):
        return self.factor * u + self.shift


def expected_loss(process, weighting, begin, end):
    """(1 + 0.5² + 0.3²) × the integral of the weight, by quadrature over t of the formulas in the docstring."""
    t = np.linspace(begin, end, 200_001)
    alpha, sigma = (np.broadcast_to(v, t.shape) for v in process.marginal(t))
    gain = alpha**2 / (alpha**2 + sigma**2)  # sigma² |error of score|² / |error of F|²
    g = np.broadcast_to(process.diffusion(t, t), t.shape)
    weight = {"simple": 1.0 + 0 * t, "sigma2": gain, "likelihood": 0.5 * g**2 / sigma**2 * gain * (end - begin)}[
        weighting
    ]
    return 1.34 * np.trapezoid(weight, t) / (end - begin)


@pytest.mark.parametrize(
    ("weighting", "options"),
    [("simple", {}), ("sigma2", {}), ("likelihood", {}), ("likelihood", {"importance": False})],
)
@pytest.mark.parametrize("name", ["vp", "subvp", "edm", "ou"])
def test_weightings_are_what_they_say(name, weighting, options):
    """Mean of 40 losses within 5 standard errors (6e-7 a case) of the integral; importance sampling changes nothing."""
    process, more = PROCESSES[name]
    model = Diffusion(Linear(), process, weighting=weighting, **options, **more)
    torch.manual_seed(0)
    with torch.no_grad():
        found = torch.stack([model.loss(torch.randn(2000, 2)).double() for _ in range(40)])
    want = expected_loss(process, weighting, model.begin, model.end)
    assert abs(found.mean() - want) < 5 * found.std() / math.sqrt(40) + 1e-4 * want


def test_importance_sampling_keeps_the_gradient_and_lowers_its_variance():
    """Difference of two means within 7 standard errors of 12 batches: 1e-5 a parameter."""
    found = []
    for importance in (True, False):
        model = Diffusion(Linear(), sk.VP(), weighting="likelihood", importance=importance)
        found.append([gradients(model, p) for p in model.net.parameters()])
    for (a, ea), (b, eb) in zip(*found, strict=True):
        assert abs(a - b) < 7 * math.hypot(ea, eb) and ea < eb


def test_a_process_without_time_is_inverted_by_bisection():
    vp = sk.VP()

    class Plain:
        noise, calculus, additive, event_dims, domain = "diagonal", "ito", True, 0, (0.0, 1.0)
        drift, diffusion, marginal, rates = map(staticmethod, (vp.drift, vp.diffusion, vp.marginal, vp.rates))

    for weighting in ("lognormal", "likelihood"):
        losses = []
        for process in (Plain(), vp):
            torch.manual_seed(0)
            model = Diffusion(MLP(width=8, depth=1), process, weighting=weighting)
            model.begin = 0.01
            losses.append(model.loss(torch.randn(64, 2)).item())
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_times_are_spread_evenly():
    model = Diffusion(MLP(width=8, depth=1), sk.VP())
    t, weight = model._times(torch.zeros(100, 2))
    u = ((t - model.begin) / (model.end - model.begin)).sort().values
    assert weight == 1 and torch.allclose(u.diff(), torch.full((99,), 0.01), atol=1e-5) and u[0] >= 0 and u[-1] < 1
    t, _ = Diffusion(MLP(width=8, depth=1), sk.EDM(), weighting="lognormal")._times(torch.zeros(4001, 2))
    level = t.log()
    assert abs(level.median() - (math.log(2) - 1.2)) < 1e-2 and abs(level.std() - 1.2) < 2e-2


# --- preconditioning -----------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [2e-3, 0.3, 1.0, 20.0])
def test_preconditioning_of_edm(sigma):
    """D = c_skip x + c_out F(c_noise, c_in x) for sigma_data = 1, and its loss is EDM's λ(σ)|D − y|²."""
    seen = []

    class Net(torch.nn.Module):
        shape = (3,)

        def forward(self, level, u):
            seen.append((level, u))
            return torch.sin(u) + level[:, None]

    model = Diffusion(Net(), sk.EDM())
    x = torch.linspace(-2, 2, 12).reshape(4, 3) * (1 + sigma)
    clean, noise = model.score().pair(sigma, x)
    root = math.sqrt(1 + sigma**2)
    level, u = seen[0]
    assert torch.allclose(level, torch.full((4,), math.log(sigma) / 4)) and torch.allclose(u, x / root)
    assert torch.allclose(clean, x / root**2 - sigma / root * (torch.sin(u) + level[:, None]), atol=1e-5)
    assert torch.allclose(x, clean + sigma * noise, rtol=1e-4, atol=1e-5)


def pair_of(kind, process, t, x, output):
    """The pair where the network's output is known."""
    return kind.read(lambda t, x: output, process).pair(float(t), x)


@pytest.mark.parametrize("prediction", READERS)
@pytest.mark.parametrize("name", ["vp", "ve", "flow"])
def test_what_the_network_is_asked_for_is_of_order_one(name, prediction):
    """And the prediction with known x₀ and ε is that of the noising: the pair gives them back."""
    model = Diffusion(MLP(width=8, depth=1), PROCESSES[name][0], prediction)
    torch.manual_seed(0)
    x0, eps = torch.randn(500, 2).double(), torch.randn(500, 2).double()
    for t in np.linspace(model.begin, model.end, 5)[1:-1]:
        a, s, n = (torch.as_tensor(v).double() for v in model._scales(float(t), x0))
        kind = model.prediction
        target = kind.target(a, s, n, x0, eps)
        assert 0.8 < target.std() < 1.2
        clean, noise = pair_of(kind, model.process, t, x := a * x0 + s * eps, kind.scale(a, s, n) * target)
        assert torch.allclose(clean, x0, rtol=1e-6, atol=1e-6 * float(s / a)) and torch.allclose(noise, eps, atol=1e-6)
        error = (pair_of(kind, model.process, t, x, kind.scale(a, s, n) * (target + 0.1))[1] - eps).abs()
        assert torch.allclose(error, 0.1 * kind.gain(a, s, n) * torch.ones_like(error), rtol=1e-5)


# --- sampling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize(
    ("method", "steps"),
    [(sk.dpmpp_2m, 32), (sk.ancestral, 100), (sk.heun, 40), (sk.euler_maruyama, 200)],
    ids=["2m", "ancestral", "heun", "em"],
)
def test_exact_networks_give_the_data_back(name, method, steps):
    """Mean and standard deviation of each axis of 2000 draws: within 5 standard errors (about 1e-5 for all cases
    together) plus the solver's error, 0.04."""
    model = exact(name)
    x = model.sample(2000, seed=3, method=method, steps=steps).double()
    mean, std = (
        torch.tensor([0.08, 0.08]).double(),
        x.new_tensor([math.sqrt(0.16 + 0.24 * 1.8**2), math.sqrt(0.16 + 0.24 * 0.7**2)]),
    )
    assert ((x.mean(0) - mean).abs() < 5 * std / math.sqrt(2000) + 0.04).all()
    assert ((x.std(0) - std).abs() < 5 * std / math.sqrt(4000) + 0.04).all()


def test_samples_are_functions_of_the_seed_alone(monkeypatch):
    model = exact("vp")
    whole = model.sample(300, seed=1, method=sk.ancestral, steps=10)
    assert torch.equal(whole, model.sample(300, seed=1, method=sk.ancestral, steps=10))
    assert not torch.allclose(whole, model.sample(300, seed=2, method=sk.ancestral, steps=10))
    monkeypatch.setattr("generative.sampling.CHUNK", 100)  # the split does not matter
    assert torch.allclose(whole, model.sample(300, seed=1, method=sk.ancestral, steps=10), atol=1e-4)
    assert torch.allclose(whole[:30], model.sample(30, seed=1, method=sk.ancestral, steps=10), atol=1e-4)


def test_nfe_counts_network_evaluations():
    model = exact("vp")
    model.sample(10, method=sk.dpmpp_2m, steps=12, seed=0)
    assert model.nfe == 12
    model.sample(10, method=sk.heun, grid=[1.0, 0.5, 0.2], eta=0, seed=0)
    assert model.nfe == 4


def test_standardised_inside():
    """Samples and data in any unit: mean and spread of 4000 draws within 5 standard errors."""
    model = Diffusion(MLP((2,), 8, 1), sk.VP())  # at its start the perfect network for N(0, 1)
    scale, shift = torch.tensor([3.0, 0.2]), torch.tensor([10.0, -1.0])
    model.standardise(shift + scale * torch.randn(50_000, 2, generator=torch.Generator().manual_seed(0)))
    x = model.sample(4000, seed=0)
    assert ((x.mean(0) - shift) / scale).abs().max() < 5 / math.sqrt(4000) + 0.02
    assert (x.std(0) / scale - 1).abs().max() < 5 / math.sqrt(8000) + 0.02
    log = torch.distributions.Normal(shift, scale).log_prob(x[:50]).sum(1)
    assert (model.log_prob(x[:50]) - log).abs().max() < 2e-2


# --- likelihood ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vp", "cosine", "subvp", "edm", "flow", "ou", "straight"])
def test_log_prob_of_an_exact_network_is_that_of_the_data(name):
    model = exact(name)
    x = draws(40, 5)
    assert (model.log_prob(x, steps=32) - TARGET.log_prob(x)).abs().mean() < 2e-2


def test_log_prob_after_training_on_a_gaussian():
    """A short training on a Gaussian with correlation 0.8; seed fixed."""
    torch.manual_seed(0)
    root = torch.tensor([[2.0, 0.0], [1.6, 1.2]])
    law = torch.distributions.MultivariateNormal(torch.tensor([1.0, -2.0]), scale_tril=root)
    data = law.mean + torch.randn(20_000, 2) @ root.T
    model = Diffusion(MLP((2,), 32, 1, waves=0), sk.VP(), weighting="lognormal")
    fit(model, data, steps=400, batch=512, lr=1e-2, ema=0.98, seed=0)
    x = law.mean + torch.randn(200, 2) @ root.T
    assert (model.log_prob(x, steps=24) - law.log_prob(x)).mean().abs() < 2e-2


# --- labels, discrete levels ---------------------------------------------------------------------


class Labelled(torch.nn.Module):
    """Predicts the denoised state c, or 9 without a label; counts the dropped labels."""

    shape = (2,)

    def __init__(self):
        super().__init__()
        self.a, self.dropped = torch.nn.Parameter(torch.ones(())), []

    def forward(self, t, x, c=None):
        c = torch.full((len(x),), -1) if c is None else c
        self.dropped.append((c == -1).float().mean())
        return self.a * torch.where(c == -1, 9, c)[:, None].expand(x.shape).to(x)


def test_labels_and_guidance():
    model = Diffusion(Labelled(), sk.VP(), "denoiser", scaled=False)
    c = torch.arange(6) % 3
    assert torch.allclose(model.sample(6, c, steps=5, seed=0), c[:, None].float())
    assert torch.allclose(model.sample(6, 2, steps=5, seed=0), torch.tensor(2.0))
    assert torch.allclose(model.sample(6, steps=5, seed=0), torch.tensor(9.0))
    assert torch.allclose(model.sample(6, c, steps=5, guidance=3.0, seed=0), 9 + 3.0 * (c[:, None] - 9))
    assert model.nfe == 10
    assert torch.allclose(model.sample(6, c, steps=5, guidance=0.0, seed=0), torch.tensor(9.0))


def test_labels_are_dropped_in_training():
    """Share 0.1 of 20,000: 5 standard errors are 0.011."""
    model = Diffusion(Labelled(), sk.VP(), "denoiser", scaled=False)
    model.loss(torch.zeros(20_000, 2), torch.ones(20_000, dtype=torch.long))
    assert abs(model.net.dropped[-1] - 0.1) < 0.011
    none = Diffusion(Labelled(), sk.VP(), "denoiser", scaled=False, drop=0.0)
    none.loss(torch.zeros(20_000, 2), torch.ones(20_000, dtype=torch.long))
    assert none.net.dropped[-1] == 0


def test_ddpm_is_the_discrete_case():
    seen = []

    class Net(torch.nn.Module):
        shape = (2,)

        def forward(self, t, x):
            seen.append(t)
            return 0 * x

    model = Diffusion(Net(), sk.DiscreteVP(), "noise", scaled=False)
    model.loss(torch.randn(4000, 2))
    assert torch.equal(seen[-1], seen[-1].round()) and seen[-1].min() == 0 and seen[-1].max() == 999
    whole = model.grid(2000)
    assert np.array_equal(whole, np.append(np.arange(1000)[::-1], -1))
    few = model.grid(11)
    assert len(few) == 12 and np.array_equal(few, few.round()) and few[0] == 999 and few[-2] == 0 and few[-1] == -1


def test_annealed_langevin_over_geometric_levels():
    """Noise-conditional score network: 10 levels, Langevin steps at each. Spread within 5 standard errors and the
    method's own bias, 0.06."""
    process = sk.VE(0.05, 5.0)
    model = Diffusion(Exact(process, "score"), process, "score", "sigma2", levels=10, scaled=False)
    sigmas = process.marginal(model.levels)[1]
    assert np.allclose(sigmas[1:] / sigmas[:-1], 100 ** (1 / 9))
    t, _ = model._times(torch.zeros(50, 2))
    assert len(t.unique()) == 10
    x = model.sample(2000, method=sk.annealed_langevin(0.2, 40), steps=9, seed=0).double()
    assert model.nfe == 9 * 40
    std = math.sqrt(0.16 + 0.24 * 1.8**2)
    assert abs(x[:, 0].std() - std) < 5 * std / math.sqrt(4000) + 0.06


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda net: Diffusion(net, sk.OU()), "give the last time of OU"),
        (lambda net: Diffusion(net, sk.VP(), end=2.0), "at most 1.0"),
        (lambda net: Diffusion(net, sk.VP(), "epsilon"), "prediction must be one of noise, denoiser, v, score"),
        (lambda net: Diffusion(net, sk.VP(), weighting="snr"), "weighting must be one of simple"),
        (lambda net: Diffusion(net, sk.DiscreteVP(), weighting="lognormal"), "continuous noise levels"),
        (lambda net: Diffusion(net, sk.DiscreteVP(), levels=4), "levels of its own"),
        (lambda net: Diffusion(net, sk.VP(), end=0.0), "end is 0.0; give the last time of VP, above 0.001"),
        (lambda net: Diffusion(net, sk.VP()).sample(4, steps=0, seed=0), "steps must be an integer >= 1, got 0"),
        (
            lambda net: Diffusion(net, sk.VP()).sample(0, seed=0),
            "n must be an integer from 1 to .*, got 0",
        ),
        (lambda net: Diffusion(net, sk.VP()).sample(1e3, seed=0), "n must be an integer from 1 to .*, got 1000.0"),
        (
            lambda net: Diffusion(net, sk.VP()).sample(4, method="heun", seed=0),
            "method must be one of sdekit, .* got 'heun'",
        ),
        (
            lambda net: Diffusion(net, sk.VP()).sample(4, grid=[0.1, 0.5, 1.0], seed=0),
            "grid must hold decreasing times",
        ),
        (lambda net: Diffusion(net, sk.VP), "process must be a noising process with a marginal"),
        (lambda net: Diffusion(lambda t, x: x, sk.VP()), "shape is not known: give shape=.* or function an attribute"),
        (
            lambda net: Diffusion(lambda t, x: x[:, :1], sk.VP(), shape=(2,)).loss(torch.zeros(4, 2)),
            "it must keep that",
        ),
        (lambda net: Diffusion(net, sk.VP()).sample(True, seed=0), "n must be an integer from 1 to .*, got True"),
        (lambda net: Diffusion(net, sk.VP()).sample(4, seed="0"), "seed must be an integer"),
        (lambda net: Diffusion(net, sk.VP()).sample(4, seed=0, grid="abc"), "grid must hold decreasing times"),
        (lambda net: Diffusion(net, sk.VP()).sample(4, seed=0, eta="1"), "eta must be a real number, .* got '1'"),
        (lambda net: Diffusion(net, sk.VP(), drop=1.5), "drop must be a real number, .* got 1.5"),
        (lambda net: Diffusion(net, sk.VP(), levels="8"), "levels must be an integer >= 2, got '8'"),
        (lambda net: MLP(2), r"shape must be a tuple of integers, such as \(2,\), got 2"),
        (lambda net: MLP((2, None)), r"shape\[1\] must be an integer >= 1, got None"),
        (lambda net: MLP(width=10**6), "width must be an integer from 1 to 65536, got 1000000"),
        (lambda net: Diffusion(net, sk.VP()).sample(4, guidance=2.0, seed=0), "guidance = 2.0 is towards labels"),
        (lambda net: Diffusion(net, sk.VP()).sample(4, 1, seed=0), "MLP has no classes"),
        (lambda net: Diffusion(net, sk.VP()).loss(torch.zeros(4, 2), torch.zeros(4).long()), "MLP has no classes"),
        (lambda net: Diffusion(net, sk.VP()).log_prob(torch.zeros(4, 1)), r"x must be of shape \(N, 2\), got \(4, 1\)"),
    ],
)
def test_arguments_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make(MLP(width=8, depth=1))


@pytest.mark.parametrize(
    ("c", "message"),
    [
        (3, "labels c must be 0 … 2, or −1 for none, got 3 … 3"),
        ([0, 1, -2, 0], "got -2 … 1"),
        ([0, 1], "an integer or 4 of them, got .* of shape"),
        (1.5, "an integer or 4 of them, got torch.float32"),
    ],
)
def test_labels_are_checked(c, message):
    model = Diffusion(MLP(width=8, depth=1, classes=3), sk.VP())
    with pytest.raises(ValueError, match="Diffusion is not trained yet: fit"):
        model.sample(4, 1)
    model.standardise(torch.randn(50, 2))
    assert torch.equal(model.sample(4, 1, steps=2, seed=0), model.sample(4, np.full(4, 1, np.uint8), steps=2, seed=0))
    with pytest.raises(ValueError, match=message):
        model.sample(4, c, seed=0)


def test_log_prob_takes_arrays_integers_and_other_types():
    model = exact("vp")
    x = np.array([[1, 0], [0, -1]])
    right = model.log_prob(torch.as_tensor(x, dtype=torch.float32), steps=8)
    for form in (x, x.astype(np.float64), torch.as_tensor(x), torch.as_tensor(x).double()):
        assert torch.allclose(model.log_prob(form, steps=8).float(), right, atol=1e-5)


def test_log_prob_carries_gradients_only_where_they_are_wanted():
    model, x = exact("vp"), draws(5, 0)
    assert not model.log_prob(x, steps=8).requires_grad
    x.requires_grad_()
    (slope,) = torch.autograd.grad(model.log_prob(x, steps=32).sum(), x)
    score = TARGET.score()(0.0, x.detach())
    assert (slope - score).abs().max() < 0.1 * score.abs().max()
