"""When an adaptive run saves, and where its steps must end."""

from typing import NamedTuple

import numpy as np

from . import steps
from .control import Tolerance

__all__ = ["Course", "course"]


class Course(NamedTuple):
    """An adaptive run from t[0] to t[-1].

    t          (times,) the times to save, float64
    saves      0 … times − 1
    legs       the stretches at whose ends steps end, as `Steps`: between jumps, and between the times to save where a
               method has no dense output
    tolerance  of the steps
    """

    t: np.ndarray
    saves: np.ndarray
    legs: steps.Steps
    tolerance: Tolerance

    def __len__(self):
        return len(self.legs)

    @property
    def direction(self):
        """1.0 where times increase, else −1.0."""
        return -1.0 if self.t[-1] < self.t[0] else 1.0


def course(ts, jumps, tolerance, dense):
    """The `Course` through the `Times` ts; `dense`: whether the states between the ends of a step are known."""
    least = np.abs(np.diff(ts.t)).min() if len(ts.t) > 1 else 0.0
    all_times, where = steps.with_jumps(ts.t, jumps, min(0.25 * least, max(steps.SLACK * least, ts.rounding)))
    stops = np.isin(all_times, jumps)
    stops[[0, -1]] = True
    if not dense:
        stops[where] = True
    points = all_times[stops] if len(ts.t) > 1 else all_times
    legs = steps.with_sides(points, np.arange(len(points)), jumps)
    return Course(all_times[where], np.arange(len(ts.t)), legs, tolerance)
