"""The few array operations that numpy and torch spell differently. torch is used only once it is imported."""

import sys

import numpy as np


def is_tensor(x):
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def is_number(x):
    """Whether `x` is one number of a type of numpy's, which floating-point arrays take the type of."""
    return isinstance(x, (np.generic, np.ndarray)) and x.ndim == 0 and x.dtype.kind in "iuf"


def torch():
    """The torch module, which a caller that holds a tensor has imported already."""
    return sys.modules["torch"]


def combined(*terms):
    """Σ c v of terms (c, v): with numbers c and tensors v one pass over memory for each term."""
    (c, v), *rest = terms
    total = c * v
    for c, v in rest:
        if isinstance(c, float) and is_tensor(v) and is_tensor(total):
            total = torch().add(total, v, alpha=c)
        else:
            total = total + c * v
    return total


def stack(items):
    """Arrays of one shape along a new first axis."""
    return torch().stack(tuple(items)) if is_tensor(items[0]) else np.stack(items)


def to_dtype(x, like):
    """`x` in the element type of the array or tensor `like`."""
    return x.to(like.dtype) if is_tensor(like) else x.astype(like.dtype)


def broadcast(x, shape):
    """`x` broadcast to `shape` without copying."""
    return x.expand(shape) if is_tensor(x) else np.broadcast_to(x, shape)


def channels_first(x):
    """The last axis moved to the front."""
    return x.movedim(-1, 0) if is_tensor(x) else np.moveaxis(x, -1, 0)


def channels_last(x):
    """The first axis moved to the end."""
    return x.movedim(0, -1) if is_tensor(x) else np.moveaxis(x, 0, -1)


def all_of(x, axes):
    """Logical and over `axes`, which stay with length 1."""
    for axis in axes:
        x = x.all(axis, keepdim=True) if is_tensor(x) else x.all(axis, keepdims=True)
    return x


def parameter(value, like, trailing):
    """An array of one value per path in the type of `like`, with `trailing` axes of length 1 behind."""
    if is_tensor(like):
        value = torch().as_tensor(value, dtype=like.dtype, device=like.device)
    else:
        value = np.asarray(value.detach().cpu() if is_tensor(value) else value, dtype=like.dtype)
    return value.reshape((*value.shape, *[1] * trailing))
