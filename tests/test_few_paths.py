"""Few paths: blocks as narrow as they are, normals made along the steps, and the bits of whole blocks."""

import functools
import itertools
import threading
from collections import namedtuple
from types import SimpleNamespace
from typing import NamedTuple

import bits
import numpy as np
import pytest
from backends import begin

import sdekit as sk
from sdekit import noise
from sdekit.backends.kernels import run as driver


@pytest.mark.parametrize("name", bits.CASES)
@pytest.mark.parametrize("dtype", bits.TYPES)
def test_narrow_blocks_have_the_bits_of_whole_ones(name, dtype):
    """Paths 0 … 255 of 300 go through one whole block; alone, in parts of 1 to 59, through narrow ones."""
    x0 = bits.start(name, dtype)
    whole = bits.solve(name, x0)
    for a, b in ((0, 1), (1, 3), (3, 10), (10, 25), (30, 89), (240, 270), (299, 300)):
        np.testing.assert_array_equal(bits.solve(name, x0[a:b], first_path=a), whole[:, a:b])


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize(("lanes", "cost"), [(50_000, 768), (200_000, 256), (1_000_000, 1), (300, 10**7)])
def test_threads_take_equal_shares(lanes, cost, threads):
    """As many pieces for each, none of which is more than a block longer than its share."""
    pieces = driver._pieces(SimpleNamespace(lanes=lanes, path=True), cost, threads)
    rounds = max(1, -(-lanes * cost // (driver.TASK * threads)))
    assert len(pieces) <= rounds * threads
    assert max(b - a for a, b in pieces) < lanes / (rounds * threads) + driver.LANES
    assert [pieces[0][0], *(b for _, b in pieces)] == [a for a, _ in pieces] + [lanes]


@pytest.mark.parametrize("name", ["OU", "Lorenz", "OU, sra1"])
def test_a_cut_run_of_few_paths_changes_no_bit(name):
    """Cut within and at the ends of the 1,024 steps of a chunk, of which a run may begin anywhere."""
    process, method, _ = bits.CASES[name]
    x0, grid = bits.start(name, "float64", 3), np.linspace(0, 3, 3001)
    whole = sk.solve(process, begin(x0, 7, seed=5), grid, method, grid=grid).x
    cuts, x = [0, 1, 5, 300, 1017, 1018, 2041, 3000], x0
    for a, b in itertools.pairwise(cuts):
        x = sk.solve(process, begin(x, 7 + a, seed=5), None, method, grid=grid[a : b + 1]).final
        np.testing.assert_array_equal(x, whole[b])


def test_the_normals_of_one_path():
    """Brownian motion of one path: its steps are the normals that `noise.rows` defines, beyond one chunk of 1,024."""
    for lane, first in ((0, 0), (2**32 + 3, 4099)):
        times, x0 = np.arange(2501.0), begin(np.zeros(1), first, seed=7, first_path=lane)
        x = sk.solve(sk.Brownian(), x0, times, grid=times).x[:, 0]
        want = noise.rows(np.array([lane]), first, 2500, 7, noise.Stream.PATH, np.empty(0))[:, 0]
        np.testing.assert_allclose(np.diff(x), want, atol=1e-10)


def test_explicit_normals_of_few_paths():
    z = np.random.default_rng(0).normal(size=(1500, 5))
    x = sk.solve(sk.Brownian(), np.zeros(5), [0, 1500], h=1, noise=z, seed=0).x[-1]
    np.testing.assert_allclose(x, z.sum(0), atol=1e-10)


def test_a_failed_path_among_few():
    """Path 1 blows up in its second step: NaN from there on, the others untouched."""

    class Square(NamedTuple):
        noise = "none"

        def drift(self, t, x):
            return x * x

    with pytest.warns(RuntimeWarning, match=r"1 of 3 paths .* the first by t = 0\.2"):
        sol = sk.solve(Square(), np.array([0.5, 1e100, 0.25]), [0, 0.1, 0.2, 1], sk.euler, h=0.1, seed=0)
    assert sol.failed.tolist() == [False, True, False]
    assert np.isfinite(sol.x[1, 1]) and np.isnan(sol.x[2:, 1]).all() and np.isfinite(sol.x[:, [0, 2]]).all()


def test_small_work_starts_no_thread(monkeypatch):
    """1,000 paths × 10 steps (B12) run where they are called, whatever the number of threads."""
    monkeypatch.setattr(driver, "ThreadPoolExecutor", None)
    sk.solve(sk.OU(), 1.0, [0, 1], h=0.1, paths=1000, seed=0, backend=sk.backends.numba(7))


def test_much_work_of_few_paths_is_shared(monkeypatch):
    """60 paths × 30,000 steps on three threads: blocks of 24, 24 and 12 paths, with the bits of one."""
    seen, bare = set(), driver._share

    def watched(problem, out):
        share, *rest = bare(problem, out)

        def noted(low, high, slot, *counts):
            if high > low:  # an empty call compiles
                seen.add((low, high, threading.current_thread() is threading.main_thread()))
            share(low, high, slot, *counts)

        return noted, *rest

    monkeypatch.setattr(driver, "_share", watched)
    x0 = np.linspace(0, 1, 60)
    how = {"h": 1e-4, "seed": 1}
    shared = sk.solve(sk.OU(), x0, [0, 3], backend=sk.backends.numba(3), **how).x
    assert seen == {(0, 24, False), (24, 48, False), (48, 60, False)}
    np.testing.assert_array_equal(shared, sk.solve(sk.OU(), x0, [0, 3], backend=sk.backends.numba(1), **how).x)


# --- evaluations, states that repeat, and times ----------------------------------------------------


@sk.method(drifts=3)
def thrice(sde, t, t1, x, h, dw):
    raise AssertionError("a step is compiled, and never called to count its evaluations")


@sk.method(drifts=None)
def unsaid(sde, t, t1, x, h, dw):
    return x + sde.drift(t, x + sde.drift(t, x)) * h


def test_evaluations_are_those_of_the_record():
    """B9: n steps of `drifts` evaluations each; where the record says nothing, three steps are looked at."""
    problem = {"equation": None, "method": thrice, "drifts": 3, "steps": range(100_000)}
    assert driver._evaluations(type("Problem", (), problem)) == 300_000
    for steps in (0, 1, 2, 3, 10):
        grid = np.linspace(0, 1, steps + 1)
        assert sk.solve(sk.OU(), np.ones(2), grid=grid, method=unsaid, seed=0).nfe == 2 * steps


class Changed(NamedTuple):
    """The numba backend on a system with other fields."""

    fields: dict

    def run(self, problem):
        return sk.backends.numba(2).run(problem._replace(system=problem.system._replace(**self.fields)))


@pytest.mark.parametrize("shape", [(), (3,), (1, 3), (2, 1), (5, 1, 3), (5, 2, 1), (1, 2, 1), (5, 2, 3)])
def test_states_that_broadcast(shape):
    """x0 repeats along any axes of the paths, inner ones too."""
    for process, event in ((sk.Lorenz(), (3,)), (sk.OU(), ())):
        x0, whole = np.random.default_rng(0).uniform(size=(*shape, *event)), (5, 2, 3, *event)
        want = sk.solve(process, np.broadcast_to(x0, whole), [0, 0.1], h=0.05, seed=3).x
        got = sk.solve(process, x0, [0, 0.1], h=0.05, seed=3, backend=Changed({"path_shape": (5, 2, 3)})).x
        np.testing.assert_array_equal(got, want)


def test_each_time_saved_costs_no_more_than_its_place():
    """B13: all of 200,001 times are saved, in their rows."""
    t = np.linspace(0, 1, 200_001)
    x = sk.solve(sk.Brownian(), np.zeros(2), t, grid=t, seed=4).x
    assert x.shape == (200_001, 2) and (x[0] == 0).all() and (np.diff(x, axis=0) != 0).all()
    some = sk.solve(sk.Brownian(), np.zeros(2), t[[0, 1, 199_999]], grid=t, seed=4).x
    np.testing.assert_array_equal(some, x[[0, 1, 199_999]])


# --- correlated noise ------------------------------------------------------------------------------


@functools.cache
def assets(k):
    """k geometric motions: drift 0.1 x, diffusion 0.2 x."""
    names = [f"x{i}" for i in range(k)]
    members = {"__slots__": ()}
    for name, factor in (("drift", 0.1), ("diffusion", 0.2)):
        values = "".join(f"{factor} * {x}, " for x in names)
        exec(f"def {name}(self, t, {', '.join(names)}):\n    return ({values})", {}, members)
    return type("Assets", (namedtuple("Assets", ()),), members)()


def lower(k, seed=0):
    """The lower factor of a correlation matrix of k channels."""
    rows = np.tril(np.random.default_rng(seed).normal(size=(k, k)))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("paths", [3, 300])
@pytest.mark.parametrize("method", [sk.euler_maruyama, sk.sri1w1], ids=repr)
def test_correlated_normals(paths, method):
    """Every dw and dz of a step is L times independent normals, explicit or of the generator."""
    factor, x0 = lower(3), np.ones((paths, 3))
    how = {"grid": np.linspace(0, 1, 41), "method": method, "seed": 2}
    z = np.random.default_rng(1).normal(size=(method.normals, 40, paths, 3))
    want = sk.solve(assets(3), x0, noise=(z @ factor.T)[0 if method.normals == 1 else slice(None)], **how).x
    given = z[0] if method.normals == 1 else z
    got = sk.solve(assets(3), x0, noise=given, backend=Changed({"correlation": factor}), **how).x
    np.testing.assert_allclose(got, want, rtol=1e-12)
    streams = [noise.rows(np.arange(paths), 0, 120, 2, s, np.empty(0)) for s in method.streams]
    z = np.stack([s.reshape(40, 3, paths).transpose(0, 2, 1) for s in streams]) @ factor.T
    want = sk.solve(assets(3), x0, noise=z[0] if method.normals == 1 else z, **how).x
    got = sk.solve(assets(3), x0, backend=Changed({"correlation": factor}), **how).x
    np.testing.assert_allclose(got, want, rtol=1e-11)


def test_correlated_blocks_narrow_and_whole():
    process, x0, grid = assets(3), np.ones((300, 3)), np.linspace(0, 1, 301)
    how = {"grid": grid, "seed": 2, "backend": Changed({"correlation": lower(3)})}
    whole = sk.solve(process, x0, **how).x
    for a, b in ((0, 1), (7, 30), (255, 300)):
        np.testing.assert_array_equal(sk.solve(process, x0[a:b], first_path=a, **how).x, whole[:, a:b])


def test_thirty_two_correlated_assets():
    """One Euler step of 1 is 1.1 + 0.2 L z."""
    k, factor = 32, lower(32)
    how = {"grid": [0, 1], "seed": 2, "backend": Changed({"correlation": factor})}
    x = sk.solve(assets(k), np.ones((500, k)), **how).x[-1]
    z = noise.rows(np.arange(500), 0, k, 2, noise.Stream.PATH, np.empty(0)).T
    np.testing.assert_allclose(x, 1.1 + 0.2 * z @ factor.T, rtol=1e-12)
    with pytest.raises(ValueError, match="up to 32 components"):
        sk.solve(assets(33), np.ones(33), h=0.1, ts=[0, 1], seed=0, backend=sk.backends.numba())
