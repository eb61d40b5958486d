"""The oracle: the step in plain numpy, one after the other, over all paths at once; torch goes the same way."""

import itertools
import math

import numpy as np

from .. import arrays, brownian, levy, noise
from .. import math as sm
from ..methods.taken import Taken
from ..problem import Outcome, counted
from ..records import with_parameters
from . import guard, stops


def run(problem):
    """Solve with numpy; see `march`."""
    if arrays.is_tensor(problem.x0):
        raise ValueError("backend numpy takes numpy arrays; give x0 as one, or leave backend out")
    first = problem.first_lane + np.arange(problem.lanes)
    with np.errstate(all="ignore"):  # paths that become non-finite are reported by `solve`
        return march(problem, lambda n, count, s: noise.rows(first, n, count, problem.seed, s, problem.x0))


def march(problem, rows):
    """The time loop over whole arrays, for numpy and torch alike.

    `rows(n, count, stream)` gives the normals n … n + count − 1 of all lanes, of shape (count, lanes).
    """
    steps, method = problem.steps, problem.method
    sde, counter = counted(with_own(problem))
    x = guard.protected(inward(problem, guard.own(arrays.broadcast(problem.x0, problem.shape))))
    memory = problem.memory
    if method.init is not None and memory is None:
        memory = method.init(sde, float(steps.t[0]), x)
    slope, at = None, None  # the drift at the end of the last step, where a method takes it, and the state there
    watch, saved, stood = Watch(problem, x), Saved(problem), stops.begin(problem)
    saved.add(0, x)
    for s, (dws, waits) in enumerate(zip(increments(problem, rows), stops.waits(problem, rows), strict=True)):
        t, t1 = float(steps.begin[s]), float(steps.end[s])
        h = float(steps.t[s + 1]) - float(steps.t[s])
        rest = [dw * math.sqrt(abs(h)) for dw in dws] + ([] if method.init is None else [memory])

        guarded = guard.call if s else guard.closely
        if t != steps.t[s]:  # behind a jump
            slope = None

        def step(x, t=t, t1=t1, h=h, rest=rest, slope=slope, at=at, guarded=guarded, stood=stood):
            if method.first_same_as_last:
                rest = [*rest, guard.drift(sde, t, x) if slope is None or x is not at else slope]
            taken = guarded(method.step, sde, t, t1, x, h, *rest)
            taken = taken if isinstance(taken, Taken) else Taken(taken)
            return taken if stood is None else taken._replace(x=stops.still(problem, stood, taken.x, x))

        taken = watch.through(s, step, x, counter)
        count = counter.count
        x, stood = stops.through(problem, sde, stood, s, x, taken, waits)
        counter.count = count  # compiled code counts steps alone
        x, memory = guard.protected(x), taken.memory
        slope, at = (taken.slopes[-1], x) if taken.slopes else (None, None)
        saved.add(s + 1, x)
        if problem.ticker is not None:
            problem.ticker((s + 1) / len(steps))
    last = arrays.to_type(outward(problem, x), problem.x0.dtype)
    return Outcome(saved.all(), last, *watch.failures(), memory, counter.count, **stops.found(stood))


def with_own(problem):
    """The equation with array parameters in the type of the state, shaped to broadcast with it."""
    equation, system = problem.equation, problem.system
    trailing = 0 if system.components else system.event_dims
    own = with_parameters(equation.process, lambda a: arrays.parameter(a, problem.x0, trailing))
    return equation._replace(process=own)


class Watch:
    """Which paths are finite: none is looked at one by one before the sum of all is not."""

    def __init__(self, problem, x):
        self.problem, self.instead = problem, None  # a state for lost paths to go on from
        self.none = arrays.nowhere(problem.system.path_shape, x)
        # the step from which on paths are looked at, which are finite, and how many steps each got through since
        self.since, self.good, self.survived = None, None, None
        if not healthy(x):
            self._look(0, x)
            if arrays.is_tensor(x) and arrays.concrete(self.good) and not arrays.holds(self.good):
                self.instead = some_good(problem, self.good, x)

    def through(self, s, step, x, counter):
        """What `step(x)` gives, with NaN for paths that are not finite.

        Where gradients are recorded such a path is taken through this step and the others from the state of a good
        one: derivatives of what it has become, infinite or undefined, times zero would spoil those of the others.
        """
        taken, count = step(self._anchored(x)), counter.count
        if self.since is None and not healthy(taken.x):
            self._look(s, x)
        if self.since is None:
            return taken
        good = self.good & whole(self.problem, taken.x)
        watched = arrays.recorded(taken.x) and arrays.concrete(good)
        lost, self.good = watched and bool((good != self.good).any()), good
        if lost:
            self.instead = some_good(self.problem, self.good, x)
            taken = step(self._anchored(x))
            counter.count = count
        self.survived = self.survived + good
        return taken._replace(x=sm.where(good, taken.x, math.nan))

    def _look(self, s, x):
        self.since, self.good = s, whole(self.problem, x)
        self.survived = self.good * 0

    def _anchored(self, x):
        return x if self.instead is None else sm.where(self.good, x, self.instead)

    def failures(self):
        """(mask over the path axes, first step whose result was not finite or None)."""
        if self.since is None:
            return self.none, None
        failed = ~self.good.reshape(self.problem.system.path_shape)
        if not (arrays.concrete(failed) and bool(failed.any())):
            return failed, None
        return failed, self.since + int(self.survived.min())


