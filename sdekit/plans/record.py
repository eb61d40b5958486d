"""The record of a plan, and the sampler that takes its steps."""

import json
from dataclasses import asdict, dataclass, fields
from itertools import pairwise

from .. import reprs
from ..arrays import combined
from ..methods.exponential import first_order, schedule
from ..methods.method import Method, family, method
from ..methods.multistep import empty
from ..methods.taken import Taken
from .sampler import LAGS

SLACK = 1e-9  # of the grid's length: how exactly a step's times are those of the plan


@dataclass(frozen=True, repr=False)
class Plan:
    """A grid and the weights of a multistep sampler for it; equal where all fields are, saved as JSON.

    process   the repr of the process that the times are for
    nfe       network evaluations
    spread    largest standard deviation of the data that it is meant for
    grid      nfe + 1 decreasing times
    weights   for each step the weights W_j of the evaluations before, the last one first; () in a first-order step
    error     expected: the geometric mean over held-out targets of the root-mean-square error at the window's end
    fixed     that of the best of the orders 2, 3, 4 on equal steps of log-SNR
    found     how
    """

    process: str
    nfe: int
    spread: float
    grid: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]
    error: float
    fixed: float
    found: str

    def __post_init__(self):
        grid, weights = tuple(self.grid), tuple(map(tuple, self.weights))
        if not (len(grid) == len(weights) + 1 == self.nfe + 1 and all(a > b for a, b in pairwise(grid))):
            raise ValueError(
                f"a plan has nfe + 1 decreasing times and nfe rows of weights, got nfe = {self.nfe}, {len(grid)} times "
                f"and {len(weights)} rows"
            )
        object.__setattr__(self, "grid", grid)
        object.__setattr__(self, "weights", weights)

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
        """The plan of such a text."""
        read, names = json.loads(text), {field.name for field in fields(cls)}
        if not isinstance(read, dict) or set(read) != names:
            raise ValueError(f"the text holds no plan with the fields {', '.join(sorted(names))}")
        return cls(**read)


@family
def planned(plan=None):
    """The multistep sampler of a `Plan`, on its grid alone.

        x' = (s1/s0) x + a1 (1 − e^{−h}) [D_0 + Σ_j W_j (D_{−j} − D_0)]

    The W_j are given, not those of an order. Cost: 1 evaluation.
    """
    rows = dict(zip(pairwise(plan.grid), plan.weights, strict=True)) if plan else {}
    near = SLACK * (plan.grid[0] - plan.grid[-1]) if plan else 0.0

    def row(t, t1):
        for (a, b), found in rows.items():
            if abs(t - a) <= near and abs(t1 - b) <= near:
                return found
        raise ValueError(f"the step from t = {t} to {t1} is not one of the plan's; give solve grid=plan.grid")

    @method(noise=("none", "additive"), streams=(), needs=("pair",), init=empty)
    def planned(sde, t, t1, x, dt, memory):
        found = row(t, t1)
        clean = sde.process.pair(t, x)[0]
        known = memory.after(t, clean, "planned")
        if len(found) >= len(known.values):
            raise ValueError(f"the step from t = {t} needs {len(found)} evaluations before it; begin at {plan.grid[0]}")
        kept, (gain, _) = first_order(schedule(sde, t, t1), x, clean)
        earlier = [(gain * w, value) for w, value in zip(found, known.values[1:])]
        x = combined(kept, (gain * (1 - sum(found)), clean), *earlier)
        return Taken(x, memory=known.last(LAGS))

    return planned
