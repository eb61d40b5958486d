"""A `Solution` as x0: the run goes on from its end, to the bit as if it had not been cut."""

import warnings
from typing import NamedTuple

import numpy as np
import pytest
from backends import each_backend
from equations import Mixed, Walk, both

import sdekit as sk

GRID = np.linspace(0, 1, 12)
VP = sk.VP()
SAMPLER = sk.Reverse(VP, sk.Gaussian(mean=np.zeros(2), cov=np.diag([1.0, 0.25])).score(VP), eta=0)


class Blow(NamedTuple):
    """x grows beyond any number where it starts large."""

    noise = "none"

    def drift(self, t, x):
        return 1e3 * x * x


def engine(name):
    return getattr(sk.backends, name)()


def given(name, x0, dtype=None):
    x0 = np.asarray(x0, dtype)
    return pytest.importorskip("torch").as_tensor(x0) if name == "torch" else x0


def same(a, b):
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@each_backend
@pytest.mark.parametrize(
    ("process", "x0", "method"),
    [(sk.OU(), np.ones(5), sk.euler_maruyama), (Walk(), np.ones((5, 2)), both), (Mixed(), np.ones((2, 2)), None)],
    ids=["one", "two normals", "general"],
)
def test_every_cut_leaves_no_trace(name, process, x0, method):
    x0, how = given(name, x0), {"backend": engine(name)}
    whole = sk.solve(process, x0, GRID, method, grid=GRID, seed=5, first_path=3, **how)
    for cut in range(len(GRID)):
        first = sk.solve(process, x0, GRID[: cut + 1], method, grid=GRID[: cut + 1], seed=5, first_path=3, **how)
        rest = sk.solve(process, first, GRID[cut:], method, grid=GRID[cut:], **how)
        same(rest.x, whole.x[cut:])
        assert rest.seed == 5 and rest.steps == 11 - cut and rest.state.step == 11 and rest.state.first_path == 3


@pytest.mark.parametrize("name", ["numpy", "torch"])
@pytest.mark.parametrize("method", [sk.dpmpp_2m, sk.unipc(3), sk.lms(4), sk.deis(3)], ids=repr)
def test_the_memory_goes_along(name, method):
    grid, x0 = sk.grids.log_snr(VP, 8, end=1e-3), given(name, [[0.3, -1.0], [1.5, 0.2]])
    whole = sk.solve(SAMPLER, x0, grid, method, grid=grid, seed=0)
    for cut in range(1, 8):
        first = sk.solve(SAMPLER, x0, grid[: cut + 1], method, grid=grid[: cut + 1], seed=0)
        rest = sk.solve(SAMPLER, first, grid[cut:], method, grid=grid[cut:])
        same(rest.x, whole.x[cut:])
        forgets = sk.solve(SAMPLER, first.final, grid[cut:], method, grid=grid[cut:], seed=0)
        assert cut == 7 or np.abs(np.asarray(forgets.final) - np.asarray(whole.final)).max() > 1e-9


@each_backend
@pytest.mark.parametrize("narrow", ["float16", "bfloat16"])
def test_narrow_results_go_on_in_working_precision(name, narrow):
    torch = pytest.importorskip("torch")
    if name != "torch" and narrow == "bfloat16":
        pytest.skip("numpy has no bfloat16")
    x0 = np.linspace(0.1, 2, 7)
    x0 = torch.as_tensor(x0).to(getattr(torch, narrow)) if name == "torch" else x0.astype(narrow)
    whole = sk.solve(sk.GBM(), x0, GRID, grid=GRID, seed=1, backend=engine(name))
    half = sk.solve(sk.GBM(), x0, GRID[:6], grid=GRID[:6], seed=1, backend=engine(name))
    rest = sk.solve(sk.GBM(), half, GRID[5:], grid=GRID[5:], backend=engine(name))
    assert rest.x.dtype == whole.x.dtype == x0.dtype and half.state.x.dtype != x0.dtype
    assert bool((rest.x == whole.x[5:]).all())
    again = sk.solve(sk.GBM(), half.state.x, GRID[5:], grid=GRID[5:], seed=1, backend=engine(name))
    assert bool((again.x[-1] != whole.x[-1]).any())  # other normals


