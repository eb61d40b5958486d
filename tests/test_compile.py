"""What the compiler makes of a process: weak literals, no second compilation, vector instructions."""

import math
import platform
import re
import time
from typing import Any, NamedTuple

import numpy as np
import pytest

import sdekit as sk
from sdekit import math as sm
from sdekit.backends.kernels import fixed as kernel

REFERENCE = {"backend": sk.backends.numpy()}
SCALE = 3.7
N = 2
X86 = pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="looks at x86 instructions")


def half(x):
    return 0.5 * x


def quarter(x):
    return half(half(x))


def captured(rate):
    def inner(x):
        return rate * quarter(x)

    def drift(t, x):
        return inner(x) - x

    return drift


def nothing(t, x):
    return 0.0


LITERALS = {
    "2*x": lambda t, x, a: 2 * x,
    "1 - x": lambda t, x, a: 1 - x,
    "x/2": lambda t, x, a: x / 2,
    "1/x": lambda t, x, a: 1 / x,
    "x*math.pi": lambda t, x, a: x * math.pi,
    "x**2": lambda t, x, a: x**2,
    "x**3": lambda t, x, a: x**3,
    "x**0.5": lambda t, x, a: x**0.5,
    "x**-1": lambda t, x, a: x**-1,
    "x**N": lambda t, x, a: x**N,
    "2**x": lambda t, x, a: 2**x,
    "-x": lambda t, x, a: -x,
    "+x": lambda t, x, a: +x,
    "abs(x)": lambda t, x, a: abs(x - 1),
    "constant": lambda t, x, a: x * SCALE,
    "t*x": lambda t, x, a: t * x,
    "t + x": lambda t, x, a: (t + 0.1) + x,
    "parameter": lambda t, x, a: a * x + a,
    "where": lambda t, x, a: sm.where(x > 1, x, 0.5),
    "of times": lambda t, x, a: sm.exp(-t) * x + math.sqrt(2.0),
    "maximum": lambda t, x, a: sm.maximum(x, 1.0) + sm.minimum(0.3, x),
    "power": lambda t, x, a: sm.power(x, 1.3) + sm.power(1.3, x),
    "functions": lambda t, x, a: sm.sin(x) + sm.exp(x) * sm.log(x) + sm.tanh(x),
}


class Literals(NamedTuple):
    """The list in one drift, but for `sm.power`, which works in double precision inside."""

    a: float = 0.1
    noise = "none"

    def drift(self, t, x):
        y = 2 * x + (1 - x) + x / 2 + 1 / x + x * math.pi + x**2 - x**3 + x**N
        y = y - -x + abs(x - 1) + x * SCALE + t * x + (t + 0.1) + self.a * x + self.a
        return y * sm.where(x > 1, x, 0.5) + sm.maximum(x, 1.0) + sm.exp(-t) * x + math.sqrt(2.0)


def newest():
    """Assembly of the kernel compiled last, and its LLVM code."""
    library = list(kernel.run.overloads.values())[-1].library
    return library.get_asm_str(), library.get_llvm_str()


def count():
    return len(kernel.run.overloads)


# --- weak literals -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", LITERALS)
def test_literals_are_weak_on_arrays_and_tensors(text):
    """What a drift makes of float32 is float32 on the reference and on torch, intermediate values included."""
    torch = pytest.importorskip("torch")
    x = np.linspace(0.5, 2, 7, dtype=np.float32)
    for values in (x, torch.as_tensor(x)):
        out = LITERALS[text](0.3, values, 0.1)
        assert str(out.dtype).endswith("float32")
        process = sk.process(lambda t, x: LITERALS[text](t, x, 0.1), noise="none")
        how = {} if values is not x else REFERENCE
        assert str(sk.solve(process, values, [0, 1], sk.euler, h=1, seed=0, **how).x.dtype).endswith("float32")


def test_literals_are_weak_in_kernels():
    """No double-precision arithmetic on lanes: the result is float32's, a few units in the last place off numpy's,
    and in the code no instruction widens a state."""
    x = np.linspace(0.5, 2, 1000, dtype=np.float32)
    before = count()
    sol = sk.solve(Literals(), x, [0, 0.1], sk.euler, h=0.1, seed=0)
    assert count() == before + 1 and sol.x.dtype == np.float32
    single = sk.solve(Literals(), x, [0, 0.1], sk.euler, h=0.1, seed=0, **REFERENCE).x[-1]
    np.testing.assert_allclose(sol.x[-1], single, rtol=1e-6)
    _, llvm = newest()
    assert "fpext <" not in llvm  # vectors of float are never widened
    doubles = re.findall(r"= f(?:add|sub|mul|div)[a-z ]* <\d+ x double>", llvm)
    assert not doubles
    singles = re.findall(r"= f(?:add|sub|mul|div)[a-z ]* <\d+ x float>", llvm)
    assert len(singles) > 10


