"""What happens to a lane of an adaptive run between its steps: in scalar code, which may branch.

An output time was passed, a leg ended, or a path ended and the next one takes its lane.
"""

import functools
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils
from numba.extending import intrinsic

from ...methods.taken import Kept
from .elementary.instructions import source
from .fixed import once
from .generator import block
from .lane import real, reals, times_zero, value, vec
from .records import FORMULA, at, compiled

LANES = 32  # of a group: enough that the arithmetic of some hides the waiting of others

# States of a lane: now, its drift, before the last step, and from SLOPES on its slopes. They are no literals of Python:
# for each of these a function that takes it would be compiled anew.
X, F, OLD, SLOPES = map(np.int64, range(4))

# Numbers of a lane, float64 whatever the type of the states; the first ones are those of a path as well.
SIZE, BEFORE, MOST = range(3)  # `control.Control`
STEPS, REJECTED, MORE, T = range(3, 7)  # steps, those rejected, evaluations besides those of steps, and the time
PATH, LEG, ROW, NEXT = range(7, 11)  # the path, its leg, the row and the time of its next output
SEEN, GOAL, END = range(11, 14)  # the time as the process sees it, the end of the leg, and that as the process sees it
H = 14  # of the last step, 0 where it was rejected
ON = 15  # 1 where the lane is on its way, else 0
HAPPENED = 16  # 1: an output or the end of a leg was reached, 2: the path is lost, or there was none
BUSY = 17  # of lanes that are looked at together: how many are on their way, in the place of the first one
BEGUN, SAW = range(18, 20)  # where events are looked for: when the last step began, and that as the process sees it
OF_PATH, NUMBERS = 7, 20


class Room(NamedTuple):
    """What is known of each lane of a group."""

    states: np.ndarray
    own: np.ndarray  # parameters
    numbers: np.ndarray


class Plan(NamedTuple):
    """Times and tolerance."""

    t: np.ndarray  # to save
    legs: np.ndarray  # (3, legs) the end of each, its beginning and end as the process sees them
    direction: float
    rtol: float
    atol: float
    find: bool  # the first size
    least: float
    most_steps: float
    q: float
    further: int  # evaluations for dense output


class Paths(NamedTuple):
    """What goes in and what comes out, by path."""

    x0: np.ndarray  # (base, k)
    columns: np.ndarray  # (parameters, paths)
    x: np.ndarray  # (saves, paths, k)
    numbers: np.ndarray  # (OF_PATH, paths)
    stops: object  # `stops.Stops`, or None


class Forms(NamedTuple):
    """The functions of an equation and a method that lanes are attended to with."""

    load: object
    store: object
    first_size: object
    mean: object
    plain: object
    recall: object  # of `kept_slopes`, as the following for `dense`; None where output is at the ends of legs alone
    interpolate: object
    further: object


def room(k, dtype, columns, slopes):
    """Memory for a group of lanes, none of which has a path."""
    made = Room(*(block(n, dtype, LANES) for n in ((SLOPES + slopes) * k, columns)), block(NUMBERS, np.float64, LANES))
    for part in made:
        part[:] = 0.0
    made.numbers[HAPPENED] = 2.0
    made.numbers[BUSY] = 1.0
    return made


def _inlined(text, **names):
    return njit(source(text, **names), forceinline=True, **FORMULA)


@functools.cache
def access(k):
    """(load, store) of states of k components (None: one value)."""
    items = ", ".join(f"real(states[which * {k or 1} + {c}, i])" for c in range(k or 1))
    load = f"def impl(states, which, i):\n    return {items if k is None else f'vec(({items},))'}"
    parts = ["x"] if k is None else [f"parts[{c}]" for c in range(k)]
    store = ["def impl(states, which, i, x):", *(["    parts = reals(x)"] if k else [])]
    store += [f"    states[which * {k or 1} + {c}, i] = value({p})" for c, p in enumerate(parts)]
    return _inlined(load, real=real, vec=vec), _inlined("\n".join(store), reals=reals, value=value)


@functools.cache
def kept_slopes(k, count):
    """(keep, recall) of the state before a step and of the `count` slopes of that step."""
    load, store = access(k)
    keep = ["def impl(states, i, old, taken):", f"    {'store(states, OLD, i, old)' if count else 'pass'}"]
    keep += [f"    store(states, SLOPES + {j}, i, taken.slopes[{j}])" for j in range(count)]
    loads = "".join(f"load(states, SLOPES + {j}, i), " for j in range(count))
    recall = f"def impl(states, i):\n    return Kept(load(states, X, i), None, None, ({loads}))"
    names = {"load": load, "store": store, "Kept": compiled(Kept), "X": X, "OLD": OLD, "SLOPES": SLOPES}
    return tuple(_inlined(text, **names) for text in ("\n".join(keep), recall))


