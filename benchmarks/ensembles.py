"""Ensembles: what statistics cost, memory, the same bits wherever blocks are made, kills, stores against plain zarr.

    python -m benchmarks.ensembles PART [--paths N] [--kills N]

Each part writes what it has measured into `benchmarks/results/ensembles.json`, beside what is there:

whole     one run of all paths (10⁸): seconds, memory, distance from the law, bits
overhead  statistics beside the same solves alone (10⁷ paths)
scaling   how busy simulated workers are kept
bits      bits on executors of all kinds (10⁷)
kills     bits of a run (10⁸) whose parent or one of its two workers is killed (20 times) by SIGKILL at random moments
store     all of 101 times in a Zarr store (10⁷), beside zarr alone, and killed (10 times)

OU, Euler–Maruyama, 100 steps, float32; statistics are moments and three quantiles at the ends. Bits are those of all
statistics, by their SHA-256.
"""

import argparse
import contextlib
import heapq
import itertools
import json
import math
import pickle
import queue
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import sdekit as sk

IMPORTED = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # before what follows
from scipy import stats  # noqa: E402

from sdekit.ensembles.plan import pivot, planned  # noqa: E402
from sdekit.ensembles.stream import options  # noqa: E402
from sdekit.ensembles.work import Job, packed, work  # noqa: E402
from sdekit.stats.counts import tally  # noqa: E402

from .killed import KINDS, LEVELS, PROCESS, X0, H, digest, kept, killed, run, stored  # noqa: E402
from .report import machine, versions  # noqa: E402

RESULT = Path(__file__).parent / "results" / "ensembles.json"
ROUNDS, BLOCK = 5, 2**18  # BLOCK: paths of a block of runs that are killed


# --- statistics ----------------------------------------------------------------------------------


def overhead(paths):
    """Seconds of statistics over those of the same solves alone, and of all CPUs, interleaved."""
    block = 2**20

    def bare():
        for first in range(0, paths, block):
            sk.solve(PROCESS, X0, [0, 1], h=H, paths=min(block, paths - first), first_path=first, seed=0)

    functions = {"bare": bare, "statistics": lambda: run(paths, block=block)}
    times = {name: [] for name in functions}
    for i in range(ROUNDS + 1):
        for name, function in functions.items():
            begun = time.perf_counter(), time.process_time()
            function()
            if i:  # the first compiles
                times[name].append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    wall, cpu = ([b[k] / a[k] for a, b in zip(*times.values())] for k in (0, 1))
    return {"paths": paths, "seconds": times, "ratio": statistics.median(wall), "cpu_ratio": statistics.median(cpu)}


def whole(paths):
    """One run of all paths: seconds, memory above that of the import, distance from the law over what is allowed."""
    run(4096)  # compiles
    begun = time.perf_counter()
    result = run(paths)
    seconds = time.perf_counter() - begun
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - IMPORTED) / 1024
    steps = round(1 / H)
    mean = float(X0) * (1 - H) ** steps  # of Euler–Maruyama, whose law is normal
    variance = 0.3**2 * H * sum((1 - H) ** (2 * i) for i in range(steps))
    std, moments, found = math.sqrt(variance), result.moments, result.quantiles
    away = {
        "mean": abs(moments.mean[1] - mean) / (5 * std / math.sqrt(paths)),
        "variance": abs(moments.variance[1] - variance) / (5 * variance * math.sqrt(2 / paths)),
    }
    for level, value in zip(LEVELS, found.values[:, 1]):
        true = mean + std * stats.norm.ppf(level)
        noise = math.sqrt(level * (1 - level) / paths) * std / stats.norm.pdf(stats.norm.ppf(level))
        away[f"quantile {level}"] = abs(value - true) / (found.accuracy * abs(true) + found.floor + 5 * noise)
    away = {name: float(value) for name, value in away.items()}
    return {"paths": paths, "seconds": seconds, "peak_MiB": peak, "deviation": away, "digest": digest(result)}


# --- bits ----------------------------------------------------------------------------------------


class Shuffled(ThreadPoolExecutor):
    """Blocks are finished in an order that has nothing to do with theirs."""

    def submit(self, function, /, *args):
        delay = np.random.default_rng(args[-1]).uniform(0, 0.1)
        return super().submit(lambda: (time.sleep(delay), function(*args))[1])


