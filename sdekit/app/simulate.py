"""`python -m sdekit simulate`: statistics of any number of paths, or paths in a file and a picture of them."""

import json
import math
import sys
import warnings
from pathlib import Path

import numpy as np

from .. import __version__, methods
from ..drawing import formats
from ..ensembles import ensemble
from ..files import replacing
from . import figures, texts
from .tables import as_json, table

__all__ = ["add"]

DESCRIPTION = """\
Simulate a process: statistics of any number of paths, on any executor, in a store if need be.

  python -m sdekit simulate OU --theta 2 --x0 1 --ts 0,0.5,1 --h 1e-3 --paths 1e8 \\
      --statistics moments,quantiles:0.05:0.5:0.95 --store run.zarr --executor processes

The same command on the same store goes on where it has ended. --out writes the paths to a .npz file:
t (times,), x (times, paths) or (times, paths, components), failed (paths,), settings (a JSON text)."""


def add(commands, process):
    """The command; `process` is the text behind it, whose parameters become options."""
    command = texts.command(commands, "simulate", "statistics of the paths of a process, or the paths", DESCRIPTION)
    add = command.add_argument
    add("--ts", metavar="T,T…", help="output times, or FROM:TO:COUNT (11 over the times of the process, or over 0 … 1)")
    add("--h", type=float, metavar="DT", help="bound on the step size; this, --grid or --tol says how to step")
    add("--grid", metavar="T,T…", help="the times of the steps, or FROM:TO:COUNT")
    add("--tol", type=float, help="tolerance of adaptive steps")
    add("--method", metavar="NAME", help="see `methods`")
    add("--paths", type=texts.whole, default=1000, metavar="N", help="number of paths, 1e9 say (%(default)s)")
    add("--first-path", type=texts.whole, default=0, metavar="N", help="index of the first, a multiple of 4,096")
    add("--seed", type=int, metavar="N", help="a path depends on it and on its index (a new one, or the store's)")
    add("--dtype", choices=("float64", "float32"), default="float64", help="of the states (%(default)s)")
    add("--statistics", default="moments", metavar="NAME[,NAME…]",
        help="moments, covariance, comoments, extremes, quantiles:LEVEL[:LEVEL…], histogram:FROM:TO:BINS, "
        "module:object or file.py:object (%(default)s)")  # fmt: skip
    add("--store", metavar="URL", help="a folder, or a URL of fsspec, that keeps what is finished")
    add("--keep-paths", action="store_true", help="keep the paths in the store too")
    add("--block", type=texts.whole, metavar="N", help="paths of a block, a multiple of 4,096")
    add("--executor", metavar="KIND", help="threads[:N], processes[:N], dask:ADDRESS, mpi; else all CPUs here")
    add("--json", action="store_true", help="print the result as JSON")
    add("--progress", action="store_true", help="show a progress bar")
    add("--out", type=Path, metavar="FILE.npz", help="where the paths go")
    add("--plot", type=Path, metavar="FILE.png", help="draw paths, mean and standard deviation (.png, .pdf, .svg)")
    add("--force", action="store_true", help="replace files that exist")
    texts.add_process(command, process)
    command.set_defaults(run=simulate)


def simulate(arguments):
    """Make the ensemble, print what was found, write what was asked for."""
    check_files(arguments)
    process = texts.made(arguments)
    x0 = texts.start(arguments, process).astype(arguments.dtype)
    files = arguments.out or arguments.plot
    with texts.executor(arguments.executor) as executor, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = ensemble(
            process,
            x0,
            times(arguments, process),
            None if arguments.method is None else texts.choose("method", arguments.method, methods),
            h=arguments.h,
            grid=None if arguments.grid is None else texts.numbers("grid", arguments.grid),
            tol=arguments.tol,
            paths=arguments.paths,
            seed=arguments.seed,
            first_path=arguments.first_path,
            statistics=texts.statistics(arguments.statistics),
            keep_paths=arguments.keep_paths or bool(files),
            store=arguments.store,
            block=arguments.block,
            executor=executor,
            progress=arguments.progress,
        )
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    found = facts(arguments, process, x0, result)
    names = state_names(process, x0)
    print(json.dumps(found | as_json(result)) if arguments.json else table(found, result, names))
    if files:
        write(arguments, result, found, process, names)


