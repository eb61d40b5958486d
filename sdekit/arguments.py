"""The arguments of `solve`, each read by a function of its own, which says what it was and what would do."""

import math
from typing import Any, NamedTuple

import numpy as np

from . import arrays, brownian, given, machine
from . import noise as normals
from . import steps as times_of
from .brownian import BrownianPath
from .checks import array, integer, real, shown
from .control import Tolerance
from .course import Course, course
from .events import Barrier, Event
from .methods.last import finished
from .problem import Problem
from .solution import Solution, State

__all__: list[str] = []

# --- where it starts -----------------------------------------------------------------------------


class Start(NamedTuple):
    """Where a run starts: a `State`, whose time is NaN unless it goes on from another run."""

    state: State
    paths: int | None  # to repeat the state along a new first axis

    @property
    def x0(self):
        """The state with its path axes in front; a new axis of paths has length 1."""
        return self.state.x if self.paths is None else self.state.x[None]

    @property
    def whole(self):
        """The same, of full shape, without copying."""
        x = self.x0
        return x if self.paths is None else arrays.broadcast(x, (self.paths, *self.state.x.shape))


def start(x0, paths, seed, first_path, noise):
    """The `Start` from a state, or from a `Solution` to go on from."""
    if isinstance(x0, Solution):
        given = {"paths": paths, "seed": seed, "first_path": first_path or None, "noise": noise}
        for name, value in given.items():
            if value is not None:
                raise ValueError(f"{name} is given, but x0 is a Solution, which goes on with its own; leave it out")
        if x0.state.replayed:
            raise ValueError(
                "x0 is a Solution of normals given as an array, which are used up; pass x0.final and the next normals"
            )
        x0 = x0.state
    if isinstance(x0, State):
        return Start(x0._replace(dtype=x0.dtype or x0.x.dtype), None)
    x, dtype = state(x0)
    paths = None if paths is None else integer("paths", paths, least=1)
    fits(1, (paths or 1, *x.shape), dtype)
    first_path = integer("first_path", first_path)
    path = noise if isinstance(noise, BrownianPath) else None
    if path is not None and seed is not None:
        raise ValueError(f"seed is {seed!r}, but noise is {path}, which has a seed of its own; leave seed out")
    seed = normals.fresh(seed if path is None else path.seed)
    return Start(State(x, math.nan, 0, seed, first_path, dtype=dtype, path=path), paths)


def state(x0):
    """(x0 in the type of the arithmetic, the type of the result)."""
    if arrays.is_tensor(x0):
        torch = arrays.torch()
        if x0.is_complex():
            raise ValueError(
                f"x0 must be real, got a tensor of {x0.dtype}; pass real and imaginary parts as components"
            )
        if x0.layout != torch.strided or x0.is_quantized or x0.is_meta:
            raise ValueError(f"x0 must be a dense tensor that holds numbers, got {shown(x0)}, {x0.dtype}, {x0.layout}")
        dtype = x0.dtype if x0.is_floating_point() else torch.get_default_dtype()
        x0 = x0.to(torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype)
        finite = not arrays.concrete(x0) or bool(torch.isfinite(x0).all())
    else:
        if isinstance(x0, np.ma.MaskedArray):
            raise ValueError("x0 is a masked array; fill it, or drop the masked paths")
        x0 = np.asarray(array("x0", x0))
        if x0.dtype.kind not in "biuf":
            raise ValueError(f"x0 must hold real numbers, got {x0.dtype}")
        dtype = x0.dtype if x0.dtype in (np.float16, np.float32, np.float64) else np.dtype(np.float64)
        x0 = x0.astype(np.float32 if dtype == np.float16 else dtype, copy=False)
        finite = bool(np.isfinite(x0).all())
    if not finite:
        raise ValueError("x0 must be finite, got NaN or infinite entries")
    return x0, dtype


def fits(saves, shape, dtype, what="the result", cure="save at fewer ts"):
    """Raise where the result, or what else has `saves` entries for each path, could not be held in memory."""
    size, have = saves * math.prod(shape) * getattr(dtype, "itemsize", 8), machine.memory()
    if size > have:
        raise ValueError(
            f"{what} of shape {(saves, *shape)} takes {size / 2**30:,.0f} GiB, more than this machine's "
            f"{have / 2**30:,.0f} GiB; {cure}, or solve batches of paths with first_path"
        )


# --- when it steps -------------------------------------------------------------------------------


class When(NamedTuple):
    """How to step, as it was said."""

    ts: times_of.Times | None
    grid: times_of.Times | None
    h: Any
    tolerance: Tolerance | None

    @property
    def first(self):
        return float((self.ts or self.grid).t[0])

    @property
    def words(self):
        """{h, tol or grid: its value}, for the record of a Solution."""
        if self.h is not None:
            return {"h": float(self.h)}
        return {"tol": str(self.tolerance)} if self.tolerance else {"grid": f"{len((self.grid or self.ts).t)} times"}


