"""Figures, drawn with matplotlib (imported where a figure is drawn).

Colours are of the palette for all kinds of colour vision by M. Okabe and K. Ito, "Color universal
design", 2008; densities use `cividis`.
"""

import contextlib
import importlib
import math
from itertools import cycle, product

import numpy as np

from .files import replacing

__all__ = [
    "convergence", "densities", "digits", "formats", "load", "lorenz", "paths", "relaxation", "work_precision",
]  # fmt: skip

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#5F6368"
PINK, SKY, BLACK = "#CC79A7", "#56B4E9", "#000000"
DISTANCES = {
    "class_frequencies": "χ² distance of the class frequencies",
    "coupled_rmse": "RMSE to the exact flow, per entry",
    "flow_kl": "KL(samples ‖ exact law), nats",
    "kernel_mmd": "squared MMD",
    "misplaced": "share at another data point than the exact flow",
    "sliced_cramer": "sliced Cramér distance",
    "wasserstein": "W2, exact",
}
SHOWN = 40  # sample paths in one figure: more of them hide each other

STYLE = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
}


def load(name):
    """Import an optional module; where it is missing say how to get it."""
    top = name.partition(".")[0]
    try:
        importlib.import_module(top)
    except ModuleNotFoundError as error:
        if error.name != top:
            raise
        package = {"sklearn": "scikit-learn"}.get(top, top)
        raise ModuleNotFoundError(
            f'{package} is not installed; pip install "sdekit[demo]" brings it along', name=top
        ) from None
    return importlib.import_module(name)


def formats():
    """Endings of the picture files that matplotlib writes."""
    return sorted(load("matplotlib.figure").Figure().canvas.get_supported_filetypes())


