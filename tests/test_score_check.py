"""`check` names a network that was given as what it is not, and leaves good and merely untrained ones alone."""

import functools

import numpy as np
import pytest

import sdekit as sk
from sdekit import scores

torch = pytest.importorskip("torch")

ANGLES = np.arange(8) * np.pi / 4
RING = sk.GaussianMixture(np.ones(8), np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1), stds=0.1)
GAUSSIAN = sk.Gaussian([0.5, -1.0], cov=[[1.0, 0.6], [0.6, 0.7]])
PATHS = [sk.VP(), sk.EDM(), sk.FlowPath(), sk.DiscreteVP(), sk.OU(sigma=0.8)]
KINDS = ["noise", "denoiser", "v", "velocity", "score"]
ROWS = 256


def name(process):
    return type(process).__name__


@functools.cache
def data(target_is_ring, seed=1):
    return (RING if target_is_ring else GAUSSIAN).sample(ROWS, seed=seed)


def perfect(kind, process, target):
    return getattr(scores, f"as_{kind}")(target.score(process))


def read(kind, network, process):
    return getattr(scores, f"from_{kind}")(network, process)


# --- no false alarms -----------------------------------------------------------------------------


@pytest.mark.parametrize("process", PATHS, ids=name)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ring", [False, True])
def test_perfect_networks_pass(ring, kind, process):
    """Another reading of one is never better in the mean; 5 standard errors the other way are rarer than 1e-6."""
    target = RING if ring else GAUSSIAN
    score = read(kind, perfect(kind, process, target), process)
    for seed in range(4):
        assert score.check(data(ring, seed), seed) is score


def test_exact_and_combined_scores_pass():
    for score in (
        RING.score(PATHS[0]),
        scores.clipped(RING.score(PATHS[0]), -2, 2),
        scores.on_path(RING.score(PATHS[0]), PATHS[1]),
    ):
        assert isinstance(scores.check(score, data(True)), scores.predictions.Prediction)


@pytest.mark.parametrize("kind", KINDS)
def test_silent_networks_pass(kind):
    """No output yet is no mistake, although zero read as v is a fair denoiser."""
    for process in PATHS[:3]:
        read(kind, lambda t, x: 0 * x, process).check(data(False))


