"""What a statistic is given: consecutive paths of a block, cut into leaves; and statistics of one's own."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..solution import Solution, host

__all__ = ["LEAF", "Part", "Statistic", "part"]

LEAF = 4096  # paths whose floating sums are taken together


class Part(NamedTuple):
    """Consecutive paths of a `Solution`.

    A statistic makes a state of it by `collect(part)`, adds states in the order of the paths by
    `combine(total, state)`, where the first total is None and a total of later paths may be the state, and makes its
    result by `conclude(total, part)` with any part.

    sol    the `Solution`
    x      (times, paths, entries) its states on the host
    pivot  (times, entries) about which sums are taken
    first  index of the first path, a multiple of LEAF
    """

    sol: Solution
    x: np.ndarray
    pivot: np.ndarray
    first: int

    @property
    def shape(self):
        """Of a statistic that has one value for each time and entry."""
        return (len(self.x), *self.sol.x.shape[2:])

    @property
    def events(self):
        """Entries of one state."""
        axes = self.sol.x.shape[self.sol.x.ndim - self.sol.event_dims :]
        return int(np.prod(axes, dtype=np.int64))

    @property
    def cuts(self):
        """The rows at which leaves begin, and the number of rows."""
        n = self.x.shape[1]
        return np.append(np.arange(0, n, LEAF), n)

    def rows(self, low, high):
        """The part of the rows low … high − 1."""
        return Part(_rows(self.sol, low, high), self.x[:, low:high], self.pivot, self.first + low)


def part(sol, pivot=None):
    """The `Part` of all paths of a `Solution`; without a pivot its first path is that."""
    x = host(sol.x)
    x = x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)  # of half precision
    x = x.reshape(len(x), x.shape[1], -1)
    if pivot is None:
        pivot = np.where(np.isfinite(x[:, 0]), x[:, 0], 0.0).astype(np.float64)
    return Part(sol, x, pivot, sol.state.first_path)


def _rows(sol, low, high):
    """The `Solution` of some of its paths."""
    n = sol.x.shape[1]

    def cut(value, axis=0):
        mine = getattr(value, "ndim", 0) > axis and value.shape[axis] == n
        return value[(slice(None),) * axis + (slice(low, high),)] if mine else value

    state = sol.state
    stopped = None if state.stopped is None else tuple(map(cut, state.stopped))
    state = state._replace(
        x=cut(state.x), first_path=state.first_path + low, failed=cut(state.failed), stopped=stopped, memory=None,
        control=None,
    )  # fmt: skip
    events = tuple((cut(t, 1), cut(x, 1)) for t, x in sol.events)
    return dataclasses.replace(
        sol, x=cut(sol.x, 1), failed=cut(sol.failed), nfe=cut(sol.nfe), steps=cut(sol.steps),
        rejected=cut(sol.rejected), events=events, state=state,
    )  # fmt: skip


class Statistic(NamedTuple):
    """A statistic of one's own: four functions, of which every leaf of at most 4,096 paths is asked by itself.

    name    the attribute of the result that has it
    init    () -> state: a number or array of numpy, or a tuple, list or dict of them
    add     (state, solution) -> state with the paths of a `Solution`, which it must not change
    merge   (state, later state) -> state; called in the order of the paths
    finish  (state) -> result

    Leaves are the same for all executors and blocks, and so are the bits of the result. `sdekit.merge` merges what runs
    over several ranges have: the same bits where it does not matter how merges are grouped, as for integers.
    """

    name: str
    init: Callable[[], Any]
    add: Callable[[Any, Solution], Any]
    merge: Callable[[Any, Any], Any]
    finish: Callable[[Any], Any] = lambda state: state

    def collect(self, part):
        return [self.add(self.init(), part.rows(a, b).sol) for a, b in itertools.pairwise(part.cuts.tolist())]

    def combine(self, total, leaves):
        return [functools.reduce(self.merge, leaves if total is None else [*total, *leaves])]

    def conclude(self, total, part):
        return self.finish(total[0])
