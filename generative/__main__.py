"""Command line: `python -m generative train | sample`; each has --help."""

import argparse
import ast
import contextlib
import inspect
import json
import sys
from pathlib import Path

import numpy as np

import sdekit as sk
from sdekit.app import figures
from sdekit.drawing import formats

from . import runs
from .checkpoints import load
from .families import FAMILIES, settings


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
        return added.add_argument

    add = command("train", train, "train a model into a folder; an interrupted training continues")
    add("family", choices=FAMILIES, metavar="FAMILY", help=", ".join(FAMILIES))
    add("data", choices=runs.DATA, metavar="DATA", help=", ".join(runs.DATA))
    add("--out", type=Path, required=True, metavar="FOLDER", help="gets config.json, model.pt, losses.npy, result.json")
    add("--seconds", type=float, metavar="S", help="of training (60, where --steps is left out too)")
    add("--steps", type=int, metavar="N", help="of training; with --seconds whichever is first")
    add("--seed", type=int, default=0, metavar="N", help="(%(default)s)")
    add("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of the family, such as batch and lr")
    add("--force", action="store_true", help="replace the training in the folder")

    add = command("sample", sample, "sample a trained model into a .npz file, and a picture")
    add("model", type=Path, metavar="MODEL.pt", help="checkpoint, or the folder that train made")
    add("-n", type=int, default=1000, metavar="N", help="number of samples (%(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="a sample depends on it and on its index (%(default)s)")
    add("--method", metavar="NAME", help="of sdekit, such as unipc or heun (the model's own)")
    add("--steps", type=int, metavar="N", help="of the method (the model's own)")
    add("--label", type=int, metavar="C", help="class, for models with classes")
    add("--guidance", type=float, metavar="W", help="0 ignores the label, 1 follows it, more overstates it (1)")
    add("--out", type=Path, required=True, metavar="FILE.npz", help="gets x and settings, a JSON text")
    add("--plot", type=Path, metavar="FILE.png", help="draw the samples")
    add("--force", action="store_true", help="replace files that exist")
    return top


def train(arguments):
    a = arguments
    seconds = 60.0 if a.seconds is None and a.steps is None else a.seconds
    given = read_settings(a.family, a.set)
    options = {"seconds": seconds, "steps": a.steps, "seed": a.seed, "force": a.force}
    _, result = runs.train(a.family, a.data, a.out, given, **options)
    print(f"{a.out}: {result['steps']:,} steps in {result['seconds']:.1f} s")


def read_settings(family, texts):
    """{name: value} of texts NAME=VALUE, checked against the family's."""
    known, found = settings(family), {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            have = ", ".join(f"{key}={default}" for key, default in known.items())
            raise ValueError(f"--set {text}: {family} has NAME=VALUE for {have}")
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(value)
        kind = (int, float) if known[name] is None or isinstance(known[name], float) else type(known[name])
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            like = "a number" if known[name] is None else known[name]
            raise ValueError(f"--set {name} must be like {like}, got {value}")
        found[name] = value
    return found


def sample(arguments):
    a = arguments
    for file in filter(None, (a.out, a.plot)):
        if file.exists() and not a.force:
            raise ValueError(f"{file} exists already; give another name, or --force to replace it")
    if a.out.suffix != ".npz":
        raise ValueError(f"--out {a.out}: the name must end in .npz")
    if a.plot and a.plot.suffix[1:] not in formats():
        raise ValueError(f"--plot {a.plot}: the name must end in one of {', '.join(formats())}")
    if a.n < 1:
        raise ValueError(f"-n must be at least 1, got {a.n}")
    model = load(a.model / runs.MODEL if a.model.is_dir() else a.model)
    given = {"c": a.label, "method": a.method, "steps": a.steps, "guidance": a.guidance}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given.keys() - inspect.signature(model.sample).parameters.keys():
        raise ValueError(f"--{name} means nothing to a {type(model).__name__}; leave it out")
    if a.method is not None and a.method not in sk.methods.__all__:
        raise ValueError(f"unknown method {a.method!r}; there are {', '.join(sk.methods.__all__)}")
    options = given | ({"method": getattr(sk, a.method)} if a.method else {})
    x = model.sample(a.n, seed=a.seed, **options).numpy()
    for file in filter(None, (a.out, a.plot)):
        file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"model": str(a.model), "n": a.n, "seed": a.seed, **given, "versions": runs.packages()}, indent=1)
    with sk.files.replacing(a.out) as part, part.open("wb") as file:
        np.savez(file, x=x, settings=np.array(text))
    print(f"{a.out}: x {x.shape} {x.dtype}, {model.nfe} network evaluations each")
    if a.plot:
        draw(a.plot, x, a.model.name if a.model.is_dir() else a.model.parent.name)
        print(f"{a.plot}: drawn")


def draw(path, x, title):
    """Images as they are, of other samples the density over their first two coordinates."""
    if x.ndim == 4:
        figures.digits(path, [(f"{title}: the first {len(x[:160])}", x[:160].reshape(len(x[:160]), -1))])
    else:
        box = float(np.ceil(np.abs(x).max()))
        counts = np.histogram2d(*x[:, :2].T, 100, ((-box, box),) * 2)[0]
        figures.densities(path, {title: counts}, box)


if __name__ == "__main__":
    sys.exit(main())
