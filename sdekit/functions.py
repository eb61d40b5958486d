"""Processes made of plain functions, and the equation of a process without its noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from . import reprs
from .checks import integer
from .system import state_arguments

__all__ = ["noiseless", "process"]


class Noiseless(NamedTuple):
    """A process without its noise; made by `noiseless`."""

    process: Any

    __repr__ = reprs.line

    noise = "none"
    additive = True
    _without_noise = True  # for `records.title`

    @property
    def states_of(self):
        """The function whose state arguments are those of the process."""
        return getattr(self.process, "states_of", self.process.drift)

    @property
    def event_dims(self):
        return getattr(self.process, "event_dims", 0)

    @property
    def domain(self):
        return getattr(self.process, "domain", (-math.inf, math.inf))

    @property
    def jumps(self):
        return getattr(self.process, "jumps", None)

    def drift(self, t, *x):
        return self.process.drift(t, *x)


def noiseless(process):
    """The equation without its noise: dx = f(t, x) dt for dX = f dt + g dW, whatever the calculus it is written in."""
    if isinstance(process, type) or not callable(getattr(process, "drift", None)):
        raise ValueError(f"process must have the method drift(t, *x), got {process!r}")
    return Noiseless(process)


class Functions(NamedTuple):
    """A process from plain functions; made by `process`."""

    f: Callable
    g: Callable | None
    noise: str
    calculus: str
    additive: bool
    event_dims: int | None
    commutative: bool = False
    correlation: Any = None
    jumps: Any = None

    domain = (-math.inf, math.inf)

    @property
    def states_of(self):
        """The function whose state arguments are those of the process."""
        return self.f

    def drift(self, t, *x):
        return self.f(t, *x)

    def diffusion(self, t, *x):
        return self.g(t, *x)


def process(
    drift,
    diffusion=None,
    noise="diagonal",
    calculus="ito",
    additive=False,
    event_dims=0,
    *,
    commutative=False,
    correlation=None,
    jumps=None,
):
    """A process from plain functions: dX = drift(t, *X) dt + diffusion(t, *X) dW.

    Both take the time first and one argument per component, and return one value, or a tuple with one per
    component; with noise="general" the diffusion returns k rows of m values, or for one argument with axes of its own
    an array of shape (*path axes, *event, m). noise="none" takes no diffusion.

    event_dims   axes that make up one state where one argument holds them all (None: all but the first);
                 with k > 1 arguments it is 1
    commutative  diagonal noise whose component i depends on another component still commutes, because that
                 one has no noise of its own; or the columns of general noise commute, so that no areas are needed
    correlation  of diagonal noise on k > 1 components: a positive semidefinite (k, k) matrix with ones on its
                 diagonal, or a lower factor with rows of norm 1
    jumps        times at which drift or diffusion jump: steps end there, and each sees its own side
    """
    if noise not in ("none", "diagonal", "general"):
        raise ValueError(f"noise must be 'none', 'diagonal' or 'general', got {noise!r}")
    if calculus not in ("ito", "stratonovich"):
        raise ValueError(f"calculus must be 'ito' or 'stratonovich', got {calculus!r}")
    if (noise == "none") != (diffusion is None):
        raise ValueError(f"diffusion is {diffusion!r} with noise={noise!r}; only noise='none' goes without one")
    event_dims = None if event_dims is None else integer("event_dims", event_dims)
    count = _states(drift, "drift")
    if diffusion is not None and len({count, _states(diffusion, "diffusion")} - {None}) > 1:
        raise ValueError("drift and diffusion take different numbers of state arguments")
    dims = event_dims if count == 1 else 1
    return Functions(drift, diffusion, noise, calculus, bool(additive), dims, bool(commutative), correlation, jumps)


def _states(function, name):
    """The number of state arguments of function(t, *x); None for any number."""
    if not callable(function):
        raise ValueError(f"{name} must be a function (t, *x), got {function!r}")
    count = state_arguments(function, name)
    if count == 0:
        raise ValueError(f"{name} must take the time and at least one state argument, as in (t, x)")
    return count