@intrinsic
def within(typingctx, array):
    """A part of a `Room` within compiled code: the compiler knows how far its rows are apart, and counts no owners."""

    def emit(context, builder, signature, args):
        made = context.make_array(array)(context, builder, args[0])
        word = made.itemsize.type
        apart = builder.mul(made.itemsize, word(LANES))
        made.shape = cgutils.pack_array(builder, [builder.extract_value(made.shape, 0), word(LANES)])
        made.strides = cgutils.pack_array(builder, [apart, made.itemsize])
        made.meminfo, made.parent = (ir.Constant(part.type, None) for part in (made.meminfo, made.parent))
        return made._getvalue()

    return array(array), emit


@njit(**FORMULA)
def dense(sde, forms, paths, plan, room, i):
    """The states of lane i at the times before the end of its last step, by dense output."""
    n, states, t, sign = room.numbers, room.states, plan.t, plan.direction
    now, h, row, path = n[T, i], n[H, i], int(n[ROW, i]), int(n[PATH, i])
    if sign * n[NEXT, i] < sign * now:
        begun, old = now - h, forms.load(states, OLD, i)
        taken = forms.further(at(sde, room.own, i), begun, old, h, forms.recall(states, i))
        n[MORE, i] += plan.further
        while row < t.shape[0] and sign * t[row] < sign * now:
            forms.store(states, OLD, i, forms.interpolate(old, taken, h, (t[row] - begun) / h))
            for c in range(paths.x.shape[2]):
                paths.x[row, path, c] = states[OLD * paths.x.shape[2] + c, i]
            row += 1
        n[ROW, i] = row


@njit(**FORMULA)
def _save(out, t, states, n, i):
    """The state of lane i if there is output at the end of its step."""
    k, row, last = out.shape[2], int(n[ROW, i]), t.shape[0] - 1
    if row <= last and t[row] == n[T, i]:
        for c in range(k):
            out[row, int(n[PATH, i]), c] = states[X * k + c, i]
        row += 1
    n[ROW, i] = row
    n[NEXT, i] = t[row if row < last else last]


@once
def _turn(sde, load, store, legs, room, i):
    """Lane i begins its leg; slopes from before a jump are dropped."""
    n, states = room.numbers, room.states
    leg, s = int(n[LEG, i]), at(sde, room.own, i)
    n[GOAL, i] = legs[0, leg]
    n[SEEN, i] = legs[1, leg]
    n[END, i] = legs[2, leg]
    if leg == 0 or n[SEEN, i] != n[T, i]:
        store(states, F, i, s.drift(n[SEEN, i], load(states, X, i)))
        n[MORE, i] += 1.0


@once
def _enter(sde, forms, paths, plan, room, i, path):
    """The path at its start into lane i, with the first size where it is to be found; whether it can begin."""
    n, k = room.numbers, paths.x.shape[2]
    for c in range(k):
        room.states[X * k + c, i] = paths.x0[path % paths.x0.shape[0], c]
    for c in range(paths.columns.shape[0]):
        room.own[c, i] = paths.columns[c, path]
    for c in range(OF_PATH):
        n[c, i] = paths.numbers[c, path]
    n[PATH, i] = path
    n[ROW, i] = 1
    n[NEXT, i] = plan.t[1]
    n[ON, i] = 1.0
    n[LEG, i] = 0.0
    _turn((sde, forms.load, forms.store, plan.legs, room, i))
    if plan.find:
        s, x, slope = at(sde, room.own, i), forms.load(room.states, X, i), forms.load(room.states, F, i)
        span, direction, rtol, atol, q = real(abs(n[GOAL, i] - n[T, i])), plan.direction, plan.rtol, plan.atol, plan.q
        size = forms.first_size(s, n[T, i], x, slope, span, direction, rtol, atol, q, forms.mean, forms.plain)
        n[SIZE, i] = value(size)
        n[MORE, i] += 1.0
    return n[SIZE, i] + times_zero(forms.load(room.states, X, i)) < np.inf


@once
def attend(sde, forms, between, paths, plan, room, following, high):
    """Attend to the lanes to which something happened; the path that is next to be entered.

    between     `dense`, or None where output is at the ends of legs alone
    """
    n = room.numbers
    for i in range(LANES):
        if n[HAPPENED, i] == 0.0:
            continue
        if n[H, i] != 0.0:
            if between is not None:
                between(sde, forms, paths, plan, room, i)
            _save(paths.x, plan.t, room.states, n, i)
        ended = n[HAPPENED, i] >= 2.0 or n[T, i] == plan.legs[0, -1]
        if not ended and n[T, i] == n[GOAL, i]:
            n[LEG, i] += 1.0
            _turn((sde, forms.load, forms.store, plan.legs, room, i))
        while ended:
            for c in range(OF_PATH if n[ON, i] > 0.0 else 0):
                paths.numbers[c, int(n[PATH, i])] = n[c, i]
            n[ON, i] = 0.0
            n[T, i] = n[GOAL, i]
            if following == high:
                break
            ended = not _enter((sde, forms, paths, plan, room, i, following))
            following += 1
        n[HAPPENED, i] = 0.0
    return following
