"""What a run over many paths is made of, found out on its first path before a block is sent anywhere."""

import warnings
from typing import Any, NamedTuple

from .. import arguments, arrays, backends
from ..checks import integer
from ..noise import fresh
from ..records import parameters, with_parameters
from ..solution import Solution, host
from ..solve import solve
from ..stats.part import LEAF, part
from ..system import System, bind

__all__ = ["Plan", "pivot", "planned"]

BYTES, MOST, LEAST = 2**25, 2**20, 16  # of a block by default: its states, its paths; and blocks of a run


class Plan(NamedTuple):
    """A run over `paths` paths from the index `first_path` on, checked.

    repeated  whether x0 is one state for all paths
    system    process and state, bound
    options   the other arguments of `solve`
    block     paths of a block
    like      the `Solution` of the first path
    """

    process: Any
    x0: Any
    paths: int
    repeated: bool
    first_path: int
    system: System
    options: dict[str, Any]
    block: int = 0
    like: Any = None

    @property
    def blocks(self):
        """How many blocks all paths are."""
        return -(-self.paths // self.block)

    def span(self, index):
        """The rows of a block: first, and behind the last."""
        return index * self.block, min((index + 1) * self.block, self.paths)

    def rows(self, low, high):
        """The arguments of `solve` that differ from block to block: process, x0, paths, first_path.

        x0 and parameters that have a value for each path are cut; without such they are the same objects in all blocks.
        """

        def cut(value, axes):
            whole = axes == len(self.system.path_shape) and value.shape[0] == self.paths
            return value[low:high] if whole else value

        process, x0 = self.process, self.x0
        if any(cut(value, getattr(value, "ndim", 0)) is not value for *_, value in parameters(process)):
            process = with_parameters(process, lambda value: cut(value, value.ndim))
        if not self.repeated:
            x0 = cut(x0, x0.ndim - self.system.event_dims)
        return process, x0, high - low if self.repeated else None, self.first_path + low


def planned(process, x0, paths, first_path, block, threads, options):
    """The `Plan`; its arguments are checked as those of `solve`, which makes the first path here.

    threads  of compiled code for a block, where no backend is given
    """
    if isinstance(x0, Solution):
        raise ValueError("x0 is a Solution, from which many blocks cannot go on; pass its final states")
    first_path = integer("first_path", first_path)
    if first_path % LEAF:
        raise ValueError(f"first_path must be a multiple of {LEAF:,}, whose sums are taken together; got {first_path}")
    options = {**options, "seed": fresh(options["seed"])}
    x0 = x0 if arrays.is_tensor(x0) else arguments.array("x0", x0)
    start = arguments.start(x0, None if paths is None else min(integer("paths", paths, least=1), 1), 0, 0, None)
    t0 = arguments.when(*(options[name] for name in ("ts", "h", "grid", "tol")), start).first
    system = bind(process, start.whole, t0)
    if not system.path_shape:
        raise ValueError("paths is missing: say how many, or give x0 or a parameter with a value for each")
    count = system.path_shape[0]
    if paths is not None and count not in (1, paths):
        raise ValueError(f"paths is {paths}, but an array parameter of {system.name} has values for {count}")
    if 0 in (count, *start.whole.shape):
        raise ValueError("x0 has no path, or no component: got an array without entries")
    last = first_path + (paths or count)
    if last > 2**62:
        raise ValueError(f"paths and first_path lead to the index {last}, but indices end at 2**62; use smaller ones")
    plan = Plan(process, x0, paths or count, paths is not None, first_path, system, options)
    plan = plan._replace(like=_first(plan))
    if threads and options["backend"] is None and plan.like.how["backend"] == repr(backends.numba()):
        options["backend"] = backends.numba(threads=threads)
    return plan._replace(block=_block(block, plan))


def pivot(plan):
    """Of all sums: path 0, whichever range of paths is made, so that several can be merged."""
    return part(_first(plan._replace(first_path=0)) if plan.first_path else plan.like).pivot


def _first(plan):
    """The `Solution` of the first path alone."""
    process, x0, paths, first_path = plan.rows(0, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that it fails, which may happen
        return solve(process, x0, paths=paths, first_path=first_path, **plan.options)


def _block(block, plan):
    """Paths of a block: by default some 32 MB of states, and sixteen blocks at least."""
    if block is None:
        size = max(1, host(plan.like.x).nbytes)
        most = max(1, min(BYTES // size, MOST, -(-plan.paths // LEAST)))
        return -(-most // LEAF) * LEAF
    block = integer("block", block, least=1)
    if block % LEAF:
        raise ValueError(f"block must be a multiple of {LEAF:,}, whose sums are taken together; got {block}")
    return block
