"""Steps of adaptive size on the CPU: a size for each lane, groups of lanes in lockstep.

In a step the loop over the lanes is one stretch of straight arithmetic, as in `fixed`: accepting or rejecting is a
select, and a lane that has arrived goes on with h = 0. What is not arithmetic is done behind that loop, for the lanes
to which something happened: an output time was passed, a leg ended, a path was lost.
"""

import functools
from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload

from ... import control as controller
from ... import machine
from ... import math as sm
from ...methods.taken import Kept, Taken
from ...problem import Outcome
from .captured import NATIVE
from .fixed import access
from .generator import block, widest_vectors
from .lane import INLINE, Vec, real, reals, source, times_zero, value, vec
from .records import FORMULA, OPTIONS, at, compiled, prepare
from .run import _in_threads, _per_lane, _preparing, _ready, _starts, call, check, kind

__all__ = ["run"]

GROUP = 32  # lanes in lockstep: whole vectors, and few that wait for the slowest
LEAST, STRETCH = controller.LEAST, controller.STRETCH
PIECE = 2048  # lanes of one call into compiled code: milliseconds

# --- the functions of `control` on lanes ---------------------------------------------------------


def mean_square(v):
    """The mean of v² over the components of a lane, float64 (compiled code only)."""
    raise NotImplementedError("numba kernels only")


@overload(mean_square, jit_options=INLINE)
def _mean_square(v):
    if not isinstance(v, Vec):
        return lambda v: real(np.float64(value(v * v)))
    terms = " + ".join(f"value(parts[{c}] * parts[{c}])" for c in range(v.n))
    text = f"def impl(v):\n    parts = reals(v)\n    return real(np.float64({terms}) * {1 / v.n!r})"
    return source(text, reals=reals, value=value, real=real, np=np)


NATIVE.add(controller.error_square)


@overload(controller.error_square, jit_options=INLINE)
def _error_square(error, x, y, rtol, atol, mean_square):
    one = compiled(controller.double if isinstance(error, types.BaseTuple) else controller.single)
    return lambda error, x, y, rtol, atol, mean_square: one(error, x, y, rtol, atol, mean_square)


measure = njit(lambda v: mean_square(v), forceinline=True, **FORMULA)
pick = njit(lambda c, a, b: value(sm.where(c, real(a), real(b))), forceinline=True, **FORMULA)
plain = njit(lambda number: value(number), forceinline=True, **FORMULA)


# --- what a kernel works on ----------------------------------------------------------------------


class Room(NamedTuple):
    """What is known of each lane of a group."""

    x: np.ndarray  # (k, lanes) the state
    f: np.ndarray  # the drift there
    own: np.ndarray  # parameters
    old: np.ndarray  # the state before the last step, and
    dense: np.ndarray  # room for one between
    slopes: np.ndarray  # the slopes of that step, where there is dense output
    t: np.ndarray
    seen: np.ndarray  # t as the process sees it, which behind a jump differs
    goal: np.ndarray  # the end of the leg
    end: np.ndarray  # and as the process sees it
    next: np.ndarray  # the next output time
    h: np.ndarray  # of the last step, 0 where it was rejected
    size: np.ndarray  # `control.Control`
    before: np.ndarray
    most: np.ndarray
    steps: np.ndarray
    rejected: np.ndarray
    on: np.ndarray  # 1 where a lane is on its way, else 0
    happened: np.ndarray  # 1: an output or a leg's end was reached, 2: the path is lost
    nfe: np.ndarray


class Plan(NamedTuple):
    """Times and tolerance."""

    t: np.ndarray  # to save
    legs: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    direction: float
    rtol: float
    atol: float
    first: float  # 0: to be found
    least: float
    most_steps: float
    q: float
    drifts: int
    further: int


class Result(NamedTuple):
    """What comes out, by path."""

    x: np.ndarray  # (saves, paths, k)
    counts: np.ndarray  # (3, paths) steps, rejected, nfe
    control: np.ndarray  # (3, paths) size, before, most; sizes above 0 are where to begin
    failed: np.ndarray


def room(k, dtype, columns, slopes, lanes=GROUP):
    """Memory for a group."""
    states = [block(n, dtype, lanes) for n in (k, k, columns, k, k, slopes * k)]
    numbers = block(13, np.float64, lanes)
    return Room(*states, *numbers, np.zeros(lanes, np.int64))


# --- the kernel ----------------------------------------------------------------------------------


