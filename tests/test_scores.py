"""Adapters: the pair they give, where they are singular, and what the network sees."""

import math
import pickle

import numpy as np
import pytest

import sdekit as sk
from sdekit import processes, scores, targets

torch = pytest.importorskip("torch")

MIXTURE = targets.GaussianMixture([0.3, 0.7], [[1.0, -1.0], [-0.5, 2.0]], stds=[0.4, 0.9])
PATHS = [
    processes.VP(),
    processes.SubVP(),
    processes.VE(),
    processes.FlowPath(),
    processes.OU(sigma=0.8),
]
KINDS = ["noise", "denoiser", "v", "velocity", "score"]


def exact_network(kind, process):
    """What a perfect network of this kind predicts, from the definitions and the exact pair."""
    exact = MIXTURE.score(process)

    def network(t, x):
        t = float(t[0])
        clean, eps = exact.pair(t, x)
        (alpha, sigma), (dalpha, dsigma) = process.marginal(t), process.rates(t)
        return {
            "noise": eps,
            "denoiser": clean,
            "v": alpha * eps - sigma * clean,
            "velocity": dalpha * clean + dsigma * eps,
            "score": -eps / sigma,
        }[kind]

    return network


EVERY = [
    cls()
    for cls in (getattr(processes, name) for name in processes.__all__)
    if hasattr(cls, "marginal") and hasattr(cls, "rates")
]


def interior(process):
    """Times at which every prediction is defined, near the ends of the domain too."""
    lo, hi = process.domain
    lo, hi = max(lo, 0.0), min(hi, 3.0)
    return [lo + u * (hi - lo) for u in (0.01, 0.2, 0.5, 0.9, 0.999)]


def adapter(kind):
    return getattr(scores, f"from_{kind}")


def silent(t, x):
    return x * 0.0


@pytest.mark.parametrize("process", PATHS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_adapters_give_the_exact_pair(kind, process):
    score = adapter(kind)(exact_network(kind, process), process, event_dims=1)
    exact = MIXTURE.score(process)
    for t in (0.2, 0.5, 0.9):
        alpha, sigma = process.marginal(t)
        x = np.random.default_rng(0).normal(size=(50, 2)) * math.hypot(alpha, sigma)
        clean, eps = score.pair(t, x)
        # a division by alpha or sigma amplifies rounding, by 1/alpha = 150 at most here
        tolerance = 1e-12 * max(1.0, abs(x).max()) / min(1.0, alpha, sigma) ** 2
        np.testing.assert_allclose(clean, exact.pair(t, x)[0], rtol=0, atol=tolerance)
        np.testing.assert_allclose(eps, exact.pair(t, x)[1], rtol=0, atol=tolerance)
        np.testing.assert_allclose(alpha * clean + sigma * eps, x, rtol=0, atol=1e-12 * max(1, abs(x).max()))
        np.testing.assert_allclose(score(t, x), exact(t, x), rtol=0, atol=tolerance / sigma)


def test_every_process_with_rates_is_tested():
    assert {type(p).__name__ for p in EVERY} >= {
        "VP", "CosineVP", "SubVP", "DiscreteVP", "VE", "EDM", "FlowPath", "OU", "Brownian",
    }  # fmt: skip


@pytest.mark.parametrize("process", EVERY, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_to_a_network_and_back(kind, process):
    """pair → prediction → pair, with x in the units of x_t and the error in those of D and ε.

    A division by alpha (or sigma) takes the rounding of x, a few 1e-16 |x|, to that of D (or ε).
    """
    exact = MIXTURE.score(process)
    score = adapter(kind)(getattr(scores, f"as_{kind}")(exact), process, event_dims=1)
    for t in interior(process):
        alpha, sigma = process.marginal(t)
        x = np.random.default_rng(0).normal(size=(50, 2)) * math.hypot(alpha, sigma)
        for got, want, weight in zip(score.pair(t, x), exact.pair(t, x), (alpha, sigma)):
            amplified = max(1.0, abs(x).max() / min(1.0, weight) / 1e3)
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * amplified)


@pytest.mark.parametrize("process", EVERY, ids=lambda p: type(p).__name__)
def test_networks_predict_what_the_definitions_say(process):
    exact = MIXTURE.score(process)
    x, t = np.random.default_rng(0).normal(size=(5, 2)), np.full(5, interior(process)[2])
    for kind in KINDS:
        want = exact_network(kind, process)(t, x)
        np.testing.assert_allclose(
            getattr(scores, f"as_{kind}")(exact)(t, x), want, rtol=0, atol=1e-13 * abs(want).max()
        )


def test_networks_raise_where_what_they_predict_is_not_defined():
    flow, x = processes.FlowPath(), np.ones((2, 3))
    with pytest.raises(ValueError, match=r"sigma\(t\) = 0"):
        scores.as_score(scores.from_v(silent, flow))(0.0, x)
    with pytest.raises(ValueError, match=r"alpha\(t\) = 0"):
        scores.as_denoiser(scores.from_noise(silent, flow))(1.0, x)
    with pytest.raises(ValueError, match=r"sigma\(t\) = 0"):
        scores.as_noise(scores.from_denoiser(silent, flow))(0.0, x)
    for t in (0.0, np.array([0.5, 0.0]), torch.tensor([0.5, 0.0])):
        x = torch.ones(2, 3) if scores.evaluation.arrays.is_tensor(t) else np.ones((2, 3))
        for velocity in (
            scores.as_velocity(scores.from_v(silent, processes.VP())),
            scores.from_velocity(silent, processes.VP()).pair,
        ):
            with pytest.raises(ValueError, match="infinite at t = "):
                velocity(t, x)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_of_times_is_one_time_per_path(kind):
    process = processes.FlowPath()
    exact = MIXTURE.score(process)

    def network(t, x):
        clean, eps = exact.pair(t, x)
        t = t[:, None]
        predictions = {
            "noise": eps,
            "denoiser": clean,
            "v": (1 - t) * eps - t * clean,
            "velocity": eps - clean,
        }
        return predictions[kind] if kind != "score" else -eps / t

    x = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0.2, 0.8, 5, dtype=torch.float64)
    pair = adapter(kind)(network, process, 1).pair(t, x)
    for i in range(5):
        for got, want in zip(pair, exact.pair(float(t[i]), x[i : i + 1]), strict=True):
            torch.testing.assert_close(got[i : i + 1], want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "t", "name"),
    [
        ("noise", 1.0, "alpha"),
        ("denoiser", 0.0, "sigma"),
        ("score", 0.0, "sigma"),
        ("score", 1.0, "alpha"),
    ],
)
def test_pairs_raise_where_the_prediction_is_singular(kind, t, name):
    score = adapter(kind)(silent, processes.FlowPath())
    for x, time in [
        (np.ones((2, 3)), t),
        (np.ones((2, 3)), np.array([0.5, t])),
        (torch.ones(2, 3), torch.tensor([0.5, t])),
    ]:
        with pytest.raises(ValueError, match=rf"{name}\(t\) = 0 at t = "):
            score.pair(time, x)