def powers(t, a, b, c, d, e, f):
    return a**2, b**3, c**-1, d**0.5, e**N, 2**f


def test_powers_of_each_kind():
    x = np.random.default_rng(0).uniform(0.5, 2, size=(300, 6)).astype(np.float32)
    got = sk.solve(sk.process(powers, noise="none"), x, [0, 1], sk.euler, h=1, seed=0).x[-1]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, x + np.stack(powers(0.0, *x.T), -1), rtol=1e-6)


# --- compiled once -------------------------------------------------------------------------------


class Tuned(NamedTuple):
    """A parameter, and a function."""

    rate: Any = 1.0
    f: Any = half

    def drift(self, t, x):
        return -self.rate * self.f(x)

    def diffusion(self, t, x):
        return 0.1


def test_other_values_never_compile_again():
    """Numbers of any type, arrays, seeds, steps, shapes, threads, noise, layouts; the same functions."""
    x0 = np.ones(5)
    frozen = np.ones(5)
    frozen.flags.writeable = False
    sk.solve(Tuned(), x0, [0, 1], h=1, seed=0)
    sk.solve(Tuned(rate=np.ones(5)), x0, [0, 1], h=1, seed=0)
    before = count()
    for rate in (2, 3.5, np.float32(2), np.float64(1), np.array(2.0), np.int64(3)):
        sk.solve(Tuned(rate), x0, [0, 1], h=1, seed=0)
    how = {"seed": 5, "backend": sk.backends.numba(3), "first_path": 7, "paths": 3}
    going_on = sk.solve(Tuned(1.0, half), 1.0, [0, 1], h=0.1, **how)
    sk.solve(Tuned(1.0, half), going_on, [1, 2], h=0.1)
    sk.solve(Tuned(), np.ones((2, 3)), [1, 2], noise=np.zeros((1, 2, 3)), h=1)
    sk.solve(Tuned(), np.ones((3, 2)).T, [1, 2], noise=np.zeros((3, 2, 1)).T, h=1)
    sk.solve(Tuned(), frozen, [0, 1], noise=np.broadcast_to(0.0, (1, 5)), h=1)
    sk.solve(Tuned(), [1, 2], grid=[0, 1], seed=0)
    for rates in (np.arange(5), np.ones(5, np.float32), np.ones(10)[::2], np.ones(1)):
        sk.solve(Tuned(rates), x0, [0, 1], h=1, seed=0)
    sk.solve(Tuned(np.ones((2, 1))), np.ones((2, 3)), [0, 1], h=1, seed=0)
    assert count() == before
    sk.solve(Tuned(1.0, quarter), x0, [0, 1], h=1, seed=0)
    assert count() == before + 1  # another function is another kernel


def test_records_made_anew_share_their_code():
    """The same function objects in a new record, and a dataclass converted again."""
    first = sk.process(nothing, nothing)
    sk.solve(first, 1.0, [0, 1], h=1, seed=0)
    before = count()
    sk.solve(sk.process(nothing, nothing), np.ones(3), [0, 1], h=1, seed=0)
    assert count() == before


# --- what compiles -------------------------------------------------------------------------------


def test_helpers_and_closures():
    """Plain functions that call plain functions, and captured values, by value."""
    z = np.random.default_rng(0).normal(size=(2, 300))
    for rate in (2.0, 3.0):
        process = sk.process(captured(rate), nothing)
        got = sk.solve(process, np.linspace(0, 1, 300), [0, 1], h=0.5, noise=z).x
        want = sk.solve(process, np.linspace(0, 1, 300), [0, 1], h=0.5, noise=z, **REFERENCE).x
        np.testing.assert_allclose(got, want, rtol=1e-14)


# --- names of numpy and of the math module --------------------------------------------------------


