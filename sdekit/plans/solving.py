"""`solved`: grid and weights by Levenberg–Marquardt on a family, and the best of several on another."""

import math
from typing import Any

import numpy as np

from .. import arrays, grids
from ..checks import integer, real, shown
from ..processes import forms
from ..protocols import NoisingProcess
from .family import family
from .record import Plan
from .sampler import LAGS, Window, sampled, sensitivities

MOST = 50  # evaluations: the work grows with their cube
MEMBERS, HELD_OUT = 24, 48  # mixtures to solve on and to choose by
SEEDS = 0, 1
ORDERS, FROM, PENALTY = (2, 3, 4), (3, 4), 3e-4  # fixed orders, and those that a descent starts from
GRID = 0.1  # of the penalty, for the steps' shares
STEPS, ENOUGH, TRIES, LONGEST = 80, 1e-3, 8, 3.0  # of the descent


def solved(
    process: NoisingProcess, nfe: int, spread: Any, start: float | None = None, end: float | None = None,
    final: bool = False,
) -> Plan:  # fmt: skip
    """The grid and the weights of a multistep sampler for `nfe` evaluations, without one evaluation of a network.

        x' = (s1/s0) x + a1 (1 − e^{−h}) [D_0 + Σ_j W_j (D_{−j} − D_0)],   j = 1, 2, 3

    They minimise the error against the exact flow on Gaussians (variances log-uniform up to spread²) and mixtures,
    half of them clustered, whose denoisers are closed forms, by Levenberg–Marquardt with exact derivatives. It starts
    from the orders 3 and 4 on equal steps of log-SNR, with a penalty on how far it goes; what is best on other
    mixtures, by the geometric mean over the three kinds, is taken, and the orders 2, 3, 4 are among them.

    process  any with `marginal`; samplers see alpha/sigma alone.
    spread   the largest standard deviation of the data in any direction, in the state's unit: a number, or the data
             (N, *event), whose covariance's largest eigenvalue is found by power iteration.
    start    as in `sdekit.grids.log_snr`. Where alpha = 0 there, or sigma = 0 at the end, that step is one of first
    end      order, exact where D is constant, outside of what is solved; it is one of the `nfe`.
    final    whether the last evaluation goes to sigma = 0 and returns the denoised state.

    Use: `solve(Reverse(process, score, eta=0), x, grid=plan.grid, method=plan.method)` with x at plan.grid[0], such
    as `reverse.start(shape, t=plan.grid[0])`. A few seconds.
    Source: that the exact law of samplers on Gaussians is at hand: E. Pierret, B. Galerne, "Diffusion models for
    Gaussian distributions: exact solutions and Wasserstein errors", ICML 2025, arXiv:2405.14250; the method of J. J.
    Moré, "The Levenberg–Marquardt algorithm: implementation and theory", 1978, doi:10.1007/BFb0067700.
    """
    nfe, size = integer("nfe", nfe, 1, MOST), largest_deviation(spread)
    process = grids.bare(process)
    low = float(process.domain[0])
    if math.isfinite(low) and any(getattr(value, "ndim", 0) for value in process.marginal(low)):
        raise ValueError(f"process: {process!r} has one schedule per path (an array parameter); plans are for one")
    before, times, after = _window(process, nfe, start, end, final)
    first, last = (-float(forms.log_ratio(process, float(t))) for t in (times[0], times[-1]))
    window = Window(first, last, len(times) - 1)
    parameters, error, fixed, found = _best(window, size)
    inner = forms.time_of(process, -window.levels(parameters[: window.n])[0][1:-1])
    flat = iter(parameters[window.n :].tolist())
    weights = [tuple(next(flat) for _ in range(min(i, LAGS))) for i in range(window.n)]
    grid = tuple(np.concatenate([before, times[:1], inner, times[-1:], after]).tolist())
    angles = tuple(math.atan2(float(sigma), float(alpha)) for alpha, sigma in map(process.marginal, grid))
    rows = *[()] * len(before), *weights, *[()] * len(after)
    return Plan(repr(process), nfe, size, grid, angles, rows, error, fixed, found)


