"""What `solve` returns, and where it stands at its end."""

import contextlib
import dataclasses
import importlib.metadata
import math
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple

import numpy as np

from . import arrays
from .checks import real
from .protocols import A

__all__ = ["Solution", "State", "Summary"]

QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)


class State(NamedTuple):
    """Where a run stands: what `solve` needs to go on from there to the bit.

    x           the state, path axes first, in the type of the arithmetic
    t           its time
    step        steps done since the run began, by which normals are counted
    seed        of the run
    first_path  of the run
    memory      what a multistep method remembers, or None
    failed      mask over the path axes, or None
    replayed    whether the normals were given as an array, which is used up
    dtype       of the results where it is narrower than that of the arithmetic, or None
    path        the `BrownianPath` along which it moves, or None
    control     of an adaptive run: sizes of the next steps, and what the controller remembers
    stopped     (when, by which event) over the path axes, or None where none has stopped
    """

    x: Any
    t: float
    step: int = 0
    seed: int = 0
    first_path: int = 0
    memory: Any = None
    failed: Any = None
    replayed: bool = False
    dtype: Any = None
    path: Any = None
    control: Any = None
    stopped: Any = None

    def __repr__(self):
        return f"State(t={self.t:g}, step={self.step}, shape={tuple(self.x.shape)})"


class Summary(NamedTuple):
    """Statistics over the paths at each saved time, of those that have not failed.

    t          (times,)
    count      (times,) paths that count
    mean       (times, *event)
    stderr     (times, *event) standard error of the mean
    std        (times, *event)
    levels     levels of the quantiles
    quantiles  (levels, times, *event)
    """

    t: Any
    count: Any
    mean: Any
    stderr: Any
    std: Any
    levels: tuple[float, ...]
    quantiles: Any

    def __str__(self):
        names = ["t", "paths", "mean", "± error", "std", *(f"{100 * q:g} %" for q in self.levels)]
        lines = ["".join(f"{name:>12}" for name in names)]
        for i, t in enumerate(self.t):
            for at in np.ndindex(self.mean.shape[1:]):
                row = [t, self.count[i], self.mean[i][at], self.stderr[i][at], self.std[i][at]]
                row += [q[i][at] for q in self.quantiles]
                lines.append("".join(f"{value:12.5g}" for value in row))
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Solution(Generic[A]):
    """What `solve` returns; arrays are of the type of x0.

    t         (times,) the saved times, float64
    x         (times, *path shape, *event) the states there
    nfe       evaluations, per path, of the network where the process has one, else of the drift: an int, and
              an array over the path axes in adaptive runs, as are the following three
    steps     steps taken
    accepted  steps accepted, all of them on fixed grids
    rejected  steps rejected, none on fixed grids
    failed    (path shape) True where a path became non-finite, or would have needed more or smaller steps than the
              tolerance has; it is NaN from there on, earlier rows are kept
    stopped   (path shape) the time at which an event stopped a path, NaN where it ran on
    event     (path shape) the index of the event that stopped it, −1 where none did
    events    for each event its (t, x) of shapes (most, path shape) and (most, *shape of the state), NaN where there
              are less; most is 1 where it stops the path
    seed      of the normals: the same seed gives the same paths
    memory    of a multistep method at the end; None for one-step methods
    state     where the run stands: `solve(process, solution, ts, …)` goes on from there
    how       what made it, in words: process, method, steps, backend
    """

    t: A
    x: A
    nfe: Any
    steps: Any
    failed: A
    seed: int
    state: State
    how: dict[str, str]
    event_dims: int = 0
    rejected: Any = 0
    events: tuple[tuple[A, A], ...] = ()

    @property
    def final(self) -> A:
        """The states at the last saved time."""
        return self.x[-1]

    @property
    def memory(self):
        return self.state.memory

    @property
    def accepted(self):
        return self.steps - self.rejected

    @property
    def stopped(self) -> A:
        return arrays.filled(self.failed, math.nan) if self.state.stopped is None else self.state.stopped[0]

    @property
    def event(self) -> A:
        return arrays.filled(self.failed, -1) if self.state.stopped is None else self.state.stopped[1]

    def summary(self, quantiles: Sequence[float] = QUANTILES) -> Summary:
        """Mean, standard error, standard deviation and quantiles over the paths at each saved time: a `Summary`.

        quantiles  levels between 0 and 1. Paths that have failed by then do not count. numpy float64.
        """
        if not np.iterable(quantiles):
            raise ValueError(f"quantiles must be a sequence of levels between 0 and 1, got {quantiles!r}")
        levels = tuple(real("quantiles", q, 0, 1) for q in quantiles)
        x = host(self.x).astype(np.float64)
        event = x.shape[x.ndim - self.event_dims :]
        x = x.reshape(len(x), -1, *event)
        good = np.isfinite(x).all(tuple(range(2, x.ndim)))
        rows = [_statistics(row[ok], levels, event) for row, ok in zip(x, good, strict=True)]
        mean, stderr, std, quantile = (np.stack(part) for part in zip(*rows, strict=True))
        return Summary(host(self.t), good.sum(1), mean, stderr, std, levels, np.moveaxis(quantile, 1, 0))

    def to_xarray(self):
        """An `xarray.DataArray` with the dimensions time, path and component (several axes are numbered).

        Its attributes say what made it: process, method, h, grid or tol, seed, versions. Needs xarray.
        """
        try:
            import xarray
        except ImportError:
            raise ValueError("to_xarray needs xarray, which is not installed: pip install xarray") from None
        x, dims = host(self.x), dimensions(self)
        coords = {"time": host(self.t), **{d: np.arange(n) for d, n in zip(dims[1:], x.shape[1:])}}
        if "path" in coords:
            coords["path"] = coords["path"] + self.state.first_path
        return xarray.DataArray(x, coords, dims, name="x", attrs=attributes(self))

    def __repr__(self):
        failed = int(self.failed.sum()) if arrays.concrete(self.failed) else "?"
        stopped = f"{int((self.event >= 0).sum())} stopped, " if self.events and arrays.concrete(self.event) else ""
        paths, first, last = math.prod(self.failed.shape), float(self.t[0]), float(self.t[-1])
        return (
            f"Solution({len(self.t)} times from {first:g} to {last:g}, x {tuple(self.x.shape)}, {paths:,} paths, "
            f"{failed} failed, {stopped}{_range(self.steps)} steps, nfe {_range(self.nfe)}, seed {self.seed})"
        )