@pytest.mark.parametrize("kind", ["noise", "denoiser", "v", "velocity"])
def test_scores_raise_where_sigma_is_zero(kind):
    with pytest.raises(ValueError, match=r"sigma\(t\) = 0"):
        adapter(kind)(silent, processes.FlowPath())(0.0, np.ones((2, 3)))


def test_each_prediction_works_at_the_end_it_claims():
    flow, x = processes.FlowPath(), np.array([[2.0, -3.0]])
    np.testing.assert_array_equal(scores.from_noise(silent, flow).pair(0.0, x)[0], x)
    np.testing.assert_array_equal(scores.from_denoiser(silent, flow).pair(1.0, x)[1], x)
    np.testing.assert_array_equal(scores.from_v(silent, flow).pair(0.0, x)[0], x)
    np.testing.assert_array_equal(scores.from_v(silent, flow).pair(1.0, x)[1], x)
    np.testing.assert_array_equal(scores.from_velocity(silent, flow).pair(0.0, x)[0], x)
    np.testing.assert_array_equal(scores.from_velocity(silent, flow).pair(1.0, x)[1], x)
    np.testing.assert_array_equal(scores.from_velocity(lambda t, x: x, flow).pair(1.0, x)[0], 0 * x)
    with pytest.raises(ValueError, match="infinite at t = 0"):
        scores.from_velocity(silent, processes.VP()).pair(0.0, x)


@pytest.mark.parametrize(
    ("shape", "event_dims", "batch"),
    [
        ((5,), None, (5,)),
        ((5, 2), None, (5, 2)),
        ((3, 3, 3, 3), None, (3, 3, 3, 3)),
        ((5,), 0, (5,)),
        ((4, 5), 0, (20,)),
        ((4, 5, 2), 1, (20, 2)),
        ((2,), 1, (1, 2)),
        ((3, 3, 3, 3), 3, (3, 3, 3, 3)),
        ((), 0, (1,)),
    ],
)
@pytest.mark.parametrize("make", [np.ones, torch.ones], ids=["numpy", "torch"])
def test_a_network_sees_one_batch_axis_and_one_time_per_row(make, shape, event_dims, batch):
    seen = {}

    def network(t, x):
        seen.update(t=t, x=x)
        return x

    dtype = {np.ones: np.float32, torch.ones: torch.bfloat16}[make]
    wide = {np.ones: np.float32, torch.ones: torch.float32}[make]
    x = make(shape, dtype=dtype)
    clean, _ = scores.from_denoiser(network, processes.VP(), event_dims).pair(0.5, x)
    assert tuple(seen["x"].shape) == batch and seen["x"].dtype == dtype
    assert tuple(seen["t"].shape) == batch[:1] and seen["t"].dtype == wide
    assert (seen["t"] == 0.5).all()
    assert clean.shape == x.shape and clean.dtype == dtype


