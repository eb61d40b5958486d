"""Time reversal, Langevin dynamics, and processes from functions."""

import math
import pickle

import numpy as np
import pytest

from sdekit import functions, processes, scores, targets, transforms

torch = pytest.importorskip("torch")

CLASSES = [getattr(processes, name) for name in processes.__all__]
PATHS = [cls() for cls in CLASSES if hasattr(cls, "marginal") and cls.additive]
MIXTURE = targets.GaussianMixture([0.4, 0.6], [[1.0, -1.0], [-1.0, 0.5]], stds=[0.5, 0.8])
each_path = pytest.mark.parametrize("process", PATHS, ids=lambda p: type(p).__name__)


def times(process):
    """Times strictly inside the domain (in a cell of a table, not between cells)."""
    lo, hi = process.domain
    if math.isfinite(lo) and math.isfinite(hi):
        return [lo + f * (hi - lo) for f in (0.0513, 0.4021, 0.8507)]
    return [0.1, 0.7, 2.0]


def silent(t, x):
    return x * 0.0


@each_path
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_drift_and_diffusion_are_those_of_the_reversed_equation(process, eta):
    """f − ½ (1 + η²) g² ∇log p by the forward drift and the score: neither rates nor the pair."""
    exact = MIXTURE.score(process)
    reverse = transforms.Reverse(process, exact, eta)
    for t in times(process):
        alpha, sigma = process.marginal(t)
        x = np.random.default_rng(0).normal(size=(20, 2)) * math.hypot(alpha, sigma)
        g = np.asarray(process.diffusion(t, x))
        want = process.drift(t, x) - 0.5 * (1 + eta**2) * g**2 * exact(t, x)
        scale = np.abs(want).max()
        np.testing.assert_allclose(reverse.drift(t, x), want, rtol=0, atol=1e-10 * scale)
        np.testing.assert_allclose(reverse.diffusion(t, x), eta * g, rtol=1e-15)
        plain = transforms.Reverse(process, lambda t, x: exact(t, x), eta)
        tolerance = 1e-9 * scale / min(alpha, 1.0)  # D is divided by alpha there
        np.testing.assert_allclose(plain.drift(t, x), want, rtol=0, atol=tolerance)
        np.testing.assert_array_equal(reverse.denoise(t, x), exact.pair(t, x)[0])


@each_path
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_moments_of_gaussian_data_are_kept(process, eta):
    """Drift a·x + b, time falling: d mean/dt = a·mean + b and d var/dt = 2a·var − (η g)²."""
    mean, var = 1.5, 0.49
    reverse = transforms.Reverse(process, targets.Gaussian(mean, var).score(process), eta)
    for t in times(process):
        (alpha, sigma), (dalpha, dsigma) = process.marginal(t), process.rates(t)
        b = reverse.drift(t, np.zeros(1))[0]
        a = reverse.drift(t, np.ones(1))[0] - b
        g = float(np.ravel(reverse.diffusion(t, np.zeros(1)))[0])
        here, spread = alpha * mean, alpha**2 * var + sigma**2
        rate = 2 * (alpha * dalpha * var + sigma * dsigma)
        assert a * here + b == pytest.approx(dalpha * mean, rel=1e-9, abs=1e-9 * (abs(b) + abs(a * here)))
        assert 2 * a * spread - g * g == pytest.approx(rate, rel=1e-9, abs=1e-9 * (g * g + abs(a) * spread))


@pytest.mark.parametrize(
    "process",
    [processes.VP(), processes.FlowPath(), processes.VE()],
    ids=lambda p: type(p).__name__,
)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_densities_satisfy_fokker_planck_backwards(process, eta):
    """∂t p = −∂x(F p) − ½ (η g)² ∂xx p for a mixture of two, by central differences."""
    exact = targets.GaussianMixture([0.3, 0.7], [-1.0, 1.2], stds=[0.4, 0.6]).score(process)
    reverse = transforms.Reverse(process, exact, eta)
    x, t, h, k = np.linspace(-3, 3, 61), 0.3, 1e-3, 1e-5

    def density(t, x):
        return np.exp(exact.log_prob(t, x))

    def flux(x):
        return reverse.drift(t, x) * density(t, x)

    change = (density(t + k, x) - density(t - k, x)) / (2 * k)
    transport = (flux(x + h) - flux(x - h)) / (2 * h)
    curvature = (density(t, x + h) - 2 * density(t, x) + density(t, x - h)) / h**2
    g = np.asarray(reverse.diffusion(t, x))
    want = -transport - 0.5 * g**2 * curvature
    assert np.abs(change).max() > 0.05
    np.testing.assert_allclose(change, want, rtol=0, atol=2e-4 * max(1.0, np.abs(change).max()))


