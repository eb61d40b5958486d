"""What the texts of a command line stand for: numbers, processes, statistics, executors, payoffs."""

import argparse
import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import inspect
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from .. import executors, processes, records, stats
from ..checks import integer

__all__ = [
    "add_process", "choose", "command", "executor", "made", "named", "numbers", "payoff", "settable", "start",
    "statistics", "whole",
]  # fmt: skip

MISSING = dataclasses.MISSING
MOST_BINS = 10**6
FREE = "moments", "covariance", "comoments", "extremes"  # statistics without arguments
STRUCK = {"call": lambda x, k: np.maximum(x - k, 0), "put": lambda x, k: np.maximum(k - x, 0), "digital": np.greater}
FLAGS = "-h", "--help", "--json", "--progress", "--keep-paths", "--force"  # options without a value
PLAIN = {"mean": lambda x: x, "second-moment": lambda x: x * x}


def named(argv, command):
    """The process that a command line names behind its command, if it does: the first text that is of no option."""
    rest = iter(argv[argv.index(command) + 1 :] if command in argv else ())
    for text in rest:
        if not text.startswith("-"):
            return text
        if "=" not in text and text not in FLAGS:
            next(rest, None)  # its value
    return None


def command(commands, name, about, description):
    """A command of that name, whose description keeps its lines."""
    lines = argparse.RawDescriptionHelpFormatter
    return commands.add_parser(name, help=about, description=description, formatter_class=lines, allow_abbrev=False)


def add_process(command, text):
    """The arguments `process`, `--x0` and, behind all others, one for each parameter of a process that is known."""
    command.add_argument("process", help="the name of a process, module:object or file.py:object; --help behind it")
    command.add_argument(
        "--x0", metavar="X[,X…]", help="start, one value per component; --x0=-1,0 if it begins with a minus"
    )
    if text is None:
        about = {name: inspect.getdoc(getattr(processes, name)).partition("\n")[0] for name in processes.__all__}
        command.epilog = "processes:\n" + "\n".join(f"  {name:12s}{line}" for name, line in about.items())
        return
    cls = loaded("process", text, processes)
    command.epilog = f"{text}: {inspect.getdoc(cls)}"
    group = command.add_argument_group(f"parameters of {text}")
    for name, default in settable(cls).items():
        shown = "must be given" if default is MISSING else f"{default:g}"
        try:
            group.add_argument(f"--{name}", dest=f"parameter {name}", metavar="VALUE", help=shown)
        except argparse.ArgumentError as error:
            raise ValueError(f"parameter {name} of {text} has the name of an option: {error}") from None


def settable(process):
    """{name: default} of the parameters of a process, or of a class of such, that are numbers."""
    if not isinstance(process, type):
        found = records.values(process)
    elif dataclasses.is_dataclass(process):
        found = {field.name: field.default for field in dataclasses.fields(process)}
    else:
        known = getattr(process, "_field_defaults", {})
        found = {name: known.get(name, MISSING) for name in records.fields(process) or ()}
    return {name: value for name, value in found.items() if value is MISSING or type(value) in (int, float)}


def made(arguments):
    """The process that parsed arguments name, with their parameters."""
    process, given = loaded("process", arguments.process, processes), {}
    for name in settable(process):
        if (text := getattr(arguments, f"parameter {name}", None)) is not None:
            values = numbers(name, text)
            given[name] = values if len(values) > 1 else float(values[0])
    if not isinstance(process, type):
        change = getattr(process, "_replace", None) or (lambda **new: dataclasses.replace(process, **new))
        return change(**given) if given else process
    if missing := [name for name, value in settable(process).items() if value is MISSING and name not in given]:
        raise ValueError(f"parameter {missing[0]} of {arguments.process} is missing: --{missing[0]} VALUE")
    return process(**given)


def start(arguments, process):
    """x0: as it is given, or the process's own."""
    own = getattr(process, "x0", None)
    if arguments.x0 is None and own is None:
        raise ValueError(f"x0 is missing: {arguments.process} has none of its own; --x0 X[,X…]")
    x0 = np.array(own, np.float64) if arguments.x0 is None else numbers("x0", arguments.x0)
    count = np.size(x0 if own is None else own)
    if np.size(x0) != count:
        raise ValueError(f"x0 must have one value per component of {arguments.process}: {count}, not {np.size(x0)}")
    return x0 if isinstance(own, tuple) or count > 1 else x0.reshape(())


def choose(what, name, module):
    """The object `name` of a module that lists what it offers."""
    if name not in module.__all__:
        raise ValueError(f"unknown {what} {name!r}; there are {', '.join(module.__all__)}")
    return getattr(module, name)


