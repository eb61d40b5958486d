"""The adjoint equation, stepped backwards beside the state by a method of ours."""

import torch

from .. import math as sm
from ..backends import loop, tensors
from ..methods import Taken, heun
from . import pieces
from .attached import attached, equation, watched

__all__: list[str] = []


def run(problem):
    """Solve, with gradients by the adjoint equation from one output time back to the one before."""
    return pieces.walked(problem, None, _piece)


def _piece(problem):
    def make(touched, x):
        done = tensors.run(watched(problem, touched)._replace(x0=x))
        return (done.last,), done

    def pull(inputs, ends, cotangents, leaves, replaced):
        end, slope = loop.inward(problem, ends[0]), loop.inward(problem, cotangents[0])
        if not loop.healthy(end):
            good = loop.whole(problem, end)
            end, slope = sm.where(good, end, loop.some_good(problem, good, end)), sm.where(good, slope, 0.0)
        state = Joint((end, slope, *[0.0] * len(leaves)))
        _, slope, *found = _back(problem._replace(x0=inputs[0]), state, leaves, replaced).parts
        return loop.outward(problem, slope), *(g if isinstance(g, torch.Tensor) else None for g in found)

    (last,), done = attached(make, pull, problem.x0)
    return done._replace(last=last)


def _back(problem, state, leaves, replaced):
    """(x, a, g, …) at the start from those at the end."""
    method = problem.method if problem.system.noise == "none" else heun
    sde = Augmented(problem, equation(problem, replaced), leaves, replaced)
    steps = problem.steps
    for s, dws in pieces.backwards(problem):
        t, t1, h = float(steps.begin[s]), float(steps.end[s]), float(steps.t[s + 1] - steps.t[s])
        slope = [sde.drift(t1, state)] if method.first_same_as_last else []
        taken = method.step(sde, t1, t, state, -h, *[-dw for dw in dws[: method.normals]], *slope)
        state = taken.x if isinstance(taken, Taken) else taken
    return state


class Joint:
    """States, tensors or the number 0, that are added and scaled as one."""

    def __init__(self, parts):
        self.parts = tuple(parts)

    def __add__(self, other):
        if not isinstance(other, Joint):  # the number that no noise is
            return Joint(p + other for p in self.parts)
        return Joint(p + q for p, q in zip(self.parts, other.parts, strict=True))

    __radd__ = __add__

    def __mul__(self, number):
        return Joint(p * number for p in self.parts)

    __rmul__ = __mul__

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + other * -1.0

    def __truediv__(self, number):
        return self * (1.0 / number)


class Augmented:
    """The equation of (x, a, g, …) as steps see one: each part of x's own, and minus its product with a."""

    def __init__(self, problem, sde, leaves, replaced):
        self.sde, self.leaves, self.replaced, system = sde, leaves, replaced, problem.system
        self.silent = system.noise == "none"
        ito = getattr(system.process, "calculus", "ito") == "ito"
        self.channels = _channels(problem) if ito and system.kind in ("diagonal", "general") else ()

    def drift(self, t, state):
        return self._joint(lambda x: self._stratonovich(t, x), state)

    def noise(self, t, state, dw):
        if self.silent:
            return 0.0
        return self._joint(lambda x: self.sde.noise(t, x, dw), state)

    def _joint(self, function, state):
        x, a, *_ = state.parts
        with torch.enable_grad(), self.replaced:
            x = x.detach().requires_grad_()
            value = function(x)
            inputs = [x, *self.leaves]
            found = [None] * len(inputs)
            if value.requires_grad:
                found = torch.autograd.grad(value, inputs, a, allow_unused=True)
        return Joint((value.detach(), *(0.0 if f is None else -f for f in found)))

    def _stratonovich(self, t, x):
        """The drift, less ½ Σ_j (∂g_j/∂x) g_j of an Itô equation."""
        drift = self.sde.drift(t, x)
        for dw in self.channels:
            drift = drift - 0.5 * _along(lambda x, dw=dw: self.sde.noise(t, x, dw), x)
        return drift


def _along(function, x):
    """(∂g/∂x) g of a function g, with a history."""
    value = function(x)
    weight = torch.zeros_like(value).requires_grad_()
    (slope,) = torch.autograd.grad(value, x, weight, create_graph=True, allow_unused=True)
    if slope is None or not slope.requires_grad:
        return 0.0
    return torch.autograd.grad(slope, weight, value, create_graph=True)[0]


def _channels(problem):
    """What to take for dW so that noise(t, x, dW) is g_j, for each j; one number for all where they do not meet."""
    system, x0 = problem.system, problem.x0
    if system.kind == "diagonal":
        return (1.0,)
    whole = system.components is None and system.event_dims
    m = x0.shape[-1] if whole and system.noise == "diagonal" else system.channels
    factor = torch.eye(m) if system.correlation is None else torch.as_tensor(system.correlation)
    ones = [1] * len(system.path_shape)
    shape = (*ones, m) if whole else (m, *ones)
    return tuple(column.to(x0).reshape(shape) for column in factor.T)
