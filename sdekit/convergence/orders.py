"""Orders of convergence, measured: the same Brownian paths on a ladder of step sizes."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import arrays
from .. import noise as streams
from ..checks import integer
from ..methods import Method
from ..processes.forms import on_host
from ..solve import solve
from ..system import System, bind

__all__ = ["Estimate", "coarsen", "strong_order", "weak_order"]

REFINE = 64  # steps of the reference in the finest step that is measured
MOST = 10**11  # steps of all paths: hours
BATCH = 2**24  # normals held at once, 128 MiB
COUPLED = ((), (streams.Stream.PATH,), (streams.Stream.PATH, streams.Stream.SECOND))  # noise that can be coarsened


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


def coarsen(normals, factor=2):
    """Standard normals of the same Brownian path on steps `factor` times as long.

    normals     (draws, steps, *shape of dw) on equal steps, draws = 1 (dW) or 2 (dW, dZ); the
                result has steps / factor steps. `solve` takes it, or for draws = 1 its first entry,
                as `noise`.

    With ξ, ζ the normals of the substeps i = 0 … f − 1, from dW = Σ dW_i and
    I₍₁,₀₎ = Σ (I₍₁,₀₎,ᵢ + h_i (W_i − W_0)), where I₍₁,₀₎ = h (dW + dZ/√3)/2,

        ξ' = f^{−1/2} Σ ξ_i,    ζ' = f^{−3/2} Σ [ζ_i + √3 (f − 1 − 2i) ξ_i].

    ζ' keeps the area under the path, which independent new normals would lose.
    """
    z = np.asarray(normals)
    factor = integer("factor", factor, least=1)
    if z.ndim < 2 or z.shape[0] not in (1, 2):
        raise ValueError(f"normals must have shape (1 or 2, steps, *shape of dw), got {z.shape}")
    if z.shape[1] % factor:
        raise ValueError(f"factor is {factor}, which does not divide the {z.shape[1]} steps")
    if factor == 1:
        return z
    z = z.reshape(len(z), z.shape[1] // factor, factor, *z.shape[2:])
    dw = z[0].sum(1) / math.sqrt(factor)
    if len(z) == 1:
        return dw[None]
    lever = math.sqrt(3) * (factor - 1 - 2 * np.arange(factor)).astype(z.dtype)
    area = z[1].sum(1) + np.einsum("i,si...->s...", lever, z[0])
    return np.stack([dw, area / factor**1.5])


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
    method       one that draws dW, or dW and dZ of the Brownian path, or nothing.
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
    coupling = _coupling(process, method, x0, ts, steps, paths, seed, reference, solution, fine, backend)

    def distance(x, y):
        axes = tuple(range(x.ndim - coupling.system.event_dims, x.ndim))
        return np.sqrt(((on_host(x) - on_host(y)) ** 2).sum(axes))

    return _measure(coupling, distance)


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
    coupling = _coupling(process, method, x0, ts, steps, paths, seed, reference, solution, fine, backend)

    def difference(x, y):
        values = on_host(functional(x)) - on_host(functional(y))
        if values.shape[:1] != tuple(x.shape[:1]):
            raise ValueError(
                f"functional must keep the axis of paths of states of shape {tuple(x.shape)}, "
                f"got a result of shape {values.shape}"
            )
        return values

    return _measure(coupling, difference)


# --- coupled paths -------------------------------------------------------------------------------


class Coupling(NamedTuple):
    """The checked arguments of a measurement."""

    process: Any
    method: Method
    x0: Any
    system: System
    ts: tuple[float, float]
    steps: tuple[int, ...]
    paths: int
    seed: int
    reference: Method
    solution: Callable | None
    fine: int
    backend: Any


def _coupling(process, method, x0, ts, steps, paths, seed, reference, solution, fine, backend):
    if reference is not None and solution is not None:
        raise ValueError("reference and solution are both given; errors are against one of them")
    if solution is not None and not callable(solution):
        raise ValueError(f"solution must be a function (t, x0, w), got {solution!r}")
    _with_a_path("method", method)
    reference = method if reference is None else reference
    _with_a_path("reference", reference)
    ts, steps = _ends(ts), _ladder(steps)
    streams.key(seed)  # raises for what is no seed
    x0 = x0 if arrays.is_tensor(x0) else np.asarray(x0)
    system = bind(process, x0[None], ts[0])
    paths = integer("paths", paths, least=2) if system.noise != "none" else 1
    fine = _finest(fine, steps, solution is not None)
    if paths * fine > MOST:
        raise ValueError(f"paths is {paths} with {fine} steps each, more than {MOST:,} steps in all; measure fewer")
    return Coupling(system.process, method, x0, system, ts, steps, paths, seed, reference, solution, fine, backend)


def _measure(c, compare):
    """The `Estimate` from compare(x, y) of the states x on coarse steps and y = X, (paths, …)."""
    per_path = 2 * c.fine * max(1, math.prod(_increment(c, 1)))
    size = max(1, BATCH // per_path)
    rng, pieces = np.random.default_rng(c.seed), []
    for done in range(0, c.paths, size):
        count = min(size, c.paths - done)
        z = _normals(c, count, rng)
        true = _limit(c, count, z)
        levels = [compare(_end(c, c.method, n, count, z), true) for n in c.steps]
        pieces.append([values.reshape(count, -1).mean(1) for values in levels])
    h = abs(c.ts[1] - c.ts[0]) / np.array(c.steps)
    return _estimate(h, np.concatenate(pieces, axis=1))


def _increment(c, count):
    """The shape of dw for `count` paths."""
    shape = (count, *c.x0.shape)
    if c.system.components is None and c.system.noise != "general":
        return shape
    return (*shape[: len(shape) - c.system.event_dims], c.system.channels)


def _normals(c, count, rng):
    """Normals of `count` paths on the fine grid, None without noise."""
    if c.system.noise == "none":
        return None
    draws = max(c.method.normals, c.reference.normals)
    return rng.standard_normal((draws, c.fine, *_increment(c, count)))


def _end(c, method, n, count, z):
    """The states after n steps of `method` along the paths of z."""
    given = None
    if z is not None:
        given = coarsen(z[: method.normals], c.fine // n)
        given = given[0] if method.normals == 1 else given
    grid = np.linspace(*c.ts, n + 1)
    sol = solve(c.process, c.x0, grid=grid, method=method, paths=count, noise=given, backend=c.backend)
    return sol.x[-1]


def _limit(c, count, z):
    """X at the end of the paths of z."""
    if c.solution is None:
        return _end(c, c.reference, c.fine, count, z)
    t = np.linspace(*c.ts, c.fine + 1)
    w = np.zeros((c.fine + 1, *_increment(c, count)))
    if z is not None:
        w[1:] = z[0].cumsum(0) * math.sqrt(abs(t[-1] - t[0]) / c.fine)
    if arrays.is_tensor(c.x0):
        w = arrays.torch().as_tensor(w, dtype=c.x0.dtype, device=c.x0.device)
    x = c.solution(t, c.x0, w)
    if tuple(x.shape) != (count, *c.x0.shape):
        raise ValueError(f"solution must return states of shape {(count, *c.x0.shape)}, got {tuple(x.shape)}")
    return x


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


# --- arguments -----------------------------------------------------------------------------------


def _with_a_path(name, method):
    if not isinstance(method, Method):
        raise ValueError(f"{name} must be a Method such as sdekit.methods.euler_maruyama, got {method!r}")
    if method.streams not in COUPLED:
        raise ValueError(
            f"{name} {method!r} draws from the streams {method.streams}; only dW and dZ of the "
            f"Brownian path, {COUPLED[1:]}, can be given the same path on other steps"
        )


def _ends(ts):
    try:
        start, end = map(float, ts)
    except (TypeError, ValueError):
        start = end = math.nan
    if not (math.isfinite(start) and math.isfinite(end) and start != end):
        raise ValueError(f"ts must be two different finite times (start, end), got {ts!r}")
    return start, end


def _ladder(steps):
    try:
        counts = tuple(integer("steps", n, least=1) for n in steps)
    except TypeError:
        counts = ()
    if len(counts) < 2 or list(counts) != sorted(set(counts)):
        raise ValueError(f"steps must be two or more increasing numbers of steps, got {steps!r}")
    return counts


def _finest(fine, steps, solved):
    common = math.lcm(*steps)
    if fine is None:
        return common if solved else REFINE * common
    fine = integer("fine", fine, least=1)
    if fine % common or (fine == steps[-1] and not solved):
        raise ValueError(
            f"fine must be a multiple of {common} steps{'' if solved else f' and more than {steps[-1]}'}, got {fine}"
        )
    return fine
