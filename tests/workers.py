"""Processes that tests start, or that those start."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest


def children(number):
    """The processes that this one has started."""
    return [int(child) for child in Path(f"/proc/{number}/task/{number}/children").read_text().split()]


def all_ended(numbers, seconds=60):
    """Whether these processes end, in some seconds."""
    until = time.monotonic() + seconds
    while any(map(_alive, numbers)) and time.monotonic() < until:
        time.sleep(0.02)
    return not any(map(_alive, numbers))


def _alive(number):
    try:
        os.kill(number, 0)
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def launcher(ranks):
    """The command that starts a script on some ranks of MPI; the test is skipped where there is none."""
    pytest.importorskip("mpi4py")
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        pytest.skip("there is no mpiexec")
    return found, "-n", str(ranks)


@contextlib.contextmanager
def dask(workers, folder, monkeypatch):
    """A cluster of processes, which may take minutes to start and to answer, here and in commands."""
    distributed = pytest.importorskip("distributed")
    import dask

    patience = {f"distributed.comm.timeouts.{name}": "300s" for name in ("connect", "tcp")}
    for name, seconds in patience.items():
        monkeypatch.setenv(f"DASK_{name.upper().replace('.', '__')}", seconds)
    options = {"threads_per_worker": 1, "dashboard_address": None, "local_directory": str(folder)}
    with dask.config.set(patience), distributed.LocalCluster(n_workers=workers, **options) as cluster:
        yield cluster


def told(*command):
    """What a command prints, which has to succeed within minutes, many where the machine is busy."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout
