"""`stream`: blocks of paths in order, made on any executor."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any

from .. import machine
from ..checks import integer, named, shown
from ..control import Tolerance
from ..events import Barrier, Event
from ..executors import renewing
from ..methods import Method
from ..protocols import A, Backend, Executor, Numbers, Process, Times
from ..solution import Solution
from ..solve import progress_bar
from .plan import planned
from .work import Job, submitter, work

__all__ = ["answers", "options", "results", "served", "stream"]

DEATHS = 3  # of workers, after which a block is given up


@named
def stream(
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
    block: int | None = None,
    executor: Executor | None = None,
    window: int | None = None,
    progress: bool = False,
) -> Iterator[Solution[A]]:
    """The paths of `solve` block by block: an iterator over a `Solution` of each block, in the order of the paths.

        for sol in sk.stream(sk.OU(), 0.0, [0, 1], h=0.01, paths=10**9, seed=0, executor=pool): ...

    Arguments are checked, and the first path is made, when it is called. Those of `solve` mean the same; of the others

    block     paths of a block, a multiple of 4,096, as is first_path; by default some 32 MB of states
    executor  any `concurrent.futures.Executor`: threads, processes (`sdekit.executors.processes(n)`), loky, Dask's
              client.get_executor(), mpi4py.futures.MPIPoolExecutor; by default blocks are made here, on all CPUs.
              Without a backend compiled code has one thread for a block there. What is sent to other processes is made
              into bytes with cloudpickle where that is installed
    window    blocks that are made and not yet taken, which bounds the memory: twice the workers where the executor
              tells their number
    progress  show a progress bar (tqdm)

    A path depends on the seed, its index and the steps alone, so that executor, block and window change no bit of it.
    A block that raises is made once more; then a RuntimeError has its index, the paths, and what is missing. Blocks of
    a dead worker are made again on Dask, loky and `sdekit.executors.processes`; other executors cannot go on.
    """
    given = options(ts, method, h, grid, tol, events, seed, backend)
    plan = planned(process, x0, paths, first_path, block, None if executor is None else 1, given)
    found = answers(plan, Job(plan.options, (), True, None, 1), executor, window, progress)
    return (sol for _, (sol, _) in found)


def options(ts, method, h, grid, tol, events, seed, backend):
    """The arguments of `solve` that all blocks have in common."""
    names = "ts", "method", "h", "grid", "tol", "events", "seed", "backend"
    return dict(zip(names, (ts, method, h, grid, tol, events, seed, backend)))


def answers(plan, job, executor, window, progress, done=0):
    """(index, (`Solution` or None, states)) of the blocks from `done` on: the iterator of `results`."""

    def call(index):
        process, x0, *rest = plan.rows(*plan.span(index))
        return {"process": process, "x0": x0}, rest

    def missing(index, why):
        low, high = (plan.first_path + row for row in plan.span(index))
        finished = f"blocks 0 to {index - 1} are finished" if index else "no block is finished"
        return (
            f"block {index}, paths {low:,} to {high - 1:,}, {why}; {finished}, {index} to {plan.blocks - 1} are "
            f"missing: the same call on the same store goes on there"
        )

    executor = served(executor)
    submit = submitter(executor, work, job, {**job.options, "statistics": job.statistics}, call)
    return results(executor, submit, range(done, plan.blocks), missing, window, progress)


def served(executor):
    """The executor, checked, renewing itself where it can."""
    if executor is not None and (isinstance(executor, type) or not callable(getattr(executor, "submit", None))):
        raise ValueError(f"executor must have the submit of a concurrent.futures.Executor, got {shown(executor)}")
    return renewing(executor)


def results(executor, submit, blocks, missing, window=None, progress=False):
    """(index, result) of the blocks in order, as an iterator that cancels what it leaves.

    submit   of an index: its future
    blocks   a range of indices
    missing  (index, why) -> what to say where there will be no result
    """
    window = 2 * _workers(executor) if window is None else integer("window", window, least=1)
    return _results(executor, submit, blocks, missing, 1 if executor is None else window, progress)


def _results(executor, submit, blocks, missing, window, progress):
    pending, ahead = collections.deque(), iter(blocks)
    try:
        with progress_bar(progress) as ticker:
            for index in blocks:
                pending.extend((i, submit(i)) for i in itertools.islice(ahead, window - len(pending)))
                future = pending.popleft()[1]
                yield index, _result(future, index, submit, pending, executor, missing)
                if ticker is not None:
                    ticker((index + 1) / blocks.stop)
    finally:
        for _, future in pending:
            future.cancel()


def _result(future, index, submit, pending, executor, missing):
    """What a block gives, which is made once more where it raises, and again where a worker has died."""
    raised = deaths = 0
    while True:
        try:
            return future.result()
        except BrokenExecutor as error:
            deaths += 1
            if deaths > DEATHS or not _renewed(executor):
                raise RuntimeError(missing(index, _why("was lost with a worker", error))) from error
            for i, (other, waiting) in enumerate(pending):
                if not waiting.done() or waiting.cancelled() or waiting.exception() is not None:
                    pending[i] = other, submit(other)
        except Exception as error:
            raised += 1
            if raised > 1:
                raise RuntimeError(missing(index, _why("raised twice", error))) from error
        future = submit(index)


def _why(what, error):
    return f"{what}: {type(error).__name__}: {' '.join(str(error).split())}"


def _renewed(executor):
    """Whether a pool whose worker has died was made anew."""
    if not callable(getattr(executor, "renew", None)):
        return False
    executor.renew()
    return True


def _workers(executor):
    """The workers of an executor, or the CPUs here."""
    for name in ("_max_workers", "num_workers"):
        if type(count := getattr(executor, name, None)) is int:
            return count
    client: Any = getattr(executor, "_client", None)  # of Dask
    return sum(client.nthreads().values()) if client is not None else machine.cpus()
