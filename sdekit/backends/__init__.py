"""Backends: three drivers of the same step. Each is a module with `run(problem)`.

reference   numpy, one step after the other; the oracle.
numba       CPU, step and noise fused into a vectorised kernel.
torch       tensors on any device, differentiable.
"""

import importlib

__all__ = ["numba", "reference", "torch"]


def __getattr__(name):
    # imported where they are first used: numba and torch take seconds
    if name in __all__:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
