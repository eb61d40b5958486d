"""Steps that are taken back: gradients from the state at the end alone."""

import dataclasses
import itertools
from typing import Any, NamedTuple

import torch

from .. import math as sm
from ..backends import loop, tensors
from ..methods import Taken, reversible_heun
from ..methods.reversible import Shadow
from . import pieces
from .attached import added, attached, equation, watched

__all__: list[str] = []

BOUND = {torch.float64: 1e-6, torch.float32: 1e-3}  # of the state that is come back to, relative


class Pair(NamedTuple):
    """What the pair remembers: its second state."""

    x: Any


def run(problem, policy):
    """Solve by the reversible map of the method."""
    base, coupling = problem.method, policy.coupling
    if base is reversible_heun:
        kind, back = Shadow, _half_kicks
    else:
        kind, back = Pair, lambda way, *state: _pair(way, base, coupling, *state)
        problem = problem._replace(method=paired(base, coupling))
    if not isinstance(problem.memory, kind):
        problem = problem._replace(memory=None)
    return pieces.walked(problem, policy.every, lambda piece: _piece(piece, kind, back))


def paired(method, coupling):
    """The method of the pair (y, z), z being its memory; see `sdekit.gradients.reversible`."""

    def step(sde, t, t1, x, h, *rest):
        *dws, (z,) = rest
        y = coupling * (x - z) + stepped(method, sde, t, t1, z, h, dws)
        return Taken(y, memory=Pair(z + (y - stepped(method, sde, t1, t, y, -h, reverse(dws)))))

    drifts = method.drifts and 2 * (method.drifts + method.first_same_as_last)
    return dataclasses.replace(
        method, step=step, init=lambda sde, t, x: Pair(x), drifts=drifts, first_same_as_last=False
    )


def stepped(method, sde, t, t1, x, h, dws):
    """The state behind a step from x."""
    taken = method.step(sde, t, t1, x, h, *dws, *([sde.drift(t, x)] if method.first_same_as_last else []))
    return taken.x if isinstance(taken, Taken) else taken


def reverse(dws):
    """(dW, dZ) of the step in the other direction: ∫(W − W(t1)) dt over |h| is ½ (−dW + dZ/√3)."""
    return [-dws[0], *dws[1:]] if dws else []


def _piece(problem, kind, back):
    """The `Outcome` of some steps, with gradients from its end, by back(way, state, its slope)."""
    x, second = problem.x0, problem.memory.x if problem.memory else loop.inward(problem, problem.x0)
    wanted = [z for z in problem.noise or () if z.requires_grad]

    def make(touched, x, second, *noise):
        given = problem.noise and [z.detach() for z in problem.noise]
        done = tensors.run(watched(problem, touched)._replace(x0=x, memory=kind(second), noise=given))
        return (done.last, done.memory.x), done

    def pull(inputs, ends, cotangents, leaves, replaced):
        noise = [[z.requires_grad_() for z in zs.unbind()] for zs in inputs[2:]]
        begun = problem._replace(x0=inputs[0], noise=noise or problem.noise)
        first, end, slope = (loop.inward(problem, v) for v in (inputs[0], ends[0], cotangents[0]))
        way = _way(begun, replaced, [*itertools.chain(*noise), *leaves], bool(noise), (end, ends[1]))
        slopes = [v if way.good is None else sm.where(way.good, v, 0.0) for v in (slope, cotangents[1])]
        state, slopes = back(way, (end, ends[1]), slopes)
        _compare(way, state, (first, inputs[1]), (end, ends[1]))
        found = iter(way.sums)
        given = [torch.stack([torch.zeros_like(z) if g is None else g for z, g in zip(zs, found)]) for zs in noise]
        return loop.outward(problem, slopes[0]), slopes[1], *given, *found

    ends, done = attached(make, pull, x, second, *wanted)
    return done._replace(last=ends[0], memory=kind(ends[1]))


