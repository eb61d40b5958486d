"""The CPU backend: step and noise fused into one vectorised kernel, blocks of paths on a thread pool."""

import itertools
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import numpy as np
from numba import typeof
from numba.core.dispatcher import Dispatcher

from ... import arrays, machine, noise
from ...equation import Equation
from ...problem import Counted, Counter, Outcome
from ...records import with_parameters
from ..stops import watched
from ..waiting import apart
from . import areas, bridge, fixed, implicit, normals, stops
from .captured import is_record
from .explain import ELSEWHERE, explained
from .generator import LANES, block, filler
from .records import compiled, prepare

__all__ = ["run"]

TASK = 2**24  # normals, or steps without any, of one call into compiled code: some 20 ms
LEAST = 2**18  # for one thread: less is done before another has started
FEW = 64  # lanes that are a block of their own, whose normals are made along the steps
MOST = 32  # components, or entries of a diffusion matrix: they are unrolled, and compile time grows with them
_preparing = threading.Lock()
_kernels: dict = {}  # types of all that varies between kernels: machine code


def run(problem, threads=None):
    """Solve with compiled code, on all CPUs unless told; states are arrays of float32 or float64."""
    check(problem)
    out = np.empty((len(problem.steps.saves), problem.lanes, problem.system.components or 1), problem.x0.dtype)
    with _preparing:
        share, types, found = _share(problem, out)
    steps = len(problem.steps)
    cost = steps * max(1, problem.system.channels * len(problem.streams))  # of a lane
    threads = min(threads or machine.cpus(), problem.lanes * cost // LEAST) if problem.lanes * cost > LEAST else 1
    pieces = _pieces(problem, cost, threads)
    ticks = np.zeros(threads + 1, np.int64)  # the first entry asks for a stop, the others count lane steps
    first_bad = np.full(threads + 1, steps)
    _ready(types, lambda: share(0, 0, 1, ticks, first_bad), problem)
    if problem.lanes * cost < TASK and threads == 1 and problem.ticker is None:
        for piece in pieces:
            share(*piece, 1, ticks, first_bad)
    elif pieces:
        _in_threads(share, pieces, ticks, first_bad, problem, threads)
    with np.errstate(over="ignore"):
        x = out.reshape(len(problem.steps.saves), *problem.shape).astype(problem.dtype, copy=False)
    failed = np.isnan(out[-1, :, 0]).reshape(problem.system.path_shape)  # all components of a failed path are NaN
    failed_step = int(first_bad.min()) if failed.any() else None
    last = out[-1].reshape(problem.shape)
    return Outcome(x, last, failed, failed_step, None, _evaluations(problem), **stops.found(problem, found))


def _share(problem, out):
    """(solves for the lanes low … high − 1 into `out`, the types that its kernel is made for, a `Stops`)."""
    form, method, found = problem.system, problem.method, []
    sde = prepare(problem.equation, found)
    step = compiled(fixed.anew(method.step) if method.first_same_as_last else method.step)
    width = form.channels if problem.dw_axes else 1
    forms = fixed.access(form.components, width if problem.dw_axes else None, len(problem.streams))
    x0, columns, dtype = _starts(problem), _per_lane(found, problem), problem.x0.dtype
    given, factor, each = _given(problem, width), form.correlation, len(watched(problem.events))
    factor = np.empty((0, 0), dtype) if factor is None else np.require(factor, dtype, "CW")
    (t, saves, begin, end), path = problem.steps, problem.path
    *watching, met = stops.watching(problem, *forms[:2])
    rows = x0.shape[1] if watching[0] is None else 2 * x0.shape[1] + 1

    def share(low, high, slot, ticks, first_bad):
        lanes = high - low or max(problem.lanes, 1)  # called for no lane it only compiles
        along = _few(problem, lanes)
        lanes = lanes if along else LANES
        plan, key = normals.layout(problem.streams, width, 4 * LANES if along else 32, each), noise.key(problem.seed)
        tree = None if path is None else bridge.tree(path, t, width, dtype)
        made = len(given) > 0 or path is not None
        fills = np.array([_filler(dtype, along, stream, made) for stream in plan.streams], np.int64)
        first = problem.first_lane, problem.first_step
        fill = 0 if path is None else filler(dtype, along, False).address
        source = normals.Noise(given, tree, factor, fills, fill, *key, *first)
        room = fixed.Block(
            *(block(n, dtype, lanes) for n in (rows, plan.rows + each, len(columns))),
            np.empty(lanes, np.bool_),
            block(16 if along or path is not None else 0, dtype),
            areas.areas(problem, dtype, len(given)) if problem.areas else None,
        )
        room.z[plan.rows :] = stops.LONGEST
        mine = met and met._replace(seen=np.empty_like(met.seen))
        call(
            fixed.run, types,
            sde, step, *forms, x0, out, saves, t, begin, end, columns, source, plan, room, *watching, mine,
            low, high, slot, ticks, first_bad,
        )  # fmt: skip

    types = kind(sde), step, *forms, dtype, watching[2], path is None, problem.areas > 0
    return share, types, met


def _given(problem, width):
    """The normals that were given, (rows, steps, lanes, width), or none."""
    if problem.noise is None:
        return np.empty((0, 0, 0, 0), problem.x0.dtype)
    given = np.require(problem.noise, requirements="CW")
    return given.reshape(len(given), len(problem.steps), problem.lanes, width)


def _filler(dtype, along, stream, given):
    """The address of what makes the numbers of a stream, 0 where they are given, or areas."""
    waits = stream == noise.Stream.CROSSING
    return 0 if (given and not waits) or stream == noise.Stream.AREA else filler(dtype, along, waits).address


def call(kernel, types, *args):
    """kernel(*args), by its machine code if these types were met before: numba would name the type of each anew."""
    if types not in _kernels:
        kernel(*args)
        _kernels[types] = kernel.overloads[tuple(map(typeof, args))].entry_point
    else:
        _kernels[types](*args)


def kind(value):
    """As much of the type of a value as tells kernels apart: numba takes long to name that of a record or function."""
    if isinstance(value, tuple):
        return type(value), *map(kind, value)
    if isinstance(value, Dispatcher):
        return value
    return float if type(value) is float else typeof(value)


def _starts(problem):
    """x0 as rows of components, which the lanes repeat in turn."""
    x0, paths, k = problem.x0, problem.system.path_shape, problem.system.components
    own = list(x0.shape[:-1] if k else x0.shape)
    while own and own[0] == 1:
        del own[0]
    if own and tuple(own) != paths[len(paths) - len(own) :]:  # repeated along inner axes too
        x0 = np.broadcast_to(x0, problem.shape)
    return np.require(x0, requirements="CW").reshape(-1, k or 1)


def _few(problem, lanes):
    """Whether so many lanes are quicker as a block of their own than as a part of a whole one.

    The normals of one lane are made for 256 counters at a time, those of a whole block for 256 lanes; along a path it
    is always these, and so it is of areas.
    """
    if problem.path is not None or problem.areas:
        return False
    streams = problem.method.streams if problem.noise is None else ()
    counters = max(map(streams.count, streams), default=1) * problem.system.channels * len(problem.steps) / 4
    return lanes <= FEW and (not streams or lanes <= counters)


def _pieces(problem, cost, threads):
    """Ranges of lanes for one call into compiled code each: whole blocks, or few lanes; as many for each thread."""
    lanes = problem.lanes
    rounds = -(-lanes * cost // (TASK * threads))
    size = max(1, -(-lanes // (max(1, rounds) * threads)))
    whole = 8 if _few(problem, lanes) else LANES
    size = -(-size // whole) * whole
    cuts = [*range(0, lanes, size), lanes]
    rest = lanes % LANES
    if lanes > rest > 0 and _few(problem, rest) and lanes - rest not in cuts:
        cuts.insert(-1, lanes - rest)
    return list(itertools.pairwise(cuts))


def _in_threads(share, pieces, ticks, first_bad, problem, threads):
    """Run the pieces on a pool while this thread reports progress and listens for an interrupt."""
    total = max(len(problem.steps), 1) * problem.lanes
    left = iter(pieces)

    def work(slot):
        while ticks[0] == 0:
            with taking:
                piece = next(left, None)
            if piece is None:
                return
            share(*piece, slot, ticks, first_bad)

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
    process, system = problem.equation.process, problem.system
    k, m, structure, event_dims = system.components, system.channels, system.noise, system.event_dims
    name = system.name
    if arrays.is_tensor(problem.x0):
        raise ValueError("backend numba takes numpy arrays; give x0 as one, or leave backend out")
    if not is_record(process):
        raise ValueError(
            f"the numba backend needs processes that are NamedTuples or dataclasses, got {name}; {ELSEWHERE}"
        )
    if (k or 1) > MOST or (structure == "general" and (k or 1) * m > MOST):
        raise ValueError(
            f"the numba backend compiles up to {MOST} components, and {MOST} entries of a diffusion matrix; "
            f"{name} has {k or 1} components and {m} noises: {ELSEWHERE}"
        )
    if problem.method.jacobian and (k or 1) > implicit.MOST:
        raise ValueError(
            f"the numba backend compiles {problem.method.name}, which solves linear systems, for up to {implicit.MOST} "
            f"components; {name} has {k}: {ELSEWHERE}"
        )
    if (k is None and event_dims) or hasattr(getattr(process, "score", None), "pair"):
        raise ValueError(
            f"{name} holds a score or couples whole axes, which the numba backend does not run; {ELSEWHERE}"
        )
    if problem.method.init is not None:
        raise ValueError(
            f"method {problem.method.name} has a memory, which the numba backend does not run; {ELSEWHERE}"
        )


def _ready(types, call, problem):
    """Compile what these types need by an empty `call`, unless that was done before."""
    if types in _kernels:
        return
    name, method = problem.system.name, problem.method.name
    try:
        apart(call, f"sdekit: compiling {name} with {method} …")
    except ValueError:  # with a text of our own
        raise
    except Exception as error:
        raise ValueError(explained(problem, error)) from error


def _per_lane(found, problem):
    """Array parameters broadcast over the path axes, one row each, of shape (parameters, lanes)."""
    dtype = problem.x0.dtype
    if not found:
        return np.empty((0, 1), dtype)
    shape = problem.system.path_shape
    return np.stack([np.broadcast_to(a, shape).astype(dtype, copy=False).reshape(-1) for a in found])


def _evaluations(problem):
    """Drift evaluations per path, as the method's record says.

    A slope that is kept counts once (see `fixed.anew`). Where the record says nothing, those of a first, a middle and
    the last step are counted on one path with a drift of zero: steps branch on times alone.
    """
    method, n = problem.method, len(problem.steps)
    if problem.drifts is not None:
        if not method.first_same_as_last or n == 0:
            return problem.drifts * n
        return problem.drifts * n + 1 + int((problem.steps.begin != problem.steps.t[:-1])[1:].sum())  # behind jumps

    def count(s):
        return counted(problem, method.step, *problem.steps.t[s : s + 2].tolist())

    return sum(map(count, range(n))) if n < 4 else count(0) + (n - 2) * count(1) + count(n - 1)


def counted(problem, step, t, t1):
    """Drift evaluations of one step from t to t1, on one path with a drift of zero."""
    one = with_parameters(problem.equation.process, lambda a: float(a.reshape(-1)[0]) if 0 not in a.shape else 1.0)
    counter, form = Counter(), problem.system
    drift = Counted(lambda t, x: 0.0 * x, counter)
    sde = Equation(one, lambda process, t, x: drift(t, x), lambda process, t, x, dw: 0.0 * x + 1.0)
    dws = [np.ones((form.channels, 1) if problem.dw_axes else 1)] * problem.method.normals
    with np.errstate(all="ignore"):
        step(sde, t, t1, np.ones((form.components, 1) if form.components else 1), t1 - t, *dws)
    return counter.count
