"""The chart of a `sdekit.convergence.WorkPrecision`: error against the number of network evaluations."""

from itertools import cycle, product
from pathlib import Path

import numpy as np

from sdekit.drawing import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, figure

__all__ = ["work_precision"]

DISTANCES = {
    "class_frequencies": "χ² distance of the class frequencies",
    "coupled_rmse": "RMSE to the exact flow, per entry",
    "flow_kl": "KL(samples ‖ exact law), nats",
    "kernel_mmd": "squared MMD",
    "misplaced": "share at another data point than the exact flow",
    "sliced_cramer": "sliced Cramér distance",
    "wasserstein": "W2, exact",
}


def work_precision(path, record, metric=None, title=None):
    """Error against NFE of each method of a `WorkPrecision`, both logarithmic, with the floor of exact samples.

    Names stand at the ends of their lines. Values far above those of most methods at the fewest evaluations are cut.
    """
    metric, title = metric or record.metrics[0], title or record.target
    methods = record.of(metric)
    with figure(Path(path), 9, 6) as drawn:
        panel = drawn.subplots()
        colors, lines = (BLUE, RED, GREEN, PINK, ORANGE, SKY, BLACK), (("o", "-"), ("s", "--"), ("^", ":"))
        ends = []
        for (name, rows), ((marker, ls), color) in zip(methods.items(), cycle(product(lines, colors))):
            rows = [row for row in rows if row.value > 0]
            if not rows:
                continue
            nfe, value, error = (np.array([getattr(row, key) for row in rows]) for key in ("nfe", "value", "stderr"))
            below = np.minimum(error, 0.9 * value)
            style = {"color": color, "marker": marker, "ls": ls, "mfc": "w", "lw": 1.3, "elinewidth": 0.8}
            panel.errorbar(nfe, value, (below, error), **style)
            ends.append((nfe[-1], value[-1], name, color))
        panel.set(xscale="log", yscale="log", ylabel=DISTANCES.get(metric, metric))
        panel.set_xlabel("network evaluations per sample (NFE)")
        rows = [row for rows in methods.values() for row in rows]
        ticks = sorted({row.budget for row in rows})
        panel.set_xticks(ticks, map(str, ticks))
        panel.set_xticks([], minor=True)
        if ends:
            _reach(panel, rows)
            _at_line_ends(panel, ends)
        samples = "" if metric == "wasserstein" else f", {record.samples:,} samples"
        panel.set_title(f"{title}\n{record.process}, {record.grid} grid to t = {record.end:g}{samples}")


def _reach(panel, rows):
    """Vertical limits that hold the smallest value, and the floor where it is near; the floor as a line."""
    rows = [row for row in rows if row.value > 0]  # others, failures too, have no place on a logarithmic axis
    values, least = [row.value for row in rows], min(row.budget for row in rows)
    top = 4 * np.median([row.value for row in rows if row.budget == least])
    floor = max(row.floor for row in rows)
    low, high = 0.5 * min(values), min(top, 1.5 * max(values))
    if floor > 0.02 * low:
        panel.axhline(floor, color=GREY, lw=1, ls=(0, (6, 3)), zorder=0)
        beside = panel.get_yaxis_transform()
        panel.text(0.01, floor, "exact samples", color=GREY, fontsize=8.5, va="bottom", transform=beside)
        low = min(low, 0.6 * floor)
    panel.set_ylim(low, high)


def _at_line_ends(panel, ends, gap=0.034):
    """Names right of the axes, at the heights of their lines' ends as far as they do not overlap."""
    low, high = np.log(panel.get_ylim())
    ends = sorted(ends, key=lambda end: end[1])
    wanted = np.clip([(np.log(value) - low) / (high - low) for _, value, _, _ in ends], 0, 1)
    places = _apart(wanted, gap)
    for place, (nfe, value, name, color) in zip(places, ends, strict=True):
        leader = {"arrowstyle": "-", "color": color, "lw": 0.5, "alpha": 0.6, "relpos": (0, 0.5)}
        style = {"color": color, "fontsize": 8.5, "va": "center", "arrowprops": leader, "annotation_clip": False}
        panel.annotate(name, (nfe, value), (1.04, place), textcoords="axes fraction", **style)


def _apart(wanted, gap):
    """Increasing places near the increasing ones wanted, no two closer than `gap`.

    Least squares: where neighbours would touch, isotonic regression gives them the same place before gaps are added.
    """
    from scipy import optimize

    gaps = gap * np.arange(len(wanted))
    return optimize.isotonic_regression(wanted - gaps).x + gaps
