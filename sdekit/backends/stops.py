"""Events over whole arrays, for numpy and torch alike: which paths stop in a step, where, and what is recorded."""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import arrays, equation, events, noise
from .. import math as sm
from ..checks import shown
from ..events import Barrier
from .guard import asked, call, drift

ITERATIONS = 60  # of a search for a root: more than halving a step down to rounding takes
ALIKE = 1e-13  # fractions of a step so near are one root
NO_GRADIENTS = "events have no gradients: detach x0 and the parameters, or leave events out"


class Stops(NamedTuple):
    """What has become of the paths: arrays over the path axes."""

    on: Any  # on their way
    when: Any  # they stopped, float64, else NaN
    which: Any  # event stopped them, else −1
    rows: tuple  # for each event that is recorded (how many there are, t, x), else None


class Passage(NamedTuple):
    """A step that has been taken, as events look at it."""

    process: Any
    t: Any  # where it begins: a number, or one value per path, and so are the following three
    t1: Any
    h: Any
    begin: Any  # as the process sees it
    old: Any  # states as steps see them
    new: Any
    dense: Callable[[Any], Any] | None  # the state at a fraction of the step; None: equations with noise
    waits: Any = None  # `noise.waits` for each component with barriers
    number: int = 0  # of the step


def begin(problem):
    """The `Stops` at the start of a run; None where nothing stops or has stopped."""
    if not problem.events and problem.stopped is None:
        return None
    shape, like, rows = problem.system.path_shape, problem.x0, []
    for event in problem.events:
        size = (0 if event.terminal else event.most, *shape)
        t = arrays.filled(arrays.nowhere(size, like), math.nan)
        x = arrays.empty((size[0], *problem.shape), like) * 0 + math.nan
        rows.append(None if event.terminal else (arrays.filled(arrays.nowhere(shape, like), 0), t, x))
    on = arrays.nowhere(shape, like)
    when, which = problem.stopped or (arrays.filled(on, math.nan), arrays.filled(on, -1))
    return Stops(which < 0, when, which, tuple(rows))


def found(stops):
    """What an `Outcome` has of it."""
    if stops is None:
        return {}
    return {"stopped": (stops.when, stops.which), "events": tuple(r and r[1:] for r in stops.rows)}


def stopping(problem, stops, passage, among):
    """(`Stops` behind a step, which paths have met something in it, the states at its end or where they stop).

    among   the paths that are on their way and have taken the step.
    """
    if arrays.recorded(passage.new):
        raise ValueError(NO_GRADIENTS)
    seen = [_seen(problem, event, passage, among) for event in problem.events]
    found = [_nearest(problem, i, seen) & among for i in range(len(seen))]
    here = functools.reduce(operator.or_, found, among & False)
    if not arrays.any_of(here):
        return stops, here, passage.new
    late = arrays.filled(among, math.inf)
    at = [_fraction(problem, i, seen[i], passage, f) if arrays.any_of(f) else late for i, f in enumerate(found)]
    first, which = late, arrays.filled(among, -1)
    for i, event in enumerate(problem.events):
        if event.terminal:
            which = which + (i - which) * (at[i] < first)
            first = sm.where(at[i] < first, at[i], first)
    rows, x = list(stops.rows), passage.new
    for i, event in enumerate(problem.events):
        if event.terminal and arrays.any_of(found[i]):
            x = sm.where(wide(problem, which == i, x), _state(problem, event, passage, first), x)
        elif arrays.any_of(found[i]):
            kept = found[i] & (at[i] <= first)
            state = _state(problem, event, passage, at[i])
            rows[i] = _recorded(problem, rows[i], kept, passage.t + at[i] * passage.h, state)
    stop, when = which >= 0, passage.t + first * passage.h
    when, which = sm.where(stop, when, stops.when), sm.where(stop, which, stops.which)
    return Stops(stops.on & ~stop, when, which, tuple(rows)), here, x


def still(problem, stops, new, old):
    """The states behind a step in which paths that have stopped stay where they are."""
    return sm.where(wide(problem, stops.on, new), new, old)