def test_times_go_to_the_left_of_the_event_axes():
    """With B = C = H = W a time on the wrong axis would go unnoticed by its shape alone."""
    t, x = torch.tensor([0.2, 0.5, 0.8]), torch.ones(3, 3, 3, 3)
    clean, _ = scores.from_noise(silent, processes.FlowPath()).pair(t, x)
    torch.testing.assert_close(clean, (1 / (1 - t))[:, None, None, None].expand(3, 3, 3, 3))
    times = []
    network = lambda t, x: times.append(t) or x  # noqa: E731
    scores.from_denoiser(network, processes.VP(), 1).pair(np.array([0.2, 0.4]), np.ones((2, 3, 2)))
    np.testing.assert_array_equal(times[0], [0.2, 0.2, 0.2, 0.4, 0.4, 0.4])
    with pytest.raises(ValueError, match="one value per path"):
        scores.from_denoiser(network, processes.VP()).pair(np.array([0.2, 0.4]), np.ones((3, 2)))


def test_wrong_networks_are_named():
    for network, got in [(lambda t, x: x[:1], r"\(1, 2\)"), (lambda t, x: 1.0, "float")]:
        with pytest.raises(ValueError, match=rf"network returned .*{got}.* for x of shape \(3, 2\)"):
            scores.from_noise(network, processes.VP()).pair(0.5, np.ones((3, 2)))
    with pytest.raises(ValueError, match="event_dims = 2"):
        scores.from_noise(silent, processes.VP(), event_dims=2).pair(0.5, np.ones(3))


def test_types_are_kept_and_gradients_flow():
    for x in (np.ones((4, 2), np.float32), torch.ones(4, 2)):
        for kind in KINDS:
            clean, eps = adapter(kind)(silent, processes.VP()).pair(np.float64(0.5), x)
            assert clean.dtype == eps.dtype == x.dtype
    network = torch.nn.Linear(2, 2)
    x = torch.ones(4, 2, requires_grad=True)
    scores.from_noise(lambda t, x: network(x), processes.VP())(0.5, x).sum().backward()
    assert network.weight.grad.abs().sum() > 0 and x.grad.abs().sum() > 0
    clean = scores.from_noise(lambda t, x: x.to(torch.bfloat16), processes.VP()).pair(0.5, x)[0]
    assert clean.dtype == torch.float32


class Half(torch.nn.Module):
    """Twice x, in the type of its parameters; remembers what it saw."""

    def __init__(self, dtype):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(2.0, dtype=dtype))

    def forward(self, t, x):
        self.seen = t.dtype, x.dtype, t.shape
        return self.scale * x


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("state", [torch.float32, torch.float64, torch.bfloat16])
def test_half_networks_compute_in_half_and_the_state_keeps_its_type(half, state):
    network, flow = Half(half), processes.FlowPath()
    score = scores.from_noise(network, flow)
    x = torch.tensor([[1.001], [2.003]], dtype=state)
    clean, eps = score.pair(0.25, x)
    assert network.seen == (torch.float32, half, (2,)) and clean.dtype == eps.dtype == state
    rounded = (2 * x.to(half)).to(state)
    torch.testing.assert_close(eps, rounded, rtol=0, atol=0)
    torch.testing.assert_close(clean, (x - 0.25 * rounded) / 0.75)
    rev = sk.Reverse(flow, score, eta=0.0)
    start = rev.start((2, 1), seed=0)
    assert start.dtype == torch.float32
    sol = sk.solve(rev, start, [0.9, 0.5], sk.euler, h=0.1, seed=0)
    assert sol.x.dtype == torch.float32 and sol.nfe == 4 and network.seen[1] == half


def test_the_state_follows_the_network_inside_other_scores():
    score = scores.from_noise(Half(torch.float64), processes.VP())
    nested = scores.clipped(scores.guided(score.given(1), score, 2.0))
    assert sk.Reverse(processes.VP(), nested).start((2, 1), seed=0).dtype == torch.float64
    assert sk.Reverse(processes.VP(), MIXTURE.score(processes.VP())).start((2, 2), seed=0).dtype == np.float64


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_pickle(kind):
    score = adapter(kind)(silent, processes.VP(), 2)
    copy = pickle.loads(pickle.dumps(score))
    assert copy == score and copy.event_dims == 2 and copy.process == processes.VP()


@pytest.mark.parametrize("kind", ["noise", "denoiser", "v", "velocity"])
@pytest.mark.parametrize("process", [None, processes.VP, processes.GBM()], ids=str)
def test_predictions_need_a_noising_process(kind, process):
    with pytest.raises(ValueError, match="process must be a noising process with a marginal"):
        adapter(kind)(silent, process)
