"""Events in compiled code: a test for each lane in the lane loop, and scalar code where one is met.

A block has the rows of the state, of the state before the step, and a flag: 1 where a lane is on its way, 0 where it
is not, 2 where it has met something in this step.
"""

import functools
from typing import NamedTuple

import numpy as np
from numba import njit

from ... import events
from ... import math as sm
from ...noise import MASK, Stream
from ..stops import ALIKE, ITERATIONS, crowded, watched
from .attending import HAPPENED, MORE, OLD, PATH, ROW, H, T, X
from .fixed import reached
from .generator import philox
from .lane import as_like, real, reals, source, value, vec
from .records import FORMULA, OPTIONS, at, compiled

HIT = int(Stream.HIT)
ROOT, AT_END = -1, -2  # in place of a component: where a function's root is


class Stops(NamedTuple):
    """What is looked for, and what is found, by path."""

    levels: np.ndarray  # of barriers, 0 of events
    kinds: np.ndarray  # (events, 3) the component of a barrier or what else, the row of records or −1, how many
    when: np.ndarray
    which: np.ndarray
    counts: np.ndarray  # (recorded events, paths)
    times: np.ndarray  # (recorded events, most, paths)
    states: np.ndarray  # (recorded events, most, paths, k)
    seen: np.ndarray  # (events, 6) room for what a lane meets: whether, a, b, v h, the fraction of the step, the wait


def stops(problem):
    """The `Stops` of a problem."""
    found, lanes, dtype = problem.events, problem.lanes, problem.x0.dtype
    recorded = [e for e in found if not e.terminal]
    most = max((e.most for e in recorded), default=0)
    kind = ROOT if problem.system.noise == "none" else AT_END
    kinds = [
        (getattr(e, "component", kind), -1 if e.terminal else recorded.index(e), 1 if e.terminal else e.most)
        for e in found
    ]
    when, which = problem.stopped or (np.nan, -1)
    return Stops(
        np.array([getattr(e, "level", 0.0) for e in found], float),
        np.array(kinds, np.int64).reshape(-1, 3),
        np.broadcast_to(when, problem.system.path_shape).reshape(-1).astype(float),
        np.broadcast_to(which, problem.system.path_shape).reshape(-1).astype(np.int64),
        np.zeros((len(recorded), lanes), np.int64),
        np.full((len(recorded), most, lanes), np.nan),
        np.full((len(recorded), most, lanes, problem.system.components or 1), np.nan, dtype),
        np.empty((len(found), 6)),
    )


def watching(problem, load, store):
    """(enter, gate, strike, stops) for a kernel; None where nothing stops or has stopped."""
    if not problem.events and problem.stopped is None:
        return None, None, None, None
    method = problem.method
    functions = (f and compiled(f) for f in (method.interpolate, method.further))
    inner = within(*functions) if problem.system.noise == "none" else at_end
    _, gate, gather, measure, before = _looks(problem)
    settle = settler(gather, measure, store, inner)
    return enter, gate, striker(settle, before, load), stops(problem)


def found(problem, stops):
    """What an `Outcome` has of it."""
    if stops is None:
        return {}
    shape, rows = problem.system.path_shape, []
    for event, (_, r, most) in zip(problem.events, stops.kinds, strict=True):
        t, x = (None, None) if r < 0 else (stops.times[r, :most], stops.states[r, :most])
        rows.append(None if event.terminal else (t.reshape(most, *shape), x.reshape(most, *problem.shape)))
    return {"stopped": (stops.when.reshape(shape), stops.which.reshape(shape)), "events": tuple(rows)}


def _looks(problem):
    """What is `written` for the events of a problem."""
    system, found = problem.system, problem.events
    coupled, components = system.components is not None, watched(found)
    looks = tuple(
        compiled(events.look(e, coupled, system.noise, crowded(found, getattr(e, "component", -1)))) for e in found
    )
    rows = tuple(components.index(e.component) if hasattr(e, "component") else -1 for e in found)
    functions = tuple(None if hasattr(e, "component") else compiled(e.f) for e in found)
    return written(system.components, looks, rows, functions)


