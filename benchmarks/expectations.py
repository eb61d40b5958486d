"""Expectations against exact values: how often a tolerance holds, how cost grows with it, and what others take.

    python -m benchmarks.expectations [--seeds N] [--finest] [--draw]

writes `benchmarks/results/expectations.json` and `docs/figures/expectations.png`. Six problems are stepped
(`exact=False`, no control variates) with antithetic variables where the payoff is monotone in the noise: N seeds (16)
at 1e-2, N at 3e-3 and N/4 at 1e-3; with --finest one seed of the call and the Asian option at 1e-4 as well. Other ways
to the same value (without antithetic variables, on scrambled points, with a control variate, exact in law) are measured
at one tolerance.

Beside the cost stands that of one level of Euler-Maruyama at the same tolerance by arithmetic: as many steps as its
weak error asks for, which is measured, and paths by the variance. torchsde takes these on some of the paths, and its
time is scaled to all of them.
"""

import argparse
import json
import math
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import integrate, interpolate, linalg, stats

import sdekit as sk
from sdekit.drawing import BLACK, BLUE, GREEN, ORANGE, PINK, RED, figure
from sdekit.expectations.levels import add
from sdekit.expectations.multilevel import _quantity
from sdekit.expectations.samples import Samples
from sdekit.files import write_text

from .report import cores, machine, versions

RESULT = Path(__file__).parent / "results" / "expectations.json"
FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "expectations.png"
RATE = 0.05
DISCOUNT = math.exp(-RATE)


MIRRORED = {"antithetic": True}
OTHERS: dict[str, dict] = {"one path": {}, "scrambled": {"scramblings": 32}}


class Problem(NamedTuple):
    """A payoff with its exact expectation; the arguments of its levels, and of other ways by name."""

    name: str
    f: Any
    process: Any
    x0: Any
    truth: float
    given: dict
    others: dict


def lognormal_call(mean, deviation, strike):
    """E max(Y − K, 0) of a lognormal Y of this mean, whose logarithm has this standard deviation."""
    high = math.log(mean / strike) / deviation + 0.5 * deviation
    return mean * stats.norm.cdf(high) - strike * stats.norm.cdf(high - deviation)


def call():
    truth = DISCOUNT * lognormal_call(100 / DISCOUNT, 0.2, 100)
    others = {**OTHERS, "control": {"control": None, **MIRRORED}, "exact": {"exact": True}}
    f = lambda x: DISCOUNT * np.maximum(x - 100, 0)  # noqa: E731
    return Problem("call", f, sk.GBM(mu=RATE, sigma=0.2), 100.0, truth, MIRRORED, others)


def digital():
    truth = DISCOUNT * stats.norm.cdf((RATE - 0.02) / 0.2)
    process, others = sk.GBM(mu=RATE, sigma=0.2), {"one draw of the last step": {}, "exact": {"exact": True}}
    return Problem("digital", lambda x: DISCOUNT * (x > 100), process, 100.0, truth, {"inner": 64}, others)


def asian():
    """The arithmetic mean of a price at all times; the geometric one, which is lognormal, is the control.

    Value: V. Linetsky, "Spectral expansions for Asian (average price) options", 2004, doi:10.1287/opre.1040.0113.
    """
    deviation = 0.5 / math.sqrt(3)
    mean = 2.0 * math.exp((RATE - 0.125) / 2 + deviation**2 / 2)
    geometric = DISCOUNT * lognormal_call(mean, deviation, 2.0)
    along = {"mean": sk.path.mean(), "log": sk.path.mean(np.log)}
    control = [(lambda x, mean, log: DISCOUNT * np.maximum(np.exp(log) - 2, 0), geometric)]
    f = lambda x, mean, log: DISCOUNT * np.maximum(mean - 2, 0)  # noqa: E731
    others = {**OTHERS, "control": {"control": control, **MIRRORED}}
    others = {name: {"along": along, **given} for name, given in others.items()}
    return Problem("asian", f, sk.GBM(mu=RATE, sigma=0.5), 2.0, 0.2464156905, {"along": along, **MIRRORED}, others)


def cir():
    """The Laplace transform of the law: (1 + 2 c u)^{−2κθ/σ²} exp(−u x e^{−κ}/(1 + 2 c u)), c = σ² (1 − e^{−κ})/4κ."""
    kappa, theta, sigma, x0, u = 2.0, 0.5, 0.5, 0.3, 3.0
    c = sigma**2 * -math.expm1(-kappa) / (4 * kappa)
    truth = (1 + 2 * c * u) ** (-2 * kappa * theta / sigma**2) * math.exp(-u * x0 * math.exp(-kappa) / (1 + 2 * c * u))
    process = sk.CIR(kappa=kappa, theta=theta, sigma=sigma)
    return Problem("cir", lambda x: np.exp(-u * x), process, x0, truth, MIRRORED, OTHERS)