def times(arguments, process):
    """The output times: as given, or eleven over the domain of the process."""
    if arguments.ts is not None:
        return texts.numbers("ts", arguments.ts)
    if arguments.grid is not None:
        return None
    low, high = getattr(process, "domain", (-math.inf, math.inf))
    first = low if math.isfinite(low) else 0.0
    return np.linspace(first, high if math.isfinite(high) else first + 1.0, 11)


def facts(arguments, process, x0, result):
    """What made the result, for its reader and for JSON."""
    parameters = {name: getattr(process, name) for name in texts.settable(process)}
    counts = {"paths": result.paths, "first_path": result.first_path, "failed": result.failed, "seed": result.seed}
    named = {"process": arguments.process, "parameters": parameters, "x0": x0.tolist(), "t": result.t.tolist()}
    how = {name: text for name, text in result.how.items() if name != "process"}
    return {**named, **how, **counts, "dtype": arguments.dtype, "store": arguments.store, "version": __version__}


def state_names(process, x0):
    """The names of the components, those of the state arguments of the drift where it has one for each."""
    code = getattr(getattr(process.drift, "__func__", process.drift), "__code__", None)
    names = code.co_varnames[2 : code.co_argcount] if code else ()
    return list(names) if len(names) == x0.size else [f"x{i}" for i in range(x0.size)] if x0.ndim else ["x"]


def check_files(arguments):
    """Raise before any work is done where a file cannot be written."""
    for file in filter(None, (arguments.out, arguments.plot)):
        if not file.parent.is_dir():
            raise ValueError(f"{file}: there is no folder {file.parent}")
        if file.is_dir() or (file.exists() and not arguments.force):
            raise ValueError(f"{file} exists already; give another name, or --force to replace it")
    if arguments.plot and arguments.plot.suffix[1:].lower() not in (known := formats()):
        raise ValueError(f"{arguments.plot} must end in one of {', '.join('.' + k for k in known)}")
    if arguments.out and arguments.plot and arguments.plot.resolve() == arguments.out.resolve():
        raise ValueError("--out and --plot name the same file")
    if arguments.keep_paths and not arguments.store:
        raise ValueError("--keep-paths keeps them in a store: give --store, or --out FILE.npz")


def write(arguments, result, found, process, names):
    """The `.npz` file, whole or not at all, and the picture, with the closed form where there is one."""
    x = result.x if arguments.store is None else result.x[...].swapaxes(0, 1)
    if arguments.out:
        failed = ~np.isfinite(x[-1]).reshape(result.paths, -1).all(1)
        with replacing(arguments.out) as part, part.open("xb") as file:
            np.savez(file, t=result.t, x=x, failed=failed, settings=np.array(json.dumps(found, indent=1)))
        print(f"{arguments.out}: x {x.shape} {x.dtype}", file=sys.stderr)
    if arguments.plot:
        t, exact = result.t, None
        if x.ndim == 2 and hasattr(process, "transition") and t[-1] > t[0]:
            laws = [process.transition(t[0], float(time), found["x0"]) for time in t]
            exact = np.array([(law.mean, law.std) for law in laws], np.float64).T
        given = ", ".join(f"{k}={v:g}" for k, v in found["parameters"].items())
        title = f"{arguments.process}({given}): {found['method']}, {result.paths:,} paths"
        figures.paths(arguments.plot, t, x[..., None] if x.ndim == 2 else x, title, names, exact)
        print(f"{arguments.plot}: drawn", file=sys.stderr)
