"""The training loop and checkpoints: resumed equals uninterrupted, errors keep what is good, files are checked."""

import math
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import sdekit as sk  # noqa: E402
from generative import CNF, MLP, Diffusion, FlowMatching, checkpoints, fit, load, save  # noqa: E402
from generative.training import cosine  # noqa: E402

LABELS = torch.arange(300) % 3
DATA = torch.randn(300, 2, generator=torch.Generator().manual_seed(0)) * 2 + LABELS[:, None]


class Mean(torch.nn.Module):
    """Learns the mean of its data; `trouble` maps a step to what happens there."""

    def __init__(self, trouble=None):
        super().__init__()
        self.mean, self.calls, self.trouble = torch.nn.Parameter(torch.zeros(2)), 0, trouble or {}

    def loss(self, x, c=None):
        self.calls += 1
        return self.trouble.get(self.calls - 1, lambda loss: loss)((x - self.mean).square().mean())


def stop(loss):
    raise KeyboardInterrupt


def small(classes=3):
    torch.manual_seed(0)
    return Diffusion(MLP((2,), 16, 2, classes=classes), sk.VP(), weighting="likelihood")


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_fit_minimises_the_loss():
    """Standard error of the mean of all batches: 0.04, of the average at the end about 0.02."""
    model = Mean()
    record = fit(model, DATA, steps=300, batch=64, lr=0.05, seed=1)
    assert (model.mean - DATA.mean(0)).abs().max() < 0.15
    assert record.steps == 300 == len(record.losses) and record.losses.dtype == torch.float64
    assert not model.training


def test_a_step_is_a_function_of_seed_and_step():
    models = [small(), small(), small()]
    for model, seed in zip(models, (5, 5, 6), strict=True):
        torch.manual_seed(seed + 17)
        torch.rand(3)
        before = torch.random.get_rng_state()
        fit(model, DATA, LABELS, steps=5, batch=32, seed=seed)
        assert torch.equal(torch.random.get_rng_state(), before)  # the user's own randomness is left alone
    assert equal(models[0], models[1]) and not equal(models[0], models[2])


@pytest.mark.parametrize("killed", [3, 12, 19])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, killed):
    arguments = {"steps": 20, "batch": 32, "every": 5, "seed": 2}
    whole, broken, resumed = small(), small(), small()
    losses = fit(whole, DATA, LABELS, **arguments).losses

    real, calls = broken.loss, iter(range(100))
    broken.loss = lambda x, c: stop(0) if next(calls) == killed else real(x, c)
    path = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(broken, DATA, LABELS, **arguments, checkpoint=path)
    torch.manual_seed(99)
    for parameter in resumed.parameters():
        torch.nn.init.normal_(parameter)  # whatever it holds, the checkpoint decides, or there is none yet
    if killed < 5:
        resumed = small()
    record = fit(resumed, DATA, LABELS, **arguments, checkpoint=path)
    assert equal(resumed, whole) and torch.equal(record.losses, losses)
    again = small()
    assert fit(again, DATA, LABELS, **arguments, checkpoint=path).steps == 20  # finished: loaded, nothing done
    assert equal(again, whole) and equal(load(path), whole)
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_average_follows_its_formula():
    weights = []

    class Watched(Mean):
        def loss(self, x, c=None):
            weights.append(self.mean.detach().clone())
            return super().loss(x, c)

    model = Watched()
    fit(model, DATA, steps=30, batch=8, lr=0.1, ema=0.7, schedule=lambda progress: 1.0, seed=0)
    average = weights[1]  # after the first step
    for n, w in enumerate(weights[2:], 1):
        d = min(0.7, (1 + n) / (10 + n))
        average = d * average + (1 - d) * w
    d = min(0.7, 30 / 39)
    assert (model.mean - average).abs().max() <= (1 - d) * 0.11  # all but the last step, which moves by lr at most


