"""The mean of geometric Brownian motion over many paths with steps of adaptive size along the noise: is it unbiased?

    python -m benchmarks.noisy_steps   writes benchmarks/results/noisy_steps.json

Of each method the error of the mean at t = 1, against e^μ, with its standard error; and the mean difference from the
exact state at the end of the same Brownian path, whose standard error is far smaller.
"""

import json
import math
from pathlib import Path

import numpy as np

import sdekit as sk

from .report import machine, versions

RESULTS = Path(__file__).parent / "results" / "noisy_steps.json"
MU, SIGMA, TOL, PATHS, SEED = 0.1, 0.5, 1e-3, 100_000, 11


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


def main():
    found = {method.name: measured(method) for method in (sk.sri1w1, sk.milstein)}
    what = {"mu": MU, "sigma": SIGMA, "tol": TOL, "paths": PATHS, "seed": SEED, "methods": found}
    print(json.dumps(found, indent=1))
    sk.files.write_text(RESULTS, json.dumps(what | {"machine": machine(), "versions": versions()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
