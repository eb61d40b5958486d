"""What `solve` asks of a backend, checked and complete, and what it gets back."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .brownian import BrownianPath
from .course import Course
from .methods import Method
from .noise import Stream
from .records import replaced, values
from .steps import Steps
from .system import System

__all__ = ["Counted", "Counter", "Outcome", "Problem", "counted", "counted_score", "with_networks"]


class Problem(NamedTuple):
    """One solve. States have `shape`: path axes, then the `event_dims` axes of one state."""

    system: System
    method: Method
    steps: Steps | Course
    x0: Any  # array or tensor in the type of the arithmetic, broadcasts to shape
    dtype: Any  # of the result
    seed: int
    first_lane: int
    first_step: int
    memory: Any
    noise: Any  # explicit normals (draws, steps, *shape of dw), or None
    ticker: Callable[[float], None] | None  # told the finished fraction
    path: BrownianPath | None = None  # whose increments and areas take the place of normals
    control: Any = None  # of an adaptive run that goes on: a `Control` of arrays over the path axes
    events: tuple = ()
    stopped: Any = None  # of a run that goes on: (when, by which event) over the path axes

    @property
    def equation(self):
        return self.system.equation

    @property
    def adaptive(self):
        """Whether steps have sizes of their own."""
        return isinstance(self.steps, Course)

    @property
    def shape(self):
        """Of the state: the path axes, and those of one state."""
        event = self.system.event_dims
        return (*self.system.path_shape, *self.x0.shape[len(self.x0.shape) - event :])

    @property
    def drifts(self):
        """Evaluations of the drift in a step; None where the method's record does not say."""
        differences = self.method.jacobian and not callable(getattr(self.system.process, "jacobian", None))
        return self.method.drifts + (self.system.components or 1) if differences else self.method.drifts

    @property
    def areas(self):
        """How many rows of Lévy areas a step takes: one for each noise, none where they are not needed."""
        return 0 if self.method.areas is None else self.system.areas

    @property
    def streams(self):
        """The noise stream of each dw, and of the rows of areas behind them."""
        return self.method.streams + (Stream.AREA,) * self.areas

    @property
    def lanes(self):
        """Noises are counted for each: paths of coupled processes and of general noise, entries of any other state."""
        return math.prod(self.system.path_shape if self.dw_axes else self.shape)

    @property
    def dw_shape(self):
        """The shape of explicit normals of one step: (path axes, m), or that of the state."""
        return (*self.system.path_shape, self.system.channels) if self.dw_axes else self.shape

    @property
    def dw_axes(self):
        """Whether dw has an axis of channels: (path axes, m); otherwise it has the shape of the state."""
        return self.system.components is not None or self.system.noise == "general"


class Outcome(NamedTuple):
    """What a backend returns."""

    x: Any  # (saves, *shape)
    last: Any  # the state at the end in the type of the arithmetic
    failed: Any  # mask over the path axes
    failed_step: int | None  # first step whose result was not finite
    memory: Any
    nfe: Any  # an int; of adaptive runs an array over the path axes, and so are the following
    steps: Any = None  # taken, where they are not those of the problem
    rejected: Any = 0
    control: Any = None  # a `Control`
    stopped: Any = None  # (when, by which event) over the path axes, where anything may stop
    events: tuple = ()  # for each event its recorded (t, x), None for those that stop


class Counter:
    """How often something was evaluated."""

    def __init__(self):
        self.count = 0


class Counted:
    """Stands in for an object and counts its calls and those of some of its methods."""

    def __init__(self, target, counter, names=()):
        self.target, self.counter, self.names = target, counter, names

    def __getattr__(self, name):
        value = getattr(self.target, name)
        return Counted(value, self.counter) if name in self.names else value

    def __call__(self, *args):
        self.counter.count += 1
        return self.target(*args)


def counted(equation):
    """The equation with a counter of evaluations: of the networks where the process has a score, else of the drift."""
    process, counter = equation.process, Counter()
    score = getattr(process, "score", None)
    if hasattr(score, "pair") and "score" in values(process):
        return equation._replace(process=replaced(process, score=counted_score(score, counter))), counter
    return equation._replace(process=Counted(process, counter, ("drift",))), counter


def counted_score(score, counter):
    """The score with its networks counted, also those of the scores that it holds; an exact one counts itself."""
    return with_networks(score, lambda network: Counted(network, counter), lambda s: Counted(s, counter, ("pair",)))


def with_networks(score, change, exact=lambda score: score):
    """The score with `change(network)` for its networks and those of scores that it holds; `exact` for exact scores."""
    fields = score._asdict() if hasattr(score, "_asdict") else {}
    if "network" in fields:
        return score._replace(network=change(score.network))
    held = {name: with_networks(field, change, exact) for name, field in fields.items() if hasattr(field, "pair")}
    return score._replace(**held) if held else exact(score)