def test_metadata():
    score = MIXTURE.score(PATHS[0])
    sde, ode = transforms.Reverse(PATHS[0], score), transforms.Reverse(PATHS[0], score, eta=0.0)
    assert (sde.eta, sde.noise, ode.noise) == (1.0, "diagonal", "none")
    assert sde.additive and sde.calculus == "ito" and sde.event_dims == 1
    assert sde.domain == PATHS[0].domain
    assert transforms.Reverse(PATHS[0], silent).event_dims is None
    assert isinstance(sde, transforms.Reverse) and sde._replace(eta=0.0).noise == "none"
    assert sde.score is score and sde.sigma(0.5) == PATHS[0].marginal(0.5)[1]


def test_one_time_per_path_on_images():
    """With B = C = H = W a time on the wrong axis keeps the shape."""
    process, t = processes.VP(), torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    x = torch.randn(3, 3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    reverse = transforms.Reverse(process, scores.from_noise(lambda t, x: t[:, None, None, None] * x, process))
    drift, g = reverse.drift(t, x), reverse.diffusion(t, x)
    for i in range(3):
        alone = reverse.drift(float(t[i]), x[i : i + 1])
        torch.testing.assert_close(drift[i : i + 1], alone, rtol=1e-12, atol=1e-12)
        assert (g * torch.ones_like(x))[i].eq(process.diffusion(float(t[i]), x[i])).all()


@pytest.mark.parametrize("process", [processes.VP(), processes.FlowPath()], ids=lambda p: type(p).__name__)
def test_types_are_kept(process):
    for x in (np.ones((2, 3), np.float32), torch.ones(2, 3)):
        for t in (0.5, np.float64(0.5), 0.5 + 0 * x[:, 0]):
            reverse = transforms.Reverse(process, silent)
            assert reverse.drift(t, x).dtype == x.dtype
            assert (reverse.diffusion(t, x) * x).dtype == x.dtype


def test_everything_stays_on_the_device(device):
    process, x = processes.VP(), torch.ones(2, 3, device=device)
    reverse = transforms.Reverse(process, scores.from_noise(lambda t, x: x * t[:, None], process))
    for t in (0.5, torch.tensor([0.5, 0.7], device=device)):
        assert (reverse.drift(t, x) + reverse.diffusion(t, x)).device == x.device
    assert reverse.start((2, 3), seed=0, like=x).device == x.device


def test_ends_of_the_path():
    flow, x = processes.FlowPath(), np.array([[0.5, -1.0]])
    ode = transforms.Reverse(flow, MIXTURE.score(flow), eta=0.0)
    np.testing.assert_allclose(ode.drift(0.0, x), -x, rtol=1e-14)  # noise − data with E[noise] = 0
    np.testing.assert_allclose(ode.drift(1.0, x), x - [[-0.2, -0.1]], rtol=1e-14)
    for eta, t in [(1.0, 0.0), (1.0, 1.0)]:
        with pytest.raises(ValueError, match=f"at t = {t}"):
            transforms.Reverse(flow, MIXTURE.score(flow), eta).drift(t, x)
    for eta in (0.0, 1.0):
        with pytest.raises(ValueError, match="at t = 0"):
            transforms.Reverse(processes.VP(), MIXTURE.score(processes.VP()), eta).drift(0.0, x)


def test_start_draws_the_prior():
    """Mean and variance of 1e5 draws within 5 standard errors: 1.2e-6 per process by chance."""
    for process in PATHS:
        t = None if math.isfinite(process.domain[1]) else 2.0
        draws = transforms.Reverse(process, silent).start((50_000, 2), seed=4, t=t)
        sigma = process.marginal(process.domain[1] if t is None else t)[1]
        assert draws.shape == (50_000, 2) and draws.dtype == np.float64
        assert abs(draws.mean()) < 5 * sigma / math.sqrt(1e5)
        assert abs((draws**2).mean() / sigma**2 - 1) < 5 * math.sqrt(2 / 1e5)
    with pytest.raises(ValueError, match="OU ends at inf; give start a time"):
        transforms.Reverse(processes.OU(), silent).start((2,), seed=0)


def test_start_is_reproducible_and_typed():
    reverse = transforms.Reverse(processes.VE(), silent)
    draws = reverse.start((6, 3), seed=7)
    np.testing.assert_array_equal(draws[:2], reverse.start((2, 3), seed=7))
    assert not np.array_equal(draws, reverse.start((6, 3), seed=8))
    tensor = reverse.start((6, 3), seed=7, like=torch.zeros(1))
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor, draws, rtol=1e-5, atol=1e-4)


