"""The record of a method, families of methods, and the memory of multistep methods."""

import copy
import math
import pickle
from typing import Any, NamedTuple

import numpy as np
import pytest
from backends import each_backend, solve

import sdekit as sk
from sdekit import methods

NAMED = {name: getattr(methods, name) for name in methods.__all__}
EVERY = [*NAMED.values(), sk.langevin(0.16, 2), sk.predictor_corrector(sk.heun, sk.langevin(0.1, 3))]


class Past(NamedTuple):
    """What Adams–Bashforth remembers: the last slope, and how many steps were taken (for the tests)."""

    slope: Any
    steps: Any


def start(sde, t, x):
    return Past(None, 0)


@sk.method(noise="none", order=2, drifts=1, init=start)
def adams_bashforth(sde, t, t1, x, h, past):
    """x' = x + (3 f − f_before) h/2 on equal steps, started with Euler; branches on its memory alone."""
    slope = sde.drift(t, x)
    if past.slope is None:
        return sk.Taken(x + slope * h, memory=Past(slope, 1))
    return sk.Taken(x + (1.5 * slope - 0.5 * past.slope) * h, memory=Past(slope, past.steps + 1))


@sk.method(noise=("none", "additive"), init=lambda sde, t, x: 0.0 * x)
def remembering(sde, t, t1, x, h, dw, kept):
    """Carries half of the last increment along."""
    return sk.Taken(x + dw + 0.5 * kept, memory=dw)


# --- records -------------------------------------------------------------------------------------


def test_names_are_methods():
    assert len(NAMED) == len(set(methods.__all__)) >= 14
    for name, method in NAMED.items():
        assert isinstance(method, sk.Method) and method.name == name and getattr(sk, name) is method
        assert repr(method) == name


@pytest.mark.parametrize("method", EVERY, ids=repr)
def test_methods_pickle_and_copy_to_themselves(method):
    for protocol in (0, pickle.HIGHEST_PROTOCOL):
        assert pickle.loads(pickle.dumps(method, protocol)) is method
    assert copy.copy(method) is method and copy.deepcopy(method) is method


@pytest.mark.parametrize("method", NAMED.values(), ids=repr)
def test_claims_are_consistent(method):
    assert method.calculus in ("ito", "stratonovich")
    assert set(method.noise) <= {"none", "additive", "diagonal", "general"}
    assert method.strong is None or set(method.strong) <= set(method.noise)
    assert (method.noise == ("none",) or "pair" in method.needs) >= (method.normals == 0)
    assert method.normals == 0 or method.noise != ("none",)
    assert method.normals == len(method.streams) and method.drifts >= 0
    with pytest.raises(AttributeError):
        method.order = 7


