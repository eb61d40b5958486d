"""Steps of adaptive size along a Brownian path in compiled code, one path after the other: the rule of `backends.tree`.

A path goes its own way through the tree, and so do the nodes that it needs: lanes in lockstep would wait for that which
has the most to make, as often as not five where one of them needs one.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from ... import brownian, noise
from ... import control as controller
from . import fixed
from .attending import BEFORE, MORE, MOST, REJECTED, SIZE, STEPS, Paths, T
from .bridge import CHANNEL, LEVELS, ROOT12, STREAM, exponent, halves, highest, piece
from .generator import box_muller, philox
from .lane import as_like, real, times_zero, value
from .records import ENTRY, FORMULA, at, compiled, prepare
from .run import _per_lane, _starts, call, counted, kind
from .stepping import measure, plain

TICKS = brownian.TICKS


class Branch(NamedTuple):
    """The path that is walked along, and the nodes of the way down to the last one, of one lane."""

    ticks: np.ndarray  # (legs + 1,) of the ends of legs, counted in the direction of time
    start: float  # where ticks are counted from
    unit: float  # of a tick, with the sign of the direction
    lane: int  # of the first path
    k0: int  # the key
    k1: int
    of: np.ndarray  # (levels + 1,) the node of the level before whose halves are known
    rows: np.ndarray  # (levels + 1, channels, 4): (u, v) of the halves
    sums: np.ndarray  # (channels, 2): W and H of what is joined, in units of √ticks
    factor: np.ndarray  # the lower factor of the channels' correlation, or empty
    z: np.ndarray  # (draws · channels, 1) what a step takes
    places: np.ndarray  # of the first channel of each draw in it


class Forms(NamedTuple):
    """The functions of an equation and a method."""

    load: object
    store: object
    draw: object
    normals: object
    step: object
    first_size: object
    propose: object


@njit(forceinline=True, **FORMULA)
def _normals(box_muller, branch, node, lane, channel):
    """The two normals of a node."""
    mask, stream = noise.MASK, STREAM + CHANNEL * channel
    w0, w1, w2, w3 = philox(lane & mask, (lane >> 32) & mask, node >> 1, stream, branch.k0, branch.k1)
    odd = node & 1 == 1
    return box_muller(w2 if odd else w0, w3 if odd else w1)


@njit(forceinline=True, **FORMULA)
def _reach(box_muller, branch, level, index, lane):
    """Make the node known, and those above it."""
    of, rows = branch.of, branch.rows
    first = level  # the deepest level that is known
    while first > 0 and of[first] != index >> (level - first + 1):
        first -= 1
    for d in range(first + 1, level + 1):
        of[d] = index >> (level - d + 1)
        side = 2 * (of[d] & 1) if d > 1 else 0
        for c in range(rows.shape[1]):
            z, n = _normals(box_muller, branch, (1 << (d - 1)) + of[d], lane, c)
            parts = halves(real(rows[d - 1, c, side]), real(rows[d - 1, c, side + 1]), real(z), real(n))
            for j in range(4):
                rows[d, c, j] = value(parts[j])


@njit(forceinline=True, **FORMULA)
def _walk(box_muller, branch, p, q, lane, sign, draws):
    """dW and dZ, for |h| = 1, of the ticks from p to q into z: the dyadic pieces are joined."""
    rows, sums, z, length = branch.rows, branch.sums, branch.z, 0.0
    channels = rows.shape[1]
    sums[:] = 0.0
    while p < q:
        size = piece(p, q)
        level = LEVELS - exponent(size)
        index = p >> (LEVELS - level)
        _reach(box_muller, branch, level, index, lane)
        side, more, root = 2 * (index & 1) if level > 0 else 0, float(size), np.sqrt(float(size))
        for c in range(channels):
            w, w2, h2 = sums[c, 0], root * rows[level, c, side], root / ROOT12 * rows[level, c, side + 1]
            sums[c, 0] = w + w2
            sums[c, 1] = (length * sums[c, 1] + more * h2 + 0.5 * (more * w - length * w2)) / (length + more)
        p, length = p + size, length + more
    for d in range(draws):
        scale = (ROOT12 if d > 0 else sign) / np.sqrt(length)
        for c in range(channels):
            z[d * channels + c, 0] = sums[c, d] * scale
        for c in range(branch.factor.shape[0] - 1, -1, -1):  # from the last row up: none is read after it is changed
            total = branch.factor[c, c] * z[d * channels + c, 0]
            for b in range(c):
                total += branch.factor[c, b] * z[d * channels + b, 0]
            z[d * channels + c, 0] = total


@njit(forceinline=True, **FORMULA)
def _enter(sde, forms, plan, branch, x, n, lane):
    """The size in ticks of the first step, 0 where the path cannot begin; its tree is begun."""
    begin = plan.legs[1, 0]
    if plan.find:
        span, q = real(abs(plan.legs[0, 0] - plan.t[0])), plan.q
        slope, how = as_like(sde.drift(begin, x), x), (plan.direction, plan.rtol, plan.atol)
        kick = as_like(sde.noise(begin, x, 1.0), x)
        n[SIZE] = value(forms.first_size(sde, plan.t[0], x, slope, kick, span, *how, q, measure, plain))
        n[MORE] += 2.0
    for c in range(branch.rows.shape[1]):
        branch.rows[0, c, 0], branch.rows[0, c, 1] = _normals(forms.normals, branch, 0, lane, c)
    branch.of[:] = -1
    if not n[SIZE] + times_zero(x) < np.inf:
        return 0
    return highest(np.int64(min(max(n[SIZE] / abs(branch.unit), 1.0), float(TICKS))))


@njit(forceinline=True, **FORMULA)
def _sizes(size, place, stop, counts, factor, goal):
    """`backends.tree._sizes`."""
    length = stop - place
    wanted = highest(np.int64(max(float(length) * factor, 1.0)))
    inner = highest(place ^ (stop - 1))
    if not counts:
        return min(wanted, max(inner, 1))
    kept = size if stop == goal else highest(length)
    return min(max(wanted, kept), 2 * size, TICKS)


@njit(**ENTRY)
def kernel(sde, forms, paths, plan, branch, low, high, slot, ticks):
    """Solve for the paths low … high − 1; ticks[0] < 0 asks for a stop. The rule is that of `backends.tree`."""
    sign, unit, legs = plan.direction, branch.unit, plan.legs
    draws = branch.places.shape[0]
    for path in range(low, high):
        if ticks[0] < 0:
            return
        s, n, lane = at(sde, paths.columns, path), paths.numbers[:, path], branch.lane + path
        x = forms.load(paths.x0.T, path % paths.x0.shape[0])
        size, place, t, row = _enter(s, forms, plan, branch, x, n, lane), branch.ticks[0], n[T], 1
        alive = size > 0
        for leg in range(legs.shape[1]):
            goal = branch.ticks[leg + 1]
            while alive and t != legs[0, leg]:
                aligned = place & -place
                here = size if place == branch.ticks[leg] or size < aligned else aligned
                stop = min((place & -here) + here, goal)
                p, q = (place, stop) if sign > 0 else (TICKS - stop, TICKS - place)
                _walk(forms.normals, branch, p, q, lane, sign, draws)
                last = stop == goal
                t1 = legs[0, leg] if last else branch.start + stop * unit
                begin, end = legs[1, leg] if place == branch.ticks[leg] else t, legs[2, leg] if last else t1
                dws = forms.draw(branch.z, branch.places, 0, np.sqrt(abs(t1 - t)))
                taken = forms.step(s, begin, end, x, t1 - t, *dws)
                y = as_like(taken.x, x)
                error = controller.error_square(as_like(taken.error, x), x, y, plan.rtol, plan.atol, measure)
                square = real(value(error) + times_zero(y))
                counts, factor, before, most = forms.propose(square, real(n[BEFORE]), real(n[MOST]), plan.q)
                size = _sizes(size, place, stop, counts, value(factor), goal)
                n[SIZE], n[BEFORE], n[MOST] = size * abs(unit), value(before), value(most)
                n[STEPS] += 1.0
                if counts:
                    place, t, x = stop, t1, y
                else:
                    n[REJECTED] += 1.0
                    alive = stop - place > 1 and n[SIZE] >= plan.least
                alive = alive and (n[STEPS] < plan.most_steps or (counts and last))
            while alive and row < plan.t.shape[0] and plan.t[row] == t:
                forms.store(paths.x[row].T, path, x)
                row += 1
        n[T] = t
        ticks[slot] += legs.shape[1]


def share(problem, plan, x, numbers):
    """(the function that solves for the paths low … high − 1, the types that its kernel is made for)."""
    method, form, dtype, found = problem.method, problem.system, problem.x0.dtype, []
    width = form.channels if problem.dw_axes else 1
    sde = prepare(problem.equation, found)
    load, store, draw, _ = fixed.access(form.components, width if problem.dw_axes else None, method.normals)
    used = map(compiled, (method.embedded, controller.first_with_noise, controller.propose))
    forms = Forms(load, store, draw, box_muller(dtype), *used)
    paths = Paths(_starts(problem), _per_lane(found, problem), x, numbers, None)
    course, path, key = problem.steps, problem.path, noise.key(problem.path.seed)
    ticks, unit = brownian.ticks(path, course.legs.t, "ts"), (path.t1 - path.t0) / TICKS
    begun = (ticks, path.t0, unit) if course.direction > 0 else (TICKS - ticks, path.t1, -unit)
    factor = np.empty((0, 0), dtype) if form.correlation is None else np.require(form.correlation, dtype, "CW")
    places = width * np.arange(method.normals)

    def share(low, high, slot, ticks, first_bad):
        rows, z = np.empty((LEVELS + 1, width, 4), dtype), np.empty((len(places) * width, 1), dtype)
        of, sums = np.full(LEVELS + 1, -1), np.empty((width, 2))
        branch = Branch(*begun, problem.first_lane, *key, of, rows, sums, factor, z, places)
        call(kernel, types, sde, forms, paths, plan, branch, low, high, slot, ticks)

    types = "tree", kind(sde), *forms, dtype
    return share, types


def evaluations(problem):
    """Of the drift, in a step with an estimate of its error."""
    return counted(problem, problem.method.embedded, 0.0, 1.0)