@njit(**OPTIONS)
def _enter(room, x0, columns, plan, result, start, high):
    """The paths from `start` on into the lanes; those beyond the last repeat it."""
    for i in range(room.t.shape[0]):
        lane = min(start + i, high - 1)
        for c in range(x0.shape[1]):
            room.x[c, i] = x0[lane % x0.shape[0], c]
        for c in range(columns.shape[0]):
            room.own[c, i] = columns[c, lane]
        room.t[i], room.goal[i], room.end[i] = plan.t[0], plan.legs[1], plan.end[0]
        room.seen[i], room.next[i] = plan.begin[0], plan.t[1]
        room.size[i], room.before[i], room.most[i] = (
            result.control[0, lane], result.control[1, lane], result.control[2, lane],
        )  # fmt: skip
        room.steps[i], room.rejected[i], room.nfe[i] = 0, 0, 1
        room.on[i] = 1.0
        for c in range(x0.shape[1]):
            if not abs(room.x[c, i]) < np.inf:
                room.on[i] = 0.0


@njit(**OPTIONS)
def _begin(sde, load, store, first_size, mean, flat, room, plan):
    """Slopes at the start, and sizes where they are to be found."""
    for i in range(room.t.shape[0]):
        s, x = at(sde, room.own, i), load(room.x, i)
        slope = s.drift(room.seen[i], x)
        store(room.f, i, slope)
        if plan.first == 0.0:
            span = abs(room.goal[i] - room.t[i])
            size = first_size(
                s, room.t[i], x, slope, real(span), plan.direction, plan.rtol, plan.atol, plan.q, mean, flat
            )
            room.size[i] = value(size)
    for i in range(room.t.shape[0]):
        room.nfe[i] += plan.first == 0.0
        if not room.size[i] < np.inf:
            room.on[i] = 0.0


@njit(**OPTIONS)
def _leave(room, plan, result, start, high):
    """What is known of the paths at their end; the rows of lost ones are NaN already."""
    for i in range(min(room.t.shape[0], high - start)):
        path = start + i
        counts, control = result.counts, result.control
        counts[0, path], counts[1, path], counts[2, path] = room.steps[i], room.rejected[i], room.nfe[i]
        control[0, path], control[1, path], control[2, path] = room.size[i], room.before[i], room.most[i]
        result.failed[path] = room.t[i] != plan.t[-1]


@njit(**OPTIONS)
def _attend(sde, load, store, recall, interpolate, further, room, plan, result, i, path, high):
    """Save lane i at the times that its last step has passed; at the end of a leg begin the next; bury a lost lane."""
    s, k, sign, t = at(sde, room.own, i), room.x.shape[0], plan.direction, plan.t
    row = np.searchsorted(sign * t, sign * room.next[i])
    if interpolate is not None:  # noqa: SIM102 - alone it is a branch that the compiler leaves out
        if room.h[i] != 0.0 and sign * room.next[i] < sign * room.t[i]:
            old, h, begun = load(room.old, i), room.h[i], room.t[i] - room.h[i]
            taken = further(s, begun, old, h, recall(room.slopes, load(room.x, i), i))
            room.nfe[i] += plan.further
            while row < t.shape[0] and sign * t[row] < sign * room.t[i]:
                store(room.dense, i, interpolate(old, taken, h, (t[row] - begun) / h))
                for c in range(k if path < high else 0):
                    result.x[row, path, c] = room.dense[c, i]
                row += 1
    if room.h[i] != 0.0 and row < t.shape[0] and t[row] == room.t[i]:
        for c in range(k if path < high else 0):
            result.x[row, path, c] = room.x[c, i]
        row += 1
    room.next[i] = t[min(row, t.shape[0] - 1)]
    if room.happened[i] >= 2 or room.t[i] == plan.legs[-1]:
        room.on[i] = 0.0
    elif room.h[i] != 0.0 and room.t[i] == room.goal[i]:
        leg = np.searchsorted(sign * plan.legs, sign * room.t[i])
        room.goal[i], room.end[i], room.seen[i] = plan.legs[leg + 1], plan.end[leg], plan.begin[leg]
        if plan.begin[leg] != plan.legs[leg]:  # slopes from before a jump are dropped
            store(room.f, i, s.drift(room.seen[i], load(room.x, i)))
            room.nfe[i] += 1


