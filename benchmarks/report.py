"""What benchmarks report: the machine, the versions, a result file, and its table in Markdown."""

import json
import os
import platform
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = (
    "numpy", "scipy", "numba", "llvmlite", "torch", "torchsde", "torchdiffeq", "jax", "jaxlib", "diffrax", "diffusers",
    "scikit-learn", "zuko", "POT", "zarr", "xarray", "distributed", "mpi4py",
)  # fmt: skip
HEADER = """\
| | form | paths × steps | million path-steps/s (range) | sdekit's OU is faster by | compiling, s |
|---|---|---|---|---|---|"""
CAPTION = """\
dX = −X dt + 0.3 dW where nothing else is said, Euler–Maruyama, float32, end points only. Median of
{rounds} interleaved rounds on {threads} threads; every timed result has passed a test of its mean
and variance."""


def cores():
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine():
    """CPU model, cores and operating system."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        cpu = models[0] if models else cpu
    return {"cpu": cpu or platform.machine(), "cores": cores(), "system": platform.system()}


def versions():
    """Versions of Python and of the packages that took part, as far as they are installed."""
    found = {"python": platform.python_version()}
    for package in ("sdekit", *PACKAGES):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def read(name):
    """What benchmarks/results/name.json holds."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def measured_on(result):
    """The machine and the versions of a result, in one line; versions of the packages that it may depend on."""
    where, listed = result["machine"], ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    return f"*{where['cpu']}, {where['cores']} cores, {where['system']}; {listed}.*"


def markdown(head, rows, right=1):
    """A table: cells of the head and of each row; all columns but the first `right` are aligned to the right."""
    rule = ["---"] * right + ["--:"] * (len(head) - right)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *rows])


def batches(entry):
    return "" if entry["batch"] == entry["paths"] else f", batches of {entry['batch']:,}"


def rates(entry):
    """The median rate and the range over the rounds, in millions per second."""
    work = entry["paths"] * entry["steps"]
    values = entry["rate"], work / max(entry["seconds"]), work / min(entry["seconds"])
    middle, low, high = (f"{v / 1e6:,.{0 if entry['rate'] > 2e7 else 1}f}" for v in values)
    return f"{middle} ({low}–{high})"


def row(name, entry, ours):
    if "skipped" in entry:
        return f"| {name} | skipped: {entry['skipped']} | | | | |"
    cells = (
        name,
        f"{entry['form']}{batches(entry)}",
        f"{entry['paths']:,} × {entry['steps']:,}",
        rates(entry),
        f"{ours / entry['rate']:,.1f}×" if ours else "",
        "" if entry["compile_seconds"] is None else f"{entry['compile_seconds']:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def table(results, ours, others):
    """The results in Markdown: one table, and what it was measured on.

    ours, others: the contender that is compared, and those that it is compared with.
    """
    entries, work, where = results["contenders"], results["work"], results["machine"]
    rate = entries.get(ours, {}).get("rate")
    rows = (row(name, entry, rate if name in others else None) for name, entry in entries.items())
    listed = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    on = f"{where['cpu']}, {where['cores']} cores, {where['system']}; {listed}."
    return "\n".join([CAPTION.format(**work), "", HEADER, *rows, "", on])


def put_between_markers(text, insert, name="benchmark"):
    """`text` with what stands between <!-- name --> and <!-- /name --> replaced."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the text must hold the markers {begin} and {end}")
    return f"{before}{begin}\n{insert}\n{end}{after}"
