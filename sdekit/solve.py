"""`solve`: checks, the grid of steps, the choice of a backend, and the `Solution`."""

import contextlib
import dataclasses
import difflib
import functools
import inspect
import math
import operator
import warnings
from typing import Any

import numpy as np

from . import arrays, backends, machine
from .equation import as_record, declared, equation, path_parameters, structure
from .methods import Method, euler_maruyama
from .noise import key
from .problem import Problem
from .processes import forms

__all__ = ["Solution", "solve"]

EPS = 1e-9  # relative: two times closer than this are one


@dataclasses.dataclass(frozen=True)
class Solution:
    """What `solve` returns; arrays are of the type of x0.

    t       (looks,)        the times looked at, float64
    x       (looks, *shape) the states there
    nfe     evaluations, per path, of the network where the process has one, else of the drift
    steps   steps taken
    memory  the multistep memory at the end, to continue with; None for one-step methods
    failed  (path axes)     True where a path became non-finite; it is NaN from that step on
    """

    t: Any
    x: Any
    nfe: int
    steps: int
    memory: Any
    failed: Any


def solve(
    process,
    x0,
    ts=None,
    method=euler_maruyama,
    *,
    h=None,
    grid=None,
    tol=None,
    paths=None,
    seed=0,
    first_path=0,
    first_step=0,
    memory=None,
    noise=None,
    backend=None,
    progress=False,
    **unknown,
):
    """Move `x0` along `process` by `method`, and return the states at the times `ts`.

    process     drift(t, *x) and diffusion(t, *x): a NamedTuple or dataclass (on torch and reference any
                object), or `sdekit.process(drift, diffusion)`.
    x0          state, path axes first; a process of k components takes them on the last axis. A number
                or numpy array is solved by the numba backend (a process with a score, or whose one
                argument couples axes, by reference), a tensor by torch where it lies.
    ts          strictly monotone times to look at; the first one is where x0 is. Decreasing times are
                for ODEs and noise that does not depend on the state.
    method      one of `sdekit.methods`.
    h           step size: each interval of `ts` is cut into max(1, ceil(|Δt|/h − 1e-9)) equal steps.
    grid        or the explicit times of all steps, which contain `ts`; without `ts` the state is looked
                at where the grid ends. Without `h` and `grid`, one step per interval of `ts`.
    tol         adaptive steps; not offered.
    paths       repeat x0 along a new first axis of this length.
    seed        0 <= seed < 2**64. A path depends on the seed, its index and the steps alone: not on
                threads, the split of a batch, the dtype or the backend.
    first_path  index of the first path: solve(x0[a:b], first_path=a) repeats the rows a … b.
    first_step  number of steps done before, and `memory`, what they left: to continue a run.
    noise       standard normals of shape (steps, *shape of dw) in place of the generator's, where dw has
                the shape of the state, or (path axes, m) for general noise; methods that draw several
                dw take an axis of that length in front.
    backend     a record of `sdekit.backends` with its options, such as `sdekit.backends.numba(threads=4)`.
    progress    show a progress bar (tqdm).

    Paths that become non-finite do not touch the others; they are NaN from then on, marked in `failed`,
    and reported in one warning. Raises ValueError for arguments that make no sense.
    """
    _no_more(unknown, tol)
    process = _process(process)
    _method(method, memory)
    key(seed)
    t, looks = _times(ts, h, grid)
    x0, shape, dtype = _state(x0, paths)
    with np.errstate(all="ignore"):
        form = structure(process, x0, float(t[0]))
    if paths is not None and form.event_dims == x0.ndim:
        raise ValueError(
            f"x0 has shape {shape[1:]}, but a state of {type(process).__name__} has {form.event_dims} axes"
        )
    _compatible(process, method, form, t)
    _fits(len(looks), shape, dtype)
    problem = Problem(
        equation=equation(process, form.components is not None, form.noise),
        structure=form,
        method=_finished(process, method, float(t[-1])),
        t=t,
        looks=looks,
        x0=x0,
        shape=shape,
        dtype=dtype,
        seed=seed,
        first_lane=0,
        first_step=integer("first_step", first_step),
        memory=memory,
        noise=None,
        ticker=None,
    )
    _check_parameters(process, problem)
    problem = problem._replace(first_lane=_first_lane(problem, first_path), noise=_normals(problem, noise))
    engine = _backend(backend, problem)
    with _progress(progress) as ticker:
        outcome = engine.run(problem._replace(ticker=ticker))
    if outcome.failed_step is not None:
        _warn(outcome, float(t[outcome.failed_step + 1]))
    times = t[looks]
    if arrays.is_tensor(x0):
        times = arrays.torch().as_tensor(times, device=x0.device)
    return Solution(times, outcome.x, outcome.nfe, problem.steps, outcome.memory, outcome.failed)


