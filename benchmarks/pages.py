"""Writes the measured tables into the documentation, from the result files: `python -m benchmarks.pages`."""

import json
from pathlib import Path

from sdekit import bench
from sdekit.convergence import WorkPrecision

from . import pierret
from .report import put_between_markers

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def read(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def measured_on(result):
    """The machine and the versions of a result, in one line."""
    where, listed = result["machine"], ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    return f"*{where['cpu']}, {where['cores']} cores, {where['system']}; {listed}.*"


def gaussian_table():
    result = read("pierret")
    return f"{pierret.markdown(result)}\n\n{measured_on(result)}"


def nfe_tables(target, process="VP"):
    """Tables and figures of one target, all metrics, methods without and with noise."""
    cells, parts = read("nfe")["cells"], []
    for kind in ("ode", "sde"):
        key = f"{target}-{process}-{kind}"
        record = WorkPrecision.from_json(json.dumps(cells[key]))
        for metric in record.metrics:
            title = f"{bench.TARGETS[target]().title}, {record.process}, {metric}"
            parts.append(f"{record.table(metric)}\n\n![{title}](figures/nfe-{key}-{metric}.png)")
    return "\n\n".join(parts)


def others():
    """Figures of the processes where only methods are run that depend on (alpha, sigma)."""
    cells = read("nfe")["cells"]
    lines = []
    for key, record in cells.items():
        if "-VP-" not in key:
            metrics = WorkPrecision.from_json(json.dumps(record)).metrics
            pictures = ", ".join(f"[{metric}](figures/nfe-{key}-{metric}.png)" for metric in metrics)
            lines.append(f"* {key.replace('-', ', ')}: {pictures}")
    return "\n".join(lines)


def diffusers_table():
    result, lines = read("diffusers"), []
    lines += ["| target, grid | compared | NFE | best here | best of diffusers | |", "|---|---|--:|---|---|---|"]
    for part in result["results"]:
        for verdict in part["verdicts"]:
            cells = [f"{part['target']}, {part['grid']}", "law" if verdict["noisy"] else "flow", str(verdict["budget"])]
            for side in ("ours", "theirs"):
                row = verdict[side]
                cells.append(f"`{row['name']}` {row['value']:.3g} ± {row['stderr']:.1g}")
            ours, theirs = (verdict[side]["value"] for side in ("ours", "theirs"))
            equal = "as good within 3 standard errors" if verdict["at_least_as_good"] else "worse"
            better = ours < theirs and verdict["at_least_as_good"]
            lines.append("| " + " | ".join([*cells, f"{theirs / ours:.2g}× better" if better else equal]) + " |")
    raised = {row[1] for part in result["results"] for row in part["rows"] if row[-1]}
    note = f"Raised an error or gave no finite result: {', '.join(sorted(raised))}." if raised else ""
    return "\n".join(lines) + f"\n\n{note}\n\n{measured_on(result)}"


def overhead_table():
    result = read("overhead")
    lines = ["| method | ms a step | limit | share |", "|---|--:|--:|--:|"]
    for name, row in result["methods"].items():
        lines.append(f"| `{name}` | {1e3 * row['seconds']:.2f} | {1e3 * row['limit']:.2f} | {row['share']:.2f} |")
    note = f"one pass {1e3 * result['pass']:.3f} ms, one draw of normals {1e3 * result['normals']:.2f} ms"
    return "\n".join(lines) + f"\n\n*{note}, {result['threads']} threads.* {measured_on(result)}"


SECTIONS = {
    "pierret": gaussian_table,
    "nfe-gaussian": lambda: nfe_tables("gaussian"),
    "nfe-eight": lambda: nfe_tables("eight"),
    "nfe-digits": lambda: nfe_tables("digits"),
    "nfe-others": others,
    "diffusers": diffusers_table,
    "overhead": overhead_table,
}


def main():
    page = ROOT / "docs" / "accuracy.md"
    text = page.read_text(encoding="utf-8")
    for name, make in SECTIONS.items():
        text = put_between_markers(text, make(), name)
    part = page.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(page)


if __name__ == "__main__":
    main()
