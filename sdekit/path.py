"""Functionals of a path, for `sdekit.expect`: what a payoff may depend on besides the state at the end.

A level of `expect` solves an equation on n and on n/2 steps along one Brownian path. A functional is a function of what
it is told of either, a `Walk`, and says how the two are coupled: `bridged` ones are of the path between the ends of
steps, whose law a Brownian bridge has, and the path of n/2 steps is then filled in with the bridge that the increments
of the n steps make. So both see the same points and the same uniform numbers, and the law of neither is changed.
Source: M. Giles, "Improved multilevel Monte Carlo convergence using the Milstein scheme", 2008,
doi:10.1007/978-3-540-74496-2_20.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import reprs
from .checks import integer, real

__all__ = ["Functional", "Walk", "integral", "maximum", "mean", "minimum", "survival"]


class Walk(NamedTuple):
    """A path at the ends of its steps.

    t        (n + 1,) times
    x        (n + 1, paths) states, with components on a last axis (n + 1, paths, k)
    spread   (n, paths) variance that a step adds to the component; None unless the functional is bridged
    waits    (n, paths) −log u for a uniform number u of each step; likewise
    """

    t: np.ndarray
    x: np.ndarray
    spread: np.ndarray | None = None
    waits: np.ndarray | None = None

    __repr__ = reprs.line


class Functional(NamedTuple):
    """A functional of a path and how its levels are coupled.

    value      function of a `Walk`: one number per path, (paths,)
    bridged    whether it is told `spread` and `waits`, and the coarser path at the points of the finer one
    component  of the state to which they belong
    """

    value: Callable[[Walk], Any]
    bridged: bool = False
    component: int = 0


def integral(g: Callable | None = None) -> Functional:
    """∫ g(X_t) dt by the trapezoidal rule on the steps.

    g  function of states (paths,) or (paths, k) → (paths,); the state itself by default.
    """
    if g is not None and not callable(g):
        raise ValueError(f"g must be a function of states, got {g!r}")

    def value(walk):
        y = walk.x if g is None else np.stack([np.asarray(g(x)) for x in walk.x])
        if y.shape != walk.x.shape[:2]:
            what = "states have components: give g" if g is None else "g must return one number per path"
            raise ValueError(f"the integrand has shape {y.shape[1:]} for {walk.x.shape[1]} paths; {what}")
        half = 0.5 * np.diff(walk.t)
        return np.einsum("i,ij->j", np.append(half, 0.0) + np.append(0.0, half), y)  # on one thread, unlike @

    return Functional(value)


def mean(g: Callable | None = None) -> Functional:
    """The mean of g(X_t) over time: `integral` over the length of the interval."""
    whole = integral(g)
    return Functional(lambda walk: whole.value(walk) / (walk.t[-1] - walk.t[0]))


def maximum(component: int = 0) -> Functional:
    """The largest value of a component, between the ends of steps too.

    Of a Brownian bridge from a to b over a step that adds the variance v:  ½ (a + b + √((b − a)² − 2 v log u)).
    """
    return _extreme(1.0, component)


def minimum(component: int = 0) -> Functional:
    """The least value of a component: ½ (a + b − √((b − a)² − 2 v log u)) in each step."""
    return _extreme(-1.0, component)


def _extreme(sign, component):
    component = integer("component", component)

    def value(walk):
        a, b = ends(walk.x, component)
        steps = 0.5 * (a + b + sign * np.sqrt((b - a) ** 2 + 2.0 * walk.spread * walk.waits))
        return (steps * sign).max(0) * sign

    return Functional(value, True, component)


def survival(level: float, component: int = 0) -> Functional:
    """The probability, given the ends of the steps, that a component has not met a level: Π (1 − exp(−2 a b/v)).

    a and b are the distances from the level at the ends of a step; the product is 0 where the level lies between two.
    f(x)·alive is the payoff of a barrier option, and smooth where an indicator would not be.
    """
    level, component = real("level", level, below=np.inf, above=-np.inf), integer("component", component)

    def value(walk):
        a, b = (end - level for end in ends(walk.x, component))
        product = a * b
        with np.errstate(divide="ignore", invalid="ignore"):
            alive = -np.expm1(-2.0 * product / walk.spread)
        return np.where(product > 0, alive, 0.0).prod(0)

    return Functional(value, True, component)


def ends(x, component):
    """A component where steps begin, and where they end."""
    x = x if x.ndim == 2 else x[..., component]
    return x[:-1], x[1:]
