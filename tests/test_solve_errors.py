"""What `solve` refuses: the message names the argument, what it was, and what would do."""

import inspect
import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from backends import begin, each_backend, solve

import sdekit as sk

REFERENCE = {"backend": sk.backends.numpy()}


class Multiplied(NamedTuple):
    """Says that its noise is additive, which is not so."""

    additive = True

    def drift(self, t, x):
        return -x

    def diffusion(self, t, x):
        return x


class Odd(NamedTuple):
    noise = "scalar"

    def drift(self, t, x):
        return -x

    def diffusion(self, t, x):
        return x


class Silent(NamedTuple):
    """No diffusion, and no noise = "none"."""

    def drift(self, t, x):
        return -x


class Big(NamedTuple):
    """k components with m noises."""

    m: Any = None

    def drift(self, t, *x):
        return x

    def diffusion(self, t, *x):
        return x


def three(t, x, y, z):
    return x, y, z


def one(t, x, y, z):
    return 1.0


def wide(t, x, y, z):
    return (x, y), (y, z), (z, x)


def ragged(t, x, y, z):
    return (x, y), (y, z), (z,)


def two(t, x, y, z):
    return x, y


def vector(t, x, y, z):
    return x


class Sense(sk.GBM):
    calculus = "stratonovich"


OU, GBM, LORENZ = sk.OU(), sk.GBM(), sk.Lorenz()
ODE = sk.process(lambda t, x: -x, noise="none")
TS = [0.0, 1.0]

