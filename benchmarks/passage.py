"""First passage: P(alive) of a Brownian motion with and without the bridge, scores, weak orders, and cost.

    python -m benchmarks.passage       writes docs/figures/first-passage.png and benchmarks/results/passage.json

Scores are (estimate − truth) / standard error. The weak errors of Euler–Maruyama with a barrier are computed, not
drawn: the density of what is alive is carried from step to step by quadrature. Costs are seconds of CPU, over those of
the same solve without a barrier, medians of interleaved rounds.
"""

import functools
import json
import math
import statistics
import time
from pathlib import Path

import numpy as np
from scipy import stats

import sdekit as sk
from sdekit.drawing import BLUE, GREY, RED, figure

from .report import machine, versions

PATH = Path(__file__).parents[1] / "docs" / "figures" / "first-passage.png"
RESULTS = Path(__file__).parent / "results" / "passage.json"
SIZES = [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125]
PATHS, SEEDS, ROUNDS = 1_000_000, range(101, 105), 7
HALVED = [0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625]


def alive(h, event):
    """The share of Brownian motions from 0 that `event` has not stopped by t = 1."""
    return np.isnan(sk.solve(sk.Brownian(), np.zeros(PATHS), [0, 1], h=h, seed=1, events=[event]).stopped).mean()


# --- OU below 1, from 0 to t = 1, by quadrature --------------------------------------------------


def stays(x, s):
    """P(no hit of 1 within s) from x with the constant drift −x: a step of Euler–Maruyama and its bridge."""
    d, root = 1.0 - x, np.sqrt(s)
    return stats.norm.cdf((d + x * s) / root) - np.exp(-2 * x * d) * stats.norm.cdf((x * s - d) / root)


def moved(x, y, h):
    """The density of such a step to y among paths that are alive."""
    y = y[:, None]
    return stats.norm.pdf(y, x * (1 - h), math.sqrt(h)) * -np.expm1(-2 * (1 - x) * (1 - y) / h)


@functools.cache
def euler(h, points=900):
    """(P(alive), E[min(hit, 1)]) of dX = −X dt + dW with Euler–Maruyama and a barrier."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    x, w, start = 3.5 * nodes - 2.5, 3.5 * weights, np.zeros(1)  # over [−6, 1]
    nodes, weights = np.polynomial.legendre.leggauss(24)
    inner = [(h * u * u, weight * h * u) for u, weight in zip(0.5 * (nodes + 1), weights)]  # s = h u²
    mean = sum(weight * stays(start, s) for s, weight in inner)[0]
    later, step = sum(weight * stays(x, s) for s, weight in inner), moved(x, x, h)
    density = w * moved(start, x, h)[:, 0]
    for _ in range(round(1 / h) - 1):
        mean += density @ later
        density = w * (step @ density)
    return density.sum(), mean


def weak():
    """The errors against the limit of small steps, which is found with them as v + a h + b h^1.5 + c h²."""
    found, h = np.array([euler(h) for h in HALVED]), np.array(HALVED)
    terms = np.linalg.lstsq(np.stack([0 * h + 1, h, h**1.5, h * h], 1)[1:], found[1:])[0]
    errors = np.abs(found - terms[0])
    return {
        "columns": ["P(alive)", "mean time"],
        "h": HALVED,
        "limit": terms[0].tolist(),
        "errors": errors.tolist(),
        "slopes": np.log2(errors[:-1] / errors[1:]).tolist(),
        "terms of h, h^1.5, h^2": terms[1:].tolist(),
    }


# --- drawn paths ---------------------------------------------------------------------------------


def scores(limit):
    """Scores of P(alive) and of the mean time, over seeds, of two solves whose ends of steps are exact."""
    within = np.linspace(0, 1, 20_001)[1:]
    walk = [1 - 2 * stats.norm.sf(1.0), np.mean(1 - 2 * stats.norm.sf((within - 2.5e-5) ** -0.5))]
    found = {}
    for process, method, truth in ((sk.Brownian(), sk.euler_maruyama, walk), (sk.OU(sigma=1.0), sk.exact, limit)):
        for h in (0.04, 0.01):
            rows = found[f"{type(process).__name__}, {method.name}, h = {h}"] = []
            for seed in SEEDS:
                when = sk.solve(
                    process, np.zeros(PATHS), [0, 1], method, h=h, seed=seed, events=[sk.Barrier(1.0)]
                ).stopped  # fmt: skip
                values = np.isnan(when), np.where(np.isnan(when), 1.0, when)
                rows.append(
                    [float((v.mean() - t) / (v.std() / math.sqrt(PATHS))) for v, t in zip(values, truth, strict=True)]
                )
    return found


def costs(paths=2**18):
    """Brownian motions at h = 0.01: a barrier that nobody reaches, and one that stops a third of them."""
    cases, found = {"none": [], "distant": [sk.Barrier(50.0)], "a third stops": [sk.Barrier(1.0)]}, {}
    for dtype in (np.float32, np.float64):
        seconds: dict = {name: [] for name in cases}
        for seed in range(ROUNDS + 1):  # the first one compiles
            for name, events in cases.items():
                begun = time.process_time()
                sk.solve(sk.Brownian(), np.zeros(paths, dtype), [0, 1], h=0.01, seed=seed, events=events)
                seconds[name].append(time.process_time() - begun)
        middle = {name: statistics.median(s[1:]) for name, s in seconds.items()}
        found[dtype.__name__] = {name: s / middle["none"] for name, s in middle.items()}
    return found


def draw():
    ends = [alive(h, sk.Event(lambda t, x: x - 1.0)) for h in SIZES]
    bridge = [alive(h, sk.Barrier(1.0)) for h in SIZES]
    with figure(PATH, 6, 3.6) as drawn:
        panel = drawn.subplots()
        panel.axhline(math.erf(1 / math.sqrt(2)), color=GREY, lw=1, label="exact")
        panel.plot(SIZES, ends, "s-", color=RED, label="looked at where steps end: Event")
        panel.plot(SIZES, bridge, "o-", color=BLUE, label="with the Brownian bridge: Barrier")
        panel.set(xscale="log", xlabel="step size h", ylabel="P(alive) at t = 1")
        panel.legend()


def main():
    order = weak()
    drawn = scores(order["limit"])
    every, root = np.array(list(drawn.values())), math.sqrt(len(SEEDS))
    result = {
        "weak errors of OU, Euler–Maruyama": order, "scores": drawn, "largest score": float(np.abs(every).max()),
        "scores of all seeds together": dict(zip(drawn, (every.sum(1) / root).tolist())),
        "mean square of the scores": float((every**2).mean()), "number of scores": every.size, "cost": costs(),
        "paths": PATHS, "machine": machine(), "versions": versions(),
    }  # fmt: skip
    print({name: result[name] for name in ("scores of all seeds together", "mean square of the scores", "cost")})
    sk.files.write_text(RESULTS, json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
    draw()
