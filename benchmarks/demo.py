"""The demonstration: laws that the solvers reproduce, and real digits sampled backwards from noise.

    python -m benchmarks.demo [--out FOLDER]    # about a minute

`run` does all of it; `simulate`, `flow` and `reverse` are its parts, with their sizes as arguments.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdekit import GBM, OU, VP, Lorenz, Reverse, methods, solve
from sdekit.app.figures import SHOWN
from sdekit.drawing import load
from sdekit.targets import Empirical

from . import figures
from .pictures import digits
from .samplers import digit_data

BANDWIDTH = 0.2  # of the blur, in pixel values that run from −1 to 1
LAST = 1e-3  # where the reverse processes stop: sigma = 0.01 there, which adds 0.1 % to the blur
NAMES = {
    "euler": "Euler",
    "heun": "Heun",
    "euler_maruyama": "Euler–Maruyama",
    "predictor_corrector": "Predictor–corrector",
}


def run(
    out, paths=1_000_000, steps=1000, starts=256, samples=1200, budgets=(10, 20, 40, 80, 160), fine=60, backend=None
):
    """Everything, with figures into the folder `out`; prints what it finds."""
    began = time.perf_counter()
    for module in ("matplotlib.figure", "sklearn.datasets", "torch"):
        load(module)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    say(f"1. {paths:,} paths of {steps:,} steps, float32, against the closed form")
    say("   (z counts standard errors: sampling noise and the method's bias together)\n")
    results = [simulate(*case, paths=paths, steps=steps, backend=backend) for case in cases()]
    figures.relaxation(out / "paths.png", results[:3])
    figures.lorenz(out / "lorenz.png", results[3])

    images, labels = digit_data()
    say(f"\n2. Handwritten digits: {len(images):,} images of 8 × 8 pixels, as a density blurred by {BANDWIDTH}")
    say("   VP run backwards with the exact score; NFE = evaluations of the score per sample")
    ode, walked = flow(images, starts, budgets, fine)
    sde, floor, drawn = reverse(images, labels, samples, budgets)
    figures.convergence(out / "error.png", ode, sde, floor)
    made = {"Heun, probability-flow ODE": walked, **{f"{k}, reverse SDE": x for k, x in drawn.items()}}
    groups = [("Data set", Empirical(images).sample(32, seed=5))]
    groups += [(f"Target: data set blurred by {BANDWIDTH}", Empirical(images, BANDWIDTH).sample(32, seed=5))]
    groups += [(f"{k}, {budgets[-1]} evaluations of the score", x[:32]) for k, x in made.items()]
    digits(out / "digits.png", groups)
    say(f"\nDone in {time.perf_counter() - began:.0f} s. Figures:")
    for name in ("paths", "lorenz", "digits", "error"):
        say(f"   {out / name}.png")


def say(*words, end="\n"):
    print(*words, end=end, flush=True)


# --- simulation ----------------------------------------------------------------------------------


class Result(NamedTuple):
    """Paths of one process: all of them at the end, some of them on the way."""

    process: Any
    x0: Any
    t: np.ndarray  # (looks,)
    look: np.ndarray  # (looks, some paths, …)
    x: np.ndarray  # (paths, …) at the last time
    title: str

    def law(self, t):
        """The exact law at time t."""
        return self.process.transition(float(self.t[0]), t, self.x0)


def cases():
    """(process, start, last time, method, title).

    Heun because its bias is of second order where the noise does not depend on the state: with 1e6
    paths and VP's beta of 20 that of Euler–Maruyama shows (z = 2.6). Lorenz starts on its axis of
    symmetry, so that (x, y, z) and (−x, −y, z) have the same law at all times.
    """
    ou, gbm, lorenz = OU(theta=1.0, mu=0.0, sigma=0.3), GBM(mu=0.05, sigma=0.2), Lorenz()
    return (
        (ou, 1.0, 1.0, methods.euler_maruyama, "Ornstein–Uhlenbeck: dX = −X dt + 0.3 dW"),
        (gbm, 1.0, 1.0, methods.euler_maruyama, "Geometric Brownian motion: dX = 0.05 X dt + 0.2 X dW"),
        (VP(), 1.0, 1.0, methods.heun, "Variance-preserving: dX = −½ β(t) X dt + √β(t) dW"),
        (lorenz, (0.0, 0.0, 25.0), 10.0, methods.heun, "Lorenz's system with noise of strength 1"),
    )


def simulate(process, x0, until, method, title, paths, steps, backend=None):
    """Solve, and print throughput and law; returns a `Result`."""
    start, h = np.asarray(x0, np.float32), until / steps
    settings = {"method": method, "h": h, "seed": 0, "backend": backend}
    say(f"   {type(process).__name__:7}{NAMES[method.name]:15}", end="")
    clock = time.perf_counter()
    ts = np.linspace(0.0, until, min(steps, 200) + 1)
    some = solve(process, start, ts, paths=SHOWN, **settings).x
    compiled = time.perf_counter() - clock
    say(f" first call {compiled:4.1f} s (compiles)", end="")
    clock = time.perf_counter()
    x = solve(process, start, [0.0, until], paths=paths, **settings).x[-1]
    ran = time.perf_counter() - clock
    say(f"   run {ran:5.2f} s   {paths * steps / ran:.2e} path-steps/s")
    result = Result(process, x0, ts, some, x, title)
    for line in (law if hasattr(process, "transition") else symmetry)(result):
        say("      " + line)
    return result


def law(result):
    """Lines with mean and variance at the end against the closed form."""
    x, exact = result.x.astype(np.float64), result.law(float(result.t[-1]))
    count, mean, var = len(x), x.mean(), x.var()
    fourth = np.mean((x - mean) ** 4)
    for name, value, want, error in (
        ("mean", mean, exact.mean, np.sqrt(var / count)),
        ("variance", var, exact.var, np.sqrt((fourth - var * var) / count)),
    ):
        z = (value - want) / error
        yield f"{name:9}{value:10.6f} ± {error:.6f}   exact {want:10.6f}   z = {z:+.2f}"


def symmetry(result):
    """Lines with moments of Lorenz's system at the end; those odd in (x, y) are exactly 0."""
    x, y, z = result.x.astype(np.float64).T
    for name, values in (("E[x]", x), ("E[y]", y), ("E[x z]", x * z)):
        value, error = values.mean(), values.std() / np.sqrt(len(values))
        yield f"{name:9}{value:10.6f} ± {error:.6f}   exact   0 by symmetry   z = {value / error:+.2f}"
    stds = ", ".join(f"{v.std():.3f}" for v in (x, y, z))
    yield f"E[z]     {z.mean():10.6f}; standard deviations {stds} (no closed form)"