def test_starts_and_samples_of_one_seed_are_independent():
    """A correlation of 4e4 pairs within 5/√n: fails by chance with 6e-7."""
    start = transforms.Reverse(processes.VP(), silent).start((40_000,), seed=0)
    draws = targets.Gaussian(0.0, std=1.0).sample(40_000, seed=0)
    assert abs(np.corrcoef(start, draws)[0, 1]) < 5 / math.sqrt(40_000)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: transforms.Reverse(processes.GBM(), silent), "GBM has no marginal"),
        (lambda: transforms.Reverse(processes.Lorenz(), silent), "Lorenz has no marginal"),
        (
            lambda: transforms.Reverse(processes.VP(), silent, eta=-1.0),
            "eta must be a real number, at least 0 and finite, got -1",
        ),
        (lambda: transforms.Reverse(processes.VP(), silent, eta=math.nan), "eta must be .* finite, got nan"),
        (lambda: transforms.Reverse(processes.VP(), 3.0), "score must be"),
        (lambda: transforms.Reverse(processes.VP(), MIXTURE.score()), "score belongs to None"),
        (
            lambda: transforms.Reverse(processes.VP(), MIXTURE.score(processes.VE())),
            "score belongs to VE",
        ),
        (
            lambda: transforms.Reverse(processes.VP(), MIXTURE.score(processes.VP(0.2))),
            "beta_min=0.2",
        ),
        (lambda: transforms.Langevin(3.0), "score must be"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_state_dependent_noise_raises():
    class Multiplicative:
        additive, noise = False, "diagonal"
        marginal = rates = diffusion = drift = silent

    with pytest.raises(ValueError, match="noise of Multiplicative depends on its state"):
        transforms.Reverse(Multiplicative(), silent)


def test_langevin():
    x = np.random.default_rng(0).normal(size=(5, 2))
    chain = transforms.Langevin(MIXTURE.score())
    np.testing.assert_array_equal(chain.drift(123.0, x), MIXTURE.score()(0.0, x))
    assert chain.diffusion(0.0, x) == math.sqrt(2) and chain.event_dims == 1
    assert (chain.noise, chain.calculus, chain.additive) == ("diagonal", "ito", True)
    plain = transforms.Langevin(lambda t, x: -x)
    np.testing.assert_array_equal(plain.drift(0.0, x), -x)
    assert plain.event_dims is None
    with pytest.raises(ValueError, match="bandwidth"):
        transforms.Langevin(targets.Empirical(x).score()).drift(0.0, x)


def pull(t, x):
    return -x


def unit(t, x):
    return 1.0 + 0 * x


def test_a_process_from_functions():
    own = functions.process(pull, unit, additive=True)
    assert (own.f, own.g, own.noise, own.calculus, own.additive, own.event_dims) == (
        pull, unit, "diagonal", "ito", True, 0)  # fmt: skip
    assert own.drift(0.0, 2.0) == -2.0 and own.diffusion(0.0, 2.0) == 1.0
    assert pickle.loads(pickle.dumps(own)) == own
    pair = functions.process(lambda t, x, v: (v, -x), lambda t, x, v: ((0.0,), (1.0,)), noise="general")
    assert pair.event_dims == 1 and pair.drift(0.0, 1.0, 2.0) == (2.0, -1.0)
    assert functions.process(pull, noise="none").g is None
    assert functions.process(pull, noise="none", event_dims=None).event_dims is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise": "scalar"}, "noise must be 'none', 'diagonal' or 'general', got 'scalar'"),
        ({"calculus": "Ito"}, "calculus must be 'ito' or 'stratonovich', got 'Ito'"),
        ({"event_dims": -1}, "event_dims must be"),
        ({"noise": "none"}, "only noise='none' goes without one"),
        ({"diffusion": None}, "only noise='none' goes without one"),
        ({"drift": 1.0}, "drift must be a function"),
        ({"drift": lambda t: t}, "at least one state argument"),
        ({"diffusion": lambda t, x, y: (x, y)}, "different numbers"),
    ],
)
def test_process_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        functions.process(**{"drift": pull, "diffusion": unit, **arguments})


@each_path
def test_records_pickle(process):
    reverse = transforms.Reverse(process, MIXTURE.score(process), 0.5)
    copy = pickle.loads(pickle.dumps(reverse))
    assert type(copy) is transforms.Reverse
    x, t = np.ones((2, 2)), times(process)[1]
    np.testing.assert_array_equal(copy.drift(t, x), reverse.drift(t, x))
    chain = pickle.loads(pickle.dumps(transforms.Langevin(MIXTURE.score())))
    np.testing.assert_array_equal(chain.drift(0.0, x), MIXTURE.score()(0.0, x))
