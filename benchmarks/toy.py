"""Six families of generative models, and two GANs of old, on eight Gaussians: KL to the truth after equal training.

    python -m benchmarks.toy --jobs 2       # trains what benchmarks/results/toy.json does not hold yet
    python -m benchmarks.toy --fresh        # begins again
    python -m benchmarks.toy --draw         # draws docs/figures/toy.png and prints the table of what is there
    python -m benchmarks.toy --quick FOLDER # a few steps, one seed; results and figure into FOLDER

Each family and seed is a cell: training samples of its own, one thread, and a number of steps that takes less than
three minutes on a core of its own. The training time in the table is that of the processor. Finished cells are saved,
so that a broken run goes on where it stopped. GAN and clipped WGAN are the classical ones, with normals alone as their
code; the WGAN-GP's has random signs beside them.

"KL, cells": of 400,000 samples on 50 × 50 cells, with its floor. "KL, density": mean of log q − log p over 10,000 draws
from q, where the model has a density; the VAE's log q is a bound, which makes that KL one, too. Diffusion and flow
matching are sampled twice: by 32 steps of their ODE with the models' own methods, and by 50 steps of their SDE with
`dpmpp_2m_sde`. Their densities belong to the ODE. The limits are published figures whose data and estimator are not
known: an indication.
"""

import argparse
import base64
import json
import statistics
import time
import zlib
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import sdekit as sk
from generative import fit
from generative.data import eight_gaussians as target
from sdekit.files import write_text

from .compare import end_with_parent, histogram
from .families import make
from .metrics import kl_exact, kl_grid, modes_found
from .pictures import densities
from .report import machine, versions

ROOT = Path(__file__).parents[1]
RESULTS, FIGURES = ROOT / "benchmarks" / "results", ROOT / "docs" / "figures"
SEEDS, TRAINING, SAMPLES, FEW = (0, 1, 2), 500_000, 400_000, 10_000
PIXELS = 160  # of a figure's histogram, a side


class Family(NamedTuple):
    """title, published KL (None: none), training steps, samplers by name."""

    title: str
    limit: float | None = None
    steps: int = 7000
    samplers: dict = {"": {}}


SAMPLERS = {"SDE": {"method": sk.dpmpp_2m_sde, "steps": 50}, "ODE": {}}
FAMILIES = {
    "gmm": Family("GMM", 0.0099),
    "vae": Family("VAE", 0.0950, 4000),
    "flow": Family("normalizing flow", 0.0165, 5000),
    "wgan": Family("WGAN-GP", 0.1502, 12_000),
    "diffusion": Family("diffusion", 0.0149, samplers=SAMPLERS),
    "flow-matching": Family("flow matching", 0.0164, samplers=SAMPLERS),
    "gan": Family("GAN", steps=6000),
    "wgan-clip": Family("WGAN, clipped", steps=6000),
}


class Scale(NamedTuple):
    """How much a run does."""

    steps: int | None = None  # None: each family's own
    seeds: tuple = SEEDS
    samples: int = SAMPLES
    few: int = FEW


def cell(name, seed, scale):
    """Trains one family with one seed; the result as plain data."""
    torch.set_num_threads(1)
    family = FAMILIES[name]
    data = target.sample(TRAINING, seed=1000 + seed)
    model, options = make(name, seed=seed)
    begun = time.process_time()
    record = fit(model, data, steps=scale.steps or family.steps, seed=seed, **options)
    row = {"training_seconds": time.process_time() - begun, "wall_seconds": record.seconds, "steps": record.steps}
    row["parameters"] = sum(weight.numel() for weight in model.parameters())
    row["samplers"] = {key: sampled(model, options, seed, scale) for key, options in family.samplers.items()}
    if model.density != "none":
        row["kl_density"], row["kl_density_error"], _ = kl_exact(model, target, scale.few, seed=seed + 100)
        row["density"] = model.density
    return row


def sampled(model, options, seed, scale):
    """Metrics of samples, and of the first seed their histogram."""
    begun = time.perf_counter()
    x = model.sample(scale.samples, seed=seed, **options)
    row = {"sampling_seconds": time.perf_counter() - begun, "nfe": model.nfe}
    row["finite"] = float(x.isfinite().all(1).double().mean())
    x = x[x.isfinite().all(1)]
    row["kl"], _, row["floor"] = kl_grid(x, target)
    row["modes"], row["quality"] = modes_found(x, target.modes, target.std)
    return row if seed else row | {"histogram": packed(histogram(x, target.box, PIXELS))}


def packed(counts):
    """Counts as text for JSON."""
    return base64.b64encode(zlib.compress(counts.astype("<u4").tobytes(), 9)).decode()


def unpacked(text):
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<u4").reshape(PIXELS, PIXELS)


