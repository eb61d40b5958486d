"""The record of a plan, and the sampler that takes its steps."""

import json
import math
from dataclasses import asdict, dataclass, fields
from itertools import pairwise

from .. import reprs
from ..arrays import combined
from ..checks import integer, real, shown
from ..methods.exponential import first_order, schedule
from ..methods.method import Method, family, method
from ..methods.multistep import empty
from ..methods.taken import Taken
from .sampler import LAGS

SLACK, ROUNDED = 1e-9, 1e-6  # of the grid's length, and of a time: how exactly a step's times are those of the plan
SAME = 1e-4  # in log(sigma/alpha): how exactly the process is noisy there as the plan's was


@dataclass(frozen=True, repr=False)
class Plan:
    """A grid and the weights of a multistep sampler for it; equal where all fields are, saved as JSON.

    process   the repr of the process that the times are for; its noise there is in `angles`
    nfe       network evaluations
    spread    largest standard deviation of the data that it is meant for
    grid      nfe + 1 decreasing times
    angles    arctan(sigma/alpha) at these times, from 0 at the data to π/2
    weights   for each step the weights W_j of the evaluations before, the last one first; () in a first-order step
    error     expected of x/alpha at the window's end: the geometric mean over kinds of held-out targets of the
              root-mean-square error
    fixed     that of the best of the orders 2, 3, 4 on equal steps of log-SNR
    found     how
    """

    process: str
    nfe: int
    spread: float
    grid: tuple[float, ...]
    angles: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]
    error: float
    fixed: float
    found: str

    def __post_init__(self):
        nfe, rows = integer("nfe", self.nfe, 1), _sequence("weights", self.weights)
        checked = {
            "nfe": nfe,
            "grid": _numbers("grid", self.grid),
            "angles": _numbers("angles", self.angles, 0.0, math.pi / 2),
            "weights": tuple(_numbers(f"weights[{i}]", row) for i, row in enumerate(rows)),
            "spread": real("spread", self.spread, above=0, below=math.inf),
            "error": real("error", self.error, 0, below=math.inf),
            "fixed": real("fixed", self.fixed, 0, below=math.inf),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if not isinstance(self.process, str) or not isinstance(self.found, str):
            raise ValueError(f"process and found must be text, got {shown(self.process)} and {shown(self.found)}")
        falling = all(a > b for a, b in [*pairwise(self.grid), *pairwise(self.angles)])
        if not (falling and len(self.grid) == len(self.angles) == len(self.weights) + 1 == nfe + 1):
            raise ValueError(
                f"a plan has nfe + 1 decreasing times and angles and nfe rows of weights, got nfe = {nfe}, "
                f"{len(self.grid)} times, {len(self.angles)} angles and {len(self.weights)} rows"
            )
        if any(len(row) > min(i, LAGS) for i, row in enumerate(self.weights)):
            raise ValueError(f"weights[i] are at most min(i, {LAGS}) numbers, got {[len(row) for row in self.weights]}")

    def __repr__(self):
        numbers = {key: getattr(self, key) for key in ("nfe", "spread", "error", "fixed")}
        listed = ", ".join(f"{key}={reprs.brief(round(value, 6))}" for key, value in numbers.items())
        return f"Plan({self.process}, {listed}, found={self.found!r})"

    @property
    def method(self) -> Method:
        """The sampler for `grid`, a `Method`."""
        return planned(self)

    def to_json(self) -> str:
        """All fields as text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """The plan of such a text; a ValueError where it is none, whole and of numbers that make sense."""
        names = {field.name for field in fields(cls)}
        try:
            read = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"the text holds no plan, since it is no JSON: {error}") from None
        if not isinstance(read, dict) or set(read) != names:
            raise ValueError(f"the text holds no plan with the fields {', '.join(sorted(names))}")
        return cls(**read)


def _sequence(name, value):
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name} must be a list of numbers, or of rows of numbers, got {shown(value)}")
    return value


def _numbers(name, values, least=-math.inf, most=math.inf):
    return tuple(
        real(f"{name}[{i}]", v, least, most, above=-math.inf, below=math.inf)
        for i, v in enumerate(_sequence(name, values))
    )


@family
def planned(plan=None):
    """The multistep sampler of a `Plan`, on its grid alone.

        x' = (s1/s0) x + a1 (1 − e^{−h}) [D_0 + Σ_j W_j (D_{−j} − D_0)]

    The W_j are given, not those of an order. Cost: 1 evaluation.
    """
    rows = list(zip(pairwise(plan.grid), pairwise(plan.angles), plan.weights, strict=True)) if plan else []
    near = SLACK * (plan.grid[0] - plan.grid[-1]) if plan else 0.0
    own, begin = (plan.process, plan.grid[0]) if plan else ("", 0.0)

    def row(t, t1, a0, s0, a1, s1, _):
        for (a, b), angles, found in rows:
            if abs(t - a) <= near + ROUNDED * abs(a) and abs(t1 - b) <= near + ROUNDED * abs(b):
                if not all(map(_alike, ((a0, s0), (a1, s1)), angles)):
                    raise ValueError(
                        f"the plan is for {own}, whose sigma/alpha goes from {math.tan(angles[0]):g} to "
                        f"{math.tan(angles[1]):g} in the step from t = {t}, not from {s0 / a0 if a0 else math.inf:g} "
                        f"to {s1 / a1:g}; solve a plan for this process"
                    )
                return found
        raise ValueError(f"the step from t = {t} to {t1} is not one of the plan's; give solve grid=plan.grid")

    @method(noise=("none", "additive"), streams=(), needs=("pair",), init=empty)
    def planned(sde, t, t1, x, dt, memory):
        steps = schedule(sde, t, t1)
        found = row(t, t1, *steps)
        clean = sde.process.pair(t, x)[0]
        known = memory.after(t, clean, "planned")
        if len(found) >= len(known.values):
            raise ValueError(f"the step from t = {t} needs {len(found)} evaluations before it; begin at {begin}")
        kept, (gain, _) = first_order(steps, x, clean)
        earlier = [(gain * w, value) for w, value in zip(found, known.values[1:])]
        x = combined(kept, (gain * (1 - sum(found)), clean), *earlier)
        return Taken(x, memory=known.last(LAGS))

    return planned


def _alike(pair, angle):
    """Whether alpha and sigma make this angle; d(angle) = sin · cos · d log(sigma/alpha)."""
    return abs(math.atan2(pair[1], pair[0]) - angle) <= SAME * math.sin(angle) * math.cos(angle) + 1e-12
