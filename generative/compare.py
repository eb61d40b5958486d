"""All families on one data set, with the same time each: two measured tables and a figure."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import sys

import numpy as np
import torch

import sdekit as sk

from . import metrics
from .data import sets
from .families import SAMPLING, make
from .runs import claim, finish, packages, train
from .training import fit

__all__ = ["ALL", "SIX", "compare", "grid", "panels", "scaling"]

SIX = ("gmm", "vae", "flow", "wgan", "diffusion", "flow-matching")
ALL = (*SIX, "gan", "wgan-clip")
DRAWN = 40_000  # samples in a panel
LEGEND = """\
Each family was trained once for {seconds:g} s on one thread. KL grid: from {samples:,} samples on 50² cells; exact
draws give {floor:.2g} on average. KL exact: mean of log q/p over samples; for a bound, a lower bound. KL/d: from
N(0, 0.8^|i−j|) in d dimensions to the Gaussian with the moments of 10,000 samples, per dimension, after {part:.2g} s of
training; exact draws give (d + 3)/4N. step: time of a training step (GMM: of the fit) at d = 16 over that at d = 2."""


def compare(data, out, *, families=SIX, seconds=60, seed=0, samples=400_000, jobs=None, force=False):
    """Trains and measures each family; writes the trainings, tables.md and comparison.png to the folder `out`.

    Returns the text of the tables. `jobs` families at a time (as many as CPUs, at most 2), one thread each.
    """
    from tqdm import tqdm

    files = "tables.md", "comparison.png"
    config = {"data": data, "families": families, "seed": seed, "seconds": seconds, "samples": samples}
    claim(out, config | {"versions": packages()}, files, force)
    target = sets[data]
    work = [(family, data, out / family, seconds, seed, samples, force) for family in families]
    rows = {"exact draws": metrics.measure(target, target, samples, seed)}
    drawn = {data: target.sample(DRAWN, seed=seed).numpy()}
    with _workers(jobs or min(2, os.cpu_count() or 1)) as each, tqdm(total=len(work), unit="family") as bar:
        for family, (row, x) in zip(families, each(_study, work), strict=True):
            rows[family], title = row, f"{family}: KL {row['KL grid']:.3g}"
            drawn[title] = x
            bar.update()
            bar.write(f"{title}, {row['steps']:,} steps", file=sys.stderr)
    floor = rows["exact draws"]["floor"]
    text = tables(rows, target, LEGEND.format(seconds=seconds, samples=samples, floor=floor, part=seconds / 15))
    with sk.files.replacing(out / files[0]) as part:
        part.write_text(text, encoding="utf-8")
    panels(out / files[1], drawn, target.box, {family: row["KL grid"] for family, row in rows.items()})
    finish(out, rows)
    return text


@contextlib.contextmanager
def _workers(jobs):
    """`map`, in that many processes of one thread; they end with the block, at whatever they are."""
    if jobs == 1:
        yield map
        return
    with multiprocessing.get_context("spawn").Pool(jobs, _alone) as pool:
        yield pool.imap


def _alone():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    torch.set_num_threads(1)


def _study(work):
    """One family: its row of all measurements, and samples for the figure."""
    family, data, out, seconds, seed, samples, force = work
    model, result = train(family, data, out, seconds=seconds, seed=seed, force=force, keep=True, progress=False)
    draw = _Sampler(model, SAMPLING.get(family, {}))
    row = result | {"density": model.density} | metrics.measure(draw, sets[data], samples, seed)
    return row | scaling(family, seconds / 15, seed), draw.sample(DRAWN, seed=seed).numpy()


class _Sampler:
    """A model with the family's options of `sample`."""

    def __init__(self, model, options):
        self.model, self.options, self.density = model, options, model.density
        self.log_prob = getattr(model, "log_prob", None)

    nfe = property(lambda self: self.model.nfe)

    def sample(self, n, seed=0):
        return self.model.sample(n, seed=seed, **self.options)


def scaling(family, seconds, seed=0, dimensions=(2, 16), n=10_000):
    """What happens in more dimensions, on the Gaussian of covariance 0.8^|i−j|, of which n draws are learned.

    The distance is KL(N(m, S) ‖ N(0, Σ))/d with the moments m, S of n samples.
    """
    row, cost = {}, []
    for d in dimensions:
        cov = 0.8 ** np.abs(np.subtract.outer(np.arange(d), np.arange(d)))
        data = torch.as_tensor(sk.Gaussian(np.zeros(d), cov).sample(n, seed + 2**33)).float()
        model, options = make(family, (d,), seed=seed)
        record = fit(model, data, seconds=seconds, seed=seed, **options)
        x = model.sample(n, seed=seed, **SAMPLING.get(family, {})).double().numpy()
        m, ratio = x.mean(0), np.linalg.solve(cov, np.cov(x.T))
        kl = (np.trace(ratio) + m @ np.linalg.solve(cov, m) - d - np.linalg.slogdet(ratio)[1]) / 2
        row[f"KL/d, d = {d}"] = float(kl) / d
        cost.append(record.seconds / max(record.steps, 1))
    return row | {"step": cost[-1] / cost[0]}


