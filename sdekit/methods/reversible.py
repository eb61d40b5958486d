"""Methods whose steps can be taken back exactly, but for rounding."""

from typing import Any, NamedTuple

from .method import method
from .taken import Taken

__all__ = ["reversible_heun"]


class Shadow(NamedTuple):
    """What `reversible_heun` remembers.

    x      the second state, which the equation is evaluated at
    t      the time of the evaluation; None where none has been made
    drift  f there
    noise  g there, as `Equation.held` gives it
    """

    x: Any
    t: Any = None
    drift: Any = None
    noise: Any = None


def _seen(sde, t, x):
    return Shadow(x, t, sde.drift(t, x), sde.held(t, x))


@method(
    strong={"general": 0.5, "diagonal": 1.0, "additive": 1.0},
    weak=1.0,
    order=2,
    calculus="stratonovich",
    evaluates_end=True,
    init=lambda sde, t, x: Shadow(x),
)
def reversible_heun(sde, t, t1, x, h, dw, shadow):
    """Reversible Heun: one evaluation a step, which can be taken back; converges to the Stratonovich solution.

        y' = 2 x − y + f(t, y) h + g(t, y) dW
        x' = x + ½ [f(t, y) + f(t1, y')] h + ½ [g(t, y) + g(t1, y')] dW

    where y, which begins as x, is its memory, with f and g there. For gradients of neural equations with
    `sdekit.gradients.reversible`; it is hardly stable: |λ h| < 1 for imaginary λ, and nothing for real ones.
    Order: strong 1/2 (1 where the noise commutes), weak 1. Cost: 1 drift, 1 diffusion.
    Source: P. Kidger, J. Foster, X. Li, T. Lyons, "Efficient and accurate gradients for neural SDEs", 2021,
    arXiv:2105.13493.
    """
    if shadow.t != t:  # at the start, behind a jump
        shadow = _seen(sde, t, shadow.x)
    ahead = _seen(sde, t1, 2 * x - shadow.x + shadow.drift * h + _product(sde, shadow, dw))
    half = _product(sde, shadow, 0.5 * dw) + _product(sde, ahead, 0.5 * dw)
    return Taken(x + (shadow.drift + ahead.drift) * (0.5 * h) + half, memory=ahead)


def _product(sde, shadow, dw):
    return sde.g(shadow.noise, shadow.t, shadow.x, dw)
