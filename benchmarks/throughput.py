"""Path-steps per second of sdekit and of others, on equal work in one run.

    python -m benchmarks.throughput                       # 1e6 paths × 1000 steps, three rounds
    python -m benchmarks.throughput --paths 100000 --steps 100 --no-write

Of each contender the fastest form is found first (on a tenth of the steps). Then come the rounds:
every contender runs once in each, so that a slow minute of the machine hits all of them; the median
of the rounds counts. Every timed result is tested against the law that it must have. Compilation
happens before and is reported apart: the first call's time less the second's.

Writes benchmarks/results/throughput.json; `python -m benchmarks.pages` shows it.
"""

import argparse
import functools
import importlib
import json
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import sdekit as sk
from sdekit import math as sm

from .competitors import COMPETITORS, SLOW
from .problem import ALL, END, SIGMA, START, THETA, Form, Work, check_alike, check_end_points, euler
from .report import cores, machine, table, versions

ROOT = Path(__file__).parents[1]
RESTLESS = 1.25  # ratio of two rounds' times that deserves a warning
RESULTS = ROOT / "benchmarks" / "results" / "throughput.json"


# --- sdekit ---


class Sine(NamedTuple):
    """dX = −sin X dt + sigma dW: one elementary function per step."""

    sigma: float = SIGMA

    calculus = "ito"
    noise = "diagonal"
    additive = True

    def drift(self, t, x):
        return -sm.sin(x)

    def diffusion(self, t, x):
        return self.sigma


def solved(process, x0, check):
    """The one form of a `solve` call that keeps the end points."""

    def build(work):
        ts = [0.0, END]

        def batch(seed):
            return sk.solve(
                process, x0, ts, h=work.h, paths=work.paths, seed=seed, backend=sk.backends.numba(work.threads)
            ).x[-1]

        return batch

    def load():
        importlib.import_module("sdekit.backends.kernels.run")  # not to be counted as compilation
        return [Form("solve", build, ALL, compiled=True, check=check)]

    return load


