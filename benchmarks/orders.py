"""Every claimed order, measured with more paths and finer steps than the suite does.

    python -m benchmarks.orders

The problems are those of tests/test_orders.py, with steps 2 to 4 times finer. Prints a table and
writes benchmarks/results/orders.json.
"""

import json
import time
from pathlib import Path

from sdekit.convergence import strong_order, weak_order
from sdekit.files import write_text
from tests import test_orders as suite

from .report import machine, versions

RESULTS = Path(__file__).parent / "results" / "orders.json"
PATHS = 2  # times those of the suite
HEADER = "| method | order | noise | process | claimed | measured |\n|---|---|---|---|---|---|"


def finer(given):
    """The suite's settings with twice the steps, and one doubling more."""
    steps = given.get("steps", suite.DOUBLING[:4])
    fine = {"fine": 4 * given["fine"]} if "fine" in given else {}
    return {**given, **fine, "steps": (*(2 * n for n in steps), 4 * steps[-1])}


def entry(method, kind, noise, process, claimed, found, paths):
    return {
        "method": repr(method),
        "order": kind,
        "noise": noise,
        "process": type(process).__name__,
        "claimed": claimed,
        "measured": found.order,
        "stderr": found.stderr,
        "paths": paths,
        "h": found.h.tolist(),
        "errors": found.errors.tolist(),
        "error_stderrs": found.stderrs.tolist(),
    }


def row(e):
    names = e["method"], e["order"], e["noise"], e["process"]
    return f"| {' | '.join(names)} | {e['claimed']} | {e['measured']:.3f} ± {e['stderr']:.3f} |"


def measure():
    """One entry for each claim and problem."""
    for m in suite.METHODS:
        for noise, claimed in (m.strong or {}).items():
            paths = 1000 * PATHS
            for process, x0, given in suite.STRONG_PROBLEMS[noise](m, claimed):
                given = {**finer(given), "paths": paths, **suite.REFERENCE}
                found = strong_order(process, m, x0, seed=1, **given)
                yield entry(m, "strong", noise, process, claimed, found, paths)
        if m.weak is not None:
            process, x0, functional, given = suite.weak_problem(m)
            paths = PATHS * given["paths"]
            given = {**finer(given), "paths": paths, **suite.REFERENCE}
            found = weak_order(process, m, x0, functional, seed=3, **given)
            yield entry(m, "weak", getattr(process, "noise", ""), process, m.weak, found, paths)
        if m.order is not None:
            given = {**finer({"fine": 512}), "reference": suite.sk.rk4, **suite.REFERENCE}
            process = suite.Hunting()
            found = strong_order(process, m, (1.5, 0.6), **given)
            yield entry(m, "deterministic", "none", process, m.order, found, 1)


def main():
    begin, results = time.perf_counter(), []
    print(HEADER)
    for e in measure():
        results.append(e)
        print(row(e), flush=True)
    report = {
        "machine": machine(),
        "versions": versions(),
        "seconds": time.perf_counter() - begin,
        "results": results,
    }
    write_text(RESULTS, json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
