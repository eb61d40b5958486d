"""Accuracy against the number of network evaluations (NFE): every method on the same target, starts and grid."""

import functools
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import grids, noise
from ..checks import integer
from ..methods import Method
from ..solve import solve
from ..transforms import Reverse
from . import chart, metrics
from .flow import reference_flow
from .law import exact_law, gaussian_law
from .metrics import Measured, law_at

__all__ = [
    "Row", "Run", "Setting", "WorkPrecision", "class_frequencies", "coupled_rmse", "flow_kl", "kernel_mmd", "misplaced",
    "sliced_cramer", "wasserstein", "work_precision",
]  # fmt: skip


# --- the measurement -----------------------------------------------------------------------------


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

    def plot(self, path, metric=None, title=None):
        """Value of one metric against NFE, both logarithmic, with the floor, into a picture file."""
        chart.work_precision(Path(path), self, metric or self.metrics[0], title or self.target)

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
             number of steps that return one, such as `lambda steps: sdekit.edm_heun(churn=10, steps=steps)`.
    nfe      one budget or several. Steps are as many as `solve` counts at most that many evaluations for; a method
             that needs more for one step has no row there.
    metric   one or several: a function of the `Setting` that returns a function of a `Run`, whose result is a
             `Measured`, or (value, standard error), or a value. Those of this module: `coupled_rmse`, `flow_kl`,
             `misplaced` for methods without noise, `sliced_cramer`, `kernel_mmd`, `class_frequencies(data, labels)`,
             `wasserstein`. Your own: `lambda setting: lambda run: distance(run.x)`.
    grid     as those of `sdekit.grids`, called with (process, steps, start=, end=, final=).
    samples  drawn from the exact law at the start, so that the steps alone are measured; in the type of `like`
             (default: numpy float64). Or `x0`: the starts themselves.
    tol      of the exact flow that `coupled_rmse` and `misplaced` compare with (`reference_flow`).
    tell     called with each `Row`.

    Returns a `WorkPrecision`: rows, JSON, a table and a plot.
    """
    budgets = sorted({integer("nfe", n, 1, 10**6) for n in (nfe if np.iterable(nfe) else [nfe])})
    makers = [_maker(method) for method in (methods if np.iterable(methods) else [methods])]

    def times(steps):
        return np.asarray(grid(process, steps, start=start, end=end, final=final), np.float64)

    setting = _setting(target, process, times, integer("samples", samples, least=2), x0, seed, like, tol)
    wanted = metric if isinstance(metric, (tuple, list)) else [metric]
    measures = {m.__name__: m(setting) for m in wanted}
    rows = []
    for label, make in makers:
        for budget in budgets:
            run, count = _within(setting, make, budget)
            for name, measure in measures.items() if run else ():
                rows.append(Row(name, label, budget, len(run.times) - 1, count, *_measured(measure(run))))
                if tell:
                    tell(rows[-1])
    if not rows:
        raise ValueError(f"nfe = {budgets}: no method is given that takes a step within them")
    names = type(target).__name__, repr(process), grid.__name__
    return WorkPrecision(*names, setting.start, setting.end, len(setting.x0), seed, tuple(rows))


def _measured(result):
    if isinstance(result, tuple):
        return Measured(*map(float, result))
    return Measured(float(result), 0.0)


# --- what metrics see ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """What all runs share: starts x0 (n, *event) at time `start`, to be moved to time `end`."""

    target: Any
    process: Any
    score: Any
    times: Callable  # number of steps -> decreasing times
    start: float
    end: float
    x0: Any
    seed: int
    tol: float

    def law(self, t):
        """The exact law at time t, a `GaussianMixture`."""
        return law_at(self.target, self.process, t)

    @cached_property
    def flow(self):
        """Where the exact probability flow takes the starts."""
        return reference_flow(self.process, self.score, self.x0, self.start, self.end, self.tol)


@dataclass(frozen=True)
class Run:
    """One method on one grid."""

    setting: Setting
    method: Method
    times: np.ndarray

    @cached_property
    def x(self):
        """The samples at the end (n, *event)."""
        return self.solve(self.setting.x0).x[-1]

    @property
    def eta(self):
        """Of the `Reverse`: the ODE for methods that draw no noise, else the SDE."""
        return 1.0 if self.method.normals else 0.0

    def solve(self, x0):
        reverse = Reverse(self.setting.process, self.setting.score, self.eta)
        return solve(reverse, x0, grid=self.times, method=self.method, seed=self.setting.seed)


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
    return method.__name__, method


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


# --- metrics -------------------------------------------------------------------------------------


def _of_samples(metric):
    """A metric for `work_precision` from a function of the `Setting` that returns a function of the samples."""

    @functools.wraps(metric)
    def prepared(setting):
        measure = metric(setting)
        return lambda run: measure(run.x)

    return prepared


def _of_flows(metric):
    """A metric that follows the flow: raises for methods that draw noise."""

    @functools.wraps(metric)
    def prepared(setting):
        measure = metric(setting)

        def measured(run):
            if run.method.normals:
                raise ValueError(f"{metric.__name__} follows the flow, but {run.method!r} draws noise: compare laws")
            return measure(run)

        return measured

    return prepared


@_of_flows
@_of_samples
def coupled_rmse(setting):
    """`metrics.rmse` to the exact flow from the same starts."""
    return metrics.rmse(setting.flow, setting.tol)


@_of_flows
@_of_samples
def misplaced(setting):
    """`metrics.misplaced` for an `Empirical` target: the share at another data point than the exact flow."""
    return metrics.misplaced(setting.flow, setting.target.data)


@_of_flows
def flow_kl(setting):
    """`metrics.kl`: of the method's law from the exact one, from exact starts; by torch's differentiation."""
    measure = metrics.kl(setting.law(setting.start), setting.law(setting.end))
    return lambda run: measure(setting.x0, lambda x: run.solve(x).x[-1])


@_of_samples
def sliced_cramer(setting):
    """`metrics.sliced_cramer` from the exact law at the end."""
    return metrics.sliced_cramer(setting.law(setting.end))


@_of_samples
def kernel_mmd(setting):
    """`metrics.kernel_mmd` from the exact law at the end."""
    return metrics.kernel_mmd(setting.law(setting.end))


def class_frequencies(labels):
    """`metrics.class_frequencies` for an `Empirical` target whose data have these labels."""

    @_of_samples
    def class_frequencies(setting):
        return metrics.class_frequencies(setting.target.data, labels)

    return class_frequencies


def wasserstein(setting):
    """The 2-Wasserstein distance for a `Gaussian` target: of the method's exact law, `gaussian_law`; no sampling."""
    truth = exact_law(setting.target, setting.process, setting.end)

    def measure(run):
        made = gaussian_law(setting.target, setting.process, run.method, run.times, eta=run.eta, start="exact")
        return made.w2(truth)

    return measure
