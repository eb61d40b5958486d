"""What `ensemble` returns, and `merge`, which makes one of several."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..checks import shown
from ..stats.part import Part

__all__ = ["Ensemble", "State", "concluded", "merge"]

RANGE = "paths", "first_path", "block", "keep_paths"  # in which ensembles that are merged may differ


class State(NamedTuple):
    """What `merge` goes by: the statistics, their totals, a `Part` that is like all others, arguments in words."""

    statistics: tuple
    totals: list
    like: Part
    arguments: dict[str, str]


@dataclass(frozen=True, repr=False, eq=False)
class Ensemble:
    """What `ensemble` returns; each statistic is an attribute of its name: `result.moments`.

    t           (times,) the saved times
    paths       their number, along the first path axis
    first_path  the index of the first
    failed      paths that are not finite at the end
    stopped     for each event the paths that it has stopped
    seed        of the normals
    how         what made it, in words: process, method, steps, backend
    x           the paths where they were kept: (times, paths, …) of the type of x0, or the Zarr array (paths, times, …)
    results     {name of a statistic: result}
    state       what `merge` goes by
    """

    t: Any
    paths: int
    first_path: int
    failed: int
    stopped: tuple[int, ...]
    seed: int
    how: dict[str, str]
    x: Any
    results: dict[str, Any]
    state: State

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


def concluded(state, paths, first_path, x=None):
    """The `Ensemble` of totals; the first statistic counts what became of the paths."""
    tally, *results = (s.conclude(total, state.like) for s, total in zip(state.statistics, state.totals))
    named = {s.name: result for s, result in zip(state.statistics[1:], results)}
    sol = state.like.sol
    return Ensemble(sol.t, paths, first_path, tally[0], tally[1:], sol.seed, sol.how, x, named, state)


def merge(ensembles: Iterable[Ensemble]) -> Ensemble:
    """The `Ensemble` of the statistics of several, made of ranges of paths that follow one another, in any order.

        task = lambda i: sk.ensemble(..., paths=10**9, first_path=i * 4096 * 250_000, seed=0, store=f"{i}.zarr")
        whole = sk.merge(task(i) for i in range(4))  # finished stores return at once

    The bits are those of a run over all paths. The other arguments must be equal, the seed too: a ValueError names the
    difference. Paths that were kept stay where they are.
    """
    parts = list(ensembles) if isinstance(ensembles, Iterable) else [ensembles]
    if not parts or not all(isinstance(part, Ensemble) for part in parts):
        raise ValueError(f"ensembles must be a sequence of at least one Ensemble, got {shown(ensembles)}")
    parts.sort(key=lambda part: part.first_path)
    totals = copy.deepcopy(parts[0].state.totals)  # a merge of one's own may change what it is given, and keep it
    for before, after in itertools.pairwise(parts):
        _follows(before, after)
        statistics, *more = before.state.statistics, totals, copy.deepcopy(after.state.totals)
        totals = [s.combine(*states) for s, *states in zip(statistics, *more)]
    return concluded(parts[0].state._replace(totals=totals), sum(part.paths for part in parts), parts[0].first_path)


def _follows(before, after):
    one, other = before.state.arguments, after.state.arguments
    for name in dict.fromkeys([*one, *other]):
        if name not in RANGE and one.get(name) != other.get(name):
            raise ValueError(f"ensembles differ in {name}: {one.get(name)} and {other.get(name)}")
    end = before.first_path + before.paths
    if end != after.first_path:
        raise ValueError(
            f"ensembles must be of paths that follow one another: one ends at path {end - 1:,}, the next begins at "
            f"{after.first_path:,}"
        )
