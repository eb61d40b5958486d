"""The three backends as tests call them: numpy in, numpy out."""

import dataclasses

import numpy as np
import pytest

import sdekit as sk

NAMES = ("numba", "numpy", "torch")
each_backend = pytest.mark.parametrize("name", NAMES)


def solve(name, process, x0, *args, **kwargs):
    """`sdekit.solve` on the backend of this name; arrays of the solution as numpy arrays."""
    if name == "torch":
        torch = pytest.importorskip("torch")
        x0 = torch.as_tensor(np.asarray(x0, None if hasattr(x0, "dtype") else np.float64))
        sol = sk.solve(process, x0, *args, **kwargs)
        return dataclasses.replace(sol, t=sol.t.numpy(), x=sol.x.detach().numpy(), failed=sol.failed.numpy())
    return sk.solve(process, x0, *args, backend=getattr(sk.backends, name)(), **kwargs)
