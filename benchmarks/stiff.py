"""Stiff equations beside scipy's: Van der Pol, Robertson, HIRES, and an ensemble of Robertson's with other rates.

    python -m benchmarks.stiff         writes benchmarks/results/stiff.json

Evaluations are those of the drift, with those that make Jacobians by differences, counted on both sides. The loop over
systems that scipy needs is timed on a sample and scaled to all of them. Rounds are interleaved, medians count.
"""

import json
import os
import statistics
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import solve_ivp

import sdekit as sk

from .report import machine, versions

RESULTS = Path(__file__).parent / "results" / "stiff.json"
TOL, ROUNDS, SYSTEMS, SAMPLE, SEED = 1e-6, 3, 100_000, 8, 1


class VanDerPol(NamedTuple):
    mu: float = 1e3
    noise = "none"

    def drift(self, t, x, y):
        return y, self.mu * (1.0 - x * x) * y - x


class Robertson(NamedTuple):
    slow: Any = 0.04
    back: Any = 1e4
    fast: Any = 3e7
    noise = "none"

    def drift(self, t, x, y, z):
        decay, back, out = self.slow * x, self.back * y * z, self.fast * y * y
        return back - decay, decay - back - out, out


class Hires(NamedTuple):
    """Schäfer's "high irradiance responses", 1975."""

    noise = "none"

    def drift(self, t, a, b, c, d, e, f, g, h):
        bound = 280.0 * f * h
        return (
            -1.71 * a + 0.43 * b + 8.32 * c + 0.0007,
            1.71 * a - 8.75 * b,
            -10.03 * c + 0.43 * d + 0.035 * e,
            8.32 * b + 1.71 * c - 1.12 * d,
            -1.745 * e + 0.43 * f + 0.43 * g,
            -bound + 0.69 * d + 1.71 * e - 0.43 * f + 0.69 * g,
            bound - 1.81 * g,
            1.81 * g - bound,
        )


# The states at the end are those of scipy's Radau at 1e-12; of `Hires` that of F. Mazzia and C. Magherini, "Test Set
# for Initial Value Problem Solvers", 2008, to the digits that both share.
PROBLEMS = [
    (VanDerPol(), [2.0, 0.0], 2000.0, [1.706167732, -0.0008928097]),
    (Robertson(), [1.0, 0.0, 0.0], 1e5, [0.01786592114, 7.2747514686e-8, 0.98213400611]),
    (
        Hires(), [1.0, 0, 0, 0, 0, 0, 0, 0.0057], 321.8122,
        [
            0.737131257332e-3, 0.144248572632e-3, 0.5888729741e-4, 0.117565134328e-2, 0.238635619883e-2,
            0.623896825274e-2, 0.284999839518e-2, 0.285000160482e-2,
        ],
    ),
]  # fmt: skip


def scipys(process, x0, end, method, rtol=TOL, atol=TOL):
    """(the state at the end, evaluations, seconds)."""
    count = 0

    def f(t, x):
        nonlocal count
        count += 1
        return process.drift(t, *x)

    begun = time.perf_counter()
    x = solve_ivp(f, (0, end), x0, method, rtol=rtol, atol=atol).y[:, -1]
    return x, count, time.perf_counter() - begun


def ours(process, x0, end):
    begun = time.perf_counter()
    sol = sk.solve(process, x0, [0, end], sk.rodas5p, tol=TOL, backend=sk.backends.numpy())
    return sol.final, int(np.max(sol.nfe)), time.perf_counter() - begun


def problems():
    """By equation and solver: the largest error in units of the tolerance, evaluations, median milliseconds."""
    found = {}
    for process, x0, end, true in PROBLEMS:
        how = {
            "rodas5p, numpy": ours,
            "scipy Radau": lambda *args: scipys(*args, "Radau"),
            "scipy LSODA": lambda *args: scipys(*args, "LSODA"),
        }
        runs: dict = {name: [] for name in how}
        for _ in range(ROUNDS):
            for name, run in how.items():
                runs[name].append(run(process, x0, end))
        found[type(process).__name__] = {
            name: {
                "error / tol": float(np.abs(rounds[-1][0] - true).max() / TOL),
                "evaluations": rounds[-1][1],
                "milliseconds": 1e3 * statistics.median(seconds for *_, seconds in rounds),
            }
            for name, rounds in runs.items()
        }
    return found


def rates():
    """Those of `SYSTEMS` equations of Robertson: each of the three within a decade of the usual one."""
    factors = 10.0 ** np.random.default_rng(SEED).uniform(-1, 1, (3, SYSTEMS))
    return Robertson(*(rate * factor for rate, factor in zip(Robertson(), factors)))


def ensemble():
    """Systems with other rates, at Tolerance(1e-6, 1e-8), against loops over a sample of them."""
    process, x0, end = rates(), [1.0, 0.0, 0.0], 1e5
    chosen = np.random.default_rng(SEED + 1).choice(SYSTEMS, SAMPLE, replace=False)
    each = [Robertson(*(float(rate[i]) for rate in process)) for i in chosen]
    how, all_seconds, loops = sk.Tolerance(TOL, 1e-8), [], {"Radau": [], "LSODA": []}
    sk.solve(Robertson(*(rate[:32] for rate in process)), x0, [0, end], sk.rodas5p, tol=how)  # compiles
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        sol = sk.solve(process, x0, [0, end], sk.rodas5p, tol=how)
        all_seconds.append(time.perf_counter() - begun)
        for method, seconds in loops.items():
            seconds.append(sum(scipys(p, x0, end, method, TOL, 1e-8)[2] for p in each) * SYSTEMS / SAMPLE)
    true = np.array([scipys(p, x0, end, "Radau", 1e-10, 1e-13)[0] for p in each])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        coarse = sk.solve(process, x0, [0, end], sk.rodas5p, tol=TOL)
    ours_seconds = statistics.median(all_seconds)
    return {
        "systems": SYSTEMS,
        "sample of the loops": SAMPLE,
        "seconds": all_seconds,
        "seconds of loops, scaled": loops,
        "faster than a loop of": {name: statistics.median(s) / ours_seconds for name, s in loops.items()},
        "error / tol, largest of the sample": float(np.abs(sol.final[chosen] - true).max() / TOL),
        "failed": int(sol.failed.sum()),
        "failed at rtol = atol = 1e-6": int(coarse.failed.sum()),
    }


def main():
    result = {
        "tol": TOL, "rounds": ROUNDS, "load average at the start": os.getloadavg(), "problems": problems(),
        "ensemble": ensemble(), "machine": machine(), "versions": versions(),
    }  # fmt: skip
    print(json.dumps({part: result[part] for part in ("problems", "ensemble")}, indent=1))
    sk.files.write_text(RESULTS, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