def heston():
    """A call by Gil-Pelaez' integrals of the characteristic function of log S, in Albrecher's form."""
    kappa, theta, sigma, rho, v, spot, strike = 2.0, 0.04, 0.3, -0.7, 0.04, 100.0, 100.0

    def characteristic(z):
        beta = kappa - rho * sigma * 1j * z
        d = np.sqrt(beta**2 + sigma**2 * (1j * z + z * z))
        g, e = (beta - d) / (beta + d), np.exp(-d)
        variance = kappa * theta / sigma**2 * ((beta - d) - 2 * np.log((1 - g * e) / (1 - g)))
        return np.exp(1j * z * (math.log(spot) + RATE) + variance + v / sigma**2 * (beta - d) * (1 - e) / (1 - g * e))

    def probability(shift):
        def of(z):
            moved = characteristic(z - 1j * shift) / characteristic(-1j * shift)
            return (np.exp(-1j * z * math.log(strike)) * moved / (1j * z)).real

        return 0.5 + integrate.quad(of, 1e-9, 200, limit=500, epsabs=1e-12)[0] / math.pi

    truth = spot * probability(1) - strike * DISCOUNT * probability(0)
    f = lambda x: DISCOUNT * np.maximum(x[:, 0] - strike, 0)  # noqa: E731
    others = {"one path": {}, "Euler–Maruyama": {"method": sk.euler_maruyama}}
    return Problem("heston", f, sk.Heston(mu=RATE), (spot, v), float(truth), MIRRORED, others)


def barrier():
    """P(dX = −X dt + dW from 0 has not met 1 by t = 1) = Σ e^{−λ} ψ(0) ∫ψ w/∫ψ² w, w = e^{−x²}.

    Eigenfunctions, ½ψ″ − x ψ′ = −λ ψ with ψ(1) = 0, by Chebyshev collocation on [−6, 1]; no slope at −6.
    """
    n = 96
    nodes = np.cos(np.pi * np.arange(n + 1) / n)
    ends = np.r_[2, np.ones(n - 1), 2] * (-1.0) ** np.arange(n + 1)
    gaps = nodes[:, None] - nodes + np.eye(n + 1)
    derivative = np.outer(ends, 1 / ends) / gaps
    derivative -= np.diag(derivative.sum(1))
    x, derivative = (7 * nodes - 5) / 2, derivative * 2 / 7
    operator = 0.5 * derivative @ derivative - x[:, None] * derivative
    inner = slice(1, n)  # of ψ(1) = 0 and of the slope at −6 the ends follow
    last = -derivative[n, inner] / derivative[n, n]
    rates, vectors = linalg.eig(operator[inner, inner] + np.outer(operator[inner, n], last))
    order = np.argsort(-rates.real)[:12]
    psi = np.vstack([np.zeros(12), vectors[:, order].real, last @ vectors[:, order].real])
    at, weights = np.polynomial.legendre.leggauss(400)
    at, weights = (7 * at - 5) / 2, weights * 3.5
    values = interpolate.BarycentricInterpolator(x, psi)(np.r_[at, 0.0])
    density = (weights * np.exp(-(at**2)))[:, None]
    share = (values[:-1] * density).sum(0) / (values[:-1] ** 2 * density).sum(0)
    truth = float((np.exp(rates[order].real) * share * values[-1]).sum())
    along = {"along": {"a": sk.path.survival(1.0)}}
    others = {name: {**along, **given} for name, given in OTHERS.items()}
    return Problem("barrier", lambda x, a: a, sk.OU(sigma=1.0), 0.0, truth, {**along, **MIRRORED}, others)


def euler(problem, tol):
    """(steps, paths) of one level of Euler–Maruyama: bias of a quarter of tol, and 2.6 standard errors of the rest."""
    q = _quantity(
        problem.f, problem.process, problem.x0, 1.0, sk.euler_maruyama, problem.given.get("along"), 1, False, None
    )
    level = Samples(q, 32, 1)
    add([(level, 200_000)])  # P_32 − P_16, as large as what is left of P_32
    steps = max(1, math.ceil(32 * max(abs(level.mean), 2 * level.stderr) / (0.25 * tol)))
    return steps, math.ceil(level.moments(1)[1] * (2.6 / (0.75 * tol)) ** 2)