def some_good(problem, good, x):
    """The state x of the first good path, to broadcast over all; of ones where none is left."""
    system, x = problem.system, x.detach()
    good = good.reshape(system.path_shape)
    if not bool(good.any()):
        return 1.0
    place = np.unravel_index(int(good.reshape(-1).int().argmax()), system.path_shape)
    if not system.components:
        return x[place]
    return x[(slice(None), *place)].reshape((-1, *[1] * len(place)))


class Saved:
    """The states at the times to save: in one array, or piled up where a tensor records its history."""

    def __init__(self, problem):
        self.problem, self.count, self.rows, self.out = problem, 0, [], None

    def add(self, s, x):
        saves = self.problem.steps.saves
        if self.count == len(saves) or saves[self.count] != s:
            return
        row = arrays.to_type(outward(self.problem, x), self.problem.dtype)
        if self.count == 1 and not arrays.recorded(x):
            self.out = arrays.empty((len(saves), *row.shape), row)
            self.out[0] = self.rows.pop()
        if self.out is None:
            self.rows.append(row)
        else:
            self.out[self.count] = row
        self.count += 1

    def all(self):
        return arrays.stack(self.rows) if self.out is None else self.out


def healthy(x):
    """Whether all of x is finite, told by its sum in a single pass; False where that would wait for a device."""
    if arrays.is_tensor(x):
        if x.device.type != "cpu" or not arrays.concrete(x):
            return False
        return math.isfinite(x.detach().sum().item())
    return math.isfinite(x.sum())


def increments(problem, rows):
    """For each step the list of its standard normals and areas, shaped for the step."""
    for s, drawn in enumerate(_drawn(problem, rows)):
        if len(drawn) < len(problem.streams):
            drawn += _areas(problem, rows, s, drawn[0])
        yield [as_dw(problem, z) for z in drawn]


def _areas(problem, rows, s, z):
    """The areas of step s, whose normals are z, in units of h: a list of rows like z."""
    h = float(problem.steps.t[s + 1]) - float(problem.steps.t[s])
    p, step = levy.terms(len(z), h, problem.method.areas), problem.first_step + s
    made = levy.areas(z.reshape(len(z), -1), p, lambda first, count: levy.normals(rows, step, first, count))
    return [row.reshape(z.shape) for row in made]


def _drawn(problem, rows):
    """For each step the list of its standard normals, of channels first, as they are drawn or given."""
    m, method, steps = problem.system.channels, problem.method, len(problem.steps)
    if problem.noise is not None:
        for s in range(steps):
            yield [arrays.channels_first(z[s]) if problem.dw_axes else z[s] for z in problem.noise]
        return
    shape = (m, *problem.system.path_shape) if problem.dw_axes else problem.shape
    if problem.path is not None:
        bridge = brownian.bridge(
            problem.path, problem.first_lane, problem.lanes, m if problem.dw_axes else 1, problem.x0
        )
        for p, q in itertools.pairwise(brownian.ticks(problem.path, problem.steps.t, "ts").tolist()):
            yield [z.reshape(shape) for z in brownian.step(bridge, p, q)[: method.normals]]
        return
    per_step = {stream: method.streams.count(stream) * m for stream in method.streams}
    for s in range(steps):
        step = problem.first_step + s
        if s == 0 or step % 4 == 0:  # the four words of a counter serve four steps
            begin, ahead = step, min(4 - step % 4, steps - s)
            made = {stream: rows(begin * n, ahead * n, stream) for stream, n in per_step.items()}
        drawn = []
        for j, stream in enumerate(method.streams):
            row = (step - begin) * per_step[stream] + method.streams[:j].count(stream) * m
            drawn.append(made[stream][row : row + m].reshape(shape))
        yield drawn


def as_dw(problem, z):
    """Normals as the step takes them: correlated; channels first, but last for one argument with axes of its own."""
    system = problem.system
    if system.correlation is not None:
        z = arrays.mixed(system.correlation, z)
    last = system.noise == "general" and system.components is None and system.event_dims
    return arrays.channels_last(z) if last else z


def inward(problem, x):
    """A state as steps see it: components on the first axis."""
    return arrays.channels_first(x) if problem.system.components else x


def outward(problem, x):
    return arrays.channels_last(x) if problem.system.components else x


def whole(problem, x):
    """Which paths are finite in all their entries, with axes that broadcast against the inward state."""
    finite = abs(x) < math.inf  # one number has an answer with axes too, which sm.isfinite has not
    if problem.system.components:
        return arrays.all_of(finite, (0,))
    axes = tuple(range(len(problem.shape) - problem.system.event_dims, len(problem.shape)))
    return arrays.all_of(finite, axes)
