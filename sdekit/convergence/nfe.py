"""Accuracy against the number of network evaluations (NFE): every method on the same target, starts and grid."""

import collections
import functools
import json
import math
from dataclasses import asdict, dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np

from .. import grids, noise
from ..checks import integer, shown
from ..methods import Method
from ..plans import Plan
from .measures import Run, Setting
from .metrics import Measured

__all__ = ["Row", "WorkPrecision", "work_precision"]


class Row(NamedTuple):
    """One method at one budget: the steps that fit, their counted NFE, and a `Measured` distance."""

    metric: str
    method: str
    budget: int
    steps: int
    nfe: int
    value: float
    stderr: float
    floor: float


@dataclass(frozen=True)
class WorkPrecision:
    """The rows of a measurement, and what else it takes to repeat it."""

    target: str
    process: str
    grid: str
    start: float
    end: float
    samples: int
    seed: int
    rows: tuple[Row, ...]

    @property
    def metrics(self):
        return tuple(dict.fromkeys(row.metric for row in self.rows))

    def of(self, metric):
        """{method: its rows} of one metric."""
        rows = [row for row in self.rows if row.metric == metric]
        return {name: [row for row in rows if row.method == name] for name in dict.fromkeys(r.method for r in rows)}

    def table(self, metric=None):
        """A Markdown table of one metric (default: the first): value ± standard error; (NFE) where it is not the
        budget."""
        metric = metric or self.metrics[0]
        methods = self.of(metric)
        budgets = sorted({row.budget for rows in methods.values() for row in rows})
        floors = {row.budget: row.floor for rows in methods.values() for row in rows}
        lines = [[f"{metric} at NFE", *map(str, budgets)], ["---"] + ["--:"] * len(budgets)]
        for name, rows in methods.items():
            cells = {row.budget: _cell(row) for row in rows}
            lines.append([f"`{name}`", *(cells.get(budget, "") for budget in budgets)])
        lines.append(["exact samples", *(f"{floors[budget]:.2g}" for budget in budgets)])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def to_json(self):
        """Text; numbers that are not finite become null."""
        rows = [[v if not isinstance(v, float) or math.isfinite(v) else None for v in row] for row in self.rows]
        return json.dumps({**asdict(self), "columns": Row._fields, "rows": rows}, indent=1)

    @classmethod
    def from_json(cls, text):
        fields = json.loads(text)
        if tuple(fields.pop("columns", ())) != Row._fields:
            raise ValueError(f"the text holds no rows of {', '.join(Row._fields)}")
        rows = [Row(*(math.nan if v is None else v for v in row)) for row in fields.pop("rows")]
        return cls(**fields, rows=tuple(rows))


def _cell(row):
    error = f" ± {row.stderr:.0e}" if row.stderr else ""
    return f"{row.value:.2e}{error}" + ("" if row.nfe == row.budget else f" ({row.nfe})")


def work_precision(
    target,
    process,
    methods,
    nfe,
    metric,
    *,
    grid=grids.log_snr,
    start=None,
    end=None,
    final=False,
    samples=10_000,
    x0=None,
    seed=0,
    like=None,
    tol=1e-10,
    tell=None,
):
    """The error of each method, for as many steps as fit into each number of network evaluations.

    target   a `Gaussian`, `GaussianMixture` or `Empirical`, whose score is exact; or a `Score`, with `x0`.
    methods  one sampler or several, run on `Reverse` with eta = 1 where they draw noise, else 0; or functions of the
             number of steps that return one, such as `lambda steps: sdekit.edm_heun(churn=10, steps=steps)`; or plans
             of `sdekit.solved` from `start` to `end`, each a row on its own grid where its NFE is a budget. Of equal
             names the second is labelled `name #2`, and so are those of metrics.
    nfe      one budget or several. Steps are as many as `solve` counts at most that many evaluations for; a method
             that needs more for one step has no row there.
    metric   one or several: a function of the `Setting` that returns a function of a `Run`, whose result is a
             `Measured`, or (value, standard error), or a value. Those of `measures`: `coupled_rmse`, `flow_kl`,
             `misplaced` for methods without noise, `sliced_cramer`, `kernel_mmd`, `class_frequencies(data, labels)`,
             `wasserstein`. Your own: `lambda setting: lambda run: distance(run.x)`.
    grid     as those of `sdekit.grids`, called with (process, steps, start=, end=, final=).
    samples  drawn from the exact law at the start, so that the steps alone are measured; in the type of `like`
             (default: numpy float64). Or `x0`: the starts themselves.
    tol      of the exact flow that `coupled_rmse` and `misplaced` compare with (`reference_flow`).
    tell     called with each `Row`.

    Returns a `WorkPrecision`: rows, JSON and a table.
    """
    budgets = sorted({integer("nfe", n, 1, 10**6) for n in (nfe if np.iterable(nfe) else [nfe])})
    given = list(methods) if np.iterable(methods) else [methods]
    plans = [method for method in given if isinstance(method, Plan)]
    makers = _labelled([_maker(method) for method in given if not isinstance(method, Plan)])

    def times(steps):
        return np.asarray(grid(process, steps, start=start, end=end, final=final), np.float64)

    setting = _setting(target, process, times, integer("samples", samples, least=2), x0, seed, like, tol)
    wanted = metric if isinstance(metric, (tuple, list)) else [metric]
    measures = dict(_labelled([(_name(m), _of_runs(m, setting)) for m in wanted]))
    rows = []
    fitted = ((label, budget, *_within(setting, make, budget)) for label, make in makers for budget in budgets)
    planned = (("solved", plan.nfe, *_planned(setting, plan)) for plan in plans if plan.nfe in budgets)
    for label, budget, run, count in chain(fitted, planned):
        for name, measure in measures.items() if run else ():
            rows.append(Row(name, label, budget, len(run.times) - 1, count, *_measured(measure(run))))
            if tell:
                tell(rows[-1])
    if not rows:
        raise ValueError(f"nfe = {budgets}: no method is given that takes a step within them")
    names = type(target).__name__, repr(process), grid.__name__
    return WorkPrecision(*names, setting.start, setting.end, len(setting.x0), seed, tuple(rows))


