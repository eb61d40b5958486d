"""What solves of every size cost, in one run: many paths, one path, little work, correlated assets.

    python -m benchmarks.core        writes benchmarks/results/core.json

The linear equation is the published one of DiffEqGPU: three states dX = 1.5 X dt + 0.01 X dW, X0 = 0.1, on [0, 1],
2,097,152 paths of 256 steps in float32, host to host; its maintained page gives 2,587 ms on a V100 GPU and 5,108 ms
on CPU threads. One path is compared with `rng.standard_normal(n)` and a compiled loop over it.
"""

import json
import math
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np

import sdekit as sk
from benchmarks.report import machine, versions

RESULTS = Path(__file__).parent / "results" / "core.json"
ROUNDS = 7
PUBLISHED = {"DiffEqGPU, V100": 2.587, "DiffEqGPU, CPU threads": 5.108}
ONE_PATH = 1_000_000


class Linear(NamedTuple):
    """Three states that grow and are driven alike."""

    a: float = 1.5
    b: float = 0.01

    def drift(self, t, x, y, z):
        return self.a * x, self.a * y, self.a * z

    def diffusion(self, t, x, y, z):
        return self.b * x, self.b * y, self.b * z


@numba.njit
def euler(x, h, z):
    root = math.sqrt(h)
    for i in range(z.size):
        x += -x * h + 0.3 * root * z[i]
    return x


def by_hand():
    """One path: all normals, then a compiled loop over them."""
    return euler(1.0, 1e-3, np.random.default_rng(0).standard_normal(ONE_PATH))


def assets(k, rho=None):
    """k geometric Brownian motions, independent or with one correlation between all of them."""
    names = [f"x{i}" for i in range(k)]
    texts = ("0.05", "0.2")
    drift, diffusion = (
        eval(f"lambda t, {', '.join(names)}: ({', '.join(f'{c} * {n}' for n in names)},)") for c in texts
    )
    matrix = None if rho is None else np.full((k, k), rho) + (1 - rho) * np.eye(k)
    return sk.process(drift, diffusion, correlation=matrix)


def tasks():
    start, ou = np.full(3, 0.1, np.float32), sk.OU(theta=1.0, mu=0.0, sigma=0.3)
    free, bound, many = assets(10), assets(10, 0.5), assets(32, 0.5)

    def portfolio(process, k):
        return sk.solve(process, np.ones(k, np.float32), [0, 1], h=1e-2, paths=50_000, seed=0)

    return {
        "linear equation, 2,097,152 × 256": lambda: sk.solve(Linear(), start, [0, 1], h=1 / 256, paths=2**21, seed=0),
        "one path × 1,000,000": lambda: sk.solve(ou, 1.0, [0, 1000], h=1e-3, seed=0),
        "one path by numpy and a compiled loop": by_hand,
        "1,000 paths × 10": lambda: sk.solve(ou, 1.0, [0, 1], h=0.1, paths=1000, seed=0),
        "10 assets × 50,000 × 100": lambda: portfolio(free, 10),
        "10 correlated assets": lambda: portfolio(bound, 10),
        "32 correlated assets": lambda: portfolio(many, 32),
    }


def seconds(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def main():
    work = tasks()
    first = {name: seconds(task) for name, task in work.items()}  # compiles
    times = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, task in work.items():
            times[name].append(seconds(task))
    median = {name: statistics.median(values) for name, values in times.items()}
    for name, value in median.items():
        print(f"{name:40s} {1e3 * value:10.2f} ms   first call {first[name]:6.2f} s")
    one, hand = median["one path × 1,000,000"], median["one path by numpy and a compiled loop"]
    ratios = {
        "one path / numpy and a loop": one / hand,
        "10 correlated / 10 uncorrelated": median["10 correlated assets"] / median["10 assets × 50,000 × 100"],
        **{
            f"{name} / linear equation": value / median["linear equation, 2,097,152 × 256"]
            for name, value in PUBLISHED.items()
        },
    }
    for name, value in ratios.items():
        print(f"{name:40s} {value:10.2f}")
    result = {
        "rounds": ROUNDS, "seconds": times, "median": median, "first_call": first, "ratios": ratios,
        "published": PUBLISHED, "machine": machine(), "versions": versions(),
    }  # fmt: skip
    sk.files.write_text(RESULTS, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