REFUSED = {
    # times
    "no times": ((OU, 1.0), {}, "ts is missing"),
    "empty ts": ((OU, 1.0, []), {}, "ts must be a non-empty sequence of times"),
    "a single number": ((OU, 1.0, 1.0), {}, r"ts must be a non-empty sequence of times, got shape \(\)"),
    "a matrix of ts": ((OU, 1.0, [TS, TS]), {}, "ts must be a non-empty sequence"),
    "a word": ((OU, 1.0, "heute früh"), {}, "ts must be a sequence of times, got 'heute früh'"),
    "equal ts": ((OU, 1.0, [0, 1, 1]), {}, "ts must be strictly monotone, got 1.0 followed by 1.0"),
    "back and forth": ((OU, 1.0, [0, 2, 1]), {}, "ts must be strictly monotone, got 2.0 followed by 1.0"),
    "nan in ts": ((OU, 1.0, [0, math.nan]), {}, "ts must be finite, got nan"),
    "infinite ts": ((OU, 1.0, [0, math.inf]), {}, "ts must be finite, got inf"),
    "h zero": ((OU, 1.0, TS), {"h": 0}, "h must be a real number, above 0 and finite, got 0"),
    "h negative": ((ODE, 1.0, [1, 0], sk.euler), {"h": -0.1}, "h must be a real number, above 0 and finite, got -0.1"),
    "h nan": ((OU, 1.0, TS), {"h": math.nan}, "h must be a real number, above 0 and finite, got nan"),
    "h infinite": ((OU, 1.0, TS), {"h": math.inf}, "h must be a real number, above 0 and finite, got inf"),
    "h a word": ((OU, 1.0, TS), {"h": "ε"}, "h must be a real number, above 0 and finite, got 'ε'"),
    "h an array": ((OU, 1.0, TS), {"h": np.ones(1)}, "h must be a real number, above 0 and finite"),
    "h far too small": ((OU, 1.0, TS), {"h": 1e-300}, "h = 1e-300 makes .* steps.* use a larger one"),
    "h and grid": ((OU, 1.0, TS), {"h": 0.1, "grid": TS}, "h and grid are both given"),
    "grid misses": ((OU, 1.0, [0, 0.5, 1]), {"grid": [0, 0.4, 1]}, "grid misses the output time 0.5 .*; add it"),
    "grid too short": ((OU, 1.0, TS), {"grid": [0, 0.5]}, "grid misses the output time 1.0"),
    "grid of one point": ((OU, 1.0, TS), {"grid": [0]}, "grid misses the output time 1.0"),
    "grid backwards": ((OU, 1.0, TS), {"grid": [1, 0]}, "opposite directions"),
    "grid equal": ((OU, 1.0), {"grid": [0, 0]}, "grid must be strictly monotone"),
    "grid nan": ((OU, 1.0), {"grid": [0, math.nan]}, "grid must be finite"),
    "domain": ((sk.VP(), 1.0, [0, 1.5]), {}, r"time 1.5 is outside the domain \[0.0, 1.0\] of VP"),
    "domain of steps": ((sk.VP(), 1.0, [0.5]), {"grid": [-0.5, 0.5]}, "-0.5 is outside the domain"),
    "back with noise": ((GBM, 1.0, [1, 0]), {}, "ts decrease, but the noise of GBM depends on the state"),
    # states
    "nan": ((OU, [1.0, math.nan], TS), {}, "x0 must be finite"),
    "infinite": ((OU, np.inf, TS), {}, "x0 must be finite"),
    "complex": ((OU, 1j, TS), {}, "x0 must hold real numbers, got complex128"),
    "words": ((OU, "größe", TS), {}, "x0 must hold real numbers"),
    "nothing": ((OU, None, TS), {}, "x0 must hold real numbers"),
    "ragged": ((OU, [[1.0], [1.0, 2.0]], TS), {}, "x0 must be a number, an array of one shape"),
    "trailing axis": ((LORENZ, np.ones((3, 4)), TS), {}, r"x0 has shape \(3, 4\), but Lorenz has 3 components"),
    "no axis": ((LORENZ, 1.0, TS), {}, r"x0 has shape \(\), but Lorenz has 3 components"),
    "event axes": (
        (sk.process(lambda t, x: x, noise="none", event_dims=2), np.ones(3), TS, sk.euler),
        {},
        r"x0 has shape \(3,\), but a state of Functions has 2 axes",
    ),
    "room": ((OU, 1.0, TS), {"paths": 10**14}, "takes 745,058 GiB, more than this machine's .*; save at fewer ts"),
    # process and method
    "no process": ((None, 1.0, TS), {}, "process must have the methods drift"),
    "a word for a process": (("π", 1.0, TS), {}, "process must have the methods drift.*got 'π'"),
    "a class": ((sk.OU, 1.0, TS), {}, "process must be an object.*got the class OU"),
    "no diffusion": ((Silent(), 1.0, TS), {}, "Silent declares noise = 'diagonal', but has no diffusion"),
    "kind of noise": ((Odd(), 1.0, TS), {}, "Odd.noise must be one of .*, got 'scalar'"),
    "not additive": ((Multiplied(), 1.0, TS), {}, "Multiplied declares additive = True, but its diffusion depends"),
    "method": ((OU, 1.0, TS, "heun"), {}, "method must be a Method such as .*, got 'heun'; did you mean sdekit.heun"),
    "calculus": ((GBM, 1.0, TS, sk.heun), {}, "heun converges to the stratonovich solution, but GBM is"),
    "calculus the other way": (
        (Sense(), 1.0, TS, sk.euler_maruyama), {}, "euler_maruyama converges to the ito solution, but Sense",
    ),
    "ode method": ((OU, 1.0, TS, sk.rk4), {}, "rk4 serves .* none, but that of OU is additive; .*eta=0"),
    "additive method": ((GBM, 1.0, TS, sk.sra1), {}, "sra1 serves .* none or additive, but that of GBM is diagonal"),
    "diagonal method": ((sk.Heston(), (1.0, 0.1), TS, sk.milstein), {}, "but that of Heston is general"),
    "no transition": ((sk.DoubleWell(), 1.0, TS, sk.exact), {}, "exact needs a process with a method transition"),
    "no compiled sample": (
        (sk.CIR(), 1.0, TS, sk.exact),
        {"backend": sk.backends.numba()},
        "backend numba does not run exact on CIR.* sdekit.backends.numpy",
    ),
    "no score": ((OU, 1.0, TS, sk.langevin), {}, "langevin needs a process with a method score"),
    "one value of three": ((sk.process(three, one), np.ones(3), TS), {}, "must return a tuple of 3 values"),
    "rows, undeclared": ((sk.process(three, wide), np.ones(3), TS), {}, "declares noise = 'diagonal'"),
    "no rows": ((sk.process(three, three, noise="general"), np.ones(3), TS), {}, "3 rows of equal length"),
    "ragged rows": ((sk.process(three, ragged, noise="general"), np.ones(3), TS), {}, "3 rows of equal length"),
    "parameters": ((sk.OU(sigma=np.ones(4)), np.ones(3), TS), {}, r"sigma of OU has shape \(4,\), which does not"),
    "a user's list": ((Big([1.0]), np.ones(2), TS), {}, "m of Big is a list; give a number, or an array"),
    "per component": ((sk.Lorenz(sigma=np.ones(3)), np.ones((2, 3)), TS), {}, r"the path axes \(2,\)"),
    # the rest
    "seed": ((OU, 1.0, TS), {"seed": -1}, "seed must be an integer from 0 to 18446744073709551615, got -1"),
    "seed too large": ((OU, 1.0, TS), {"seed": 2**64}, "seed must be an integer"),
    "seed a word": ((OU, 1.0, TS), {"seed": "π"}, "seed must be an integer .* got 'π'"),
    "seed without normals": ((ODE, 1.0, TS, sk.euler), {"seed": 1.5}, "seed must be an integer .* got 1.5"),
    "paths": ((OU, 1.0, TS), {"paths": 0}, "paths must be an integer >= 1, got 0"),
    "paths a float": ((OU, 1.0, TS), {"paths": 2.0}, "paths must be an integer >= 1, got 2.0"),
    "first_path": ((OU, 1.0, TS), {"first_path": -1}, "first_path must be an integer >= 0, got -1"),
    "first_path too large": ((OU, 1.0, TS), {"first_path": 2**63}, "first_path is 9223372036854775808, but lanes"),
    "too many steps": ((OU, begin(np.ones(1), 2**34), TS), {}, "1 steps after 17179869184 take 1 normals each"),
    "no step size": ((OU, 1.0, TS), {"h": None}, "how to step is not said: give h, .* or grid"),
    "seed a truth value": ((OU, 1.0, TS), {"seed": True}, "seed must be an integer .* got True"),
    "a parameter that is a mask": ((Big(np.array([True])), np.ones(2), TS), {}, "m of Big must hold real numbers"),
    "h complex": ((OU, 1.0, TS), {"h": np.complex64(1j)}, "h must be a real number"),
    "events a number": ((OU, 1.0, TS), {"events": 1}, "events must be a list"),
    "progress": ((OU, 1.0, TS), {"progress": "no"}, "progress must be True or False, got 'no'"),
    "events": ((OU, 1.0, TS), {"events": (1,)}, "events must be a list"),
    "old names": ((OU, 1.0, TS), {"threads": 2}, "no argument 'threads'; did you mean backend=sdekit.backends.numba"),
    "old memory": ((OU, 1.0, TS), {"memory": ()}, "no argument 'memory'; did you mean a Solution as x0"),
    "noise": ((OU, 1.0, TS), {"noise": np.ones(2)}, r"noise has shape \(2,\), but 1 steps of .* take \(1,\)"),
    "noise a word": ((OU, 1.0, TS), {"noise": "weiß"}, "noise must be an array of standard normals"),
    "noise complex": ((OU, 1.0, TS), {"noise": [1j]}, "noise must be an array of standard normals"),
    "backend": ((OU, 1.0, TS), {"backend": "torch"}, "backend must be a record such as .* got .torch."),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    args, kwargs, message = REFUSED[case]
    kwargs = kwargs if {"h", "grid", "tol"} & set(kwargs) else {"h": 1.0, **kwargs}
    kwargs = {k: v for k, v in kwargs.items() if v is not None}
    for engine in ({}, REFERENCE) if "backend" not in kwargs else ({},):
        with pytest.raises(ValueError, match=message):
            sk.solve(*args, **kwargs, **engine)


@pytest.mark.parametrize("threads", [0, 1.5, True, 10**9])
def test_refused_threads(threads):
    """A thread of the pool costs memory: ten to the nine of them gigabytes."""
    with pytest.raises(ValueError, match=f"threads must be an integer from 1 to .* got {threads!r}"):
        sk.backends.numba(threads)


def test_tensors_for_arrays():
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match="backend torch takes tensors; give x0 as"):
        sk.solve(OU, 1.0, TS, h=1, backend=sk.backends.torch(), seed=0)