def events(given):
    """The events as a tuple."""
    if not isinstance(given, (tuple, list)) or not all(isinstance(e, (Barrier, Event)) for e in given):
        raise ValueError(f"events must be a list of sdekit.Barrier and sdekit.Event, got {shown(given)}")
    return tuple(given)


def when(ts, h, grid, tol, start):
    """The times and the steps as they were said."""
    both = [name for name, value in (("h", h), ("grid", grid), ("tol", tol)) if value is not None]
    if len(both) > 1:
        raise ValueError(f"{' and '.join(both[:2])} are both given; steps follow one of them")
    path = start.state.path
    if ts is None and grid is None:
        if path is None:
            raise ValueError("ts is missing: give the times to save at, or a grid")
        ts = [path.t0 if math.isnan(start.state.t) else start.state.t, path.t1]
    said = When(
        None if ts is None else times_of.times("ts", ts),
        None if grid is None else times_of.times("grid", grid),
        h,
        None if tol is None else tolerance(tol),
    )
    if math.isnan(start.state.t):
        return said
    last = (said.ts or said.grid).t[-1]
    if path is not None and not path.t0 <= last <= path.t1:
        raise ValueError(
            f"ts end at {last}, but x0 is a Solution along {path}, beyond whose ends it does not go on; give the first "
            f"run noise=sdekit.BrownianPath(seed, t0, t1) that is long enough for all"
        )
    return said._replace(ts=_from(said.ts, "ts", start.state.t), grid=_from(said.grid, "grid", start.state.t))


def tolerance(tol):
    """The `Tolerance`: a number stands for both rtol and atol."""
    if isinstance(tol, Tolerance):
        return tol
    number = real("tol", tol, above=0, below=math.inf)
    return Tolerance(rtol=number, atol=number)


def _from(said, name, t):
    """The `Times` with the end of the run that goes on as their first."""
    if said is None:
        return None
    slack = max(said.rounding, times_of.SLACK * abs(said.t[min(1, len(said.t) - 1)] - t), 4e-16 * abs(t))
    if abs(said.t[0] - t) > slack:
        raise ValueError(f"{name} begins at {said.t[0]}, but the solution to go on from ends at {t}; begin there")
    return said._replace(t=np.concatenate([[t], said.t[1:]]))


def steps(said, system, method, path):
    """The `Steps` of a run, or its `Course` where they are of adaptive size."""
    if said.tolerance is not None:
        if path is not None:
            brownian.ticks(path, said.ts.t, "ts")
        return course(said.ts, system.jumps, said.tolerance, method.interpolate is not None)
    if said.grid is not None:
        return times_of.on_grid(said.grid, said.ts, system.jumps)
    if said.h is not None and path is not None:
        brownian.ticks(path, said.ts.t, "ts")
        return times_of.dyadic(said.ts, said.h, (path.t0, path.t1), system.jumps)
    if said.h is not None:
        return times_of.fitted(said.ts, said.h, system.jumps)
    if "transition" in method.needs:  # exact in law for steps of any size
        return times_of.on_grid(said.ts, said.ts, system.jumps)
    raise ValueError(
        "how to step is not said: give h, the largest step, or grid, the times of all steps (grid=ts for one step "
        "between two of them)"
        + (", or tol, the error of a step" if system.noise == "none" else "")
        + (". A sampler takes grid=sdekit.grids.log_snr(process, n)" if "pair" in method.needs else "")
    )


# --- all of it -----------------------------------------------------------------------------------


def problem(start, system, method, steps, noise, events):
    """The `Problem` of a run, whose result fits in memory and whose normals can be counted."""
    state = start.state
    whole = finished(method, system.process, float(steps.t[-1]))
    if isinstance(steps, Course) and whole is not method:
        raise ValueError(
            f"ts end at {steps.t[-1]}, where sigma of {system.name} is 0 and its drift has no value; end "
            f"before, or give grid, whose last step {method.name} replaces by the denoised state"
        )
    made = Problem(
        system=system,
        method=whole,
        steps=steps,
        x0=start.x0,
        dtype=state.dtype,
        seed=state.seed,
        first_lane=0,
        first_step=state.step,
        memory=state.memory,
        noise=None,
        ticker=None,
        path=_path(state, system, steps),
        control=state.control,
        stopped=state.stopped,
        events=events,
    )
    fits(len(steps.saves), made.shape, state.dtype)
    records = sum(event.most for event in events if not event.terminal)
    fits(records, made.shape, state.dtype, "a record of events, most of each path,", "give Event a smaller most")
    given.along(made)
    return made._replace(first_lane=given.first_lane(made, state.first_path), noise=given.explicit(made, noise))


def _path(state, system, steps):
    """The path of a run: steps of adaptive size with noise always have one."""
    if state.path is not None or not isinstance(steps, Course) or system.noise == "none" or len(steps.t) == 1:
        return state.path
    return BrownianPath(state.seed, *sorted((steps.t[0], steps.t[-1])))
