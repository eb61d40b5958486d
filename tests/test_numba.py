"""The compiled backend: the same bits for any threads, split and cut; the same path as the other backends."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from backends import begin

import sdekit as sk

REFERENCE = {"backend": sk.backends.numpy()}


class Fan(NamedTuple):
    """One component with three noises that depend on it."""

    noise = "general"

    def drift(self, t, x):
        return -x

    def diffusion(self, t, x):
        return ((0.5, 0.1 * x, 0.2 * t),)


@sk.method(streams=(0, 2, 2), drifts=1)
def corrected(sde, t, t1, x, h, dw, da, db):
    """Draws from the path and twice from the corrector's stream."""
    x = x + sde.drift(t, x) * h + sde.noise(t, x, dw)
    return x + 0.5 * da - 0.25 * db


# name: process, method, start of one path; scalar and coupled lanes, one to three draws, one to three channels
CASES = {
    "entries": (sk.OU(), sk.euler_maruyama, ()),
    "two normals": (sk.OU(sigma=0.3), sk.sra1, ()),
    "correctors": (sk.OU(), corrected, ()),
    "components": (sk.Lorenz(), sk.heun, (3,)),
    "components, correctors": (sk.Lorenz(), corrected, (3,)),
    "matrix": (sk.Heston(), sk.euler_maruyama, (2,)),
    "channels": (Fan(), sk.euler_maruyama, ()),
}
each_case = pytest.mark.parametrize("case", CASES)
TS = [0.0, 0.05, 0.11]


def starts(case, shape):
    process, method, state = CASES[case]
    x0 = np.random.default_rng(1).uniform(0.5, 1.5, size=(*shape, *state))
    return process, method, x0


def run(process, x0, method, **how):
    return sk.solve(process, x0, TS, method, h=0.01, seed=11, **how).x


@each_case
def test_threads_change_no_bit(case):
    """7,000 paths are 28 blocks: several for each of 7 threads."""
    process, method, x0 = starts(case, (7000,))
    one = run(process, x0, method, backend=sk.backends.numba(1))
    for threads in (2, 7):
        np.testing.assert_array_equal(run(process, x0, method, backend=sk.backends.numba(threads)), one)


@each_case
def test_splits_of_the_batch_change_no_bit(case):
    process, method, x0 = starts(case, (700,))
    whole = run(process, x0, method)
    for a, b in ((0, 1), (0, 256), (1, 257), (255, 258), (300, 700), (699, 700), (13, 14)):
        np.testing.assert_array_equal(
            run(process, x0[a:b], method, first_path=a, backend=sk.backends.numba(3)), whole[:, a:b]
        )


@each_case
def test_splits_over_several_path_axes(case):
    process, method, x0 = starts(case, (5, 3, 40))
    whole = run(process, x0, method)
    flat = run(process, x0.reshape(600, *x0.shape[3:]), method)
    np.testing.assert_array_equal(whole.reshape(flat.shape), flat)
    for a, b in ((0, 2), (2, 5), (4, 5)):
        np.testing.assert_array_equal(run(process, x0[a:b], method, first_path=a), whole[:, a:b])


@each_case
def test_a_cut_run_changes_no_bit(case):
    """Cut at every step, before and after the chunks of four and eight steps that share their counters."""
    process, method, x0 = starts(case, (300,))
    grid = np.linspace(0, 0.2, 19)
    whole = sk.solve(process, begin(x0, 2, seed=5), grid, method, grid=grid).x
    for cuts in ([1, 2, 3], [5, 9], [7], list(range(1, 18))):
        x = x0
        for a, b in zip([0, *cuts], [*cuts, 18]):
            x = sk.solve(process, begin(x, 2 + a, seed=5), None, method, grid=grid[a : b + 1]).final
            np.testing.assert_array_equal(x, whole[b])


@each_case
def test_repeating_a_run_changes_no_bit(case):
    process, method, x0 = starts(case, (300,))
    np.testing.assert_array_equal(run(process, x0, method), run(process, x0, method))
    assert (run(process, x0, method)[-1] != sk.solve(process, x0, TS, method, h=0.01, seed=12).x[-1]).any()