@functools.cache
def written(k, looks, rows, functions):
    """Functions with one line for each event, looked at with the exponential number in its row.

    test     whether a step meets anything
    gate     a lane's new state, and 1 where it may have met something
    gather   (meets, a, b, v h) of each event into an array
    measure  the function of an event at a state
    before   the state before the step
    """
    width = k or 1
    waits = [f"real(z[row + {r}, i])" if r >= 0 else "0.0" for r in rows]
    seen = [
        f"m{e}, a{e}, b{e}, s{e} = look{e}(sde.process, now, then, h, old, new, levels[{e}], {wait})"
        for e, wait in enumerate(waits)
    ]
    keeps = [f"x[{width + c}, i] = value({f'reals(old)[{c}]' if k else 'old'})" for c in range(width)]
    fills = [
        f"seen[{e}, {j}] = value(as_like({name}{e}, one))" for e in range(len(looks)) for j, name in enumerate("mabs")
    ]
    fills += [f"seen[{e}, 5] = value(as_like({wait}, one))" for e, wait in enumerate(waits)]
    state = "*reals(x)" if k else "x"
    measures = [f"if e == {e}: return as_like(f{e}(t, {state}), one)" for e, f in enumerate(functions) if f is not None]
    items = ", ".join(f"real(x[{width + c}, i])" for c in range(width))
    names = {f"look{e}": look for e, look in enumerate(looks)} | {f"f{e}": f for e, f in enumerate(functions)}
    names |= {"real": real, "reals": reals, "value": value, "vec": vec, "sm": sm, "as_like": as_like}
    meets = " | ".join(f"m{e}" for e in range(len(looks))) or "False"
    step = "sde, now, then, h, old, new, levels, z, row, i"
    bodies = {
        step: [*seen, f"return {meets}"],
        f"{step}, x": [
            *seen, *keeps, f"flag = real(x[{2 * width}, i])", "on = flag > 0.0", f"meets = on & ({meets})",
            f"x[{2 * width}, i] = value(sm.where(meets, as_like(2.0, flag), flag))",
            "return sm.where(on, new, old), value(sm.where(meets, as_like(1.0, flag), as_like(0.0, flag)))",
        ],
        f"{step}, seen": ["one = real(1.0)", *seen, *fills],
        "e, t, x": ["one = real(1.0)", *measures, "return one"],
        "x, i": [f"return vec(({items},))" if k else f"return {items}"],
    }  # fmt: skip
    texts = ("\n    ".join([f"def impl({head}):", *body]) for head, body in bodies.items())
    return tuple(njit(source(text, **names), forceinline=True, **FORMULA) for text in texts)


@njit(**OPTIONS)
def enter(x, stops, start, high):
    """Flags of the lanes of a block, and how many are on their way."""
    flag, left = x.shape[0] - 1, 0
    for i in range(x.shape[1]):
        on = start + i < high and stops.which[min(start + i, high - 1)] < 0
        x[flag, i] = 1.0 if on else 0.0
        left += on
    return left


def rooter(measure, inner):
    """The fraction of the step at which the function of event e is zero: see `stops.root` of arrays."""
    near_to, narrowed = compiled(events.near), compiled(events.narrowed)

    @njit(**OPTIONS)
    def root(sde, e, a, b, now, then, h, old, taken):
        lo, hi, f_lo, f_hi, last, near = 0.0, 1.0, 1.0, b / a, 1.0, 1.0
        for _ in range(ITERATIONS):
            middle = 0.5 * (lo + hi)
            at_middle = value(measure(e, now + middle * h, inner(sde, now, then, h, old, taken, middle))) / a
            bracket = (real(lo), real(hi), real(f_lo), real(f_hi))
            near = value(near_to(bracket, real(at_middle)))
            at_near = value(measure(e, now + near * h, inner(sde, now, then, h, old, taken, near))) / a
            p, q, f_p, f_q = narrowed(bracket, real(at_middle), real(near), real(at_near))
            lo, hi, f_lo, f_hi = value(p), value(q), value(f_p), value(f_q)
            if not (abs(near - last) > ALIKE and hi - lo > ALIKE):
                break
            last = near
        return near

    return root