def through(problem, sde, stops, s, old, taken, waits):
    """(the states behind step s of given size, `Stops`)."""
    if stops is None:
        return taken.x, None
    t, begin, end = problem.steps.t, float(problem.steps.begin[s]), float(problem.steps.end[s])
    h = float(t[s + 1]) - float(t[s])
    within = dense(problem, sde, begin, end, old, taken, h) if problem.system.noise == "none" else None
    number = problem.first_step + s
    passage = Passage(sde.process, float(t[s]), float(t[s + 1]), h, begin, old, taken.x, within, waits, number)
    stops, _, x = stopping(problem, stops, passage, stops.on)
    return x, stops


def waits(problem, rows):
    """For each step the `noise.waits` that decide of crossings, one for each component with barriers."""
    count, first, steps = len(watched(problem.events)), problem.first_step, len(problem.steps)
    for step in range(first, first + steps):
        if count and (step == first or step % 16 == 0):  # a counter serves sixteen steps
            start, made = step, rows(step * count, (16 - step % 16) * count, noise.Stream.CROSSING)
        yield [made[(step - start) * count + j].reshape(problem.system.path_shape) for j in range(count)]


def watched(found):
    """The components that have barriers: each takes a number of `noise.waits` a step."""
    return sorted({e.component for e in found if isinstance(e, Barrier)})


def _seen(problem, event, passage, among):
    """(which paths meet an event, a, b, v h): see `events.look`."""
    coupled, barriers = problem.system.components is not None, watched(problem.events)
    step = passage.t1, passage.h, passage.old, passage.new
    if isinstance(event, Barrier):
        at = event.component
        look = events.look(event, coupled, problem.system.noise, crowded(problem.events, at))
        wait = passage.waits[barriers.index(at)]
        met, a, b, spread = look(passage.process, passage.begin, *step, event.level, wait)
        return _decided(problem, event, passage, met & among, a, b, spread + 0.0 * a, wait), a, b, spread + 0.0 * a
    checked = dataclasses.replace(event, f=lambda t, *x: value(problem, event.f, t, x))
    return events.look(checked, coupled, problem.system.noise)(passage.process, passage.t, *step, 0.0, None)


def _decided(problem, barrier, passage, met, a, b, spread, wait):
    """Which of the paths that may have met a barrier have."""
    chosen, at = met.reshape(-1), barrier.component
    if not arrays.any_of(chosen):
        return met
    first = next(i for i, e in enumerate(problem.events) if isinstance(e, Barrier) and e.component == at)
    a, b, spread, wait = (arrays.double(v).reshape(-1)[chosen] for v in (a, b, spread, wait))
    u = events.uniform(wait, arrays.double(_words(problem, passage, first, chosen)[3]))
    out = chosen & False
    out[chosen] = events.decided(a, b, spread, sm.where(crowded(problem.events, at) & (a > 0.0), 1.0 - u, u))
    return out.reshape(met.shape)


def _words(problem, passage, i, chosen):
    """Words of `HIT` for event i in a step of the chosen paths."""
    lanes = problem.first_lane + arrays.arange(problem.lanes, problem.x0)[chosen]
    return noise.words(lanes, passage.number * len(problem.events) + i, problem.seed, noise.Stream.HIT)


def crowded(found, component):
    """Whether a component has several barriers."""
    return sum(isinstance(e, Barrier) and e.component == component for e in found) > 1


def value(problem, f, t, x):
    """f(t, *x), float64, one value per path; a ValueError where it changes x or returns no real numbers."""
    shape = problem.system.path_shape
    found = asked("f of an Event", f, t, *x)
    if not arrays.is_real(found):
        raise ValueError(f"f of an Event must return real numbers, got {shown(found)}")
    if arrays.recorded(found):
        raise ValueError(NO_GRADIENTS)
    found = arrays.double(found if hasattr(found, "dtype") else arrays.beside(found, problem.x0))
    try:
        return arrays.broadcast(found, shape)
    except (ValueError, RuntimeError):
        raise ValueError(
            f"f of an Event must return one value per path, of shape {shape}, got {tuple(found.shape)}"
        ) from None


