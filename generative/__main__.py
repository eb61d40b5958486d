"""Command line: `python -m generative train | sample`; each has --help."""

import argparse
import inspect
import math
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch

import sdekit as sk

from . import CNF, GAN, GMM, MLP, VAE, WGAN, Diffusion, FlowMatching, RealNVP, UNet, digits, fit, load, sets

DRAWS = 200_000  # of a set in the plane, to train on


def net(shape, classes):
    """A U-Net for images, a perceptron for the rest."""
    return UNet(shape, classes=classes) if len(shape) == 3 else MLP(shape, classes=classes)


# name -> function (shape, classes) -> model; those that have classes take labels
LABELLED = {
    "diffusion": lambda *data: Diffusion(net(*data), sk.VP(), weighting="lognormal"),
    "flow-matching": lambda *data: FlowMatching(net(*data)),
    "cnf": lambda *data: CNF(net(*data)),
}
MODELS = LABELLED | {
    "gmm": lambda shape, _: GMM(shape=shape),
    "vae": lambda shape, _: VAE(shape),
    "flow": lambda shape, _: RealNVP(shape, spline=True),
    "gan": lambda shape, _: GAN(shape),
    "wgan": lambda shape, _: WGAN(shape),
}


def main(argv=None):
    """Run a command; returns the exit status: 0, 2 for arguments that make no sense, 130 for Ctrl-C."""
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (OSError, ValueError, FloatingPointError, ModuleNotFoundError) as error:
        print(f"python -m generative {arguments.command}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command, without --force, continues at the last checkpoint", file=sys.stderr)
        return 130
    return 0


def parser():
    """The parser of all commands; each sets `run`, a function of the parsed arguments."""
    top = argparse.ArgumentParser(prog="python -m generative", description="Train and sample generative models.")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    def command(name, run, text):
        added = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        added.set_defaults(run=run)
        added.add_argument("--seed", type=int, default=0, metavar="N", help="(%(default)s)")
        added.add_argument("--force", action="store_true", help="replace what exists")
        return added.add_argument

    add = command("train", train, "train a model into a checkpoint; the same command continues an interrupted training")
    add("model", choices=MODELS, metavar="MODEL", help=", ".join(MODELS))
    add(
        "data",
        metavar="DATA",
        help=f"{', '.join(sets)}, digits, or a file, .npy of x (N, …), .npz of x and labels",
    )
    add("--out", type=Path, required=True, metavar="MODEL.pt", help="the checkpoint")
    add("--seconds", type=float, metavar="S", help="of training (60, where --steps is left out too)")
    add("--steps", type=int, metavar="N", help="of training; with --seconds whichever is first")
    add("--batch", type=int, default=512, metavar="N", help="samples per step (%(default)s)")
    add("--lr", type=float, default=2e-3, metavar="X", help="peak learning rate (%(default)s)")

    add = command("sample", sample, "sample a trained model into a .npz file")
    add("model", type=Path, metavar="MODEL.pt", help="the checkpoint")
    add("-n", type=int, default=1000, metavar="N", help="number of samples (%(default)s)")
    add("--method", metavar="NAME", help="of sdekit, such as unipc or heun (the model's own)")
    add("--steps", type=int, metavar="N", help="of the method (the model's own)")
    add("--label", dest="c", type=int, metavar="C", help="class, for models with classes")
    add("--guidance", type=float, metavar="W", help="0 ignores the label, 1 follows it, more overstates it (1)")
    add("--out", type=Path, required=True, metavar="FILE.npz", help="gets x")
    return top


def train(a):
    data, labels = events(a.data, a.seed)
    labels = labels if a.model in LABELLED else None
    seconds = 60.0 if a.seconds is None and a.steps is None else a.seconds
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(a.seed)
        model = MODELS[a.model](tuple(data.shape[1:]), 0 if labels is None else int(labels.max()) + 1)
    if a.force:
        a.out.unlink(missing_ok=True)
    options = {"steps": a.steps, "seconds": seconds, "batch": a.batch, "lr": a.lr, "seed": a.seed}
    clip = math.inf if a.model in ("gan", "wgan") else 1.0
    record = fit(model, data, labels, clip=clip, checkpoint=a.out, progress=True, **options)
    print(f"{a.out}: {record.steps:,} steps in {record.seconds:.1f} s")


def events(name, seed):
    """(data, labels or None) of a data set by its name, or in a file."""
    if name in sets:
        return sets[name].sample(DRAWS, seed=(seed + 2**33) % 2**64), None  # not the seed of samples
    if name == "digits":
        return digits()[:2]
    if Path(name).suffix not in (".npy", ".npz"):
        raise ValueError(f"DATA must be {', '.join(sets)}, digits, or a file .npy or .npz, got {name}")
    try:
        file = np.load(name)
        arrays = {"x": file} if isinstance(file, np.ndarray) else dict(file)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{name} is no whole file of arrays of numbers: {error}") from None
    if "x" not in arrays:
        raise ValueError(f"{name} must hold an array x of shape (N, …), it holds {', '.join(arrays)}")
    for key in arrays.keys() & {"x", "labels"}:
        if arrays[key].dtype.kind not in "iuf":
            raise ValueError(f"{name} must hold real numbers as {key}, it holds {arrays[key].dtype}")
    return torch.as_tensor(arrays["x"]), torch.as_tensor(arrays["labels"]) if "labels" in arrays else None


def sample(a):
    if a.out.suffix != ".npz":
        raise ValueError(f"--out {a.out}: the name must end in .npz")
    if a.out.exists() and not a.force:
        raise ValueError(f"{a.out} exists already; give another name, or --force to replace it")
    model = load(a.model)
    options = {name: getattr(a, name) for name in ("c", "method", "steps", "guidance") if getattr(a, name) is not None}
    for name in options.keys() - inspect.signature(model.sample).parameters.keys():
        raise ValueError(f"--{name} means nothing to a {type(model).__name__}; leave it out")
    if a.method is not None:
        if a.method not in sk.methods.__all__:
            raise ValueError(f"unknown method {a.method!r}; there are {', '.join(sk.methods.__all__)}")
        options["method"] = getattr(sk, a.method)
    x = model.sample(a.n, seed=a.seed, **options).numpy()
    a.out.parent.mkdir(parents=True, exist_ok=True)
    with sk.files.replacing(a.out) as part, part.open("wb") as file:
        np.savez(file, x=x)
    print(f"{a.out}: x {x.shape} {x.dtype}, {model.nfe} network evaluations each")


if __name__ == "__main__":
    sys.exit(main())
