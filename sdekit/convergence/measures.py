"""The metrics of `work_precision`, and what they see: one setting, and a run of each method in it."""

import functools
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
