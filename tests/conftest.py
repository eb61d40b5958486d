"""Settings that must be made before numpy and torch load, the device of tensor tests, and graphs without a compiler."""

import functools
import os

# The suite runs one worker per core: a second level of threads would only make them wait.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request):
    """A torch device: the CPU, and a CUDA device where there is one."""
    torch = pytest.importorskip("torch")
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)


@pytest.fixture
def traced(monkeypatch):
    """Graphs are made and counted, and run as they are: the compiler behind is left out."""
    torch = pytest.importorskip("torch")
    from sdekit import noise
    from sdekit.backends import compiled

    monkeypatch.setattr("torch.compile", functools.partial(torch.compile, backend="eager"))
    compiled.graph.cache_clear()
    noise._compiled.cache_clear()
    yield compiled
    compiled.graph.cache_clear()
    noise._compiled.cache_clear()
