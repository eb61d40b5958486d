"""The lane loop of steps of adaptive size: a size for each lane, groups of lanes in lockstep.

A step of a lane is straight arithmetic, as in `fixed`: accepting or rejecting is a select, and a lane that has arrived
goes on with h = 0. What is not arithmetic is done behind that loop by `attend`, for the lanes to which something
happened.
"""

import numpy as np
from numba import njit, types
from numba.extending import overload

from ... import control as controller
from ... import math as sm
from .attending import (
    BEFORE,
    BEGUN,
    BUSY,
    END,
    GOAL,
    HAPPENED,
    LANES,
    MOST,
    NEXT,
    ON,
    REJECTED,
    SAW,
    SEEN,
    SIZE,
    STEPS,
    F,
    H,
    T,
    X,
    attend,
    within,
)
from .captured import NATIVE
from .elementary import select
from .elementary.instructions import source
from .generator import widest_vectors
from .lane import INLINE, Vec, real, reals, times_zero, value
from .records import ENTRY, FORMULA, at, compiled

TOGETHER = 16  # lanes whose loop is left out where none of them is on its way
LEAST, STRETCH = controller.LEAST, controller.STRETCH

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
plain = njit(lambda number: value(number), forceinline=True, **FORMULA)


# --- the kernel ----------------------------------------------------------------------------------


@njit(**ENTRY)
def kernel(sde, step, keep, propose, test, forms, between, paths, plan, room, low, high, slot, ticks):
    """Solve for the paths low … high − 1, as many at a time as there are lanes; ticks[0] < 0 asks for a stop."""
    widest_vectors()
    direction, rtol, atol, q, least_size = plan.direction, plan.rtol, plan.atol, plan.q, plan.least
    states, own, n = within(room.states), within(room.own), within(room.numbers)
    following, left, events = low, 1, 1  # the path that is next, lanes on their way, and those to attend to
    while left > 0 and ticks[0] >= 0:
        if events > 0:
            following = attend((sde, forms, between, paths, plan, room, following, high))
        left, events = 0, 0
        for start in range(0, LANES, TOGETHER):
            if n[BUSY, start] == 0.0:
                continue
            on_here = 0
            for i in range(start, start + TOGETHER):
                old, slope, on, t = forms.load(states, X, i), forms.load(states, F, i), n[ON, i] > 0.0, n[T, i]
                size = select(n[SIZE, i] > least_size, n[SIZE, i], least_size)
                rest = abs(n[GOAL, i] - t)  # 0 where the lane is done, which then stays with h = 0
                last = rest <= STRETCH * size
                h = direction * select(last, rest, size)
                t1 = select(last, n[GOAL, i], t + h)
                end = select(last, n[END, i], t1)
                taken = step(at(sde, own, i), n[SEEN, i], end, old, h, slope)
                keep(states, i, old, taken)
                error = value(controller.error_square(taken.error, old, taken.x, rtol, atol, forms.mean))
                square = real(error + times_zero(taken.x))
                counts, factor, before, most = propose(square, real(n[BEFORE, i]), real(n[MOST, i]), q)
                shrinks = not counts
                proposed = abs(h) * value(factor)
                larger = select(proposed > size, proposed, size)
                new_size = select(last & counts & (abs(h) < size), larger, proposed)
                steps = n[STEPS, i] + 1.0
                least = select(LEAST * abs(t) > least_size, LEAST * abs(t), least_size)
                lost = (shrinks & (new_size < least)) | ((steps >= plan.most_steps) & (shrinks | (rest > abs(h))))
                reached = counts & (last | (direction * t1 >= direction * n[NEXT, i]))
                if test is not None:
                    n[BEGUN, i], n[SAW, i] = t, n[SEEN, i]
                    seen = n[SEEN, i], t, t1, h, old, taken.x
                    reached |= counts & test(at(sde, own, i), *seen, paths.stops.levels, states, 0, i)
                forms.store(states, X, i, sm.where(counts, taken.x, old))
                forms.store(states, F, i, sm.where(counts, taken.slopes[-1], slope))
                n[T, i] = select(counts, t1, t)
                n[SEEN, i] = select(counts, t1, n[SEEN, i])
                n[H, i] = select(counts, h, 0.0)
                n[SIZE, i], n[BEFORE, i], n[MOST, i], n[STEPS, i] = new_size, value(before), value(most), steps
                n[REJECTED, i] += select(counts, 0.0, 1.0)
                n[HAPPENED, i] = select(on, select(reached, 1.0, 0.0) + select(lost, 2.0, 0.0), 0.0)
                on_here += 1 if on else 0
                events += 1 if on & (reached | lost) else 0
            n[BUSY, start] = on_here
            left += on_here
    ticks[slot] += (following - low) * plan.legs.shape[1]