# --- digits --------------------------------------------------------------------------------------


def grid(steps):
    """Times from 1 down to `LAST`, equally spaced in √t: β and the score's changes grow towards 0."""
    times = np.linspace(1.0, np.sqrt(LAST), steps + 1) ** 2
    times[-1] = LAST
    return times


def backwards(images, eta, count, seed):
    """VP in reverse with the exact score of the images, and `count` starts."""
    torch, process = load("torch"), VP()
    target = Empirical(torch.as_tensor(images), BANDWIDTH)
    process = Reverse(process, target.score(process), eta=eta)
    return process, process.start((count, images.shape[1]), seed, like=torch.empty(0))


def flow(images, starts, budgets, fine):
    """The probability-flow ODE from the same starts: distances to a reference with `fine` steps of rk4.

    Returns {name: rows (nfe, RMSE, median over the starts)} and the end points of the last method.
    """
    process, start = backwards(images, 0.0, starts, seed=1)
    say(f"\n   Probability-flow ODE, {starts:,} starts: distance per pixel to rk4 with {4 * fine} NFE")
    reference = solve(process, start, grid=grid(fine), method=methods.rk4, seed=0).x[-1]
    say("              Euler               Heun")
    say("     NFE      RMSE     median     RMSE     median")
    rows = {}
    for budget in budgets:
        say(f"   {budget:5}", end="")
        for method in (methods.euler, methods.heun):
            sol = solve(process, start, grid=grid(budget // method.drifts), method=method, seed=0)
            square = ((sol.x[-1] - reference) ** 2).mean(1)
            errors = float(square.mean() ** 0.5), float(square.median() ** 0.5)
            rows.setdefault(NAMES[method.name], []).append((sol.nfe, *errors))
            say(f"   {errors[0]:.1e}   {errors[1]:.1e}", end="")
        say()
    say("   (starts on a border between two digits make the RMSE; the median shows the order)")
    return rows, sol.x[-1].numpy()


def reverse(images, labels, samples, budgets):
    """The reverse SDE: law of the samples against the data set's.

    Returns {name: rows (nfe, total variation of the classes, noise level / bandwidth − 1)}, what exact
    draws of the same number give (total variations, standard error of the noise level), and the last
    samples of each method.
    """
    process, start = backwards(images, 1.0, samples, seed=2)
    target = Empirical(images, BANDWIDTH)
    drawn = [judge(target.sample(samples, seed), images, labels) for seed in range(10)]
    floor = [tv for tv, _ in drawn], float(np.std([noise for _, noise in drawn], ddof=1))
    say(f"\n   Reverse-time SDE, {samples:,} samples: total variation between the frequencies of the ten")
    say("   classes and the data's; noise per pixel (distance to the nearest digit) / bandwidth − 1")
    say("              Euler–Maruyama      Predictor–corrector")
    say("     NFE      classes   noise     classes   noise")
    rows = {}
    last = {}
    for budget in budgets:
        say(f"   {budget:5}", end="")
        for method in (methods.euler_maruyama, methods.predictor_corrector):
            sol = solve(process, start, grid=grid(budget // method.drifts), method=method, seed=3)
            name, x = NAMES[method.name], sol.x[-1].numpy()
            errors = judge(x, images, labels)
            rows.setdefault(name, []).append((sol.nfe, *errors))
            last[name] = x
            say(f"     {errors[0]:.3f}   {errors[1]:+.4f}", end="")
        say()
    say(f"   exact draws  {min(floor[0]):.3f}–{max(floor[0]):.3f}  ±{floor[1]:.4f}")
    return rows, floor, last


def judge(x, images, labels):
    """(total variation of the classes of the nearest digits, RMS distance to them / bandwidth − 1)."""
    x = np.asarray(x, np.float64)
    square = (x * x).sum(1)[:, None] - 2 * x @ images.T + (images * images).sum(1)
    nearest = square.argmin(1)
    share = np.bincount(labels[nearest], minlength=10) / len(x)
    distance = 0.5 * np.abs(share - np.bincount(labels, minlength=10) / len(labels)).sum()
    level = np.sqrt(square.min(1).mean() / x.shape[1])
    return float(distance), float(level / BANDWIDTH - 1)


def main(argv=None):
    """All of it; returns the exit status: 0, 2 where a library or the folder is missing, 130 for Ctrl-C."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__.partition("\n")[0])
    text = "folder of the figures, which are replaced there (%(default)s)"
    options.add_argument("--out", type=Path, default="demo", help=text)
    # torch's threads wait for each other after each operation; where others use the machine as well,
    # waiting in a busy loop, the default, makes the whole three times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        run(options.parse_args(argv).out)
    except (OSError, ModuleNotFoundError) as error:
        print(f"python -m benchmarks.demo: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
