"""The oracle: the step in plain numpy, one after the other, over all paths at once."""

import math

import numpy as np

from .. import arrays, noise
from .. import math as sm
from ..equation import with_parameters
from ..problem import Outcome, counted


def run(problem):
    """Solve with numpy; see `march`."""
    if arrays.is_tensor(problem.x0):
        raise ValueError("backend numpy takes numpy arrays; give x0 as one, or leave backend out")
    out = np.empty((len(problem.looks), *problem.shape), problem.dtype)
    first = problem.first_lane + np.arange(problem.lanes)
    with np.errstate(all="ignore"):  # paths that become non-finite are reported by `solve`
        return march(problem, out, lambda n, count, s: noise.rows(first, n, count, problem.seed, s, problem.x0))


def march(problem, out, rows):
    """The time loop over whole arrays, for numpy and torch alike.

    `rows(n, count, stream)` gives the normals n … n + count − 1 of all lanes, of shape (count, lanes).
    """
    trailing = 0 if problem.structure.components else problem.structure.event_dims
    own = with_parameters(problem.equation.process, lambda a: arrays.parameter(a, problem.x0, trailing))
    sde, counter = counted(problem.equation._replace(process=own))
    step, initial = problem.method.step, problem.method.init
    x = inward(problem, arrays.broadcast(problem.x0, problem.shape))
    memory = problem.memory
    if initial is not None and memory is None:
        memory = initial(sde, float(problem.t[0]), x)
    good = whole(problem, x)
    watched, survived = None, good * 0  # step from which on paths are looked at; how many each got through since
    where = dict(zip(problem.looks.tolist(), range(len(problem.looks))))
    if 0 in where:
        out[where[0]] = outward(problem, x)
    for s, dws in enumerate(increments(problem, rows)):
        t, t1 = float(problem.t[s]), float(problem.t[s + 1])
        h = t1 - t
        args = [dw * math.sqrt(abs(h)) for dw in dws]
        if initial is None:
            x = step(sde, t, t1, x, h, *args)
        else:
            x, memory = step(sde, t, t1, x, h, *args, memory)
        if watched is None and not healthy(x):
            watched = s
        if watched is not None:
            good = good & whole(problem, x)
            survived = survived + good
            x = sm.where(good, x, math.nan)
        if s + 1 in where:
            out[where[s + 1]] = outward(problem, x)
        if problem.ticker is not None:
            problem.ticker((s + 1) / problem.steps)
    failed = ~good.reshape(problem.paths)
    failed_step = watched + int(survived.min()) if watched is not None and bool(failed.any()) else None
    return Outcome(out, failed, failed_step, memory, counter.count)


def healthy(x):
    """Whether all of x is finite, told by its sum in a single pass; False where that would wait for a device."""
    if arrays.is_tensor(x):
        return x.device.type == "cpu" and math.isfinite(x.detach().sum().item())
    return math.isfinite(x.sum())


def increments(problem, rows):
    """For each step the list of its standard normals, shaped for the step."""
    m, method = problem.structure.channels, problem.method
    shape = (m, *problem.paths) if problem.dw_axes else problem.shape
    if problem.noise is not None:
        for s in range(problem.steps):
            yield [arrays.channels_first(z[s]) if problem.dw_axes else z[s] for z in problem.noise]
        return
    per_step = {stream: method.streams.count(stream) * m for stream in method.streams}
    for s in range(problem.steps):
        step = problem.first_step + s
        if s == 0 or step % 4 == 0:  # the four words of a counter serve four steps
            begin, ahead = step, min(4 - step % 4, problem.steps - s)
            made = {stream: rows(begin * n, ahead * n, stream) for stream, n in per_step.items()}
        drawn = []
        for j, stream in enumerate(method.streams):
            row = (step - begin) * per_step[stream] + method.streams[:j].count(stream) * m
            drawn.append(made[stream][row : row + m].reshape(shape))
        yield drawn


def inward(problem, x):
    """A state as steps see it: components on the first axis."""
    return arrays.channels_first(x) if problem.structure.components else x


def outward(problem, x):
    return arrays.channels_last(x) if problem.structure.components else x


def whole(problem, x):
    """Which paths are finite in all their entries, with axes that broadcast against the inward state."""
    finite = sm.isfinite(x)
    if problem.structure.components:
        return arrays.all_of(finite, (0,))
    axes = tuple(range(len(problem.shape) - problem.structure.event_dims, len(problem.shape)))
    return arrays.all_of(finite, axes)