def torchsde(problem, steps, paths, share=2**16):
    """Seconds of a geometric Brownian motion on torchsde, the better of two ways, scaled from a share of the paths."""
    import torch
    from torchsde import BrownianInterval, sdeint

    process = problem.process

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
        begun, y0 = time.perf_counter(), torch.full((share, 1), problem.x0)
        ts = torch.linspace(0, 1, steps + 1) if problem.given.get("along") else torch.tensor([0.0, 1.0])
        bm = BrownianInterval(0.0, 1.0, size=y0.shape, dt=1 / steps)
        with torch.no_grad():
            sdeint(equation, y0, ts, method="euler", dt=1 / steps, bm=bm)
        return time.perf_counter() - begun

    return min(run(kind()) for kind in (Equation, Products, Equation, Products)) * paths / share


def measure(problem, relative, seeds, given):
    """What the seeds gave at one tolerance."""
    tol, begun, busy = relative * abs(problem.truth), time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ThreadPoolExecutor(cores()) as pool:
            given = {"exact": False, "control": [], "executor": pool, **given}
            answers = [
                sk.expect(problem.f, problem.process, problem.x0, 1.0, tol=tol, seed=seed, **given)
                for seed in range(seeds)
            ]
    errors = np.array([answer.value - problem.truth for answer in answers])
    return {
        "tolerance": relative,
        "seeds": seeds,
        "within": int((abs(errors) < tol).sum()),
        "within_error": int((abs(errors) < [answer.error for answer in answers]).sum()),
        "rms": float(np.sqrt((errors**2).mean()) / abs(problem.truth)),
        "supported": sum(answer.supported for answer in answers),
        "levels": float(np.median([len(answer.levels) for answer in answers])),
        "cost": float(np.median([answer.cost for answer in answers])),
        "seconds": (time.perf_counter() - begun) / seeds,
        "cpu_seconds": (time.process_time() - busy) / seeds,
    }


def studied(problem, seeds, finest):
    """All rows of a problem, the slope of the cost, and its other ways."""
    sk.expect(problem.f, problem.process, problem.x0, 1.0, tol=0.2 * problem.truth, exact=False, **problem.given)
    few = max(1, seeds // 4)
    plan = [(1e-2, seeds), (3e-3, seeds), (1e-3, few), *([(1e-4, 1)] if finest and problem.name in FINE else [])]
    rows = []
    for relative, count in plan:
        steps, paths = euler(problem, relative * abs(problem.truth))
        row = {**measure(problem, relative, count, problem.given), "euler": steps * paths}
        if problem.name in FINE and relative == 1e-3:
            row["torchsde_seconds"] = torchsde(problem, steps, paths)
        print(problem.name, {k: f"{v:.3g}" for k, v in row.items()}, flush=True)
        rows.append(row)
    slope = np.polyfit(np.log([r["tolerance"] for r in rows]), np.log([r["cost"] for r in rows]), 1)[0]
    relative = {"call": 1e-3, "digital": 1e-2, "heston": 1e-2}.get(problem.name, 3e-3)
    others = {name: measure(problem, relative, few, given) for name, given in problem.others.items()}
    for name, row in others.items():
        print(problem.name, name, {k: f"{v:.3g}" for k, v in row.items()}, flush=True)
    print(problem.name, f"slope {slope:.2f}", flush=True)
    return {"truth": problem.truth, "slope": float(slope), "rows": rows, "others": others}


def draw(results):
    """Cost against tolerance, with one level of Euler–Maruyama dashed."""
    with figure(FIGURE, 8, 4) as drawn:
        panel = drawn.subplots()
        for (name, found), color in zip(results.items(), (BLUE, RED, GREEN, ORANGE, PINK, BLACK)):
            tols, cost, one = zip(*((r["tolerance"], r["cost"], r["euler"]) for r in found["rows"]))
            panel.plot(tols, cost, "o-", color=color, label=NAMES[name])
            panel.plot(tols, one, "--", color=color, lw=0.9)
        panel.plot([], [], "--", color=BLACK, lw=0.9, label="Euler–Maruyama, one level")
        panel.set(xscale="log", yscale="log", xlabel="relative tolerance", ylabel="path-steps")
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


FINE = ("call", "asian")
NAMES = {"call": "call", "digital": "digital", "asian": "Asian", "cir": "CIR", "heston": "Heston", "barrier": "barrier"}


def main():
    read = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    read.add_argument("--seeds", type=int, default=16)
    read.add_argument("--finest", action="store_true", help="1e-4 for the call and the Asian option")
    read.add_argument("--draw", action="store_true", help="the figure alone, from the results that are there")
    args = read.parse_args()
    if not args.draw:
        problems = (call(), digital(), asian(), cir(), heston(), barrier())
        results = {problem.name: studied(problem, args.seeds, args.finest) for problem in problems}
        text = json.dumps({"problems": results, "machine": machine(), "versions": versions()}, indent=1)
        write_text(RESULT, text + "\n")
    draw(json.loads(RESULT.read_text(encoding="utf-8"))["problems"])


if __name__ == "__main__":
    main()