def numpys_names(t, x):
    y = np.abs(x) + np.absolute(x) + np.fabs(x) + np.maximum(x, 0) + np.minimum(1, x) + np.where(x > 0, x, 2)
    y = y + np.clip(x, -1, 1) + np.sign(x) + np.power(np.square(x), 0.3) + np.floor(x) + np.ceil(x) + np.cbrt(x)
    y = y + np.round(x) + np.rint(3 * x) + np.mod(x, 0.3) + np.remainder(x, -0.7) + x % 0.3 + x // 0.4
    y = y + np.arctan2(x, 1.0) + np.arctan2(0.3, x) + np.arcsin(x / 3) + np.arccos(x / 3) + np.arctan(x)
    y = y + np.sinh(x) + np.cosh(x) + np.tanh(x) + np.arcsinh(x) + np.sin(x) + np.cos(x) + np.tan(x / 2)
    return y + np.exp(x) + np.expm1(x) + np.log(x + 3) + np.log1p(x + 3) + np.sqrt(x + 3) + np.interp(x, KNOTS, VALUES)


def maths_names(t, x):
    y = math.sin(x) + math.cos(x) + math.tan(x / 2) + math.exp(x) + math.expm1(x) + math.log(x + 3)
    y = y + math.log1p(x + 3) + math.sqrt(x + 3) + math.fabs(x) + math.floor(x) + math.ceil(x) + math.pow(x + 3, 0.3)
    y = y + math.asin(x / 3) + math.acos(x / 3) + math.atan(x) + math.atan2(x, 0.3) + math.erf(x) + math.erfc(x)
    return y + math.sinh(x) + math.cosh(x) + math.tanh(x) + math.asinh(x) + math.cbrt(x)


KNOTS, VALUES = np.array([-1.0, 0.0, 0.5, 1.0, 3.0]), np.array([2.0, -1.0, 0.3, 4.0, 4.0])


@pytest.mark.slow
@pytest.mark.parametrize("drift", [numpys_names, maths_names])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_names_of_numpy_and_of_the_math_module_are_the_vectorised_functions(drift, dtype):
    """One step is x + drift; no call of the mathematical library is in the code."""
    x = np.random.default_rng(0).uniform(-2, 2, 1000).astype(dtype)
    before = count()
    got = sk.solve(sk.process(drift, noise="none"), x, grid=[0.0, 1.0], method=sk.euler, seed=0).x[-1]
    assert count() == before + 1 and got.dtype == dtype
    if platform.machine().lower() in ("x86_64", "amd64"):
        assert not LIBM.search(newest()[0])
    want = drift(0.0, x) if drift is numpys_names else np.array([drift(0.0, v) for v in x.tolist()])
    np.testing.assert_allclose(got, x + want, rtol=40 * np.finfo(dtype).eps, atol=40 * np.finfo(dtype).eps)


class LibraryNoise(NamedTuple):
    def drift(self, t, x, y):
        return np.sin(y), np.cos(x)

    def diffusion(self, t, x, y):
        return math.sin(x), math.exp(-y)


def test_functions_of_the_math_module_in_the_noise():
    z = np.random.default_rng(0).normal(size=(1, 5, 2))
    x = np.random.default_rng(1).uniform(size=(5, 2))
    sol = sk.solve(LibraryNoise(), x, grid=[0, 0.25], noise=z)
    a, b = x.T
    push = 0.5 * np.stack([np.sin(a), np.exp(-b)]) * z[0].T
    np.testing.assert_allclose(sol.x[-1].T, x.T + 0.25 * np.stack([np.sin(b), np.cos(a)]) + push, rtol=1e-13)


# --- branches ------------------------------------------------------------------------------------


def returns(t, x):
    if x > 0.5:
        return 0.0
    return x


def expression(t, x):
    return x if x > 0 else 0.0


def assignment(t, x):
    y = 0.0
    if x > 0:
        y = x
    return y


def smallest(t, x):
    return min(x, 1)


def loop(t, x):
    s = 0.0
    for _ in range(3):
        s = s + x
    return s


def counted(t, x):
    s = 0
    for k in range(4):
        s += k * x
    return s


def on_time(t, x):
    if t > 0.25:
        return 1
    elif x > 0:
        return x
    return 0


