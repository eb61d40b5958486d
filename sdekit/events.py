"""Conditions that stop a path, or are recorded: a function's root, and a level that noise may cross within a step."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import math as sm
from .checks import integer, real
from .equation import components, variance

__all__ = ["Barrier", "Event"]


@dataclass(frozen=True)
class Barrier:
    """A level at which a path of an equation with noise stops, also where it meets it between the ends of a step.

    Between x and x' a path is taken for a Brownian bridge. With a, b the distances x − level and x' − level of the
    component and v = Σ_j g_j(t, x)² at the beginning of the step,

        P(met) = 1 where a b ≤ 0,  else exp(−2 a b / (v h));
        s/(h − s) at the time t + s of the hit: inverse Gaussian of mean |a/b| and shape a²/(v h).

    Both are drawn. The component is then the level; others are interpolated linearly. So survival and times have weak
    order 1 where Euler–Maruyama is used and the noise does not vanish at the level, and are free of the error of
    order √h that steps looked at only at their ends have; methods of higher order stay at 1. Brownian motion has no
    error. Of several barriers the first one met stops a path; of two levels on either side of it a step meets one at
    most, which is right where they are several √(v h) apart.

    level      of the component.
    component  which one; 0 where one argument holds the state.
    direction  0: from either side, and a path that begins at the level stops at once; 1 or −1: in steps that begin
               below it, or above.

    For steps of given size. Sources: E. Gobet, "Weak approximation of killed diffusion using Euler schemes", 2000,
    doi:10.1016/S0304-4149(99)00109-X; R. Mannella, "Absorbing boundaries and optimal stopping in a stochastic
    differential equation", 1999, doi:10.1016/S0375-9601(99)00117-6.
    """

    level: float
    component: int = 0
    direction: int = 0
    terminal = True

    def __post_init__(self):
        vars(self).update(
            level=real("level", self.level, above=-math.inf, below=math.inf),
            component=integer("component", self.component),
            direction=integer("direction", self.direction, least=-1, most=1),
        )


@dataclass(frozen=True)
class Event:
    """A function of time and state that crosses zero: the path stops there, or what is found is recorded.

    f          f(t, *x), one value per path, with components one by one as drift takes them; times are numbers or
               one value per path.
    direction  0: either; 1: rising through zero, −1: falling.
    terminal   whether the path stops. After that x is the state at the stop.
    most       how many are recorded of each path where it does not; later ones are passed over.

    f is looked at where steps end. Where its sign has changed there, equations without noise have their root found to
    rounding on the method's dense output, so that the time is as good as the tolerance; on steps of given size of a
    method that has none, on the cubic of Hermite through both ends. Of two roots in one step, and of one that f
    touches without a change of sign, nothing is seen: a smaller tolerance or h separates them, or an event for the
    root of f's derivative. A path that begins on a root is not stopped by it. At a jump of the equation f is asked at
    its very time, not on the two sides that drift and diffusion see: a sign that changes there, even where f itself
    jumps, is found there.

    Equations with noise cross between the ends of steps unseen, and stop at the end of the step that has crossed:
    times come too late by about 0.58 √h times the noise of f. A `Barrier` has no such error.
    """

    f: Callable[..., Any]
    direction: int = 0
    terminal: bool = True
    most: int = 16

    def __post_init__(self):
        if not callable(self.f):
            raise ValueError(f"f must be a function (t, *x), got {self.f!r}")
        if type(self.terminal) is not bool:
            raise ValueError(f"terminal must be True or False, got {self.terminal!r}")
        vars(self).update(
            direction=integer("direction", self.direction, least=-1, most=1),
            most=integer("most", self.most, least=1),
        )


# --- formulas, on arrays and in compiled code -----------------------------------------------------


def look(event, coupled, noise, paired=False):
    """The function (process, t, t1, h, x, x1, level, wait) -> (whether a step meets the event, a, b, v h).

    t is the time as the process sees it where a barrier asks for the noise, next to a jump not quite that of the grid;
    functions of events have that of the grid, at which one step ends and the next one begins: no sign is lost between.
    a and b are the distances from the level, or the values of an event's function, at the ends of the step. Of a
    barrier it is said with `noise.waits` whether it may be met, and `decided` knows; of two that are `paired`, on
    either side of the path, at most one is.
    """
    side, parts = SIDES[event.direction], components if coupled else alone
    if isinstance(event, Barrier):
        return _at_level(event, side, parts, paired, coupled, noise)
    return _at_ends(event.f, side, parts)


def _at_level(barrier, side, parts, paired, coupled, noise):
    component, unit = barrier.component, variance(barrier.component, coupled, noise)
    own = facing if paired else either

    def seen(process, t, t1, h, x, x1, level, wait):
        a, b = parts(x)[component] - level, parts(x1)[component] - level
        spread = abs(h) * unit(process, t, x)
        met = (a * b <= 0.0) | (2.0 * a * b < own(a, wait) * spread)
        return side(a) & met, a, b, spread

    return seen


def _at_ends(f, side, parts):
    def seen(process, t, t1, h, x, x1, level, wait):
        a, b = f(t, *parts(x)), f(t1, *parts(x1))
        return side(a) & (((a < 0.0) & (b >= 0.0)) | ((a > 0.0) & (b <= 0.0))), a, b, 0.0

    return seen


def alone(x):
    """A state of one argument as a tuple."""
    return (x,)


SIDES = {0: lambda a: True, 1: lambda a: a < 0.0, -1: lambda a: a > 0.0}  # where a path may come from


def either(a, wait):
    return wait


def facing(a, wait):
    """A bound of −log(1 − u) for a level below the path; that of one above is of −log u. Cells of u are 2⁻⁸ wide."""
    return sm.where(a < 0.0, wait, -sm.log(sm.maximum(-sm.expm1(-wait) - 3.907e-3, 2.0**-33)))


def uniform(wait, word):
    """u in (0, 1) whose first 8 bits are those of `noise.waits`, the others those of a word; float64."""
    return (sm.round(sm.exp(-wait) * 256.0) + (word + 0.5) * 2.0**-32) * 2.0**-8


def decided(a, b, spread, u):
    """Whether the bridge from a to b of variance `spread` = v h meets 0; u is uniform, or 1 − u (see `facing`)."""
    return (a * b <= 0.0) | (2.0 * a * b < -sm.log(u) * spread)


def hit(a, b, spread, w0, w1, w2):
    """The fraction s/h of a step at which such a bridge first meets 0, from three words; float64.

    With N = |ab| + c + √(c² + 2 |ab| c), c = y v h / 2 and y the square of a normal number, the two roots of
    J. Michael, W. Schucany, R. Haas, "Generating random variates using transformations with multiple roots", 1976,
    doi:10.2307/2683801, are s/h = a²/(a² + N), of probability N/(N + |ab|), and N/(N + b²).
    """
    u0, u1, u2 = (w0 + 0.5) * 2.0**-32, (w1 + 0.5) * 2.0**-32, (w2 + 0.5) * 2.0**-32
    normal = sm.cos(u1 * (2.0 * math.pi))
    c, ab = -sm.log(u0) * normal * normal * spread, sm.abs(a * b)
    n = ab + c + sm.sqrt(c * (c + 2.0 * ab))
    early = a * a / (a * a + n)
    late = n / (n + b * b)
    return sm.where(a == 0.0, 0.0, sm.where(u2 * (n + ab) <= n, early, late))


def hermite(x, x1, start, end, theta):
    """The cubic through x and x1 with the slopes `start` and `end`, times h, at a fraction of the step."""
    eta, rise = 1.0 - theta, x1 - x
    return x + theta * (rise + eta * (start - rise + theta * (2.0 * rise - start - end)))


def near(bracket, f_middle):
    """A point near the root of a function between lo and hi, scaled so that it is positive at lo and not at hi.

    `bracket` is (lo, hi, its values there), `f_middle` its value in the middle.

    Source: C. Ridders, "A new algorithm for computing a single root of a real continuous function", 1979,
    doi:10.1109/TCS.1979.1084580.
    """
    lo, hi, f_lo, f_hi = bracket
    size = sm.sqrt(f_middle * f_middle - f_lo * f_hi)
    return 0.5 * (lo + hi) + 0.5 * (hi - lo) * sm.where(size > 0.0, f_middle / sm.where(size > 0.0, size, 1.0), 0.0)


def narrowed(bracket, f_middle, at, f_at):
    """The part of the bracket, at most half of it, that holds the first change of sign that is seen."""
    lo, hi, f_lo, f_hi = bracket
    middle = 0.5 * (lo + hi)
    before = at < middle
    p, f_p = sm.where(before, at, middle), sm.where(before, f_at, f_middle)
    q, f_q = sm.where(before, middle, at), sm.where(before, f_middle, f_at)
    first, second = f_p <= 0.0, f_q <= 0.0
    return (
        sm.where(first, lo, sm.where(second, p, q)),
        sm.where(first, p, sm.where(second, q, hi)),
        sm.where(first, f_lo, sm.where(second, f_p, f_q)),
        sm.where(first, f_p, sm.where(second, f_q, f_hi)),
    )
