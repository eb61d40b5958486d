"""`python -m sdekit simulate`: a process from the command line into a file of paths, and a picture of them."""

import argparse
import dataclasses
import json
import math
import sys
import warnings
from pathlib import Path

import numpy as np

from .. import __version__, backends, methods, processes
from ..drawing import formats
from ..files import replacing
from ..solve import solve
from . import figures

__all__ = ["add"]

EPILOG = """\
NAME=VALUE set the process's parameters; those left out keep their defaults. Example:

  python -m sdekit simulate OU theta=1 mu=0 sigma=0.3 --x0 1 --until 1 --h 1e-3 \\
      --paths 10000 --seed 0 --method euler_maruyama --times 101 --out ou.npz --plot ou.png

The file holds t (times,), x (times, paths) or (times, paths, components), failed (paths,), and
settings, a JSON text:

  file = numpy.load("ou.npz");  json.loads(str(file["settings"]))

Processes and their parameters:
"""


KEPT = "process", "times", "h", "paths", "seed", "method", "dtype"  # arguments that decide a simulation


def add(commands):
    command = commands.add_parser(
        "simulate",
        help="simulate a process and write the paths to a .npz file, and a plot",
        description="Simulate a process and write the paths to a .npz file, and a plot.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG + "\n".join(f"  {line}" for line in map(describe, processes.__all__)),
    )
    command.add_argument("process", help="name of a process, listed below")
    command.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="its parameters")
    add = command.add_argument
    add("--x0", metavar="X[,X…]", help="start, one value per component; --x0=-1,0 if it begins with a minus")
    add("--start", type=float, metavar="T", help="first time (0, or where the process's times begin)")
    add("--until", type=float, metavar="T", help="last time (where the process's times end, or start + 1)")
    add("--h", type=float, metavar="DT", help="step size (a thousandth of the time)")
    add("--times", type=int, default=101, metavar="N", help="output times, equally spaced (%(default)s)")
    add("--paths", type=int, default=1000, metavar="N", help="number of paths (%(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="a path depends on it and on its index (%(default)s)")
    add("--method", default="euler_maruyama", metavar="NAME", help="see `methods` (%(default)s)")
    add("--dtype", choices=("float64", "float32"), default="float64", help="of the states (%(default)s)")
    add("--threads", type=int, metavar="N", help="threads to use (all CPUs); never changes a path")
    add("--out", type=Path, required=True, metavar="FILE.npz", help="where the paths go")
    add("--plot", type=Path, metavar="FILE.png", help="draw paths, mean and standard deviation (.png, .pdf, .svg)")
    add("--force", action="store_true", help="replace files that exist")
    add("--progress", action="store_true", help="show a progress bar")
    command.set_defaults(run=simulate)


def describe(name):
    """A process with its parameters and defaults; those that are not numbers cannot be given."""
    cls = getattr(processes, name)
    given = (f"{k}={v:.6g}" for k, v in defaults(cls).items() if isinstance(v, (int, float)))
    return " ".join([name, *given])


def simulate(arguments):
    """Solve, write the file and the plot."""
    process = make_process(arguments.process, arguments.parameters)
    method = choose("method", arguments.method, methods)
    settings = settle(arguments, process)
    check_files(arguments)
    x0 = np.array(settings.x0, settings.dtype)
    ts = np.linspace(settings.start, settings.until, settings.times)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        solution = solve(
            process,
            x0 if isinstance(process.x0, tuple) else x0[0],
            ts,
            method,
            h=settings.h,
            paths=settings.paths,
            seed=settings.seed,
            backend=None if arguments.threads is None else backends.numba(arguments.threads),
            progress=arguments.progress,
        )
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    write(arguments.out, solution, settings)
    print(f"{arguments.out}: x {solution.x.shape} {solution.x.dtype}, {solution.steps:,} steps")
    if arguments.plot:
        draw(arguments.plot, solution, settings, process)
        print(f"{arguments.plot}: drawn")


def defaults(cls):
    """The parameters of a process with their defaults."""
    return {field.name: field.default for field in dataclasses.fields(cls)}


def make_process(name, parameters):
    """The process `name` with parameters from texts `name=value`."""
    cls = choose("process", name, processes)
    values = {}
    for text in parameters:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"{text!r} is no parameter; write NAME=VALUE, such as {describe(name)}")
        if key not in defaults(cls):
            raise ValueError(f"{name} has no parameter {key!r}; it has {', '.join(defaults(cls))}")
        if not isinstance(defaults(cls)[key], (int, float)):
            raise ValueError(f"{key} of {name} is not a number and cannot be given here; use it from Python")
        if key in values:
            raise ValueError(f"parameter {key} is given twice")
        values[key] = real(key, value)
    return cls(**values)


