"""`ensemble`: statistics of any number of paths, and the paths themselves where they are kept."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any

from .. import arguments, machine
from ..checks import named, shown
from ..control import Tolerance
from ..events import Barrier, Event
from ..methods import Method
from ..protocols import A, Backend, Executor, Numbers, Process, Times
from ..stats.counts import tally
from ..stats.part import Statistic, part
from .plan import pivot, planned
from .result import Ensemble, State, concluded
from .stores import opened, worded
from .stream import answers, options
from .work import Job

__all__ = ["ensemble"]


@named
def ensemble(
    process: Process,
    x0: A | Numbers,
    ts: Times | None = None,
    method: Method | None = None,
    *,
    h: float | None = None,
    grid: Times | None = None,
    tol: float | Tolerance | None = None,
    events: Sequence[Event | Barrier] = (),
    paths: int | None = None,
    seed: int | None = None,
    first_path: int = 0,
    backend: Backend | None = None,
    statistics: Sequence[Any] = (),
    keep_paths: bool = False,
    store: Any = None,
    block: int | None = None,
    executor: Executor | None = None,
    window: int | None = None,
    progress: bool = False,
) -> Ensemble:
    """Statistics of the paths of `solve`, any number of them: an `Ensemble`.

    Arguments are those of `solve` and of `stream`, and

    statistics  of `sdekit.stats`; without any the paths are kept
    keep_paths  keep the paths with the statistics
    store       a path or an fsspec URL (Zarr version 3, which xarray opens) that keeps finished blocks. The same call
                goes on where a run on it has ended, however that was, and returns the same bits; other arguments raise
                a ValueError that names the difference. seed and block are those of the store where they are not given.
                On a disk a second run at the same time is refused.

    Results are the same to the bit for any executor, number of workers, order of completion, block and restart:
    floating sums are taken over leaves of 4,096 paths and added exactly, all else is integers. For tensors that holds
    where block and device are the same. `merge` makes one of several ranges of paths.
    """
    statistics, events = _checked(statistics, keep_paths), arguments.events(events)
    keep, given = keep_paths or not statistics, options(ts, method, h, grid, tol, events, seed, backend)
    run = (tally(len(events)), *statistics)
    with opened(store) as kept, warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".* paths became non-finite", RuntimeWarning)  # one word at the end
        given["seed"], block = (kept.seed if seed is None else seed), kept.block if block is None else block
        threads = 1 if executor is not None else None
        plan = planned(process, x0, paths, first_path, block, threads, given)
        like, words = part(plan.like, pivot(plan)), worded(plan, run, keep)
        done, totals = kept.begin(plan, words, run, keep)
        job = Job(plan.options, run, keep, like.pivot, threads or machine.cpus())
        totals = _totals(answers(plan, job, executor, window, progress, done), kept, run, totals)
    found = concluded(State(run, totals, like, words), plan.paths, first_path, kept.x)
    _warn(found.failed)
    return found


def _totals(found, kept, run, totals):
    """The totals of all blocks, each of which is committed."""
    with contextlib.closing(found):
        for index, (sol, parts) in found:
            for states in parts:
                totals = [s.combine(total, state) for s, total, state in zip(run, totals, states)]
            kept.commit(index, sol, totals)
    return totals


def _checked(statistics, keep_paths):
    """The statistics as a tuple, each with a name of its own."""
    if not isinstance(statistics, (tuple, list)) or not all(hasattr(s, "collect") for s in statistics):
        raise ValueError(f"statistics must be a list of those of sdekit.stats, got {shown(statistics)}")
    if any(isinstance(s, type) for s in statistics):
        raise ValueError("statistics: histogram and quantiles take edges and levels: sdekit.stats.quantiles([0.5])")
    for s in statistics:
        if isinstance(s, Statistic) and not all(map(callable, s[1:])):
            raise ValueError(f"statistics: init, add, merge and finish of {shown(s.name)} must be functions")
    names = [s.name for s in statistics]
    for name in names:
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"statistics: a name is that of an attribute of the result, got {shown(name)}")
        if names.count(name) > 1 or name in Ensemble.__dataclass_fields__ or hasattr(Ensemble, name):
            raise ValueError(f"statistics: the name {name!r} is taken; give each one of its own")
    if type(keep_paths) is not bool:
        raise ValueError(f"keep_paths must be True or False, got {keep_paths!r}")
    return tuple(statistics)


def _warn(failed):
    if failed:
        text = f"{failed:,} paths became non-finite and count in no statistic from then on (Ensemble.failed)"
        warnings.warn(text, RuntimeWarning, stacklevel=4)
