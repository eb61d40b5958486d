"""Steps of adaptive size along a Brownian path, for numpy and torch alike: each path has its own, all go in lockstep.

Steps are intervals of the dyadic tree: their sizes halve and double, and where a step that was tried would have ended,
a later one ends. No value of the path that a decision has seen is skipped; else such runs converge to a wrong limit.
Source: J. Gaines, T. Lyons, "Variable step size control in the numerical solution of stochastic differential
equations", 1997, doi:10.1137/S0036139995286515; J. Foster, A. Jelinčič, "On the convergence of adaptive approximations
for stochastic differential equations", 2023, arXiv:2311.14201.
"""

import math
from typing import Any, NamedTuple

from .. import arrays, brownian
from .. import control as controller
from .. import math as sm
from ..arrays import detached
from ..brownian import TICKS, highest
from . import adaptive, guard
from .loop import as_dw


class Place(NamedTuple):
    """Where the paths are on the tree, int64; against the direction of time the tree is mirrored."""

    at: Any  # ticks behind its beginning
    size: Any  # of the interval that the next step fills or ends with, a power of two


class Trial(NamedTuple):
    """A step about to be taken by the paths that are `active`, from `begin` to `end` as the process sees them."""

    active: Any
    stop: Any  # its end in ticks
    h: Any
    t1: Any
    begin: Any
    end: Any
    normals: Any  # dW and dZ for |h| = 1, of the lanes


def run(problem):
    """Solve with arrays or tensors, as x0 is one."""
    return adaptive.run(problem, march)


def march(problem):
    """Leg after leg; in a leg, step after step until each path is at its end."""
    made, front, rows = adaptive.prepared(problem)
    course, path = problem.steps, problem.path
    bridge = brownian.bridge(
        path, problem.first_lane, problem.lanes, problem.system.channels if problem.dw_axes else 1, problem.x0
    )
    ticks = brownian.ticks(path, course.legs.t, "ts")
    ticks = (ticks if course.direction > 0 else TICKS - ticks).tolist()
    first = highest(_whole(sm.minimum(sm.maximum(front.control.size / bridge.unit, 1.0), float(TICKS))))
    place = Place(front.steps * 0 + ticks[0], first)
    for leg in range(len(course.legs)):
        while arrays.any_of(front.alive & (front.t != course.legs.t[leg + 1])):
            front, place = _advanced(made, bridge, front, place, leg, ticks)
            if problem.ticker is not None:
                problem.ticker(float(abs(front.t - course.t[0]).mean() / abs(course.t[-1] - course.t[0])))
        for r in (course.t == course.legs.t[leg + 1]).nonzero()[0]:
            rows[r] = sm.where(front.alive, front.x, math.nan)
    return adaptive.outcome(made, front, rows)


def _advanced(made, bridge, front, place, leg, ticks):
    """One step of each path that is not at the end of the leg, accepted or rejected: (`Front`, `Place`)."""
    tol, trial = made.tolerance, _trial(made, bridge, front, place, leg, ticks)
    taken, evaluations = _step(made, front, trial, trial.active)
    square = controller.single(
        detached(taken.error), detached(front.x), detached(taken.x), tol.rtol, tol.atol, made.mean_square
    )
    square = sm.where(sm.isfinite(made.mean_square(taken.x)), square, math.inf)
    counts, factor, *state = controller.propose(square, front.control.before, front.control.most, made.q)
    counts, shrinks = trial.active & counts, trial.active & ~counts
    if arrays.recorded(taken.x) and arrays.any_of(shrinks & (square == math.inf)):
        taken, _ = _step(made, front, trial, counts)  # as in `adaptive`
    size = _sizes(place, trial, counts, factor, ticks[leg + 1])
    control = controller.Control(
        *(sm.where(trial.active, a, b) for a, b in zip((size * bridge.unit, *state), front.control, strict=True))
    )
    steps = front.steps + trial.active * 1
    ends = counts & (trial.stop == ticks[leg + 1])
    lost = shrinks & ((trial.stop - place.at <= 1) | (control.size < tol.least))
    return front._replace(
        t=sm.where(counts, trial.t1, front.t),
        x=guard.protected(sm.where(counts, taken.x, front.x)),
        control=control,
        alive=front.alive & ~(lost | (trial.active & (steps >= tol.most_steps) & ~ends)),
        steps=steps,
        rejected=front.rejected + shrinks * 1,
        nfe=front.nfe + trial.active * evaluations,
    ), Place(_pick(counts, trial.stop, place.at), _pick(trial.active, size, place.size))


