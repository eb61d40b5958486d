"""When steps are taken: the times of a run, and which of them are saved."""

import math
from typing import NamedTuple

import numpy as np

from . import arrays, machine
from .checks import real, shown

__all__ = ["Steps", "decreasing", "dyadic", "fitted", "on_grid", "sequence", "times", "with_jumps", "with_sides"]

SLACK = 1e-9  # of a step: times closer than this are one
INWARDS = 1e-14  # of max(|t|, |h|): how far a step stays away from a jump, more than rounding makes of floor(t/p)


class Steps(NamedTuple):
    """A fixed grid of steps: step i goes from t[i] to t[i + 1].

    t      (n + 1,) times, float64
    saves  indices into t of the times to save, increasing
    begin  (n,) the time that step i takes for its beginning, t[i] but for jumps
    end    (n,) the time that it takes for its end
    """

    t: np.ndarray
    saves: np.ndarray
    begin: np.ndarray
    end: np.ndarray

    def __len__(self):
        return len(self.t) - 1


class Times(NamedTuple):
    """A user's sequence of times, float64, with the rounding that its own type leaves in them."""

    t: np.ndarray
    rounding: float


def sequence(name, values):
    """(`values` as finite float64 times along one axis, the rounding unit of their own type)."""
    given, eps = values, 0.0
    if arrays.is_tensor(values):
        if values.requires_grad:
            raise ValueError(
                f"{name} requires a gradient, which solve does not give for times; pass {name}.detach(), and scale the "
                f"process instead"
            )
        eps = arrays.torch().finfo(values.dtype).eps if values.is_floating_point() else 0.0
        given = (values.double() if eps else values.resolve_conj()).cpu().numpy()  # numpy has no bfloat16
    if isinstance(given, np.ma.MaskedArray):
        raise ValueError(f"{name} must be a sequence of times, got a masked array")
    try:
        given = np.asarray(given)
    except (ValueError, TypeError, RuntimeError):  # of several shapes, or tensors that require grad
        given = np.empty(0, object)
    if given.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be a sequence of times, got {shown(values)}")
    if given.ndim != 1:
        raise ValueError(f"{name} must be a non-empty sequence of times, got shape {given.shape}")
    t = given.astype(np.float64)
    if not np.isfinite(t).all():
        raise ValueError(f"{name} must be finite, got {t[~np.isfinite(t)][0]}")
    return t, max(eps, float(np.finfo(given.dtype).eps)) if given.dtype.kind == "f" else 0.0


def times(name, values):
    """`values` as `Times`: strictly monotone and finite."""
    t, eps = sequence(name, values)
    if t.size == 0:
        raise ValueError(f"{name} must be a non-empty sequence of times, got shape {t.shape}")
    steps = np.diff(t)
    if not ((steps > 0).all() or (steps < 0).all()):
        i = int(np.argmax(steps * np.sign(steps[0]) <= 0)) if steps[0] else 0
        raise ValueError(f"{name} must be strictly monotone, got {t[i]} followed by {t[i + 1]}")
    return Times(t, 4 * eps * float(max(abs(t[0]), abs(t[-1]))))


def decreasing(name, values):
    """`values` as two or more decreasing float64 times, from noise to data."""
    t, _ = sequence(name, values)
    if len(t) < 2 or not (np.diff(t) < 0).all():
        raise ValueError(f"{name} must hold two or more decreasing times, got {t}")
    return t


def fitted(ts, h, jumps=()):
    """Steps of at most h between the `Times` ts: each interval is cut into equal ones, at jumps as well."""
    step = real("h", h, above=0, below=math.inf)
    least = min(step, np.abs(np.diff(ts.t)).min(initial=math.inf))
    stops, saves = with_jumps(ts.t, jumps, min(0.25 * least, max(SLACK * least, ts.rounding)))
    slack = min(0.25, max(SLACK, ts.rounding / step))
    gaps = np.diff(stops)
    with np.errstate(over="ignore"):
        counts = np.maximum(1, np.ceil(np.abs(gaps) / step - slack))
    total = counts.sum()
    _fits(h, total)
    if total == counts.size:
        return with_sides(stops, saves, jumps)
    counts = counts.astype(np.int64)
    starts = np.zeros(counts.size + 1, np.int64)
    counts.cumsum(out=starts[1:])
    t = np.empty(starts[-1] + 1)
    within = np.arange(starts[-1]) - starts[:-1].repeat(counts)
    t[:-1] = stops[:-1].repeat(counts) + within * (gaps / counts).repeat(counts)
    t[starts] = stops
    return with_sides(t, starts[saves], jumps)