def _nearest(problem, i, seen):
    """Which paths meet event i: of two levels of a component on the same side only the nearer one."""
    event, (found, a, *_) = problem.events[i], seen[i]
    for j, other in enumerate(problem.events if isinstance(event, Barrier) else ()):
        if j != i and isinstance(other, Barrier) and other.component == event.component:
            there, c = seen[j][:2]
            found = found & ~(there & (c * a > 0.0) & (abs(c) < abs(a)))
    return found


def _fraction(problem, i, seen, passage, found):
    """The fraction of the step at which event i happens, infinite where it does not."""
    if not isinstance(problem.events[i], Barrier):
        if passage.dense is None:
            at = arrays.filled(found, 1.0)
        else:
            at = root(problem, problem.events[i].f, seen, passage, found)
        return sm.where(found, at, math.inf)
    at = arrays.filled(found, math.inf).reshape(-1)
    chosen = found.reshape(-1)
    w = _words(problem, passage, i, chosen)[:3]
    ends = (arrays.double(v).reshape(-1)[chosen] for v in seen[1:])
    at[chosen] = events.hit(*ends, *map(arrays.double, w))
    return at.reshape(found.shape)


def root(problem, f, seen, passage, found):
    """The fraction of the step at which f is zero, on the dense output of paths that have `found` a change of sign."""

    parts = equation.components if problem.system.components else events.alone

    def g(theta):
        return value(problem, f, passage.t + theta * passage.h, parts(passage.dense(theta))) * scale

    _, a, b, _ = seen
    scale = sm.where(found, 1.0 / sm.where(found, a, 1.0), 0.0)
    one = 0.0 * scale + 1.0
    bracket, last = (0.0 * scale, one, one, scale * b), one
    for _ in range(ITERATIONS):
        middle = g(0.5 * (bracket[0] + bracket[1]))
        near = events.near(bracket, middle)
        bracket = events.narrowed(bracket, middle, near, g(near))
        if not arrays.any_of(found & (abs(near - last) > ALIKE) & (bracket[1] - bracket[0] > ALIKE)):
            break
        last = near
    return near


def _state(problem, event, passage, at):
    """The state at a fraction of the step."""
    if not isinstance(event, Barrier):
        return passage.new if passage.dense is None else passage.dense(sm.where(at < math.inf, at, 0.0))
    old, new = passage.old, passage.new
    theta = arrays.to_type(wide(problem, sm.where(at < math.inf, at, 0.0), old), old.dtype)
    x = old + theta * (new - old)
    if problem.system.components is None:
        return 0.0 * x + event.level
    return arrays.stack([0.0 * r + event.level if c == event.component else r for c, r in enumerate(x)])


def _recorded(problem, rows, found, t, x):
    """The rows of an event that is recorded, with those of the paths that have `found` one and have room left."""
    counts, times, states = rows
    room = (found & (counts < len(times))).reshape(-1)
    place = counts.reshape(-1)[room], arrays.arange(len(room), problem.x0)[room]
    x, t = arrays.beside(x, problem.x0), arrays.double(t)  # without path axes they may be numbers
    x = arrays.channels_last(x) if problem.system.components else x
    event = problem.shape[len(problem.system.path_shape) :]
    times.reshape(len(times), -1)[place] = t.reshape(-1)[room]
    states.reshape(len(states), -1, *event)[place] = x.reshape(-1, *event)[room]
    return counts + found, times, states


def wide(problem, per_path, x):
    """One value per path, with axes to broadcast against a state as steps see it."""
    return per_path if problem.system.components else sm.expand(per_path, x)


def dense(problem, sde, t, t1, old, taken, h):
    """The state within a step of an equation without noise, as a function of the fraction."""
    method = problem.method

    @functools.cache
    def ends():
        return drift(sde, t, old) * h, drift(sde, t1, taken.x) * h

    @functools.cache
    def whole():
        if method.further is None:
            return taken
        return call(lambda sde, t, t1, x, h: method.further(sde, t, x, h, taken), sde, t, t, old, h)

    def at(theta):
        theta = arrays.to_type(wide(problem, theta, old), old.dtype)
        if method.interpolate is None:
            return events.hermite(old, taken.x, *ends(), theta)
        return method.interpolate(old, whole(), h, theta)

    return at
