"""The recipes of the page on clusters, run as they stand there: on real pools, with the same bits."""

import os
import re
import sys
from pathlib import Path

import pytest
from workers import dask, launcher, told

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r'^```py title="(.*?)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL))
CHANGES = {  # few paths, nothing compiled, and bits instead of decimals
    "2**20": "2**14",
    "executor=executor,": "executor=executor, block=4096, backend=sk.backends.numpy(),",
    ".moments.mean": ".moments.fourth.tobytes().hex()",
}
PRINTED = "print(study.run().moments.fourth.tobytes().hex())"

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path, monkeypatch):
    pytest.importorskip("cloudpickle")
    pytest.importorskip("zarr")
    for name, text in RECIPES.items():
        for old, new in CHANGES.items():
            text = text.replace(old, new)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(tmp_path)]))
    return tmp_path


def script(*command):
    return told(sys.executable, *command)


@pytest.fixture
def bits(folder):
    """Of the study, made in one process."""
    return script("-c", f"import study; {PRINTED}")


def test_processes(bits):
    assert script("on_processes.py") == bits


def test_dask(bits, folder, monkeypatch):
    with dask(4, folder, monkeypatch) as cluster:
        assert cluster.scheduler_address.startswith("tcp://")
        assert script("on_dask.py", cluster.scheduler_address) == bits
        command = ["-m", "sdekit", "simulate", "OU", "--ts", "0,1", "--h", "0.25", "--paths", "2e4", "--block", "4096"]
        command += ["--seed", "0", "--json"]
        assert script(*command) == script(*command, "--executor", f"dask:{cluster.scheduler_address}")


def test_slurm(folder, monkeypatch):
    """Four tasks as the array starts them, one of them twice; merged they are one run over all paths."""
    for task in (3, 0, 2, 1, 2):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
        script("task.py")
    assert script("merged.py") == script("-c", f"import study; study.PATHS *= 4; {PRINTED}")


def test_mpi(bits):
    assert told(*launcher(3), sys.executable, "-m", "mpi4py.futures", "on_mpi.py") == bits


def test_ray(bits):
    pytest.importorskip("ray")
    assert script("on_ray.py") == bits
