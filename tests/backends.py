"""The three backends as tests call them: numpy in, numpy out; and libraries that are imported where they are used."""

import dataclasses
import importlib
import importlib.util
import math

import numpy as np
import pytest

import sdekit as sk
from sdekit.solution import State

NAMES = ("numba", "numpy", "torch")
each_backend = pytest.mark.parametrize("name", NAMES)


def needs(*modules):
    """Skip a test module where one of these is missing; nothing is imported, so that collecting stays quick."""
    for name in modules:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"could not import {name!r}", allow_module_level=True)


class Later:
    """A module that is imported when a test first asks something of it; test modules without it are skipped."""

    def __init__(self, name):
        needs(name)
        self.name = name

    def __getattr__(self, attribute):
        if attribute.startswith("_"):  # what collecting asks
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self.name), attribute)


def begin(x0, first_step=0, memory=None, seed=0, first_path=0):
    """The state of a run that has taken `first_step` steps to x0."""
    return State(x0, math.nan, first_step, seed, first_path, memory)


def solve(name, process, x0, *args, seed=0, first_path=0, first_step=0, memory=None, **kwargs):
    """`sdekit.solve` on the backend of this name; arrays of the solution as numpy arrays."""
    backend = getattr(sk.backends, name)()
    if name == "torch":
        torch = pytest.importorskip("torch")
        x0 = torch.as_tensor(np.asarray(x0, None if hasattr(x0, "dtype") else np.float64))
    if first_step or memory is not None:
        x0 = begin(x0, first_step, memory, seed, first_path)
    else:
        kwargs |= {"seed": seed, "first_path": first_path}
    sol = sk.solve(process, x0, *args, backend=backend, **kwargs)
    if name != "torch":
        return sol
    return dataclasses.replace(sol, t=sol.t.numpy(), x=sol.x.detach().numpy(), failed=sol.failed.numpy())
