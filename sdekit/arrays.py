"""The few array operations that numpy and torch spell differently. torch is used only once it is imported."""

import sys

import numpy as np


def is_tensor(x):
    if isinstance(x, (float, np.ndarray)):  # torch takes ten times as long to say so
        return False
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def concrete(x):
    """Whether the values of x may be looked at: not where `torch.func.vmap` maps or a compiler traces."""
    if is_tensor(x) and torch().compiler.is_compiling():
        return False
    while is_tensor(x) and (functorch := torch()._C._functorch).is_functorch_wrapped_tensor(x):
        if functorch.is_batchedtensor(x):
            return False
        x = functorch.get_unwrapped(x)
    return True


def is_number(x):
    """Whether `x` is one number of a type of numpy's, which floating-point arrays take the type of."""
    return isinstance(x, (np.generic, np.ndarray)) and x.ndim == 0 and x.dtype.kind in "iuf"


def single(x):
    """Whether x is one number: Python's, or a tensor without axes, as times are in compiled steps."""
    return isinstance(x, (int, float)) or (is_tensor(x) and not x.ndim)


def is_real(x):
    """Whether `x` is a real number or an array or tensor of real numbers: no bool, list, mask, date or text."""
    if is_tensor(x):
        return not x.is_complex() and x.dtype != torch().bool
    plain = isinstance(x, (int, float, np.generic, np.ndarray)) and not isinstance(x, (np.ma.MaskedArray, np.matrix))
    return plain and np.asarray(x).dtype.kind in "iuf"


def holds(condition):
    """Whether a condition holds in every entry.

    It is assumed of tensors that cannot be looked at: on a device, which would be waited for, or inside
    `torch.func.vmap`.
    """
    if condition is True or condition is False:
        return condition
    if not is_tensor(condition):
        return bool(condition.all() if hasattr(condition, "all") else condition)
    return not at_hand(condition) or bool(condition.all())


def at_hand(x):
    """Whether the values of x may be looked at without waiting for a device."""
    return not is_tensor(x) or (x.device.type == "cpu" and concrete(x))


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


def joined(items):
    """Arrays one behind the other along their only axis."""
    return torch().cat(tuple(items)) if is_tensor(items[0]) else np.concatenate(items)


def filled(like, value):
    """An array of one number, float64 or int64, in the shape of `like`, on its device."""
    if is_tensor(like):
        dtype = torch().float64 if isinstance(value, float) else torch().int64
        return torch().full(like.shape, value, dtype=dtype, device=like.device)
    return np.full(like.shape, value)


def arange(n, like):
    """0 … n − 1, on the device of `like`."""
    return torch().arange(n, device=like.device) if is_tensor(like) else np.arange(n)


def nowhere(shape, like):
    """A mask of `shape` that holds nowhere, on the device of `like`."""
    return like.new_zeros(shape, dtype=torch().bool) if is_tensor(like) else np.zeros(shape, bool)


def empty(shape, like):
    """An array of the type of `like` whose values are not set."""
    return like.new_empty(shape) if is_tensor(like) else np.empty(shape, like.dtype)


def recorded(x):
    """Whether a tensor carries a history: for gradients, or within a transform of `torch.func`."""
    return is_tensor(x) and (x.requires_grad or torch()._C._functorch.is_functorch_wrapped_tensor(x))


def mixed(matrix, x):
    """The matrix, float64, times x along its first axis, in the type of x."""
    if is_tensor(x):
        return torch().tensordot(torch().as_tensor(matrix, dtype=x.dtype, device=x.device), x, 1)
    return np.tensordot(matrix.astype(x.dtype), x, 1)


def to_type(x, dtype):
    """`x` in the element type `dtype` of its library; values beyond its range become infinite."""
    if is_tensor(x):
        return x.to(dtype)
    with np.errstate(over="ignore"):
        return np.asarray(x).astype(dtype, copy=False)


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


def any_of(condition):
    """Whether it holds anywhere, as a bool."""
    return bool(condition.any())