def _trial(made, bridge, front, place, leg, ticks):
    """The `Trial` of each path: the interval of the tree that begins there, or what is left of one behind a stop."""
    course, at, goal = made.course, place.at, float(made.course.legs.t[leg + 1])
    active = front.alive & (front.t != goal)
    size = _pick((at == ticks[leg]) | (place.size < (at & -at)), place.size, at & -at)
    stop = _least((at & -size) + size, ticks[leg + 1])
    p, q = active * at, _pick(active, stop, TICKS)  # of the others the whole path, which is at hand
    if course.direction < 0:
        p, q = TICKS - q, TICKS - p
    u, v = brownian.interval(bridge, _per_lane(made.problem, p), _per_lane(made.problem, q))
    path, last = made.problem.path, active & (stop == ticks[leg + 1])
    way = arrays.double(stop) * ((path.t1 - path.t0) / TICKS)
    t1 = sm.where(last, goal, path.t0 + way if course.direction > 0 else path.t1 - way)
    t1 = sm.where(active, t1, front.t)
    begin = sm.where(front.t == float(course.legs.t[leg]), float(course.legs.begin[leg]), front.t)
    end = sm.where(last, float(course.legs.end[leg]), t1)
    return Trial(active, stop, t1 - front.t, t1, begin, end, (course.direction * u, v))


def _sizes(place, trial, counts, factor, goal):
    """Sizes of the next steps: at most twice the last; of rejected ones such that a step ends where this one would."""
    length = trial.stop - place.at
    wanted = highest(_whole(sm.maximum(arrays.double(length) * factor, 1.0)))
    inner = highest(place.at ^ (trial.stop - 1))  # of the largest interval that ends within
    kept = _pick(trial.stop == goal, place.size, highest(length))  # one that a stop cut short was not too large
    grown = _least(_least(_pick(wanted > kept, wanted, kept), 2 * place.size), TICKS)
    return _pick(counts, grown, _least(wanted, inner + (inner == 0)))


def _step(made, front, trial, moves):
    """(the `Taken` of a step, its evaluations); paths that do not move take a tiny one, of finite derivatives."""
    problem, before = made.problem, made.counter.count
    h = sm.where(moves, trial.h, made.course.direction * 1e-9)
    shape = problem.system.path_shape
    if problem.dw_axes:
        root, shape = arrays.broadcast(h, (*shape, *h.shape[len(shape) :])).reshape(shape), (-1, *shape)
    else:
        root, shape = h, problem.shape
    root = arrays.to_type(sm.sqrt(abs(root)), problem.x0.dtype)
    dws = [as_dw(problem, z.reshape(shape) * root) for z in trial.normals[: problem.method.normals]]
    begin, end = made.time(trial.begin), made.time(trial.end)
    taken = guard.call(problem.method.embedded, made.sde, begin, end, front.x, made.plain(h), *dws)
    return taken, made.counter.count - before


def _pick(condition, x, y):
    """`where` for whole numbers, which stay so."""
    return condition * x + ~condition * y


def _least(x, y):
    return _pick(x < y, x, y)


def _whole(x):
    """Positive numbers rounded down to int64."""
    return x.long() if arrays.is_tensor(x) else x.astype("int64")


def _per_lane(problem, ticks):
    """One number for each lane from one for each path, or for all."""
    shape = problem.system.path_shape
    if problem.dw_axes:
        return arrays.broadcast(ticks, (*shape, *ticks.shape[len(shape) :])).reshape(-1)
    return arrays.broadcast(ticks, problem.shape).reshape(-1)
