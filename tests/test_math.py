"""Elementary functions: values, types and edges for floats, numpy, torch and numba.

Random inputs have fixed seeds, so that every test is deterministic.
"""

import functools
import itertools
import math
import pickle
import platform
import re
from typing import NamedTuple

import mpmath as mp
import numba
import numpy as np
import pytest
from scipy import special

from sdekit import math as sm
from sdekit.backends.kernels import elementary

KERNEL = {
    "error_model": "numpy",
    "nogil": True,
    "fastmath": {"contract", "arcp", "nsz", "reassoc", "afn"},
}
DTYPES = (np.float32, np.float64)
UNARY = (*elementary.UNARY, "isfinite")
BINARY = elementary.BINARY
NUMPY = {"erf": special.erf, "erfc": special.erfc, "round": np.rint}  # where numpy has no ufunc of this name

# Largest error in units in the last place of the exact result, measured over samples, and over all float32
# numbers where benchmarks/results/ulp.json has a row (`benchmarks/ulp.py`)
# and at least 1e4 float64 numbers of each domain below; plus 5 %.
ULP = {
    "exp": 1.06, "log": 0.92, "log_positive": 1.31, "log1p": 1.5, "expm1": 2.1, "sqrt": 0.5001,
    "sin": 2.6, "cos": 2.6, "tan": 3.75, "tanh": 2.65, "arctan": 2.2, "power": 1.25,
    "sin_poly": 0.75, "cos_poly": 1.05, "arcsin": 2.2, "arccos": 1.3, "sinh": 2.4, "cosh": 1.6, "arcsinh": 2.1,
    "erf": 1.4, "erfc": 3.99, "cbrt": 0.85, "arctan2": 3.0,
}  # fmt: skip
EXACT = {
    "arctan": mp.atan, "log_positive": mp.log, "sin_poly": mp.sin, "cos_poly": mp.cos, "arcsin": mp.asin,
    "arccos": mp.acos, "arcsinh": mp.asinh, "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
}  # fmt: skip


def numpys(name):
    """The function of arrays that `name` is compared with."""
    return NUMPY.get(name) or getattr(np, name)


def kernel(function, arity=1):
    """A lane loop with the flags of the solver's kernels."""

    @numba.njit(**KERNEL)
    def unary(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    @numba.njit(**KERNEL)
    def binary(x, y, out):
        for i in range(x.size):
            out[i] = function(x[i], y[i])

    return unary if arity == 1 else binary


KERNELS = {}


def compiled(name, dtype):
    key = name, np.dtype(dtype)
    if key not in KERNELS:
        function = elementary.implementation(name, numba.from_dtype(np.dtype(dtype)))
        KERNELS[key] = kernel(function, 2 if name in BINARY else 1)
    return KERNELS[key]


def evaluate(name, *arguments, out=None):
    out = np.empty_like(arguments[0]) if out is None else out
    compiled(name, arguments[0].dtype)(*arguments, out)
    return out


def ulps(got, exact):
    """|got - exact| in units of the spacing of floats at the exact value."""
    info = np.finfo(got.dtype)
    worst = mp.mpf(0)
    for value, target in zip(got, exact):
        if abs(target) > float(info.max):
            assert np.isinf(value) or abs(value) == info.max
            continue
        exponent = info.minexp
        if target:
            exponent = max(mp.frexp(target)[1] - 1, exponent)
        worst = max(worst, abs(mp.mpf(float(value)) - target) * mp.mpf(2) ** (info.nmant - exponent))
    return float(worst)


def domain(name, dtype, n=500):
    """Numbers of `dtype` all over the domain of a function, near its zeros above all."""
    rng = np.random.default_rng(1)
    info = np.finfo(dtype)
    small = rng.standard_normal(n) * 10.0 ** rng.uniform(-30, 0, n)
    near_1 = 1 + rng.standard_normal(n) * 10.0 ** rng.uniform(-15, -1, n)
    positive = np.exp2(rng.uniform(info.minexp, info.maxexp, n))
    lowest = math.log(2) * (info.minexp - info.nmant - 1)
    if name in ("exp", "expm1"):
        whole = rng.uniform(lowest, math.log(2) * info.maxexp, n)
        parts = (whole, rng.uniform(-2, 2, n), small)
    elif name in ("log", "log_positive", "sqrt"):
        parts = (positive, near_1, rng.uniform(0.5, 2, n))
        if name != "log_positive":
            parts += (np.exp2(rng.uniform(info.minexp - info.nmant, info.minexp, n)),)
    elif name == "log1p":
        parts = (small, positive, rng.uniform(-0.999, 3, n), np.exp(rng.uniform(-14, 0, n)) - 1)
    elif name in ("sin", "cos", "tan"):
        zeros = rng.integers(-6366, 6367, 2 * n) * (np.pi / 2)
        parts = (rng.uniform(-1e4, 1e4, n), rng.uniform(-4, 4, n), zeros, small)
    elif name in ("sin_poly", "cos_poly"):
        parts = (rng.uniform(-np.pi / 4, np.pi / 4, n), small[abs(small) < np.pi / 4])
    elif name in ("arcsin", "arccos"):
        parts = (rng.uniform(-1, 1, n), small[abs(small) < 1], near_1[near_1 < 1], -near_1[near_1 < 1])
    elif name in ("sinh", "cosh"):
        parts = (rng.uniform(-1, 1, n) * math.log(2) * (info.maxexp + 1), rng.uniform(-2, 2, n), small)
    elif name in ("arcsinh", "cbrt"):
        parts = (positive, -positive, rng.uniform(-2, 2, n), small)
    elif name == "erfc":
        parts = (rng.uniform(-3, math.sqrt(-lowest), n), rng.uniform(-2, 2, n), small)
    else:  # tanh, arctan, erf
        parts = (rng.uniform(-20, 20, n), rng.uniform(-2, 2, n), small, 1 / small)
    return np.concatenate(parts).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in ULP if name not in BINARY])