def test_repeated_paths_sweeps_and_several_times():
    numpy = sk.backends.numpy()
    ou = sk.OU(theta=np.linspace(0, 2, 4))
    whole = sk.solve(ou, np.ones((3, 1)), [0, 0.5, 0.75, 1], h=0.25, seed=2, paths=2, backend=numpy)
    first = sk.solve(ou, np.ones((3, 1)), [0, 0.5], h=0.25, seed=2, paths=2, backend=numpy)
    rest = sk.solve(ou, first, [0.5, 0.75, 1], h=0.25, backend=numpy)
    assert whole.x.shape == (4, 2, 3, 4) and rest.x.shape == (3, 2, 3, 4)
    same(rest.x, whole.x[1:])
    same(first.state.x, first.final)


@each_backend
def test_failed_paths_stay_failed_without_another_warning(name):
    """The second path of two, and a single one without axes."""
    how = {"h": 0.05, "backend": engine(name)}
    for x0, failed in ((np.array([1e-5, 5.0]), [False, True]), (5.0, True)):
        with pytest.warns(RuntimeWarning, match="became non-finite"):
            first = sk.solve(Blow(), given(name, x0), [0, 0.5], sk.euler, **how)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            rest = sk.solve(Blow(), first, [0.5, 0.75, 1], sk.euler, **how)
        assert np.asarray(rest.failed).tolist() == failed
        same(np.isnan(np.asarray(rest.x)), np.broadcast_to(failed, rest.x.shape))


def test_a_path_that_fails_later_is_warned_of_once():
    first = sk.solve(Blow(), [1e-5, 0.9e-3], [0, 0.5], sk.euler, h=0.05, backend=sk.backends.numpy())
    assert not first.failed.any()
    with pytest.warns(RuntimeWarning, match="1 of 2 paths became non-finite"):
        rest = sk.solve(Blow(), first, [0.5, 5.0], sk.euler, h=0.05, backend=sk.backends.numpy())
    assert rest.failed.tolist() == [False, True]


@pytest.mark.parametrize(
    "more", [{"paths": 2}, {"seed": 0}, {"seed": 5}, {"first_path": 1}, {"noise": np.zeros((2, 3))}], ids=repr
)
def test_what_the_solution_has_is_not_given_again(more):
    first = sk.solve(sk.OU(), np.ones(3), [0, 1], h=0.5, seed=5, backend=sk.backends.numpy())
    with pytest.raises(ValueError, match=f"{next(iter(more))} is given, but x0 is a Solution"):
        sk.solve(sk.OU(), first, [1, 2], h=0.5, backend=sk.backends.numpy(), **more)


def test_it_begins_where_the_solution_ends():
    first = sk.solve(sk.OU(), np.ones(3), [0, 1], h=0.5, seed=5, backend=sk.backends.numpy())
    for how in ({"ts": [0, 1], "h": 0.5}, {"ts": [1.01, 2], "h": 0.5}, {"grid": [0.0, 2.0]}):
        with pytest.raises(ValueError, match=r"(ts|grid) begins at .*, but the solution to go on from ends at 1.0"):
            sk.solve(sk.OU(), first, backend=sk.backends.numpy(), **how)
    rest = sk.solve(sk.OU(), first, [1 + 1e-12, 2], h=0.5, backend=sk.backends.numpy())
    assert rest.t[0] == 1.0


def test_given_normals_are_used_up():
    z = np.ones((2, 3))
    first = sk.solve(sk.OU(), np.ones(3), [0, 1], h=0.5, noise=z, backend=sk.backends.numpy())
    with pytest.raises(ValueError, match="used up; pass x0.final"):
        sk.solve(sk.OU(), first, [1, 2], h=0.5, backend=sk.backends.numpy())
    rest = sk.solve(sk.OU(), first.final, [1, 2], h=0.5, noise=z, backend=sk.backends.numpy())
    whole = sk.solve(sk.OU(), np.ones(3), [0, 1, 2], h=0.5, noise=np.ones((4, 3)), backend=sk.backends.numpy())
    same(rest.final, whole.final)


def test_a_restart_goes_on_from_a_solution():
    reverse, grid = SAMPLER, np.linspace(1.0, 0.1, 7)
    first = sk.solve(reverse, np.ones((3, 2)), grid=grid[:3], method=sk.heun, seed=4)
    assert first.state.step == 2
    rest = sk.restart(reverse, first, grid[2:], sk.heun, [])
    same(rest.final, sk.solve(reverse, np.ones((3, 2)), grid=grid, method=sk.heun, seed=4).final)
    assert rest.steps == 4 and rest.seed == 4
