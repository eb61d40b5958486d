"""The same Brownian paths on steps of different sizes."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import arrays, levy
from .. import noise as streams
from ..checks import integer
from ..methods import Method
from ..solve import solve
from ..system import System, bind

__all__ = ["Coupling", "coarsen", "coupling"]

REFINE = 64  # steps of the reference in the finest step that is measured
MOST = 10**11  # steps of all paths: hours
COUPLED = ((), (streams.Stream.PATH,), (streams.Stream.PATH, streams.Stream.SECOND))  # noise that can be coarsened


def coarsen(normals, factor=2):
    """Standard normals of the same Brownian path on steps `factor` times as long.

    normals     (draws, steps, *shape of dw) on equal steps, draws = 1 (dW) or 2 (dW, dZ), or 1 + m of m > 1
                noises on the last axis (dW and the rows of its Lévy areas in units of h); the result has
                steps / factor steps. `solve` takes it, or for draws = 1 its first entry, as `noise`.

    With ξ, ζ the normals of the substeps i = 0 … f − 1, from dW = Σ dW_i and
    I₍₁,₀₎ = Σ (I₍₁,₀₎,ᵢ + h_i (W_i − W_0)), where I₍₁,₀₎ = h (dW + dZ/√3)/2,

        ξ' = f^{−1/2} Σ ξ_i,    ζ' = f^{−3/2} Σ [ζ_i + √3 (f − 1 − 2i) ξ_i].

    ζ' keeps the area under the path, which independent new normals would lose. So do Lévy areas, by Chen's relation,

        A' = f^{−1} Σ [A_i + ½ (S_i ξ_iᵀ − ξ_i S_iᵀ)],    S_i = Σ_{l<i} ξ_l.
    """
    z = np.asarray(normals)
    factor = integer("factor", factor, least=1)
    skew = z.ndim > 2 and 2 < z.shape[0] == 1 + z.shape[-1]
    if z.ndim < 2 or (z.shape[0] not in (1, 2) and not skew):
        raise ValueError(
            f"normals must have shape (1 or 2, steps, *shape of dw), or (1 + m, steps, …, m), got {z.shape}"
        )
    if z.shape[1] % factor:
        raise ValueError(f"factor is {factor}, which does not divide the {z.shape[1]} steps")
    if factor == 1:
        return z
    z = z.reshape(len(z), z.shape[1] // factor, factor, *z.shape[2:])
    dw = z[0].sum(1) / math.sqrt(factor)
    if len(z) == 1:
        return dw[None]
    if skew:
        cross = np.einsum("sf...i,sf...j->is...j", z[0].cumsum(1) - z[0], z[0])
        return np.concatenate([dw[None], (z[1:].sum(2) + 0.5 * (cross - cross.swapaxes(0, -1))) / factor])
    lever = math.sqrt(3) * (factor - 1 - 2 * np.arange(factor)).astype(z.dtype)
    area = z[1].sum(1) + np.einsum("i,si...->s...", lever, z[0])
    return np.stack([dw, area / factor**1.5])


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


def coupling(process, method, x0, ts, steps, paths, seed, reference, solution, fine, backend):
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


def increment(c, count):
    """The shape of dw for `count` paths."""
    shape = (count, *c.x0.shape)
    if c.system.components is None and c.system.noise != "general":
        return shape
    return (*shape[: len(shape) - c.system.event_dims], c.system.channels)


def areas(c, method):
    """How many rows of Lévy areas the method takes."""
    return 0 if method.areas is None else c.system.areas


def draws(c):
    """How many arrays of the shape of dw there are for a step."""
    return max(c.method.normals, c.reference.normals) + max(areas(c, c.method), areas(c, c.reference))


def normals_of(c, count, rng):
    """Normals of `count` paths on the fine grid, and areas, normal given dW, behind them; None without noise."""
    if c.system.noise == "none":
        return None
    normals = max(c.method.normals, c.reference.normals)
    z = rng.standard_normal((normals, c.fine, *increment(c, count)))
    if draws(c) == normals:
        return z
    w = np.moveaxis(z[0], -1, 0)
    rows = levy.areas(w, 0, lambda first, n: rng.standard_normal((n, *w.shape[1:])))
    return np.concatenate([z, [np.moveaxis(row, 0, -1) for row in rows]])


def end_of(c, method, n, count, z):
    """The states after n steps of `method` along the paths of z."""
    given = None
    if z is not None:
        skew = areas(c, method)
        given = coarsen(np.concatenate([z[:1], z[-skew:]]) if skew else z[: method.normals], c.fine // n)
        given = given[0] if len(given) == 1 else given
    grid = np.linspace(*c.ts, n + 1)
    sol = solve(c.process, c.x0, grid=grid, method=method, paths=count, noise=given, backend=c.backend)
    return sol.x[-1]


def limit_of(c, count, z):
    """X at the end of the paths of z."""
    if c.solution is None:
        return end_of(c, c.reference, c.fine, count, z)
    t = np.linspace(*c.ts, c.fine + 1)
    w = np.zeros((c.fine + 1, *increment(c, count)))
    if z is not None:
        w[1:] = z[0].cumsum(0) * math.sqrt(abs(t[-1] - t[0]) / c.fine)
    if arrays.is_tensor(c.x0):
        w = arrays.torch().as_tensor(w, dtype=c.x0.dtype, device=c.x0.device)
    x = c.solution(t, c.x0, w)
    if tuple(x.shape) != (count, *c.x0.shape):
        raise ValueError(f"solution must return states of shape {(count, *c.x0.shape)}, got {tuple(x.shape)}")
    return x


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
