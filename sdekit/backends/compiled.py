"""Steps in one graph of `torch.compile`: one fused loop on the CPU, one kernel on a GPU.

A chunk is four steps, which the four words of a counter serve, or a single one, where an output time or the end comes
earlier or a step is costly. Times and counters enter as tensors, and so do the numbers that a process of this package
holds: others compile nothing. Paths that are not finite become NaN within the graph, which nobody waits for.

On a device the graph makes its normals from their counters. On the CPU it reads those that the numba generator fills:
torch multiplies 64-bit integers one by one where there is no AVX-512, which made a chunk of OU three times as slow.
"""

import functools
import itertools
import math
import operator
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from .. import arrays
from .. import math as sm
from ..methods.taken import Taken
from ..parts import Parts
from ..problem import Outcome, counted
from ..processes import forms
from ..records import path_parameters, replaced
from . import drawn, guard, loop, recorded, refused, tensors

__all__: list[str] = []

CHUNK = 4
CHEAP = 4  # drifts of a step, of which four are compiled at once
NUMBERS = itertools.count()


class Form(NamedTuple):
    """What a graph is made for: one is compiled for each."""

    step: Callable
    steps: int  # of the chunk
    keeps: bool  # whether a step takes the slope at its start last
    makes: bool  # whether the graph makes its normals
    streams: tuple[int, ...]
    channels: int  # rows of a dw; 0: it has the shape of the state
    lanes: int
    shape: tuple[int, ...]  # of a row
    apart: bool  # whether components are `Parts`
    last: bool  # whether the channels of a dw come last
    axes: tuple[int, ...]  # of one state, where it is one tensor
    kind: tuple  # of process, type and device
    program: Any = None  # of a step that is recorded


def run(problem):
    """Solve with compiled steps."""
    refused.by_compile(problem)
    with torch.no_grad(), refused.explained(problem):
        return _run(problem)


def _run(problem):
    steps, method, chunks = problem.steps, problem.method, {n: form(problem, n) for n in (1, CHUNK)}
    (sde, counter), times, apart = counted(_bound(problem)), _times(problem), chunks[1].apart
    counters = drawn.counters(problem) if chunks[1].makes else None
    records, memory = refused.records(method, problem.system), problem.memory
    host = recorded.numeric(problem.system.process) if records else None
    given = loop.increments(problem, tensors.rows(problem, again=not problem.areas))
    x = loop.inward(problem, arrays.broadcast(problem.x0, problem.shape))
    if method.init is not None and memory is None:
        memory = method.init(sde, float(steps.t[0]), x)
    saved, slope, nfe = loop.Saved(problem), None, counter.count
    if len(steps) and 0 not in x.shape:
        guard.untouched(sde, float(steps.begin[0]), _first_path(problem, x))
    x = tuple(v.contiguous() for v in x) if apart else x.contiguous()
    saved.add(0, _whole(x))
    for a, b in pieces(problem):
        if method.first_same_as_last and (slope is None or steps.begin[a] != steps.t[a]):
            counter.count = 0
            slope = _plain(sde.drift(float(steps.begin[a]), Parts(x) if apart else x))
            nfe += counter.count
        source = counters or [next(given) for _ in range(a, b)]
        if records:
            x, memory, count = _recorded(problem, chunks[1], sde, counter, host, x, memory, a, source)
        else:
            x, slope, count = graph(chunks[b - a])(chunks[b - a], sde, counter, x, slope, times[a:b].clone(), source)
        if counters:
            counters = counters._replace(number=counters.number + (b - a))
        nfe += count
        if b in steps.saves:
            saved.add(b, _whole(x))
        if problem.ticker is not None:
            problem.ticker(b / len(steps))
    return _outcome(problem, _whole(x), saved.all(), memory, nfe)


def _recorded(problem, form, sde, counter, host, x, memory, s, source):
    """(x, memory, evaluations) behind step s, one that is recorded; of the process `host` parameters are numbers."""
    step = recorded.step(problem, host, s, memory)
    form = form._replace(program=step.program)
    new, results, count = graph(form)(form, sde, counter, x, step.held, step.numbers, source)
    return new, step.after(x, results), count


def pieces(problem):
    """(first step, step behind the last) of chunk after chunk."""
    steps, at = problem.steps, 0
    ends = {len(steps), *steps.saves.tolist()}
    if problem.method.first_same_as_last:
        ends |= set((steps.begin != steps.t[:-1]).nonzero()[0].tolist())
    while at < len(steps):
        whole = costs_little(problem) and (problem.first_step + at) % CHUNK == 0
        whole = whole and at + CHUNK <= len(steps) and ends.isdisjoint(range(at + 1, at + CHUNK))
        yield at, (at := at + (CHUNK if whole else 1))


def costs_little(problem):
    """Whether a step takes few operations on each entry of the state: no network, no long tableau."""
    arrays_of = problem.system.components is None and problem.system.event_dims
    return (
        not arrays_of
        and not refused.records(problem.method, problem.system)
        and problem.method.drifts is not None
        and problem.method.drifts <= CHEAP
    )


