"""Compiled steps beside eager ones, and the graphs that are made on the way."""

import numpy as np

import sdekit as sk
from tests.backends import Later

torch = Later("torch")

COMPILED = sk.backends.torch(compile=True)
STEPS = {"ts": [0, 0.2, 0.25, 0.4], "h": 0.05, "seed": 2**40 + 7}  # one chunk of four, and single steps around


def graphs():
    from torch._dynamo.utils import counters

    return counters["stats"]["unique_graphs"]


def compare(process, x0, method=None, **how):
    """The compiled solution, which is that of eager steps to rounding."""
    how = STEPS | how
    eager, ours = (sk.solve(process, x0, method=method, backend=b, **how) for b in (sk.backends.torch(), COMPILED))
    slack = 1e-12 if eager.x.dtype == torch.float64 else 2e-6
    assert ours.x.dtype == eager.x.dtype and ours.nfe == eager.nfe and ours.steps == eager.steps
    assert torch.equal(ours.failed, eager.failed) and torch.equal(ours.x.isnan(), eager.x.isnan())
    there = ~eager.x.isnan()
    scale = float(eager.x[there].abs().max())
    torch.testing.assert_close(ours.x[there], eager.x[there], rtol=0, atol=slack * scale)
    return ours


def start(*shape, device="cpu", dtype=None):
    return torch.linspace(0.5, 1.5, int(np.prod(shape)), device=device, dtype=dtype).reshape(shape)


def methods(samplers):
    found = {n: getattr(sk.methods, n) for n in sk.methods.__all__}
    return {n: m for n, m in found.items() if isinstance(m, sk.methods.Method) and ("pair" in m.needs) == samplers}