def test_numba_is_accurate_to_a_few_ulp_under_the_flags_of_the_kernels(name, dtype):
    x = domain(name, dtype)
    got = evaluate(name, x)
    exact = EXACT.get(name) or getattr(mp, name)
    with mp.workprec(160):
        assert ulps(got, [exact(mp.mpf(float(v))) for v in x]) <= ULP[name]


@pytest.mark.parametrize("dtype", DTYPES)
def test_numba_power_is_accurate_over_its_whole_range(dtype):
    rng = np.random.default_rng(2)
    n = 800
    info = np.finfo(dtype)
    near_1 = 1 + rng.standard_normal(n) * 10.0 ** rng.uniform(-15, -1, n)
    x = np.concatenate([
        np.exp2(rng.uniform(info.minexp, info.maxexp, n)), near_1, rng.uniform(0.5, 2, n),
        np.exp2(rng.uniform(info.minexp - info.nmant, info.minexp, n // 4)),
    ]).astype(dtype)  # fmt: skip
    x = x[(x > 0) & (x != 1)]
    with np.errstate(over="ignore"):
        exponent = rng.uniform(info.minexp - info.nmant, info.maxexp, x.size)
        y = (exponent / np.log2(x.astype(np.float64))).astype(dtype)
    y[::3] = rng.uniform(-3, 3, y[::3].size)
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    with mp.workprec(250):
        exact = [mp.power(mp.mpf(float(a)), mp.mpf(float(b))) for a, b in zip(x, y)]
        assert ulps(evaluate("power", x, y), exact) <= ULP["power"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_numba_arctan2_is_accurate_in_all_quadrants(dtype):
    rng = np.random.default_rng(3)
    y, x = (rng.standard_normal((2, 1500)) * 10.0 ** rng.uniform(-9, 9, (2, 1500))).astype(dtype)
    with mp.workprec(160):
        exact = [mp.atan2(mp.mpf(float(a)), mp.mpf(float(b))) for a, b in zip(y, x)]
        assert ulps(evaluate("arctan2", y, x), exact) <= ULP["arctan2"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_numba_mod_is_exact_up_to_a_quotient_of_all_digits(dtype):
    """Multiples, their neighbours, and any others; the last of a correctly rounded sum where signs differ."""
    rng = np.random.default_rng(4)
    digits = np.finfo(dtype).nmant
    y = (rng.uniform(0.5, 1, 3000) * 10.0 ** rng.uniform(-5, 5, 3000) * rng.choice([-1, 1], 3000)).astype(dtype)
    q = np.floor(np.exp2(rng.uniform(0, digits, 3000))) * rng.choice([-1, 1], 3000)
    near = (q * y).astype(dtype)
    for x in (near, np.nextafter(near, dtype(0)), (q * y * rng.uniform(0, 1, 3000)).astype(dtype)):
        np.testing.assert_array_equal(evaluate("mod", x, y), np.mod(x, y))


def test_numba_mod_stays_between_0_and_the_divisor_beyond():
    x, y = np.geomspace(1e8, 1e300, 1000), np.tile([3.7, -0.1], 500)
    got = evaluate("mod", x, y)
    assert np.all((got >= np.minimum(y, 0)) & (got <= np.maximum(y, 0)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_numba_edges_are_those_of_numpy(name, dtype):
    info = np.finfo(dtype)
    edges = [0, 1, 0.5, info.tiny, info.smallest_subnormal, info.max, np.inf, np.nan]
    edges += [2.0**-120, 1e-6, 3, 20, 89, 105, 710, 746, 1e4]
    if name in ("sin", "cos", "tan"):
        edges = [v for v in edges if v != info.max]  # out of the domain
    with np.errstate(all="ignore"):
        x = np.array([*edges, *(-v for v in edges)], dtype)
        expected = numpys(name)(x)
    out = np.empty(x.size, bool) if name == "isfinite" else None
    got = evaluate(name, x, out=out)
    np.testing.assert_allclose(got, expected, rtol=4 * info.eps, atol=info.smallest_subnormal)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BINARY)
def test_numba_edges_of_two_arguments_are_those_of_numpy(name, dtype):
    info = np.finfo(dtype)
    values = [0, 1, 2, 3, 7, 0.5, 2.5, 1 / 3, 1e30, 2.0**24 + 1, 2.0**53, info.max, info.tiny]
    values += [info.smallest_subnormal, np.inf, np.nan]
    values += [-v for v in values]
    x, y = np.array(list(itertools.product(values, values)), dtype).T.copy()
    if name == "mod":  # beyond is out of the domain
        with np.errstate(all="ignore"):
            x, y = np.array([x, y])[:, ~((abs(x / y) > 2.0**info.nmant) & (y != 0) & np.isfinite(x))]
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x, y)
    np.testing.assert_allclose(evaluate(name, x, y), expected, rtol=4 * info.eps, atol=info.smallest_subnormal)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_numba_sine_and_cosine_stay_bounded_beyond_their_domain(name, dtype):
    x = np.geomspace(1e4, np.finfo(dtype).max / 2, 2000).astype(dtype)
    assert np.all(abs(evaluate(name, x)) <= 1 + np.finfo(dtype).eps)


LIBM = (
    "exp|expm1|log|log1p|log2|sqrt|cbrt|sin|cos|tan|asin|acos|atan|atan2|sinh|cosh|tanh|asinh|erf|erfc|pow|fmod|floor|"
    "ceil|rint|fma|fmin|fmax|copysign"
)


x86_only = pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="reads x86 assembly")


def libm_calls(function):
    assembly = function.inspect_asm(function.signatures[0])
    return re.findall(rf"\b_*(?:{LIBM})f?\b", assembly.replace(function.__name__, ""))


@x86_only
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted({*ULP, *elementary.UNARY, *BINARY}))
def test_numba_loops_are_vector_instructions_without_calls(name, dtype):
    function = compiled(name, dtype)
    function(*np.ones((3 if name in BINARY else 2, 64), dtype))
    assert not libm_calls(function)
    number = "float" if dtype is np.float32 else "double"
    assert re.search(rf"store <\d+ x {number}>", function.inspect_llvm(function.signatures[0]))


@x86_only
def test_a_libm_call_would_be_seen():
    function = kernel(math.sin)
    function(*np.ones((2, 64)))
    assert libm_calls(function)


@pytest.mark.parametrize("name", UNARY)
def test_numba_overload_keeps_the_type_of_floats_and_widens_integers(name):
    function = getattr(sm, name)
    call = numba.njit(lambda x: function(x))
    for value, kind in (
        (np.float32(0.75), numba.float32),
        (0.75, numba.float64),
        (1, numba.float64),
    ):
        assert call(value) == pytest.approx(function(float(value)), rel=1e-6)
        returned = call.nopython_signatures[-1].return_type
        assert returned == (numba.boolean if name == "isfinite" else kind)


@pytest.mark.parametrize("name", BINARY)
def test_numba_overload_of_two_arguments_treats_integers_as_weak(name):
    function = getattr(sm, name)
    call = numba.njit(lambda x, y: function(x, y))
    half = np.float32(0.5)
    for x, y, kind in ((half, half, "f4"), (half, 2, "f4"), (half, 2.0, "f8"), (0.5, 2, "f8")):
        assert call(x, y) == pytest.approx(function(float(x), float(y)), rel=1e-6)
        assert call.nopython_signatures[-1].return_type == numba.from_dtype(np.dtype(kind))


class Unit(NamedTuple):
    rate: float = 1.0


def test_numba_where_expand_and_inside():
    @numba.njit
    def call(process, t, x):
        return sm.where(x > t, sm.expand(t, x), sm.inside(process, t) + x)

    assert call(Unit(), 2.0, 3.0) == 2.0
    assert call(Unit(), 2.0, 1.0) == 3.0


# Python numbers


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("value", [0, 0.3, -0.3, 1000.0, -1000.0, 1e308, math.inf, -math.inf, math.nan])
def test_numbers_give_python_numbers_with_the_values_of_numpy(name, value):
    with np.errstate(all="ignore"):
        expected = numpys(name)(float(value))
    for argument in (value, np.float64(value)):
        got = getattr(sm, name)(argument)
        assert type(got) is (bool if name == "isfinite" else float)
        np.testing.assert_allclose(got, expected, rtol=1e-14)


@pytest.mark.parametrize("name", BINARY)
def test_pairs_of_numbers_give_python_numbers_with_the_values_of_numpy(name):
    values = [0.0, -0.0, 0.5, -0.5, 2.0, -3.0, 1e200, math.inf, -math.inf, math.nan]
    for x, y in itertools.product(values, values):
        with np.errstate(all="ignore"):
            # in arrays, since numpy's shortcut for the scalar 0.5 has NaN for (-inf)^0.5
            (expected,) = getattr(np, name)(np.array([x]), np.array([y]))
        got = getattr(sm, name)(x, np.float64(y))
        assert type(got) is float
        np.testing.assert_allclose(got, expected, rtol=1e-14)


def test_where_of_numbers_is_a_number():
    assert sm.where(True, 1, 2.0) == 1.0
    assert type(sm.where(np.bool_(False), 1, np.float64(2.0))) is float


# Arrays


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_arrays_are_numpys_without_warnings(name, dtype, recwarn):
    x = np.array([[-np.inf, -1, 0, 0.5, 1e30, np.nan]], dtype)
    got = getattr(sm, name)(x)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(got, numpys(name)(x))
    assert got.dtype == (bool if name == "isfinite" else dtype)
    assert type(getattr(sm, name)(dtype(0.5))) is not np.ndarray
    assert not recwarn.list


@pytest.mark.parametrize("number", [2, 0.5, np.float64(0.5)])
@pytest.mark.parametrize("name", [*BINARY, "where"])
def test_numbers_do_not_widen_float32_arrays(name, number):
    x = np.array([0.25, 1.0, np.nan], np.float32)
    if name == "where":
        assert sm.where(x > 0.5, x, number).dtype == sm.where(x > 0.5, number, x).dtype == np.float32
    else:
        function, expected = getattr(sm, name), getattr(np, name)
        assert function(x, number).dtype == function(number, x).dtype == np.float32
        np.testing.assert_array_equal(function(x, number), expected(x, np.float32(number)))


def test_expand_appends_axes_on_the_right_only():
    t, x = np.arange(3.0), np.zeros((3, 3, 3, 3))
    assert sm.expand(t, x).shape == (3, 1, 1, 1)
    np.testing.assert_array_equal((sm.expand(t, x) + x)[:, 0, 1, 2], t)
    assert sm.expand(t, np.zeros(3)).shape == (3,)
    assert sm.expand(t, 1.0) is t
    assert sm.expand(0.5, x) == 0.5 and type(sm.expand(0.5, x)) is float


class Limited(NamedTuple):
    rate: float = 1.0
    domain = (0.25, 1.0)


@pytest.mark.parametrize("t", [0.25, 1, 1.0, np.float64(0.5), np.array(0.5), np.array([0.25, 1.0])])
def test_inside_returns_times_of_the_domain(t):
    assert sm.inside(Limited(), t) is t


@pytest.mark.parametrize("t", [2, 0.0, math.nan, math.inf, np.array([0.5, 2.0]), np.array(math.nan)])
def test_inside_raises_outside_of_the_domain_and_says_where(t):
    with pytest.raises(ValueError, match=r"t = (2.0|0.0|nan|inf) .* Limited.*0.25 <= t <= 1.0"):
        sm.inside(Limited(), t)


@pytest.mark.parametrize("name", sm.__all__)
def test_names_are_documented_and_pickle_by_name(name):
    function = getattr(sm, name)
    assert function.__doc__ and function.__module__ == "sdekit.math" and function.__name__ == name
    assert pickle.loads(pickle.dumps(function)) is function


# Tensors


@pytest.mark.parametrize("name", UNARY)
def test_tensors_stay_tensors_of_their_dtype(name):
    torch = pytest.importorskip("torch")
    x = np.array([-1.0, 0.0, 0.5, 3.0, np.inf, np.nan])
    x = x[:-1] if name == "sign" else x
    for dtype in (torch.float32, torch.float64):
        got = getattr(sm, name)(torch.tensor(x, dtype=dtype))
        assert got.dtype == (torch.bool if name == "isfinite" else dtype)
        np.testing.assert_allclose(got.numpy(), getattr(sm, name)(x), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("number", [2, 0.5, np.float64(0.5)])
@pytest.mark.parametrize("name", [*BINARY, "where"])
def test_numbers_do_not_widen_tensors_and_gradients_flow(name, number):
    torch = pytest.importorskip("torch")
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        x = torch.tensor([0.25, 1.0, 3.0], dtype=dtype, requires_grad=True)
        function = functools.partial(sm.where, x > 0.5) if name == "where" else getattr(sm, name)
        for got in (function(x, number), function(number, x), function(x, x)):
            assert got.dtype == dtype and got.shape == x.shape
            (gradient,) = torch.autograd.grad(got.sum(), x)
            assert torch.isfinite(gradient).all()
        assert torch.autograd.grad(function(x, number).sum(), x)[0].abs().sum() > 0
    with np.errstate(all="ignore"):
        a, b = np.array([0.25, 1.0, 3.0]), np.array([3.0, 0.5, 0.25])
        if name != "where":
            expected = getattr(np, name)
            for p, q in ((a, b), (a, float(number)), (float(number), b)):
                tensors = [torch.tensor(v) if isinstance(v, np.ndarray) else v for v in (p, q)]
                np.testing.assert_allclose(function(*tensors).numpy(), expected(p, q), rtol=1e-14)


def test_where_takes_tensors_and_numbers_in_any_place():
    torch = pytest.importorskip("torch")
    x = torch.tensor([1.0, -1.0])
    assert sm.where(x > 0, x, 0).tolist() == [1.0, 0.0]
    assert sm.where(True, x, 0.0) is not x and sm.where(True, x, 0.0).tolist() == [1.0, -1.0]
    assert sm.where(x > 0, 1, 0).is_floating_point()


@pytest.mark.parametrize("name", elementary.UNARY)
def test_derivatives_of_tensors(name):
    """Central differences of numpy's function at points off its kinks, in float64: an error of 1e-8."""
    torch = pytest.importorskip("torch")
    x = np.array([-0.9, -0.3, 0.2, 0.85])
    x = abs(x) if name in ("log", "sqrt") else x
    tensor = torch.tensor(x, requires_grad=True)
    (got,) = torch.autograd.grad(getattr(sm, name)(tensor).sum(), tensor)
    h = 1e-5
    np.testing.assert_allclose(got, (numpys(name)(x + h) - numpys(name)(x - h)) / (2 * h), rtol=1e-7, atol=1e-8)


TABLES = [
    ([-1.0, 0.0, 0.5, 2.0], [3.0, -1.0, 0.25, 7.0]),
    ([0.0, 1.0, 1.0, 2.0], [0.0, 1.0, 5.0, 6.0]),
    (np.sqrt(np.arange(64)), np.cos(np.arange(64))),
    ([0.5], [2.0]),
]


@pytest.mark.parametrize("xp, fp", TABLES, ids=["four knots", "a jump", "many knots", "one knot"])
def test_interp_is_numpys_on_everything(xp, fp):
    """Between, on and beyond the knots, infinities and NaN; float32 stays float32 and is rounded once."""
    torch = pytest.importorskip("torch")
    x = np.concatenate([xp, np.linspace(-3, 9, 500), [np.inf, -np.inf, np.nan]])
    x = x[:-1] if len(xp) == 1 else x  # numpy takes NaN for the knot where there is one alone
    arrays = np.array(xp), np.array(fp)
    tuples = tuple(map(float, xp)), tuple(map(float, fp))
    tables = [arrays, tuples, (arrays[0], tuples[1])] if len(xp) < 9 else [arrays]
    for dtype in DTYPES:
        narrow = x.astype(dtype)
        want = np.interp(narrow, xp, fp).astype(dtype)
        tolerance = {"rtol": 4 * np.finfo(dtype).eps, "atol": 8 * np.finfo(np.float64).eps}
        for knots, values in tables:
            got = sm.interp(narrow, knots, values)
            assert got.dtype == dtype
            np.testing.assert_array_equal(got, want)
            loop = kernel(numba.njit(lambda v, a=knots, b=values: sm.interp(v, a, b)))
            loop(narrow, out := np.empty_like(narrow))
            np.testing.assert_allclose(out, want, **tolerance)
        np.testing.assert_allclose(sm.interp(torch.tensor(narrow), *tuples).numpy(), want, **tolerance)
    assert sm.interp(0.25, xp, fp) == np.interp(0.25, xp, fp) and type(sm.interp(0.25, xp, fp)) is float


def test_interp_has_derivatives_and_refuses_bad_tables():
    torch = pytest.importorskip("torch")
    x = torch.tensor([-1.0, 0.25, 1.5, 3.0], dtype=torch.float64, requires_grad=True)
    fp = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64, requires_grad=True)
    by_x, by_fp = torch.autograd.grad(sm.interp(x, (0, 1, 2), fp).sum(), (x, fp))
    assert by_x.tolist() == [0.0, 1.0, 3.0, 0.0] and by_fp.tolist() == [1.75, 0.75, 1.5]
    for xp, values, match in (
        ([0, 1], [1, 2, 3], "one length"),
        ([], [], "one length"),
        ([1, 0], [0, 1], "must not fall"),
    ):
        with pytest.raises(ValueError, match=match):
            sm.interp(0.5, xp, values)
    with pytest.raises(ValueError, match="one length"):
        sm.interp(x, (0, 1), fp)


def test_clip_is_numpys_on_everything():
    torch = pytest.importorskip("torch")
    x = np.array([-2.0, -0.5, 0.0, 0.7, 3.0, np.inf, np.nan])
    want = np.clip(x, -0.5, 1)
    np.testing.assert_array_equal(sm.clip(x, -0.5, 1), want)
    np.testing.assert_array_equal(sm.clip(torch.tensor(x), torch.tensor(-0.5), 1).numpy(), want)
    call = numba.njit(lambda v: sm.clip(v, -0.5, 1))
    np.testing.assert_array_equal([call(v) for v in x], want)
    np.testing.assert_array_equal([sm.clip(v, -0.5, 1) for v in x.tolist()], want)
    assert sm.clip(x.astype(np.float32), -0.5, np.float64(1)).dtype == np.float32


def test_expand_and_inside_take_tensors():
    torch = pytest.importorskip("torch")
    t = torch.tensor([0.5, 0.75])
    assert sm.expand(t, torch.zeros(2, 2, 2)).shape == (2, 1, 1)
    assert sm.inside(Limited(), t) is t
    with pytest.raises(ValueError, match=r"t = 1\.5 "):
        sm.inside(Limited(), t + 1)
