"""The largest error of each elementary function of one argument over all 2^32 numbers of float32.

Errors are in units in the last place of the exact result, the smallest unit being 2^-149. The exact result is that
of the same function in float64, whose own error is some 1e-8 of such a unit (`tests/test_math.py` measures it with
mpmath); one number in 61 is also compared with numpy or scipy. Where the exact result rounds to an infinity the answer
must be that or the largest number. Even and odd functions are asked for |x|, and for -|x| whether they are.
Sine, cosine and tangent are asked for |x| <= 1e4, `sin_poly` and `cos_poly` for |x| <= pi/4, `log_positive` for
positive numbers that are neither subnormal nor infinite.

The normals of `sdekit.noise` are made of two words of 32 bits, a radius of one and an angle of the other; each is asked
for all words. Their errors are absolute: normals are centred numbers of size 1.

    nice python -m benchmarks.ulp [name ...]

takes half a minute of one CPU for a function and writes `benchmarks/results/ulp.json`.
"""

import json
import math
import sys
import time
from pathlib import Path

import numba
import numpy as np
from numba import types
from scipy import special

from sdekit.backends.kernels import generator
from sdekit.backends.kernels.elementary import UNARY, implementation
from sdekit.files import write_text

from .report import machine, versions

RESULT = Path(__file__).parent / "results" / "ulp.json"
CHUNK = 1 << 16
EVEN, ODD = ("cos", "cosh", "abs", "cos_poly"), (
    "sin", "tan", "arcsin", "arctan", "sinh", "tanh", "arcsinh", "erf", "cbrt", "sign", "round", "sin_poly",
)  # fmt: skip
LARGEST = {"sin": 1e4, "cos": 1e4, "tan": 1e4, "sin_poly": np.pi / 4, "cos_poly": np.pi / 4}
REFERENCES = {
    "erf": special.erf, "erfc": special.erfc, "round": np.rint, "log_positive": np.log, "sin_poly": np.sin,
    "cos_poly": np.cos,
}  # fmt: skip
FLAGS = {"contract", "nsz", "afn"}


def bits(x):
    """The pattern of the float32 number x as an integer."""
    return int(np.float32(x).view(np.uint32))


def measure(single, double, parity):
    """Compiled (numbers, exact results, errors) that fills the latter two, in vector instructions."""

    @numba.njit(error_model="numpy", fastmath=FLAGS)
    def measured(x, exact, errors):
        for i in range(x.size):
            g, y = np.float64(single(x[i])), double(np.float64(x[i]))
            size = abs(y)
            bits = max(np.float64(size).view(np.uint64) >> np.uint64(52), np.uint64(1023 - 126))
            unit_inverse = np.uint64((np.uint64(2 * 1023 + 23) - bits) << np.uint64(52)).view(np.float64)
            overflown = (size >= 2.0**128 - 2.0**103) & (g * y == np.inf)
            right = (g == y) | ((g != g) & (y != y)) | overflown
            if parity:
                m = np.float64(single(-x[i]))
                mirrored = (m == parity * g) | (g != g)
            else:
                mirrored = True
            miss = abs(g - y) * unit_inverse
            exact[i], errors[i] = y, np.inf if not mirrored else 0.0 if right else miss if miss == miss else np.inf

    return measured


def worst(name):
    """(largest error, the number where it occurs)."""
    parity = 1 if name in EVEN else -1 if name in ODD else 0
    measured = measure(*(implementation(name, t) for t in (types.float32, types.float64)), parity)
    reference = REFERENCES.get(name) or getattr(np, name)
    first, last = (0, bits(LARGEST[name]) + 1) if name in LARGEST else (0, 1 << (31 if parity else 32))
    if name == "log_positive":
        first, last = bits(np.finfo(np.float32).tiny), bits(np.inf)
    exact, errors = np.empty((2, CHUNK))
    most, where = 0.0, 0.0
    for begin in range(first, last, CHUNK):
        x = np.arange(begin, min(begin + CHUNK, last), dtype=np.uint32).view(np.float32)
        n = x.size
        measured(x, exact[:n], errors[:n])
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(exact[:n:61], reference(x[::61].astype(float)), rtol=2e-14, atol=1e-300)
        i = int(errors[:n].argmax())
        if errors[i] > most:
            most, where = float(errors[i]), float(x[i])
    return most, where


def parts(of_two):
    """Compiled (first word, results, exact ones) of the radius, the cosine and the sine; `of_two` has the radius 2."""
    box_muller = generator.box_muller(np.dtype(np.float32))
    log, sqrt, sin, cos = (implementation(name, types.float64) for name in ("log_positive", "sqrt", "sin", "cos"))

    @numba.njit(error_model="numpy", fastmath=FLAGS)
    def radius(begin, got, exact):
        for i in range(got.size):
            got[i] = box_muller(begin + i, 0)[0]
            exact[i] = sqrt(-2.0 * log((float(begin + i) + 0.5) * 2.0**-32))

    @numba.njit(error_model="numpy", fastmath=FLAGS)
    def cosine(begin, got, exact):
        for i in range(got.size):
            got[i] = np.float32(0.5) * box_muller(of_two, begin + i)[0]
            exact[i] = cos((float(begin + i) + 0.5) * (math.pi * 2.0**-31))

    @numba.njit(error_model="numpy", fastmath=FLAGS)
    def sine(begin, got, exact):
        for i in range(got.size):
            got[i] = np.float32(0.5) * box_muller(of_two, begin + i)[1]
            exact[i] = sin((float(begin + i) + 0.5) * (math.pi * 2.0**-31))

    return {"radius": radius, "cosine": cosine, "sine": sine}


def normals():
    """The largest absolute error of each part over all words, and the word where it occurs."""
    got, exact, found = np.empty(CHUNK, np.float32), np.empty(CHUNK), {}
    begin = int(math.exp(-2) * 2**32) - CHUNK // 2
    parts(0)["radius"](begin, got, exact)
    of_two = begin + int(np.flatnonzero(got == 2)[0])
    for name, part in parts(of_two).items():
        most, where = 0.0, 0
        for begin in range(0, 1 << 32, CHUNK):
            part(begin, got, exact)
            miss = np.abs(got - exact)
            i = int(miss.argmax())
            if miss[i] > most:
                most, where = float(miss[i]), begin + i
        found[name] = {"error": most, "word": where}
    return found


def main(names):
    results = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"functions": {}}
    for name in names or (*UNARY, "log_positive", "sin_poly", "cos_poly", "normals"):
        start = time.perf_counter()
        if name == "normals":
            results["normals"] = normals()
        else:
            most, x = worst(name)
            results["functions"][name] = {"ulp": most, "at": x}
        print(f"{name:12} {time.perf_counter() - start:6.1f} s", results["functions"].get(name, ""), flush=True)
        results |= {"machine": machine(), "versions": versions()}
        write_text(RESULT, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
