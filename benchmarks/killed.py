"""The run that `benchmarks.ensembles` measures; killed again and again, and on stores beside zarr alone."""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import sdekit as sk

PROCESS, X0, H = sk.OU(theta=1.0, mu=0.0, sigma=0.3), np.float32(1.0), 0.01
LEVELS = (0.01, 0.5, 0.99)
KINDS = [sk.stats.moments, sk.stats.quantiles(LEVELS)]
PART = 2**17  # paths of a block of a store


def run(paths, **others):
    return sk.ensemble(PROCESS, X0, paths=paths, seed=0, **{"ts": [0, 1], "h": H, "statistics": KINDS, **others})


def digest(result):
    """Of the bits of all statistics."""
    found = hashlib.sha256()
    for value in (v for s in result.results.values() for v in s):
        found.update(np.asarray(value).tobytes())
    return found.hexdigest()[:16]


def killed(kind, paths, store, kills):
    """(kills that were made, digest) of a run that is killed again and again, until it is through."""
    rng, made = np.random.default_rng(0), 0
    command = [sys.executable, "-m", "benchmarks.ensembles", kind, "--paths", str(paths), "--store", str(store)]
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


def kept(paths, store, **others):
    ts = np.linspace(0, 1, 101)
    return run(paths, ts=ts, statistics=[], keep_paths=True, store=str(store), block=PART, **others)


def plain(paths, store, data):
    """Seconds of zarr alone, for as many paths with the values and the chunks of `data`."""
    import zarr

    begun = time.perf_counter()
    array = zarr.create_array(str(store), shape=(paths, data.shape[1]), chunks=data.chunks, dtype=data.dtype)
    block = data[:PART]
    for first in range(0, paths, len(block)):
        array[first : first + len(block)] = block[: paths - first]
    return time.perf_counter() - begun


def stored(paths, kills, folder):
    """Rates of both, and a store that was killed, compared file by file."""
    import xarray

    kept(PART, folder / "first.zarr")  # compiles
    os.sync()
    begun = time.perf_counter()
    data = kept(paths, folder / "whole.zarr").x
    seconds = time.perf_counter() - begun
    os.sync()
    alone = plain(paths, folder / "plain.zarr", data)
    shutil.rmtree(folder / "plain.zarr")
    seen = xarray.open_zarr(str(folder / "whole.zarr"), consolidated=False).x
    assert seen.dims == ("path", "time") and seen.shape == (paths, 101)
    made, _ = killed("storing", paths, folder / "killed.zarr", kills)
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
