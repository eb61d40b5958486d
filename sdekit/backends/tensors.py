"""Tensors: the same loop as numpy's, on any device, differentiable.

Normals for tensors on the CPU are filled in place by the numba generator; on other devices, and in graphs that
`torch.export` traces, `sdekit.noise` makes the same ones, on a GPU by one kernel for every four.
"""

import functools

import numpy as np
import torch

from .. import arrays, machine, noise
from . import kernel_module
from .loop import march


def run(problem):
    """Solve with torch; see `loop.march`."""
    x0 = problem.x0
    if not arrays.is_tensor(x0):
        raise ValueError("backend torch takes tensors; give x0 as a torch.Tensor")
    return march(problem, rows(problem))


def rows(problem, again=False):
    """The function (n, count, stream) -> normals (count, lanes) of a problem; `again` into the same memory."""
    filled = problem.x0.device.type == "cpu" and not torch.compiler.is_exporting()
    return _cpu_rows(problem, again) if filled else _device_rows(problem)


def _cpu_rows(problem, again):
    generator = kernel_module("generator")

    dtype = np.float64 if problem.x0.dtype == torch.float64 else np.float32

    def room(count, stream):
        return np.empty((count, problem.lanes), dtype)  # numpy's: transforms of torch.func wrap tensors that they make

    room = functools.cache(room) if again else room  # for the pages of new memory the system takes as long as a step

    def rows(n, count, stream):
        z = room(count, stream)
        return torch.from_numpy(generator.rows(z, problem.first_lane, n, problem.seed, stream, machine.cpus()))

    return rows


def _device_rows(problem):
    def rows(n, count, stream):
        return noise.consecutive(problem.first_lane, problem.lanes, n, count, problem.seed, stream, problem.x0)

    return rows
