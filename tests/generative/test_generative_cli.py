"""The command line at tiny sizes: what it writes, what it keeps, what it says about mistakes."""

import json

import numpy as np
import pytest

for _name in ("torch", "zuko", "sklearn", "ot", "matplotlib", "tqdm"):
    pytest.importorskip(_name)

import torch  # noqa: E402
from commands import PNG, explains, names  # noqa: E402

from generative import __main__ as cli  # noqa: E402
from generative import families, runs  # noqa: E402
from generative.training import cosine, fit  # noqa: E402

SMALL = ["--steps", "20", "--set", "width=16", "batch=32"]
TRAIN = ["train", "diffusion", "two_moons", "--out", "run", *SMALL]


def fails(capsys, arguments, *words):
    explains(cli.main, capsys, arguments, *words)


def test_train_then_sample(here, capsys):
    assert cli.main(TRAIN) == 0
    assert names(here / "run") == ["config.json", "losses.npy", "model.pt", "result.json"]
    config, result = (json.loads((here / "run" / f"{name}.json").read_text()) for name in ("config", "result"))
    assert (config["family"], config["data"], config["seed"], config["steps"]) == ("diffusion", "two_moons", 0, 20)
    assert config["settings"] == {"width": 16, "batch": 32} and (config["batch"], config["lr"]) == (32, 4e-3)
    assert config["model"]["arguments"]["net"]["arguments"]["width"] == 16 and "torch" in config["versions"]
    assert result["steps"] == 20 and np.load("run/losses.npy").shape == (20,)

    draw = ["sample", "run/model.pt", "-n", "50", "--method", "heun", "--steps", "4", "--seed", "3"]
    assert cli.main([*draw, "--out", "a.npz", "--plot", "a.png"]) == 0
    assert (here / "a.png").read_bytes().startswith(PNG) and "x (50, 2)" in capsys.readouterr().out
    with np.load("a.npz") as file:
        x, settings = file["x"], json.loads(str(file["settings"]))
    assert x.shape == (50, 2) and (settings["method"], settings["steps"], settings["seed"]) == ("heun", 4, 3)
    fails(capsys, [*draw, "--out", "a.npz"], "a.npz exists", "--force")
    assert cli.main([*draw, "--out", "a.npz", "--force"]) == 0
    np.testing.assert_array_equal(np.load("a.npz")["x"], x)
    assert names(here) == ["a.npz", "a.png", "run"]


def test_a_finished_training_stays_and_an_interrupted_one_continues(here, capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        return fit(*args, **{**kwargs, "every": 5, "schedule": stop})

    def stop(progress):
        if progress > 0.6:
            raise KeyboardInterrupt
        return cosine(progress)

    assert cli.main(TRAIN) == 0
    losses, model = np.load("run/losses.npy"), (here / "run" / "model.pt").read_bytes()
    assert cli.main(TRAIN) == 0
    fails(capsys, [*TRAIN, "--seed", "1"], "another seed", "--force")
    assert (here / "run" / "model.pt").read_bytes() == model
    with monkeypatch.context() as patch:
        patch.setattr(runs, "fit", interrupted)
        assert cli.main([*TRAIN, "--force"]) == 130
    assert names(here / "run") == ["config.json", "model.pt"]
    fails(capsys, [*TRAIN, "--seed", "1"], "another seed", "--force")
    assert cli.main(TRAIN) == 0
    np.testing.assert_array_equal(np.load("run/losses.npy"), losses)


def test_a_model_without_a_configuration_is_kept(here, capsys):
    (here / "run").mkdir()
    (here / "run" / "model.pt").write_bytes(b"precious")
    fails(capsys, TRAIN, "model.pt", "--force")
    assert (here / "run" / "model.pt").read_bytes() == b"precious" and names(here / "run") == ["model.pt"]


def test_digits_have_labels(here, capsys):
    train = ["train", "flow-matching", "digits", "--out", "run", "--steps", "2", "--set", "width=8", "batch=8"]
    assert cli.main(train) == 0
    draw = ["sample", "run", "-n", "12", "--steps", "1", "--out", "a.npz"]
    assert cli.main([*draw, "--label", "3", "--guidance", "2", "--plot", "a.png"]) == 0
    assert np.load("a.npz")["x"].shape == (12, 1, 8, 8) and (here / "a.png").read_bytes().startswith(PNG)
    fails(capsys, [*draw, "--force", "--label", "10"], "labels c must be 0 … 9", "got 10")


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
        (["train", "gmm", "rings", "--set", "width=3"], ["width=3", "components=8"]),
        (["train", "vae", "rings", "--set", "lr=fast"], ["lr", "fast"]),
        (["train", "flow", "rings", "--set", "spline=1"], ["spline", "True"]),
        (["train", "vae", "rings", "--set", "width=16.5"], ["width", "128", "16.5"]),
        (["train", "diffusion", "rings", "--set", "lr=0"], ["lr must be a real number, above 0", "got 0"]),
        (["train", "vae", "rings", "--steps", "0"], ["steps", "0"]),
        (["train", "vae", "rings", "--seconds", "-1"], ["seconds", "-1"]),
        (["sample", "nothing.pt"], ["nothing.pt"]),
        (["sample", "foreign.pt"], ["foreign.pt"]),
        (["sample", "gmm.pt", "--steps", "3"], ["--steps", "GMM"]),
        (["sample", "gmm.pt", "--label", "3"], ["GMM", "no classes"]),
        (["sample", "diffusion.pt", "--label", "3"], ["MLP", "no classes"]),
        (["sample", "gmm.pt", "-n", "0"], ["-n", "0"]),
        (["sample", "gmm.pt", "--plot", "a.docx"], ["a.docx", "png"]),
        (["train", "diffusion", "rings", "--set", "width=-3"], ["width must be an integer from 1", "got -3"]),
        (["sample", "diffusion.pt", "--method", "huen"], ["unknown method 'huen'", "heun"]),
    ],
)
def test_mistakes_are_named(arguments, words, here, capsys):
    from generative import GMM, save

    save(GMM(), "gmm.pt")
    save(families.make("diffusion")[0], "diffusion.pt")
    (here / "foreign.pt").write_bytes(b"not a checkpoint")
    fails(capsys, [*arguments, "--out", "out.npz" if arguments[0] == "sample" else "out"], *words)
    assert names(here) == ["diffusion.pt", "foreign.pt", "gmm.pt"]
