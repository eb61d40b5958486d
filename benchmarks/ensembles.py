"""Ensembles: what statistics cost, memory, the same bits wherever blocks are made, kills, stores against plain zarr.

    python -m benchmarks.ensembles [paths [kills]]       writes benchmarks/results/ensembles.json

10⁸ paths and 20 kills by default. OU, Euler–Maruyama, 100 steps, float32; statistics are moments and three quantiles at
the ends. A tenth of the paths, 10⁷ at most, goes to a Zarr store at 101 times. Bits are those of all statistics, by
their SHA-256. Kills are SIGKILL at random moments, of the parent or of one of its two workers.
"""

import contextlib
import hashlib
import heapq
import itertools
import json
import math
import os
import pickle
import queue
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

import sdekit as sk

IMPORTED = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # before what follows
from scipy import stats  # noqa: E402

from sdekit.ensembles.plan import pivot, planned  # noqa: E402
from sdekit.ensembles.stream import options  # noqa: E402
from sdekit.ensembles.work import Job, packed, work  # noqa: E402
from sdekit.stats.counts import tally  # noqa: E402

from .report import machine, versions  # noqa: E402

RESULT = Path(__file__).parent / "results" / "ensembles.json"
PROCESS, X0, H = sk.OU(theta=1.0, mu=0.0, sigma=0.3), np.float32(1.0), 0.01
LEVELS = (0.01, 0.5, 0.99)
KINDS = [sk.stats.moments, sk.stats.quantiles(LEVELS)]
ROUNDS, BLOCK, KILLED = 5, 2**15, 1e-3  # KILLED: the step size of runs that are killed, so that they take some seconds


def run(paths, **others):
    return sk.ensemble(PROCESS, X0, paths=paths, seed=0, **{"ts": [0, 1], "h": H, "statistics": KINDS, **others})


def digest(result):
    """Of the bits of all statistics."""
    found = hashlib.sha256()
    for value in (v for s in result.results.values() for v in s):
        found.update(np.asarray(value).tobytes())
    return found.hexdigest()[:16]


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
    return {"paths": paths, "seconds": seconds, "peak_MiB": peak, "deviation": {k: float(v) for k, v in away.items()}}


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
            return told(
                [launcher, "-n", "3", sys.executable, "-m", "mpi4py.futures", "-m", __spec__.name], "mpi", paths
            )
    return None


def told(command, *arguments):
    """The last word that this module prints when it is run with these arguments."""
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def bits(paths):
    """{executor: digest}."""
    pools = {
        "threads 2": lambda: ThreadPoolExecutor(2),
        "shuffled 3": lambda: Shuffled(3),
        "processes 2": lambda: sk.executors.processes(2),
        "processes 5": lambda: sk.executors.processes(5),
        **{f"Dask {n}": lambda n=n: dask(n) for n in (1, 2, 7)},
    }
    found = {"here": digest(run(paths))}
    for name, make in pools.items():
        with make() as pool:
            found[name] = digest(run(paths, executor=pool, block=2**16))
        print(name, found[name], flush=True)
    if (ranks := mpi(paths)) is not None:
        found["MPI 3"] = ranks
    return found


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


# --- kills ---------------------------------------------------------------------------------------


def killed(kind, paths, store, kills):
    """(kills that were made, digest) of a run that is killed again and again, until it is through."""
    rng, made = np.random.default_rng(0), 0
    command = [sys.executable, "-m", __spec__.name, kind, str(paths), str(store)]
    while True:
        before = finished(store)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            while made < kills:
                while process.poll() is None and finished(store) == before:
                    time.sleep(0.005)
                time.sleep(rng.uniform(0, 0.3))
                workers = children(process.pid)
                parent = rng.random() < 0.5 or not workers
                with contextlib.suppress(ProcessLookupError):
                    if process.poll() is None:
                        os.kill(process.pid if parent else int(rng.choice(workers)), signal.SIGKILL)
                        made += 1
                if parent or process.poll() is not None:
                    break
                before = finished(store)
            output = process.stdout.read().split()
        if process.returncode == 0:
            return made, output[-1]
        if process.returncode > 0:
            raise RuntimeError(f"a run that was killed ends with status {process.returncode}")


