"""`expect`: levels and paths chosen from measured means, variances and costs.

    E P ≈ Σ_l E(P_l − P_{l−1}),  each from paths of its own,  N_l ∝ √(V_l/C_l)

Sources: M. Giles, "Multilevel Monte Carlo path simulation", 2008, doi:10.1287/opre.1070.0496; diagnostics: M. Giles,
"Multilevel Monte Carlo methods", 2015, doi:10.1017/S096249291500001X, section 3.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .. import arguments, arrays, noise
from ..checks import array, integer, real, shown
from ..methods import Method, euler_maruyama, heun, milstein
from ..methods import exact as exact_method
from ..path import Functional
from ..protocols import Backend, Process
from ..system import bind
from .answer import Answer, Level
from .quantity import Failed, Quantity
from .samples import Samples

PILOT = 2048  # paths of a new level
SURE = 2.6  # standard errors that a tolerance has to have room for: 99 %
FINEST = 2**20  # steps
ROUGH = 2**10  # times as many steps as asked for may be on the first level
HEAVY = 100.0  # the kurtosis from which on a variance is extrapolated


@arguments.named
def expect(
    f: Callable[..., Any],
    process: Process,
    x0: Any,
    t: float | tuple[float, float],
    *,
    tol: float,
    method: Method | None = None,
    along: Mapping[str, Functional] | None = None,
    inner: int = 1,
    control: Sequence[tuple[Callable[..., Any], float]] | None = None,
    exact: bool = True,
    coarsest: int = 1,
    seed: int | None = None,
    backend: Backend | None = None,
) -> Answer:
    """E f(X_t), to the tolerance that is asked for: an `Answer` with value and error.

        E f ≈ Σ_l E(P_l − P_{l−1}):  P_l is f on n_l = coarsest · 2^l steps, both along one Brownian path

    New levels are added until what is left of the bias, Giles' estimate from how the means of the last levels fall, and
    2.6 standard errors are below `tol`. Where the diagnostics do not support that, the answer says why and warns.

    f         function of states at the end, as `solution.final` has them, (paths,) or (paths, k), and of what `along`
              names: one number per path.
    process   as `solve` takes it.
    x0        one state: a number, or k of them.
    t         the time, from 0 on; or (from, to).
    tol       absolute error, > 0.
    method    of the steps. Default: `milstein` where it serves the noise, else `euler_maruyama`; `heun` for
              Stratonovich equations. Means and variances of the levels fall by its weak and strong order.
    along     functionals of the path by name, those of `sdekit.path`: f(x, name=values).
    inner     over how many draws of the last step f is averaged: 64, say, where f jumps. The rest of a path then sees
              a smooth function, and variances fall as for one.
    control   pairs (g, E g(X_t)) of a function as f is and its exact expectation; what of f goes along with g is then
              known. By default the state itself, where the law of the process has a mean in closed form.
    exact     whether to draw X_t by the process's `transition` where it has one and `along` is empty: no levels.
    coarsest  steps of the first level, a power of two. More are taken where the first levels are of no use.
    seed      of the answer, which is a function of it and the other arguments.
    """
    tol, inner = real("tol", tol, above=0, below=math.inf), integer("inner", inner, 1)
    coarsest = integer("coarsest", coarsest, 1, FINEST)
    if coarsest & (coarsest - 1):
        raise ValueError(f"coarsest must be a power of two, got {coarsest}")
    q = _quantity(f, process, x0, t, method, along, inner, exact, backend)
    seed = noise.fresh(seed)
    if q.method is exact_method:
        level = Samples(_controlled(q, control, 1, seed), 1, seed, False)
        return _answer([_filled(level, tol)], 0.0, None, seed, tol)
    first = _first_level(q, seed, coarsest)
    answer = _multilevel(_controlled(q, control, first, seed), tol, seed, first)
    if not answer.supported:
        warnings.warn(f"expect: {'; '.join(answer.notes)}", RuntimeWarning, stacklevel=3)
    return answer


def _quantity(f, process, x0, t, method, along, inner, exact, backend):
    if not callable(f):
        raise ValueError(f"f must be a function of states, got {f!r}")
    t0, t1 = _interval(t)
    if arrays.is_tensor(x0):
        raise ValueError("x0 is a tensor; expectations are taken on numpy: give a number or an array")
    x0 = np.asarray(array("x0", x0), np.float64)
    system = bind(process, x0, t0)
    if system.path_shape or system.noise == "none":
        why = f"paths of shape {system.path_shape}" if system.path_shape else "no noise"
        raise ValueError(f"x0 and process have {why}; an expectation is over the noise of one state")
    along = _functionals(along, system)
    if method is None:
        drawn = exact and not along and callable(getattr(process, "transition", None))
        method = exact_method if drawn else _default(system)
    if along and (inner > 1 or method is exact_method):
        what = "inner draws the last step anew" if inner > 1 else "exact draws the state at the end alone"
        raise ValueError(f"{what}, which functionals in `along` do not see; leave it out")
    return Quantity(f, process, x0, t0, t1, method, system, along, 1 if method is exact_method else inner, backend)


def _interval(t):
    """(from, to) of a time, or of a pair."""
    said = np.shape(t)
    if said not in ((), (2,)):
        raise ValueError(f"t must be a time, or a pair (from, to), got {shown(t)}")
    t0, t1 = t if said else (0.0, t)
    t0 = real("t", t0, above=-math.inf, below=math.inf)
    return t0, real("t", t1, above=t0, below=math.inf)


def _functionals(along, system):
    """The functionals by name, checked."""
    if along is not None and not isinstance(along, Mapping):
        raise ValueError(f"along must be a dict of functionals by name, got {shown(along)}")
    for name, functional in (along or {}).items():
        if not isinstance(functional, Functional):
            raise ValueError(
                f"along[{name!r}] must be one of sdekit.path, such as path.mean(), got {shown(functional)}"
            )
        if functional.bridged and (system.event_dims and system.components is None):
            raise ValueError(f"along[{name!r}] is of one component, but a state of {system.name} is an array")
        if functional.component >= (system.components or 1):
            many = system.components or 1
            raise ValueError(f"along[{name!r}] is of component {functional.component}, but {system.name} has {many}")
    return dict(along or {})


def _default(system):
    if getattr(system.process, "calculus", "ito") == "stratonovich":
        return heun
    return milstein if system.kind in milstein.noise else euler_maruyama


def _first_level(q, seed, n):
    """The steps of the first level: the fewest on which paths are finite and the next level is but a correction."""
    last = min(FINEST, n * ROUGH)
    while True:
        try:
            level = Samples(q, 2 * n, seed).add(PILOT)
            if level.variance <= 0.5 * level.finer[1] ** 2 * level.count or level.finer[1] == 0 or n >= last:
                return n
        except Failed:
            if n >= last:
                raise
        n *= 2


def _controlled(q, control, n, seed):
    """The quantity with its control variates, whose factors are of paths that serve nothing else."""
    given = _given(q, control)
    if not given:
        return q
    found = [Samples(replace(q, f=g), 2 * n, seed ^ 1, False).values(PILOT) for g in (q.f, *[g for g, _ in given])]
    centred = np.stack(found) - np.mean(found, 1, keepdims=True)
    factors = np.linalg.lstsq(centred[1:].T, centred[0], rcond=1e-10)[0]
    controls = tuple((float(c), g, mean) for c, (g, mean) in zip(factors, given))
    return replace(q, controls=controls)


def _given(q, control):
    if control is None:
        law = q.process.transition(q.t0, q.t1, q.x0) if callable(getattr(q.process, "transition", None)) else None
        mean = None if law is None or q.system.components else law.mean
        return [] if mean is None or not np.isfinite(mean) else [(_state, float(mean))]
    for pair in control if isinstance(control, (tuple, list)) else [control]:
        if not (isinstance(pair, tuple) and len(pair) == 2 and callable(pair[0])):
            raise ValueError(f"control has pairs (function of states, its expectation), got {pair!r}")
    return [(g, real("control", mean, above=-math.inf, below=math.inf)) for g, mean in control]


def _state(x, **along):
    return x


def _filled(level, tol):
    """A level that serves alone, with paths enough."""
    level.add(PILOT)
    while SURE * level.stderr > tol:
        level.add(max(math.ceil(level.variance * (SURE / tol) ** 2) - level.count, level.count // 50 + 1))
    return level


def _multilevel(q, tol, seed, first):
    levels = [Samples(q, first << i, seed, i > 0).add(PILOT) for i in range(3)]
    while True:
        alpha, beta = _rates(levels)
        bias, variances = _bias(levels, alpha), _variances(levels, beta)
        room = (tol - bias if 4 * bias <= tol else 0.75 * tol) / SURE
        share = sum(math.sqrt(v * level.cost) for v, level in zip(variances, levels)) / room**2
        wanted = [math.ceil(share * math.sqrt(v / level.cost)) for v, level in zip(variances, levels)]
        short = [(level, n - level.count) for level, n in zip(levels, wanted) if n > level.count]
        for level, n in short:
            level.add(min(max(n, level.count // 50 + 1), 15 * level.count))
        if not short:
            if 4 * bias <= tol or levels[-1].n >= FINEST:
                return _answer(levels, bias, (alpha, beta), seed, tol)
            levels.append(Samples(q, 2 * levels[-1].n, seed).add(PILOT))


def _rates(levels):
    """(α, β) by least squares over the differences, those whose means stand out of their errors; at least 1/2."""
    n = np.log2([level.n for level in levels[1:]])
    means = np.array([abs(level.mean) for level in levels[1:]])
    clear = means > 2 * np.array([level.stderr for level in levels[1:]])
    variances = np.array([level.variance for level in levels[1:]])
    weak = levels[0].quantity.method.weak or 1.0  # what noise adds to that would make the bias seem small
    alpha = min(_slope(n[clear], means[clear], 1.0), max(1.0, weak))
    return alpha, _slope(n[variances > 0], variances[variances > 0], 1.0)


def _slope(n, values, default):
    return default if len(n) < 2 else max(0.5, float(-np.polyfit(n, np.log2(values), 1)[0]))


def _bias(levels, alpha):
    """Σ of the differences to come, a geometric series after each of the last three."""
    last = levels[-1].n
    tails = [abs(level.mean) * (level.n / last) ** alpha for level in levels[-3:] if level.coarse]
    return max(tails) / (2**alpha - 1)


def _variances(levels, beta):
    """Variances; where few paths or a few of them make one, not below what the level before lets expect."""
    found = [levels[0].variance]
    for level in levels[1:]:
        expected = found[-1] * 2.0**-beta if level.coarse and found[1:] else 0.0
        found.append(max(level.variance, expected if level.kurtosis > HEAVY else 0.5 * expected))
    return found


def _answer(levels, bias, rates, seed, tol):
    records, notes, before = [], [], None
    for level in levels:
        gap = 0.0 if before is None else _gap(before, level)
        records.append(Level(level.n, level.count, level.mean, level.variance, level.kurtosis, gap, level.seed))
        before = level
    variances = [level.variance for level in levels] if rates is None else _variances(levels, rates[1])
    stderr = math.sqrt(sum(v / level.count for v, level in zip(variances, levels)))
    if rates is None:
        notes.append("exact in law: one level, no bias")
    heavy = [r for r in records[1:] if r.kurtosis > HEAVY]
    notes += [f"{r.steps} steps: kurtosis {r.kurtosis:.0f}, variance extrapolated" for r in heavy]
    apart = [r for r in records if r.consistency > 1]
    doubts = [f"{r.steps} steps: {r.consistency:.1f} times as far from the level before as noise allows" for r in apart]
    if bias + SURE * stderr > tol:
        doubts.append(f"bias {bias:.2g} and 2.6 standard errors of {stderr:.2g} are above tol = {tol:.2g}")
    return Answer(
        sum(level.mean for level in levels), bias + 1.96 * stderr, bias, stderr, tuple(records), rates,
        sum(level.count * level.cost for level in levels), seed, not doubts, (*notes, *doubts),
    )  # fmt: skip


def _gap(before, level):
    (a, sa), (b, sb) = before.finer, level.finer
    spread = 3 * (level.stderr + sa + sb)
    return abs(level.mean - (b - a)) / spread if spread > 0 else 0.0
