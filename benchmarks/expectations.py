"""Expectations against exact values: how often a tolerance holds, how cost grows with it, and what others take.

    python -m benchmarks.expectations rates    [PROBLEM …]
    python -m benchmarks.expectations seeds    [PROBLEM …] --at 1e-2 [1e-3 …] [--way stepped] [--seeds 100]
    python -m benchmarks.expectations torchsde
    python -m benchmarks.expectations draw

Each writes what it has measured into `benchmarks/results/expectations.json`, beside what is there. Problems are those
of `benchmarks.payoffs`, all by default; they are stepped (`exact=False`, no control variates), with antithetic
variables where the payoff is monotone in the noise. Other ways to the same values are there by name.

rates     what 1e-2 … 1e-4 cost by arithmetic, from the means and variances of ten levels, and the same of one level of
          Euler–Maruyama: as many steps as its weak error asks for, which is measured, and paths by the variance
seeds     whether the answers are right, seed by seed on all cores, and what they cost: stepped, or by another way, of
          the problems that have it
torchsde  time at 1e-3 beside that of one level of Euler–Maruyama on torchsde, which takes some of the paths; its time
          is scaled to all of them
"""

import argparse
import functools
import json
import math
import statistics
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

import sdekit as sk
from sdekit.drawing import BLACK, BLUE, GREEN, ORANGE, PINK, RED, figure
from sdekit.expectations.levels import add, first_level
from sdekit.expectations.multilevel import _quantity
from sdekit.expectations.samples import Samples
from sdekit.files import write_text

from .payoffs import PROBLEMS
from .report import cores, machine, versions

RESULT = Path(__file__).parent / "results" / "expectations.json"
FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "expectations.png"
TOLERANCES = 1e-2, 3e-3, 1e-3, 3e-4, 1e-4
LEVELS, PATHS, FEWEST = 10, 2**20, 4096  # of `rates`: levels, paths of the first, and of each at least
ROOM = 0.75 / 2.6  # a standard error, of the tolerance
STEPPED = "stepped"

problem = functools.cache(lambda name: PROBLEMS[name]())


# --- costs by arithmetic -------------------------------------------------------------------------


