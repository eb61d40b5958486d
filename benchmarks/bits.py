"""The hashes of `tests/bits.py` on this processor, of code that is compiled for it and for older ones.

    python -m benchmarks.bits            renews the entries of this processor in benchmarks/results/bits.json

What others left there stays; after a change that is meant to change the last bits, delete the file first. Each takes a
process of its own, since numba asks once what to compile for, and an empty list of features: else numba would add those
of this processor to those of the named one.
"""

import json
import os
import subprocess
import sys

from llvmlite import binding

from sdekit.files import write_text

from .report import RESULTS, ROOT, machine, read, versions

TARGETS = {  # LLVM's name of a processor, in the order of their age: what code for it needs here, its vectors in bits
    "x86-64": ("sse2", 128),
    "nehalem": ("sse4.2", 128),
    "sandybridge": ("avx", 256),
    "haswell": ("avx2", 256),
    "skylake-avx512": ("avx512vl", 512),
}
FUSED = "haswell", "skylake-avx512"  # those with fused multiply-add


def hashes(target=None):
    """{solve: SHA-256} of a new process that compiles for a target; None is this processor."""
    chosen = {"NUMBA_CPU_NAME": target, "NUMBA_CPU_FEATURES": ""} if target else {}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **chosen}
    command = [sys.executable, str(ROOT / "tests" / "bits.py")]
    return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def measured():
    """{what code is compiled for: entry} of this processor."""
    has, name = binding.get_host_cpu_features(), binding.get_host_cpu_name()
    kinds = {f: (f in FUSED, bits) for f, (needs, bits) in TARGETS.items() if has.get(needs)}
    widest = max((bits for _, bits in kinds.values()), default=128)
    found = {}
    for target, (fused, bits) in (kinds | {name: (bool(has.get("fma")), widest)}).items():
        found[target] = {"fma": fused, "vectors": bits, "hashes": hashes(None if target == name else target)}
        print(target, fused, bits, *(digest[:8] for digest in found[target]["hashes"].values()), flush=True)
    return found


def main():
    path = RESULTS / "bits.json"
    kept = read("bits") if path.exists() else {}
    cpu = f"{machine()['cpu']} ({binding.get_host_cpu_name()})"
    used = {k: v for k, v in versions().items() if k in ("python", "numpy", "numba", "llvmlite")}
    write_text(path, json.dumps(kept | {cpu: {"compiled for": measured(), "versions": used}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
