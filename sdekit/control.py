"""How large the steps of an adaptive run are: a tolerance, and a controller that knows numbers only.

Errors are measured as E. Hairer, S. P. Nørsett and G. Wanner do, "Solving Ordinary Differential Equations I", 1993,
sec. II.4: each component against atol + rtol max(|x|, |x'|), a path by the root of the mean square over its components.
The functions take numbers, arrays and tensors of one value per path, and the numbers of compiled code.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from . import math as sm
from .checks import integer, real

__all__ = ["Control", "Tolerance"]

SAFETY, SMALLEST, LARGEST = 0.9, 0.2, 10.0  # of the factor from one step to the next; Hairer's program dopri5
MEMORY = 0.1  # β q, the weight of the error before; the same program has 0.2 for q = 5 and 0 for q = 8
START = math.log(1e-4)  # least logarithm of the error before, of which a small one says little; the same program
LEAST = 2.3e-15  # of |t|: ten units of rounding, as in scipy.integrate
STRETCH = 1.01  # by so much a step may grow so that no short one is left over; Hairer's program dopri5


@dataclass(frozen=True)
class Tolerance:
    """The error that a step of an adaptive run may have, and bounds of the steps.

    rtol        relative to the state: a step's error is kept below atol + rtol max(|x|, |x'|), in the root of the mean
                square over a path's components. The error at the end is of this size, or some ten times it.
    atol        absolute, in the units of the state.
    first       the first step's size; None: found from the slope and its change.
    least       the least size: a path that would need a smaller one has failed.
    most_steps  accepted and rejected ones of a path, which has failed where it would need more.
    batch       one step size for all paths of a batch, of numpy arrays and tensors: then times are numbers to the
                process, as on fixed steps, and the result of a path depends on its batch.
    """

    rtol: float = 1e-6
    atol: float = 1e-6
    first: float | None = None
    least: float = 0.0
    most_steps: int = 100_000
    batch: bool = False

    def __post_init__(self):
        found = {name: real(name, getattr(self, name), least=0, below=math.inf) for name in ("rtol", "atol", "least")}
        if not (found["rtol"] or found["atol"]):
            raise ValueError("rtol and atol are both 0, which no step keeps; give one of them")
        if self.first is not None:
            found["first"] = real("first", self.first, least=found["least"], above=0, below=math.inf)
        if type(self.batch) is not bool:
            raise ValueError(f"batch must be True or False, got {self.batch!r}")
        found["most_steps"] = integer("most_steps", self.most_steps, least=1, most=2**31 - 1)
        vars(self).update(found)


class Control(NamedTuple):
    """Where the controller of a path stands.

    size    of the next step, positive
    before  logarithm of the error of the last step that counted
    most    the largest factor to the next size
    """

    size: Any
    before: Any
    most: Any


def init(size):
    """The `Control` at the start of a run."""
    return Control(size, 0.0 * size + START, 0.0 * size + LARGEST)


def scaled(error, x, y, rtol, atol):
    """An error in units of what is allowed between the states x and y."""
    return error / (atol + rtol * sm.maximum(sm.abs(x), sm.abs(y)))


def single(error, x, y, rtol, atol, mean_square):
    """The square of a step's error: allowed up to 1."""
    return mean_square(scaled(error, x, y, rtol, atol))


def double(errors, x, y, rtol, atol, mean_square):
    """The same of two estimates, of order 5 and 3, as one of order 7 (Hairer's program dop853)."""
    fifth = mean_square(scaled(errors[0], x, y, rtol, atol))
    third = mean_square(scaled(errors[1], x, y, rtol, atol))
    return fifth * fifth / (fifth + 0.01 * third + 1e-300)


def error_square(error, x, y, rtol, atol, mean_square):
    """`single` or `double`, as the step has it."""
    return (double if isinstance(error, tuple) else single)(error, x, y, rtol, atol, mean_square)


def propose(square, before, most, q):
    """(whether the step counts, the factor to the next size, the state of the controller behind it: before, most).

    A PI controller: 0.9 e^−α e_before^β, α = 1/q − ¾ β, within [0.2, 10]. A rejected step shrinks by its own error
    alone, and the one after it does not grow. `square` is e²; `before` the logarithm of e_before; q the power of h with
    which e falls.
    Source: K. Gustafsson, "Control theoretic techniques for stepsize selection in explicit Runge–Kutta methods", 1991,
    doi:10.1145/210232.210242, in the form of Hairer, Nørsett and Wanner, sec. IV.2.
    """
    beta = MEMORY / q
    counts = square <= 1.0
    error = 0.5 * sm.log(sm.maximum(square, 1e-40))
    raw = SAFETY * sm.exp((0.75 * beta - 1.0 / q) * error + beta * sm.where(counts, before, 0.0))
    bounded = sm.maximum(sm.minimum(raw, sm.where(counts, most, 1.0)), SMALLEST)
    factor = sm.where(square < math.inf, bounded, SMALLEST)  # also where it is not a number
    kept = sm.where(counts, sm.maximum(error, START), before)
    return counts, factor, kept, sm.where(counts, 0.0 * before + LARGEST, 1.0)


def first_size(sde, t, x, slope, span, direction, rtol, atol, q, mean_square, plain):
    """The size of the first step, at most `span`, by Hairer, Nørsett and Wanner, sec. II.4; one evaluation.

    plain(number) is the number in a form that leaves the type of a state it is multiplied with.
    """
    state = sm.sqrt(mean_square(scaled(x, x, x, rtol, atol)))
    speed = sm.sqrt(mean_square(scaled(slope, x, x, rtol, atol)))
    still = (state < 1e-5) | (speed < 1e-5)
    guess = sm.minimum(sm.where(still, 1e-6, 0.01 * state / sm.where(still, 1.0, speed)), span)
    there = sde.drift(t + plain(direction * guess), x + slope * plain(direction * guess))
    bend = sm.sqrt(mean_square(scaled(there - slope, x, x, rtol, atol))) / guess
    steepest = sm.maximum(speed, bend)
    flat = steepest <= 1e-15
    fine = sm.exp(sm.log(0.01 / sm.where(flat, 1.0, steepest)) * (1.0 / q))
    size = sm.where(flat, sm.maximum(1e-6, 1e-3 * guess), fine)
    return sm.minimum(sm.minimum(100.0 * guess, size), span)


def first_with_noise(sde, t, x, slope, kick, span, direction, rtol, atol, q, mean_square, plain):
    """The same where noise adds √h `kick` to a state: at most (0.01/|kick|)^(1/q), which stands alone without drift."""
    size = first_size(sde, t, x, slope, span, direction, rtol, atol, q, mean_square, plain)
    shaken = sm.sqrt(mean_square(scaled(kick, x, x, rtol, atol)))
    calm = shaken <= 1e-15
    least = sm.minimum(sm.exp(sm.log(0.01 / sm.where(calm, 1.0, shaken)) * (1.0 / q)), span)
    moves = mean_square(scaled(slope, x, x, rtol, atol)) > 0.0
    return sm.where(calm, size, sm.where(moves, sm.minimum(size, least), least))
