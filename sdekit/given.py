"""The noise of a run: where its counters begin, or what `solve` is given: an array of normals, or a Brownian path."""

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
            f"noise is {path}, but {method.name} takes "
            f"{'other normals than its increments and areas' if method.normals else 'no normals'}; leave it out"
        )
    if problem.areas:
        raise ValueError(
            f"noise is {path}, which has no Lévy areas, but {method!r} takes those of the {problem.areas} noises of "
            f"{problem.system.name}; leave it out, or declare commutative = True where they commute"
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
    if problem.areas and tuple(noise.shape) == (draws + problem.areas, steps, *problem.dw_shape):
        return noise
    if tuple(noise.shape) != shape:
        raise ValueError(
            f"noise has shape {tuple(noise.shape)}, but {steps} steps of {problem.method.name} take {shape}"
        )
    return noise.reshape(draws, steps, *problem.dw_shape)


def first_lane(problem, first_path):
    """The index of the first lane; raises where lanes or normals could not be counted."""
    shape = problem.system.path_shape
    lane = first_path * (problem.lanes // shape[0] if shape and shape[0] else problem.lanes)
    if lane + problem.lanes >= 2**63:
        raise ValueError(f"first_path is {first_path}, but lanes are counted in 63 bits; use a smaller one")
    streams = problem.method.streams
    per_step = max(map(streams.count, streams), default=0) * problem.system.channels
    per_step = max(per_step, 4 * (problem.areas > 0))
    if (problem.first_step + len(problem.steps)) * per_step > 2**34:
        raise ValueError(
            f"{len(problem.steps)} steps after {problem.first_step} take {per_step} normals each of a path's 2**34; "
            f"take fewer steps, or begin anew with another seed"
        )
    return lane
