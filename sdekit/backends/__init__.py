"""Backends: three drivers of the same step, each a record of its options.

numpy()     whole arrays, one step after the other; the oracle.
numba()     CPU, step and noise fused into a vectorised kernel.
torch()     tensors on any device, differentiable.

`solve` picks one by the type of x0 unless it is told: `backend=sdekit.backends.numba(threads=4)`.
"""

from dataclasses import dataclass

from .. import machine

__all__ = ["numba", "numpy", "torch"]

# Each imports its driver where it first runs: numba and torch take seconds.


@dataclass(frozen=True)
class numpy:
    """Whole numpy arrays, one step after the other."""

    def run(self, problem):
        from . import loop

        return loop.run(problem)


@dataclass(frozen=True)
class numba:
    """Compiled code on the CPU: step and noise fused into one vectorised kernel, blocks of paths on threads.

    threads  default: the CPUs that this process may use, quotas of control groups included.
    """

    threads: int | None = None

    def __post_init__(self):
        threads, most = self.threads, 64 * machine.cpus()
        if threads is not None and (type(threads) is not int or not 1 <= threads <= most):
            raise ValueError(f"threads must be an integer from 1 to {most}, or None for all CPUs; got {threads!r}")

    def run(self, problem):
        from .kernels.run import run

        return run(problem, self.threads or machine.cpus())


@dataclass(frozen=True)
class torch:
    """torch tensors on any device, differentiable.

    compile   steps compiled by torch.compile; not offered yet.
    gradient  how gradients are computed; None: backpropagation through the steps, others are not offered yet.
    """

    compile: bool = False
    gradient: None = None

    def __post_init__(self):
        if self.compile is not False:
            raise ValueError(f"compile is {self.compile!r}, but compiled steps are not offered yet; leave it out")
        if self.gradient is not None:
            raise ValueError(f"gradient is {self.gradient!r}, but only backpropagation, None, is offered yet")

    def run(self, problem):
        from . import tensors

        return tensors.run(problem)