# --- what is asked, the state and the backend ----------------------------------------------------


def _no_more(unknown, tol):
    """Raise for arguments that `solve` does not have, or not yet."""
    for name in unknown:
        near = ["h"] if name == "dt" else difflib.get_close_matches(name, inspect.signature(solve).parameters, n=1)
        raise ValueError(f"solve has no argument {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if tol is not None:
        raise ValueError(f"tol is {tol!r}, but steps of adaptive size are not offered; give h or grid")


def _process(process):
    """The process as a record that has checked its parameters."""
    if isinstance(process, type):
        raise ValueError(
            f"process must be an object with its parameters, got the class {process.__name__}; call it first"
        )
    process = as_record(process)
    if callable(getattr(process, "check", None)):
        process.check()
    return process


def _method(method, memory):
    if not isinstance(method, Method):
        raise ValueError(f"method must be a Method such as sdekit.methods.euler_maruyama, got {method!r}")
    if memory is not None and method.init is None:
        raise ValueError(f"memory is given, but {method!r} has none; it is for multistep methods")


def _state(x0, paths):
    """(x0 in the type of the arithmetic, the shape that it is broadcast to, the type of the result)."""
    if arrays.is_tensor(x0):
        torch = arrays.torch()
        if x0.is_complex():
            raise ValueError(
                f"x0 must be real, got a tensor of {x0.dtype}; pass real and imaginary parts as components"
            )
        dtype = x0.dtype if x0.is_floating_point() else torch.get_default_dtype()
        x0 = x0.to(torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype)
        finite = bool(torch.isfinite(x0).all())
    else:
        try:
            x0 = np.asarray(x0)
        except ValueError as error:
            raise ValueError(f"x0 must be a number or an array of one shape: {error}") from None
        if x0.dtype.kind not in "biuf":
            raise ValueError(f"x0 must hold real numbers, got {x0.dtype}")
        dtype = x0.dtype if x0.dtype in (np.float16, np.float32, np.float64) else np.dtype(np.float64)
        x0 = x0.astype(np.float32 if dtype == np.float16 else dtype, copy=False)
        finite = bool(np.isfinite(x0).all())
    if not finite:
        raise ValueError("x0 must be finite, got NaN or infinite entries")
    if paths is None:
        return x0, tuple(x0.shape), dtype
    return x0[None], (integer("paths", paths, least=1), *x0.shape), dtype


def _backend(backend, problem):
    if backend is None:
        if arrays.is_tensor(problem.x0):
            return backends.torch()
        # a score, or one argument that couples whole axes, is code for arrays
        score, form = getattr(problem.equation.process, "score", None), problem.structure
        for_arrays = hasattr(score, "pair") or (form.components is None and form.event_dims)
        return backends.numpy() if for_arrays else backends.numba()
    if isinstance(backend, type) or not callable(getattr(backend, "run", None)):
        raise ValueError(f"backend must be a record such as sdekit.backends.numba(), got {backend!r}")
    return backend


def integer(name, value, least=0):
    """`value` as an integer, which has to be at least `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
    return number


def _fits(looks, shape, dtype):
    """Raise where the result could not be held in memory."""
    size = looks * math.prod(shape) * getattr(dtype, "itemsize", 8)
    have = machine.memory()
    if size > have:
        raise ValueError(
            f"the result of shape {(looks, *shape)} takes {size / 2**30:,.0f} GiB, more than this machine's "
            f"{have / 2**30:,.0f} GiB; look at fewer ts, or solve batches of paths with first_path"
        )


# --- the grid ------------------------------------------------------------------------------------


def _times(ts, h, grid):
    """(all times from first to last step, indices of those to look at)."""
    if h is not None and grid is not None:
        raise ValueError("h and grid are both given; steps follow one of them")
    if ts is None and grid is None:
        raise ValueError("ts is missing: give the times to look at, or a grid")
    ts = _monotone("ts", ts) if ts is not None else None
    if grid is not None:
        return _on_grid(_monotone("grid", grid), ts)
    if h is None:
        return ts, np.arange(len(ts))
    step = float(h) if isinstance(h, (int, float, np.number)) else math.nan
    if not (step > 0 and math.isfinite(step)):
        raise ValueError(f"h must be a positive finite number, got {h!r}")
    with np.errstate(over="ignore"):
        counts = np.maximum(1, np.ceil(np.abs(np.diff(ts)) / step - EPS))
    if counts.sum() * 4 * ts.itemsize > min(machine.memory(), 2**40):
        raise ValueError(
            f"h = {h!r} makes {counts.sum():.3g} steps, whose times do not fit in memory; use a larger one"
        )
    counts = counts.astype(np.int64)
    pieces = [np.linspace(a, b, n + 1)[:-1] for a, b, n in zip(ts, ts[1:], counts)]
    return np.concatenate([*pieces, ts[-1:]]), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _monotone(name, values):
    """`values` as a float64 array of strictly monotone finite times."""
    if arrays.is_tensor(values):
        values = values.detach().cpu().numpy()
    try:
        times = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a sequence of times, got {values!r}") from None
    if times.ndim != 1 or times.size == 0:
        raise ValueError(f"{name} must be a non-empty sequence of times, got shape {times.shape}")
    if not np.isfinite(times).all():
        raise ValueError(f"{name} must be finite, got {times[~np.isfinite(times)][0]}")
    steps = np.diff(times)
    if not ((steps > 0).all() or (steps < 0).all()):
        i = int(np.argmax(steps * np.sign(steps[0]) <= 0)) if steps[0] else 0
        raise ValueError(f"{name} must be strictly monotone, got {times[i]} followed by {times[i + 1]}")
    return times


def _on_grid(grid, ts):
    """The grid with its points snapped to the `ts`, cut after the last of them, and their indices."""
    if ts is None:
        return grid, np.array([len(grid) - 1])
    if len(ts) > 1 and len(grid) > 1 and (ts[1] > ts[0]) != (grid[-1] > grid[0]):
        raise ValueError("ts and grid run in opposite directions")
    looks = np.abs(grid[:, None] - ts[None]).argmin(0) if len(ts) * len(grid) < 1e7 else _nearest(grid, ts)
    slack = EPS * abs(grid[-1] - grid[0])
    far = np.abs(grid[looks] - ts) > slack
    if far.any():
        raise ValueError(
            f"grid misses the look-at time {ts[far][0]} (its nearest point is {grid[looks][far][0]}); add it there"
        )
    same = np.flatnonzero(np.diff(looks) == 0)
    if same.size:
        raise ValueError(
            f"grid has one point for the look-at times {ts[same[0]]} and {ts[same[0] + 1]}; add both to it"
        )
    grid = grid.copy()
    grid[looks] = ts
    return grid[: looks[-1] + 1], looks


def _nearest(grid, ts):
    """Index of the grid point nearest to each of the ts."""
    sign = 1 if grid[-1] > grid[0] else -1
    right = np.searchsorted(sign * grid, sign * ts).clip(1, len(grid) - 1)
    return right - (np.abs(grid[right - 1] - ts) < np.abs(grid[right] - ts))


# --- process and method --------------------------------------------------------------------------


def _compatible(process, method, form, t):
    """Raise where process, method and times do not go together."""
    name = type(process).__name__
    kind = "none" if form.noise == "none" else "additive" if form.additive else form.noise
    if kind not in method.noise and not (kind == "none" and method.noise != ("none",)):
        raise ValueError(
            f"method {method.name} serves processes whose noise is {' or '.join(method.noise)}, but that of {name} is "
            + kind
            + ("; for the ODE of a Reverse use eta=0" if method.noise == ("none",) else "")
        )
    calculus = declared(process, "calculus", "ito", ("ito", "stratonovich"))
    of_one_law = kind in ("none", "additive") or "transition" in method.needs  # both calculi agree
    if calculus != method.calculus and not of_one_law:
        raise ValueError(
            f"method {method.name} converges to the {method.calculus} solution, but {name} is meant in the "
            f"{calculus} sense; use a method of that calculus, or rewrite the drift"
        )
    if len(t) > 1 and t[1] < t[0] and kind not in ("none", "additive"):
        raise ValueError(
            f"ts decrease, but the noise of {name} depends on the state; times may decrease for ODEs and additive noise"
        )
    noisy = method.normals if "pair" in method.needs else kind != "none"
    if len(t) > 1 and t[1] > t[0] and noisy and callable(getattr(process, "denoise", None)):
        raise ValueError(f"ts increase from {t[0]} to {t[-1]}, but {name} with noise runs from noise to data: decrease")
    low, high = getattr(process, "domain", (-math.inf, math.inf))
    low, high = float(getattr(low, "max", lambda: low)()), float(getattr(high, "min", lambda: high)())
    outside = t[(t < low) | (t > high)]
    if outside.size:
        raise ValueError(f"ts: time {outside[0]} is outside the domain [{low}, {high}] of {name}")
    for need in method.needs:
        if not callable(getattr(process, need, None)):
            raise ValueError(f"method {method.name} needs a process with a method {need}, which {name} does not have")
    if "transition" in method.needs and len(t) > 1 and not hasattr(process.transition(*t[:2].tolist(), 1.0), "sample"):
        raise ValueError(
            f"method {method.name} draws a transition from one normal, which the law of {name} does not allow"
        )


def _check_parameters(process, problem):
    """Raise for array parameters that do not broadcast over the path axes, or whose gradient would be lost."""
    paths = problem.paths
    for name in path_parameters(process):
        value = getattr(process, name)
        if getattr(value, "requires_grad", False) and not arrays.is_tensor(problem.x0):
            raise ValueError(f"{name} of {type(process).__name__} requires a gradient, but x0 is no tensor: pass one")
        if path_parameters(value):
            _check_parameters(value, problem)
        elif isinstance(value, list):
            raise ValueError(
                f"{name} of {type(process).__name__} is a list; give a number, or an array of one per path"
            )
        elif getattr(value, "ndim", 0):
            try:
                fits = np.broadcast_shapes(tuple(value.shape), paths) == paths
            except ValueError:
                fits = False
            if not fits:
                raise ValueError(
                    f"{name} of {type(process).__name__} has shape {tuple(value.shape)}, which does not broadcast over "
                    f"the path axes {paths} of x0; give a number, or one value per path"
                )


def _finished(process, method, end):
    """The method with a last step that denoises, where it would evaluate the drift, or log-SNR, at sigma = 0."""
    at_end = method.evaluates_end or "pair" in method.needs
    if not at_end or method.reaches_zero or not callable(getattr(process, "denoise", None)):
        return method
    if forms.holds(process.sigma(end) > 0):  # one sigma per path, where a parameter is an array
        return method
    return dataclasses.replace(method, step=_denoising(method.step, method.init is not None))


@functools.cache
def _denoising(step, remembers):
    """`step`, but D = E[x_0 | x_t] where the step ends at sigma = 0: the answer there, with no evaluation."""

    def advance(sde, t, t1, x, h, *dws):
        if sde.process.sigma(t1) > 0:
            return step(sde, t, t1, x, h, *dws)
        return sde.process.denoise(t, x)

    def advance_remembering(sde, t, t1, x, h, *rest):
        if sde.process.sigma(t1) > 0:
            return step(sde, t, t1, x, h, *rest)
        return sde.process.denoise(t, x), rest[-1]

    return advance_remembering if remembers else advance


# --- noise, progress, failures -------------------------------------------------------------------


def _first_lane(problem, first_path):
    """The index of the first lane; raises where lanes or normals could not be counted."""
    per_row = problem.lanes // problem.paths[0] if problem.paths and problem.paths[0] else problem.lanes
    first_lane = integer("first_path", first_path) * per_row
    if first_lane + problem.lanes >= 2**63:
        raise ValueError(f"first_path is {first_path}, but lanes are counted in 63 bits; use a smaller one")
    streams = problem.method.streams
    per_step = max(map(streams.count, streams), default=0) * problem.structure.channels
    if (problem.first_step + problem.steps) * per_step > 2**34:
        raise ValueError(
            f"{problem.steps} steps from first_step = {problem.first_step} on take {per_step} normals each of a path's "
            f"2**34; take fewer steps, or continue with another seed"
        )
    return first_lane


def _normals(problem, noise):
    """Explicit normals as (draws, steps, *shape of dw)."""
    if noise is None:
        return None
    like, draws = problem.x0, problem.method.normals
    if arrays.is_tensor(noise) and not arrays.is_tensor(like):
        raise ValueError("noise is a tensor, but x0 is not")
    noise = noise if arrays.is_tensor(noise) else np.asarray(noise)
    if noise.is_complex() if arrays.is_tensor(noise) else noise.dtype.kind not in "biuf":
        raise ValueError(f"noise must be an array of standard normals, got {noise.dtype}")
    if arrays.is_tensor(like):
        noise = arrays.torch().as_tensor(noise, dtype=like.dtype, device=like.device)
    else:
        noise = noise.astype(like.dtype, copy=False)
    dw = (*problem.paths, problem.structure.channels) if problem.dw_axes else problem.shape
    shape = (problem.steps, *dw) if draws == 1 else (draws, problem.steps, *dw)
    if tuple(noise.shape) != shape:
        raise ValueError(
            f"noise has shape {tuple(noise.shape)}, but {problem.steps} steps of {problem.method.name} take {shape}"
        )
    return noise.reshape(draws, problem.steps, *dw)


@contextlib.contextmanager
def _progress(show):
    """A function that takes the finished fraction and moves a bar, or None."""
    if not show:
        yield None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        raise ValueError("progress=True draws its bar with tqdm, which is not installed: pip install tqdm") from None

    with tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed}<{remaining}") as bar:

        def ticker(fraction):
            bar.update(int(100 * fraction) - bar.n)

        yield ticker
        ticker(1.0)


def _warn(outcome, when):
    count = int(outcome.failed.sum())
    warnings.warn(
        f"{count:,} of {math.prod(outcome.failed.shape):,} paths became non-finite, the first by t = {when:.6g}; "
        f"they are NaN from then on (Solution.failed)",
        RuntimeWarning,
        stacklevel=3,
    )
