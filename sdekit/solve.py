"""`solve`: a process, a method, steps and noise put together."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Sequence

from . import arguments, arrays, matching
from . import math as sm
from .brownian import BrownianPath
from .checks import named
from .control import Tolerance
from .events import Barrier, Event
from .methods import Method
from .protocols import A, Array, Backend, Numbers, Process, Times
from .scores import network_parameter
from .solution import Solution, State
from .system import bind

__all__ = ["Solution", "solve"]


@named
def solve(
    process: Process,
    x0: A | Solution[A] | Numbers,
    ts: Times | None = None,
    method: Method | None = None,
    *,
    h: float | None = None,
    grid: Times | None = None,
    tol: float | Tolerance | None = None,
    events: Sequence[Event | Barrier] = (),
    paths: int | None = None,
    seed: int | None = None,
    first_path: int = 0,
    noise: Array | BrownianPath | None = None,
    backend: Backend | None = None,
    progress: bool = False,
) -> Solution[A]:
    """Move `x0` along `process` by `method`, and return the states at the times `ts`: a `Solution`.

    process     drift(t, *x) and diffusion(t, *x): a NamedTuple or dataclass (on torch and numpy any
                object), or `sdekit.process(drift, diffusion)`.
    x0          state, path axes first; a process of k components takes them on the last axis. Path axes
                broadcast with the shapes of array parameters: one x0 and a million values make a million
                paths. Or a `Solution` to go on from: then ts[0] is its end, and paths, seed, first_path
                and noise are its own; the result is that of the uncut run, to the bit.
    ts          strictly monotone output times; the first one is where x0 is. Decreasing times are
                for ODEs and noise that does not depend on the state.
    method      one of `sdekit.methods`. Default: `euler_maruyama` for Itô equations, `heun` for
                Stratonovich ones, `tsit5` for those without noise.
    h           the largest step: each interval of `ts` is cut into equal steps of at most h.
    grid        or the times of all steps, which contain `ts`; without `ts` the state is saved where the
                grid ends. grid=ts takes one step between two output times.
    tol         or the error of a step, rtol = atol, or a `Tolerance`, for equations without noise: each path has
                steps of its own size. States at `ts` come from the dense output of the method. With noise for the
                methods of strong order 1 that estimate their error (sra1, sri1w1, milstein, heun), on numpy and torch:
                steps are dyadic parts of a `BrownianPath`, that of `noise` or of the seed, and end at `ts`.
                One of h, grid and tol must be given, but for methods that are exact in law, and method=None
                on equations without noise, which has tol = 1e-6.
    events      a list of `Barrier`s, for equations with noise, and of `Event`s: where a path meets one it stops, or
                is recorded. The first one met counts.
    paths       repeat x0 along a new first axis of this length.
    seed        0 <= seed < 2**64; None draws one, which the Solution holds. A path depends on the seed, its
                index and the steps alone: not on threads, the split of a batch, the dtype or the backend.
    first_path  index of the first path: solve(x0[a:b], first_path=a) repeats the rows a … b.
    noise       standard normals of shape (steps, *shape of dw) in place of the generator's, where dw has the shape of
                the state, or (path axes, m) for general noise; methods that draw several dw take an axis of that
                length in front, milstein_general one of 1 + m where Lévy areas are given too, in units of h. Normals
                are independent: a correlation is applied to them. Or a `BrownianPath`: then h bounds steps that
                are dyadic parts of it, but where `ts` cut one, and without `ts` they fill it.
    backend     a record of `sdekit.backends` with its options, such as `sdekit.backends.numba(threads=4)`.
                Default by the type of x0: numba for arrays (numpy where the process has a score or couples
                whole axes), torch for tensors.
    progress    show a progress bar (tqdm).

    Paths that become non-finite do not touch the others; they are NaN from then on, marked in `failed`,
    and reported in one warning. Raises ValueError for arguments that make no sense.
    """
    start = arguments.start(x0, paths, seed, first_path, noise)
    said, found = arguments.when(ts, h, grid, tol, start), arguments.events(events)
    system = bind(process, start.whole, said.first)
    if start.paths is not None and system.event_dims == start.x0.ndim:
        raise ValueError(f"x0 has shape {tuple(start.state.x.shape)}, but a state of {system.name} has one axis more")
    method, said = matching.method(method, system, said)
    matching.serves(system, method, said.tolerance, start.x0)
    steps = arguments.steps(said, system, method, start.state.path)
    matching.compatible(system, method, steps.t)
    if noise is None and not isinstance(x0, State):  # probes have states of any size
        matching.begins(system, method, start.state, steps.t)
    matching.events(found, system, said, start.state.stopped)
    problem = arguments.problem(start, system, method, steps, noise, found)
    batch = problem.adaptive and steps.tolerance.batch
    engine = matching.backend(backend, system, method, start.x0, batch)
    _warn_of_gradients(system.process, start.x0)
    with progress_bar(progress) as ticker:
        outcome = engine.run(problem._replace(ticker=ticker))
    how = {"process": repr(process), "method": repr(method), **said.words, "backend": repr(engine)}
    return _solution(problem, outcome, start, how)


def _solution(problem, outcome, start, how):
    """The `Solution`, in which paths that failed earlier stay so; a warning says which fail now."""
    t = problem.steps.t
    x, failed = _cast(outcome.x, outcome.failed, problem)
    before = start.state.failed
    if before is not None:
        x, failed = sm.where(sm.expand(before, x[0]), math.nan, x), failed | before
    if arrays.concrete(failed) and bool((failed & ~before if before is not None else failed).any()):
        _warn(failed, float(t[-1] if outcome.failed_step is None else t[outcome.failed_step + 1]), problem.adaptive)
    times = t[problem.steps.saves]
    if arrays.is_tensor(problem.x0):
        times = arrays.torch().as_tensor(times, device=problem.x0.device)
    done, seed, first_path = problem.first_step + len(problem.steps), problem.seed, start.state.first_path
    replayed, last, memory, control = problem.noise is not None, outcome.last, outcome.memory, outcome.control
    stopped = outcome.stopped or start.state.stopped
    end = State(
        last, float(t[-1]), done, seed, first_path, memory, failed, replayed, problem.dtype, problem.path, control,
        stopped,
    )  # fmt: skip
    steps, dims = len(problem.steps) if outcome.steps is None else outcome.steps, problem.system.event_dims
    events = tuple(_event(problem, outcome, i) for i in range(len(problem.events)))
    return Solution(times, x, outcome.nfe, steps, failed, seed, end, how, dims, outcome.rejected, events)


def _event(problem, outcome, i):
    """(t, x) of event i: what is recorded of it, or where it has stopped paths in this run."""
    if not problem.events[i].terminal:
        t, x = outcome.events[i]
        return t, arrays.to_type(x, problem.dtype)
    when, which = outcome.stopped
    here = which == i if problem.stopped is None else (which == i) & (problem.stopped[1] < 0)
    x = sm.where(sm.expand(here, outcome.last), outcome.last, math.nan)
    return arrays.stack([sm.where(here, when, math.nan)]), arrays.to_type(x, problem.dtype)[None]


def _cast(x, failed, problem):
    """The result and the failed paths: also those that the result's type cannot hold, from there on."""
    if problem.dtype == problem.x0.dtype:
        return x, failed
    axes = tuple(range(len(problem.system.path_shape), len(problem.shape)))
    rows, good = [], True
    for row in x:
        good = arrays.all_of(sm.isfinite(row), axes) & good
        rows.append(arrays.to_type(sm.where(good, row, math.nan), problem.dtype))
    return arrays.stack(rows), failed | ~good.reshape(failed.shape)


@contextlib.contextmanager
def progress_bar(show):
    """A function that takes the finished fraction and moves a bar, or None."""
    if type(show) is not bool:
        raise ValueError(f"progress must be True or False, got {show!r}")
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


def _warn_of_gradients(process, x0):
    """Samples of a network carry its gradients, which is seldom meant: memory grows with the steps."""
    sampler = hasattr(process, "pair") and arrays.is_tensor(x0)
    own = network_parameter(getattr(process, "score", None)) if sampler else None
    if own is None or not own.requires_grad or not arrays.torch().is_grad_enabled() or x0.requires_grad:
        return
    warnings.warn(
        "the samples carry the gradients of the network, and memory grows with the steps: sample under "
        "torch.no_grad(), or filter this warning where it is meant",
        UserWarning,
        stacklevel=4,
    )


def _warn(failed, when, adaptive):
    why = "became non-finite, or met a bound of the tolerance's steps" if adaptive else "became non-finite"
    warnings.warn(
        f"{int(failed.sum()):,} of {math.prod(failed.shape):,} paths {why}, the first by t = {when:.6g}; "
        f"they are NaN from then on (Solution.failed)",
        RuntimeWarning,
        stacklevel=5,
    )
