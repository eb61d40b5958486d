"""Steps of adaptive size over whole arrays, for numpy and torch alike: each path has its own, all go in lockstep."""

import math

import numpy as np

from .. import arrays
from .. import control as controller
from .. import math as sm
from ..arrays import constant, detached
from ..methods.taken import Taken
from ..problem import Outcome, counted
from ..records import with_parameters
from . import guard, stops
from .front import Front, Run, Trial
from .loop import inward, outward


def run(problem, march=None):
    """Solve with arrays or tensors, as x0 is one, by `march`."""
    if not arrays.concrete(problem.x0):
        raise ValueError(
            "steps of adaptive size depend on values, which torch.func.vmap does not let look at; give h or grid in "
            "place of tol, or map over the path axes of x0"
        )
    if problem.system.path_shape:
        with np.errstate(all="ignore"):  # paths that become non-finite are reported by `solve`
            return (march or steady)(problem)
    system, control = problem.system._replace(path_shape=(1,)), problem.control  # a path axis for the time being
    control = control and controller.Control(*(arrays.broadcast(c, (1,)) for c in control))
    stopped = problem.stopped and tuple(s[None] for s in problem.stopped)
    found = run(problem._replace(system=system, x0=problem.x0[None], control=control, stopped=stopped), march)
    control = controller.Control(*(c[0] for c in found.control))
    counts = {name: getattr(found, name)[0] for name in ("failed", "nfe", "steps", "rejected")}
    stopped = found.stopped and tuple(s[0] for s in found.stopped)
    events = tuple(e and tuple(v[:, 0] for v in e) for e in found.events)
    more = {"control": control, "stopped": stopped, "events": events}
    return found._replace(x=found.x[:, 0], last=found.last[0], **more, **counts)


def prepared(problem):
    """(the `Run`, the `Front` at the start, rows of states to save)."""
    trailing = 0 if problem.system.components else problem.system.event_dims
    own = with_parameters(problem.equation.process, lambda a: arrays.parameter(a, problem.x0, trailing))
    sde, counter = counted(problem.equation._replace(process=own))
    made = Run(problem, _typed(sde), counter)
    x = guard.protected(inward(problem, guard.own(arrays.broadcast(problem.x0, problem.shape))))
    front = _begun(made, x)._replace(stood=stops.begin(problem))
    return made, front, [x, *[constant(x, math.nan)] * (len(problem.steps.t) - 1)]


def steady(problem):
    """Leg after leg; in a leg, step after step until each path is at its end."""
    made, front, rows = prepared(problem)
    return outcome(made, *marched(made, front, rows))


def marched(made, front, rows, seen=lambda before, after, leg: None):
    """(`Front`, rows) at the end; `seen` is told of each step, rejected ones too."""
    course, ticker = made.course, made.problem.ticker
    for leg in range(len(course.legs)):
        if behind_jump(made, front, leg):
            front = front._replace(slope=entered(made, front, leg), nfe=front.nfe + front.alive * 1)
        while arrays.any_of(front.moving(course.legs.t[leg + 1])):
            before = front
            front, rows = _advanced(made, front, rows, leg)
            seen(before, front, leg)
            if ticker is not None:
                ticker(float(abs(front.t - course.t[0]).mean() / abs(course.t[-1] - course.t[0])))
    return front, rows


def behind_jump(made, front, leg):
    """Whether the slope of the leg before is not that at the beginning of this one."""
    legs = made.course.legs
    return leg and front.slope is not None and legs.begin[leg] != legs.t[leg]


def entered(made, front, leg):
    """The slope at the beginning of a leg."""
    return made.slope(constant(front.t, made.course.legs.begin[leg]), front.x)


def again(made, front, counts, rows, leg):
    """(x, slope, rows) behind a step that paths took where it counts, once more: without what was rejected."""
    trial = _trial(made, front, leg)
    trial = trial._replace(h=sm.where(counts, trial.h, 0.0))
    taken, _ = _step(made, front, trial, trial.h)
    x = sm.where(counts, taken.x, front.x)
    rows, _ = _saved(made, front, trial, taken, counts, rows, x)
    return x, None if front.slope is None else sm.where(counts, taken.slopes[-1], front.slope), rows


def _typed(equation):
    """The equation whose drift has the type of the state, whatever that of the times."""

    def drift(process, t, x, f=equation.f):
        value = f(process, t, x)
        return arrays.to_type(value if hasattr(value, "dtype") else 0.0 * x + value, x.dtype)

    return equation._replace(f=drift)