def test_clipping_and_schedule():
    steps = []

    class Plain(Mean):
        def optimizers(self, lr):
            return (torch.optim.SGD(self.parameters(), lr),)

        def loss(self, x, c=None):
            steps.append(self.mean.detach().clone())
            return 100 * super().loss(x, c)

    fit(Plain(), DATA + 50, steps=10, batch=8, lr=1.0, clip=0.5, seed=0)
    moved = torch.stack(steps).diff(dim=0).norm(dim=1)
    expected = torch.tensor([0.5 * cosine((step + 0.5) / 10) for step in range(9)])
    assert torch.allclose(moved, expected, rtol=1e-4)
    assert cosine(0) == 0 and cosine(1) == 0 and cosine(0.02) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("trouble", [lambda loss: loss * math.nan, lambda loss: (loss * 0).sqrt()])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path, trouble):
    """NaN, and a finite loss with an infinite gradient."""
    model, path = Mean({12: trouble}), tmp_path / "run.pt"
    with pytest.raises(FloatingPointError, match="at step 12; .*run.pt holds step 10"):
        fit(model, DATA, steps=50, batch=8, every=5, checkpoint=path, seed=0)
    assert torch.isfinite(model.mean).all()
    good = Mean()
    load(path, good)
    assert torch.isfinite(good.mean).all() and good.mean.abs().sum() > 0


def test_stops_on_time():
    record = fit(Mean(), DATA, seconds=0.3, batch=8, seed=0)
    assert record.steps > 5 and 0.3 <= record.seconds < 3
    assert fit(Mean(), DATA, seconds=60, steps=3, seed=0).steps == 3


def test_models_with_training_of_their_own(tmp_path):
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Parameter(torch.zeros(1))

        def optimizers(self, lr):
            return torch.optim.SGD([self.a], 2 * lr), torch.optim.SGD([self.a], lr)

        def training_step(self, x, c, step, descend):
            assert x.shape == (4, 2) and c.shape == (4,)
            descend(1, self.a.sum())
            moved = float(self.a.detach())
            value = descend(0, -self.a.sum() / (step != 6))
            self.seen.append((step, moved, float(self.a.detach())))
            return value

    model, path = Own(), tmp_path / "own.pt"
    model.seen = []
    with pytest.raises(FloatingPointError, match="at step 6; .*own.pt holds step 5"):
        fit(model, DATA, LABELS, steps=8, batch=4, lr=0.1, checkpoint=path, every=5, seed=0)
    (step, down, up), before = model.seen[-1], model.seen[-2][2]
    assert step == 5 and up - down == pytest.approx(2 * (before - down)) and down < before
    assert torch.isfinite(model.a).all()


