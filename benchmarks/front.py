"""Draws the picture of the documentation's front page: `python -m benchmarks.front`.

Colours are of the palette for all kinds of colour vision by M. Okabe and K. Ito, "Color universal design", 2008;
densities use `cividis`.
"""

import json
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

import sdekit as sk

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "figures" / "front.png"
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
COLOURS = {"ddim": PINK, "dpmpp_2m": GREEN, "deis(4)": ORANGE, "unipc(3)": BLUE}
MARKERS = {"ddim": "v", "dpmpp_2m": "^", "deis(4)": "s", "unipc(3)": "o"}
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def simulate(panel):
    """Paths of the double well, and the density of its stationary law exp(−2V/sigma²) at the right."""
    well, ts = sk.DoubleWell(sigma=0.6), np.linspace(0, 40, 801)
    x = sk.solve(well, 1.0, ts, h=0.01, paths=30, seed=4).x
    panel.plot(ts, x, color="#5F6368", lw=0.3, alpha=0.25)
    crossings = (np.diff(np.sign(x), axis=0) != 0).sum(0)
    for path, colour in zip(np.argsort(-crossings)[[0, 6, 12]], (BLUE, ORANGE, GREEN)):
        panel.plot(ts, x[:, path], color=colour, lw=0.8)
    at = np.linspace(-2, 2, 201)
    density = np.exp(-2 * (at**4 / 4 - at**2 / 2) / well.sigma**2)
    panel.fill_betweenx(at, 40, 40 + 8 * density / density.max(), color="#5F6368", alpha=0.35, lw=0)
    panel.set(title="Simulate: dX = (X − X³) dt + 0.6 dW", xlabel="time", ylabel="X", xlim=(0, 48), ylim=(-2, 2))
    panel.set_xticks([0, 10, 20, 30, 40])


def sample(panel):
    """The reverse-time SDE of VP with an exact score, from noise to two bumps, over the density at each time."""
    vp = sk.VP()
    target = sk.GaussianMixture([0.4, 0.6], [[-1.5], [1.2]], stds=0.25)
    reverse = sk.Reverse(vp, target.score(vp))
    ts, at = np.linspace(1, 0.001, 301), np.linspace(-3, 3, 241)
    alpha, sigma = vp.marginal(ts)
    centres, widths = alpha[:, None] * target.means[:, 0], np.sqrt((alpha * 0.25) ** 2 + sigma**2)
    bumps = np.exp(-0.5 * ((at[:, None, None] - centres) / widths[:, None]) ** 2) / widths[:, None]
    density = bumps @ np.array([0.4, 0.6])
    x = sk.solve(reverse, reverse.start((14, 1), seed=3), ts, grid=ts, seed=3).x
    panel.pcolormesh(1 - ts, at, density, cmap="cividis", shading="auto", rasterized=True, vmax=density.max() * 0.8)
    panel.plot(1 - ts, x[..., 0], color="white", lw=0.5, alpha=0.8)
    panel.set(title="Sample: from noise to data by a score", xlabel="time, reversed", ylabel="X", ylim=(-3, 3))


def accuracy(panel):
    """Error of samplers against network evaluations, as measured by `benchmarks.nfe` on eight Gaussians."""
    cells = json.loads((ROOT / "benchmarks" / "results" / "nfe.json").read_text(encoding="utf-8"))["cells"]
    record = sk.convergence.WorkPrecision.from_json(json.dumps(cells["eight-VP-ode"]))
    for name, colour in COLOURS.items():
        rows = [row for row in record.rows if row.metric == "coupled_rmse" and row.method == name]
        nfe, error = [row.nfe for row in rows], [row.value for row in rows]
        panel.loglog(nfe, error, color=colour, marker=MARKERS[name], ms=4, lw=1.5, label=name)
    panel.set(
        title="Know the error: RMSE against evaluations", xlabel="network evaluations", ylabel="to the exact flow"
    )
    panel.set_xticks([5, 10, 20, 50], labels=["5", "10", "20", "50"])
    panel.minorticks_off()
    panel.legend(frameon=False)


def main():
    with rc_context(STYLE):
        drawn = Figure(figsize=(11, 3.2), layout="constrained")
        for draw, panel in zip((simulate, sample, accuracy), drawn.subplots(1, 3)):
            draw(panel)
        drawn.savefig(PICTURE, dpi=130)


if __name__ == "__main__":
    main()
