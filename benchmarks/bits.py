"""The hashes of tests/bits.py by processor: `python -m benchmarks.bits` adds this one's to results/bits.json.

A process of its own compiles for each kind of processor whose instructions this one has. The hashes of tests/bits.json
are those of fused multiply-add.
"""

import json
import os
import subprocess
import sys

from llvmlite import binding

from sdekit.files import write_text

from .report import RESULTS, ROOT, machine, read, versions

TARGETS = {"sandybridge": "avx", "haswell": "avx2", "skylake-avx512": "avx512vl"}  # and what each has to have


def hashes(target):
    """The table of tests/bits.py, compiled for a processor."""
    environment = {**os.environ, "NUMBA_CPU_NAME": target, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests" / "bits.py")]
    return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def main():
    result = read("bits") if (RESULTS / "bits.json").exists() else {"processors": {}}
    features = binding.get_host_cpu_features()
    for target, needed in TARGETS.items():
        if features.get(needed):
            result["processors"][f"{machine()['cpu']}, compiled for {target}"] = hashes(target)
            result |= {"machine": machine(), "versions": versions()}
            write_text(RESULTS / "bits.json", json.dumps(result, indent=1) + "\n")
            print(target, flush=True)


if __name__ == "__main__":
    main()
