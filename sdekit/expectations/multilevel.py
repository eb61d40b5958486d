"""`expect`: its arguments, and the quantity that they say."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .. import arguments, arrays, backends, matching, noise
from ..checks import integer, named, real, shown
from ..ensembles.stream import served
from ..methods import Method, heun, milstein, milstein_general
from ..methods import exact as exact_method
from ..path import Functional
from ..protocols import Backend, Executor, Process
from ..system import bind
from .answer import Answer
from .levels import ENOUGH, EVENTS, FINEST, PILOT, first_level, most_steps, multilevel, single
from .quantity import Quantity, _numbers, antithetic_milstein, interval
from .samples import values

MOST_INNER = 2**16  # draws of the last step
WORTH = 0.9  # of the variance may be left where control variates serve


@named
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
    antithetic: bool = False,
    scramblings: int | None = None,
    seed: int | None = None,
    backend: Backend | None = None,
    executor: Executor | None = None,
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
    method    of the steps. Default: `milstein` where it serves the noise, else `milstein_general`; `heun` for
              Stratonovich equations. Means and variances of the levels fall by its weak and strong order. Lévy areas,
              those of noise that does not commute, are left out; for them the finer path of a level is averaged with
              an antithetic twin, whose pairs of increments have changed places (Giles and Szpruch 2014).
    along     functionals of the path by name, those of `sdekit.path`: f(x, name=values).
    inner     over how many draws of the last step f is averaged: 64, say, where f jumps. The rest of a path then sees
              a smooth function, and variances fall as for one.
    control   pairs (g, E g(X_t)) of a function as f is and its exact expectation; what of f goes along with g is then
              known. By default the state itself, where the law of the process has a mean in closed form. Those that
              take less than a tenth off the variance are left out.
    exact     whether to draw X_t by the process's `transition` where it has one and `along` is empty: no levels.
    coarsest  steps of the first level between two jumps, a power of two; more where the first levels are of no use.
    antithetic   whether to average the values along W and −W: for f that is nearly odd in the noise.
    scramblings  how many independent scramblings of Sobol points are drawn in place of independent normals, 16 to 64;
              increments are made of them by a Brownian bridge, and the means of the scramblings tell the error
              (randomised quasi-Monte Carlo, on each level). For smooth f and few time steps.
    seed      of the answer, which is a function of it and the other arguments.
    executor  any `concurrent.futures.Executor`, as `stream` takes it: blocks of paths are made there, to the same bits.
    """
    tol, inner = real("tol", tol, above=0, below=math.inf), integer("inner", inner, 1, MOST_INNER)
    coarsest, executor = integer("coarsest", coarsest, 1, FINEST), served(executor)
    if coarsest & (coarsest - 1):
        raise ValueError(f"coarsest must be a power of two, got {coarsest}")
    for name, value in (("antithetic", antithetic), ("exact", exact)):
        if type(value) is not bool:
            raise ValueError(f"{name} must be True or False, got {value!r}")
    scramblings = 0 if scramblings is None else integer("scramblings", scramblings, 16, 64)
    q = replace(_quantity(f, process, x0, t, method, along, inner, exact, backend), antithetic=antithetic)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*paths became non-finite", RuntimeWarning)  # `Failed` says it
        answer = _answered(_threaded(q, executor), control, tol, coarsest, noise.fresh(seed), scramblings, executor)
    if not answer.supported:
        warnings.warn(f"expect: {'; '.join(answer.notes)}", RuntimeWarning, stacklevel=3)
    return answer


def _answered(q, control, tol, coarsest, seed, scramblings, executor):
    if q.method is exact_method:
        return single(_controlled(q, control, q.parts, seed), tol, seed, scramblings, executor)
    most_steps(q, coarsest * q.parts, scramblings)
    first = first_level(q, seed, coarsest * q.parts, tol, executor)
    return multilevel(_controlled(q, control, first, seed), tol, seed, first, scramblings, executor)


def _quantity(f, process, x0, t, method, along, inner, exact, backend):
    if not callable(f):
        raise ValueError(f"f must be a function of states, got {f!r}")
    t0, t1 = interval(t)
    if arrays.is_tensor(x0):
        raise ValueError("x0 is a tensor; expectations are taken on numpy: give a number or an array")
    x0 = np.asarray(arguments.state(x0)[0], np.float64)
    system = bind(process, x0, t0)
    if system.noise == "none":
        raise ValueError(f"process {system.name} has no noise, so that its state is known: sdekit.solve gives it")
    if system.path_shape:
        raise ValueError(f"x0 and process have paths of shape {system.path_shape}; an expectation is of one state")
    along = _functionals(along, system)
    if method is None:
        drawn = exact and not along and callable(getattr(process, "transition", None))
        method = exact_method if drawn else _default(system)
    if not isinstance(method, Method) or method.streams not in ((0,), (0, 1)):
        raise ValueError(f"method must be one of steps along increments, such as sdekit.milstein, got {method!r}")
    if system.areas and method.areas is not None:
        method = antithetic_milstein
    if along and (inner > 1 or method is exact_method):
        what = "inner draws the last step anew" if inner > 1 else "exact draws the state at the end alone"
        raise ValueError(f"{what}, which functionals in `along` do not see; leave it out")
    _takes(f, along)
    stops = np.unique([t0, *(jump for jump in system.jumps if t0 < jump < t1), t1])
    return Quantity(f, process, x0, stops, method, system, along, 1 if method is exact_method else inner, backend)