@contextlib.contextmanager
def figure(path, width, height):
    """A new figure of that size in inches, saved to `path` at the end."""
    matplotlib = load("matplotlib")
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
        drawn = load("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
        yield drawn
        with replacing(path) as part:
            drawn.savefig(part, format=path.suffix[1:].lower())


def paths(path, t, x, title, names, exact=None):
    """Sample paths with the mean and one standard deviation, a panel for each component.

    t (looks,); x (looks, paths, components); `exact` holds the closed-form mean and standard
    deviation at the times t, both (looks,), where the process has them.
    """
    with figure(path, 8, 1.2 + 3.2 * len(names)) as drawn:
        panels = drawn.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for panel, name, values in zip(panels, names, np.moveaxis(x, -1, 0), strict=True):
            values = np.ma.masked_invalid(np.asarray(values, np.float64))
            with np.errstate(all="ignore"):  # paths on their way to infinity
                mean, std = values.mean(1), values.std(1)
            shown = values[:, : max(1, SHOWN // len(names))]
            lines = panel.plot(t, shown, color=GREY, lw=0.5, alpha=0.5, zorder=1)
            lines[0].set_label("sample paths")
            band = mean - std, mean + std
            panel.fill_between(t, *band, color=BLUE, alpha=0.25, lw=0, label="mean ± std of all")
            panel.plot(t, mean, color=BLUE, label="mean of all")
            if exact is not None:
                _dashed(panel, t, *exact)
            panel.set(ylabel=name, xlim=(t[0], t[-1]))
            panel.margins(x=0)
        drawn.suptitle(title, x=0.01, ha="left", fontsize=11)
        handles, labels = panels[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        panels[-1].set_xlabel("time t")


def _dashed(panel, t, mean, std):
    """The closed-form mean and mean ± std over what was sampled."""
    panel.plot(t, mean, color=ORANGE, lw=1.4, ls=(0, (4, 3)), label="closed form")
    with np.errstate(all="ignore"):
        edges = mean - std, mean + std
    for edge in edges:
        panel.plot(t, edge, color=ORANGE, lw=1.0, ls=(0, (4, 3)))


def relaxation(path, results):
    """For each process: paths with the closed-form band, and the density at the end."""
    with figure(path, 10, 1 + 2.7 * len(results)) as drawn:
        shape = {"width_ratios": [2.2, 1]}
        panels = drawn.subplots(len(results), 2, sharey="row", squeeze=False, gridspec_kw=shape)
        for (left, right), result in zip(panels, results, strict=True):
            law = result.law(float(result.t[-1]))
            band = np.array([(at.mean, at.std) for at in map(result.law, result.t.tolist())])
            mean, std = band.T
            left.plot(result.t, result.look[:, :SHOWN], color=GREY, lw=0.5, alpha=0.5, zorder=1)
            edges = mean - 2 * std, mean + 2 * std
            left.fill_between(result.t, *edges, color=BLUE, alpha=0.18, lw=0)
            left.plot(result.t, mean, color=BLUE)
            left.set(ylabel="state X", title=result.title)
            left.margins(x=0)
            _density(right, law, result.x)
        panels[-1, 0].set_xlabel("time t")
        panels[-1, 1].set_xlabel("probability density at the last time")
        left, right = panels[0]
        left.legend(
            [*left.lines[-1:], *left.collections[-1:], left.lines[0]],
            ["exact mean", "exact mean ± 2 std", f"{SHOWN} of the paths"],
            loc="lower left",
            fontsize=9,
        )
        right.legend(loc="upper right", fontsize=9)


def _density(panel, law, x):
    """Histogram of x with the density of `law`, the state on the vertical axis."""
    low, high = law.mean - 4.5 * law.std, law.mean + 4.5 * law.std
    y = np.linspace(low, high, 400)
    counts, bins = np.histogram(x, 90, (low, high))
    density = counts / (len(x) * np.diff(bins))
    bars = f"{len(x):,} paths"
    panel.stairs(density, bins, orientation="horizontal", fill=True, color=BLUE, alpha=0.3, label=bars)
    panel.plot(np.exp(law.log_prob(y)), y, color=RED, lw=1.4, label="closed form")
    panel.set_xlim(left=0)


def lorenz(path, result):
    """Density of the end points of Lorenz's system, seen along y and along z."""
    colors = load("matplotlib.colors")
    with figure(path, 10, 4.6) as drawn:
        panels = drawn.subplots(1, 2)
        x, y, z = result.x.T
        for panel, v, labels in ((panels[0], z, ("x", "z")), (panels[1], y, ("x", "y"))):
            counts, *edges = np.histogram2d(x, v, 300)
            one = 1 / (len(x) * np.diff(edges[0])[0] * np.diff(edges[1])[0])  # a single path in a cell
            share = np.where(counts == 0, np.nan, counts * one).T
            norm = colors.LogNorm(one, np.nanmax(share))
            mesh = panel.pcolormesh(*edges, share, norm=norm, cmap="cividis", rasterized=True)
            panel.set(xlabel=labels[0], ylabel=labels[1])
            panel.grid(False)
            drawn.colorbar(mesh, ax=panel, label="probability density", pad=0.02)
        title = f"{result.title}: {len(x):,} paths at t = {result.t[-1]:g}"
        drawn.suptitle(title, x=0.01, ha="left", fontsize=11)


def densities(path, counts, box):
    """Histograms {title: counts (n, n)} over [−box, box]² side by side, with the colours of the first.

    Colours are logarithmic, from 1/300 of the largest density of the first histogram to that one.
    """
    colors = load("matplotlib.colors")
    shares = {title: np.asarray(count).T / np.sum(count) for title, count in counts.items()}
    top = next(iter(shares.values())).max()
    columns = len(shares) if len(shares) < 4 else min((3, 4, 5), key=lambda c: -len(shares) % c)  # few empty places
    rows = math.ceil(len(shares) / columns)
    with figure(path, 2.6 * columns, 2.75 * rows) as drawn:
        panels = drawn.subplots(rows, columns, squeeze=False).ravel()
        for panel, (title, share) in zip(panels, shares.items(), strict=False):
            norm = colors.LogNorm(top / 300, top, clip=True)
            share = np.maximum(share, top / 300)
            panel.imshow(share, origin="lower", extent=(-box, box) * 2, cmap="cividis", norm=norm)
            panel.set(xticks=[-box, 0, box], yticks=[-box, 0, box])
            panel.set_title(title, fontsize=10)
            panel.tick_params(labelsize=8, length=2)
            panel.grid(False)
            panel.label_outer()
        for panel in panels[len(shares) :]:
            panel.axis("off")


def digits(path, groups, columns=16):
    """Groups of square grey pictures with pixels from −1 (white) to 1, (title, (count, pixels)) each."""
    heights = [math.ceil(len(images) / columns) for _, images in groups]
    with figure(path, 8, 0.35 * len(groups) + 0.5 * sum(heights)) as drawn:
        panels = drawn.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
        for panel, (title, images) in zip(panels, groups, strict=True):
            panel.imshow(_tiles(np.asarray(images), columns), cmap="gray_r", vmin=-1, vmax=1)
            panel.set(xticks=[], yticks=[], title=title)
            panel.grid(False)
            panel.spines[:].set_visible(False)


def _tiles(images, columns):
    """Pictures (count, side²) side by side in rows of `columns`, one empty pixel between them."""
    side = round(images.shape[1] ** 0.5)
    blank = np.full((-len(images) % columns, side * side), np.nan)
    tiles = np.concatenate([images, blank]).reshape(-1, columns, side, side)
    tiles = np.pad(tiles, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    return np.block([list(row) for row in tiles])


def convergence(path, ode, sde, floor):
    """Error against evaluations of the score: of the ODE to its reference, of the SDEs in law.

    `ode` and `sde` map a label to rows (nfe, one error, another); `floor` holds what draws of the exact
    law give, (total variations, spread of the noise level).
    """
    with figure(path, 11.5, 3.9) as drawn:
        drawn.get_layout_engine().set(wspace=0.05)
        left, middle, right = drawn.subplots(1, 3)
        for (label, rows), color, marker in zip(ode.items(), (BLUE, RED), "os", strict=True):
            nfe, rmse, median = np.array(rows).T
            left.loglog(nfe, rmse, color=color, marker=marker, mfc="w", ls=":", label=f"{label}, RMSE")
            left.loglog(nfe, median, color=color, marker=marker, label=f"{label}, median")
        for (_, rows), order in zip(ode.items(), (1, 2), strict=True):
            nfe, _, median = np.array(rows).T
            line = median[-1] * (nfe / nfe[-1]) ** -order
            left.loglog(nfe, line, color=GREY, lw=0.8, ls="--", zorder=0)
        left.lines[-1].set_label("slopes −1 and −2")
        for (label, rows), color, marker in zip(sde.items(), (GREEN, ORANGE), "D^", strict=True):
            nfe, distance, level = np.array(rows).T
            middle.semilogx(nfe, distance, color=color, marker=marker, label=label)
            right.loglog(nfe, np.abs(level), color=color, marker=marker, label=label)
        middle.axhspan(min(floor[0]), max(floor[0]), color=GREY, alpha=0.25, lw=0, label="exact draws")
        right.axhspan(1e-9, floor[1], color=GREY, alpha=0.25, lw=0, label="exact draws (1 s.e.)")
        least = min(floor[1], *(abs(row[2]) for rows in sde.values() for row in rows))
        right.set_ylim(bottom=max(0.5 * least, 1e-5))
        middle.set_ylim(bottom=0)
        left.set(title="Probability-flow ODE: paths", ylabel="distance per pixel to the reference")
        middle.set(title="Reverse SDE: digit classes", ylabel="total variation to the data's shares")
        right.set(title="Reverse SDE: noise level", ylabel="relative error of the noise per pixel")
        for panel in (left, middle, right):
            panel.set_xlabel("evaluations of the score (NFE)")
            panel.set_xticks(nfe, [f"{n:g}" for n in nfe])
            panel.set_xticks([], minor=True)
            panel.legend(fontsize=8.5)


def work_precision(path, record, metric, title):
    """Error against NFE of each method of a `WorkPrecision`, both logarithmic, with the floor of exact samples.

    Names stand at the ends of their lines. Values far above those of most methods at the fewest evaluations are cut.
    """
    methods = record.of(metric)
    with figure(path, 9, 6) as drawn:
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

    Least squares: neighbours that would touch share their mean (pool adjacent violators).
    """
    blocks = []
    for i, place in enumerate(wanted):
        blocks.append([place - i * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, n), (b, m) = blocks[-2:]
            blocks[-2:] = [[(a * n + b * m) / (n + m), n + m]]
    means = np.concatenate([np.full(n, place) for place, n in blocks])
    return means + gap * np.arange(len(wanted))
