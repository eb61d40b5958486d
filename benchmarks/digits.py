"""Class-conditional diffusion on scikit-learn's digits: is what it draws legible, diverse, new, and what was asked for?

    python -m benchmarks.digits                 # trains, then writes benchmarks/results/digits.json
    python -m benchmarks.digits --steps 400 --quick FOLDER      # another length; results and figure into FOLDER

The number of steps is a compromise: with fewer, samples are less legible, with more they come closer to the training
images than other digits are, and held-out images become less likely. Confident at so much of the held-out digits' rate,
nearest training digit at so much of their distance, and bits per pixel: 3,500 steps 0.95, 0.92, 1.84; 4,200 steps 0.95,
0.91, 1.86; 6,770 steps 1.02, 0.81, 2.10. Training goes into a checkpoint (`--checkpoint`), from which a broken run
continues; a finished one is only measured.
The classifier is a forest of randomised trees: unlike a support vector machine or a perceptron it is not confident on
what is no digit, as the row "Gaussian" shows (draws of a Gaussian with the digits' mean and covariance). Classifier and
diffusion see the same 1,437 images, and neither of them the 360 held-out ones. Figure: docs/figures/digits.png.

"free" samples are drawn without a label, "labelled" ones with labels as frequent as in the data, "guided" ones
overstate theirs (guidance 1.5); all by 64 ancestral steps. Distances are Euclidean over 64 pixels in [−1, 1]. Bits per
pixel: of held-out images given their labels, with uniform noise of one of the 17 grey levels' width, under the model's
density at the noise level of equal variance; an upper bound, since any density gives one.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch

import sdekit as sk
from generative import Diffusion, UNet, digits, fit
from sdekit.files import write_text

from . import pictures
from .report import machine, versions

ROOT = Path(__file__).parents[1]
RESULTS, FIGURES = ROOT / "benchmarks" / "results", ROOT / "docs" / "figures"
STEPS, BATCH, RATE = 2500, 128, 2e-3
SAMPLES, GUIDANCE = 1000, 1.5
SAMPLER = {"method": sk.ancestral, "steps": 64}
WIDTH = 1 / 8  # of a grey level
LIMITS = {
    "accuracy": (0.95, "classifier's accuracy, held-out digits"),
    "confident": (0.85, "share with p > 0.5, free samples / held-out digits"),
    "classes": (10, "classes found in free samples"),
    "novelty": (0.9, "median distance to the nearest training digit, free samples / held-out digits"),
    "asked": (0.9, "guided samples classified as asked"),
}


def build():
    torch.manual_seed(0)
    return Diffusion(UNet((1, 8, 8), 32, classes=10), sk.VP(), "v", "lognormal", drop=0.3)


def classifier(images, labels):
    """A function from images to class probabilities, trained on these."""
    from sklearn.ensemble import ExtraTreesClassifier

    forest = ExtraTreesClassifier(300, random_state=0).fit(images.flatten(1), labels)
    return lambda x: torch.as_tensor(forest.predict_proba(x.flatten(1)))


def samples(model, labels):
    """Free, labelled and guided samples, with the labels asked for."""
    asked = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:SAMPLES]]
    each = torch.arange(10).repeat_interleave(SAMPLES // 10)
    return {
        "free": (model.sample(SAMPLES, seed=1, **SAMPLER), None),
        "labelled": (model.sample(len(asked), asked, seed=2, **SAMPLER), asked),
        "guided": (model.sample(len(each), each, seed=3, **SAMPLER, guidance=GUIDANCE), each),
    }


def gaussian(images):
    """Draws of a Gaussian with the images' mean and covariance, cut to their range."""
    pixels = images.flatten(1).double().numpy()
    law = sk.Gaussian(pixels.mean(0), np.cov(pixels, rowvar=False) + 1e-6 * np.eye(64))
    return law.sample(SAMPLES, seed=0, like=images).reshape(-1, *images.shape[1:]).clamp(-1, 1)


def judged(images, asked, classify, known):
    """What the classifier says of images, and how near they are to the known ones."""
    probability, guess = classify(images).max(1)
    shares = torch.bincount(guess, minlength=10) / len(guess)
    row = {
        "confident": float((probability > 0.5).double().mean()),
        "shares": [round(share, 4) for share in shares.tolist()],
        "classes": int((shares >= 0.02).sum()),  # a fifth of an equal share
        "distance": float(torch.cdist(images.flatten(1), known.flatten(1)).min(1).values.median()),
    }
    return row if asked is None else row | {"asked": float((guess == asked).double().mean())}