def measure(results, scale, jobs, save):
    """Trains the missing cells, `jobs` at a time; all families with one seed before the next seed."""
    todo = [(name, seed) for seed in scale.seeds for name in FAMILIES if f"{name}/{seed}" not in results["cells"]]
    with ProcessPoolExecutor(jobs, get_context("spawn"), end_with_parent) as pool:
        running = {pool.submit(cell, name, seed, scale): f"{name}/{seed}" for name, seed in todo}
        for count, future in enumerate(as_completed(running), 1):
            key = running[future]
            row = results["cells"][key] = future.result()
            save(results)
            found = ", ".join(f"{way} {part['kl']:.4f}".strip() for way, part in row["samplers"].items())
            print(f"{count}/{len(todo)} {key:20} {row['training_seconds']:4.0f} s  KL {found}", flush=True)


def rows(results):
    """(family, sampler, cells of the seeds, the sampler's parts of them), in the order of FAMILIES."""
    for name, family in FAMILIES.items():
        cells = [cell for key, cell in results["cells"].items() if key.rpartition("/")[0] == name]
        for way in family.samplers if cells else ():
            yield name, way, cells, [cell["samplers"][way] for cell in cells]


def spread(values, digits=4):
    """Mean ± standard deviation over the seeds."""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


def markdown(results):
    lines = [
        "| | KL, cells | limit | KL, density | modes | quality | training, s | steps | sampling, µs | NFE |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, way, cells, parts in rows(results):
        title, limit = FAMILIES[name][:2]
        kl, density = [part["kl"] for part in parts], ""
        missed = "" if limit is None or statistics.mean(kl) <= limit else ", missed"
        met = "" if limit is None else f"{limit:.4f}{missed}"
        if way != "SDE" and "kl_density" in cells[0]:
            bound = "≥ " if cells[0]["density"] == "bound" else ""
            density = bound + spread([cell["kl_density"] for cell in cells])
        rate = 1e6 * statistics.mean(part["sampling_seconds"] for part in parts) / results["samples"]
        texts = (
            f"{title}, {way}" if way else title, spread(kl), met, density,
            " ".join(str(part["modes"]) for part in parts), spread([part["quality"] for part in parts], 3),
            f"{statistics.mean(cell['training_seconds'] for cell in cells):.0f}",
            f"{statistics.mean(cell['steps'] for cell in cells):,.0f}", f"{rate:.1f}", str(parts[0]["nfe"]),
        )  # fmt: skip
        lines.append(f"| {' | '.join(texts)} |")
    where = results["machine"]
    seeds = len({key.rpartition("/")[2] for key in results["cells"]})
    floor = next(part["floor"] for *_, parts in rows(results) for part in parts)
    lines += ["", f"Mean ± standard deviation over {seeds} seeds; floor of the cells {floor:.4f}; {where['cpu']}."]
    return "\n".join(lines)


def draw(results, path):
    """Histograms of the data and of every family's samples, seed 0."""
    counts = {"data": histogram(target.sample(results["samples"], seed=7), target.box, PIXELS)}
    for name, way, _, parts in rows(results):
        first = next((part for part in parts if "histogram" in part), None)
        if first and way != "SDE":
            counts[f"{FAMILIES[name].title}: {first['kl']:.4f}"] = unpacked(first["histogram"])
    path.parent.mkdir(parents=True, exist_ok=True)
    densities(path, counts, target.box)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--jobs", type=int, default=1, help="trainings at a time, of one thread each")
    options.add_argument("--steps", type=int, help="of each training, instead of each family's own")
    options.add_argument("--fresh", action="store_true", help="train everything anew")
    options.add_argument("--draw", action="store_true", help="train nothing")
    options.add_argument("--quick", type=Path, metavar="FOLDER", help="little of everything, results there")
    given = options.parse_args()
    scale = Scale(given.steps)
    if given.quick:
        scale = Scale(given.steps or 50, seeds=(0,), samples=20_000, few=200)
    folder, figures = (given.quick, given.quick) if given.quick else (RESULTS, FIGURES)
    path = folder / "toy.json"
    settings = {"steps": given.steps, "samples": scale.samples}
    results = {"cells": {}, **settings}
    if path.exists() and not given.fresh:
        results = json.loads(path.read_text(encoding="utf-8"))
        differ = [name for name, value in settings.items() if not given.draw and results[name] != value]
        if differ:
            raise SystemExit(f"{path} holds a run with other {' and '.join(differ)}: add --fresh, or move it away")

    def save(results):
        write_text(path, json.dumps(results, indent=1) + "\n")

    if not given.draw:
        results |= {"machine": machine(), "versions": versions(), "jobs": given.jobs}
        measure(results, scale, given.jobs, save)
    draw(results, figures / "toy.png")
    print(markdown(results))


if __name__ == "__main__":
    main()
