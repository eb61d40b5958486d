"""All shipped processes × methods × types on the reference, torch beside it; on numba every one of both once."""

import math
from typing import NamedTuple

import numpy as np
import pytest

import sdekit as sk
from sdekit import methods, processes

REFERENCE = {"backend": sk.backends.numpy()}
EVERY = [getattr(methods, name) for name in methods.__all__]
SAMPLERS = [method for method in EVERY if {"score", "pair"} & {*method.needs}]
METHODS = [method for method in EVERY if method not in SAMPLERS]
DTYPES = [np.float32, np.float64]


class Decay(NamedTuple):
    """An equation without noise."""

    rate: float = 1.5
    noise = "none"
    x0 = 1.0
    domain = (-math.inf, math.inf)

    def drift(self, t, x):
        return (t - self.rate) * x


class Waves(NamedTuple):
    """Additive matrix noise."""

    noise = "general"
    additive = True
    x0 = (1.0, 0.5)
    domain = (-math.inf, math.inf)

    def drift(self, t, x, y):
        return y, -x

    def diffusion(self, t, x, y):
        return (0.5, t, 0.1), (0.0, 0.2, -0.3)


class StratonovichGBM(sk.GBM):
    calculus = "stratonovich"


class StratonovichHeston(sk.Heston):
    calculus = "stratonovich"


CLASSES = [*(getattr(processes, n) for n in processes.__all__), Decay, Waves, StratonovichGBM, StratonovichHeston]
each_process = pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
each_method = pytest.mark.parametrize("method", METHODS, ids=repr)


def kind(cls):
    noise = getattr(cls, "noise", "diagonal")
    return "none" if noise == "none" else "additive" if getattr(cls, "additive", False) else noise


def serves(method, process):
    """Whether the two go together, by what both declare."""
    cls = type(process)
    served = method.noise if method.noise == ("none",) else (*method.noise, "none")
    sense = kind(cls) in ("none", "additive") or getattr(cls, "calculus", "ito") == method.calculus
    if "transition" in method.needs:  # a law, which both calculi share
        return hasattr(cls, "transition") and hasattr(process.transition(*times(process)[:2], 1.0), "sample")
    return kind(cls) in served and sense


def times(process):
    lo, hi = process.domain
    lo, hi = (lo, hi) if math.isfinite(hi - lo) else (0.0, 1.0)
    return [lo + f * (hi - lo) for f in (0.2, 0.3, 0.45)]


def starts(process, dtype):
    """Seven paths (3 × … for one component) around the class's own start."""
    state = np.asarray(type(process).x0, np.float64)
    spread = 1 + 0.1 * np.arange(7.0)
    return (np.multiply.outer(spread, state) + 0.01 * spread.reshape(7, *[1] * state.ndim)).astype(dtype)


def normals(process, method, steps, x0):
    matrix = kind(type(process)) != "none" and getattr(process, "noise", "diagonal") == "general"
    m = len(process.diffusion(0.2, *x0[0])[0]) if matrix else None
    dw = (7, m) if m else x0.shape
    shape = {0: None, 1: (steps, *dw)}.get(method.normals, (method.normals, steps, *dw))
    return None if shape is None else np.random.default_rng(0).normal(size=shape)


def run(process, method, x0, noise=None, **how):
    t = times(process)
    return sk.solve(process, x0, t, method, h=(t[1] - t[0]) / 3, noise=noise, seed=5, **how)


@each_method
@each_process
def test_every_pair_on_the_reference(cls, method):
    """Either it runs, in float32 as in float64, with the claimed cost, or it is refused."""
    process = cls()
    if not serves(method, process):
        with pytest.raises(ValueError, match=f"{method.name}|transition"):
            run(process, method, starts(process, np.float64), **REFERENCE)
        return
    found = [run(process, method, starts(process, dtype), **REFERENCE) for dtype in DTYPES]
    for sol, dtype in zip(found, DTYPES):
        x0 = starts(process, dtype)
        assert sol.x.dtype == dtype and sol.x.shape == (3, *x0.shape)
        assert np.isfinite(sol.x).all() and not sol.failed.any()
        np.testing.assert_array_equal(sol.x[0], x0)
        drifts = method.drifts + method.jacobian * (x0.shape[1] if x0.ndim > 1 else 1)
        begins = method.first_same_as_last + (method is sk.reversible_heun)
        assert sol.steps == 8 and sol.nfe == 8 * drifts + begins
    np.testing.assert_allclose(found[0].x, found[1].x, rtol=2e-3, atol=2e-3 * np.abs(found[1].x).max())