def mean_of(x, axes):
    """The mean over `axes`, which stay with length 1, in float64."""
    return x.mean(axes, keepdim=True) if is_tensor(x) else x.mean(axes, keepdims=True)


def detached(x):
    """x without its history, if it has one."""
    return x.detach() if is_tensor(x) else x


def double(x):
    """x in float64."""
    return x.double() if is_tensor(x) else np.asarray(x, np.float64)


def constant(like, value, dtype=None):
    """An array of one value like `like`, in its element type or in Python's int."""
    if is_tensor(like):
        return torch().full_like(like, value, dtype=torch().int64 if dtype is int else None, requires_grad=False)
    return np.full_like(like, value, dtype=np.int64 if dtype is int else None)


def beside(value, x):
    """A number, array or tensor in the array type, floating-point type and device of x."""
    if is_tensor(x):
        return torch().as_tensor(value, dtype=x.dtype, device=x.device)
    with np.errstate(over="ignore"):
        return np.asarray(on_host(value) if is_tensor(value) else value, x.dtype)


def parameter(value, like, trailing):
    """An array of one value per path in the type of `like`, with `trailing` axes of length 1 behind."""
    value = beside(value, like)
    return value.reshape((*value.shape, *[1] * trailing))


# Functions of `sdekit.math` that torch lacks, or has for tensors alone.


def bounded(name, bound):
    """torch.minimum or torch.maximum, which take no numbers, or the clamp that does."""

    def function(x, y):
        if is_tensor(x) and is_tensor(y):
            return getattr(torch(), name)(x, y)
        return x.clamp(**{bound: y}) if is_tensor(x) else y.clamp(**{bound: x})

    return function


def alike(*values):
    """Numbers beside tensors as tensors of their type."""
    like = next(v for v in values if is_tensor(v))
    return [v if is_tensor(v) else torch().as_tensor(v, dtype=like.dtype, device=like.device) for v in values]


def check_table(xp, fp):
    """Raise unless the knots and values of a table are of one length."""
    if xp.ndim != 1 or xp.shape != fp.shape or not len(xp):
        shapes = f"{tuple(xp.shape)} and {tuple(fp.shape)}"
        raise ValueError(f"xp and fp must be of one length and have one axis, got shapes {shapes}")


def interp_tensors(x, xp, fp):
    """`sdekit.math.interp` where a tensor is among the three."""
    like = next(v for v in (x, xp, fp) if is_tensor(v))
    double = {"dtype": torch().float64, "device": like.device}
    v, xp, fp = (torch().as_tensor(a, **double) for a in (x, xp, fp))
    check_table(xp, fp)
    v = v.clamp(xp[0], xp[-1])
    left = (torch().searchsorted(xp.detach(), v.detach(), right=True) - 1).clamp(min=0)
    right = (left + 1).clamp(max=len(xp) - 1)
    width = xp[right] - xp[left]
    slope = (fp[right] - fp[left]) / torch().where(width > 0, width, 1.0)
    return (fp[left] + slope * (v - xp[left])).to(like.dtype)


# What only numpy and scipy compute: over to the host and back.


def special(name):
    """The function of scipy.special called `name`, imported at its first call."""

    def function(x):
        from scipy import special

        return getattr(special, name)(x)

    return function


def on_host(value):
    """A float64 numpy array of a number, array or tensor."""
    value = value.detach().cpu().double().numpy() if is_tensor(value) else value  # numpy has no bfloat16
    return np.asarray(value, dtype=np.float64)


def like(value, result):
    """A float64 numpy array as what `value` is: a float, an array or a tensor, in its precision."""
    if is_tensor(value):
        return (value if value.is_floating_point() else value.double()).new_tensor(result)
    if isinstance(value, (float, int)):
        return float(result) if result.ndim == 0 else result
    return result.astype(value.dtype, copy=False) if value.dtype.kind == "f" else result


def without_gradient(name, *values):
    """Raises where a value wants a gradient, which is lost on the host."""
    if any(is_tensor(v) and v.requires_grad for v in values) and torch().is_grad_enabled():
        raise ValueError(
            f"{name} is computed on the host, without a gradient; detach its tensors, or use torch.no_grad"
        )
