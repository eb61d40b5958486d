"""The command line at tiny sizes: what it writes, what it keeps, what it says about mistakes."""

import numpy as np
import pytest
from backends import needs

needs("torch", "zuko", "sklearn", "ot", "matplotlib", "tqdm")

import torch  # noqa: E402
from commands import explains, names  # noqa: E402

from benchmarks import families  # noqa: E402
from generative import __main__ as cli  # noqa: E402
from generative import load, save  # noqa: E402
from generative.training import cosine, fit  # noqa: E402

TRAIN = ["train", "diffusion", "two_moons", "--out", "run.pt", "--steps", "20", "--batch", "32"]


def fails(capsys, arguments, *words):
    explains(cli.main, capsys, arguments, *words)


def training(path):
    return torch.load(path, weights_only=True)["training"]


def test_train_then_sample(here, capsys):
    assert cli.main(TRAIN) == 0
    assert names(here) == ["run.pt"] and "20 steps" in capsys.readouterr().out
    settings = training("run.pt")["settings"]
    assert (settings["steps"], settings["batch"], settings["lr"], settings["seed"]) == (20, 32, 2e-3, 0)

    draw = ["sample", "run.pt", "-n", "50", "--method", "heun", "--steps", "4", "--seed", "3", "--out", "a.npz"]
    assert cli.main(draw) == 0 and "x (50, 2)" in capsys.readouterr().out
    x = np.load("a.npz")["x"]
    expected = load("run.pt").sample(50, seed=3, method=cli.sk.heun, steps=4)
    np.testing.assert_array_equal(x, expected)
    fails(capsys, draw, "a.npz exists", "--force")
    assert cli.main([*draw, "--force"]) == 0
    np.testing.assert_array_equal(np.load("a.npz")["x"], x)
    assert names(here) == ["a.npz", "run.pt"]


def test_a_finished_training_stays_and_an_interrupted_one_continues(here, capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        return fit(*args, **{**kwargs, "every": 5, "schedule": stop})

    def stop(progress):
        if progress > 0.6:
            raise KeyboardInterrupt
        return cosine(progress)

    assert cli.main(TRAIN) == 0
    losses, model = training("run.pt")["losses"], (here / "run.pt").read_bytes()
    assert cli.main(TRAIN) == 0
    fails(capsys, [*TRAIN, "--seed", "1"], "run.pt holds a run with seed = 0")
    assert (here / "run.pt").read_bytes() == model
    with monkeypatch.context() as patch:
        patch.setattr(cli, "fit", interrupted)
        assert cli.main([*TRAIN, "--force"]) == 130
    assert len(training("run.pt")["losses"]) == 10
    fails(capsys, [*TRAIN, "--seed", "1"], "run.pt holds a run with seed = 0")
    assert cli.main(TRAIN) == 0
    assert torch.equal(training("run.pt")["losses"], losses)


def test_a_file_that_is_no_training_is_kept(here, capsys):
    (here / "run.pt").write_bytes(b"precious")
    fails(capsys, TRAIN, "run.pt", "no checkpoint")
    assert (here / "run.pt").read_bytes() == b"precious" and names(here) == ["run.pt"]


def test_data_of_a_file_have_labels(here, capsys):
    images = np.random.default_rng(0).standard_normal((40, 1, 8, 8)).astype(np.float32)
    np.savez("data.npz", x=images, labels=np.arange(40) % 3)
    train = ["train", "flow-matching", "data.npz", "--out", "run.pt", "--steps", "2", "--batch", "8"]
    assert cli.main(train) == 0
    draw = ["sample", "run.pt", "-n", "12", "--steps", "1", "--out", "a.npz"]
    assert cli.main([*draw, "--label", "2", "--guidance", "2"]) == 0
    assert np.load("a.npz")["x"].shape == (12, 1, 8, 8)
    fails(capsys, [*draw, "--force", "--label", "3"], "labels c must be 0 … 2", "got 3")
    np.savez("other.npz", y=images)
    fails(capsys, ["train", "gmm", "other.npz", "--out", "b.pt"], "other.npz must hold an array x", "it holds y")


@pytest.mark.parametrize("model", cli.MODELS)
@pytest.mark.parametrize("shape", [(2,), (1, 8, 8)])
def test_each_model_takes_a_step(model, shape):
    made = cli.MODELS[model](shape, 10)
    if model != "gmm" and not (model == "cnf" and len(shape) > 1):
        assert torch.isfinite(made.loss(torch.randn(4, *shape)))


@pytest.mark.parametrize("family", families.FAMILIES)
@pytest.mark.parametrize("shape", [(2,), (1, 8, 8)])
def test_each_family_takes_a_step(family, shape):
    batch = {} if family == "gmm" else {"batch": 4}
    model, options = families.make(family, shape, 10, **batch)
    again, _ = families.make(family, shape, 10, **batch)
    assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))
    assert options.get("batch") == batch.get("batch")
    if family != "gmm" and not (family == "cnf" and len(shape) > 1):
        loss = model.loss(torch.randn(4, *shape))
        assert torch.isfinite(loss)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "vae", "moons"], ["two_moons", "digits", ".npz", "got moons"]),
        (["train", "vae", "none.npz"], ["none.npz"]),
        (["train", "vae", "rings", "--steps", "0"], ["steps", "0"]),
        (["train", "vae", "rings", "--seconds", "-1"], ["seconds", "-1"]),
        (["train", "diffusion", "rings", "--lr", "0"], ["lr must be a real number, above 0", "got 0"]),
        (["sample", "nothing.pt"], ["nothing.pt"]),
        (["sample", "foreign.pt"], ["foreign.pt"]),
        (["sample", "gmm.pt", "--steps", "3"], ["--steps", "GMM"]),
        (["sample", "gmm.pt", "--label", "3"], ["GMM", "no classes"]),
        (["sample", "diffusion.pt", "--label", "3"], ["MLP", "no classes"]),
        (["sample", "diffusion.pt", "-n", "0"], ["n must be", "0"]),
        (["sample", "diffusion.pt", "--method", "huen"], ["unknown method 'huen'", "heun"]),
    ],
)
def test_mistakes_are_named(arguments, words, here, capsys):
    save(families.make("gmm")[0], "gmm.pt")
    save(families.make("diffusion")[0], "diffusion.pt")
    (here / "foreign.pt").write_bytes(b"not a checkpoint")
    fails(capsys, [*arguments, "--out", "out.npz" if arguments[0] == "sample" else "out.pt"], *words)
    assert names(here) == ["diffusion.pt", "foreign.pt", "gmm.pt"]
