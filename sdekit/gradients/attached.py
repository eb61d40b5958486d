"""A result whose gradients are computed by a function of ours, with respect to all tensors that went into it."""

import contextlib
import dataclasses

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from ..backends import loop

__all__: list[str] = []


class Touched(TorchFunctionMode):
    """Within it, without gradients: collects the tensors that functions of torch are given and that want a gradient."""

    def __init__(self):
        super().__init__()
        self.found, self.made = {}, WeakIdKeyDictionary()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self._look(args)
        if kwargs:
            self._look(kwargs.values())
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.requires_grad:  # of a derivative inside of the drift
            self.made[result] = True
        return result

    def _look(self, values):
        for value in values:
            if isinstance(value, torch.Tensor):
                if value.requires_grad and id(value) not in self.found and value not in self.made:
                    self.found[id(value)] = value
            elif isinstance(value, (tuple, list)):
                self._look(value)


class Replaced(TorchFunctionMode):
    """Within it functions of torch are given other tensors in place of some, which stay apart from their history."""

    def __init__(self, proxies):
        super().__init__()
        self.proxies = proxies

    def __torch_function__(self, function, types, args=(), kwargs=None):
        args = self._of(args)
        return function(*args, **{name: self._of((value,))[0] for name, value in kwargs.items()} if kwargs else {})

    def _of(self, values):
        get = self.proxies.get
        return [
            get(id(v), v) if isinstance(v, torch.Tensor) else type(v)(self._of(v)) if type(v) in (tuple, list) else v
            for v in values
        ]


class _Attached(torch.autograd.Function):
    @staticmethod
    def forward(ctx, pullback, ends, *inputs):
        ctx.pullback = pullback
        ctx.save_for_backward(*inputs)
        return ends

    @staticmethod
    def backward(ctx, *cotangents):
        if torch.is_grad_enabled():
            raise ValueError(
                "create_graph=True asks for second derivatives, which this gradient policy does not have; leave "
                "gradient out, or use sdekit.gradients.checkpointed(every) on fixed steps"
            )
        return None, None, *ctx.pullback(ctx.saved_tensors, cotangents)


def attached(make, pull, *inputs):
    """(ends, rest) as make(touched, *inputs) returns them, where gradients of the tensors `ends` are those of `pull`.

    `make` runs without gradients, on inputs without history, and within `touched` where it uses the process.
    pull(inputs, ends, cotangents of the ends, leaves, replaced) gives the gradients of the inputs and those of the
    leaves, None for zero, which stand for the parameters of the process within `replaced`.
    """
    touched = Touched()
    with torch.no_grad():
        ends, rest = make(touched, *(x.detach() for x in inputs))
    parameters, count, bare = list(touched.found.values()), len(inputs), [end.detach() for end in ends]

    def pullback(saved, cotangents):
        leaves, replaced = _stand_ins(parameters, saved[count:])
        cotangents = [torch.zeros_like(end) if c is None else c for c, end in zip(cotangents, bare, strict=True)]
        return pull([x.detach() for x in saved[:count]], bare, cotangents, leaves, replaced)

    return _Attached.apply(pullback, tuple(ends), *inputs, *parameters), rest


def _stand_ins(parameters, saved):
    """(tensors to differentiate by, within what): the parameters themselves, unless history or hooks hang on them."""
    if all(p.is_leaf and not p._backward_hooks for p in parameters):
        return parameters, contextlib.nullcontext()
    proxies = [p.detach().requires_grad_() for p in saved]
    return proxies, Replaced(dict(zip(map(id, parameters), proxies, strict=True)))


def added(sums, found):
    """Gradients and more of them, where None is zero; a list."""
    return [g if s is None else s if g is None else s + g for s, g in zip(sums, found, strict=True)]


def watched(problem, touched):
    """The problem with steps taken within `touched`; nothing else of the loop over them uses the process."""
    step = problem.method.step
    with touched:
        loop.with_own(problem)

    def within(*args):
        with touched:
            return step(*args)

    return problem._replace(method=dataclasses.replace(problem.method, step=within))


def equation(problem, replaced):
    """The `Equation` of the problem, its array parameters as `replaced` has them."""
    with torch.enable_grad(), replaced:
        return loop.with_own(problem)