@njit(**OPTIONS)
def kernel(
    sde, step, load, store, keep, recall, interpolate, further, first_size, propose, mean, flat,
    x0, columns, plan, result, room, low, high, slot, ticks, first_bad,
):  # fmt: skip
    """Solve for the paths low … high − 1, a group at a time; ticks[0] < 0 asks for a stop."""
    widest_vectors()
    lanes, direction, rtol, atol, q = room.t.shape[0], plan.direction, plan.rtol, plan.atol, plan.q
    most_steps, least_size = plan.most_steps, plan.least
    at_x = room.x
    at_f = room.f
    at_own = room.own
    at_old = room.old
    at_slopes = room.slopes
    at_t = room.t
    at_seen = room.seen
    at_goal = room.goal
    at_end = room.end
    at_next = room.next
    at_h = room.h
    at_size = room.size
    at_before = room.before
    at_most = room.most
    at_steps = room.steps
    at_rejected = room.rejected
    at_on = room.on
    at_happened = room.happened
    for start in range(low, high, lanes):
        _enter(room, x0, columns, plan, result, start, high)
        _begin(sde, load, store, first_size, mean, flat, room, plan)
        for i in range(min(lanes, high - start)):
            for c in range(x0.shape[1]):
                result.x[0, start + i, c] = room.x[c, i]
        left = 1
        while left > 0 and ticks[0] >= 0:
            left, events = 0, 0  # lanes on their way, and those to attend to
            for i in range(lanes):
                old, on = load(at_x, i), at_on[i] > 0.0
                size = pick(at_size[i] > least_size, at_size[i], least_size)
                rest = abs(at_goal[i] - at_t[i])
                last = rest <= STRETCH * size
                h = direction * pick(on, pick(last, rest, size), 0.0)
                t1 = pick(last, at_goal[i], at_t[i] + h)
                slope, end = load(at_f, i), pick(last, at_end[i], t1)
                taken = step(at(sde, at_own, i), at_seen[i], end, old, h, slope)
                keep(at_old, at_slopes, i, old, taken)
                error = value(controller.error_square(taken.error, old, taken.x, rtol, atol, mean))
                square = real(error + times_zero(taken.x))
                fits, factor, before, most = propose(square, real(at_before[i]), real(at_most[i]), q)
                counts, shrinks = fits & on, on & (square > 1.0) | on & (square != square)
                proposed = abs(h) * value(factor)
                larger = pick(proposed > size, proposed, size)
                new_size = pick(last & counts & (abs(h) < size), larger, proposed)
                steps = at_steps[i] + pick(on, 1.0, 0.0)
                least = pick(LEAST * abs(at_t[i]) > least_size, LEAST * abs(at_t[i]), least_size)
                lost = (shrinks & (new_size < least)) | (on & (steps >= most_steps) & (shrinks | (rest > abs(h))))
                reached = counts & (last | (direction * t1 >= direction * at_next[i]))
                store(at_x, i, sm.where(counts, taken.x, old))
                store(at_f, i, sm.where(counts, taken.slopes[-1], slope))
                at_h[i] = pick(counts, h, 0.0)
                at_seen[i] = pick(counts, t1, at_seen[i])
                at_t[i] = pick(counts, t1, at_t[i])
                at_size[i] = pick(on, new_size, size)
                at_before[i] = pick(on, value(before), at_before[i])
                at_most[i] = pick(on, value(most), at_most[i])
                at_steps[i] = steps
                at_rejected[i] += pick(shrinks, 1.0, 0.0)
                happened = pick(reached, 1.0, 0.0) + pick(lost, 2.0, 0.0)
                at_happened[i] = happened
                left += 1 if on else 0
                events += 1 if reached | lost else 0
            if events > 0:
                for i in range(lanes):
                    if room.happened[i] > 0:  # scalar code, which may branch
                        _attend(sde, load, store, recall, interpolate, further, room, plan, result, i, start + i, high)
        for i in range(lanes):
            room.nfe[i] += plan.drifts * int(room.steps[i])
        _leave(room, plan, result, start, high)
        ticks[slot] += min(lanes, high - start) * plan.begin.shape[0]


@functools.cache
def kept_slopes(k, count):
    """(keep, recall) of the old state and `count` slopes of k components (None: one value); nothing for count = 0."""
    if not count:
        return njit(lambda before, slopes, i, old, taken: None, forceinline=True, **FORMULA), None
    width = k or 1

    def writes(array, base, expression):
        if k is None:
            return [f"    {array}[{base}, i] = value({expression})"]
        return [f"    parts = reals({expression})"] + [
            f"    {array}[{base + c}, i] = value(parts[{c}])" for c in range(k)
        ]

    lines = writes("before", 0, "old")
    for j in range(count):
        lines += writes("slopes", j * width, f"taken.slopes[{j}]")
    loads = []
    for j in range(count):
        values = ", ".join(f"real(slopes[{j * width + c}, i])" for c in range(width))
        loads.append(values if k is None else f"vec(({values},))")
    texts = (
        "\n".join(["def impl(before, slopes, i, old, taken):", *lines]),
        f"def impl(slopes, x, i):\n    return Kept(x, None, None, ({', '.join(loads)},))",
    )
    names = {"real": real, "reals": reals, "value": value, "vec": vec, "Kept": compiled(Kept)}
    return tuple(njit(source(text, **names), forceinline=True, **FORMULA) for text in texts)


# --- the run -------------------------------------------------------------------------------------


