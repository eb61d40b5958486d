"""Brownian paths as functions of time: a dyadic bridge whose normals are counted, so that nothing is stored.

The interval [t0, t1] is halved 32 times. Of an interval of length h two things are known, both independent of the rest:

    W = W_b − W_a ~ N(0, h),     H = (1/h) ∫ (W_s − W_a − (s − a)/h W) ds ~ N(0, h/12),

the increment and the space-time area; here as the standard normals u = W/√h and v = H √(12/h). Those of the halves
follow from them and two more normals, which are counted by the node of the tree that is split.
Source: J. Foster, T. Lyons, H. Oberhauser, "An optimal polynomial approximation of Brownian motion", 2020,
doi:10.1137/19M1261912.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import arrays, machine, noise
from . import math as sm
from .checks import integer, real, shown
from .steps import sequence

__all__ = ["BrownianPath"]

LEVELS = 32
TICKS = 2**LEVELS  # in which times are counted
ROOT2, ROOT3 = math.sqrt(2), math.sqrt(3)


@dataclass(frozen=True)
class BrownianPath:
    """The Brownian path of a seed from t0 to t1, for as many independent paths and channels as are asked for.

        solve(process, x0, ts, h=…, noise=BrownianPath(seed, t0, t1))

    seed  0 <= seed < 2**64
    t0    where W is 0
    t1    > t0. Times are taken to the nearest multiple of (t1 − t0) 2⁻³², the resolution.

    Whatever is asked of it and in whatever order, its numbers are the same bits on a backend, and the same numbers to
    rounding on all. Solves with steps of any size, method and backend move along the same path, whose lanes and
    channels are counted as those of normals are: `lane` is a path of a coupled process, or an entry of another state.
    """

    seed: int
    t0: float
    t1: float

    def __post_init__(self):
        noise.key(self.seed)
        t0, t1 = (real(name, getattr(self, name), least=-math.inf, below=math.inf) for name in ("t0", "t1"))
        if not 1e-300 < t1 - t0 < math.inf:
            raise ValueError(f"t0 = {t0} and t1 = {t1}, but a path runs from t0 to a later, finite t1")
        vars(self).update(seed=int(self.seed), t0=t0, t1=t1)

    def __call__(self, t: Any, shape: int | tuple[int, ...] = (), channels: int | None = None, like: Any = None) -> Any:
        """W at time t, of `shape`: entry i is that of lane i; with `channels` along one more axis at the end.

        t         a number, or a sequence of times, along a new first axis
        like      an array or tensor whose type and device the result has; numpy float64 by default
        """
        one = getattr(t, "ndim", None) == 0 or not hasattr(t, "__len__")
        times = _time("t", t) if one else sequence("t", t)[0]
        if not len(times):
            raise ValueError("t must be a time or a non-empty sequence of times, got none")
        bridge, shape = _asked(self, shape, channels, like, len(times))
        rows = [_shaped(_increment(bridge, 0, q), shape, channels) for q in ticks(self, times, "t").tolist()]
        return rows[0] if one else arrays.stack(rows)

    def increment(
        self, s: float, t: float, shape: int | tuple[int, ...] = (), channels: int | None = None, like: Any = None
    ) -> Any:
        """W_t − W_s, N(0, |t − s|); shape, channels and like as of W itself."""
        (p, q), (bridge, shape) = self._ticks(s, t), _asked(self, shape, channels, like)
        w = _shaped(_increment(bridge, min(p, q), max(p, q)), shape, channels)
        return w if p <= q else -w

    def area(
        self, s: float, t: float, shape: int | tuple[int, ...] = (), channels: int | None = None, like: Any = None
    ) -> Any:
        """The space-time area of the interval from s to t, N(0, |t − s|/12) and independent of its increment.

        H = (1/h) ∫ (W_r − W_s − (r − s)/h (W_t − W_s)) dr,   h = t − s
        """
        (p, q), (bridge, shape) = sorted(self._ticks(s, t)), _asked(self, shape, channels, like)
        return _shaped(interval(bridge, p, q)[1] * math.sqrt((q - p) * bridge.unit / 12), shape, channels)

    def _ticks(self, s, t):
        return [int(ticks(self, _time(name, time), name)[0]) for name, time in (("s", s), ("t", t))]


def ticks(path, times, name):
    """Times as whole numbers of ticks after t0, int64; a ValueError for those outside of the path."""
    found = np.rint((times - path.t0) / (path.t1 - path.t0) * TICKS)
    bad = (found < 0) | (found > TICKS)
    if bad.any():
        raise ValueError(f"{name}: time {times[bad][0]} is outside of the path's [{path.t0}, {path.t1}]")
    return found.astype(np.int64)


# --- whole numbers: Python's, numpy's, tensors, and those of compiled code -----------------------


def halves(u, v, z, n):
    """(u, v) of the left and of the right half of an interval: (u, v, u, v), from two normals z and n.

    W_am = W/2 + 3/2 H + Z,  H_am = H/4 − Z/2 + N,  W_mb = W/2 − 3/2 H − Z,  H_mb = H/4 − Z/2 − N, with Z ~ N(0, h/16)
    and N ~ N(0, h/48).
    """
    middle, side = ROOT2 / 2 * u, ROOT2 / 4 * (ROOT3 * v + z)
    area, other = ROOT2 / 4 * (v - ROOT3 * z), ROOT2 / 2 * n
    return middle + side, area + other, middle - side, area - other


def highest(x):
    """The largest power of two that is at most x, 0 of 0; x < 2**33."""
    for shift in (1, 2, 4, 8, 16, 32):
        x = x | (x >> shift)
    return x - (x >> 1)


def exponent(x):
    """log₂ of a power of two up to 2**32, 0 of 0."""
    bits = ((x & 0xAAAAAAAA) != 0) * 1 + ((x & 0xCCCCCCCC) != 0) * 2 + ((x & 0xF0F0F0F0) != 0) * 4
    return bits + ((x & 0xFF00FF00) != 0) * 8 + ((x & 0xFFFF0000) != 0) * 16 + (x >> 32) * 32


def piece(p, q):
    """The size of the largest dyadic interval of ticks that begins at p and ends by q; 0 where p = q."""
    longest = highest(q - p)
    aligned = p & -p
    return longest * ((aligned == 0) | (aligned >= longest)) + aligned * ((aligned != 0) & (aligned < longest))


# --- arrays --------------------------------------------------------------------------------------


class Bridge:
    """The tree of a path for `lanes`, int64, and some channels: the nodes that were asked for last, level by level.

    Level d has `of[d − 1]`, for each lane, or for all, the index of a node of level d − 1, and `pair[d − 1]`, (u, v) of
    its halves, of shape (2, 2, channels, lanes). Numbers have the type of `like`. What is kept saves work alone.
    """

    def __init__(self, path, lanes, channels, like):
        self.path, self.lanes, self.channels, self.like = path, lanes, channels, like
        self.unit = (path.t1 - path.t0) / TICKS
        self.of: list[Any] = []
        self.pair: list[Any] = []
        self.root = self.normals(lanes * 0, lanes)

    def normals(self, node, lanes):
        """The normals 2 node and 2 node + 1 of the lanes, of shape (2, channels, lanes)."""
        (k0, k1), found = noise.key(self.path.seed), []
        for channel in range(self.channels):
            stream = noise.word(noise.Stream.BRIDGE, channel)
            w = noise.philox4x32(lanes & noise.MASK, (lanes >> 32) & noise.MASK, node >> 1, lanes * 0 + stream, k0, k1)
            odd = (node & 1) == 1
            found.append(noise.box_muller(sm.where(odd, w[2], w[0]), sm.where(odd, w[3], w[1]), self.like))
        return arrays.stack([arrays.stack(part) for part in zip(*found, strict=True)])

    def at(self, level, index, at):
        """(u, v) of the nodes `index` of one level for the lanes `at`: known ones."""
        if level == 0:
            return self.root[..., at]
        left, right = self.pair[level - 1][..., at]
        return sm.where((index & 1) == 1, right, left)

    def cells(self, level, index):
        """(u, v) of each lane's node `index` of its `level`, of shape (2, channels, lanes)."""
        result, new = self.root, self.missing(level, index)
        if new:
            lanes = arrays.joined([self.lanes[at] for _, at, _ in new])
            node = arrays.joined([self.lanes[at] * 0 + (1 << (d - 1)) + parent for d, at, parent in new])
            made, first = self.normals(node, lanes), 0
            for d, at, parent in new:
                last = first + len(self.lanes[at])
                parts = halves(*self.at(d - 1, parent, at), *made[..., first:last])
                self.pair[d - 1][..., at] = arrays.stack([arrays.stack(parts[:2]), arrays.stack(parts[2:])])
                self.of[d - 1][at], first = parent, last
        for d in range(1, int(level.max()) + 1):
            if arrays.any_of(level == d):
                result = sm.where(level == d, self.at(d, index, slice(None)), result)
        return result

    def missing(self, level, index):
        """[(level, lanes, their nodes of the level before)] of all halves that are not known yet."""
        new = []
        for d in range(1, int(level.max()) + 1):
            reached = level >= d
            parent = index >> ((level - d + 1) * reached)
            if len(self.of) < d:
                self.of.append(arrays.constant(parent, -1, int))
                self.pair.append(arrays.empty((2, *self.root.shape), self.root))
            unknown = reached & (self.of[d - 1] != parent)
            if arrays.any_of(unknown):
                at = unknown if arrays.any_of(~unknown) else slice(None)
                new.append((d, at, parent[at]))
        return new