def _begun(made, x):
    """The `Front` at the start."""
    problem, course, tol = made.problem, made.course, made.tolerance
    size = made.mean_square(x)
    alive, zero, count = sm.isfinite(size), constant(size, 0.0), constant(size, 0, int)
    t = zero + course.t[0]
    if len(course.t) == 1:
        return Front(t, x, None, controller.init(zero), alive, count, count, count)
    kept, given = problem.method.first_same_as_last, problem.control
    slope = made.slope(zero + course.legs.begin[0], x) if kept or not (given or tol.first) else None
    nfe = count + (slope is not None)
    if given is not None:
        shape = (*problem.system.path_shape, *zero.shape[len(problem.system.path_shape) :])
        wide = [arrays.broadcast(c, problem.system.path_shape).reshape(shape) for c in given]
        control = controller.Control(*(w[tuple(slice(n) for n in zero.shape)] for w in wide))
    elif tol.first is not None:
        control = controller.init(zero + tol.first)
    else:
        span = zero + abs(course.legs.t[1] - course.t[0])
        sde = made.sde._replace(f=lambda process, at, y: made.sde.f(process, made.time(at), y))
        how = (course.direction, tol.rtol, tol.atol, made.q, made.mean_square, made.plain)
        if problem.system.noise == "none":
            size = controller.first_size(sde, t, detached(x), detached(slope), span, *how)
        else:
            kick = 0.0 * x + made.sde.noise(made.time(zero + course.legs.begin[0]), x, 1.0)
            size = controller.first_with_noise(sde, t, detached(x), detached(slope), detached(kick), span, *how)
        control = controller.init(size)
        nfe = nfe + 1
    return Front(t, x, slope if kept else None, control, alive & sm.isfinite(control.size), count, count, nfe)


def _advanced(made, front, rows, leg):
    """One step of each path that is not at the end of the leg, accepted or rejected: (`Front`, rows)."""
    tol, trial = made.tolerance, _trial(made, front, leg)
    taken, evaluations = _step(made, front, trial, trial.h)
    ends = (detached(front.x), detached(taken.x))
    error = tuple(map(detached, taken.error)) if isinstance(taken.error, tuple) else detached(taken.error)
    square = controller.error_square(error, *ends, tol.rtol, tol.atol, made.mean_square)
    square = sm.where(sm.isfinite(made.mean_square(taken.x)), square, math.inf)
    counts, factor, *state = controller.propose(square, front.control.before, front.control.most, made.q)
    counts, shrinks = trial.active & counts, trial.active & ~counts
    if arrays.recorded(taken.x) and arrays.any_of(shrinks & (square == math.inf)):
        # zero times the derivatives of what is rejected, where they are infinite, would spoil the gradient
        taken, _ = _step(made, front, trial, sm.where(counts, trial.h, 0.0))
    x, stood, end, met = _met(made, front, trial, taken, counts)
    rows, further = _saved(made, front, trial._replace(t1=end), taken, counts, rows, x)
    size = abs(trial.h) * factor
    short = counts & trial.last & (abs(trial.h) < front.control.size)
    size = sm.where(short, sm.maximum(size, front.control.size), size)  # what was planned is kept
    control = controller.Control(
        *(sm.where(trial.active, a, b) for a, b in zip((size, *state), front.control, strict=True))
    )
    steps = front.steps + trial.active * 1
    least = sm.maximum(controller.LEAST * abs(front.t), max(tol.least, 1e-300))
    lost = (shrinks & (size < least)) | (trial.active & (steps >= tol.most_steps) & ~(counts & trial.last))
    return Front(
        t=sm.where(counts, trial.t1, front.t),
        x=guard.protected(sm.where(counts, x, front.x)),
        slope=None if front.slope is None else sm.where(counts, taken.slopes[-1], front.slope),
        control=control,
        alive=front.alive & ~lost,
        steps=steps,
        rejected=front.rejected + shrinks * 1,
        nfe=front.nfe + trial.active * evaluations + further + met,
        stood=stood,
    ), rows


def _met(made, front, trial, taken, counts):
    """(the states at the end of the step or where it stops, `Stops`, the time there, evaluations made for that)."""
    if front.stood is None:
        return taken.x, None, trial.t1, 0
    problem, before, shape = made.problem, made.counter.count, made.problem.system.path_shape
    begin, end = made.time(trial.begin), made.time(trial.end)
    within = stops.dense(problem, made.sde, begin, end, front.x, taken, made.plain(trial.h))
    times = (v.reshape(shape) for v in (front.t, trial.t1, trial.h, trial.begin))
    passage = stops.Passage(made.sde.process, *times, front.x, taken.x, within)
    stood, here, x = stops.stopping(problem, front.stood, passage, counts.reshape(shape))
    stop, here, when = (v.reshape(trial.t1.shape) for v in (front.stood.on & ~stood.on, here, stood.when))
    return x, stood, sm.where(stop, when, trial.t1), here * (made.counter.count - before)


