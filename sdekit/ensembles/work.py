"""One block: made where it was sent, and the bytes in which it travels."""

import dataclasses
import functools
import pickle
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from ..backends.guard import asked
from ..checks import shown
from ..solve import solve
from ..stats.part import LEAF, Statistic, part

__all__ = ["Job", "submitter", "work"]


class Job(NamedTuple):
    """What all blocks have in common.

    options     arguments of `solve`
    statistics  of `sdekit.stats`
    keep        whether the `Solution` is returned
    pivot       of sums
    threads     for statistics
    """

    options: dict[str, Any]
    statistics: tuple
    keep: bool
    pivot: Any
    threads: int


def work(job, process, x0, paths, first_path):
    """(the `Solution` of a block or None, for each of its parts the states of all statistics)."""
    sol = solve(process, x0, paths=paths, first_path=first_path, **job.options)
    if not job.statistics:
        return sol, []
    whole = part(sol, job.pivot)
    n = whole.x.shape[1]
    size = -(-n // (job.threads * LEAF)) * LEAF
    parts = [whole.rows(low, min(low + size, n)) for low in range(0, n, size)]

    def collect(part):
        return [_collected(statistic, part) for statistic in job.statistics]

    if len(parts) == 1:
        return sol if job.keep else None, [collect(whole)]
    with ThreadPoolExecutor(len(parts)) as pool:
        return sol if job.keep else None, list(pool.map(collect, parts))


def _collected(statistic, part):
    """The state of a part; a ValueError where one of a user's own changes the paths, which others see after it."""
    if not isinstance(statistic, Statistic):
        return statistic.collect(part)
    sol = part.sol

    def collect(x, failed, final):
        state = sol.state._replace(x=final)
        return statistic.collect(part._replace(sol=dataclasses.replace(sol, x=x, failed=failed, state=state)))

    return asked(f"statistic {statistic.name}", collect, sol.x, sol.failed, sol.state.x)


def remote(function, common, own, *rest):
    """function(common, *own, *rest) of two that come as bytes; those of the last blocks are kept, and their code.

    A worker warns nobody; paths that fail are in the answer.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return function(_unpacked(common), *_unpacked(own), *rest)


_unpacked = functools.lru_cache(8)(pickle.loads)


def submitter(executor, function, common, named, call):
    """A function that submits a block by its index, and returns its future: of function(common, *own, *rest).

    named  the parts of `common` by name, for an error that cannot send one
    call   of an index: (own, a dict of objects that may be the same in all blocks; rest, a tuple of numbers)
    """

    def called(index):
        own, rest = call(index)
        return function, common, *own.values(), *rest

    if executor is None:
        return lambda index: _at_once(*called(index))
    if isinstance(executor, ThreadPoolExecutor):
        return lambda index: _submitted(executor, *called(index))
    shared = packed(common, named)
    last: list = [None, None]  # what is a block's own, and its bytes, which are those of all blocks if nothing is cut

    def submit(index):
        own, rest = call(index)
        if last[0] is None or any(value is not last[0][name] for name, value in own.items()):
            last[:] = own, packed(tuple(own.values()), own)
        return _submitted(executor, remote, function, shared, last[1], *rest)

    return submit


def _at_once(function, *args):
    """The future of a call that is made here and now."""
    future: Future = Future()
    try:
        future.set_result(function(*args))
    except Exception as error:
        future.set_exception(error)
    return future


def _submitted(executor, *call):
    """The future of a call, failed where the executor does not take it."""
    try:
        future = executor.submit(*call)
    except RuntimeError as error:  # broken, or shut down
        future = Future()
        future.set_exception(error)
    if not callable(getattr(future, "cancel", None)):
        raise ValueError(f"executor must return futures from submit, as concurrent.futures does; got {shown(future)}")
    return future


def packed(value, named):
    """`value` as bytes; an error says which of its named parts cannot be made into bytes."""
    try:
        import cloudpickle as pickler
    except ImportError:
        pickler = pickle
    try:
        return pickler.dumps(value)
    except Exception as error:  # of many kinds
        reason = error
    for name, value in named.items():
        try:
            pickler.dumps(value)
        except Exception as error:
            hint = "" if pickler is not pickle else '; cloudpickle can do more: pip install "sdekit[scale]"'
            raise ValueError(f"{name} cannot be sent to another process: {value!r}: {error}{hint}") from error
    raise reason
