"""Writes the measured tables into the documentation, from the result files: `python -m benchmarks.pages`."""

import json
import math
from pathlib import Path

from sdekit.convergence import WorkPrecision
from sdekit.files import write_text

from . import compare, digits, flow, gradients, pierret, samplers, toy
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
            title = f"{samplers.TARGETS[target]().title}, {record.process}, {metric}"
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


def comparison(verdict):
    """Which side is better by more than 3 standard errors, and by what factor."""
    ours, theirs = verdict["ours"], verdict["theirs"]
    if abs(ours["value"] - theirs["value"]) <= 3 * math.hypot(ours["stderr"], theirs["stderr"]):
        return "equal within 3 standard errors"
    factor = theirs["value"] / ours["value"]
    return f"{factor:.2f}× better" if factor > 1 else f"{1 / factor:.2f}× worse"


def diffusers_table():
    result, lines = read("diffusers"), []
    lines += ["| target, grid | compared | NFE | best here | best of diffusers | |", "|---|---|--:|---|---|---|"]
    for part in result["results"]:
        for verdict in part["verdicts"]:
            cells = [f"{part['target']}, {part['grid']}", "law" if verdict["noisy"] else "flow", str(verdict["budget"])]
            for side in ("ours", "theirs"):
                row = verdict[side]
                cells.append(f"`{row['name']}` {row['value']:.3g} ± {row['stderr']:.1g}")
            lines.append("| " + " | ".join([*cells, comparison(verdict)]) + " |")
    raised = {row[1] for part in result["results"] for row in part["rows"] if row[-1] or row[6] is None}
    note = f"Raised an error or gave no finite result: {', '.join(sorted(raised))}." if raised else ""
    return "\n".join(lines) + f"\n\n{note}\n\n{measured_on(result)}"


def overhead_table():
    result = read("overhead")
    lines = ["| method | ms a step | limit | share |", "|---|--:|--:|--:|"]
    for name, row in result["methods"].items():
        lines.append(f"| `{name}` | {1e3 * row['seconds']:.2f} | {1e3 * row['limit']:.2f} | {row['share']:.2f} |")
    note = f"one pass {1e3 * result['pass']:.3f} ms, one draw of normals {1e3 * result['normals']:.2f} ms"
    return "\n".join(lines) + f"\n\n*{note}, {result['threads']} threads.* {measured_on(result)}"


def gradient_tables():
    result = read("gradients")
    return f"{gradients.markdown(result['neural'])}\n\n{measured_on(result)}"


ACCURACY = {
    "pierret": gaussian_table,
    "nfe-gaussian": lambda: nfe_tables("gaussian"),
    "nfe-eight": lambda: nfe_tables("eight"),
    "nfe-digits": lambda: nfe_tables("digits"),
    "nfe-others": others,
    "diffusers": diffusers_table,
    "overhead": overhead_table,
}
GENERATIVE = {
    "toy": lambda: toy.markdown(read("toy")),
    "compare": lambda: compare.markdown(read("compare")),
    "digits": lambda: digits.markdown(read("digits")),
}
GRADIENTS = {"neural-sde": gradient_tables, "flow": lambda: flow.markdown(read("gradients")["flow"])}
PAGES = {"accuracy.md": ACCURACY, "generative.md": GENERATIVE, "gradients.md": GRADIENTS}


def main():
    for name, sections in PAGES.items():
        page = ROOT / "docs" / name
        text = page.read_text(encoding="utf-8")
        for section, make in sections.items():
            text = put_between_markers(text, make(), section)
        write_text(page, text)


if __name__ == "__main__":
    main()
