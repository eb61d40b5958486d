"""What compiled functions capture: looked at in each solve, shared where it is equal, refused by name."""

import dataclasses
import functools
import math
import os
import signal
import subprocess
import sys
import threading
import time
import types
from typing import NamedTuple

import numba
import numpy as np
import pytest

import sdekit as sk
from sdekit import math as sm
from sdekit.backends import waiting
from sdekit.backends.kernels import captured, fixed
from sdekit.backends.kernels.records import Refused, compiled

NUMBA = sk.backends.numba(1)


class Pair(NamedTuple):
    a: float
    b: float

    def sum(self):
        return self.a + self.b


@dataclasses.dataclass
class Box:
    k: float

    @property
    def twice(self):
        return 2 * self.k


def function(text, **names):
    """The function that `text` computes of (t, x); its globals, which a test may change, are `names`."""
    names["math"] = math
    exec(f"def drift(t, x):\n    return {text}", names)
    return names["drift"]


def thrice(y):
    return 3 * y


def jitted(factor):
    return numba.njit(function("factor * x", factor=factor))


def module(**names):
    made = types.ModuleType("params")
    vars(made).update(names)
    return made


# name: text, value of `c` before and after
CAPTURED = {
    "number": ("c * x", 2.0, 3.0),
    "numbers of another type": ("x / c // 1", 2, 2.5),
    "zero and minus zero": ("math.copysign(x, c)", 0.0, -0.0),
    "numpy scalar": ("c * x", np.float64(2), np.float64(3)),
    "array": ("c[1] * x", np.array([1.0, 2.0]), np.array([1.0, 3.0])),
    "tuple": ("c[0] * x + c[1]", (1.0, 2), (1.0, 3)),
    "tuple of arrays": ("c[1][0] * x", (np.ones(2), np.ones(1)), (np.ones(2), np.full(1, 4.0))),
    "list": ("c[int(t)] * x", [1, 2.5], [4, 2.5]),
    "NamedTuple": ("c.sum() * x", Pair(1.0, 2.0), Pair(1.0, 3.0)),
    "dataclass": ("c.twice * x", Box(2.0), Box(3.0)),
    "attribute of a module": ("c.k * x", module(k=2.0), module(k=3.0)),
    "attribute of an object": ("c.p.k * x", types.SimpleNamespace(p=Box(1.0)), types.SimpleNamespace(p=Box(2.0))),
    "attribute of a class": ("c.k * x", type("C", (), {"k": 1.0}), type("C", (), {"k": 2.0})),
    "function": ("c(t, x)", function("2 * x"), function("3 * x")),
    "function in a module": ("c.f(t, x)", module(f=function("2 * x")), module(f=function("3 * x"))),
    "jitted function": ("c(t, x)", jitted(2.0), jitted(3.0)),
    "partial": ("c(x)", functools.partial(function("t * x"), 2.0), functools.partial(function("t * x"), 3.0)),
    "bound method": ("c() * x", Pair(1.0, 2.0).sum, Pair(1.0, 3.0).sum),
}


def called(f, t=0.0, x=1.5):
    """What compiled code makes of f, which Python itself cannot call."""
    inner = compiled(f)
    return numba.njit(lambda t, x: inner(t, x))(t, x)


def equal(f, t=0.0, x=1.5):
    with np.errstate(all="ignore"):
        want = f(t, x)
    np.testing.assert_array_equal(called(f, t, x), want)


@pytest.mark.parametrize("kind", CAPTURED)
def test_a_global_given_another_value_is_seen(kind):
    """A5, and back again to the first value, which compiles nothing."""
    text, before, after = CAPTURED[kind]
    f = function(text, c=before)
    equal(f)
    first = compiled(f)
    assert compiled(f) is first
    f.__globals__["c"] = after
    equal(f)
    assert compiled(f) is not first
    f.__globals__["c"] = before
    assert compiled(f) is first


def change_array(c):
    c[0] = 7.0


def change_attribute(c):
    c.k = 7.0


