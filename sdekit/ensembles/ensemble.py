"""`ensemble`: statistics of any number of paths, and the paths themselves where they are kept."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import arguments, machine
from ..checks import shown
from ..control import Tolerance
from ..events import Barrier, Event
from ..methods import Method
from ..protocols import A, Backend, Executor, Numbers, Process, Times
from ..stats.counts import tally
from ..stats.part import part
from .plan import planned
from .stores import opened
from .stream import answers, options
from .work import Job

__all__ = ["Ensemble", "ensemble"]


@dataclass(frozen=True, repr=False, eq=False)
class Ensemble:
    """What `ensemble` returns; each statistic is an attribute of its name: `result.moments`.

    t        (times,) the saved times
    paths    their number, along the first path axis
    failed   paths that are not finite at the end
    stopped  for each event the paths that it has stopped
    seed     of the normals
    how      what made it, in words: process, method, steps, backend
    x        the paths where they were kept: (times, paths, …) of the type of x0, or the Zarr array (paths, times, …)
    results  {name of a statistic: result}
    """

    t: Any
    paths: int
    failed: int
    stopped: tuple[int, ...]
    seed: int
    how: dict[str, str]
    x: Any
    results: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        results = self.__dict__.get("results", {})
        if name in results:
            return results[name]
        raise AttributeError(f"the ensemble has no {name!r}; it has the statistics {', '.join(results) or '(none)'}")

    def __repr__(self):
        kept = "" if self.x is None else f"x {tuple(self.x.shape)}, "
        return (
            f"Ensemble({len(self.t)} times, {self.paths:,} paths, {self.failed:,} failed, {kept}"
            f"{''.join(f'{name}, ' for name in self.results)}seed {self.seed})"
        )


@arguments.named
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
    floating sums are taken over leaves of 4,096 paths and added in the order of the paths, all else is integers. For
    tensors that holds where block and device are the same.
    """
    statistics = _checked(statistics, keep_paths)
    keep, given = keep_paths or not statistics, options(ts, method, h, grid, tol, events, seed, backend)
    run = (tally(len(events)), *statistics)
    with opened(store) as kept, warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".* paths became non-finite", RuntimeWarning)  # one word at the end
        given["seed"], block = (kept.seed if seed is None else seed), kept.block if block is None else block
        threads = 1 if executor is not None else None
        plan = planned(process, x0, paths, first_path, block, threads, given)
        like = part(plan.like)
        done, totals = kept.begin(plan, run, keep)
        job = Job(plan.options, run, keep, like.pivot, threads or machine.cpus())
        totals = _merged(answers(plan, job, executor, window, progress, done), kept, run, totals)
    (failed, *stopped), *results = (s.conclude(total, like) for s, total in zip(run, totals))
    _warn(failed)
    named = {s.name: result for s, result in zip(statistics, results)}
    return Ensemble(
        plan.like.t, plan.paths, failed, tuple(stopped), plan.like.seed, plan.like.how, kept.x, named
    )  # fmt: skip


def _merged(found, kept, run, totals):
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
    names = [s.name for s in statistics]
    for name in names:
        if names.count(name) > 1 or name in Ensemble.__dataclass_fields__:
            raise ValueError(f"statistics: the name {name!r} is taken; give each one of its own")
    if type(keep_paths) is not bool:
        raise ValueError(f"keep_paths must be True or False, got {keep_paths!r}")
    return tuple(statistics)


def _warn(failed):
    if failed:
        text = f"{failed:,} paths became non-finite and count in no statistic from then on (Ensemble.failed)"
        warnings.warn(text, RuntimeWarning, stacklevel=4)
