"""Steps of adaptive size on the CPU: what an adaptive run gives its kernel, and the run on a pool of threads."""

import numpy as np

from ... import control as controller
from ... import machine
from ...methods.taken import Taken
from ...problem import Outcome
from . import stops, tree
from .attending import (
    BEFORE,
    LANES,
    MOST,
    OF_PATH,
    SIZE,
    Forms,
    Paths,
    Plan,
    T,
    access,
    dense,
    kept_slopes,
    room,
)
from .records import compiled, prepare
from .run import _in_threads, _per_lane, _preparing, _ready, _starts, call, check, kind
from .stepping import kernel, measure, plain

__all__ = ["run"]

PIECE = 2048  # lanes of one call into compiled code: milliseconds


def run(problem, threads=None):
    """Solve with compiled code, on all CPUs unless told; states are arrays of float32 or float64."""
    check(problem)
    course, shape = problem.steps, problem.system.path_shape
    x = np.full((len(course.t), problem.lanes, problem.system.components or 1), np.nan, problem.x0.dtype)
    x[0] = np.broadcast_to(problem.x0, problem.shape).reshape(x[0].shape)
    numbers = _numbers(problem)
    stood = None if not problem.events and problem.stopped is None else stops.stops(problem)
    gone = np.zeros(problem.lanes, bool) if stood is None else stood.which >= 0
    x[:, gone] = x[0, gone]
    if len(course.t) > 1 and problem.lanes:
        _solve(problem, x, numbers, stood, threads)
    failed, failed_step = numbers[T] != course.t[-1], None
    if stood is not None:
        failed &= stood.which < 0
    if failed.any():
        failed_step = max(int(np.isnan(x[:, failed, 0]).argmax(0).min()), 1) - 1
    with np.errstate(over="ignore"):
        out = x.reshape(len(course.t), *problem.shape).astype(problem.dtype, copy=False)
    size, before, most, *counts = numbers[:T].reshape(T, *shape)
    steps, rejected, more = (c.astype(np.int64) for c in counts)
    each = problem.drifts if problem.path is None else tree.evaluations(problem)
    nfe, control = each * steps + more, controller.Control(size, before, most)
    last, met = x[-1].reshape(problem.shape), stops.found(problem, stood)
    return Outcome(out, last, failed.reshape(shape), failed_step, None, nfe, steps, rejected, control, **met)


def _solve(problem, x, numbers, stood, threads):
    """Into the arrays of `Paths`, on a pool of threads."""
    with _preparing:
        share, types_ = _share(problem, x, numbers, stood)
    ticks = np.zeros((threads or machine.cpus()) + 1, np.int64)
    first_bad = np.zeros(len(ticks), np.int64)
    _ready(types_, lambda: share(0, 0, 1, ticks, first_bad), problem)
    threads = min(len(ticks) - 1, -(-problem.lanes // LANES))
    size = -(-min(PIECE, -(-problem.lanes // (8 * threads))) // LANES) * LANES
    pieces = [(low, min(low + size, problem.lanes)) for low in range(0, problem.lanes, size)]
    if threads == 1 and problem.ticker is None and problem.lanes <= LANES:
        for piece in pieces:
            share(*piece, 1, ticks, first_bad)
    elif pieces:
        _in_threads(share, pieces, ticks, first_bad, problem, threads)


def _share(problem, x, numbers, stood):
    """(the function that solves for the paths low … high − 1, the types that its kernel is made for)."""
    method, k, dtype, found = problem.method, problem.system.components, problem.x0.dtype, []
    if problem.path is not None:
        return tree.share(problem, _plan(problem), x, numbers)
    if not method.first_same_as_last:
        raise ValueError(
            f"adaptive steps of the numba backend need a method with first_same_as_last, which {method.name} is not; "
            f"use sdekit.backends.numpy()"
        )
    sde, step = prepare(problem.equation, found), compiled(method.step)
    inner = not np.isin(problem.steps.t, problem.steps.legs.t).all()
    between = dense if inner and method.interpolate is not None else None
    slopes = _slopes(problem) if between or problem.events else 0
    (load, store), (keep, recall), test = access(k), kept_slopes(k, slopes), None
    output = (recall, compiled(method.interpolate), compiled(method.further or _complete)) if between else [None] * 3
    if problem.events:
        test, between = stops.adaptive(problem, load, store, recall)
    forms = Forms(load, store, compiled(controller.first_size), measure, plain, *output)
    propose, plan = compiled(controller.propose), _plan(problem)
    x0 = _starts(problem)
    if problem.stopped is not None:  # who has stopped is not entered
        gone = np.broadcast_to(problem.stopped[1] >= 0, problem.system.path_shape).reshape(-1, 1)
        x0 = np.where(gone, np.nan, x[0])
    paths = Paths(x0, _per_lane(found, problem), x, numbers, stood)

    def share(low, high, slot, ticks, first_bad):
        space = room(k or 1, dtype, len(paths.columns), slopes)
        mine = paths._replace(stops=stood and stood._replace(seen=np.empty_like(stood.seen)))
        call(kernel, types, sde, step, keep, propose, test, forms, between, mine, plan, space, low, high, slot, ticks)

    types = "adaptive", kind(sde), step, keep, propose, test, *forms, between, stood is None, dtype
    return share, types


def _complete(sde, t, x, h, taken):
    """What stands for `further` where a method has none."""
    return taken


def _slopes(problem):
    """How many slopes a step has: one is taken by an equation that stands still."""
    still = problem.equation._replace(f=lambda process, t, x: 0.0 * x, j=lambda sde, t, x, slope: 0.0 * x)
    x = np.ones((problem.system.components, 1) if problem.system.components else 1)
    taken = problem.method.step(still, 0.0, 1.0, x, 1.0, x)
    assert isinstance(taken, Taken)
    return len(taken.slopes)


def _plan(problem):
    course, tol, method = problem.steps, problem.steps.tolerance, problem.method
    legs = np.stack([course.legs.t[1:], course.legs.begin, course.legs.end])
    find = problem.control is None and not tol.first
    return Plan(
        course.t, legs, course.direction, tol.rtol, tol.atol, find, max(tol.least, 1e-300), float(tol.most_steps),
        method.error_order + 1.0, 3 if method.further else 0,
    )  # fmt: skip


def _numbers(problem):
    """What is known of the paths at the start: (OF_PATH, paths)."""
    tol, made = problem.steps.tolerance, np.zeros((OF_PATH, problem.lanes))
    control = problem.control or controller.init(tol.first or 0.0)
    for row, value in zip((SIZE, BEFORE, MOST), control):
        made[row] = np.broadcast_to(value, problem.system.path_shape).reshape(-1)
    made[T] = problem.steps.t[0]
    return made
