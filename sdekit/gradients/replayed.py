"""Adaptive runs of which the accepted steps are recorded, and taken again for the gradient: the grid is what it was."""

from typing import Any, NamedTuple

import torch

from .. import arrays
from ..backends import adaptive
from ..control import Control
from .attached import added, attached

__all__: list[str] = []


class Note(NamedTuple):
    """A step in which some path moved."""

    front: adaptive.Front  # where the paths stood; without states, but for those steps that a part begins with
    leg: int
    counts: Any  # whose step was accepted


def run(problem, every):
    """Solve with steps of adaptive size; the states in front of every so many are kept."""
    return adaptive.run(problem, lambda problem: _march(problem, every))


def _march(problem, every):
    if len(problem.steps.t) == 1:
        return adaptive.steady(problem)
    notes: list[Note] = []

    def make(touched, x):
        with touched:
            return walk(x)

    def walk(x):
        made, front, rows = adaptive.prepared(problem._replace(x0=x))

        def seen(before, after, leg):
            counts = before.t != after.t
            if arrays.any_of(counts):
                notes.append(Note(_noted(before, len(notes) % every == 0), leg, counts))

        front, rows = adaptive.marched(made, front, rows, seen)
        return (front.x, arrays.stack(rows)), (made, front)

    def pull(inputs, ends, cotangents, leaves, replaced):
        with torch.enable_grad(), replaced:
            made, *_ = adaptive.prepared(problem._replace(x0=inputs[0]))
            slope, sums = _pulled(made, notes, every, cotangents, leaves)
        return arrays.channels_last(slope) if problem.system.components else slope, *sums

    x0 = arrays.broadcast(problem.x0, problem.shape)
    (x, rows), (made, front) = attached(make, pull, x0)
    return adaptive.outcome(made, front._replace(x=x), list(rows))


def _noted(front, whole):
    front = front._replace(control=Control(front.control.size, None, None), steps=None, rejected=None, nfe=None)
    return front if whole else front._replace(x=None, slope=None)


def _pulled(made, notes, every, cotangents, leaves):
    """(the slope at the start, gradients by the leaves): one part after the other, backwards from the end."""
    (slope, saved), sums = cotangents, [None] * len(leaves)
    of_drift = None  # the slope of the drift that the step in front of a part has left
    for first in reversed(range(0, len(notes), every)):
        begun = notes[first].front
        x = begun.x.detach().requires_grad_()
        drift = None if begun.slope is None else begun.slope.detach().requires_grad_()
        end, end_drift, rows = _taken(made, notes, first, first + every, x, drift)
        pairs = [(end, slope), (end_drift, of_drift), *zip(rows, saved, strict=True)]
        pairs = [(v, w) for v, w in pairs if v is not None and w is not None and v.requires_grad]
        inputs = [x, x if drift is None else drift, *leaves]
        values, slopes = zip(*pairs, strict=True)
        slope, of_drift, *found = torch.autograd.grad(values, inputs, slopes, allow_unused=True)
        sums = added(sums, found)
    return slope + saved[0], sums


def _taken(made, notes, first, last, x, drift):
    """(x, the drift there, rows) behind the steps first … last − 1."""
    rows = [x.new_zeros(x.shape)] * len(made.course.t)
    for i in range(first, min(last, len(notes))):
        note = notes[i]
        front = note.front._replace(x=x, slope=drift)
        new_leg = i == 0 or (note.leg != notes[i - 1].leg and adaptive.behind_jump(made, front, note.leg))
        if new_leg and drift is not None:
            front = front._replace(slope=adaptive.entered(made, front, note.leg))
        x, drift, rows = adaptive.again(made, front, note.counts, rows, note.leg)
    return x, drift, rows