def tables(rows, target, legend):
    """The distances, and the properties, as Markdown."""
    distances = ("KL grid", "KL exact", "KL knn", "W1", "W2", "sliced W2", "MMD²", "energy")
    first = {name: {key: row[key] for key in distances if key in row} for name, row in rows.items()}
    second = {}
    for name, row in rows.items():
        cells = (
            {} if "modes" not in row else {"modes": f"{row['modes']} of {len(target.modes)}", "quality": row["quality"]}
        )
        cells |= {
            "samples/s": f"{1e6 / row['µs/sample']:,.0f}",
            "NFE": row["NFE"],
            "log p": row.get("density", "exact"),
        }
        cells |= {key: row[key] for key in ("NLL", "KL/d, d = 2", "KL/d, d = 16", "step") if key in row}
        second[name] = cells | ({"steps": f"{row['steps']:,}"} if "steps" in row else {})
    return f"{metrics.table(first)}\n\n{metrics.table(second)}\n\n{legend}\n"


# --- pictures ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _figure(path, width, height):
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), dpi=150, layout="constrained")
    yield drawn
    with sk.files.replacing(path) as part:
        drawn.savefig(part, format=path.suffix[1:].lower())


def panels(path, samples, box=None, kl=None):
    """Densities {title: samples (N, 2)} on the same axes and colours, and bars of the KL that begin at the first."""
    from matplotlib.colors import LogNorm

    first = next(iter(samples.values()))
    box = 1.1 * float(np.abs(first).max()) if box is None else box
    number = len(samples) + (kl is not None)
    columns = min(number, math.ceil(math.sqrt(2 * number)))
    rows = math.ceil(number / columns)
    area, bins = ((-box, box), (-box, box)), 100
    top = np.histogram2d(*first.T, bins, area)[0].max() / len(first)
    with _figure(path, 2.6 * columns, 2.8 * rows) as drawn:
        axes = drawn.subplots(rows, columns, squeeze=False).ravel()
        for axis, (title, x) in zip(axes, samples.items(), strict=False):
            share = np.histogram2d(*x.T, bins, area)[0].T / len(x)
            norm = LogNorm(top / 300, top, clip=True)
            axis.imshow(np.maximum(share, top / 300), origin="lower", extent=(-box, box) * 2, cmap="cividis", norm=norm)
            axis.set_title(title, fontsize=10, loc="left")
            axis.set(xticks=[-box, 0, box], yticks=[-box, 0, box])
            axis.tick_params(labelsize=8, length=2)
            axis.label_outer()
        if kl is not None:
            _bars(axes[len(samples)], kl)
        for axis in axes[number:]:
            axis.axis("off")


def _bars(axis, kl):
    """A bar for each family, under its name; they begin at the first entry, the floor."""
    floor, *values = (value if math.isfinite(value) else math.nan for value in kl.values())
    axis.barh(range(len(values)), values, color="#0072B2", height=0.3)
    top = 2 * float(np.nanmax([floor, *values]))
    axis.set(xscale="log", xlim=(floor, top), ylim=(len(values) - 0.6, -0.8), yticks=[])
    for row, name in enumerate(list(kl)[1:]):
        axis.text(0.03, row - 0.22, name, fontsize=8, transform=axis.get_yaxis_transform())
    axis.set_title("KL, from that of exact draws", fontsize=10, loc="left")
    axis.tick_params(labelsize=8, length=2)
    axis.set_box_aspect(1)
    axis.spines[["top", "left", "right"]].set_visible(False)


def grid(path, images, columns=10):
    """Images (N, 1, H, W) in [−1, 1], in rows."""
    images = np.concatenate([images[:, 0], -np.ones((-len(images) % columns, *images.shape[2:]), images.dtype)])
    height, width = images.shape[1:]
    sheet = images.reshape(-1, columns, height, width).swapaxes(1, 2).reshape(-1, columns * width)
    with _figure(path, 6, 6 * len(sheet) / (columns * width)) as drawn:
        axis = drawn.subplots()
        axis.imshow(sheet, cmap="gray", vmin=-1, vmax=1)
        axis.axis("off")
