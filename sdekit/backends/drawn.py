"""The normals of a graph, made from their counters within it: what a GPU runs, in one kernel with the steps."""

from typing import Any, NamedTuple

import torch

from .. import noise

__all__: list[str] = []


class Counters(NamedTuple):
    """Where the normals of a chunk are: 0-d tensors of int64, and a correlation's factor or None."""

    number: Any  # of its first step
    lane: Any  # the first
    key: tuple
    factor: Any


def counters(problem):
    """The `Counters` of the first chunk of a problem."""
    device, correlation = problem.x0.device, problem.system.correlation
    numbers = problem.first_step, problem.first_lane, *noise.key(problem.seed)
    number, lane, *key = (torch.tensor(n, dtype=torch.int64, device=device) for n in numbers)
    return Counters(number, lane, tuple(key), None if correlation is None else torch.as_tensor(correlation).to(device))


def normals(form, counters, like):
    """For each step of a chunk the list of its standard normals, made from their counters."""
    like = like[0] if form.apart else like
    lanes = counters.lane + torch.arange(form.lanes, device=like.device)
    m, made = max(1, form.channels), {}
    for stream in dict.fromkeys(form.streams):
        made[stream] = _rows(form, counters, lanes, form.streams.count(stream) * m, stream, like)
    for i in range(form.steps):
        drawn = []
        for j, stream in enumerate(form.streams):
            first = i * form.streams.count(stream) * m + form.streams[:j].count(stream) * m
            drawn.append(_dw(form, counters.factor, made[stream][first : first + m]))
        yield drawn


def _rows(form, counters, lanes, per_step, stream, like):
    """The normals of a stream for the steps of a chunk, of which each takes so many."""
    first = counters.number * per_step
    count = per_step * form.steps
    groups = count // 4 if count % 4 == 0 else (count + 2) // 4 + 1
    rows = []
    for group in range(groups):
        rows += noise.quad(lanes, (first >> 2) + group, counters.key, stream, like)
    if count % 4 == 0:
        return rows
    at = first & 3  # a single step may begin at any of a counter's words
    return [_chosen(at, rows[i : i + 4]) for i in range(count)]


def _chosen(at, rows):
    """Of four rows, or those that are left, that with the number `at`."""
    value = rows[0]
    for i, row in enumerate(rows[1:], 1):
        value = torch.where(at == i, row, value)
    return value


def _dw(form, factor, rows):
    """Rows of normals as a step takes them, as `loop.as_dw` makes them."""
    rows = [row.reshape(form.shape) for row in rows]
    if factor is not None:
        rows = [sum(factor[i, j] * rows[j] for j in range(i + 1)) for i in range(len(rows))]
    if not form.channels:
        return rows[0]
    return rows if form.apart else torch.stack(rows, -1 if form.last else 0)
