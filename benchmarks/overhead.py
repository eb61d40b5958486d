"""What a step of a sampler costs outside of the network: `python -m benchmarks.overhead`.

Torch on the CPU, a batch of 64 × 3 × 32 × 32 in float32, 20 steps. The network is a constant that is
returned without work. The limit that is looked at is 0.3 ms + 30 elementwise passes over the state +
the time of the generator for the normals that the step needs, all measured in the same run.
Medians of interleaved rounds; results/overhead.json.
"""

import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

import sdekit as sk
from sdekit.backends.kernels import generator
from sdekit.files import write_text

from .report import machine, versions

SHAPE = (64, 3, 32, 32)
STEPS, ROUNDS = 20, 9
FIXED, PASSES = 0.3e-3, 30
RESULTS = Path(__file__).parent / "results" / "overhead.json"


def samplers():
    """Every shipped method that runs on `Reverse`, with the eta of its kind."""
    chosen = {}
    for name in sk.methods.__all__:
        method = getattr(sk, name)
        if "pair" in method.needs or "score" in method.needs:
            chosen[name] = method, 1.0
        elif method.noise == ("none",):
            chosen[name] = method, 0.0
        elif "transition" not in method.needs and "additive" in method.noise:
            chosen[name] = method, 1.0
    return chosen


def passes(x, count=100):
    """Elementwise passes, each into memory that the one before has freed."""
    for _ in range(count):
        x * 1.000001


def seconds(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def main():
    process = sk.VP()
    x = sk.Reverse(process, lambda t, x: x).start(SHAPE, seed=0, like=torch.zeros(1))
    eps = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    score = sk.scores.from_noise(lambda t, x: eps, process)
    grid = sk.grids.log_snr(process, STEPS)
    z, threads = np.empty((4, x.numel()), np.float32), torch.get_num_threads()
    chosen = samplers()

    def step_of(name):
        method, eta = chosen[name]
        return lambda: sk.solve(sk.Reverse(process, score, eta), x, grid=grid, method=method, seed=0)

    measured = {name: step_of(name) for name in chosen}
    tasks = {
        "pass": lambda: passes(x),
        "normals": lambda: generator.rows(z, 0, 0, 0, 0, threads),
        **measured,
    }
    for task in tasks.values():
        task()
    times = {name: [] for name in tasks}
    for _ in range(ROUNDS):
        for name, task in tasks.items():
            times[name].append(seconds(task))
    median = {name: statistics.median(values) for name, values in times.items()}
    one_pass, one_draw = median["pass"] / 100, median["normals"] / len(z)
    rows = {}
    for name in chosen:
        cost = median[name] / STEPS
        limit = FIXED + PASSES * one_pass + chosen[name][0].normals * one_draw
        rows[name] = {"seconds": cost, "limit": limit, "share": cost / limit}
        print(f"{name:24s} {1e3 * cost:7.3f} ms a step, limit {1e3 * limit:7.3f} ms, share {cost / limit:.2f}")
    print(f"one pass {1e3 * one_pass:.3f} ms, one draw of normals {1e3 * one_draw:.3f} ms, {threads} threads")
    result = {
        "shape": SHAPE, "steps": STEPS, "rounds": ROUNDS, "pass": one_pass, "normals": one_draw,
        "threads": threads, "methods": rows, "machine": machine(), "versions": versions(),
    }  # fmt: skip
    write_text(RESULTS, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