@each_method
@each_process
def test_every_pair_on_torch(cls, method):
    """Against the reference: explicit normals to 1e-12, generated ones to rounding, types kept."""
    torch = pytest.importorskip("torch")
    process = cls()
    if not serves(method, process):
        return
    x0 = starts(process, np.float64)
    noise = normals(process, method, 8, x0)
    want = run(process, method, x0, noise, **REFERENCE)
    got = run(process, method, torch.as_tensor(x0), noise)
    scale = np.abs(want.x).max()
    np.testing.assert_allclose(got.x, want.x, rtol=1e-12, atol=1e-12 * scale)
    assert got.nfe == want.nfe
    generated = run(process, method, torch.as_tensor(x0)).x
    np.testing.assert_allclose(generated, run(process, method, x0, **REFERENCE).x, rtol=1e-10, atol=1e-10 * scale)
    single = run(process, method, torch.as_tensor(x0).float()).x
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, generated, rtol=2e-3, atol=2e-3 * scale)


def compare(process, method):
    """numba against the reference: explicit and generated normals, in float64; float32 follows."""
    x0 = starts(process, np.float64)
    noise = normals(process, method, 8, x0)
    want = run(process, method, x0, noise, **REFERENCE)
    got = run(process, method, x0, noise)
    scale = np.abs(want.x).max()
    np.testing.assert_allclose(got.x, want.x, rtol=1e-12, atol=1e-12 * scale)
    assert (got.nfe, got.steps) == (want.nfe, want.steps) and got.failed.shape == want.failed.shape
    want = run(process, method, x0, **REFERENCE)
    np.testing.assert_allclose(run(process, method, x0).x, want.x, rtol=1e-11, atol=1e-11 * scale)


@each_process
def test_every_process_on_numba(cls):
    method = sk.heun if getattr(cls, "calculus", "ito") == "stratonovich" else sk.euler_maruyama
    compare(cls(), method)


@pytest.mark.parametrize("cls", [sk.OU, sk.Heston], ids=lambda c: c.__name__)
def test_single_precision_on_numba(cls):
    process = cls()
    x0 = starts(process, np.float32)
    got, want = run(process, sk.euler_maruyama, x0).x, run(process, sk.euler_maruyama, x0, **REFERENCE).x
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-5)


SERVED = {"none": Decay, "additive": sk.OU, "diagonal": sk.GBM, "general": Waves}


@each_method
def test_every_method_on_numba(method):
    """On the richest kind of one component that it serves."""
    cls = SERVED[next(k for k in ("diagonal", "additive", "none") if k in method.noise)]
    if cls is sk.GBM and method.calculus == "stratonovich":
        cls = StratonovichGBM
    compare(cls(), method)


@pytest.mark.parametrize("method", [sk.sra1, sk.milstein, sk.sri1w1], ids=repr)
def test_matrix_noise_that_is_additive_on_numba(method):
    compare(Waves(), method)


@pytest.mark.parametrize("method", SAMPLERS, ids=repr)
@pytest.mark.parametrize("cls", [sk.VP, sk.EDM, sk.FlowPath, sk.DiscreteVP], ids=lambda c: c.__name__)
def test_every_sampler_on_both(cls, method):
    """Methods that need a score, backwards in time: types, claimed cost, and torch against the reference."""
    torch = pytest.importorskip("torch")
    process = cls()
    rev = sk.Reverse(process, sk.GaussianMixture([0.4, 0.6], [-1.0, 0.5], stds=0.4).score(process))
    x0 = rev.start((7, 2), seed=1)
    grid = sk.grids.log_snr(process, 5, process.time(-1.5), process.time(1.0))
    shape = (5, 7, 2) if method.normals == 1 else (method.normals, 5, 7, 2)
    noise = np.random.default_rng(0).normal(size=shape) if method.normals else None
    how = {"grid": grid, "method": method, "seed": 5}
    want = sk.solve(rev, x0, noise=noise, **how)
    assert want.nfe == 5 * method.drifts + method.first_same_as_last and np.isfinite(want.x).all()
    got = sk.solve(rev, torch.as_tensor(x0), noise=noise, **how)
    np.testing.assert_allclose(got.x, want.x, rtol=1e-11, atol=1e-11)
    generated = sk.solve(rev, x0, **how).x
    np.testing.assert_allclose(sk.solve(rev, torch.as_tensor(x0), **how).x, generated, rtol=1e-10, atol=1e-10)
    for start in (x0.astype(np.float32), torch.as_tensor(x0).float()):
        single = sk.solve(rev, start, **how)
        assert single.x.dtype == start.dtype and single.nfe == want.nfe
        np.testing.assert_allclose(single.x, generated, rtol=2e-3, atol=2e-3 * np.abs(generated).max())
