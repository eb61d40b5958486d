"""A result whose gradients are computed by a function of ours, with respect to all tensors that went into it."""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

__all__: list[str] = []


class Touched(TorchFunctionMode):
    """Within it, without gradients: collects the tensors that functions of torch are given and that want a gradient."""

    def __init__(self):
        super().__init__()
        self.found, self.made = {}, WeakIdKeyDictionary()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        for tensor in _tensors((*args, *kwargs.values())):
            if tensor.requires_grad and tensor not in self.made:
                self.found.setdefault(id(tensor), tensor)
        result = function(*args, **kwargs)
        if isinstance(result, torch.Tensor) and result.requires_grad:  # of a derivative inside of the drift
            self.made[result] = True
        return result


def _tensors(values):
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)


class Replaced(TorchFunctionMode):
    """Within it functions of torch are given other tensors in place of some, which stay apart from their history."""

    def __init__(self, proxies):
        super().__init__()
        self.proxies = proxies

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*map(self._of, args), **{name: self._of(value) for name, value in (kwargs or {}).items()})

    def _of(self, value):
        if isinstance(value, torch.Tensor):
            return self.proxies.get(id(value), value)
        return type(value)(map(self._of, value)) if type(value) in (tuple, list) else value


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
    """(ends, rest) as make(*inputs) returns them, where gradients of the tensors `ends` are computed by `pull`.

    `make` runs without gradients, on inputs without history. pull(inputs, ends, cotangents of the ends, proxies) gives
    the gradients of the inputs, and leaves those of the parameters that it met in the `grad` of their proxies.
    """
    with torch.no_grad(), Touched() as touched:
        ends, rest = make(*(x.detach() for x in inputs))
    parameters, count, bare = list(touched.found.values()), len(inputs), [end.detach() for end in ends]

    def pullback(saved, cotangents):
        proxies = [p.detach().requires_grad_() for p in saved[count:]]
        cotangents = [torch.zeros_like(end) if c is None else c for c, end in zip(cotangents, bare, strict=True)]
        with torch.enable_grad(), Replaced(dict(zip(map(id, parameters), proxies, strict=True))):
            found = pull([x.detach() for x in saved[:count]], bare, cotangents, proxies)
        return *found, *(p.grad for p in proxies)

    return _Attached.apply(pullback, tuple(ends), *inputs, *parameters), rest