def choose(what, name, module):
    """The object `name` of a module that lists what it offers."""
    if name not in module.__all__:
        raise ValueError(f"unknown {what} {name!r}; there are {', '.join(module.__all__)}")
    return getattr(module, name)


def real(name, text):
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, got {text!r}") from None


def settle(arguments, process):
    """All that decides a simulation, with what was left out filled in from the process; kept in the file."""
    components = process.x0 if isinstance(process.x0, tuple) else (process.x0,)
    x0 = list(components)
    if arguments.x0 is not None:
        x0 = [real("--x0", part) for part in arguments.x0.split(",")]
    if len(x0) != len(components):
        raise ValueError(
            f"--x0 must hold one value per component of {arguments.process}: {len(components)}, not {len(x0)}"
        )
    low, high = process.domain
    start = arguments.start if arguments.start is not None else low if math.isfinite(low) else 0.0
    end = high if math.isfinite(high) else start + 1.0
    until = arguments.until if arguments.until is not None else end
    if arguments.times < 2:
        raise ValueError(f"--times must be at least 2, the first and the last one; got {arguments.times}")
    if not (math.isfinite(start) and math.isfinite(until)) or start == until:
        raise ValueError(f"--start and --until must be two finite times, got {start} and {until}")
    h = abs(until - start) / 1000 if arguments.h is None else arguments.h
    parameters = {k: v for k, v in vars(process).items() if isinstance(v, (int, float))}
    filled = {"parameters": parameters, "x0": x0, "start": start, "until": until, "h": h, "version": __version__}
    return argparse.Namespace(**{name: getattr(arguments, name) for name in KEPT} | filled)


def check_files(arguments):
    """Raise before any work is done where a file cannot be written."""
    for file in filter(None, (arguments.out, arguments.plot)):
        if not file.parent.is_dir():
            raise ValueError(f"{file}: there is no folder {file.parent}")
        if file.is_dir() or (file.exists() and not arguments.force):
            raise ValueError(f"{file} exists already; give another name, or --force to replace it")
    if arguments.plot and arguments.plot.suffix[1:].lower() not in (known := formats()):
        raise ValueError(f"{arguments.plot} must end in one of {', '.join('.' + k for k in known)}")
    if arguments.plot and arguments.plot.resolve() == arguments.out.resolve():
        raise ValueError("--out and --plot name the same file")


def write(path, solution, settings):
    """The `.npz` file, whole or not at all."""
    text = json.dumps(vars(settings), indent=1)
    with replacing(path) as part, part.open("xb") as file:
        np.savez(file, t=solution.t, x=solution.x, failed=solution.failed, settings=np.array(text))


def draw(path, solution, settings, process):
    """The plot; with the closed form where the process has one and time runs forward."""
    scalar = not isinstance(process.x0, tuple)
    exact = None
    if scalar and hasattr(process, "transition") and settings.until > settings.start:
        laws = [process.transition(settings.start, float(t), settings.x0[0]) for t in solution.t]
        exact = np.array([(law.mean, law.std) for law in laws], np.float64).T
    given = ", ".join(f"{k}={v:g}" for k, v in settings.parameters.items())
    steps = f"{settings.method}, {solution.steps:,} steps, {settings.paths:,} paths"
    names = ["x"] if scalar else state_names(process)
    x = solution.x[..., None] if scalar else solution.x
    figures.paths(path, solution.t, x, f"{settings.process}({given}): {steps}", names, exact)


def state_names(process):
    """The names of the state arguments of the drift."""
    code = type(process).drift.__code__
    return code.co_varnames[2 : code.co_argcount]
