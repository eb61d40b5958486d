"""What methods for noises that do not commute cost and gain: `python -m benchmarks.areas` writes results/areas.json.

Processor time of a step of a path on one thread, in float64, for two components and two or four noises; medians of
interleaved rounds. Strong errors of the equation with four noises along the same Brownian paths, by the step size.
"""

import json
import statistics
import time
from typing import NamedTuple

import sdekit as sk
from sdekit import math as sm

from .report import RESULTS, machine, versions

METHODS = sk.euler_maruyama, sk.milstein_general, sk.ri6
PATHS, STEPS, ROUNDS = 4096, 64, 7
ERRORS = {"paths": 500, "steps": (16, 32, 64, 128), "fine": 1024, "seed": 0, "reference": sk.milstein_general}


class Two(NamedTuple):
    noise = "general"

    def drift(self, t, x, y):
        return 0.3 * sm.sin(y), 0.3 * sm.cos(x + t)

    def diffusion(self, t, x, y):
        return (0.4 + 0.2 * sm.sin(y), 0.3 * sm.cos(x)), (0.3 * sm.sin(x + y + t), 0.3 + 0.2 * sm.cos(y))


class Four(Two):
    def diffusion(self, t, x, y):
        return (
            (0.4 + 0.2 * sm.sin(y), 0.3 * sm.cos(x), 0.2 * y, 0.1),
            (0.3 * sm.sin(x + y + t), 0.3 + 0.2 * sm.cos(y), 0.3 + 0.1 * x, 0.25 * sm.sin(x)),
        )


def seconds(process, method, h):
    """Of the processor, for a step of a path."""
    begin = time.process_time()
    how = {"h": h, "paths": PATHS, "seed": 0, "backend": sk.backends.numba(threads=1)}
    sk.solve(process, [0.0, 0.0], [0, h * STEPS], method, **how)
    return (time.process_time() - begin) / (PATHS * STEPS)


def costs(process):
    """{h: {method: median seconds}}."""
    found = {}
    for h in (0.01, 0.001):
        times = {method.name: [] for method in METHODS}
        for n in range(ROUNDS + 1):
            for method in METHODS:
                took = seconds(process, method, h)
                times[method.name] += [took] if n else []  # the first round compiles
        found[f"{h:g}"] = {name: statistics.median(values) for name, values in times.items()}
        print(type(process).__name__, h, found[f"{h:g}"], flush=True)
    return found


def errors(method):
    """{steps: strong error at the end}."""
    found = sk.convergence.strong_order(Four(), method, [0.0, 0.0], **ERRORS)
    return dict(zip(map(str, ERRORS["steps"]), map(float, found.errors)))


def main():
    result = {"seconds": {"2": costs(Two()), "4": costs(Four())}}
    result["errors"] = {method.name: errors(method) for method in METHODS[:2]}
    print(result["errors"])
    text = json.dumps({**result, "machine": machine(), "versions": versions()}, indent=1)
    sk.files.write_text(RESULTS / "areas.json", text + "\n")


if __name__ == "__main__":
    main()
