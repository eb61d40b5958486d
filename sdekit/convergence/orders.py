"""Orders of convergence, measured: the same Brownian paths on a ladder of step sizes."""

import math
from typing import NamedTuple

import numpy as np

from ..processes.forms import on_host
from .coupling import coupling, draws, end_of, increment, limit_of, normals_of

__all__ = ["Estimate", "strong_order", "weak_order"]

BATCH = 2**24  # normals held at once, 128 MiB


class Estimate(NamedTuple):
    """An order of convergence, the slope of log(error) against log(h) by least squares.

    order   the slope
    stderr  its standard error from the spread of the paths (0 without noise). Errors on different
            steps come from the same paths; it is that of the slope itself, to first order in the
            deviations of the errors. What h still contributes where it is not small is not in it.
    h       (levels,) step sizes
    errors  (levels,) errors
    stderrs (levels,) their standard errors
    """

    order: float
    stderr: float
    h: np.ndarray
    errors: np.ndarray
    stderrs: np.ndarray

    @property
    def interval(self):
        """The 95 % confidence interval of the order."""
        return self.order - 1.96 * self.stderr, self.order + 1.96 * self.stderr

    def within(self, claimed, tolerance=0.15):
        """Whether the order is `claimed` up to `tolerance` and to three standard errors."""
        return abs(self.order - claimed) <= min(tolerance, 3 * self.stderr or tolerance)

    def __repr__(self):
        pairs = ", ".join(f"{h:.3g}: {e:.3g}" for h, e in zip(self.h, self.errors))
        return f"order {self.order:.3f} ± {self.stderr:.3f} (error by h: {pairs})"


def strong_order(
    process,
    method,
    x0,
    *,
    ts=(0.0, 1.0),
    steps=(16, 32, 64, 128),
    paths=1000,
    seed=0,
    reference=None,
    solution=None,
    fine=None,
    backend=None,
):
    """The strong order of `method` on `process`: how E‖X_h − X‖ at the end of `ts` falls with h.

    process, x0  as `solve` takes them; x0 is the start of every path.
    method       one that draws dW, or dW and dZ of the Brownian path, or dW and Lévy areas, or nothing. The areas
                 of steps are those of their path on the finest steps, where they are normal given dW.
    ts           (start, end).
    steps        numbers of equal steps to measure, increasing.
    paths        independent paths; each entry of x0's own path axes gets a Brownian path too. An
                 equation without noise is solved once, and its deterministic order measured.
    reference    method that stands in for X on `fine` steps (default: `method` itself).
    solution     or X itself: solution(t, x0, w) -> X(t[-1]), with the times t of shape (fine + 1,)
                 and the Brownian path w of shape (fine + 1, paths, *shape of dw), w[0] = 0.
    fine         steps on which paths are drawn, a multiple of `steps`. Default: their least common
                 multiple, 64 times that for a reference. Measured against itself, r times finer
                 than the finest of `steps`, a method of order 1/2 seems better by 0.2/r and one of
                 order 1 by 0.4/r (four doublings); another reference should be of higher order.
    backend      as `solve` takes it.

    ‖·‖ is Euclidean over the axes of one state. Whether the limit is the right one is told only by
    `solution`, or by a reference method of its own. Errors must stay above rounding. Returns an
    `Estimate`; raises a ValueError where an error is zero or not finite.
    """
    coupled = coupling(process, method, x0, ts, steps, paths, seed, reference, solution, fine, backend)

    def distance(x, y):
        axes = tuple(range(x.ndim - coupled.system.event_dims, x.ndim))
        return np.sqrt(((on_host(x) - on_host(y)) ** 2).sum(axes))

    return _measure(coupled, distance)


def weak_order(
    process,
    method,
    x0,
    functional,
    *,
    ts=(0.0, 1.0),
    steps=(4, 8, 16, 32),
    paths=100_000,
    seed=0,
    reference=None,
    solution=None,
    fine=None,
    backend=None,
):
    """The weak order of `method` on `process`: how |E f(X_h) − E f(X)| at the end falls with h.

    functional  f(x) for states x of shape (paths, *shape of x0): one value, or an array, per path.

    Other arguments as in `strong_order`. The expectation is that of f(X_h) − f(X) on the same
    Brownian path: X is the control variate, so that the variance falls with h as well. Look at
    `errors / stderrs` before believing a slope. Paths are many: `steps` start coarser.
    """
    if not callable(functional):
        raise ValueError(f"functional must be a function of the states, got {functional!r}")
    coupled = coupling(process, method, x0, ts, steps, paths, seed, reference, solution, fine, backend)

    def difference(x, y):
        values = on_host(functional(x)) - on_host(functional(y))
        if values.shape[:1] != tuple(x.shape[:1]):
            raise ValueError(
                f"functional must keep the axis of paths of states of shape {tuple(x.shape)}, "
                f"got a result of shape {values.shape}"
            )
        return values

    return _measure(coupled, difference)


def _measure(c, compare):
    """The `Estimate` from compare(x, y) of the states x on coarse steps and y = X, (paths, …)."""
    per_path = max(2, draws(c)) * c.fine * max(1, math.prod(increment(c, 1)))
    size = max(1, BATCH // per_path)
    rng, pieces = np.random.default_rng(c.seed), []
    for done in range(0, c.paths, size):
        count = min(size, c.paths - done)
        z = normals_of(c, count, rng)
        true = limit_of(c, count, z)
        levels = [compare(end_of(c, c.method, n, count, z), true) for n in c.steps]
        pieces.append([values.reshape(count, -1).mean(1) for values in levels])
    h = abs(c.ts[1] - c.ts[0]) / np.array(c.steps)
    return _estimate(h, np.concatenate(pieces, axis=1))


def _estimate(h, differences):
    """The `Estimate` from differences of shape (levels, paths), whose means are the errors.

    The slope is Σ w_l log|m_l| of the means m_l, so path i moves it by Σ w_l (d_li − m_l)/m_l.
    """
    means = differences.mean(1)
    bad = ~np.isfinite(means) | (means == 0)
    if bad.any():
        raise ValueError(
            f"the error at h = {h[bad][0]:.6g} is {means[bad][0]}, which has no order: "
            f"choose steps between where the method is stable and where it is exact"
        )
    x = np.log(h) - np.log(h).mean()
    weights = x / (x @ x)
    spread = differences - means[:, None]
    order, stderr = weights @ np.log(abs(means)), _stderr((weights / means) @ spread)
    return Estimate(float(order), float(stderr), h, abs(means), _stderr(spread))


def _stderr(deviations):
    """Standard error of the mean of what has these deviations along the last axis."""
    n = deviations.shape[-1]
    return np.sqrt((deviations**2).sum(-1) / (n * max(n - 1, 1)))
