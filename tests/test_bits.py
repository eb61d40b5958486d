"""The committed hashes of `bits`: the same numbers to the bit on any x86-64 CPU that has AVX2 and FMA.

They hold for any number of threads, split and width of blocks (`test_few_paths`), and for 256- and 512-bit
vectors. A processor without fused multiply-add rounds twice where these round once, and has other hashes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import bits
import numpy as np
import pytest
from llvmlite import binding

FEATURES = binding.get_host_cpu_features()
pytestmark = pytest.mark.skipif(not FEATURES.get("fma"), reason="the hashes are those of fused multiply-add on x86-64")
WANTED = json.loads(bits.TABLE.read_text())


@pytest.mark.parametrize("name", bits.CASES)
@pytest.mark.parametrize("dtype", bits.TYPES)
def test_hashes(name, dtype):
    """One solve on 1, 2 and 7 threads, and put together from parts, is the one in the table."""
    x0 = bits.start(name, dtype)
    for threads in (1, 2, 7):
        assert bits.digest(bits.solve(name, x0, threads)) == WANTED[f"{name}, {dtype}"]
    parts = [bits.solve(name, x0[a:b], first_path=a) for a, b in ((0, 1), (1, 60), (60, 299), (299, 300))]
    assert bits.digest(np.concatenate(parts, axis=1)) == WANTED[f"{name}, {dtype}"]


def test_every_processor_has_these_hashes():
    """Of those on which they were asked for: with fused multiply-add these, without it all the same others."""
    found = json.loads((Path(__file__).parents[1] / "benchmarks" / "results" / "bits.json").read_text())
    entries = [entry for cpu in found.values() for entry in cpu["compiled for"].values()]
    rounded_twice = [entry["hashes"] for entry in entries if not entry["fma"]]
    assert all(entry["hashes"] == WANTED for entry in entries if entry["fma"])
    assert all(hashes == rounded_twice[0] != WANTED for hashes in rounded_twice)


@pytest.mark.slow
@pytest.mark.parametrize("cpu, feature", [("haswell", "avx2"), ("skylake-avx512", "avx512vl")])
def test_hashes_on_other_processors(cpu, feature):
    """What is compiled for another processor, whose vectors have another width, gives the same bits.

    Without an empty list of features numba would add those of this processor.
    """
    if not FEATURES.get(feature):
        pytest.skip(f"this processor has no {feature}")
    root = Path(__file__).parents[1]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": "", "PYTHONPATH": path}
    command = [sys.executable, str(root / "tests" / "bits.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == WANTED
