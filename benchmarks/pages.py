"""Writes the measured tables into the documentation, from the result files: `python -m benchmarks.pages`.

What stands between `<!-- name -->` and `<!-- /name -->` on a page is made here, and a test compares.
"""

import json
import math

from sdekit.convergence import WorkPrecision
from sdekit.files import write_text

from . import battery, choices, compare, digits, flow, gradients, pierret, samplers, solved, tables, toy
from .report import ROOT, measured_on, put_between_markers, read


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


PAGES = {
    "README.md": {"headline": tables.headline},
    "docs/choose.md": {
        "methods": choices.methods,
        "without-noise": choices.without_noise,
        "samplers": choices.samplers,
        "solved-fixed": choices.plans,
        "backends": choices.backends,
        "policies": choices.policies,
    },
    "docs/speed.md": {
        "throughput": tables.throughput,
        "core": tables.core,
        "overhead": tables.overhead,
    },
    "docs/accuracy.md": {
        "orders": tables.orders,
        "pierret": gaussian_table,
        "nfe-gaussian": lambda: nfe_tables("gaussian"),
        "nfe-eight": lambda: nfe_tables("eight"),
        "nfe-digits": lambda: nfe_tables("digits"),
        "nfe-others": others,
        "diffusers": diffusers_table,
    },
    "docs/bits.md": {"bits": tables.bits},
    "docs/elementary.md": {"elementary": tables.elementary},
    "docs/noise.md": {"battery": lambda: battery.summary(read("battery")), "noisy-steps": tables.noisy_steps},
    "docs/sampling.md": {
        "solved": lambda: solved.table(read("solved")["cells"]),
        "solved-diffusers": lambda: solved.table(
            read("solved")["cells"], "plans beside diffusers", "diffusers", solved.FEW
        ),
        "solved-trained": lambda: solved.trained(read("solved")["trained"]),
    },
    "docs/methods.md": {"areas": tables.areas},
    "docs/cluster.md": {"ensembles": tables.ensembles, "scaling": tables.scaling},
    "docs/expectations.md": {"expected": tables.expected, "held": tables.held},
    "docs/torch.md": {"compiled": tables.compiled},
    "docs/odes.md": {
        "races": tables.races,
        "pairs": tables.pairs,
        "stiff": tables.stiff,
        "stiff-ensemble": tables.stiff_ensemble,
    },
    "docs/gradients.md": {
        "neural-sde": lambda: f"{gradients.markdown(read('gradients')['neural'])}\n\n{measured_on(read('gradients'))}",
        "flow": lambda: flow.markdown(read("gradients")["flow"]),
    },
    "docs/first-passage.md": {"passage": tables.passage},
    "docs/generative.md": {
        "toy": lambda: toy.markdown(read("toy")),
        "compare": lambda: compare.markdown(read("compare")),
        "digits": lambda: digits.markdown(read("digits")),
    },
}


def renewed(page):
    """The text of a page with what its result files say now."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for section, make in PAGES[page].items():
        text = put_between_markers(text, make(), section)
    return text


def main():
    for page in PAGES:
        write_text(ROOT / page, renewed(page))


if __name__ == "__main__":
    main()
