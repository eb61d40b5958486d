"""Steps of adaptive size along the noise: is the mean unbiased, and how many evaluations do they save?

    python -m benchmarks.noisy_steps   writes benchmarks/results/noisy_steps.json

Of geometric Brownian motion the error of the mean at t = 1, against e^μ, with its standard error; and the mean
difference from the exact state at the end of the same Brownian path, whose standard error is far smaller.

Then, along the same paths, how many evaluations of the drift fixed steps need for the same strong error, in the root
mean square, over those of adaptive steps: between the numbers of fixed steps the errors are interpolated, logarithm to
logarithm. Geometric Brownian motion, where a path differs from another in its size alone, and dX = −X|X| dt + ½ X dW,
which is stiff while X is large, against 2¹⁵ steps.
"""

import json
import math
from pathlib import Path

import numpy as np

import sdekit as sk

from .report import machine, versions

RESULTS = Path(__file__).parent / "results" / "noisy_steps.json"
MU, SIGMA, TOL, PATHS, FEW, SEED = 0.1, 0.5, 1e-3, 100_000, 50_000, 11


def measured(method):
    """Errors of the mean in units of 1, and what they cost."""
    path, start = sk.BrownianPath(SEED, 0.0, 1.0), np.ones(PATHS)
    sol = sk.solve(sk.GBM(MU, SIGMA), start, [0, 1], method, tol=TOL, noise=path, backend=sk.backends.numpy())
    exact = np.exp((MU - 0.5 * SIGMA**2) + SIGMA * path(1.0, (PATHS,)))
    error, same = float(sol.final.mean() - math.exp(MU)), sol.final - exact
    own, paired = (float(x.std() / math.sqrt(PATHS)) for x in (sol.final, same))
    return {
        "error of the mean": error,
        "its standard error": own,
        "within 3 standard errors + tol": abs(error) <= 3 * own + TOL,
        "mean difference along the path": float(same.mean()),
        "its standard error along the path": paired,
        "strong error": float(np.abs(same).mean()),
        "steps": float(sol.steps.mean()),
        "failed": int(sol.failed.sum()),
    }


def stiff(t, x):
    return -x * abs(x)


def half(t, x):
    return 0.5 * x


GROWTH = {f"geometric Brownian motion, sigma = {sigma:g}": sk.GBM(MU, sigma) for sigma in (1.0, 2.0, 3.0)}
TASKS = [(name, process, 1.0, 1.0, range(4, 11), "atol", (0.1, 0.03, 0.01)) for name, process in GROWTH.items()] + [
    (f"stiff quadratic from {x0:g}", sk.process(stiff, half), x0, 2.0, range(7, 13), "rtol", (0.1, 0.03, 0.01))
    for x0 in (100.0, 1000.0)
]  # start, end, binary logarithms of the numbers of fixed steps, what the tolerance bounds


def saved(process, x0, t, exponents, bound, tolerances, method=sk.sri1w1):
    """Rows (tolerance, strong error, evaluations, those of fixed steps over them)."""
    path, start = sk.BrownianPath(SEED, 0.0, t), np.full(FEW, x0)

    def strong(**steps):
        sol = sk.solve(process, start, [0, t], method, noise=path, **steps)
        return float(np.sqrt(np.mean((sol.final - truth) ** 2))), float(np.mean(sol.nfe))

    if isinstance(process, sk.GBM):
        truth = np.exp((process.mu - 0.5 * process.sigma**2) * t + process.sigma * path(t, (FEW,)))
    else:
        truth = sk.solve(process, start, [0, t], method, noise=path, h=t / 2**15).final
    fixed = [strong(h=t / 2**k) for k in exponents]
    errors, evaluations = np.log([row for row in fixed if math.isfinite(row[0])]).T
    rows = []
    for tol in tolerances:
        allowed = {"rtol": tol, "atol": 0.01 * tol} if bound == "rtol" else {"rtol": 0.0, "atol": tol}
        error, nfe = strong(tol=sk.Tolerance(**allowed))
        same = np.interp(-math.log(error), -errors, evaluations)
        rows.append([tol, error, nfe, math.exp(same) / nfe])
    return {"tolerance of": bound, "columns": ["tolerance", "strong error", "evaluations", "times fewer"], "rows": rows}


def main():
    found = {method.name: measured(method) for method in (sk.sri1w1, sk.milstein)}
    what = {"mu": MU, "sigma": SIGMA, "tol": TOL, "paths": PATHS, "seed": SEED, "methods": found}
    what["against fixed steps"] = {name: saved(*task) for name, *task in TASKS}
    print(json.dumps(what, indent=1))
    sk.files.write_text(RESULTS, json.dumps(what | {"machine": machine(), "versions": versions()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
