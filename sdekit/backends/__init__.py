"""Backends: three drivers of the same step, each a record of its options.

numpy()     whole arrays, one step after the other; the oracle.
numba()     CPU, step and noise fused into a vectorised kernel.
torch()     tensors on any device, differentiable.

`solve` picks one by the type of x0 unless it is told: `backend=sdekit.backends.numba(threads=4)`.
"""

import importlib
import sys
from dataclasses import dataclass
from typing import Any

from .. import machine
from ..checks import named
from .waiting import apart

__all__ = ["numba", "numpy", "torch"]

# Each imports its driver where it first runs: numba and torch take seconds.


def kernel_module(name):
    """The module `name` of `sdekit.backends.kernels`, imported out of the reach of Ctrl-C."""
    full = f"{__name__}.kernels.{name}"
    if full not in sys.modules:
        apart(lambda: importlib.import_module(full))
    return importlib.import_module(full)  # waits where another thread is at it


@named
@dataclass(frozen=True)
class numpy:
    """Whole numpy arrays, one step after the other."""

    def run(self, problem):
        from . import adaptive, loop, tree

        return ((tree if problem.path else adaptive) if problem.adaptive else loop).run(problem)


@named
@dataclass(frozen=True)
class numba:
    """Compiled code on the CPU: step and noise fused into one vectorised kernel, blocks of paths on threads.

    threads  default: the CPUs that this process may use, quotas of control groups included.
    """

    threads: int | None = None

    def __post_init__(self):
        threads = self.threads
        if threads is None:
            return
        most = 64 * machine.cpus()
        if type(threads) is not int or not 1 <= threads <= most:
            raise ValueError(f"threads must be an integer from 1 to {most}, or None for all CPUs; got {threads!r}")

    def run(self, problem):
        return kernel_module("adaptive" if problem.adaptive else "run").run(problem, self.threads)


@named
@dataclass(frozen=True)
class torch:
    """torch tensors on any device, differentiable.

    compile   steps in one graph of `torch.compile`, for fixed steps without gradients: fewer passes over the
              states, after some seconds of compiling. On a GPU it makes the normals too, and is one kernel.
    gradient  how gradients are computed: a record of `sdekit.gradients`, or None for backpropagation through the steps.
    """

    compile: bool = False
    gradient: Any = None

    def __post_init__(self):
        if type(self.compile) is not bool:
            raise ValueError(f"compile must be True or False, got {self.compile!r}")
        if self.compile and self.gradient is not None:
            raise ValueError(
                f"compile is True, but compiled steps have no gradients: leave out gradient={self.gradient}"
            )
        if self.gradient is not None and (isinstance(self.gradient, type) or not hasattr(self.gradient, "run")):
            raise ValueError(
                f"gradient must be a record such as sdekit.gradients.checkpointed(every=100), or None for "
                f"backpropagation; got {self.gradient!r}"
            )

    def run(self, problem):
        if self.gradient is not None:
            return self.gradient.run(problem)
        from . import adaptive, tensors, tree

        if self.compile:
            from . import compiled

            return compiled.run(problem)
        return ((tree if problem.path else adaptive) if problem.adaptive else tensors).run(problem)