def _trial(made, front, leg):
    """The `Trial` of each path."""
    legs, size = made.course.legs, sm.maximum(front.control.size, made.tolerance.least)
    goal = float(legs.t[leg + 1])
    active = front.moving(goal)
    rest = sm.where(active, abs(goal - front.t), 0.0)
    last = active & (rest <= controller.STRETCH * size)
    h = made.course.direction * sm.where(last, rest, sm.where(active, size, 0.0))
    t1 = sm.where(last, goal, front.t + h)
    begin = sm.where(front.t == legs.t[leg], float(legs.begin[leg]), front.t)
    return Trial(active, last, h, t1, begin, sm.where(last, float(legs.end[leg]), t1))


def _step(made, front, trial, h):
    """(the `Taken` of a step, its evaluations)."""
    before = made.counter.count
    rest = [] if front.slope is None else [front.slope]
    begin, end = made.time(trial.begin), made.time(trial.end)
    taken = guard.call(made.problem.method.step, made.sde, begin, end, front.x, made.plain(h), *rest)
    if not isinstance(taken, Taken) or taken.error is None:
        name = made.problem.method.name
        raise ValueError(f"method {name} declares error_order, but its step returned no sdekit.Taken with an error")
    return taken, made.counter.count - before


def _saved(made, front, trial, taken, counts, rows, x):
    """(rows with the states at the times that were passed, evaluations made for them); x is the state at trial.t1."""
    times, method, sign = made.course.t, made.problem.method, made.course.direction
    passed = [counts & (sign * front.t < sign * t) & (sign * t <= sign * trial.t1) for t in map(float, times)]
    holds = [r for r, mask in enumerate(passed) if arrays.any_of(mask)]
    within = [r for r in holds if arrays.any_of(passed[r] & (trial.t1 != float(times[r])))]
    rows, evaluations = list(rows), 0
    if within and method.further is not None:
        before, begin = made.counter.count, made.time(trial.begin)
        taken = guard.call(
            lambda sde, t, t1, x, h: method.further(sde, t, x, h, taken), made.sde, begin, begin, front.x,
            made.plain(trial.h),
        )  # fmt: skip
        needs = [passed[r] & (trial.t1 != float(times[r])) for r in within]
        evaluations = (sum(n * 1 for n in needs) > 0) * (made.counter.count - before)
    for r in holds:
        state = x
        if r in within:
            theta = (float(times[r]) - front.t) / sm.where(trial.h == 0.0, 1.0, trial.h)
            dense = method.interpolate(front.x, taken, made.plain(trial.h), made.plain(theta))
            state = sm.where(trial.t1 == float(times[r]), x, dense)
        rows[r] = sm.where(passed[r], state, rows[r])
    return rows, evaluations


def outcome(made, front, rows):
    problem, course, shape = made.problem, made.course, made.problem.system.path_shape

    def wide(per_path):
        return arrays.broadcast(per_path, (*shape, *per_path.shape[len(shape) :])).reshape(shape)

    if front.stood is not None:  # who has stopped stays where it is
        late = [course.direction * t > course.direction * front.stood.when for t in course.t]
        rows = [sm.where(stops.wide(problem, a, front.x), front.x, row) for a, row in zip(late, rows, strict=True)]
    alive = wide(front.alive)
    failed_step = None
    if arrays.any_of(~front.alive):
        reached = (course.direction * front.t)[~front.alive].min()
        failed_step = int((course.direction * course.t <= float(reached)).sum()) - 1
    axes = alive.reshape((*shape, *[1] * (0 if problem.system.components else problem.system.event_dims)))
    last = sm.where(axes, front.x, math.nan)
    x = arrays.stack([arrays.to_type(outward(problem, row), problem.dtype) for row in rows])
    last = arrays.to_type(outward(problem, last), problem.x0.dtype)
    control = controller.Control(*map(wide, front.control))
    counts = {"nfe": wide(front.nfe), "steps": wide(front.steps), "rejected": wide(front.rejected)}
    return Outcome(x, last, ~alive, failed_step, None, control=control, **counts, **stops.found(front.stood))
