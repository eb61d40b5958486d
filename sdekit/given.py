"""Noise that `solve` is given: an array of normals, or a Brownian path."""

import numpy as np

from . import arrays, brownian
from .brownian import BrownianPath
from .checks import array, shown

__all__: list[str] = []


def along(problem):
    """Raise where a path does not have the noise of the method or the times of the steps."""
    path, method = problem.path, problem.method
    if path is None:
        return
    if not method.normals or method.streams not in ((0,), (0, 1)):
        raise ValueError(
            f"noise is {path}, but {method.name} takes {'other normals' if method.normals else 'none'} than a path's "
            f"increments and areas; leave it out"
        )
    ticks = brownian.ticks(path, problem.steps.t, "ts")
    if (np.diff(ticks) == 0).any():
        raise ValueError(f"steps are smaller than the resolution of {path}, {(path.t1 - path.t0) / brownian.TICKS:.3g}")


def explicit(problem, noise):
    """Explicit normals as (draws, steps, *shape of dw), or None."""
    if noise is None or isinstance(noise, BrownianPath):
        return None
    like, draws, steps = problem.x0, problem.method.normals, len(problem.steps)
    if arrays.is_tensor(noise) and not arrays.is_tensor(like):
        raise ValueError("noise is a tensor, but x0 is not")
    if not draws:
        raise ValueError(f"noise is given, but {problem.method.name} on {problem.system.name} takes none; leave it out")
    noise = noise if arrays.is_tensor(noise) else array("noise", noise)
    if not arrays.is_real(noise):
        raise ValueError(f"noise must be an array of standard normals, got {shown(noise)}, {noise.dtype}")
    noise = arrays.beside(noise, like)
    shape = (steps, *problem.dw_shape) if draws == 1 else (draws, steps, *problem.dw_shape)
    if tuple(noise.shape) != shape:
        raise ValueError(
            f"noise has shape {tuple(noise.shape)}, but {steps} steps of {problem.method.name} take {shape}"
        )
    return noise.reshape(draws, steps, *problem.dw_shape)