def run(problem, threads=None):
    """Solve with compiled code, on all CPUs unless told; states are arrays of float32 or float64."""
    check(problem)
    course, k = problem.steps, problem.system.components or 1
    out = np.full((len(course.t), problem.lanes, k), np.nan, problem.x0.dtype)
    plan = _plan(problem)
    result = Result(out, np.zeros((3, problem.lanes), np.int64), _control(problem), np.zeros(problem.lanes, np.bool_))
    if len(course.t) == 1:
        out[0] = np.broadcast_to(problem.x0, problem.shape).reshape(problem.lanes, k)
    else:
        _solve(problem, plan, result, threads)
    shape, failed_step = problem.system.path_shape, None
    if result.failed.any():
        bad = np.isnan(out[:, :, 0]).argmax(0)[result.failed]
        failed_step = max(int(bad.min()), 1) - 1
    with np.errstate(over="ignore"):
        x = out.reshape(len(course.t), *problem.shape).astype(problem.dtype, copy=False)
    control = controller.Control(*(c.reshape(shape) for c in result.control))
    steps, rejected, nfe = (n.reshape(shape) for n in result.counts)
    failed, last = result.failed.reshape(shape), out[-1].reshape(problem.shape)
    return Outcome(x, last, failed, failed_step, None, nfe, steps, rejected, control)


def _solve(problem, plan, result, threads):
    """Into `result`, on a pool of threads."""
    with _preparing:
        share, types_ = _share(problem, plan, result)
    ticks = np.zeros((threads or machine.cpus()) + 1, np.int64)
    first_bad = np.zeros(len(ticks), np.int64)
    _ready(types_, lambda: share(0, 0, 1, ticks, first_bad), problem)
    threads = min(len(ticks) - 1, -(-problem.lanes // GROUP))
    size = -(-min(PIECE, -(-problem.lanes // (8 * threads))) // GROUP) * GROUP
    pieces = [(low, min(low + size, problem.lanes)) for low in range(0, problem.lanes, size)]
    if threads == 1 and problem.ticker is None and problem.lanes <= GROUP:
        for piece in pieces:
            share(*piece, 1, ticks, first_bad)
    elif pieces:
        _in_threads(share, pieces, ticks, first_bad, problem, threads)


def _share(problem, plan, result):
    """(the function that solves for the paths low … high − 1 into `result`, the types that its kernel is made for)."""
    method, system, found = problem.method, problem.system, []
    if not method.first_same_as_last:
        raise ValueError(
            f"adaptive steps of the numba backend need a method with first_same_as_last, which {method.name} is not; "
            f"use sdekit.backends.numpy()"
        )
    sde, step = prepare(problem.equation, found), compiled(method.step)
    load, store = access(system.components, None, 0)[:2]
    between = method.interpolate is not None and not np.isin(problem.steps.t, problem.steps.legs.t).all()
    slopes = _slopes(problem) if between else 0
    keep, recall = kept_slopes(system.components, slopes)
    dense = [compiled(method.interpolate) if between else None, compiled(method.further or _complete)]
    functions = (step, load, store, keep, recall, *dense, compiled(controller.first_size), compiled(controller.propose))
    x0, columns, dtype = _starts(problem), _per_lane(found, problem), problem.x0.dtype

    def share(low, high, slot, ticks, first_bad):
        space = room(system.components or 1, dtype, len(columns), slopes)
        paths = x0, columns, plan, result
        call(kernel, types_, sde, *functions, measure, plain, *paths, space, low, high, slot, ticks, first_bad)

    types_ = "adaptive", kind(sde), *functions, dtype
    return share, types_


def _complete(sde, t, x, h, taken):
    """What stands for `further` where a method has none."""
    return taken


def _slopes(problem):
    """How many slopes a step has: one is taken by an equation that stands still."""
    still = problem.equation._replace(f=lambda process, t, x: 0.0 * x)
    x = np.ones((problem.system.components, 1) if problem.system.components else 1)
    taken = problem.method.step(still, 0.0, 1.0, x, 1.0, x)
    assert isinstance(taken, Taken)
    return len(taken.slopes)


def _plan(problem):
    course, tol, method = problem.steps, problem.steps.tolerance, problem.method
    return Plan(
        course.t, course.legs.t, course.legs.begin, course.legs.end, course.direction, tol.rtol, tol.atol,
        1.0 if problem.control is not None else tol.first or 0.0, max(tol.least, 1e-300), float(tol.most_steps),
        method.error_order + 1.0, method.drifts, 3 if method.further else 0,
    )  # fmt: skip


def _control(problem):
    """(3, paths) sizes and the state of the controller at the start."""
    control = problem.control
    if control is None:
        first = problem.steps.tolerance.first or 0.0
        return np.repeat(np.array(controller.init(first))[:, None], problem.lanes, 1)
    return np.stack([np.broadcast_to(c, problem.system.path_shape).reshape(-1) for c in control]).astype(float)