def interval(bridge, p, q):
    """(u, v) of the interval of ticks from p to q, integers or one for each lane: two arrays of (channels, lanes).

    Its dyadic pieces are joined by W = W₁ + W₂, h H = h₁ H₁ + h₂ H₂ + (h₂ W₁ − h₁ W₂)/2.
    """
    p, q = (arrays.beside([n] if isinstance(n, int) else n, bridge.lanes) for n in (p, q))
    size = piece(p, q)
    u, v = bridge.cells(LEVELS - exponent(size), p >> exponent(size))
    if not arrays.any_of(p + size != q):
        return u, v
    length, (w, area) = size, _lengths(bridge, size, u, v)
    while arrays.any_of(p + size != q):
        p = p + size
        size = piece(p, q)  # 0 where a lane is at its end
        level = (LEVELS - exponent(size)) * (size > 0)
        w2, area2 = _lengths(bridge, size, *bridge.cells(level, p >> (LEVELS - level)))
        one, two = (arrays.to_type(n, w.dtype) for n in (length, size))
        area = (one * area + two * area2 + 0.5 * (two * w - one * w2)) / (one + two)
        w, length = w + w2, length + size
    scale = 1 / sm.sqrt(arrays.to_type(length, w.dtype))
    return w * scale, area * scale * math.sqrt(12)