def _window(process, nfe, start, end, final):
    """Times of the first-order step at the start, those between, and that of the last one to sigma = 0."""
    low, high = (float(edge) for edge in process.domain)
    first = high if start is None else real("start", start)
    silent = start is not None and low <= first <= high and process.marginal(first)[0] == 0
    if end is not None and end == low and process.marginal(low)[1] == 0:
        end, final = None, True
    if nfe <= silent + bool(final):
        raise ValueError(f"nfe = {nfe} is not more than the steps of first order at the ends; use more, or move them")
    times = grids.log_snr(process, nfe - silent, None if silent else start, end, final)
    return ((first,) if silent else ()), times[: -1 if final else None], times[-1:] if final else ()


def _best(window, spread):
    """(parameters, error, that of the best fixed order, what was found) by the held-out family."""
    seen, other = (
        family(spread, window.high, window.low, window.n, count, seed)
        for count, seed in zip((MEMBERS, HELD_OUT), SEEDS, strict=True)
    )
    kept = [(expected(window, window.fixed(k), other), f"order {k}", window.fixed(k)) for k in ORDERS]
    fixed = min(error for error, _, _ in kept)
    for order in FROM:
        parameters, steps = descend(window, seen, window.fixed(order))
        kept.append((expected(window, parameters, other), f"from order {order} in {steps} steps", parameters))
    error, found, parameters = min(kept, key=lambda one: one[0])
    return parameters, error, fixed, found


def expected(window, parameters, held_out):
    """The geometric mean of the root-mean-square errors on Gaussians, on mixtures, and on clustered ones.

    Over the members of a kind the squares are averaged: what counts are the few that are told apart wrongly.
    """
    squares = ((sampled(window, parameters, held_out) - held_out.end) ** 2).mean(1)
    kind = np.where(held_out.member, 1 + held_out.member % 2, 0)
    return float(np.exp(0.5 * np.log(np.bincount(kind, squares) / np.bincount(kind)).mean()))


def descend(window, family, first):
    """(parameters, steps) of Levenberg–Marquardt for Σ error² + PENALTY² |parameters − first|²."""
    weights = np.full(len(first), PENALTY)
    weights[: window.n] *= GRID
    now, damping = first, 1e-2

    def cost(end, at):
        return (((end - family.end) * family.scale) ** 2).sum() + ((weights * (at - first)) ** 2).sum()

    value = cost(sampled(window, now, family), now)
    for step in range(STEPS):
        end, by = sensitivities(window, now, family)
        jacobian = (by * family.scale[..., None]).reshape(-1, len(now))
        curvature = jacobian.T @ jacobian + np.diag(weights**2)
        gradient = jacobian.T @ ((end - family.end) * family.scale).ravel() + weights**2 * (now - first)
        for _ in range(TRIES):
            move = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), -gradient)
            if np.abs(move[: window.n]).max() < LONGEST:
                trial = cost(sampled(window, now + move, family), now + move)
                if trial < value:
                    break
            damping *= 4
        else:
            return now, step
        gain, now, value, damping = value - trial, now + move, trial, damping / 6
        if gain < ENOUGH * value:
            break
    return now, step + 1


def largest_deviation(spread):
    """A number as it is; of data (N, *event) the root of their covariance's largest eigenvalue, by power iteration."""
    if not getattr(spread, "ndim", 0) and not isinstance(spread, (list, tuple)):
        return real("spread", spread, above=0, below=math.inf)
    data = np.asarray(arrays.on_host(spread) if hasattr(spread, "ndim") else spread)
    if data.dtype.kind not in "fiu" or len(data) < 2 or not np.isfinite(data).all():
        raise ValueError(f"spread must be a number or at least two states of finite numbers, got {shown(spread)}")
    data = data.reshape(len(data), -1).astype(np.float64)
    data = data - data.mean(0)
    direction = np.random.default_rng(0).standard_normal(data.shape[1])
    value = 0.0
    for _ in range(1000):
        direction /= np.linalg.norm(direction) or 1.0
        before, direction = value, data.T @ (data @ direction) / len(data)
        value = float(np.linalg.norm(direction))
        if value - before <= 1e-6 * value:
            break
    if value == 0:
        raise ValueError(f"spread must be data that vary, got {shown(spread)} with all states equal")
    return math.sqrt(value)