def dyadic(ts, h, span, jumps=()):
    """Steps of at most h that are halves of halves … of `span`, a pair of times, but where ts or a jump cuts one."""
    step, (low, high) = real("h", h, above=0, below=math.inf), span
    level = max(0, math.ceil(math.log2((high - low) / step) - SLACK))
    size = math.ldexp(high - low, -level)
    stops, saves = with_jumps(ts.t, jumps, min(0.25 * size, max(SLACK * size, ts.rounding)))
    first, last = sorted((stops[0], stops[-1]))
    _fits(h, (last - first) / size)
    inner = low + size * np.arange(math.ceil((first - low) / size), math.floor((last - low) / size) + 1)
    near = stops[_nearest(stops, inner)]
    t = np.concatenate([stops, inner[np.abs(inner - near) > min(0.25 * size, max(SLACK * size, ts.rounding))]])
    order = np.argsort(t if stops[-1] >= stops[0] else -t, kind="stable")
    return with_sides(t[order], np.argsort(order, kind="stable")[saves], jumps)


def _fits(h, count):
    if count * 4 * np.dtype(float).itemsize > min(machine.memory(), 2**40):
        raise ValueError(f"h = {h!r} makes {count:.3g} steps, whose times do not fit in memory; use a larger one")


def on_grid(grid, ts=None, jumps=()):
    """The steps of an explicit grid (`Times`), cut after the last of the ts, which it contains; jumps are added."""
    if ts is None:
        t, saves = grid.t, np.array([len(grid.t) - 1])
    else:
        t, saves = _snapped(grid, ts)
    least = np.abs(np.diff(t)).min(initial=math.inf)
    t, where = with_jumps(t, jumps, min(0.25 * least, max(SLACK * least, grid.rounding)))
    return with_sides(t, where[saves], jumps)


def _snapped(grid, ts):
    """The grid with its points moved onto the ts, cut after the last of them, and their indices."""
    g, t = grid.t, ts.t
    if len(t) > 1 and len(g) > 1 and (t[1] > t[0]) != (g[-1] > g[0]):
        raise ValueError("ts and grid run in opposite directions")
    saves = _nearest(g, t)
    gaps = np.abs(np.diff(g, prepend=2 * g[0] - g[min(1, len(g) - 1)]))
    local = np.minimum(gaps, np.append(gaps[1:], gaps[-1]))[saves]
    slack = np.minimum(0.25 * local, np.maximum(SLACK * local, max(grid.rounding, ts.rounding)))
    far = np.abs(g[saves] - t) > slack
    if far.any():
        raise ValueError(
            f"grid misses the output time {t[far][0]} (its nearest point is {g[saves][far][0]}); add it there"
        )
    same = np.flatnonzero(np.diff(saves) == 0)
    if same.size:
        raise ValueError(f"grid has one point for the output times {t[same[0]]} and {t[same[0] + 1]}; add both to it")
    g = g[: saves[-1] + 1].copy()
    g[saves] = t
    return g, saves


def _nearest(grid, ts):
    """Index of the grid point nearest to each of the ts."""
    if len(grid) == 1:
        return np.zeros(len(ts), np.int64)
    sign = 1 if grid[-1] > grid[0] else -1
    right = np.searchsorted(sign * grid, sign * ts).clip(1, len(grid) - 1)
    return right - (np.abs(grid[right - 1] - ts) < np.abs(grid[right] - ts))


def with_jumps(t, jumps, slack):
    """Times t with the jumps inside them, and where each t is among them. A time within slack of a jump becomes it."""
    inside = _inside(jumps, t, slack)
    if not len(inside):
        return t, np.arange(len(t))
    t = t.copy()
    near = _nearest(t, inside)
    close = np.abs(t[near] - inside) <= slack
    t[near[close]] = inside[close]
    joined = np.concatenate([t, inside[~close]])
    order = np.argsort(joined if t[-1] > t[0] else -joined, kind="stable")
    return joined[order], np.argsort(order, kind="stable")[: len(t)]


def _inside(jumps, t, slack):
    jumps = np.asarray(jumps, np.float64)
    return jumps[(jumps >= min(t[0], t[-1]) - slack) & (jumps <= max(t[0], t[-1]) + slack)]


def with_sides(t, saves, jumps):
    """The `Steps` at t; one from or to a jump sees its own side of it."""
    begin, end = t[:-1], t[1:]
    at_jump = np.isin(t, jumps) if len(jumps) else np.zeros(1, bool)
    if at_jump.any():
        h = end - begin
        inwards = np.sign(h) * INWARDS * np.maximum(np.maximum(np.abs(begin), np.abs(end)), np.abs(h))
        begin, end = begin + inwards * at_jump[:-1], end - inwards * at_jump[1:]
    return Steps(t, saves, begin, end)
