"""What `solve` asks of a backend, checked and complete."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .equation import Equation, Structure
from .methods import Method


class Problem(NamedTuple):
    """One solve. States have `shape`: path axes, then the `event_dims` axes of one state."""

    equation: Equation
    structure: Structure
    method: Method
    t: np.ndarray  # the grid, float64
    looks: np.ndarray  # indices into t of the times to return
    x0: Any  # array or tensor in the type of the arithmetic, broadcasts to shape
    shape: tuple[int, ...]
    dtype: Any  # of the result
    seed: int
    first_lane: int
    first_step: int
    memory: Any
    noise: Any  # explicit normals (draws, steps, *shape of dw), or None
    ticker: Callable[[float], None] | None  # told the finished fraction

    @property
    def steps(self):
        return len(self.t) - 1

    @property
    def paths(self):
        """The path axes."""
        return self.shape[: len(self.shape) - self.structure.event_dims]

    @property
    def lanes(self):
        """Paths of a process of k components, or entries of any other state."""
        return math.prod(self.shape) // (self.structure.components or 1)

    @property
    def dw_axes(self):
        """Whether dw has an axis of channels: (path axes, m); otherwise it has the shape of the state."""
        return self.structure.components is not None or self.structure.noise == "general"


class Outcome(NamedTuple):
    """What a backend returns."""

    x: Any  # (looks, *shape)
    failed: Any  # mask over the path axes
    failed_step: int | None  # first step whose result was not finite
    memory: Any
    nfe: int


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
    if hasattr(score, "pair") and hasattr(process, "_replace"):
        return equation._replace(process=process._replace(score=counted_score(score, counter))), counter
    return equation._replace(process=Counted(process, counter, ("drift",))), counter


def counted_score(score, counter):
    """The score with its networks counted, also those of the scores that it holds; an exact one counts itself."""
    fields = score._asdict() if hasattr(score, "_asdict") else {}
    if "network" in fields:
        return score._replace(network=Counted(score.network, counter))
    held = {name: counted_score(field, counter) for name, field in fields.items() if hasattr(field, "pair")}
    return score._replace(**held) if held else Counted(score, counter, ("pair",))