def levels(name):
    """The levels of a problem, from the one that `expect` would begin with."""
    of = problem(name)
    along, inner = of.given.get("along"), of.given.get("inner", 1)
    q = _quantity(of.f, of.process, of.x0, 1.0, None, along, inner, False, sk.backends.numba(threads=1))
    q = replace(q, antithetic=of.given.get("antithetic", False))
    with ThreadPoolExecutor(cores()) as pool:
        first = first_level(q, 1, 1, pool)
        found = [Samples(q, first << i, 1, i > 0) for i in range(LEVELS)]
        add([(level, max(FEWEST, PATHS * first // level.n)) for level in found], pool)
    return found


def fitted(found):
    """(steps, bias left, variances, costs, α, β) of the levels and of ten more, which fall as the last ones do."""
    n = np.array([level.n for level in found])
    means, variances = (np.abs([getattr(level, name) for level in found]) for name in ("mean", "variance"))
    noise = np.array([level.stderr for level in found])
    clear = np.flatnonzero((means > 4 * noise) & (np.arange(LEVELS) > 1))[-4:]  # the last in the asymptotic range
    alpha, scale = np.polyfit(np.log2(n[clear]), np.log2(means[clear]), 1) if len(clear) > 1 else (-1.0, None)
    alpha = float(np.clip(alpha, -1.0, -0.5))
    scale = np.median(means[clear] * n[clear] ** -alpha) if len(clear) else 2 * noise[-1] * n[-1] ** -alpha
    beta = float(np.polyfit(np.log2(n[-5:]), np.log2(variances[-5:]), 1)[0])
    more = n[-1] * 2 ** np.arange(1, LEVELS + 1)
    variances = np.append(variances, variances[-1] * (more / n[-1]) ** beta)
    n = np.append(n, more)
    costs = [found[0].quantity.cost(int(k), i > 0) for i, k in enumerate(n)]
    return n, scale * n**alpha / (2**-alpha - 1), variances, np.array(costs), -alpha, -beta


def predicted(fit, tol):
    """Path-steps of levels that leave a quarter of tol as their bias: (Σ √(V C))² over the variance that remains."""
    _, bias, variances, costs, *_ = fit
    if (4 * bias > tol).all():
        raise ValueError(f"no level of these has a bias of a quarter of {tol:g}")
    last = max(2, int(np.argmax(4 * bias <= tol)))
    share = np.sqrt(variances * costs)[: last + 1].sum()
    return float((share / ((tol - bias[last]) / 2.6)) ** 2)


@functools.cache
def euler_level(name):
    """(32 times the bias of 32 steps, the variance) of Euler–Maruyama."""
    of = problem(name)
    level = Samples(
        _quantity(of.f, of.process, of.x0, 1.0, sk.euler_maruyama, of.given.get("along"), 1, False, None), 32, 1
    )
    add([(level, 400_000)])  # P_32 − P_16, as large as what is left of P_32
    return 32 * max(abs(level.mean), 2 * level.stderr), level.moments(1)[1]


def euler(name, tol):
    """(steps, paths) of one level of Euler–Maruyama: bias of a quarter of tol, and 2.6 standard errors of the rest."""
    bias, variance = euler_level(name)
    return max(1, math.ceil(bias / (0.25 * tol))), math.ceil(variance / (ROOM * tol) ** 2)


def rates(name, _):
    truth, fit = abs(problem(name).truth), fitted(levels(name))
    costs = {str(tol): predicted(fit, tol * truth) for tol in TOLERANCES}
    one = {str(tol): math.prod(euler(name, tol * truth)) for tol in TOLERANCES}
    slope = np.polyfit(np.log(TOLERANCES), np.log(list(costs.values())), 1)[0]
    gain = {tol: one[tol] / costs[tol] for tol in costs}
    found = {"first": int(fit[0][0]), "alpha": fit[-2], "beta": fit[-1], "slope": float(slope)}
    return {**found, "cost": costs, "euler": one, "gain": gain}


# --- answers -------------------------------------------------------------------------------------


def drawn(name, relative, seed, which):
    """(error over the tolerance, over what the answer claims; supported; levels; cost; seconds of CPU) of a seed."""
    of, begun = problem(name), time.process_time()
    given = of.given if which == STEPPED else of.others[which]
    given = {"exact": False, "control": [], "backend": sk.backends.numba(threads=1), **given}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer = sk.expect(of.f, of.process, of.x0, 1.0, tol=relative * abs(of.truth), seed=seed, **given)
    error = answer.value - of.truth
    seconds = time.process_time() - begun
    return (
        error / (relative * abs(of.truth)), error / answer.error, answer.supported, len(answer.levels), answer.cost,
        seconds,
    )  # fmt: skip


def measured(pool, name, relative, seeds, which):
    """What the seeds gave at one tolerance: functions of a problem are made where they are called."""
    begun = time.perf_counter()
    found = [pool.submit(drawn, name, relative, seed, which) for seed in range(seeds)]
    error, claimed, supported, count, cost, seconds = map(np.array, zip(*(future.result() for future in found)))
    row = {
        "tolerance": relative,
        "seeds": seeds,
        "within": int((abs(error) < 1).sum()),
        "within_error": int((abs(claimed) < 1).sum()),
        "rms": float(np.sqrt((error**2).mean()) * relative),
        "supported": int(supported.sum()),
        "levels": float(np.median(count)),
        "cost": float(np.median(cost)),
        "cpu_seconds": float(np.median(seconds)),
        "wall": time.perf_counter() - begun,
    }
    print(name, which, {k: f"{v:.3g}" for k, v in row.items()}, flush=True)
    return row


def seeds(name, args, pool):
    rows = results().get(name, {}).get("seeds", {}).get(args.way, {})
    more = {str(relative): measured(pool, name, relative, args.seeds, args.way) for relative in args.at}
    return {args.way: {**rows, **more}}


# --- torchsde ------------------------------------------------------------------------------------


def looped(of, steps, paths, share=2**16):
    """Seconds of a geometric Brownian motion on torchsde, the better of two ways, scaled from a share of the paths."""
    import torch
    from torchsde import BrownianInterval, sdeint

    process = of.process

    class Equation:
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t, y):
            return process.mu * y

        def g(self, t, y):
            return process.sigma * y

    class Products(Equation):
        def g_prod(self, t, y, v):
            return process.sigma * y * v

        def f_and_g_prod(self, t, y, v):
            return process.mu * y, process.sigma * y * v

    def run(equation):
        begun, y0 = time.perf_counter(), torch.full((share, 1), of.x0)
        ts = torch.linspace(0, 1, steps + 1) if of.given.get("along") else torch.tensor([0.0, 1.0])
        bm = BrownianInterval(0.0, 1.0, size=y0.shape, dt=1 / steps)
        with torch.no_grad():
            sdeint(equation, y0, ts, method="euler", dt=1 / steps, bm=bm)
        return time.perf_counter() - begun

    return min(run(kind()) for kind in (Equation, Products, Equation, Products)) * paths / share


def torchsde(name, args):
    """Wall time of both at 1e-3 on all cores: `expect` in full."""
    of, relative = problem(name), args.at[0] if args.at else 1e-3
    tol, given = relative * of.truth, {"exact": False, "control": [], **of.given}
    with ThreadPoolExecutor(cores()) as pool:

        def seconds(tol, seed):
            begun = time.perf_counter()
            sk.expect(of.f, of.process, of.x0, 1.0, tol=tol, seed=seed, executor=pool, **given)
            return time.perf_counter() - begun

        seconds(20 * tol, 0)  # compiles
        mine = statistics.median(seconds(tol, seed) for seed in range(3))
    steps, paths = euler(name, tol)
    theirs = looped(of, steps, paths)
    found = {"tolerance": relative, "seconds": mine, "torchsde": theirs, "steps": steps, "paths": paths}
    return {**found, "ratio": theirs / mine}


# --- results -------------------------------------------------------------------------------------


def results():
    return json.loads(RESULT.read_text(encoding="utf-8"))["problems"] if RESULT.exists() else {}


def note(name, part, found):
    """Write what a part has found of a problem, beside what is there."""
    there = results()
    mine = there.setdefault(name, {"truth": problem(name).truth})
    mine[part] = found if part == "rates" or part == "torchsde" else {**mine.get(part, {}), **found}
    text = json.dumps({"problems": there, "machine": machine(), "versions": versions()}, indent=1)
    write_text(RESULT, text + "\n")


def draw():
    """Cost against tolerance: points are measured, lines by arithmetic, one level of Euler–Maruyama dashed."""
    found = results()
    with figure(FIGURE, 8, 4) as drawn:
        panel = drawn.subplots()
        for name, color in zip(PROBLEMS, (BLUE, RED, GREEN, ORANGE, PINK, BLACK)):
            cost, one = found[name]["rates"]["cost"], found[name]["rates"]["euler"]
            rows = found[name]["seeds"][STEPPED].values()
            panel.plot(TOLERANCES, cost.values(), "-", color=color, label=NAMES.get(name, name))
            panel.plot([row["tolerance"] for row in rows], [row["cost"] for row in rows], "o", color=color)
            panel.plot(TOLERANCES, one.values(), "--", color=color, lw=0.9)
        panel.plot([], [], "--", color=BLACK, lw=0.9, label="Euler–Maruyama, one level")
        panel.set(xscale="log", yscale="log", xlabel="relative tolerance", ylabel="path-steps")
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


NAMES = {"asian": "Asian", "cir": "CIR", "heston": "Heston"}


def main():
    read = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    read.add_argument("part", choices=["rates", "seeds", "torchsde", "draw"])
    read.add_argument("problems", nargs="*", metavar="PROBLEM")
    read.add_argument("--at", type=float, nargs="+", default=[], help="relative tolerances")
    read.add_argument("--way", default=STEPPED)
    read.add_argument("--seeds", type=int, default=100)
    args = read.parse_args()
    if args.part == "draw":
        return draw()
    names = args.problems or (["call", "asian"] if args.part == "torchsde" else list(PROBLEMS))
    if args.part == "seeds":
        with sk.executors.processes(cores()) as pool:
            for name in names:
                if args.way == STEPPED or args.way in problem(name).others:
                    note(name, args.part, seeds(name, args, pool))
    else:
        for name in names:
            found = {"rates": rates, "torchsde": torchsde}[args.part](name, args)
            print(name, json.dumps(found), flush=True)
            note(name, args.part, found)


if __name__ == "__main__":
    main()