def loaded(what, text, module):
    """What a name of `module`, `module:object` or `file.py:object` stands for."""
    place, _, name = text.rpartition(":")
    if not place:
        return choose(what, text, module)
    try:
        source = _from_file(place) if place.endswith(".py") else importlib.import_module(place)
        return getattr(source, name)
    except Exception as error:  # whatever the module raises
        raise ValueError(f"{what} {text!r} cannot be loaded: {type(error).__name__}: {error}") from error


@functools.lru_cache(8)
def _from_file(path):
    """A module that stays unknown to others, so that what is made of it travels by value."""
    spec = importlib.util.spec_from_file_location(f"file {Path(path).stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there while it runs
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module


def numbers(name, text):
    """Numbers with commas, or FROM:TO:COUNT for equally spaced ones."""
    try:
        if ":" not in text:
            return np.array([float(part) for part in text.split(",")])
        first, last, count = text.split(":")
        return np.linspace(float(first), float(last), int(count))
    except ValueError:
        raise ValueError(f"{name} must be numbers such as 0,0.5,1 or FROM:TO:COUNT, got {text!r}") from None


def real(name, text):
    """One number."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, got {text!r}") from None


def whole(text):
    """A whole number, 1e9 too; what argparse asks for."""
    value = float(text)
    if not value.is_integer():
        raise ValueError(text)
    return int(value) if set(text) & set(".eE") else int(text)


def statistics(text):
    """The statistics of a text such as moments,quantiles:0.05:0.95,histogram:-1:1:20."""
    return [_statistic(*part.partition(":")) for part in text.split(",")]


def _statistic(name, colon, rest):
    if name in FREE and not rest:
        return getattr(stats, name)
    if name == "quantiles":
        return stats.quantiles([real("quantiles", level) for level in rest.split(":")])
    if name == "histogram" and rest.count(":") == 2:
        low, high, bins = rest.split(":")
        return stats.histogram(np.linspace(real("histogram", low), real("histogram", high), _bins(bins) + 1))
    if rest and name not in (*FREE, "histogram"):
        return loaded("statistic", f"{name}:{rest}", stats)
    raise ValueError(
        f"statistics must be {', '.join(FREE)}, quantiles:LEVEL[:LEVEL…], histogram:FROM:TO:BINS, module:object or "
        f"file.py:object, with commas between them; got {name + colon + rest!r}"
    )


def _bins(text):
    try:
        return integer("histogram bins", whole(text), 1, MOST_BINS)
    except ValueError:
        raise ValueError(f"histogram bins must be an integer from 1 to {MOST_BINS}, got {text!r}") from None


@contextlib.contextmanager
def executor(text):
    """The executor that a text names, which is shut down behind it."""
    kind, _, rest = (text or "").partition(":")
    with contextlib.ExitStack() as stack:
        if text is None:
            yield None
        elif kind in ("threads", "processes"):
            count = int(rest) if rest.isdigit() and int(rest) else None
            if rest and count is None:
                raise ValueError(f"executor: the number of {kind} must be an integer >= 1, got {rest!r}")
            yield stack.enter_context(ThreadPoolExecutor(count) if kind == "threads" else executors.processes(count))
        elif kind == "dask" and rest:
            from distributed import Client

            yield stack.enter_context(Client(rest)).get_executor()
        elif text == "mpi":
            from mpi4py import MPI
            from mpi4py.futures import MPIPoolExecutor

            if MPI.COMM_WORLD.Get_size() < 2 and "MPI4PY_FUTURES_MAX_WORKERS" not in os.environ:
                raise ValueError(
                    "executor mpi needs ranks: mpiexec -n 3 python -m mpi4py.futures -m sdekit … --executor mpi"
                )
            yield stack.enter_context(MPIPoolExecutor())
        else:
            raise ValueError(f"executor must be threads[:N], processes[:N], dask:ADDRESS or mpi, got {text!r}")


def payoff(text):
    """A function of states at the end, of their first component where they have several."""
    name, _, rest = text.partition(":")
    if name in STRUCK and rest:
        strike = real("payoff", rest)
        return lambda x: STRUCK[name](_price(x), strike)
    if text in PLAIN:
        return lambda x: PLAIN[text](_price(x))
    if rest and name not in STRUCK:
        return loaded("payoff", text, stats)
    known = ", ".join([*(f"{name}:STRIKE" for name in STRUCK), *PLAIN])
    raise ValueError(f"payoff must be one of {known}, or module:function or file.py:function, got {text!r}")


def _price(x):
    return x if x.ndim == 1 else x[:, 0]