def fractions(root):
    """(whether a barrier that may be met is, the fraction of the step at which event e happens or 2)."""
    hit, uniform, decided = (compiled(f) for f in (events.hit, events.uniform, events.decided))

    @njit(**OPTIONS)
    def decide(stops, seen, e, lane, group, k0, k1):
        component, first, count = stops.kinds[e, 0], e, 0
        for o in range(seen.shape[0]):
            if stops.kinds[o, 0] == component:
                first, count = min(first, o), count + 1
        w = philox(lane & MASK, (lane >> 32) & MASK, (group + first) & MASK, HIT, k0, k1)
        u = uniform(real(seen[e, 5]), real(float(w[3])))
        return decided(real(seen[e, 1]), real(seen[e, 2]), real(seen[e, 3]), u, count > 1)

    @njit(**OPTIONS)
    def fraction(sde, stops, seen, e, now, then, h, old, taken, lane, group, k0, k1):
        if seen[e, 0] == 0.0:
            return 2.0
        a, b, component = seen[e, 1], seen[e, 2], stops.kinds[e, 0]
        if component == AT_END:
            return 1.0
        if component == ROOT:
            return root(sde, e, a, b, now, then, h, old, taken)
        for o in range(seen.shape[0]):  # of two levels of a component on one side the nearer one
            same = o != e and stops.kinds[o, 0] == component and seen[o, 0] != 0.0
            if same and seen[o, 1] * a > 0.0 and abs(seen[o, 1]) < abs(a):
                return 2.0
        w = philox(lane & MASK, (lane >> 32) & MASK, (group + e) & MASK, HIT, k0, k1)
        words = real(float(w[0])), real(float(w[1])), real(float(w[2]))
        return value(hit(real(a), real(b), real(seen[e, 3]), *words))

    return decide, fraction


def locator(store, inner):
    """The state at a fraction of the step into the rows of lane i."""

    @njit(**OPTIONS)
    def locate(sde, stops, e, now, then, h, theta, old, new, taken, x, i):
        component = stops.kinds[e, 0]
        if component >= 0:
            store(x, i, old + theta * (new - old))
            x[component, i] = stops.levels[e]
        else:
            store(x, i, inner(sde, now, then, h, old, taken, theta))

    return locate


@functools.cache
def settler(gather, measure, store, inner):
    """What lane i has met in a step: its state, in the first rows of x, and whether it stops; more into `Stops`."""
    (decide, fraction), locate = fractions(rooter(measure, inner)), locator(store, inner)

    @njit(**OPTIONS)
    def settle(sde, stops, seen, now, then, t, h, old, new, taken, z, row, x, i, path, lane, number, k0, k1):
        gather(sde, now, then, h, old, new, stops.levels, z, row, i, seen)
        first, stop, count = 2.0, -1, seen.shape[0]
        for e in range(count):
            if seen[e, 0] != 0.0 and stops.kinds[e, 0] >= 0:
                seen[e, 0] = 1.0 if decide(stops, seen, e, lane, number * count, k0, k1) else 0.0
        for e in range(count):
            seen[e, 4] = fraction(sde, stops, seen, e, now, then, h, old, taken, lane, number * count, k0, k1)
            if stops.kinds[e, 1] < 0 and seen[e, 4] < first:
                first, stop = seen[e, 4], e
        for e in range(count):
            r, theta = stops.kinds[e, 1], seen[e, 4]
            if r >= 0 and theta < 2.0 and theta <= first and stops.counts[r, path] < stops.kinds[e, 2]:
                locate(sde, stops, e, now, then, h, theta, old, new, taken, x, i)
                stops.times[r, stops.counts[r, path], path] = t + theta * h
                for c in range(stops.states.shape[3]):
                    stops.states[r, stops.counts[r, path], path, c] = x[c, i]
                stops.counts[r, path] += 1
        store(x, i, new)
        if stop >= 0:
            locate(sde, stops, stop, now, then, h, first, old, new, taken, x, i)
            stops.when[path], stops.which[path] = t + first * h, stop
        return stop >= 0

    return settle


