"""What runs with steps of adaptive size carry, on whole arrays."""

from typing import Any, NamedTuple

from .. import arrays
from .. import control as controller
from ..arrays import detached, double
from ..problem import Problem
from . import guard


class Front(NamedTuple):
    """Where the paths stand: arrays over the path axes, of one entry where a batch has one step size.

    Such an array has an axis of length 1 for each axis of a state that is taken as a whole.
    """

    t: Any
    x: Any
    slope: Any  # the drift there, or None for methods that do not take it
    control: controller.Control
    alive: Any
    steps: Any
    rejected: Any
    nfe: Any
    stood: Any = None  # `stops.Stops`, where anything may stop

    def moving(self, goal):
        """Which paths have not come to a time yet."""
        on = True if self.stood is None else self.stood.on.reshape(self.t.shape)
        return self.alive & on & (self.t != goal)


class Trial(NamedTuple):
    """A step about to be taken, from `begin` to `end` as the process sees them."""

    active: Any  # whether the path is on its way; others stay where they are, with h = 0
    last: Any  # whether it ends the leg
    h: Any
    t1: Any
    begin: Any
    end: Any


class Run(NamedTuple):
    """What does not change along the way."""

    problem: Problem
    sde: Any
    counter: Any

    @property
    def course(self) -> Any:
        return self.problem.steps

    @property
    def tolerance(self):
        return self.course.tolerance

    @property
    def q(self):
        return self.problem.method.error_order + 1.0

    def mean_square(self, v):
        """Over the components of each path, or over the batch; float64, without a gradient."""
        system, v = self.problem.system, double(detached(v))
        if self.tolerance.batch:
            return arrays.mean_of(v * v, tuple(range(v.ndim)))[0 if system.components else slice(None)]
        if system.components:
            return (v * v).mean(0)
        return arrays.mean_of(v * v, tuple(range(v.ndim - system.event_dims, v.ndim))) if system.event_dims else v * v

    def plain(self, number):
        """A float64 number per path as it multiplies states: in their type; a Python float for a whole batch."""
        return float(number.reshape(())) if self.tolerance.batch else arrays.to_type(number, self.problem.x0.dtype)

    def time(self, t):
        """A time per path as the process sees it."""
        return float(t.reshape(())) if self.tolerance.batch else t

    def slope(self, t, x):
        return guard.drift(self.sde, self.time(t), x)
