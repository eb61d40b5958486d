"""What targets share: states as columns, weighted means, the types of draws.

Inside, the states are the columns of a matrix (d, B): a value per path then broadcasts as it is,
and numpy's inner loops run over the paths, which are many, and not over d.
"""

from __future__ import annotations

import math

import numpy as np

from .. import arrays
from .. import math as sm
from ..processes import forms
from ..scores import floating, like, path_axes, per_path, weak

TINY = 1e-290  # stands for a variance of zero, so that 0/0 becomes 0


def mix(parts):
    """From (log_k, *values_k): log Σ exp log_k and the means with these weights, in one pass."""
    parts = iter(parts)
    log, *values = next(parts)
    for more, *others in parts:
        top = sm.maximum(log, more)
        new = sm.exp(more - top)
        total = sm.exp(log - top) + new
        log, share = top + sm.log(total), new / total
        values = [a + share * (b - a) for a, b in zip(values, others, strict=True)]
    return log, *values


def columns(score, t, x, d):
    """(x, its states as float64 columns of d values, alpha, sigma), the latter numbers or arrays (B,)."""
    t, x = weak(t), floating(x)
    path = path_axes(x, score.event_dims)
    if math.prod(x.shape[len(path) :]) != d:
        dims = score.event_dims
        raise ValueError(f"x has shape {tuple(x.shape)}; its last {dims} axes must hold {d} values")
    states = x.reshape((math.prod(path), d)).T
    if arrays.is_tensor(x):
        states = states.to(arrays.torch().float64).contiguous()
    else:
        states = states.astype(np.float64, order="C")
    process = score.process
    alpha, sigma = (1.0, 0.0) if process is None else map(weak, process.marginal(t))
    if not (isinstance(alpha, float) and isinstance(sigma, float)):
        alpha, sigma = (per_path(v, path, states) for v in (alpha, sigma))
    return x, states, alpha, sigma


def restore(states, x):
    return like(states.T.reshape(x.shape), x)


def library(x):
    return arrays.torch() if arrays.is_tensor(x) else np


def concatenate(parts, axis):
    return parts[0] if len(parts) == 1 else library(parts[0]).concatenate(parts, axis)


def with_marginal(process):
    return None if process is None else forms.noising(process)


def typed(value, x):
    return value if x is None else like(value, x)


def real_array(value, name):
    """An array of real numbers from an array, a tensor or nested lists; a tensor stays one."""
    try:
        array = value if arrays.is_tensor(value) else np.asanyarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of real numbers: {error}") from None
    if not arrays.is_real(array):
        raise ValueError(f"{name} must be an array of real numbers, got {type(value).__name__} of {array.dtype}")
    return array