def test_closed_forms(tmp_path):
    class Closed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(2))

        def fit(self, data, seed, progress):
            self.mean = data.mean(0) + seed

    closed, again, path = Closed(), Closed(), tmp_path / "c.pt"
    assert fit(closed, DATA, seed=3, checkpoint=path).steps == 0
    assert torch.equal(closed.mean, DATA.mean(0) + 3)
    again.fit = None
    fit(again, DATA, seed=3, checkpoint=path)  # done before: read
    assert torch.equal(again.mean, closed.mean)
    with pytest.raises(ValueError, match=r"c.pt holds a run with seed = 3"):
        fit(Closed(), DATA, seed=4, checkpoint=path)
    with pytest.raises(ValueError, match="leave the labels c out"):
        fit(Closed(), DATA, LABELS, seed=0)
    other = small()
    with pytest.raises(ValueError, match="c.pt holds a Closed, but the model is a Diffusion"):
        fit(other, DATA, LABELS, steps=2, checkpoint=path, seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": DATA}, "steps and seconds"),
        ({"data": DATA[:, 0], "steps": 1}, r"data must be finite, of shape \(N, \*event\)"),
        ({"data": DATA * math.inf, "steps": 1}, "data must be finite"),
        ({"data": DATA, "labels": LABELS[:5], "steps": 1}, "labels must be 300 integers"),
        ({"data": DATA, "labels": LABELS.float(), "steps": 1}, "labels must be 300 integers"),
        ({"data": DATA, "steps": 1.5}, "steps must be an integer >= 1, got 1.5"),
        ({"data": DATA, "seconds": -1}, "seconds must be a real number, above 0, got -1"),
        ({"data": DATA, "seconds": math.nan}, "seconds must be a real number, above 0, got nan"),
        ({"data": DATA, "steps": 1, "batch": 0}, "batch must be an integer >= 1, got 0"),
        ({"data": DATA, "steps": 1, "every": 0}, "every must be an integer >= 1, got 0"),
        ({"data": DATA, "steps": 1, "ema": 2}, "ema must be a real number, below 1 and at least 0, got 2"),
        ({"data": DATA, "steps": 1, "seed": -1}, r"seed must be an integer from 0 to .*, got -1"),
        ({"data": DATA, "steps": 1, "lr": "fast"}, "lr must be a real number, above 0 and finite, got 'fast'"),
        ({"data": DATA, "steps": 1, "clip": None}, "clip must be a real number, above 0, got None"),
        ({"data": DATA, "steps": True}, "steps must be an integer >= 1, got True"),
        ({"data": DATA, "steps": np.ones(2)}, r"steps must be an integer >= 1, got ndarray of shape \(2,\)"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(Mean(), **arguments)


def test_progress_is_shown(capsys):
    fit(Mean(), DATA, steps=3, progress=True, seed=0)
    assert "3/3" in capsys.readouterr().err


# --- files ---------------------------------------------------------------------------------------

TABLE = sk.DiscreteVP(np.array(sk.DiscreteVP().alphas_cumprod[::50]))
MODELS = {
    "vp": lambda: Diffusion(MLP((2,), 8, 1), sk.VP(beta_max=12.0), "noise"),
    "ou": lambda: Diffusion(MLP((2,), 8, 1), sk.OU(), end=4.0),
    "levels": lambda: Diffusion(MLP((2,), 8, 1), sk.VE(0.1, 10.0), "score", levels=8),
    "table": lambda: Diffusion(MLP((1, 2, 2), 8, 1, classes=4), TABLE),
    "flow": lambda: FlowMatching(MLP((2,), 8, 1), sk.FlowPath(sigma_min=0.05), "optimal"),
    "cnf": lambda: CNF(MLP((2,), 8, 1), steps=3),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_saved_and_loaded(make, tmp_path):
    torch.manual_seed(0)
    model, path = make(), tmp_path / "folder" / "m.pt"
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model.standardise(3 + 2 * torch.randn(50, *model.units.shape))
    save(model, path)
    torch.load(path, weights_only=True)  # tensors and plain data
    copy = load(path)
    assert type(copy) is type(model) and equal(copy, model)
    assert torch.equal(copy.sample(5, seed=1), model.sample(5, seed=1))


def test_numbers_of_numpy_are_plain_in_files(tmp_path):
    model, path = Diffusion(MLP((2,), np.int64(8), 1), sk.VP(beta_max=np.float64(12.0))), tmp_path / "m.pt"
    fit(model, DATA, steps=np.int64(2), lr=np.float64(1e-3), seed=np.int64(3), checkpoint=path)
    assert equal(load(path), model)


def test_a_file_calls_nothing_but_models(tmp_path):
    victim, bad = tmp_path / "victim", tmp_path / "bad.pt"
    victim.write_text("precious")
    save(small(), bad)
    content = torch.load(bad, weights_only=True)
    content["config"] = {"class": "save", "arguments": {"model": content["config"], "path": str(victim)}}
    checkpoints.write(bad, content)
    with pytest.raises(ValueError, match="cannot build"):
        load(bad)
    assert victim.read_text() == "precious"


def test_parts_of_the_users_own_need_the_model(tmp_path):
    class Own(torch.nn.Module):
        shape = (2,)

        def __init__(self):
            super().__init__()
            self.a = torch.nn.Parameter(torch.ones(1))

        def forward(self, t, x):
            return self.a * x

    path = tmp_path / "m.pt"
    save(Diffusion(Own(), sk.VP()), path)
    with pytest.raises(ValueError, match="parts of your own"):
        load(path)
    fresh = Diffusion(Own(), sk.VP())
    fresh.net.a.data.zero_()
    assert load(path, fresh).net.a == 1
    with pytest.raises(ValueError, match="holds a Diffusion, but the model is a FlowMatching"):
        load(path, FlowMatching(Own()))
    for other in (small(), Diffusion(Own(), sk.VP(), "noise"), Diffusion(Own(), sk.VP(beta_max=9.0))):
        with pytest.raises(ValueError, match="holds a Diffusion made with other arguments"):
            load(path, other)


def test_damaged_and_foreign_files(tmp_path):
    path, bad = tmp_path / "m.pt", tmp_path / "bad.pt"
    save(small(), path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not a checkpoint", whole[:-200]):
        bad.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.pt is damaged, or no checkpoint"):
            load(bad)
    torch.save({"weights": torch.zeros(3)}, bad)
    with pytest.raises(ValueError, match=r"bad\.pt is damaged, or no checkpoint of this package"):
        load(bad)
    checkpoints.write(bad, {"weights": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"bad\.pt is no checkpoint of this package"):
        load(bad)
    torch.save(torch.nn.Linear(1, 1), bad)  # code: refused
    with pytest.raises(ValueError, match="damaged, or no checkpoint"):
        load(bad)
    content = torch.load(path, weights_only=True)
    checkpoints.write(bad, content | {"version": 99})
    with pytest.raises(ValueError, match="version 99"):
        load(bad)
    content["config"]["class"] = "os"
    checkpoints.write(bad, content)
    with pytest.raises(ValueError, match="cannot build"):
        load(bad)
    checkpoints.write(bad, content | {"config": {"arguments": {}}})  # damaged, and not of the user's own
    with pytest.raises(ValueError, match="cannot build"):
        load(bad)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.pt")


def changed(**state):
    """What turns the content of a file into one with these entries of the state; None leaves one out."""

    def change(content):
        state_of = {**content["state"], **state}
        return content | {"state": {name: value for name, value in state_of.items() if value is not None}}

    return change


BIAS, WEIGHT = "net.last.bias", "net.last.weight"
CHANGES = {
    "net.last.bias is missing": changed(**{BIAS: None}),
    "net.more is not of this model": changed(**{"net.more": torch.zeros(2)}),
    r"net.last.bias has shape \(99,\), not \(2,\)": changed(**{BIAS: torch.zeros(99)}),
    "net.last.bias has NaN": changed(**{BIAS: torch.tensor([0.0, math.nan])}),
    "net.last.bias has type torch.int64, not torch.float32": changed(**{BIAS: torch.zeros(2, dtype=torch.int64)}),
    "net.last.bias has type torch.complex64": changed(**{BIAS: torch.zeros(2, dtype=torch.complex64)}),
    "net.last.bias is no tensor": changed(**{BIAS: [0.0, 0.0]}),
    "net.last.weight is no tensor, or a sparse one": changed(**{WEIGHT: torch.ones(2, 16).to_sparse()}),
    "its state is a list": lambda content: content | {"state": [1]},
    "3 is not of this model": lambda content: content | {"state": {**content["state"], 3: torch.zeros(1)}},
    "holds a FlowMatching": lambda content: content | {"class": "FlowMatching"},
    "it lacks class": lambda content: {name: part for name, part in content.items() if name != "class"},
    "describes a model that this version cannot build|made with other arguments": (
        lambda content: content | {"config": {"class": "Diffusion", "arguments": {"more": 1}}}
    ),
    "is no checkpoint of this package": lambda content: content | {"format": "theirs"},
    "has version 1, this package reads": lambda content: content | {"version": 1},
}


@pytest.mark.parametrize("cause", CHANGES)
def test_what_does_not_fit_is_refused_whole(tmp_path, cause):
    """With a checksum that is right; a model that is given keeps all that it has."""
    path = tmp_path / "m.pt"
    save(small(), path)
    checkpoints.write(path, CHANGES[cause](torch.load(path, weights_only=True)))
    model = small()
    for parameter in model.parameters():
        parameter.data.add_(1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for given in (None, model):
        with pytest.raises(ValueError, match=rf"m\.pt .*({cause})"):
            load(path, given)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_half_precision_and_minus_infinity_are_read(tmp_path):
    class Masked(torch.nn.Module):
        shape = (2,)

        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.full((2,), -math.inf))

        def forward(self, t, x):
            return x

    save(Diffusion(Masked(), sk.VP()), tmp_path / "masked.pt")
    assert load(tmp_path / "masked.pt", Diffusion(Masked(), sk.VP())).net.mask[0] == -math.inf
    model = small().to(torch.bfloat16)
    save(model, tmp_path / "half.pt")
    assert torch.equal(load(tmp_path / "half.pt").net.last.bias, model.net.last.bias.float())


def test_a_checkpoint_continues_only_its_own_run(tmp_path):
    path = tmp_path / "run.pt"
    fit(small(), DATA, LABELS, steps=4, batch=8, checkpoint=path, seed=0)
    with pytest.raises(ValueError, match=r"holds a run with lr = 0\.002"):
        fit(small(), DATA, LABELS, steps=4, batch=8, lr=1e-3, checkpoint=path, seed=0)
    with pytest.raises(ValueError, match="holds a Diffusion, but the model is a Mean"):
        fit(Mean(), DATA, LABELS, steps=4, batch=8, checkpoint=path, seed=0)
    other = Diffusion(MLP((2,), 16, 1, classes=2), sk.VP(beta_max=3.0))
    with pytest.raises(ValueError, match="holds a Diffusion made with other arguments"):
        fit(other, DATA, LABELS, steps=4, batch=8, checkpoint=path, seed=0)
    for data, labels, name in ((DATA + 1, LABELS, "data"), (DATA, 1 - LABELS, "labels"), (DATA, None, "labels")):
        with pytest.raises(ValueError, match=f"holds a run with {name} = "):
            fit(small(), data, labels, steps=4, batch=8, checkpoint=path, seed=0)
    save(small(), path)
    with pytest.raises(ValueError, match="no training to continue"):
        fit(small(), DATA, LABELS, steps=4, batch=8, checkpoint=path, seed=0)


def test_any_bit_that_flips_is_noticed(tmp_path):
    """D1: the zip archive's own checksums leave out headers and padding, a fifth of these flips."""
    path, bad, dice = tmp_path / "run.pt", tmp_path / "bad.pt", random.Random(0)
    fit(small(), DATA, LABELS, steps=4, batch=8, checkpoint=path, seed=0)
    whole = path.read_bytes()
    places = [dice.randrange(8 * len(whole)) for _ in range(200)] + [8 * len(whole) - 1 - k for k in range(8 * 30)]
    for place in places:
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        bad.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"bad\.pt is damaged, or no checkpoint"):
            load(bad)
    with pytest.raises(ValueError, match=r"bad\.pt is damaged, or no checkpoint"):
        fit(small(), DATA, LABELS, steps=4, batch=8, checkpoint=bad, seed=0)


def test_a_disk_that_is_full_keeps_the_old_file(tmp_path):
    """D2: as a file of limited size. The error names the file, and what was there still loads."""
    path = tmp_path / "m.pt"
    save(small(), path)
    whole, (_, most) = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, most))
    try:
        with pytest.raises(OSError, match=r"m\.pt is not written, what was there is unchanged; free some space"):
            save(small(), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert path.read_bytes() == whole and [file.name for file in tmp_path.iterdir()] == ["m.pt"]


KILLED = """
import os, signal, sys, pathlib
from sdekit.files import replacing
with replacing(pathlib.Path(sys.argv[1])) as part:
    part.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_cleared(tmp_path):
    """D3: by the next write of the file; parts of processes that run, and of other files, stay."""
    path, root = tmp_path / "m.pt", Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=root).returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".m.pt.*.part"))) == 1
    keep = [tmp_path / ".m.pt.1.part", tmp_path / ".n.pt.999999999.part"]
    for part in keep:
        part.write_text("another's")
    save(small(), path)
    assert sorted(tmp_path.iterdir()) == sorted([path, *keep])


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("name", "value"),
    [("width", 10**6), ("width", 60_000), ("depth", 10**9), ("shape", [10**9]), ("shape", "deep"), ("classes", -1),
     ("classes", 2**60), ("width", "16"), ("width", None), ("waves", 1.5), ("depth", [3])],
)  # fmt: skip
def test_impossible_descriptions_are_refused(tmp_path, name, value, monkeypatch):
    """D5: sizes that no memory holds, and lists that nest deeper than Python follows them."""
    path = tmp_path / "m.pt"
    save(small(), path)
    content = torch.load(path, weights_only=True)
    content["config"]["arguments"]["net"]["arguments"][name] = nested(20_000) if value == "deep" else value
    monkeypatch.setattr(checkpoints, "read", lambda path: content)  # what pickle cannot write others can
    for model in (None, small()):
        with pytest.raises(ValueError, match=r"m\.pt"):
            load(path, model)


def test_a_seed_that_is_not_given_is_drawn_and_kept(tmp_path):
    """Other ones in each run; a run that goes on from its checkpoint goes on with that one."""
    path = tmp_path / "run.pt"
    first = fit(small(), DATA, LABELS, steps=4, batch=8, checkpoint=path)
    again, other = small(), fit(small(), DATA, LABELS, steps=4, batch=8)
    assert fit(again, DATA, LABELS, steps=4, batch=8, checkpoint=path).seed == first.seed != other.seed
    assert fit(small(), DATA, LABELS, steps=4, batch=8, checkpoint=path, seed=first.seed).seed == first.seed
    repeated = small()
    assert torch.equal(fit(repeated, DATA, LABELS, steps=4, batch=8, seed=first.seed).losses, first.losses)
    assert equal(repeated, again)
    with pytest.raises(ValueError, match=f"holds a run with seed = {first.seed}"):
        fit(small(), DATA, LABELS, steps=4, batch=8, checkpoint=path, seed=1)
    x = [again.sample(4, steps=2) for _ in range(2)]
    assert not torch.equal(*x)
