"""The pictures of the demonstration."""

import numpy as np

from sdekit.app.figures import SHOWN
from sdekit.drawing import BLUE, GREEN, GREY, ORANGE, RED, figure, load


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