def test_families_give_the_same_object_for_the_same_parameters():
    assert sk.langevin(0.16, 2) is sk.langevin(0.16, steps=2) is sk.langevin(steps=2, snr=0.16)
    assert sk.langevin() is sk.langevin(None, 1)
    assert sk.predictor_corrector() is sk.predictor_corrector(sk.euler_maruyama, sk.langevin(0.16))
    assert sk.langevin(0.16) is not sk.langevin(0.17)
    assert repr(sk.langevin(0.16, 2)) == "langevin(0.16, 2)" and sk.langevin(0.16, 2).drifts == 2
    assert sk.langevin(0.16, np.int64(2)).streams == sk.langevin(0.16, 2).streams == (2, 2)
    for call, message in (
        (lambda: sk.euler_maruyama(3), "euler_maruyama has no parameters"),
        (lambda: sk.langevin(0.0), "snr must be a real number, above 0"),
        (lambda: sk.langevin(math.nan), "snr must be a real number, above 0"),
        (lambda: sk.langevin(0.16, 0), "steps must be an integer from 1 to .*, got 0"),
        (lambda: sk.langevin(0.16, 1.5), "steps must be an integer from 1 to .*, got 1.5"),
        (lambda: sk.predictor_corrector("heun"), "predictor must be a one-step method, got 'heun'"),
        (lambda: sk.predictor_corrector(sk.heun, adams_bashforth), "corrector must be a one-step method"),
        (lambda: sk.method(noise="scalar"), "noise and strong name kinds"),
        (lambda: sk.method(strong={"all": 1.0}), "noise and strong name kinds"),
        (lambda: sk.method(calculus="Itô"), "calculus must be"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@each_backend
@pytest.mark.parametrize("method", [sk.euler_maruyama, sk.milstein, sk.heun, sk.rk4], ids=repr)
def test_the_claimed_cost_is_the_cost(name, method):
    process = sk.process(lambda t, x: -x, noise="none") if method is sk.rk4 else sk.OU()
    assert solve(name, process, 1.0, [0, 1], method, h=0.25).nfe == 4 * method.drifts


# --- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_a_multistep_method_is_what_the_loop_by_hand_is(name):
    sol = solve(name, sk.process(lambda t, x: t - x, noise="none"), [1.0, 2.0], [0, 0.5, 1], adams_bashforth, h=0.1)
    x, before = np.array([1.0, 2.0]), None
    for i in range(10):
        slope = i / 10 - x
        x = x + 0.1 * (slope if before is None else 1.5 * slope - 0.5 * before)
        before = slope
        if i == 4:
            np.testing.assert_allclose(sol.x[1], x, rtol=1e-13)  # looks do not reset the memory
    np.testing.assert_allclose(sol.x[2], x, rtol=1e-13)
    assert sol.nfe == 10 and type(sol.memory) is Past and sol.memory.steps == 10
    np.testing.assert_allclose(np.asarray(sol.memory.slope), before, rtol=1e-13)


@pytest.mark.parametrize("name", ["numpy", "torch"])
@pytest.mark.parametrize("cuts", [[3], [1, 6], list(range(1, 11))])
def test_a_multistep_run_cut_and_continued(name, cuts):
    grid = np.linspace(0, 1, 12)
    for process, method in ((sk.process(lambda t, x: -x * x, noise="none"), adams_bashforth), (sk.OU(), remembering)):
        whole = solve(name, process, np.ones(3), grid, method, seed=1, grid=grid)
        x, memory = np.ones(3), None
        for a, b in zip([0, *cuts], [*cuts, 11]):
            part = solve(
                name, process, x, grid[a : b + 1], method, seed=1, first_step=a, memory=memory, grid=grid[a : b + 1]
            )
            np.testing.assert_array_equal(part.x[-1], whole.x[b])
            x, memory = part.x[-1], part.memory


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_memory_sees_components_first(name):
    sol = solve(name, sk.Lorenz(sigma=0.0), np.ones((4, 3)), [0, 0.1], remembering, h=0.05, noise=np.ones((2, 4, 3)))
    assert tuple(sol.memory.shape) == (3, 4)


def test_numba_says_that_it_has_no_memory():
    with pytest.raises(ValueError, match="adams_bashforth has a memory, which the numba backend .*; pass x0 as"):
        sk.solve(
            sk.process(lambda t, x: -x, noise="none"), 1.0, [0, 1], adams_bashforth, h=1, backend=sk.backends.numba()
        )


def test_a_user_method_on_all_backends():
    """Five lines, used from all three."""

    @sk.method(strong={"additive": 1.0}, drifts=1)
    def exponential(sde, t, t1, x, h, dw):
        return x + sde.drift(t, x) * (1 - math.exp(-h)) + sde.noise(t, x, dw)

    z = np.random.default_rng(0).normal(size=(4, 3))
    how = {"h": 0.25, "noise": z}
    sols = [solve(name, sk.OU(), np.ones(3), [0, 1], exponential, **how) for name in ("numpy", "numba", "torch")]
    for sol in sols[1:]:
        np.testing.assert_allclose(sol.x, sols[0].x, atol=1e-14)
        assert sol.nfe == 4