def network(process):
    torch.manual_seed(0)
    body = torch.nn.Sequential(
        torch.nn.Linear(5, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU(), torch.nn.Linear(64, 2)
    )

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = body

        def forward(self, t, x):
            alpha, sigma = (v + 0 * t for v in process.marginal(t))
            level = torch.log(sigma / alpha)
            x = x / (alpha**2 + sigma**2).sqrt()[:, None]
            return self.body(torch.cat([x, torch.stack([level, level.sin(), level.cos()], 1)], 1))

    return Net()


@pytest.mark.parametrize("process", PATHS[:3], ids=name)
@pytest.mark.parametrize("kind", ["noise", "denoiser", "v"])
def test_learning_networks_pass_at_any_stage(kind, process):
    """From random numbers to a fair network: 300 steps on the ring, looked at after 0, 30 and 300."""
    net, ring = network(process), torch.as_tensor(RING.sample(2000, seed=5), dtype=torch.float32)
    optimiser, random = torch.optim.Adam(net.parameters(), 3e-3), torch.Generator().manual_seed(0)
    rows = torch.as_tensor(data(True, 2), dtype=torch.float32)
    for step in range(301):
        if step in (0, 30, 300):
            with torch.no_grad():
                read(kind, net, process).check(rows)
        x0 = ring[torch.randint(len(ring), (256,), generator=random)]
        z, u = torch.randn(256, 2, generator=random), torch.randn(256, generator=random)
        t = process.time((1.5 * u).clamp(-4, 4))
        alpha, sigma = ((v + 0 * t)[:, None] for v in process.marginal(t))
        goal = {"noise": z, "denoiser": x0, "v": alpha * z - sigma * x0}[kind]
        loss = ((net(t, alpha * x0 + sigma * z) - goal) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


# --- mistakes, each with its name ----------------------------------------------------------------


def wrong(mistake, base, process):
    lo, hi = process.domain

    def sigma(t, x):
        return np.reshape(process.marginal(t)[1], (-1, 1))

    return {
        "its output has the wrong sign": lambda t, x: -base(t, x),
        "its output is multiplied by sigma": lambda t, x: base(t, x) * sigma(t, x),
        "its output is divided by sigma": lambda t, x: base(t, x) / sigma(t, x),
        f"its times run the other way, with clean data at {hi:g}": lambda t, x: base(lo + hi - t, x),
        f"its times run the other way, with clean data at {hi:g}, and its output has the wrong sign": (
            lambda t, x: -base(lo + hi - t, x)
        ),
    }[mistake]


@pytest.mark.parametrize("process", PATHS[:4], ids=name)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mistake", range(5))
def test_a_mistake_is_named(mistake, kind, process):
    hi = process.domain[1]
    sentence = [
        "its output has the wrong sign",
        "its output is multiplied by sigma",
        "its output is divided by sigma",
        f"its times run the other way, with clean data at {hi:g}",
        f"its times run the other way, with clean data at {hi:g}, and its output has the wrong sign",
    ][mistake]
    score = read(kind, wrong(sentence, perfect(kind, process, RING), process), process)
    if mistake == 1 and kind in ("v", "velocity") and not isinstance(process, sk.FlowPath):
        pytest.skip("sigma is near 1 where these are large")
    with pytest.raises(ValueError) as error:
        score.check(data(True))
    assert f": {sentence} (" in str(error.value)


@pytest.mark.parametrize("process", [PATHS[0], PATHS[2], PATHS[4]], ids=name)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
@pytest.mark.parametrize("ring", [False, True])
def test_another_prediction_is_named(ring, other, kind, process):
    if other == kind:
        return
    target = RING if ring else GAUSSIAN
    with pytest.raises(ValueError, match=f"does not predict .*; use from_{other} "):
        read(kind, perfect(other, process, target), process).check(data(ring))


def test_the_noise_of_edm_is_its_velocity():
    """alpha′ = 0 and sigma′ = 1: both readings are right."""
    process = PATHS[1]
    read("velocity", perfect("noise", process, RING), process).check(data(True))
    read("noise", perfect("velocity", process, RING), process).check(data(True))


def test_data_of_another_scale_are_noticed():
    for process in (sk.VP(), sk.FlowPath()):
        score = scores.from_noise(perfect("noise", process, RING), process)
        with pytest.raises(ValueError, match="the data lack a factor: it knows them times about 99"):
            score.check(0.01 * data(True))


def test_the_data_of_flow_libraries_sit_at_t_one():
    """x_t = t·data + (1 − t)·noise with u = data − noise: two mistakes at once, seen as one."""
    flow = sk.FlowPath()
    exact = RING.score(flow)

    def theirs(t, x):
        clean, eps = exact.pair(1.0 - t, x)
        return clean - eps

    with pytest.raises(ValueError, match="other way, with clean data at 1, and its output has the wrong sign"):
        scores.from_velocity(theirs, flow).check(data(True))


# --- shapes, conditions, errors ------------------------------------------------------------------


def test_conditions_belong_to_rows():
    """The right label of each row is needed: a network that trusts it fails with the labels of others."""
    process = sk.VP()
    rows = data(True)
    labels = (np.arctan2(rows[:, 1], rows[:, 0]) / (np.pi / 4)).round().astype(int) % 8
    centres = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)

    def net(t, x, c):
        assert c.shape == (ROWS,)
        alpha, sigma = (v[:, None] for v in process.marginal(t))
        return sigma * (x - alpha * centres[c]) / (alpha**2 * 0.01 + sigma**2)

    score = scores.from_noise(net, process)
    score.given(labels).check(rows)
    with pytest.raises(ValueError):
        score.given((labels + 4) % 8).check(rows)


def test_images_numbers_and_float32():
    process, target = sk.FlowPath(), sk.Gaussian(np.zeros((1, 4, 4)), std=0.5)
    images = torch.as_tensor(target.sample(64, seed=2), dtype=torch.float32)
    good = perfect("v", process, target)
    calls = []

    def net(t, x):
        calls.append((t.dtype, x.dtype, x.shape))
        return good(t, x)

    scores.from_v(net, process).check(images)
    # 4 rounds to 4096 entries: as given, in the other direction, data of three other scales, and what may answer
    assert set(calls) == {(torch.float32, torch.float32, (64, 1, 4, 4))} and len(calls) >= 20
    with pytest.raises(ValueError, match="wrong sign"):
        scores.from_v(lambda t, x: -good(t, x), process).check(images)
    number = sk.Gaussian(1.0, std=0.5)
    score = scores.from_denoiser(perfect("denoiser", process, number), process, event_dims=0)
    score.check(number.sample(300, seed=0))


def test_the_same_seed_gives_the_same_answer():
    text = []
    for seed in (0, 0, 1):
        with pytest.raises(ValueError) as error:
            read("noise", lambda t, x: -x, sk.VP()).check(data(False), seed)
        text.append(str(error.value))
    assert text[0] == text[1] != text[2]


def test_errors():
    score = read("noise", lambda t, x: x * np.nan, sk.VP())
    with pytest.raises(ValueError, match="its output is not finite"):
        score.check(data(True))
    with pytest.raises(ValueError, match=r"data of shape \(9, 2\) must hold samples that differ"):
        score.check(np.ones((9, 2)))


def test_losses_are_relative_to_the_best_linear_denoiser():
    """On a Gaussian of independent entries that is the exact one, with loss 1: 2 % off is 5 standard errors."""
    target = sk.Gaussian([30.0, -20.0], std=[0.5, 0.2])
    for process in PATHS:
        trial = scores.checks._trial(process, target.sample(20000, seed=1), 0)
        out = perfect("denoiser", process, target)(trial.t, trial.x)
        assert abs(trial.linear.mean() - 1) < 0.02
        assert abs(trial.loss("denoiser", out).mean() - trial.linear.mean()) < 0.002


@pytest.mark.parametrize("kind", ["noise", "score"])
def test_a_few_huge_losses_do_not_hide_a_mistake(kind):
    """On `VE` a network of data in corners of a cube is off by up to 1e8 times at the wrong time."""
    process, corners = sk.VE(), np.sign(np.random.default_rng(0).normal(size=(200, 64)))
    base = perfect(kind, process, sk.Empirical(corners))
    with pytest.raises(ValueError, match="its times run the other way, with clean data at 1 "):
        read(kind, lambda t, x: base(1.0 - t, x), process).check(corners)


def test_what_cannot_be_checked():
    for score in (lambda t, x: x, scores.from_score(lambda t, x: -x)):
        with pytest.raises(ValueError, match="score must be a Score of a noising process"):
            scores.check(score, np.ones((3, 2)))
    with pytest.raises(ValueError, match="must hold samples that differ"):
        scores.check(scores.from_noise(lambda t, x: x, sk.VP()), np.ones((0, 2)))