def _of_runs(metric, setting):
    """The function of a run that a metric makes of a setting."""
    measure = metric(setting)
    if not callable(measure):
        raise ValueError(f"metric {_name(metric)} must return a function of a Run for a Setting, got {shown(measure)}")
    return measure


def _measured(result):
    if isinstance(result, tuple):
        return Measured(*map(float, result))
    return Measured(float(result), 0.0)


# --- settings and runs ---------------------------------------------------------------------------


def _setting(target, process, times, samples, x0, seed, like, tol):
    """The `Setting`, with starts from the exact law unless they are given."""
    score = target if hasattr(target, "pair") else target.score(process)
    ends = times(1)
    start, end = float(ends[0]), float(ends[-1])
    if x0 is None and score is target:
        raise ValueError("target is a score, whose law at the start is not known: give the starts x0")
    if x0 is None:
        clean = target.sample(samples, seed, like=like)
        z = noise.normal(clean.shape, seed, noise.Stream.EXACT_START, clean)
        alpha, sigma = process.marginal(start)
        x0 = alpha * clean + sigma * z
    return Setting(target, process, score, times, start, end, x0, seed, tol)


def _maker(method):
    """(label, function: number of steps -> method)."""
    if isinstance(method, Method):
        return repr(method), lambda steps: method
    if not callable(method) or not isinstance(method(1), Method):
        raise ValueError(f"methods must be Methods such as sdekit.ddim, or functions (steps) -> Method, got {method!r}")
    return _name(method), method


def _name(function):
    """The name of a function, or of that which a `functools.partial` holds, with what is held beside it."""
    if isinstance(function, functools.partial):
        given = [*map(repr, function.args), *(f"{name}={value!r}" for name, value in function.keywords.items())]
        return f"{_name(function.func)}({', '.join(given)})"
    return getattr(function, "__name__", type(function).__name__)


def _labelled(named):
    """(label, object) pairs in which equal labels are told apart by their number: "name", "name #2"."""
    seen = collections.Counter()
    for i, (label, thing) in enumerate(named):
        seen[label] += 1
        named[i] = (label if seen[label] == 1 else f"{label} #{seen[label]}", thing)
    return named


def _planned(setting, plan):
    """(the `Run` of a plan, its counted NFE)."""
    if (plan.grid[0], plan.grid[-1]) != (setting.start, setting.end):
        raise ValueError(
            f"methods: {plan!r} leads from {plan.grid[0]} to {plan.grid[-1]}, the others from {setting.start} to "
            f"{setting.end}; give start, end and final that agree"
        )
    run = Run(setting, plan.method, np.array(plan.grid))
    return run, run.solve(setting.x0[:2]).nfe


def _within(setting, make, budget):
    """(the `Run` of most steps whose NFE, counted on two paths, is within the budget, that NFE); or (None, 0)."""

    def run(steps):
        return Run(setting, make(steps), setting.times(steps))

    def count(steps):
        return run(steps).solve(setting.x0[:2]).nfe if steps else 0

    steps = max(1, budget // (make(1).drifts or 1))
    while (found := count(steps)) > budget:
        steps -= 1
    while steps and found < (more := count(steps + 1)) <= budget:
        steps, found = steps + 1, more
    return (run(steps), found) if steps else (None, 0)