def thrown_away():
    """The normals that one channel needs, made eight at a time for each block, as a solve does, and not kept."""
    import numba

    from sdekit.backends.kernels import generator

    fill, dtype = generator.filler(np.dtype(np.float32), False).address, np.float32

    @numba.njit(**generator.ENTRY)
    def discard(fill, z, begin, end, n, k0, k1):
        for start in range(begin, end, generator.LANES):
            for group in range(0, n // 4, 2):
                generator.call(fill, z, 0, 2, start, group, 0, k0, k1)

    def build(work):
        def batch(seed):
            key = sk.noise.key(seed)

            def span(begin, end):
                discard(fill, generator.block(8, dtype), begin, end, work.steps, *key)

            generator.spans(span, work.paths, work.threads, least=generator.LANES)

        return batch

    return [Form("normals alone", build, ALL, compiled=True, check=lambda x, work: None)]


@functools.cache
def lorenz_oracle(steps):
    """End points from a plain loop, since no law is known."""

    def drift(x):
        return np.stack(LORENZ.drift(0.0, *x.T), axis=1)

    return euler(drift, LORENZ.sigma, np.ones(3), ORACLE_PATHS, steps)


@functools.cache
def sine_oracle(steps):
    return euler(lambda x: -np.sin(x), SIGMA, [START], ORACLE_PATHS, steps)


def check_lorenz(x, work):
    check_alike(x.reshape(work.paths, 3), lorenz_oracle(work.steps))


def check_sine(x, work):
    check_alike(x.reshape(work.paths, 1), sine_oracle(work.steps))


ORACLE_PATHS = 20_000
LORENZ = sk.Lorenz()
OU = sk.OU(theta=THETA, mu=0.0, sigma=SIGMA)
OURS = "sdekit, OU"
OURS_DOUBLE = "sdekit, OU, float64"
OURS_LORENZ = "sdekit, Lorenz, 3 noises"
OURS_SINE = "sdekit, drift with sdekit.math.sin"
OURS_NORMALS = "sdekit, normals thrown away"
in_double = functools.partial(check_end_points, dtype=np.float64)
CONTENDERS = {
    OURS: solved(OU, np.float32(START), check_end_points),
    OURS_DOUBLE: solved(OU, np.float64(START), in_double),
    OURS_SINE: solved(Sine(), np.float32(START), check_sine),
    OURS_LORENZ: solved(LORENZ, np.ones(3, dtype=np.float32), check_lorenz),
    OURS_NORMALS: thrown_away,
    **COMPETITORS,
}


# --- measuring ---


class Contender(NamedTuple):
    """A form that is ready to run: `run(seed)` does all the work and returns the end points."""

    name: str
    form: Form
    work: Work
    run: object
    compile_seconds: float | None


def seconds(function, *args):
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


def batch_work(form, work):
    return work if form.chunk is ALL else work._replace(paths=min(form.chunk, work.paths))


def fastest(forms, work):
    """The form with the best rate in one batch of a tenth of the steps, after a first batch."""
    if len(forms) == 1:
        return forms[0]
    rates = []
    for form in forms:
        part = batch_work(form, work._replace(steps=max(work.steps // 10, 1)))
        batch = form.build(part)
        batch(0)
        rates.append(part.paths / seconds(batch, 1)[0])
    return forms[rates.index(max(rates))]


def in_batches(batch, size, paths):
    """run(seed): batches with different seeds until all paths are done."""
    if size == paths:
        return batch
    count = -(-paths // size)

    def run(seed):
        return np.concatenate([batch(seed * count + i) for i in range(count)])[:paths]

    return run


def prepare(name, work):
    """The contender's fastest form, warmed up; ImportError where its library is missing."""
    work = work._replace(paths=max(round(work.paths * SLOW.get(name, 1.0)), 1))
    form = fastest(CONTENDERS[name](), work)
    part = batch_work(form, work)
    batch = form.build(part)
    compile_seconds = None
    if form.compiled:
        first, second = (seconds(batch, seed)[0] for seed in (0, 1))
        compile_seconds = max(first - second, 0.0)
    return Contender(name, form, work, in_batches(batch, part.paths, work.paths), compile_seconds)


def rounds(contenders, count, report):
    """Seconds of every contender in every round, each result checked: name -> list."""
    times = {contender.name: [] for contender in contenders}
    for index in range(count):
        for contender in contenders:
            elapsed, x = seconds(contender.run, 100 + index)
            contender.form.check(x, contender.work)
            times[contender.name].append(elapsed)
            rate = contender.work.paths * contender.work.steps / elapsed
            report(f"round {index + 1}: {contender.name}: {rate / 1e6:,.1f} M path-steps/s")
    return times


def measure(work, count, names, report=print):
    """The whole benchmark as a dictionary, ready for JSON."""
    ready, entries = [], {}
    for name in names:
        try:
            ready.append(prepare(name, work))
            report(f"ready: {name} ({ready[-1].form.label})")
        except ImportError as missing:
            entries[name] = {"skipped": f"{missing.name or missing} is not installed"}
            report(f"skipped: {name}: {entries[name]['skipped']}")
    times = rounds(ready, count, report)
    for contender in ready:
        done = contender.work
        entries[contender.name] = {
            "form": contender.form.label,
            "batch": batch_work(contender.form, done).paths,
            "paths": done.paths,
            "steps": done.steps,
            "seconds": times[contender.name],
            "rate": done.paths * done.steps / statistics.median(times[contender.name]),
            "compile_seconds": contender.compile_seconds,
        }
    return {
        "work": {**work._asdict(), "dtype": "float32", "rounds": count},
        "machine": machine(),
        "versions": versions(),
        "contenders": {name: entries[name] for name in names},
        "goals": goals(entries),
    }


GOALS = [  # (what, numerator, denominator, times, at least)
    ("OU against torchsde, as documented", OURS, "torchsde, as documented", 1, 40),
    ("OU against torchsde, at its best", OURS, "torchsde, best of several forms", 1, 40),
    ("OU against diffrax", OURS, "diffrax, vmap, UnsafeBrownianPath", 1, 40),
    ("OU against the best torch loop", OURS, "torch loop, best of several forms", 1, 5),
    ("OU against the normals alone", OURS, OURS_NORMALS, 1, 0.8),
    ("Lorenz against a third of the normals alone", OURS_LORENZ, OURS_NORMALS, 1 / 3, 0.8),
    ("float64 against float32", OURS_DOUBLE, OURS, 1, 0.45),
    ("a sine in the drift against OU", OURS_SINE, OURS, 1, 0.5),
]


def goals(entries):
    """The ratios that the design asks for, as far as both sides were measured."""
    rates = {name: entry["rate"] for name, entry in entries.items() if "rate" in entry}
    found = []
    for what, over, under, factor, least in GOALS:
        if over in rates and under in rates:
            ratio = rates[over] / (rates[under] * factor)
            found.append({"what": what, "ratio": ratio, "at_least": least, "met": ratio >= least})
    return found


def parse(argv):
    parser = argparse.ArgumentParser("benchmarks.throughput", description=__doc__.splitlines()[0])
    parser.add_argument("--paths", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--only", nargs="+", metavar="PART", help="those with PART in their name")
    parser.add_argument("--no-write", action="store_true", help="print only; so does --only")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    names = [n for n in CONTENDERS if any(part in n for part in args.only or [""])]
    results = measure(Work(args.paths, args.steps, args.threads), args.rounds, names)
    text = table(results, OURS, COMPETITORS)
    print(f"\n{text}\n")
    for goal in results["goals"]:
        verdict = "met" if goal["met"] else "MISSED"
        print(f"{verdict}: {goal['what']}: {goal['ratio']:.2f}, asked for {goal['at_least']}")
    for name, entry in results["contenders"].items():
        if "seconds" in entry and max(entry["seconds"]) > RESTLESS * min(entry["seconds"]):
            print(f"restless: the rounds of {name} differ; is the machine doing something else?")
    if not (args.no_write or args.only):
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