def test_an_unknown_keyword_is_a_value_error():
    with pytest.raises(ValueError, match="solve has no argument 'dt'; did you mean h"):
        sk.solve(OU, 1.0, TS, dt=0.1, grid=TS, seed=0)


@pytest.mark.parametrize(
    "made, said",
    [
        (lambda: sk.backends.torch(grad=1), "torch has no argument 'grad'; did you mean gradient"),
        (lambda: sk.backends.numba(cores=2), "numba has no argument 'cores'; it has threads"),
        (lambda: sk.backends.numpy(x=2), "numpy has no argument 'x'; it has none"),
        (lambda: sk.gradients.checkpointed(evry=2), "checkpointed has no argument 'evry'; did you mean every"),
        (lambda: sk.gradients.checkpointed(steps=2), "checkpointed has no argument 'steps'; it has every"),
        (lambda: sk.expect(dt=0.1), "expect has no argument 'dt'; it has f, process, x0"),
    ],
)
def test_unknown_options_are_value_errors(made, said):
    with pytest.raises(ValueError, match=said):
        made()


def test_an_equation_without_its_noise_is_named_by_what_is_inside():
    with pytest.raises(ValueError, match=r"but noiseless\(Lorenz\) has 3 components"):
        sk.solve(sk.noiseless(sk.Lorenz()), np.ones((2, 2)), [0, 1], h=0.1)
    inner = sk.noiseless(sk.OU())
    assert inspect.unwrap(inner) is inner and list(inspect.signature(type(inner)).parameters) == ["process"]


