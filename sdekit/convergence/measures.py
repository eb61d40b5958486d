"""The metrics of `work_precision`, and what they see: one setting, and a run of each method in it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..methods import Method
from ..solve import solve
from ..transforms import Reverse
from . import metrics
from .flow import reference_flow
from .law import exact_law, gaussian_law

__all__ = [
    "Run", "Setting", "class_frequencies", "coupled_rmse", "flow_kl", "kernel_mmd", "misplaced", "sliced_cramer",
    "wasserstein",
]  # fmt: skip


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
        return metrics.law_at(self.target, self.process, t)

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


# --- metrics: functions of the `Setting` that return a function of a `Run` -------------------------


def _deterministic(run):
    """The run itself; raises for methods that draw noise and follow no flow."""
    if run.method.normals:
        raise ValueError(f"the metric follows the flow, but {run.method!r} draws noise: compare laws")
    return run


def coupled_rmse(setting):
    """`metrics.rmse` to the exact flow from the same starts."""
    measure = metrics.rmse(setting.flow, setting.tol)
    return lambda run: measure(_deterministic(run).x)


def misplaced(setting):
    """`metrics.misplaced` for an `Empirical` target: the share at another data point than the exact flow."""
    measure = metrics.misplaced(setting.flow, setting.target.data)
    return lambda run: measure(_deterministic(run).x)


def flow_kl(setting):
    """`metrics.kl`: of the method's law from the exact one, from exact starts; by torch's differentiation."""
    measure = metrics.kl(setting.law(setting.start), setting.law(setting.end))
    return lambda run: measure(setting.x0, lambda x: _deterministic(run).solve(x).x[-1])


def sliced_cramer(setting):
    """`metrics.sliced_cramer` from the exact law at the end."""
    measure = metrics.sliced_cramer(setting.law(setting.end))
    return lambda run: measure(run.x)


def kernel_mmd(setting):
    """`metrics.kernel_mmd` from the exact law at the end."""
    measure = metrics.kernel_mmd(setting.law(setting.end))
    return lambda run: measure(run.x)


def class_frequencies(labels):
    """`metrics.class_frequencies` for an `Empirical` target whose data have these labels."""

    def class_frequencies(setting):
        measure = metrics.class_frequencies(setting.target.data, labels)
        return lambda run: measure(run.x)

    return class_frequencies


def wasserstein(setting):
    """The 2-Wasserstein distance for a `Gaussian` target: of the method's exact law, `gaussian_law`; no sampling."""
    truth = exact_law(setting.target, setting.process, setting.end)

    def measure(run):
        made = gaussian_law(setting.target, setting.process, run.method, run.times, eta=run.eta, start="exact")
        return made.w2(truth)

    return measure
