"""The CPU backend: step and noise fused into one vectorised kernel, blocks of paths on a thread pool."""

import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import numpy as np
from numba.core.errors import NumbaError

from ... import arrays, noise
from ...equation import Equation, with_parameters
from ...problem import Counted, Counter, Outcome
from . import fixed
from .generator import LANES, block, discard
from .records import compiled, is_record, prepare

__all__ = ["run", "discard"]

TASK = 2**24  # lane steps of one call into compiled code: some 20 ms
ELSEWHERE = "pass x0 as a torch tensor, or backend=sdekit.backends.numpy()"
_preparing = threading.Lock()


def run(problem, threads):
    """Solve with compiled code; states are arrays of float32 or float64."""
    check(problem)
    form, steps = problem.structure, problem.steps
    k = form.components
    x0 = np.require(problem.x0, requirements="CW").reshape(-1, k or 1)
    out = np.empty((len(problem.looks), problem.lanes, k or 1), x0.dtype)
    found: list = []
    with _preparing:
        sde = prepare(problem.equation, found)
        step = compiled(problem.method.step)
        forms = fixed.access(k, form.channels if problem.dw_axes else None, problem.method.normals)
    columns = _per_lane(found, problem)
    given = np.empty((0, 0, 0, 0), x0.dtype)
    if problem.noise is not None:
        width = form.channels if problem.dw_axes else 1
        given = np.require(problem.noise, requirements="CW")
        given = given.reshape(problem.method.normals, steps, problem.lanes, width)
    rows = np.full(len(problem.t), -1)
    rows[problem.looks] = np.arange(len(problem.looks))
    key, plan = np.array(noise.key(problem.seed)), fixed.layout(problem.method, form.channels)

    def share(begin, end, slot):
        try:
            fixed.run(
                sde, step, *forms, x0, out, problem.t, rows, columns,
                given, *plan, key, problem.first_lane, problem.first_step,
                begin, end, slot, ticks, first_bad,
                *(block(n, x0.dtype) for n in (x0.shape[1], plan.rows, len(columns))),
                np.empty(LANES, np.bool_),
            )  # fmt: skip
        except NumbaError as error:
            raise ValueError(_explained(problem, error)) from error

    pieces = _pieces(problem, threads)
    ticks = np.zeros(threads + 1, np.int64)  # the first entry asks for a stop, the others count lane steps
    first_bad = np.full(threads + 1, steps)
    if len(pieces) == 1 and LANES * -(-problem.lanes // LANES) * steps < TASK and problem.ticker is None:
        share(*pieces[0], 1)
    elif pieces:
        _in_threads(share, pieces, ticks, problem, threads)
    with np.errstate(over="ignore"):
        x = out.reshape(len(problem.looks), *problem.shape).astype(problem.dtype, copy=False)
    failed = np.isnan(out[-1, :, 0]).reshape(problem.paths)  # all components of a failed path are NaN
    failed_step = int(first_bad.min()) if failed.any() else None
    return Outcome(x, failed, failed_step, None, _evaluations(problem))


def _pieces(problem, threads):
    """Ranges of lanes, whole blocks each, for one call into compiled code."""
    size = max(TASK // max(problem.steps, 1), LANES)
    size = min(size, -(-problem.lanes // threads))
    size = -(-size // LANES) * LANES
    return [(a, min(a + size, problem.lanes)) for a in range(0, problem.lanes, size or 1)]


def _in_threads(share, pieces, ticks, problem, threads):
    """Run the pieces on a pool while this thread reports progress and listens for an interrupt."""
    total = LANES * max(problem.steps, 1) * -(-problem.lanes // LANES)
    left = iter(pieces)

    def work(slot):
        while ticks[0] == 0:
            with taking:
                piece = next(left, None)
            if piece is None:
                return
            share(*piece, slot)

    taking = threading.Lock()
    with ThreadPoolExecutor(threads) as pool:
        pending = {pool.submit(work, slot) for slot in range(1, min(threads, len(pieces)) + 1)}
        try:
            while pending:
                done, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                if problem.ticker is not None:
                    problem.ticker(min(ticks[1:].sum() / total, 1.0))
        except BaseException:
            ticks[0] = -1
            raise


def check(problem):
    """Raise for what this backend does not run."""
    process, (k, m, structure, _, event_dims) = problem.equation.process, problem.structure
    name = type(process).__name__
    if arrays.is_tensor(problem.x0):
        raise ValueError("backend numba takes numpy arrays; give x0 as one, or leave backend out")
    if not is_record(process):
        raise ValueError(
            f"the numba backend needs processes that are NamedTuples or dataclasses, got {name}; {ELSEWHERE}"
        )
    if (k or 1) > 16 or (structure == "general" and (k or 1) * m > 16):
        raise ValueError(
            f"the numba backend compiles up to 16 components, and 16 entries of a diffusion matrix; "
            f"{name} has {k or 1} components and {m} noises: {ELSEWHERE}"
        )
    if (k is None and event_dims) or hasattr(getattr(process, "score", None), "pair"):
        raise ValueError(
            f"{name} holds a score or couples whole axes, which the numba backend does not run; {ELSEWHERE}"
        )
    if problem.method.init is not None:
        raise ValueError(
            f"method {problem.method.name} has a memory, which the numba backend does not run; {ELSEWHERE}"
        )


def _explained(problem, error):
    """What a person can do about a compiler's complaint."""
    lines = [line.strip() for line in str(error).splitlines()]
    reasons = [x for x in lines if x.startswith((">>>", "Unknown attribute", "Untyped global", "Use of unsupported"))]
    name = type(problem.equation.process).__name__
    return (
        f"process {name} with method {problem.method.name} does not compile for the numba backend"
        + (f" ({reasons[-1]})" if reasons else f" ({lines[0]})" if lines else "")
        + "; keep drift and diffusion to arithmetic, tuples and sdekit.math, or "
        + ELSEWHERE
    )


def _per_lane(found, problem):
    """Array parameters broadcast over the path axes, one row each, of shape (parameters, lanes)."""
    dtype = problem.x0.dtype
    if not found:
        return np.empty((0, 1), dtype)
    return np.stack([np.broadcast_to(a, problem.paths).astype(dtype, copy=False).reshape(-1) for a in found])


def _evaluations(problem):
    """Drift evaluations per path, counted by replaying steps on one path with a drift of zero.

    Steps branch on times alone: of a long run of a shipped method, which knows only whether a step is
    the last, a first, a middle and the last step are replayed.
    """
    one = with_parameters(problem.equation.process, lambda a: float(a.reshape(-1)[0]) if 0 not in a.shape else 1.0)
    counter = Counter()
    drift = Counted(lambda t, x: 0.0 * x, counter)
    sde = Equation(one, lambda process, t, x: drift(t, x), lambda process, t, x, dw: 0.0 * x + 1.0)
    form, method = problem.structure, problem.method
    dws = [np.ones((form.channels, 1) if problem.dw_axes else 1)] * method.normals
    x = np.ones((form.components, 1) if form.components else 1)

    def count(s):
        before, (t, t1) = counter.count, problem.t[s : s + 2].tolist()
        with np.errstate(all="ignore"):
            method.step(sde, t, t1, x, t1 - t, *dws)
        return counter.count - before

    n = problem.steps
    if n > 3 and method.step.__module__.startswith("sdekit."):
        return count(0) + (n - 2) * count(1) + count(n - 1)
    return sum(map(count, range(n)))