@pytest.mark.parametrize(
    ("text", "value", "change"),
    [
        ("c[0] * x", np.ones(3), change_array),
        ("c[0] * x", [1.0, 2.0], change_array),
        ("c.k * x", types.SimpleNamespace(k=1.0), change_attribute),
        ("c.k * x", module(k=1.0), change_attribute),
        ("c.k * x", Box(1.0), change_attribute),
    ],
    ids=["array", "list", "object", "module", "dataclass"],
)
def test_a_captured_object_that_changes_in_itself_is_seen(text, value, change):
    f = function(text, c=value)
    equal(f)
    change(value)
    equal(f)


def test_what_a_jitted_function_reads_is_seen():
    """numba itself keeps the old value."""
    c = jitted(2.0)
    f = function("c(t, x)", c=c)
    assert called(f) == 3.0
    c.py_func.__globals__["factor"] = 4.0
    assert called(f) == 6.0


def test_closures_and_defaults_are_seen():
    def outer(c):
        def inner(t, x):
            return c * x

        def move(to):
            nonlocal c
            c = to

        return inner, move

    f, move = outer(2.0)
    equal(f)
    move(3.0)
    equal(f)
    f = function("x", c=1)
    f.__code__ = (lambda t, x, c=0: c * x).__code__
    for value in (2.0, 3.0):
        f.__defaults__ = (value,)
        equal(f)


def push(x):
    return 0.0 * x + 1.0


@sk.method(order=1, noise="none")
def pushed(sde, t, t1, x, h):
    return x + h * push(x) * sde.drift(t, x)


class Notebook(NamedTuple):
    """A process that reads a function of its module, an attribute of its class, a method and a static one."""

    a: float = 1.0
    noise = "none"
    rate = 2.0

    @staticmethod
    def double(x):
        return 2.0 * x

    @property
    def b(self):
        return self.rate + self.a

    def helper(self, x):
        return push(x) + self.rate

    def drift(self, t, x):
        return self.helper(x) + self.double(self.b)


def solved(process=None):
    return sk.solve(process or Notebook(), 1.0, [0, 1], pushed, h=1.0, seed=0, backend=NUMBA).x[-1]


def test_a_cell_run_again_is_seen_in_methods_of_processes_and_in_steps(monkeypatch):
    """A5: helpers, class attributes and methods redefined between solves; known values compile nothing anew."""
    assert solved() == 1 + (1 + 2) + 2 * 3
    monkeypatch.setitem(globals(), "push", lambda x: 0.0 * x + 2.0)
    assert solved() == 1 + 2 * ((2 + 2) + 2 * 3)
    monkeypatch.setattr(Notebook, "rate", 3.0)
    assert solved() == 1 + 2 * ((2 + 3) + 2 * 4)
    monkeypatch.setattr(Notebook, "drift", lambda self, t, x: 0.0 * x + self.a)
    assert solved() == 1 + 2 * 1
    monkeypatch.undo()
    count = len(fixed.run.overloads)
    assert solved() == 10 and len(fixed.run.overloads) == count


def test_looking_again_costs_little():
    """The 60 names that VP's methods read are compared in microseconds, without describing them anew."""
    compiled(type(sk.VP()))
    times = []
    for _ in range(100):
        begin = time.perf_counter()
        compiled(type(sk.VP()))
        times.append(time.perf_counter() - begin)
    assert min(times) < 2e-3  # 30 µs on a quiet machine; describing VP anew takes milliseconds


MADE_AGAIN = """
class Again(NamedTuple):
    a: float = 1.0
    noise = "none"
    scale = 2.0
    def drift(self, t, x):
        return -self.scale * self.a * other(x)
"""


