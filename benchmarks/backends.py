"""What the backends cost by the number of paths: `python -m benchmarks.backends` writes results/backends.json.

An Ornstein–Uhlenbeck process over 100 steps of Euler–Maruyama in float32, end points only, on one thread. Seconds of
its processor, medians of interleaved rounds, and those of the first call, which compiles where there is something to
compile.
"""

import json
import statistics
import time

import numpy as np
import torch

import sdekit as sk

from .report import RESULTS, machine, versions

PATHS, STEPS, ROUNDS = (1, 100, 10_000, 1_000_000), 100, 5


def tasks(paths):
    """The same solve on each backend."""
    ou, x0 = sk.OU(theta=1.0, mu=0.0, sigma=0.3), np.ones(paths, np.float32)

    def task(start, backend):
        return lambda: sk.solve(ou, start, [0, 1], h=1 / STEPS, seed=0, backend=backend)

    return {
        "numba": task(x0, sk.backends.numba(threads=1)),
        "numpy": task(x0, sk.backends.numpy()),
        "torch": task(torch.from_numpy(x0), sk.backends.torch()),
    }


def seconds(task):
    begin = time.process_time()
    task()
    return time.process_time() - begin


def main():
    torch.set_num_threads(1)
    first = {name: seconds(task) for name, task in tasks(PATHS[0]).items()}
    found = {}
    for paths in PATHS:
        work = tasks(paths)
        times = {name: [] for name in work}
        for n in range(ROUNDS + 1):
            for name, task in work.items():
                took = seconds(task)
                times[name] += [took] if n else []  # the first round warms up
        found[str(paths)] = {name: statistics.median(values) for name, values in times.items()}
        print(paths, found[str(paths)], flush=True)
    result = {"steps": STEPS, "seconds": found, "first call": first, "machine": machine(), "versions": versions()}
    sk.files.write_text(RESULTS / "backends.json", json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