BRANCHES = {
    returns: lambda t, x: sm.where(x > 0.5, 0.0, x),
    expression: lambda t, x: sm.where(x > 0, x, 0.0),
    assignment: lambda t, x: sm.where(x > 0, x, 0.0),
    smallest: lambda t, x: sm.minimum(x, 1),
    loop: lambda t, x: 3 * x,
    counted: lambda t, x: 6 * x,
    on_time: lambda t, x: sm.where(x > 0, x, 0.0) if t <= 0.25 else 1.0,
}


@pytest.mark.parametrize("drift", BRANCHES)
def test_branches_mix_numbers_and_states(drift):
    x = np.linspace(-2, 2, 300, dtype=np.float32)
    got = sk.solve(sk.process(drift, noise="none"), x, [0, 1], sk.euler, h=0.25, seed=0).x
    want = sk.solve(sk.process(BRANCHES[drift], noise="none"), x, [0, 1], sk.euler, h=0.25, seed=0, **REFERENCE).x
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def coupled(t, x, y):
    if x > y:
        return 0.0, x
    if t > 0.5:
        return y, 1
    return x, y


def test_tuples_of_branches_mix_numbers_and_states():
    x = np.random.default_rng(0).normal(size=(300, 2))
    got = sk.solve(sk.process(coupled, noise="none"), x, [0, 0.5, 1], grid=[0, 0.5, 1], method=sk.euler, seed=0).x
    a, b = x.T
    first = x + 0.5 * np.where(a > b, [0 * a, a], [a, b]).T
    np.testing.assert_allclose(got[1], first, rtol=1e-14)


# --- arithmetic as it is written -----------------------------------------------------------------


class InUnits(NamedTuple):
    """A force in units of the International System, of which products overflow in float32 in another order."""

    k: float = 1e-19
    kT: float = 4e-21
    m: float = 1e-26
    s: float = 1e-27
    noise = "none"

    def drift(self, t, x):
        return -self.k * x / self.kT / self.m * self.s


def test_products_and_quotients_keep_their_order():
    """A14."""
    x = np.linspace(0.1, 1, 300, dtype=np.float32)
    got = sk.solve(InUnits(), x, grid=[0, 1], method=sk.euler, seed=0).x
    assert np.isfinite(got).all()
    np.testing.assert_allclose(
        got, sk.solve(InUnits(), x, grid=[0, 1], method=sk.euler, seed=0, **REFERENCE).x, rtol=1e-6
    )


@pytest.mark.parametrize("knots", [KNOTS, tuple(KNOTS)], ids=["array", "tuple"])
def test_tables_in_closures(knots):
    values = VALUES if isinstance(knots, np.ndarray) else tuple(VALUES)
    process = sk.process(lambda t, x: sm.interp(x, knots, values), noise="none")
    x = np.linspace(-3, 4, 500, dtype=np.float32)
    got = sk.solve(process, x, grid=[0, 1], method=sk.euler, seed=0).x
    np.testing.assert_allclose(got[-1], x + np.interp(x, KNOTS, VALUES), rtol=1e-6, atol=1e-6)


class Tabled(NamedTuple):
    """Tables as fields: a tuple, and an array shared by the paths."""

    knots: tuple = (0.0, 1.0, 2.0)
    values: Any = np.array([1.0, -1.0, 3.0])
    noise = "none"
    shared = ("values",)

    def drift(self, t, x):
        return sm.interp(x, self.knots, self.values)


def test_tables_in_fields_are_values():
    x = np.linspace(-1, 3, 300)
    sk.solve(Tabled(), x, grid=[0, 1], method=sk.euler, seed=0)
    before = count()
    table = (0.0, 0.5, 2.5), np.array([0.0, 2.0, 1.0])
    got = sk.solve(Tabled(*table), x, grid=[0, 1], method=sk.euler, seed=0).x
    assert count() == before
    np.testing.assert_allclose(got[-1], x + np.interp(x, *table), rtol=1e-14, atol=1e-14)


class Chain(NamedTuple):
    """Sixteen coupled components."""

    stiffness: float = 2.0

    def drift(self, t, *x):
        return tuple_of_differences(self.stiffness, x)

    def diffusion(self, t, *x):
        return x


def tuple_of_differences(k, x):
    return (
        k * (x[1] - x[0]), k * (x[2] - x[1]), k * (x[3] - x[2]), k * (x[4] - x[3]), k * (x[5] - x[4]),
        k * (x[6] - x[5]), k * (x[7] - x[6]), k * (x[8] - x[7]), k * (x[9] - x[8]), k * (x[10] - x[9]),
        k * (x[11] - x[10]), k * (x[12] - x[11]), k * (x[13] - x[12]), k * (x[14] - x[13]), k * (x[15] - x[14]),
        k * (x[0] - x[15]),
    )  # fmt: skip


