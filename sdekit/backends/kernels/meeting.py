"""What a lane has met in a step: in scalar code, which may branch, for steps of either kind.

What takes `Stops` is inlined: a call counts the owners of each of its arrays, which takes longer than all the rest.
"""

import functools

import numpy as np
from numba import njit

from ... import events
from ...noise import MASK, Stream
from ..stops import ALIKE, ITERATIONS
from .attending import BEGUN, END, GOAL, HAPPENED, MORE, OLD, PATH, ROW, SAW, H, T, X
from .fixed import reached
from .generator import philox, widest_vectors
from .lane import as_like, real, value
from .normals import borrowed, waits
from .records import FORMULA, OPTIONS, at, compiled

HIT, TOGETHER = int(Stream.HIT), 32
ROOT, AT_END = -1, -2  # in place of a component: where a function's root is


def rooter(measure, inner):
    """The fraction of the step at which the function of event e is zero: see `stops.root` of arrays."""
    near_to, narrowed = compiled(events.near), compiled(events.narrowed)

    @njit(**OPTIONS)
    def root(sde, e, a, b, now, then, t, h, old, taken):
        lo, hi, f_lo, f_hi, last, near = 0.0, 1.0, 1.0, b / a, 1.0, 1.0
        for _ in range(ITERATIONS):
            middle = 0.5 * (lo + hi)
            at_middle = value(measure(e, t + middle * h, inner(sde, now, then, h, old, taken, middle))) / a
            bracket = (real(lo), real(hi), real(f_lo), real(f_hi))
            near = value(near_to(bracket, real(at_middle)))
            at_near = value(measure(e, t + near * h, inner(sde, now, then, h, old, taken, near))) / a
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

    @njit(forceinline=True, **OPTIONS)
    def decide(stops, seen, e, lane, group, k0, k1):
        component, first, count = stops.kinds[e, 0], e, 0
        for o in range(seen.shape[0]):
            if stops.kinds[o, 0] == component:
                first, count = min(first, o), count + 1
        w = philox(lane & MASK, (lane >> 32) & MASK, (group + e) & MASK, HIT, k0, k1)
        seen[e, 6], seen[e, 7], seen[e, 8] = w[0], w[1], w[2]
        if first < e:  # the same number for all of a component
            w = philox(lane & MASK, (lane >> 32) & MASK, (group + first) & MASK, HIT, k0, k1)
        if seen[e, 1] * seen[e, 2] <= 0.0:
            return True
        u = value(uniform(real(seen[e, 5]), real(float(w[3]))))
        u = 1.0 - u if count > 1 and seen[e, 1] > 0.0 else u
        return decided(real(seen[e, 1]), real(seen[e, 2]), real(seen[e, 3]), real(u))

    @njit(forceinline=True, **OPTIONS)
    def fraction(sde, stops, seen, e, now, then, t, h, old, taken):
        if seen[e, 0] == 0.0:
            return 2.0
        a, b, component = seen[e, 1], seen[e, 2], stops.kinds[e, 0]
        if component == AT_END:
            return 1.0
        if component == ROOT:
            return root(sde, e, a, b, now, then, t, h, old, taken)
        for o in range(seen.shape[0]):  # of two levels of a component on one side the nearer one
            same = o != e and stops.kinds[o, 0] == component and seen[o, 0] != 0.0
            if same and seen[o, 1] * a > 0.0 and abs(seen[o, 1]) < abs(a):
                return 2.0
        words = real(seen[e, 6]), real(seen[e, 7]), real(seen[e, 8])
        return value(hit(real(a), real(b), real(seen[e, 3]), *words))

    return decide, fraction


def locator(store, inner):
    """The state at a fraction of the step into the rows of lane i."""

    @njit(forceinline=True, **OPTIONS)
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

    @njit(forceinline=True, **OPTIONS)
    def settle(sde, stops, seen, now, then, t, t1, h, old, new, taken, z, row, x, i, path, lane, number, k0, k1):
        gather(sde, now, t, t1, h, old, new, stops.levels, z, row, i, seen)
        first, stop, count = 2.0, -1, seen.shape[0]
        for e in range(count):
            if seen[e, 0] != 0.0 and stops.kinds[e, 0] >= 0:
                seen[e, 0] = 1.0 if decide(stops, seen, e, lane, number * count, k0, k1) else 0.0
        for e in range(count):
            seen[e, 4] = fraction(sde, stops, seen, e, now, then, t, h, old, taken)
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
def striker(meets, settle, before, load, numbers):
    """Settles what the lanes of a block have met in a step of given size, if any may have; how many of them stop."""

    @njit(forceinline=True, **OPTIONS)
    def sifted(sde, block, levels, times, row, exact, lanes):
        """How many of `lanes` have met something: in vector instructions, of those near where the gate did not see."""
        now, _, t, t1, h = times
        x, z, count = block.x, block.z, value(as_like(0, real(block.x[0, 0])))
        flag, none, one = x.shape[0] - 1, count, value(as_like(1, real(x[0, 0])))
        if exact:
            for i in lanes:
                count += one if x[flag, i] == 2.0 else none
        else:
            for i in lanes:
                count += meets(at(sde, block.own, i), now, t, t1, h, before(x, i), load(x, i), levels, z, row, i, x)
        return count

    @njit(**OPTIONS)
    def strike(sde, step, draw, stops, times, noise, plan, block, place, start, s, phase, waited):
        widest_vectors()
        if not waited:
            waits((noise, plan, block.z, block.made, start, s - phase))
        row, (now, then, _, _, h) = plan.waits + phase * plan.each, times
        stops, block, noise = borrowed(stops), borrowed(block), borrowed(noise)
        x, z, number, exact = block.x, block.z, noise.first_step + s, waited and stops.exact
        levels, stopped, flag = numbers(stops.levels), 0, x.shape[0] - 1
        for first in range(0, x.shape[1], TOGETHER):
            lanes = range(first, min(first + TOGETHER, x.shape[1]))
            if sifted(sde, block, levels, times, row, exact, lanes) == 0:
                continue
            for i in lanes:
                if x[flag, i] != 2.0:
                    continue
                one, path, old, new = at(sde, block.own, i), start + i, before(x, i), load(x, i)
                taken = step(one, now, then, old, h, *draw(z, place, i, np.sqrt(abs(h))))
                lane, keys = noise.first_lane + path, (noise.k0, noise.k1)
                known = old, new, taken, z, row, x, i, path, lane, number
                ends = settle(one, stops, stops.seen, *times, *known, *keys)
                x[flag, i] = 0.0 if ends else 1.0
                stopped += ends
        return stopped

    return strike


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
        begun, old, new, taken = n[BEGUN, i], load(states, OLD, i), load(states, X, i), recall(states, i)
        now, seen = n[SAW, i], stops.seen
        times = now, n[END, i] if end == n[GOAL, i] else end, begun, end, h
        stopped = settle(s, stops, seen, *times, old, new, taken, states, 0, states, i, path, 0, 0, 0, 0)
        used = (seen[:, 0] != 0.0).any()
        if stopped:
            end, n[HAPPENED, i] = stops.when[path], 2.0
        while row < t.shape[0] and sign * t[row] < sign * end:
            store(states, OLD, i, inner(s, *times[:2], h, old, taken, (t[row] - begun) / h))
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