def dimensions(sol):
    """Names of the axes of x: time, path and component, of which several are numbered."""
    paths = sol.x.ndim - 1 - sol.event_dims
    return ["time", *_numbered("path", paths), *_numbered("component", sol.event_dims)]


def attributes(sol):
    """What made a solution, in words and numbers."""
    attrs = {**sol.how, "seed": str(sol.seed), "versions": _versions(), "nfe": sol.nfe, "steps": sol.steps}
    return attrs | {name: _range(attrs[name]) for name in ("nfe", "steps") if type(attrs[name]) is not int}


def _statistics(x, levels, event):
    """(mean, standard error, standard deviation, quantiles) of the paths x (n, *event); NaN where there are none."""
    n = len(x)
    if n == 0:
        nothing = np.full(event, np.nan)
        return nothing, nothing, nothing, np.full((len(levels), *event), np.nan)
    std = x.std(0, ddof=1) if n > 1 else np.full(event, np.nan)
    return x.mean(0), std / math.sqrt(n), std, np.quantile(x, levels, axis=0)


def _range(count):
    """A count in words: a number, or the least and the largest over the paths."""
    if type(count) is int:
        return f"{count:,}"
    if not arrays.concrete(count) or 0 in count.shape:
        return "?"
    low, high = int(count.min()), int(count.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def host(x):
    if not arrays.is_tensor(x):
        return np.asarray(x)
    x = x.detach().cpu()
    return (x.float() if x.dtype == arrays.torch().bfloat16 else x).numpy()  # numpy has no bfloat16


def _numbered(name, count):
    return [name] if count == 1 else [f"{name}_{i}" for i in range(count)]


def _versions():
    found = []
    for name in ("sdekit", "numpy", "numba", "torch"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return ", ".join(found)