def children(number):
    """The processes of a pool, not the one that keeps track of semaphores."""
    try:
        found = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        return [int(n) for n in found if b"spawn_main" in Path(f"/proc/{n}/cmdline").read_bytes()]
    except OSError:
        return []


def finished(store):
    """What the file of totals is, which is another one behind each block."""
    try:
        return os.stat(Path(store) / "statistics" / "totals").st_mtime_ns
    except FileNotFoundError:
        return 0


# --- stores --------------------------------------------------------------------------------------


def kept(paths, store, **others):
    ts = np.linspace(0, 1, 101)
    return run(paths, ts=ts, statistics=[], keep_paths=True, store=str(store), block=2**17, **others)


def plain(paths, store, data):
    """Seconds of zarr alone, for as many paths with the values and the chunks of `data`."""
    import zarr

    begun = time.perf_counter()
    array = zarr.create_array(str(store), shape=(paths, data.shape[1]), chunks=data.chunks, dtype=data.dtype)
    block = data[: 2**17]
    for first in range(0, paths, len(block)):
        array[first : first + len(block)] = block[: paths - first]
    return time.perf_counter() - begun


def stored(paths, kills, folder):
    """Rates of both, and a store that was killed, compared file by file."""
    import xarray

    begun = time.perf_counter()
    data = kept(paths, folder / "whole.zarr").x
    seconds = time.perf_counter() - begun
    alone = plain(paths, folder / "plain.zarr", data)
    shutil.rmtree(folder / "plain.zarr")
    seen = xarray.open_zarr(str(folder / "whole.zarr"), consolidated=False).x
    assert seen.dims == ("path", "time") and seen.shape == (paths, 101)
    made, _ = killed("store", paths, folder / "killed.zarr", kills)
    differ = [file for file in chunks(folder / "whole.zarr") if not same(folder, file)]
    size = paths * 101 * 4 / 1e6
    rates = {"seconds": seconds, "plain": alone, "MB_per_s": size / seconds, "ratio": alone / seconds}
    return {"paths": paths, **rates, "kills": made, "files": len(chunks(folder / "whole.zarr")), "differ": differ}


def chunks(store):
    """The files of the arrays of a store."""
    return sorted(str(p.relative_to(store)) for p in store.glob("*/c/**/*") if p.is_file())


def same(folder, file):
    other = folder / "killed.zarr" / file
    return other.exists() and (folder / "whole.zarr" / file).read_bytes() == other.read_bytes()


def main(paths=10**8, kills=20):
    few = min(max(paths // 10, 2**18), 10**7)
    found = {"whole": json.loads(told_json("whole", paths)), "overhead": overhead(max(few, 2**22))}
    print(json.dumps(found), flush=True)
    found["scaling"] = scaling()
    found["bits"] = bits(min(few, 2 * 10**6))
    long = kills * 20 * BLOCK
    with tempfile.TemporaryDirectory() as name:
        made, bit = killed("kill", long, Path(name) / "run.zarr", kills)
        undisturbed = digest(run(long, h=KILLED))
        found["kills"] = {"kills": made, "paths": long, "digest": bit, "undisturbed": undisturbed}
        print(json.dumps(found["kills"]), flush=True)
        found["store"] = stored(few, kills // 2, Path(name))
        print(json.dumps(found["store"]), flush=True)
    found["equal"] = len(set(found["bits"].values())) == 1 and bit == undisturbed and not found["store"]["differ"]
    text = json.dumps({**found, "machine": machine(), "versions": versions()}, indent=1)
    sk.files.write_text(RESULT, text + "\n")


def told_json(*arguments):
    command = [sys.executable, "-m", __spec__.name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def part(kind, paths, store=None):
    """What is run in a process of its own."""
    if kind == "whole":
        print(json.dumps(whole(paths)))
    elif kind == "mpi":
        from mpi4py.futures import MPIPoolExecutor

        with MPIPoolExecutor() as pool:
            print(digest(run(paths, executor=pool, block=2**16)))
    elif kind == "kill":
        with sk.executors.processes(2) as pool:
            print(digest(run(paths, h=KILLED, executor=pool, block=BLOCK, store=store)))
    else:
        with sk.executors.processes(2) as pool:
            kept(paths, store, executor=pool)
        print("done")


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].isalpha():
        part(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
    else:
        main(*(int(float(n)) for n in sys.argv[1:]))
