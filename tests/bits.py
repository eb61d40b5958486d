"""Solves whose results are the same to the bit wherever they run, and the table of their hashes.

`python tests/bits.py` prints the table, `python tests/bits.py write` renews it: after a change of a formula,
or of the compiler, that is meant to change the last bits.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

import sdekit as sk
from sdekit import math as sm

TABLE = Path(__file__).with_name("bits.json")
PATHS = 300  # a whole block, and a rest of few
GRID = np.linspace(0, 1, 301)
SAVES = GRID[[0, 1, 77, 300]]


class Sine(NamedTuple):
    def drift(self, t, x):
        return 2.0 * sm.sin(3.0 * x) - x * sm.exp(-x * x)

    def diffusion(self, t, x):
        return 0.3 + 0.1 * sm.cos(x) * t


class Divided(NamedTuple):
    """Divisions and roots by what is the same in all lanes and by what is not."""

    m: float = 1.7
    calculus = "stratonovich"

    def drift(self, t, x):
        return x / self.m / (1.0 + x * x) - x * sm.sqrt(1.0 + abs(x)) / self.m

    def diffusion(self, t, x):
        return 0.5 / (1.0 + x * x)


# name: process, method, shape of one state
CASES = {
    "OU": (sk.OU(), sk.euler_maruyama, ()),
    "GBM, milstein": (sk.GBM(), sk.milstein, ()),
    "Lorenz": (sk.Lorenz(), sk.euler_maruyama, (3,)),
    "sine": (Sine(), sk.euler_maruyama, ()),
    "GBM, sri1w1": (sk.GBM(), sk.sri1w1, ()),
    "divisions": (Divided(), sk.heun, ()),
    "matrix": (sk.Heston(), sk.euler_maruyama, (2,)),
    "OU, sra1": (sk.OU(), sk.sra1, ()),
}
TYPES = ("float64", "float32")


def start(name, dtype, paths=PATHS):
    return np.random.default_rng(1).uniform(0.5, 1.5, size=(paths, *CASES[name][2])).astype(dtype)


def solve(name, x0, threads=1, first_path=0):
    """The states at SAVES."""
    process, method, _ = CASES[name]
    how = {"grid": GRID, "seed": 5, "first_path": first_path, "backend": sk.backends.numba(threads)}
    return sk.solve(process, x0, SAVES, method, **how).x


def digest(x):
    return hashlib.sha256(x.astype(x.dtype.newbyteorder("<")).tobytes()).hexdigest()


def table():
    return {f"{name}, {dtype}": digest(solve(name, start(name, dtype))) for name in CASES for dtype in TYPES}


if __name__ == "__main__":
    text = json.dumps(table(), indent=1) + "\n"
    if sys.argv[1:] == ["write"]:
        TABLE.write_text(text)
    print(text, end="")