def form(problem, steps):
    """The `Form` of a chunk of so many steps."""
    system, method, x = problem.system, problem.method, problem.x0
    k, general = system.components, system.noise == "general"
    axes = (0,) if k else tuple(range(len(problem.shape) - system.event_dims, len(problem.shape)))
    return Form(
        step=method.step,
        steps=steps,
        keeps=method.first_same_as_last,
        makes=makes(problem),
        streams=tuple(map(int, method.streams)),
        channels=system.channels if problem.dw_axes else 0,
        lanes=problem.lanes,
        shape=tuple(system.path_shape if problem.dw_axes else problem.shape),
        apart=k is not None and not method.jacobian and not method.columns and not refused.records(method, system),
        last=bool(general and k is None and system.event_dims),
        axes=axes,
        kind=(type(system.process), x.dtype, x.device, tuple(problem.shape), k, system.noise, system.crossing is None),
    )


def makes(problem):
    """Whether the normals of a problem are made in the graph: neither filled by the generator nor given."""
    return problem.x0.device.type != "cpu" and problem.noise is None and problem.path is None and not problem.areas


@functools.lru_cache(256)
def graph(form):
    """The compiled `chunk` or `sample` of a form: code of its own name, by which torch counts compilations."""
    code = (chunk if form.program is None else sample).__code__.replace(co_name=f"chunk_{next(NUMBERS)}")
    return torch.compile(types.FunctionType(code, globals()), fullgraph=True)


def chunk(form, sde, counter, x, slope, times, source):
    """(x, the slope there, evaluations) behind the steps of a chunk.

    x, slope  a tensor, or a tuple of components
    times     (steps, 4): t, t1, h and √|h| of each
    source    `Counters`, or for each step the list of its normals
    """
    counter.count = 0
    x, slope = (Parts(x), slope and Parts(slope)) if form.apart else (x, slope)
    good = finite(form, x)
    for i, noises in enumerate(drawn.normals(form, source, x) if form.makes else source):
        t, t1, h, root = times[i]
        dws = [Parts(z) * root if form.apart and form.channels else z * root for z in noises]
        taken = form.step(sde, t, t1, x, h, *dws, *([slope] if form.keeps else []))
        if isinstance(taken, Taken):
            taken, slope = taken.x, taken.slopes[-1] if form.keeps else None
        x = typed(x, taken)
        good = good & finite(form, x)
    return _plain(kept(form, good, x)), _plain(slope), counter.count


def sample(form, sde, counter, x, held, numbers, source):
    """(x, the results behind it, evaluations) of a step that is recorded, with the memory `held`."""
    counter.count = 0
    noises = next(iter(drawn.normals(form, source, x) if form.makes else source))
    new, *results = recorded.replay(form.program, sde.process, [1.0, x, *held, *noises], numbers)
    good = finite(form, x) & finite(form, new)
    return kept(form, good, new.to(x.dtype)), [v.to(x.dtype) for v in results], counter.count


def typed(before, x):
    """x in the type of the state."""
    if not isinstance(before, Parts):
        return x.to(before.dtype)
    return Parts([v.to(u.dtype) for u, v in zip(before, x)])


def finite(form, x):
    """Which paths are finite, with axes that broadcast against the state."""
    if not form.apart:
        return arrays.all_of(abs(x) < math.inf, form.axes)
    return functools.reduce(operator.and_, [abs(v) < math.inf for v in x])


def kept(form, good, x):
    """x, NaN where the path is not good."""
    return Parts([sm.where(good, v, math.nan) for v in x]) if form.apart else sm.where(good, x, math.nan)


def _first_path(problem, x):
    front = (slice(None),) if problem.system.components else ()
    return x[(*front, *[slice(0, 1)] * len(problem.system.path_shape))]


def _plain(x):
    return x.parts if isinstance(x, Parts) else x


def _whole(x):
    """The state as one tensor, components first."""
    return torch.stack(x) if isinstance(x, tuple) else x


def _bound(problem):
    """The equation with the numbers of shipped processes as float64 tensors, which never promote a state."""
    equation = loop.with_own(problem)
    return equation._replace(process=_with_tensors(equation.process, problem.x0.device))


def _with_tensors(process, device):
    changed = {}
    for name in path_parameters(process):
        value = getattr(process, name)
        if path_parameters(value):
            changed[name] = _with_tensors(value, device)
        elif isinstance(process, forms.Process) and type(value) in (float, int):
            changed[name] = torch.tensor(float(value), dtype=torch.float64, device=device)
    return replaced(process, **changed)


def _times(problem):
    """(steps, 4): where each step begins and ends, as the process sees it, its length h, and √|h|."""
    steps = problem.steps
    h = steps.t[1:] - steps.t[:-1]
    table = np.stack([steps.begin, steps.end, h, np.sqrt(np.abs(h))], 1)
    return torch.from_numpy(table).to(problem.x0.device)


def _outcome(problem, x, rows, memory, nfe):
    """The `Outcome`; a path that failed is found in the first row behind that, or at the end."""
    saves, system = problem.steps.saves, problem.system
    failed = ~loop.whole(problem, x).reshape(system.path_shape)
    step = None
    if bool(failed.any()):
        lost = [s for s, row in zip(saves, rows) if not bool(torch.isfinite(row).all())]
        step = max(0, (lost[0] if lost else len(problem.steps)) - 1)
    last = arrays.to_type(loop.outward(problem, x), problem.x0.dtype)
    return Outcome(rows, last, failed, step, memory, nfe)