class Way(NamedTuple):
    """The way back through some steps.

    replaced  within it the process uses the proxies of its parameters
    leaves  what gradients are taken by besides the state: explicit noise and parameters
    sums    these gradients, in a list that grows
    shared  whether products share a history, that of the noise
    good    which paths are finite at the end, or None where all are
    """

    problem: Any
    sde: Any
    replaced: Any
    leaves: list
    sums: list
    shared: bool
    good: Any

    def steps(self):
        """(t, t1, h, dW, …) from the last step to the first; t and t1 as the process sees them."""
        steps = self.problem.steps
        for s, dws in pieces.backwards(self.problem, self.shared):
            yield float(steps.begin[s]), float(steps.end[s]), float(steps.t[s + 1]) - float(steps.t[s]), *dws

    def through(self, function, x, slope):
        """(function(x), its slope at x times `slope`); the share of the leaves goes to their sums."""
        x = x.detach().requires_grad_()
        with torch.enable_grad(), self.replaced:
            value = function(x)
        if not value.requires_grad:
            return value, 0.0
        of_x, *found = torch.autograd.grad(value, [x, *self.leaves], slope, retain_graph=self.shared, allow_unused=True)
        self.sums[:] = added(self.sums, found)
        return value.detach(), 0.0 if of_x is None else of_x

    def held(self, x):
        """x, with the state of a good path in place of those that have failed, whose slopes are 0."""
        return x if self.good is None else sm.where(self.good, x, loop.some_good(self.problem, self.good, x))


def _way(problem, replaced, leaves, shared, ends):
    good = None
    if not all(map(loop.healthy, ends)):
        good = loop.whole(problem, ends[0]) & loop.whole(problem, ends[1])
        good = None if bool(good.all()) else good
    return Way(problem, equation(problem, replaced), replaced, leaves, [None] * len(leaves), shared, good)


def _pair(way, method, coupling, state, slopes):
    """(y, z) and their slopes at the start from those at the end."""
    (y, z), (a, b) = state, slopes
    for t, t1, h, *dws in way.steps():
        y, z = way.held(y), way.held(z)
        end, slope = way.through(
            lambda x, t=t, t1=t1, h=h, dws=dws: stepped(method, way.sde, t1, t, x, -h, reverse(dws)), y, -b
        )
        z, a = z - (y - end), a + b + slope
        end, slope = way.through(lambda x, t=t, t1=t1, h=h, dws=dws: stepped(method, way.sde, t, t1, x, h, dws), z, a)
        y, a = z + (y - end) / coupling, coupling * a
        b = b - a + slope
    return (y, z), (a, b)


def _half_kicks(way, state, slopes):
    """The same of (x, y) of `reversible_heun`, whose step is x += ½ F(t, y), y' = 2 x − y, x += ½ F(t1, y').

    Two halves at one time, of neighbouring steps, are one evaluation.
    """
    (x, y), (a, b) = state, slopes
    after = None  # (t, h, dW) of the step behind

    def kick(t, h, *dws):
        nonlocal x, b
        added, slope = way.through(
            lambda y: way.sde.drift(t, y) * (0.5 * h) + way.sde.noise(t, y, 0.5 * sum(dws[1:], dws[0])), y, a
        )
        x, b = x - added, b + slope

    for t, t1, h, dw in way.steps():
        if after is not None and after[0] != t1:  # a jump between
            kick(*after)
            after = None
        kick(t1, h + (after[1] if after else 0.0), dw, *(after[2:] if after else ()))
        y, a, b = way.held(x + (x - y)), a + b + b, -b  # sums, which cost less than products with numbers
        x, after = way.held(x), (t, h, dw)
    kick(*after)
    return (x, y), (a, b)


def _compare(way, state, start, ends):
    """Raise where the way back does not lead to the start."""
    bound = BOUND.get(start[0].dtype, 1e-3)
    start, ends = ([v if way.good is None else sm.where(way.good, v, 0.0) for v in pair] for pair in (start, ends))
    scale = max(float(abs(v).max()) for v in start) or max(float(abs(v).max()) for v in ends)
    apart = [v - w if way.good is None else sm.where(way.good, v - w, 0.0) for v, w in zip(state, start, strict=True)]
    error = max(float(abs(v).max()) for v in apart) / (scale or 1.0)
    if not error <= bound:
        n = len(way.problem.steps)
        raise ValueError(
            f"gradient is reversible, but {n:,} steps back the state is off by {error:.1e} of its size, more than "
            f"{bound:g}: contracting equations expand on the way back. Keep states with every={max(1, n // 10)} say, "
            f"or use gradient=sdekit.gradients.checkpointed(every)"
        )
