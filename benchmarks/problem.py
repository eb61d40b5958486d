"""The common problem of the throughput benchmark, the law that its results must have, and a form.

    dX = −theta X dt + sigma dW,  X_0 = 1,  0 ≤ t ≤ 1,  Euler–Maruyama in `steps` equal steps

The discretised process is Gaussian with a law of its own: with r = 1 − theta h its mean is r^steps
and its variance sigma² h (1 − r^{2 steps})/(1 − r²). Every result that is timed is tested against
it, so that no rate is reported for something else than this problem.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

THETA, SIGMA, START, END = 1.0, 0.3, 1.0, 1.0
ALL = None  # a batch of all paths
ERRORS = 4.0  # allowed standard errors; exceeded by chance in 6e-5 of tests


class Work(NamedTuple):
    """What one run computes: `paths` end points after `steps` steps, on `threads` threads."""

    paths: int
    steps: int
    threads: int

    @property
    def h(self):
        return END / self.steps


def law(steps):
    """Mean and variance of the Euler–Maruyama end point."""
    h = END / steps
    r = 1.0 - THETA * h
    return START * r**steps, SIGMA**2 * h * (1.0 - r ** (2 * steps)) / (1.0 - r * r)


def check_law(x, steps, errors=ERRORS):
    """Raise unless the end points have the mean and the variance of `law`."""
    x = np.asarray(x, dtype=np.float64)
    mean, variance = law(steps)
    off_mean = (x.mean() - mean) / math.sqrt(variance / x.size)
    off_variance = (x.var() / variance - 1.0) / math.sqrt(2.0 / x.size)
    if not max(abs(off_mean), abs(off_variance)) < errors:
        raise AssertionError(f"wrong law: mean {off_mean:+.1f}, variance {off_variance:+.1f} standard errors off")


def check_end_points(x, work, dtype=np.float32):
    """Raise unless `x` holds the work's end points in `dtype`, with the right law."""
    if x.shape != (work.paths,) or x.dtype != dtype:
        raise AssertionError(f"{x.dtype}{x.shape} instead of {np.dtype(dtype)}({work.paths},)")
    check_law(x, work.steps)


def moments(x):
    """Mean and variance over the first axis, with their standard errors."""
    x = np.asarray(x, dtype=np.float64)
    centred = x - x.mean(0)
    variance = (centred**2).mean(0)
    fourth = (centred**4).mean(0)
    n = len(x)
    return (x.mean(0), np.sqrt(variance / n)), (variance, np.sqrt((fourth - variance**2) / n))


def check_alike(x, y, errors=ERRORS):
    """Raise unless two samples agree in mean and variance, component by component."""
    for name, (a, da), (b, db) in zip(("mean", "variance"), moments(x), moments(y), strict=True):
        off = np.abs(a - b) / np.hypot(da, db)
        if not np.all(off < errors):
            raise AssertionError(f"wrong {name}: {np.max(off):.1f} standard errors off")


def euler(drift, sigma, start, paths, steps, seed=0):
    """Euler–Maruyama in plain float64 numpy: the oracle where no law is known. Shape (paths, k)."""
    rng = np.random.default_rng(seed)
    h = END / steps
    x = np.tile(np.asarray(start, dtype=np.float64), (paths, 1))
    for _ in range(steps):
        x = x + drift(x) * h + sigma * math.sqrt(h) * rng.standard_normal(x.shape)
    return x


class Form(NamedTuple):
    """One way of writing the benchmark in one library.

    build       (Work) -> batch(seed), which returns `work.paths` end points as a numpy array
    chunk       paths in one batch, or ALL; a run repeats batches until all paths are done
    compiled    whether a first call compiles
    check       (end points, work) -> None, raises where they are not what they should be
    """

    label: str
    build: Callable[[Work], Callable[[int], Any]]
    chunk: int | None = ALL
    compiled: bool = False
    check: Callable[[Any, Work], None] = check_end_points