def bits(model, images, labels):
    """Bits per pixel of images (N, 1, 8, 8) given their labels: mean and its standard error."""
    scale = float(model.units.scale.mean())
    t = model.process.time(math.log(scale * math.sqrt(12) / WIDTH))
    grid = sk.grids.log_snr(model.process, 40, model.end, t)
    alpha = model.process.marginal(t)[0]
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    with torch.no_grad():
        state = alpha * model.units(images + WIDTH * noise)
        reverse = sk.Reverse(model.process, model.score(labels), 0.0)
        log = sk.likelihood.log_prob(reverse, state, grid, sk.midpoint, probes=1) - model.units.log_volume()
    per_pixel = sk.likelihood.bits_per_dim(log + 64 * math.log(alpha), 64, WIDTH)
    return float(per_pixel.mean()), float(per_pixel.std()) / math.sqrt(len(images))


def measure(model, data, drawn):
    """All rows, and the checks."""
    classify = classifier(data.images, data.labels)
    rows = {"held out": judged(data.held_images, data.held_labels, classify, data.images)}
    rows["Gaussian"] = judged(gaussian(data.images), None, classify, data.images)
    rows |= {name: judged(x, asked, classify, data.images) for name, (x, asked) in drawn.items()}
    real, free = rows["held out"], rows["free"]
    checks = {
        "accuracy": real["asked"],
        "confident": free["confident"] / real["confident"],
        "classes": free["classes"],
        "novelty": free["distance"] / real["distance"],
        "asked": rows["guided"]["asked"],
    }
    return rows, checks


def draw(data, drawn, path):
    """Held-out digits above free samples above guided ones, a row per class."""
    per_class = SAMPLES // 10
    guided = drawn["guided"][0].reshape(10, per_class, 64)[:, :16]
    parts = {
        "digits, held out": data.held_images[:48],
        "samples": drawn["free"][0][:48],
        f"samples of each class, guidance {GUIDANCE}": guided,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures.digits(path, [(title, images.reshape(-1, 64)) for title, images in parts.items()])


def markdown(results):
    lines = ["| check | limit | found |", "|---|---|---|"]
    lines += [f"| {text} | ≥ {limit:g} | {results['checks'][name]:.3g} |" for name, (limit, text) in LIMITS.items()]
    lines += ["", "| | p > 0.5 | classes | nearest training digit | as asked |", "|---|---|---|---|---|"]
    for name, row in results["rows"].items():
        asked = f"{row['asked']:.3f}" if "asked" in row else ""
        lines.append(f"| {name} | {row['confident']:.3f} | {row['classes']} | {row['distance']:.3f} | {asked} |")
    value, error = results["bits_per_pixel"]
    work = f"{results['steps']} steps of {results['batch']} images in {results['seconds']:.0f} s"
    lines += ["", f"{value:.2f} ± {error:.2f} bits per pixel. {work}, {results['parameters']:,} parameters."]
    return "\n".join(lines)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--steps", type=int, default=STEPS, help="of training")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--checkpoint", type=Path, default=ROOT / "runs" / "digits.pt")
    options.add_argument("--quick", type=Path, metavar="FOLDER", help="results and figure go there")
    given = options.parse_args()
    torch.set_num_threads(given.threads)

    data, model = digits(), build()
    settings = {"steps": given.steps, "batch": BATCH, "lr": RATE, "checkpoint": given.checkpoint, "every": 200}
    record = fit(model, data.images, data.labels, **settings, progress=True)
    clock = time.perf_counter()
    drawn = samples(model, data.labels)
    sampling = time.perf_counter() - clock
    rows, checks = measure(model, data, drawn)
    results = {
        "checks": checks,
        "limits": {name: limit for name, (limit, _) in LIMITS.items()},
        "rows": rows,
        "bits_per_pixel": bits(model, data.held_images, data.held_labels),
        "seconds": round(record.seconds, 1),
        "sampling_seconds": round(sampling, 1),
        "steps": record.steps,
        "batch": BATCH,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "threads": given.threads,
        "machine": machine(),
        "versions": versions(),
    }
    folder, figures = (given.quick, given.quick) if given.quick else (RESULTS, FIGURES)
    write_text(folder / "digits.json", json.dumps(results, indent=1) + "\n")
    draw(data, drawn, figures / "digits.png")
    print(markdown(results))


if __name__ == "__main__":
    main()
