"""Events in compiled code: what kernels are given for them, and a test for each lane in the lane loop.

A block has the rows of the state, of the state before the step, and a flag: 1 where a lane is on its way, 0 where it
is not; in a step 3 where it is near to something, and then 2 where it has met it. Once the exponential numbers of a
chunk of steps are made, the lane loop finds the latter itself.
"""

import functools
from typing import NamedTuple

import numpy as np
from numba import njit

from ... import events
from ... import math as sm
from ..stops import crowded, watched
from .elementary.instructions import source
from .lane import as_like, real, reals, value, vec
from .meeting import AT_END, ROOT, at_end, eventful, first_rows, settler, striker, within
from .records import FORMULA, OPTIONS, compiled

LONGEST = 23.0  # more than any exponential number: 33 log 2


class Stops(NamedTuple):
    """What is looked for, and what is found, by path."""

    levels: np.ndarray  # of barriers, 0 of events
    kinds: np.ndarray  # (events, 3) the component of a barrier or what else, the row of records or −1, how many
    when: np.ndarray
    which: np.ndarray
    counts: np.ndarray  # (recorded events, paths)
    times: np.ndarray  # (recorded events, most, paths)
    states: np.ndarray  # (recorded events, most, paths, k)
    exact: bool  # whether `gate` can find what is met: of barriers on either side of a path it cannot
    seen: np.ndarray  # (events, 9) room: whether a lane meets it, a, b, v h, the fraction of the step, wait, words


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
        not any(_paired(found)),
        np.empty((len(found), 9)),
    )


def watching(problem, load, store):
    """(enter, gate, strike, stops) for a kernel; None where nothing stops or has stopped."""
    if not problem.events and problem.stopped is None:
        return None, None, None, None
    method = problem.method
    functions = (f and compiled(f) for f in (method.interpolate, method.further))
    inner = within(*functions) if problem.system.noise == "none" else at_end
    _, gate, meets, gather, measure, before, numbers = _looks(problem)
    settle = settler(gather, measure, store, inner)
    return entrance(numbers), gate, striker(meets, settle, before, load, numbers), stops(problem)


def adaptive(problem, load, store, recall):
    """(test, between) for the kernel of adaptive steps, whose `Forms.between` records, stops and saves."""
    method = problem.method
    functions = (f and compiled(f) for f in (method.interpolate, method.further))
    inner = within(*functions)
    test, _, _, gather, measure, *_ = _looks(problem)
    return test, eventful(settler(gather, measure, first_rows(store), inner), load, store, recall, inner)


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
    looks = tuple(compiled(events.look(e, coupled, system.noise, p)) for e, p in zip(found, _paired(found)))
    loose = tuple(compiled(events.look(e, coupled, system.noise)) for e in found)
    rows = tuple(components.index(e.component) if hasattr(e, "component") else -1 for e in found)
    functions = tuple(None if hasattr(e, "component") else compiled(e.f) for e in found)
    return written(system.components, looks, loose, rows, functions)


def _paired(found):
    return [crowded(found, getattr(e, "component", -1)) for e in found]


@functools.cache
def written(k, looks, loose, rows, functions):
    """Functions with one line for each event, looked at with the exponential number in its row.

    test     whether a step meets anything
    gate     a lane's new state, and 1 where it is so near to something that the exponential number is wanted; with
             that number in place of `LONGEST` where it has met it
    meets    of a lane that is so near, 1 where it may have met something
    gather   (meets, a, b, v h) of each event into an array
    measure  the function of an event at a state
    before   the state before the step
    numbers  levels as a tuple, which a loop does not read anew: read from an array of float64 they halve its vectors
    """
    width = k or 1
    waits = [f"real(z[row + {r}, i])" if r >= 0 else "0.0" for r in rows]
    begins = ["t" if r < 0 else "now" for r in rows]
    seen = [
        f"m{e}, a{e}, b{e}, s{e} = look{e}(sde.process, {begin}, t1, h, old, new, levels[{e}], {wait})"
        for e, (begin, wait) in enumerate(zip(begins, waits))
    ]
    nears = [
        f"n{e} = loose{e}(sde.process, {begin}, t1, h, old, new, levels[{e}], {wait})[0]"
        for e, (begin, wait) in enumerate(zip(begins, waits))
    ]
    flag, none = f"x[{2 * width}, i]", "as_like(0.0, flag)"
    keeps = [f"x[{width + c}, i] = value({f'reals(old)[{c}]' if k else 'old'})" for c in range(width)]
    fills = [
        f"seen[{e}, {j}] = value(as_like({name}{e}, one))" for e in range(len(looks)) for j, name in enumerate("mabs")
    ]
    fills += [f"seen[{e}, 5] = value(as_like({wait}, one))" for e, wait in enumerate(waits)]
    state = "*reals(x)" if k else "x"
    measures = [f"if e == {e}: return as_like(f{e}(t, {state}), one)" for e, f in enumerate(functions) if f is not None]
    items = ", ".join(f"real(x[{width + c}, i])" for c in range(width))
    names = {f"look{e}": look for e, look in enumerate(looks)} | {f"f{e}": f for e, f in enumerate(functions)}
    names |= {f"loose{e}": look for e, look in enumerate(loose)}
    names |= {"real": real, "reals": reals, "value": value, "vec": vec, "sm": sm, "as_like": as_like}
    meets, near = (" | ".join(f"{name}{e}" for e in range(len(looks))) or "False" for name in "mn")
    step = "sde, now, t, t1, h, old, new, levels, z, row, i"
    bodies = {
        step: [*seen, f"return {meets}"],
        f"{step}, x, mark": [
            *nears, *keeps, f"flag = real({flag})", "on = flag > 0.0", f"near = on & ({near})",
            f"{flag} = value(sm.where(near, as_like(mark, flag), sm.where(on, as_like(1.0, flag), {none})))",
            f"return sm.where(on, new, old), value(sm.where(near, as_like(1.0, flag), {none}))",
        ],
        f"{step}, x": [
            *seen, f"flag = real({flag})", "near = flag == 3.0", f"meets = near & ({meets})",
            f"{flag} = value(sm.where(meets, as_like(2.0, flag), sm.where(flag > 0.0, as_like(1.0, flag), {none})))",
            f"return value(sm.where(meets, as_like(1.0, flag), {none}))",
        ],
        f"{step}, seen": ["one = real(1.0)", *seen, *fills],
        "e, t, x": ["one = real(1.0)", *measures, "return one"],
        "x, i": [f"return vec(({items},))" if k else f"return {items}"],
        "levels": [f"return ({''.join(f'levels[{e}], ' for e in range(len(looks)))})"],
    }  # fmt: skip
    texts = ("\n    ".join([f"def impl({head}):", *body]) for head, body in bodies.items())
    return tuple(njit(source(text, **names), forceinline=True, **FORMULA) for text in texts)


@functools.cache
def entrance(numbers):
    """Flags of the lanes of a block: how many are on their way, and the levels."""

    @njit(**OPTIONS)
    def enter(x, stops, start, high):
        flag, left = x.shape[0] - 1, 0
        for i in range(x.shape[1]):
            on = start + i < high and stops.which[min(start + i, high - 1)] < 0
            x[flag, i] = 1.0 if on else 0.0
            left += on
        return left, numbers(stops.levels)

    return enter