def step(bridge, p, q):
    """dW and dZ, for |h| = 1, of a step from p to q, either of them the later: h (dW + dZ/√3)/2 = h (dW/2 + H)."""
    u, v = interval(bridge, min(p, q), max(p, q))
    return (u, v) if p <= q else (-u, v)


def _lengths(bridge, size, u, v):
    """(W, H) in units of √ticks."""
    root = sm.sqrt(arrays.to_type(size, bridge.root.dtype))
    return u * root, v * root * math.sqrt(1 / 12)


def bridge(path, first, count, channels, like):
    """The `Bridge` for the lanes first … first + count − 1, on the device of `like`."""
    if arrays.is_tensor(like):
        lanes = arrays.torch().arange(first, first + count, device=like.device)
    else:
        lanes = first + np.arange(count)
    return Bridge(path, lanes, channels, noise.working(like))


def _time(name, value):
    return np.array([real(name, value, above=-math.inf, below=math.inf)])


def _asked(path, shape, channels, like, times=1):
    """(the `Bridge` for what is asked for, the shape as a tuple)."""
    shape = shape if isinstance(shape, (tuple, list)) else (shape,)
    shape = tuple(integer("shape: a length", n) for n in shape)
    count = 1 if channels is None else integer("channels", channels, least=1)
    if not (like is None or (hasattr(like, "dtype") and arrays.is_real(like) and "float" in str(like.dtype))):
        raise ValueError(f"like must be an array or a tensor of floating-point numbers, got {shown(like)}")
    size = 8 * times * count * math.prod(shape)
    if size > machine.memory():
        raise ValueError(
            f"shape {shape}, {count} channels and {times} times take {size / 2**30:,.0f} GiB, more than this machine "
            f"has; ask for fewer"
        )
    return bridge(path, 0, math.prod(shape), count, like), shape


def _increment(bridge, p, q):
    return interval(bridge, p, q)[0] * math.sqrt((q - p) * bridge.unit)


def _shaped(w, shape, channels):
    return (w[0] if channels is None else w.T).reshape((*shape, *([] if channels is None else [channels])))