def test_code_of_equal_text_is_shared():
    """B3: the same lambda made 60 times, 60 classes of the same text; another captured value is other code."""

    def make(c):
        return lambda t, x: c * x

    assert len({compiled(make(2.0)) for _ in range(60)}) == 1
    assert compiled(make(3.0)) is not compiled(make(2.0))
    classes = []
    for lines in range(60):
        names = {"NamedTuple": NamedTuple, "other": thrice, "__name__": "cell"}
        exec("\n" * lines + MADE_AGAIN, names)
        classes.append(names["Again"])
    assert len(set(map(compiled, classes))) == 1
    classes[0].scale = 3.0
    assert compiled(classes[0]) is not compiled(classes[1])
    count = len(fixed.run.overloads)
    ends = [sk.solve(c(), 1.0, [0, 1], sk.euler, h=1.0, seed=0, backend=NUMBA).x[-1] for c in classes[1:4]]
    assert ends == [-5.0] * 3 and len(fixed.run.overloads) == count + 1


def test_equal_text_takes_no_memory():
    """B3: 60 solves of new classes take at most 5 MiB after the first."""
    resource = pytest.importorskip("resource")

    def one():
        class Fresh(NamedTuple):
            noise = "none"

            def drift(self, t, x):
                return thrice(x)

        sk.solve(Fresh(), 1.0, [0, 1], sk.euler, h=1.0, seed=0, backend=NUMBA)
        sk.solve(sk.process(lambda t, x: thrice(-x), noise="none"), 1.0, [0, 1], sk.euler, h=1.0, seed=0, backend=NUMBA)

    one()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(60):
        one()
    unit = 2**20 if sys.platform == "darwin" else 2**10
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit <= 5


# --- what does not compile -----------------------------------------------------------------------


class Stranger:
    k = 1.0

    def f(self, t, x):
        return -self.k * x

    def __call__(self, t, x):
        return -x


def recursive(t, x):
    return recursive(t, x)


def imports(t, x):
    import math

    return math.sin(x)


def unpacks(t, x):
    a, b = x
    return a + b


def nothing(t, x):
    -x  # noqa: B018


def raises(t, x):
    raise RuntimeError("no")


def quiet(t, x):
    with np.errstate(all="ignore"):
        return -x