def test_sixteen_components():
    """The largest coupled state of this backend; the first call takes at most 15 s on an idle machine."""
    x0 = np.random.default_rng(0).uniform(0.5, 1.5, size=(20, 16))
    begin = time.perf_counter()
    got = sk.solve(Chain(), x0, [0, 0.1], h=0.05, seed=3).x
    assert time.perf_counter() - begin < 60
    np.testing.assert_allclose(got, sk.solve(Chain(), x0, [0, 0.1], h=0.05, seed=3, **REFERENCE).x, rtol=1e-12)
    sixteen = sk.process(lambda t, x, y: (y, x), lambda t, x, y: ((x,) * 8, (y,) * 8), noise="general")
    x0 = x0[:, :2]
    got = sk.solve(sixteen, x0, [0, 0.1], h=0.05, seed=3).x
    np.testing.assert_allclose(got, sk.solve(sixteen, x0, [0, 0.1], h=0.05, seed=3, **REFERENCE).x, rtol=1e-12)


# --- vector instructions -------------------------------------------------------------------------


class Swing(NamedTuple):
    """A drift with a sine."""

    def drift(self, t, x):
        return -sm.sin(x)

    def diffusion(self, t, x):
        return 0.2


LIBM = re.compile(
    r"(?:call\w*|jmp\w*|movabs\w*)\s+[*$]*_?(?:__)?a?(?:sin|cos|tan|tan2|log|log1p|exp|expm1|pow|sqrt|cbrt|erf|erfc|fmod|"
    r"floor|ceil|rint)h?f?\b"
)


@X86
@pytest.mark.parametrize(
    ("process", "x0", "method", "dtype"),
    [
        (sk.OU(), 1.0, sk.euler_maruyama, np.float32),
        (Swing(), 1.0, sk.euler_maruyama, np.float32),
        (Swing(), 1.0, sk.euler_maruyama, np.float64),
        (sk.Lorenz(), (1.0, 1.0, 1.0), sk.heun, np.float32),
    ],
    ids=["OU", "sine", "sine in float64", "Lorenz with Heun"],
)
def test_the_lane_loop_is_vector_instructions(process, x0, method, dtype):
    """Packed multiplications, additions or fused ones, and no call of the mathematical library."""
    before = count()
    sk.solve(process, np.asarray(x0, dtype), [0, 1], method, h=0.5, seed=0)
    if count() == before:
        key = next(
            k for k in kernel.run.overloads
            if str(k[0]).startswith("Equation") and type(process).__name__ in str(k[0]) and method.name in str(k[1])
            and k[6].dtype.name == np.dtype(dtype).name
        )  # fmt: skip
        library = kernel.run.overloads[key].library
        assembly, llvm = library.get_asm_str(), library.get_llvm_str()
    else:
        assembly, llvm = newest()
    kind = "ps" if dtype == np.float32 else "pd"
    packed = re.findall(rf"\bv?(?:mul|add|sub|fn?m(?:add|sub)\d+){kind}\b", assembly)
    assert len(packed) > 20
    assert not LIBM.search(assembly)
    assert re.search(rf"<\d+ x {'float' if dtype == np.float32 else 'double'}>", llvm)


class Named(NamedTuple):
    """A string among the fields chooses between formulas."""

    kind: str = "up"

    def drift(self, t, x):
        return 0.0 * x + 1.0 if self.kind == "up" else 0.0 * x - 1.0

    def diffusion(self, t, x):
        return 0.0


def test_a_string_field_is_a_constant_of_the_code():
    """Passed as an object it would be counted by each lane, which made loops scalar and four times slower."""
    for kind, sign in (("up", 1), ("down", -1)):
        assert sk.solve(Named(kind), np.zeros(2), [0, 1], sk.euler_maruyama, h=0.5, seed=0).final.tolist() == [sign] * 2
    code = kernel.run.overloads
    sk.solve(sk.process(lambda t, x: -sk.math.sin(x), lambda t, x: 0.5), np.zeros(2), [0, 1], sk.euler_maruyama, h=0.5)
    assert not any("unicode" in str(types) for types in code)