@each_backend
@pytest.mark.parametrize("drift", [two, vector, one])
def test_a_drift_with_the_wrong_number_of_values(name, drift):
    """One value, or an array, would broadcast to all components."""
    process = sk.process(drift, lambda t, x, y, z: (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="3 values, one per component"):
        solve(name, process, np.ones((3, 3)), TS, grid=TS)


def test_refused_tensors():
    torch = pytest.importorskip("torch")
    for x0, message in (
        (torch.tensor(1j), "x0 must be real"),
        (torch.tensor([math.nan]), "x0 must be finite"),
        (torch.ones(2, 2).to_sparse(), "x0 must be a dense tensor .*sparse_coo"),
        (torch.ones(2, device="meta"), "x0 must be a dense tensor that holds numbers"),
        ([torch.ones(2, requires_grad=True), torch.ones(2)], "x0 must be a number, an array .*, or one tensor"),
        (torch.ones(2, 4), None),
    ):
        with pytest.raises(ValueError, match=message or r"x0 has shape \(2, 4\), but Lorenz has 3 components"):
            sk.solve(OU if message else LORENZ, x0, TS, grid=TS, seed=0)
    for name in ("numba", "numpy"):
        with pytest.raises(ValueError, match=f"backend {name} takes numpy arrays"):
            sk.solve(OU, torch.ones(2), TS, backend=getattr(sk.backends, name)(), grid=TS, seed=0)
    for noise in (torch.full((1, 2), 1j), np.full((1, 2), 1j), "weiß"):
        with pytest.raises(ValueError, match="noise must be an array of standard normals"):
            sk.solve(OU, torch.ones(2), TS, noise=noise, grid=TS)
    with pytest.raises(ValueError, match=r"noise must be .* one tensor"):
        sk.solve(OU, np.ones(2), TS, noise=[torch.ones(2, requires_grad=True)], grid=TS)
    with pytest.raises(ValueError, match="noise is a tensor, but x0 is not"):
        sk.solve(OU, np.ones(2), TS, noise=torch.ones(1, 2), grid=TS)


@each_backend
def test_the_calculi_agree_where_noise_is_additive(name):
    """No error for a Stratonovich method on an additive Itô process, nor for an ODE, and SDE methods serve ODEs."""
    solve(name, OU, 1.0, TS, sk.heun, grid=TS)
    sol = solve(name, ODE, 1.0, TS, sk.heun, h=0.01)
    assert sol.x[-1] == pytest.approx(math.exp(-1), rel=1e-4)


def matrix(k, m):
    source = ", ".join(f"x{i}" for i in range(k))
    rows = ", ".join("(" + ", ".join("1.0" for _ in range(m)) + ",)" for _ in range(k))
    drift = eval(f"lambda t, {source}: ({source},)")
    return sk.process(drift, eval(f"lambda t, {source}: ({rows},)"), noise="general")


@pytest.mark.parametrize(
    ("process", "k"),
    [(Big(), 33), (matrix(3, 11), 3), (matrix(2, 17), 2), (matrix(33, 1), 33)],
    ids=["33", "3 by 11", "2 by 17", "33 by 1"],
)
def test_large_coupled_states_name_the_other_backends(process, k):
    with pytest.raises(ValueError, match=r"up to 32 .* pass x0 as a torch tensor, or backend=.*numpy"):
        sk.solve(process, np.ones((2, k)), TS, grid=TS, seed=0)
    for name in ("numpy", "torch"):
        assert solve(name, process, np.ones((2, k)), TS, grid=TS).x.shape == (2, 2, k)


def test_what_does_not_compile_says_so():
    class Branching(NamedTuple):
        def drift(self, t, x):
            return x.mean()

        def diffusion(self, t, x):
            return 1.0

    with pytest.raises(ValueError, match=r"Branching .*does not compile for the numba backend.*sdekit.math.*numpy"):
        sk.solve(Branching(), 1.0, TS, grid=TS, seed=0)


@each_backend
def test_networks_stay_off_numba(name):
    coupled = sk.process(lambda t, x: -x, lambda t, x: 1.0, additive=True, event_dims=1)
    for process in (coupled, sk.Langevin(lambda t, x: -x)):
        if name == "numba":
            with pytest.raises(ValueError, match="couples whole axes, which the numba backend does not run; pass"):
                solve(name, process, np.ones((4, 2)), TS, grid=TS)
        else:
            assert solve(name, process, np.ones((4, 2)), TS, grid=TS).failed.shape == (4,)


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_tensors_as_parameters_of_arrays(name):
    """Tensors without axes and of types that numpy lacks are read; gradients are refused."""
    torch = pytest.importorskip("torch")
    bfloat = torch.bfloat16
    for mu in (torch.tensor(0.5), torch.tensor([0.5, 0.5], dtype=bfloat)):
        ts = torch.tensor([0.0, 1.0], dtype=bfloat)
        x = solve(name, sk.OU(mu=mu), np.ones(2), ts, h=0.25, seed=0).x
        assert np.array_equal(x, solve(name, sk.OU(mu=0.5), np.ones(2), [0, 1], h=0.25, seed=0).x)
    with pytest.raises(ValueError, match="mu of OU requires a gradient"):
        solve(name, sk.OU(mu=torch.tensor(0.5, requires_grad=True)), np.ones(2), [0, 1], h=0.25)
