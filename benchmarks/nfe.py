"""Accuracy against NFE of all methods, on three targets and three processes.

    python -m benchmarks.nfe            # measures what benchmarks/results/nfe.json does not hold yet
    python -m benchmarks.nfe --fresh    # begins again
    python -m benchmarks.nfe --draw     # draws the figures and prints the tables of what is there

On VP all methods; on FlowPath and EDM those whose result is not a function of the signal-to-noise ratio alone.
After each cell the results are saved, so that a broken run goes on where it stopped. Figures: docs/figures/nfe-*.png.
"""

import argparse
import json
import time
from itertools import product
from pathlib import Path

import sdekit as sk
from sdekit.convergence import WorkPrecision
from sdekit.files import write_text

from . import chart, samplers
from .report import machine, versions

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "nfe.json"
FIGURES = ROOT / "docs" / "figures"
BUDGETS = (5, 10, 20, 50)
SAMPLES = {"gaussian": (None, None), "eight": (10_000, 1_000_000), "digits": (1_000, 2_000)}
PROCESSES = sk.VP(), sk.FlowPath(), sk.EDM()
NOT_INVARIANT = {
    False: "euler, midpoint, rk4",
    True: "euler_maruyama, heun, stratonovich_midpoint, sra1, exponential_euler, predictor_corrector",
}
INVARIANT = {
    False: "ddim, edm_heun, dpm_solver(2), dpm_solver(3), dpmpp_2m, dpmpp_3m, unipc(1), unipc(2), unipc(3), deis(2), "
    "deis(3), deis(4), lms(2), lms(3), lms(4)",
    True: "ancestral, dpmpp_sde, dpmpp_2m_sde, annealed_langevin(0.16, 5)",
}


def churned(steps):
    """Each step from a noise level raised by a tenth."""
    return sk.edm_heun(churn=0.1 * steps, steps=steps)


def chosen(process, noisy):
    """The methods of a cell. Left out is what is the same by another name, such as dpm_solver(1) and ddim."""
    names = NOT_INVARIANT[noisy]
    if not isinstance(process, sk.VP):
        return samplers.named("method", names, sk.methods)
    found = samplers.named("method", f"{names}, {INVARIANT[noisy]}", sk.methods)
    return [*found, churned] if noisy else found


def load():
    if not RESULTS.exists():
        return {"cells": {}}
    report = json.loads(RESULTS.read_text(encoding="utf-8"))
    report["cells"] = {k: WorkPrecision.from_json(json.dumps(v)) for k, v in report["cells"].items()}
    return report


def save(report):
    cells = {key: json.loads(record.to_json()) for key, record in report["cells"].items()}
    write_text(RESULTS, json.dumps({**report, "cells": cells}, indent=1) + "\n")


def measure(report, scale):
    """Measure the missing cells; `scale` divides the numbers of samples."""
    for (name, make), process, noisy in product(samplers.TARGETS.items(), PROCESSES, (False, True)):
        key = f"{name}-{type(process).__name__}-{'sde' if noisy else 'ode'}"
        if key in report["cells"]:
            continue
        clock, count = time.perf_counter(), SAMPLES[name][noisy]
        count = count and max(50, count // scale)
        report["cells"][key] = samplers.measure(make(), noisy, process, chosen(process, noisy), BUDGETS, count)
        seconds = time.perf_counter() - clock
        report.setdefault("seconds", {})[key] = seconds
        print(f"{key:24} {len(report['cells'][key].rows):4} rows {seconds:6.0f} s", flush=True)
        if scale == 1:
            save(report)


def show(report, folder):
    """Tables, and figures into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, record in report["cells"].items():
        case = samplers.TARGETS[key.partition("-")[0]]()
        for metric in record.metrics:
            print(f"\n{case.title}, {record.process}\n\n{record.table(metric)}")
            chart.work_precision(folder / f"nfe-{key}-{metric}.png", record, metric, case.title)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--fresh", action="store_true", help="measure everything anew")
    options.add_argument("--draw", action="store_true", help="measure nothing")
    options.add_argument("--quick", type=Path, metavar="FOLDER", help="few samples, figures there, no JSON")
    given = options.parse_args()
    report = {"cells": {}} if given.fresh or given.quick else load()
    if not given.draw:
        report |= {"machine": machine(), "versions": versions()}
        measure(report, 100 if given.quick else 1)
    show(report, given.quick or FIGURES)


if __name__ == "__main__":
    main()