@functools.cache
def striker(settle, before, load):
    """Settles what the lanes of a block have met in a step of given size; how many of them stop."""

    @njit(**OPTIONS)
    def strike(sde, step, draw, stops, now, then, t, h, own, x, z, place, row, start, first_lane, number, k0, k1):
        seen, stopped, flag = stops.seen, 0, x.shape[0] - 1
        for i in range(x.shape[1]):
            if x[flag, i] == 2.0:
                s, path, old, new = at(sde, own, i), start + i, before(x, i), load(x, i)
                taken = step(s, now, then, old, h, *draw(z, place, i, np.sqrt(abs(h))))
                stops_here = settle(
                    s, stops, seen, now, then, t, h, old, new, taken, z, row, x, i, path, first_lane + path, number,
                    k0, k1,
                )  # fmt: skip
                x[flag, i] = 0.0 if stops_here else 1.0
                stopped += stops_here
        return stopped

    return strike


def adaptive(problem, load, store, recall):
    """(test, between) for the kernel of adaptive steps, whose `Forms.between` records, stops and saves."""
    method = problem.method
    functions = (f and compiled(f) for f in (method.interpolate, method.further))
    inner = within(*functions)
    test, _, gather, measure, _ = _looks(problem)
    return test, eventful(settler(gather, measure, first_rows(store), inner), load, store, recall, inner)


@functools.cache
def first_rows(store):
    """`store` of adaptive runs as settling calls it."""
    return njit(lambda x, i, state: store(x, X, i, state), forceinline=True, **FORMULA)


@functools.cache
def eventful(settle, load, store, recall, inner):
    """What an adaptive run does with a lane's last step: `attending.dense` up to where the path stops."""

    @njit(**OPTIONS)
    def between(sde, forms, paths, plan, room, i):
        n, states, stops, sign, t = room.numbers, room.states, paths.stops, plan.direction, plan.t
        end, h, row, path, s = n[T, i], n[H, i], int(n[ROW, i]), int(n[PATH, i]), at(sde, room.own, i)
        begun, old, new, taken = end - h, load(states, OLD, i), load(states, X, i), recall(states, i)
        seen = stops.seen
        stopped = settle(s, stops, seen, begun, end, begun, h, old, new, taken, states, 0, states, i, path, 0, 0, 0, 0)
        used = (seen[:, 0] != 0.0).any()
        if stopped:
            end, n[HAPPENED, i] = stops.when[path], 2.0
        while row < t.shape[0] and sign * t[row] < sign * end:
            store(states, OLD, i, inner(s, begun, end, h, old, taken, (t[row] - begun) / h))
            for c in range(paths.x.shape[2]):
                paths.x[row, path, c] = states[OLD * paths.x.shape[2] + c, i]
            row, used = row + 1, True
        n[MORE, i] += plan.further if used else 0.0
        while row < t.shape[0] and stopped:
            for c in range(paths.x.shape[2]):
                paths.x[row, path, c] = states[X * paths.x.shape[2] + c, i]
            row += 1
        n[ROW, i] = row

    return between


@njit(forceinline=True, **FORMULA)
def at_end(sde, now, then, h, old, taken, theta):
    """The state where an equation with noise is stopped by an event."""
    return as_like(reached(taken), old)


@functools.cache
def within(interpolate, further):
    """The state at a fraction of a step (compiled code only): of the dense output, else Hermite's cubic."""
    if interpolate is None:
        hermite = compiled(events.hermite)

        def inner(sde, now, then, h, old, taken, theta):
            new = as_like(reached(taken), old)
            return hermite(old, new, sde.drift(now, old) * h, sde.drift(then, new) * h, theta)

    elif further is None:

        def inner(sde, now, then, h, old, taken, theta):
            return interpolate(old, taken, h, theta)

    else:

        def inner(sde, now, then, h, old, taken, theta):
            return interpolate(old, further(sde, now, old, h, taken), h, theta)

    return njit(inner, forceinline=True, **FORMULA)
