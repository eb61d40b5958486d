"""Compiled steps of torch against eager ones, in one run: `python -m benchmarks.compiled`; results/compiled.json.

10⁶ paths in float32 on two threads, 200 steps; medians of interleaved rounds, and the median of the rounds' ratios. The
first call, which compiles, is timed apart, with torch's cache empty; of the first task with torch's compiler to load.
Compilations are counted over other seeds, times, step sizes and parameters. On a GPU: --device cuda.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch._dynamo.utils import counters
from torch._inductor.utils import fresh_inductor_cache

import sdekit as sk
from sdekit.files import write_text

from .report import machine, versions

RESULTS = Path(__file__).parent / "results" / "compiled.json"
PATHS, STEPS, ROUNDS = 1_000_000, 200, 5
EAGER, COMPILED = sk.backends.torch(), sk.backends.torch(compile=True)
TASKS = {  # goals: how many times as fast as eager steps
    "OU": (sk.OU(theta=1.0, mu=0.0, sigma=0.3), sk.OU(theta=2.0, mu=0.1, sigma=0.5), None, (), 3.0),
    "Lorenz": (sk.Lorenz(), sk.Lorenz(rho=20.0), None, (3,), 2.5),
    "GBM, milstein": (sk.GBM(), sk.GBM(mu=0.1), sk.milstein, (), 3.0),
    "additive, sra1": (sk.DoubleWell(), sk.DoubleWell(sigma=0.4), sk.sra1, (), 3.0),
}


def solved(process, x, method, backend, steps=STEPS, seed=0, h=0.005, t0=0.0):
    """(the end, seconds) of a solve."""
    begin = time.perf_counter()
    end = sk.solve(process, x, [t0, t0 + steps * h], method, h=h, seed=seed, backend=backend).final
    if x.device.type != "cpu":
        torch.cuda.synchronize()
    return end, time.perf_counter() - begin


def apart(process, method, shape, device, dtype, steps):
    """The largest difference of compiled and eager ends, in units of the state."""
    x = torch.ones((10_000, *shape), dtype=dtype, device=device)
    a, b = (solved(process, x, method, backend, steps)[0] for backend in (EAGER, COMPILED))
    return float((a - b).abs().max() / a.abs().max())


def compilations():
    return counters["stats"]["unique_graphs"]


def measured(name, paths, device):
    """One task: rates, their ratio, the first call, differences, and compilations."""
    process, other, method, shape, goal = TASKS[name]
    x = torch.ones((paths, *shape), device=device)
    before = compilations()
    _, first = solved(process, x, method, COMPILED, steps=4)
    once = compilations() - before
    solved(process, x, method, COMPILED, steps=8, seed=2**40, h=0.01, t0=3.0)
    again = compilations() - before - once
    solved(other, x, method, COMPILED, steps=8)
    parameters = compilations() - before - once - again
    rounds = [[solved(process, x, method, b, seed=i)[1] for b in (EAGER, COMPILED)] for i in range(ROUNDS)]
    eager, compiled = (statistics.median(times) for times in zip(*rounds, strict=True))
    long = () if name == "Lorenz" else (1000,)  # chaos multiplies rounding
    differences = {
        f"{str(dtype)[6:]}, {steps} steps": apart(process, method, shape, device, dtype, steps)
        for dtype in (torch.float32, torch.float64)
        for steps in (4, *long)
    }
    return {
        "path-steps/s, compiled": paths * STEPS / compiled,
        "path-steps/s, eager": paths * STEPS / eager,
        "times as fast": statistics.median(a / b for a, b in rounds),
        "goal": goal,
        "first call, s": first,
        "compilations": {"first": once, "seed, times, step size": again, "parameters": parameters},
        "differences": differences,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--paths", type=int, default=PATHS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found = {}
    with tempfile.TemporaryDirectory() as folder, fresh_inductor_cache(dir=folder):
        for name in TASKS:
            found[name] = measured(name, given.paths, given.device)
            print(name, json.dumps(found[name], indent=1), flush=True)
    where = machine() | ({"gpu": torch.cuda.get_device_name()} if given.device == "cuda" else {})
    work = {"paths": given.paths, "steps": STEPS, "threads": given.threads, "rounds": ROUNDS}
    if not given.no_write:
        write_text(
            RESULTS, json.dumps({"work": work, "machine": where, "versions": versions(), "tasks": found}, indent=1)
        )


if __name__ == "__main__":
    main()