UNFIT = {
    "dict": (function('c["k"] * x', c={"k": 1.0}), "drift.*line 2.*c is of type dict"),
    "object": (function("c(x)", c=Stranger()), "c is of type Stranger"),
    "callable object": (Stranger(), "f of Functions is of type Stranger"),
    "bound method": (Stranger().f, "self is of type Stranger"),
    "itself": (recursive, "recursive.*recursive inside itself"),
    "generator expression": (function("sum(k * x for k in (1, 2))"), "drift.*a generator expression"),
    "import": (imports, "line.*an import inside a function"),
    "unpacked": (unpacks, "unpacks.*one argument per component"),
    "indexed": (function("-x[0]"), "one argument per component"),
    "mean": (function("x - x.mean()"), "mean of a state argument.*paths do not see each other"),
    "mean by numpy": (function("x - np.mean(x)", np=np), "mean of a state argument.*paths do not see each other"),
    "zeros_like": (function("np.zeros_like(x)", np=np), "one number, no array"),
    "nothing": (nothing, "None in place of a number"),
    "raise": (raises, "None in place of a number.*only raises"),
    "with": (quiet, "quiet.*a with statement"),
    "unknown name": (function("unknown * x"), "'unknown' is not defined"),
    "text": (function("c + x", c="a"), "drift.*line 2"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_what_does_not_compile_is_named(kind):
    """The construct, the function and its line, and where to go."""
    f, message = UNFIT[kind]
    with pytest.raises(ValueError, match=f"(?s){message}") as caught:
        sk.solve(sk.process(f, noise="none"), np.ones(2), [0, 1], sk.euler, h=1.0, seed=0, backend=NUMBA)
    assert "Failed in nopython" not in str(caught.value) and len(str(caught.value)) < 600


def test_what_is_not_reached_is_not_refused():
    """A method that captures a dict, and is not called by a step, disturbs nobody."""
    description = captured.describe(function("c * x if t < 0 else x", c={}))
    assert description[0] == "function" and isinstance(compiled({}), Refused)
    table = {"k": 1.0}

    class Plots(NamedTuple):
        noise = "none"

        def drift(self, t, x):
            return thrice(x)

        def plot(self):
            return table

    assert sk.solve(Plots(), 1.0, [0, 1], sk.euler, h=1.0, seed=0, backend=NUMBA).x[-1] == 4


# --- rounding ------------------------------------------------------------------------------------

TABLE = np.sin(np.arange(501.0))


def test_numbers_are_rounded_as_written():
    """A8: t fs - 2, with t a multiple of 1/fs, is a whole number where the product is rounded, as in numpy."""

    class Samples(NamedTuple):
        fs: float = 49.0
        noise = "none"

        def drift(self, t, x):
            return math.floor(t * self.fs - 2.0)

    grid = np.arange(1, 2001) / 49.0
    ours, oracle = (
        sk.solve(Samples(), 0.0, grid, sk.euler, grid=grid, seed=0, backend=b).x for b in (NUMBA, sk.backends.numpy())
    )
    np.testing.assert_allclose(ours, oracle, rtol=1e-13)


def test_quotients_are_those_of_numpy():
    """A8: int(t/h) as index, floor(t/h); A14: no constant of float32 overflows. h and kT are numbers of the process."""

    class Quotients(NamedTuple):
        h: float = 0.01
        kT: float = 4e-21
        m: float = 1e-26
        k: float = 1e-12
        s: float = 1e-36
        noise = "none"

        def drift(self, t, x):
            return TABLE[int(t / self.h)] + sm.floor(t / self.h)

    class Units(Quotients):
        def drift(self, t, x, y):
            return -self.k * x / self.kT / self.m * self.s, TABLE[int(t / self.h)] * x

    grid = np.arange(501) * 0.01
    ours, oracle = (
        sk.solve(Quotients(), 0.0, grid, sk.euler, grid=grid, seed=0, backend=b).x for b in (NUMBA, sk.backends.numpy())
    )
    np.testing.assert_allclose(ours, oracle, rtol=1e-13)
    x0 = np.full((3, 2), 0.5, np.float32)
    ours, oracle = (
        sk.solve(Units(), x0, [0, 1], sk.euler, h=0.5, seed=0, backend=b).x for b in (NUMBA, sk.backends.numpy())
    )
    assert np.isfinite(oracle).all()
    np.testing.assert_allclose(ours, oracle, rtol=1e-6)


# --- interrupts, silence, the disk ---------------------------------------------------------------

FIRST_SOLVE = """
import os, signal, sys, time
import sdekit as sk

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "numba.core.types":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
        if name == "sdekit.backends.kernels.fixed":
            import numba.core.caching
            numba.core.caching.CacheImpl._locator_classes = []  # as where nothing can be written

def solve():
    process = sk.process(lambda t, x: -x, noise="none")
    return sk.solve(process, 1.0, [0, 1], sk.euler, h=0.5, seed=0, backend=sk.backends.numba(1)).x[-1]

sys.meta_path.insert(0, Finder())
try:
    solve()
except KeyboardInterrupt:
    print("interrupted", solve())
"""


def test_ctrl_c_in_the_first_solve_and_no_place_to_write():
    """B4: an interrupt while numba is imported, then a solve; B1, B2: nothing is cached on the disk."""
    done = subprocess.run([sys.executable, "-c", FIRST_SOLVE], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["interrupted", "0.25"], done.stderr


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_an_interrupted_wait_leaves_the_work_to_end():
    ended = threading.Event()

    def work():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        waiting.apart(work)
    assert ended.wait(10)


def test_a_long_compilation_says_so(capsys, monkeypatch):
    """B11: one line after a while; nothing where it is quick, and nothing where nothing compiles."""
    monkeypatch.setattr(waiting, "PATIENCE", 0.05)
    process = sk.process(lambda t, x: thrice(thrice(x)), noise="none")
    for said in ("sdekit: compiling Functions with euler …\n", ""):
        sk.solve(process, 1.0, [0, 1], sk.euler, h=0.5, seed=0, backend=NUMBA)
        assert capsys.readouterr().err == said
    assert waiting.apart(lambda: 7, "slow") == 7
    with pytest.raises(ZeroDivisionError):
        waiting.apart(lambda: 1 / 0, "slow")
    assert capsys.readouterr().err == ""