@contextlib.contextmanager
def dask(workers):
    from distributed import Client, LocalCluster

    options = {"threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(n_workers=workers, **options) as cluster, Client(cluster) as client:
        yield client.get_executor()


def mpi(paths):
    """The digest on three ranks, or None where there is no MPI."""
    launcher = Path(sys.executable).with_name("mpiexec")
    launcher = str(launcher) if launcher.exists() else shutil.which("mpiexec")
    with contextlib.suppress(ImportError):
        import mpi4py  # noqa: F401

        if launcher:
            return told("mpi", paths, launcher, "-n", "3", sys.executable, "-m", "mpi4py.futures").split()[-1]
    return None


def told(part, paths, *command):
    """What this module prints when it is run in a process of its own."""
    command = [*(command or [sys.executable]), "-m", "benchmarks.ensembles", part, "--paths", str(paths)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def bits(paths):
    """{executor: digest}."""
    pools = {
        "threads 2": lambda: ThreadPoolExecutor(2),
        "shuffled 3": lambda: Shuffled(3),
        "processes 2": lambda: sk.executors.processes(2),
        "processes 5": lambda: sk.executors.processes(5),
        **{f"Dask {n}": lambda n=n: dask(n) for n in (1, 2, 7)},
    }
    found: dict[str, Any] = {"paths": paths, "here": digest(run(paths))}
    for name, make in pools.items():
        with make() as pool:
            found[name] = digest(run(paths, executor=pool, block=BLOCK))
        print(name, found[name], flush=True)
    if (ranks := mpi(paths)) is not None:
        found["MPI 3"] = ranks
    return {**found, "equal": len(set(found.values()) - {paths}) == 1}


# --- scaling -------------------------------------------------------------------------------------


class Simulated(Executor):
    """Workers that take a time for a block and then answer with bytes that were made before; the parent is real."""

    def __init__(self, workers, seconds, answer):
        self._max_workers, self.seconds, self.answer = workers, seconds, pickle.dumps(answer)
        self.free, self.due, self.number = [0.0] * workers, queue.PriorityQueue(), itertools.count()
        threading.Thread(target=self._serve, daemon=True).start()

    def submit(self, function, /, *args):
        begins = max(time.monotonic(), heapq.heappop(self.free))
        heapq.heappush(self.free, begins + self.seconds)
        future = Future()
        self.due.put((begins + self.seconds, next(self.number), future))
        return future

    def _serve(self):
        while True:
            when, _, future = self.due.get()
            time.sleep(max(0.0, when - time.monotonic()))
            future.set_result(pickle.loads(self.answer))


def scaling():
    """How busy simulated workers are kept, each with three blocks, by the real parent; and the bytes of a block."""
    first = planned(PROCESS, X0, 2**17, 0, 2**17, 1, {**options([0, 1], None, H, None, None, (), 0, None)})
    job = Job(first.options, (tally(0), *KINDS), False, pivot(first), 1)
    answer = work(job, *first.rows(0, 2**17))
    rows, _ = [], run(4096)
    for workers, seconds in ((10, 0.1), (100, 0.1), (10, 1.0), (100, 1.0), (1000, 1.0), (1000, 10.0)):
        begun, blocks = time.perf_counter(), 3 * workers
        run(4096 * blocks, block=4096, executor=Simulated(workers, seconds, answer))
        spent = time.perf_counter() - begun
        rows.append({"workers": workers, "block_seconds": seconds, "efficiency": 3 * seconds / spent})
        print(rows[-1], flush=True)
    return {"bytes": len(pickle.dumps(answer)), "sent": len(packed((job, first.rows(0, 1)), {})), "rows": rows}


# --- parts ---------------------------------------------------------------------------------------


def kills(paths, number, folder):
    """A run that is killed, beside one that is not."""
    begun = time.perf_counter()
    made, bit = killed("killing", paths, folder / "run.zarr", number)
    seconds, there = time.perf_counter() - begun, results().get("whole", {}).get(f"{paths:.0e}")
    undisturbed = there["digest"] if there else digest(run(paths))
    return {"kills": made, "paths": paths, "seconds": seconds, "digest": bit, "equal": bit == undisturbed}


def results():
    return json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}


def measured(part, paths, number):
    """What a part finds."""
    with tempfile.TemporaryDirectory() as name:
        if part == "whole":
            found = json.loads(told("alone", paths))
            return {**results().get("whole", {}), f"{paths:.0e}": found}
        if part in ("kills", "store"):
            return {"kills": kills, "store": stored}[part](paths, number, Path(name))
        return scaling() if part == "scaling" else {"overhead": overhead, "bits": bits}[part](paths)


def child(part, paths, store):
    """What is run in a process of its own, and prints its result last."""
    if part == "alone":
        print(json.dumps(whole(paths)))
    elif part == "mpi":
        from mpi4py.futures import MPIPoolExecutor

        with MPIPoolExecutor() as pool:
            print(digest(run(paths, executor=pool, block=BLOCK)))
    elif part == "killing":
        with sk.executors.processes(2) as pool:
            print(digest(run(paths, executor=pool, block=BLOCK, store=store)))
    else:
        with sk.executors.processes(2) as pool:
            kept(paths, store, executor=pool)
        print("done")


PARTS = {  # paths and kills
    "whole": (10**8, 0),
    "overhead": (10**7, 0),
    "scaling": (0, 0),
    "bits": (10**7, 0),
    "kills": (10**8, 20),
    "store": (10**7, 10),
}
CHILDREN = "alone", "mpi", "killing", "storing"


def main():
    read = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    read.add_argument("part", choices=[*PARTS, *CHILDREN], metavar=f"{{{','.join(PARTS)}}}")
    read.add_argument("--paths", type=lambda text: int(float(text)))
    read.add_argument("--kills", type=int)
    read.add_argument("--store", help=argparse.SUPPRESS)
    args = read.parse_args()
    if args.part in CHILDREN:
        return child(args.part, args.paths, args.store)
    paths, number = PARTS[args.part]
    found = measured(args.part, args.paths or paths, number if args.kills is None else args.kills)
    print(json.dumps(found), flush=True)
    text = json.dumps({**results(), args.part: found, "machine": machine(), "versions": versions()}, indent=1)
    sk.files.write_text(RESULT, text + "\n")


if __name__ == "__main__":
    main()
