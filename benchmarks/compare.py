"""All families on one data set, with the same time each: two measured tables and a figure.

    python -m benchmarks.compare                    # six families, a minute each, into runs/compare; then writes
                                                    # benchmarks/results/compare.json and docs/figures/compare.png
    python -m benchmarks.compare rings --out FOLDER # other data or options: the trainings, tables and figure there

The same command again continues what was interrupted, and leaves what is finished as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import sdekit as sk
from generative.data import sets
from generative.training import fit
from sdekit.files import write_text

from . import metrics
from .families import FAMILIES, make
from .pictures import densities
from .report import machine, versions
from .runs import claim, finish, train

ROOT = Path(__file__).parents[1]
RESULTS, FIGURE = ROOT / "benchmarks" / "results" / "compare.json", ROOT / "docs" / "figures" / "compare.png"
SIX = ("gmm", "vae", "flow", "wgan", "diffusion", "flow-matching")
ALL = (*SIX, "gan", "wgan-clip")
DRAWN = 50_000  # of the samples in a panel
DISTANCES = ("KL grid", "KL exact", "KL knn", "W1", "W2", "sliced W2", "MMD²", "energy")
PROPERTIES = (
    "failed", "finite", "modes", "quality", "samples/s", "NFE", "density", "NLL", "KL/d, d = 2", "KL/d, d = 16", "step",
    "steps",
)  # fmt: skip
LEGEND = """\
Each family was trained once for {seconds:g} s on one thread. KL grid: from {samples:,} samples on 50² cells; exact
draws give {floor:.2g} on average. KL exact: mean of log q/p over draws of the law that log p describes (for a bound, a
lower bound). KL/d: from N(0, 0.8^|i−j|) in d dimensions to the Gaussian with the moments of 10,000 samples, per
dimension, after {part:.2g} s of training; exact draws give (d + 3)/4N. step: time of a training step (GMM: of the fit)
at d = 16 over that at d = 2."""


def compare(data, out, *, families=SIX, seconds=60, seed=0, samples=400_000, jobs=None, force=False):
    """Trains and measures each family; writes the trainings, tables.md and comparison.png to the folder `out`.

    Returns the text of the tables, which a finished folder of the same configuration keeps. `jobs` families at a time
    (as many as CPUs, at most 2), one thread each.
    """
    samples, seconds = sk.checks.integer("samples", samples, 100), sk.checks.real("seconds", seconds, above=0)
    files = "tables.md", "comparison.png"
    config = {"data": data, "families": families, "samples": samples, "seconds": seconds, "seed": seed}
    if not claim(out, config | {"versions": versions()}, files, force):
        return (out / files[0]).read_text(encoding="utf-8")
    target = sets[data]
    work = [(family, data, out / family, seconds, seed, samples, force) for family in families]
    rows = {"exact draws": metrics.measure(target, target, samples, seed)}
    drawn = {data: histogram(target.sample(DRAWN, seed=seed), target.box)}
    with _workers(jobs or min(2, os.cpu_count() or 1)) as each, tqdm(total=len(work), unit="family") as bar:
        for family, (row, counts) in zip(families, each(_study, work), strict=True):
            rows[family], title = row, f"{family}: {row.get('failed') or format(row.get('KL grid', math.nan), '.3g')}"
            if counts is not None:
                drawn[title] = counts
            bar.update()
            bar.write(title, file=sys.stderr)
    floor = rows["exact draws"]["floor"]
    legend = LEGEND.format(seconds=seconds, samples=samples, floor=floor, part=seconds / 15)
    text = f"{table(rows, DISTANCES)}\n\n{table(rows, PROPERTIES)}\n\n{legend}\n"
    write_text(out / files[0], text)
    densities(out / files[1], drawn, target.box)
    finish(out, rows)
    return text


@contextlib.contextmanager
def _workers(jobs):
    """`map`, in that many processes of one thread; they end with the block, at whatever they are."""
    if jobs == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield map
        finally:
            torch.set_num_threads(threads)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, _alone) as pool:
        yield pool.imap


def _alone():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    end_with_parent()
    torch.set_num_threads(1)


def end_with_parent():
    """Makes a worker end as soon as its parent has ended, killed by a signal say, whatever it is at."""

    def wait():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _study(work):
    """One family: its row of all measurements, and a histogram for the figure; a failure is a result, too."""
    family, data, out, seconds, seed, samples, force = work
    try:
        model, result = train(family, data, out, seconds=seconds, seed=seed, force=force)
        row = result | metrics.measure(model, sets[data], samples, seed) | scaling(family, seconds / 15, seed)
        return row, histogram(model.sample(min(DRAWN, samples), seed=seed), sets[data].box)
    except FloatingPointError as error:
        return {"failed": str(error)}, None


def histogram(x, box, bins=100):
    """Counts (bins, bins) of samples x (N, 2) in the squares of [−box, box]²."""
    return np.histogram2d(*x.T, bins, ((-box, box), (-box, box)))[0]


def scaling(family, seconds, seed=0, dimensions=(2, 16), n=10_000):
    """What happens in more dimensions, on the Gaussian of covariance 0.8^|i−j|, of which n draws are learned.

    The distance is KL(N(m, S) ‖ N(0, Σ))/d with the moments m, S of n samples.
    """
    row, cost = {}, []
    for d in dimensions:
        cov = 0.8 ** np.abs(np.subtract.outer(np.arange(d), np.arange(d)))
        data = torch.as_tensor(sk.Gaussian(np.zeros(d), cov).sample(n, (seed + 2**33) % 2**64)).float()
        model, options = make(family, (d,), seed=seed)
        record = fit(model, data, seconds=seconds, seed=seed, **options)
        x = model.sample(n, seed=seed).double().numpy()
        m, ratio = x.mean(0), np.linalg.solve(cov, np.cov(x.T))
        kl = (np.trace(ratio) + m @ np.linalg.solve(cov, m) - d - np.linalg.slogdet(ratio)[1]) / 2
        row[f"KL/d, d = {d}"] = float(kl) / d
        cost.append(record.seconds / max(record.steps, 1))
    return row | {"step": cost[-1] / cost[0]}


def table(rows, columns=None):
    """Markdown table of {name: {column: value}} with these columns, or all; numbers to 3 digits."""

    def text(value):
        if isinstance(value, float):
            return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
        return "" if value is None else str(value)

    there = dict.fromkeys(column for row in rows.values() for column in row)
    columns = [column for column in columns or there if column in there]
    cells = [[name, *(text(row.get(column)) for column in columns)] for name, row in rows.items()]
    widths = [max(map(len, column)) for column in zip(["", *columns], *cells, strict=True)]
    lines = [["", *columns], ["-" * width for width in widths], *cells]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def markdown(results):
    first, second = (table(results["rows"], columns) for columns in (DISTANCES, PROPERTIES))
    return f"{first}\n\n{second}\n\n{results['minutes']:.1f} minutes in all; {results['machine']['cpu']}."


def parser():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("data", nargs="?", choices=sets, default="eight_gaussians", metavar="DATA", help=", ".join(sets))
    add("--out", type=Path, metavar="FOLDER", help="gets the trainings, tables.md and comparison.png")
    add("--seconds", type=float, default=60.0, metavar="S", help="of training, each (%(default)g)")
    add("--seed", type=int, default=0, metavar="N", help="(%(default)s)")
    add("--samples", type=int, default=400_000, metavar="N", help="for the KL on cells (%(default)s)")
    add("--jobs", type=int, metavar="N", help="families at a time, on one thread each (2, or the number of CPUs)")
    add("--families", nargs="+", choices=FAMILIES, default=SIX, metavar="NAME", help=", ".join(FAMILIES))
    add("--all", dest="families", action="store_const", const=ALL, help="the GAN and the clipped WGAN as well")
    add("--force", action="store_true", help="replace the results in the folder")
    return options


def main(argv=None):
    """Returns the exit status: 0, 2 for arguments that make no sense, 130 for Ctrl-C."""
    options = vars(parser().parse_args(argv))
    out = options.pop("out")
    folder, begun = out or ROOT / "runs" / "compare", time.perf_counter()
    try:
        print(compare(options.pop("data"), folder, **options | {"families": tuple(options["families"])}))
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(f"python -m benchmarks.compare: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command, without --force, continues at the last checkpoints", file=sys.stderr)
        return 130
    if out is None:
        results = {
            "minutes": (time.perf_counter() - begun) / 60,
            "rows": json.loads((folder / "result.json").read_text()),
        }
        results |= {"machine": machine(), "versions": versions()}
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")
        shutil.copyfile(folder / "comparison.png", FIGURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
