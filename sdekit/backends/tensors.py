"""Tensors: the same loop as the reference, on any device, differentiable.

Normals for tensors on the CPU are filled in place by the numba generator; on other devices the
generic source of `sdekit.noise` makes the same ones.
"""

import torch

from .. import arrays, machine, noise
from .loop import march


def run(problem):
    """Solve with torch; see `loop.march`."""
    x0 = problem.x0
    if not arrays.is_tensor(x0):
        raise ValueError("backend torch takes tensors; give x0 as a torch.Tensor")
    out = x0.new_empty((len(problem.looks), *problem.shape), dtype=problem.dtype)
    return march(problem, out, _cpu_rows(problem) if x0.device.type == "cpu" else _device_rows(problem))


def _cpu_rows(problem):
    from .kernels import generator

    def rows(n, count, stream):
        z = torch.empty((count, problem.lanes), dtype=problem.x0.dtype)
        generator.rows(z.numpy(), problem.first_lane, n, problem.seed, stream, machine.cpus())
        return z

    return rows


def _device_rows(problem):
    lanes = problem.first_lane + torch.arange(problem.lanes, device=problem.x0.device)
    return lambda n, count, stream: noise.rows(lanes, n, count, problem.seed, stream, problem.x0)