@each_case
def test_backends_follow_the_same_path(case):
    """Generated noise to rounding, explicit noise to 1e-12."""
    torch = pytest.importorskip("torch")
    process, method, x0 = starts(case, (30,))
    steps = sk.solve(process, x0, TS, method, h=0.01, seed=0).steps
    m = {"matrix": 2, "channels": 3}.get(case)
    dw = x0.shape if m is None else (30, m)
    z = np.random.default_rng(2).normal(size=(steps, *dw) if method.normals == 1 else (method.normals, steps, *dw))
    for noise in (None, z):
        ours, oracle = (run(process, x0, method, noise=noise, **how) for how in ({}, REFERENCE))
        tensors = run(process, torch.as_tensor(x0), method, noise=noise).numpy()
        np.testing.assert_allclose(ours, oracle, rtol=1e-12)
        np.testing.assert_allclose(tensors, oracle, rtol=1e-12)


@pytest.mark.parametrize("case", ["entries", "components"])
def test_single_and_double_follow_the_same_path(case):
    """Normals differ by at most 3e-4 where u is next to 1 (rare), steps by rounding."""
    torch = pytest.importorskip("torch")
    process, method, x0 = starts(case, (5000,))
    wide = run(process, x0, method)
    single = run(process, x0.astype(np.float32), method)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, wide, atol=5e-4)
    assert np.median(np.abs(single - wide)) < 1e-6
    tensors = run(process, torch.as_tensor(x0).float(), method)
    np.testing.assert_allclose(tensors, single, atol=1e-4)
    np.testing.assert_allclose(run(process, x0.astype(np.float32), method, **REFERENCE), single, atol=1e-4)


def test_bits_in_single_precision():
    x0 = np.random.default_rng(1).uniform(0.5, 1.5, size=3000).astype(np.float32)
    whole = run(sk.OU(), x0, sk.euler_maruyama, backend=sk.backends.numba(1))
    np.testing.assert_array_equal(run(sk.OU(), x0, sk.euler_maruyama, backend=sk.backends.numba(7)), whole)
    np.testing.assert_array_equal(run(sk.OU(), x0[300:777], sk.euler_maruyama, first_path=300), whole[:, 300:777])


def test_parameters_per_path_change_no_bit():
    """The split sweep reads the parameters of its own rows, in blocks that start elsewhere."""
    theta, x0 = np.linspace(0.5, 2, 700), np.ones(700)
    whole = run(sk.OU(theta=theta), x0, sk.euler_maruyama, backend=sk.backends.numba(2))
    part = run(sk.OU(theta=theta[300:]), x0[300:], sk.euler_maruyama, first_path=300)
    np.testing.assert_array_equal(part, whole[:, 300:])
    for i in (0, 255, 256, 699):
        one = run(sk.OU(theta=float(theta[i])), x0[:1], sk.euler_maruyama, first_path=i)
        np.testing.assert_allclose(one[:, 0], whole[:, i], rtol=1e-14)


def test_looks_do_not_change_the_path():
    """More looks on the same grid: the same states there."""
    grid = np.linspace(0, 1, 41)
    every = sk.solve(sk.OU(), np.ones(300), grid, grid=grid, seed=1).x
    some = sk.solve(sk.OU(), np.ones(300), grid[[0, 3, 4, 17, 40]], grid=grid, seed=1).x
    np.testing.assert_array_equal(some, every[[0, 3, 4, 17, 40]])
    np.testing.assert_array_equal(sk.solve(sk.OU(), np.ones(300), grid=grid, seed=1).x[0], every[-1])


def test_the_law_of_many_paths():
    """OU against its transition: mean and variance of 2e6 paths within 5 standard errors; fails once in 1e6 seeds.

    Euler–Maruyama's own law is exact: mean (1 − h)^n x0, variance h Σ (1 − h)^2i.
    """
    n, h, steps = 2_000_000, 0.01, 50
    x = sk.solve(sk.OU(), np.float32(1), [0, h * steps], h=h, paths=n, seed=6).x[-1].astype(np.float64)
    mean, var = (1 - h) ** steps, h * sum((1 - h) ** (2 * i) for i in range(steps))
    assert abs(x.mean() - mean) < 5 * math.sqrt(var / n)
    assert abs(x.var() - var) < 5 * var * math.sqrt(2 / n)