def _takes(f, along):
    """Check that f is a function of states and of what `along` names, if it says what it takes."""
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):  # of compiled functions, say
        return
    try:
        signature.bind(None, **along)
    except TypeError as error:
        wanted = ", ".join(["x", *along])
        raise ValueError(f"f must take ({wanted}), as along names it; it has {signature}") from error


def _threaded(q, executor):
    """The quantity; on an executor compiled code has one thread, if nothing else is said."""
    if executor is None or q.backend is not None:
        return q
    chosen = matching.backend(None, q.system, q.method, q.x0, False)
    return replace(q, backend=backends.numba(threads=1)) if chosen == backends.numba() else q


def _functionals(along, system):
    """The functionals by name, checked."""
    if along is not None and not isinstance(along, Mapping):
        raise ValueError(f"along must be a dict of functionals by name, got {shown(along)}")
    for name, functional in (along or {}).items():
        if not isinstance(name, str):
            raise ValueError(f"along has functionals by the names of arguments of f, got {name!r}")
        if not isinstance(functional, Functional) or not callable(functional.value):
            raise ValueError(
                f"along[{name!r}] must be one of sdekit.path, such as path.mean(), got {shown(functional)}"
            )
        integer(f"along[{name!r}]: component", functional.component)
        if functional.bridged and (system.event_dims and system.components is None):
            raise ValueError(f"along[{name!r}] is of one component, but a state of {system.name} is an array")
        if functional.component >= (system.components or 1):
            many = system.components or 1
            raise ValueError(f"along[{name!r}] is of component {functional.component}, but {system.name} has {many}")
    return dict(along or {})


def _default(system):
    if getattr(system.process, "calculus", "ito") == "stratonovich":
        return heun
    return milstein if system.kind in milstein.noise else milstein_general


def _controlled(q, control, n, seed):
    """The quantity with its control variates, whose factors are of paths that serve nothing else.

    Those that take too little off the variance are left out: their noise would hide that f is rarely other than 0.
    """
    given = _given(q, control)
    if not given:
        return q
    most, paths = max(PILOT, ENOUGH // q.cost(2 * n, False)), PILOT
    while EVENTS * _kurtosis(found := _centred(q, given, n, seed, paths)) > paths and paths < most:
        paths = min(8 * paths, most)
    factors = np.linalg.lstsq(found[1:].T, found[0], rcond=1e-10)[0]
    left = found[0] - factors @ found[1:]
    if EVENTS * _kurtosis(found) > paths or (left**2).sum() > WORTH * (found[0] ** 2).sum():
        return q
    return replace(q, controls=tuple((float(c), g, mean) for c, (g, mean) in zip(factors, given)))


def _centred(q, given, n, seed, paths):
    """f and the functions that go along, less their means, (functions, paths)."""
    block = q.block(2 * n)

    def drawn(g):
        of = replace(q, f=g)
        blocks = ((first, min(block, paths - first)) for first in range(0, paths, block))
        return np.concatenate([values(of, 2 * n, False, False, seed ^ 1, *which)[1] for which in blocks])

    found = np.stack([drawn(g) for g in (q.f, *(_named(g) for g, _ in given))])
    return found - found.mean(1, keepdims=True)


def _named(g):
    """g, whose errors are of it."""
    return lambda x, **along: _numbers("g of control", g, x, along)


def _kurtosis(found):
    """Of f; infinite where it is constant."""
    squares = found[0] ** 2
    return float((squares**2).mean() / squares.mean() ** 2) if squares.any() else math.inf


def _given(q, control):
    if control is None:
        if q.system.components or not callable(getattr(q.process, "transition", None)):
            return []
        mean = q.process.transition(q.stops[0], q.stops[-1], q.x0).mean
        return [(_state, float(mean))] if np.isfinite(mean) else []
    for pair in control if isinstance(control, (tuple, list)) else [control]:
        if not (isinstance(pair, tuple) and len(pair) == 2 and callable(pair[0])):
            raise ValueError(f"control has pairs (function of states, its expectation), got {pair!r}")
    return [(g, real("control", mean, above=-math.inf, below=math.inf)) for g, mean in control]


def _state(x, **along):
    return x
