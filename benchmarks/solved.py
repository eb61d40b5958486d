"""Plans of `sk.solved` against all fixed methods on all grids, and against diffusers' schedulers on their own grids.

    python -m benchmarks.solved            # measures what benchmarks/results/solved.json does not hold yet
    python -m benchmarks.solved --plans    # measures the plans anew
    python -m benchmarks.solved --trained  # on a network alone, which it trains first: five minutes of one core
    python -m benchmarks.solved --draw     # prints the tables and draws docs/figures/solved.png

Root-mean-square distance to the exact flow from the same starts, with exact scores. A plan is told the largest
standard deviation of the target, nothing else; of the fixed methods the best one is taken with hindsight, for each
target and number of evaluations anew. On `VP` all end at t = 1e-3; beside diffusers all run on `DiscreteVP` from the
table's last entry to sigma = 0. Digits and patches are points apart: few starts that end at another point than the
exact flow make up most of the squares, so that the digits, which have no blur, take 1,000 starts. The trained network
is the U-Net of docs/gallery/digits.md; its exact flow is its own, in 1,000 steps.
"""

import argparse
import json
import math
from itertools import product
from pathlib import Path

import numpy as np

import sdekit as sk
from sdekit.convergence import reference_flow
from sdekit.drawing import BLACK, GREY, figure, load
from sdekit.files import write_text

from . import samplers
from .report import machine, versions

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "solved.json"
FIGURE = ROOT / "docs" / "figures" / "solved.png"
BUDGETS = (5, 6, 8, 10, 15, 20)
PROCESS, TABLE = sk.VP(), sk.DiscreteVP()
METHODS = (
    "euler, midpoint, rk4, ddim, edm_heun, dpm_solver(2), dpm_solver(3), dpmpp_2m, dpmpp_3m, unipc(1), unipc(2), "
    "unipc(3), deis(2), deis(3), deis(4), lms(2), lms(3), lms(4)"
)
GRIDS = sk.grids.uniform, sk.grids.quadratic, sk.grids.log_snr, sk.grids.karras, sk.grids.cosine
STARTS = {"patches": 400, "digits": 1000}  # 2,000 of the others, whose scores are cheap
THEIRS, BESIDE, FEW = 400, ("eight", "twelve", "aniso"), (5, 10)  # starts, targets, budgets beside diffusers
NETWORK = ROOT / "runs" / "solved.pt"
TRAINED, STEPS = (5, 8, 10), 1000  # budgets, and steps of a trained network's own flow
OWN_GRIDS = ({}, {"use_karras_sigmas": True}, {"use_exponential_sigmas": True}, {"use_beta_sigmas": True})


# --- targets -------------------------------------------------------------------------------------


def patches(count=1500):
    """8 × 8 patches of scikit-learn's two photographs, grey, from −1 to 1, blurred by 0.1."""
    rng, found = np.random.default_rng(0), []
    for image in load("sklearn.datasets").load_sample_images().images:
        grey = image.mean(2) / 127.5 - 1
        for _ in range(count // 2):
            i, j = rng.integers(0, grey.shape[0] - 8), rng.integers(0, grey.shape[1] - 8)
            found.append(grey[i : i + 8, j : j + 8].ravel())
    return sk.Empirical(np.array(found), 0.1)


def twelve():
    """Twelve Gaussians in six dimensions, of unequal weights, distances and covariances."""
    rng = np.random.default_rng(5)
    means = rng.standard_normal((12, 6)) * [2.0, 1.5, 1.0, 0.7, 0.5, 0.3]
    roots = [rng.standard_normal((6, 6)) for _ in range(12)]
    covs = np.array([0.05 * root @ root.T + 0.01 * np.eye(6) for root in roots])
    return sk.GaussianMixture(rng.random(12) + 0.3, means, covs=covs)


def anisotropic():
    """Eight Gaussians in ten dimensions, with variances from 0.001 to 0.5 along axes of their own."""
    rng = np.random.default_rng(10)
    means, covs = rng.standard_normal((8, 10)) * np.geomspace(2, 0.2, 10), []
    for _ in range(8):
        axes, _ = np.linalg.qr(rng.standard_normal((10, 10)))
        covs.append((axes * np.geomspace(1e-3, 0.5, 10)) @ axes.T)
    return sk.GaussianMixture(rng.random(8) + 0.5, means, covs=np.array(covs))


TARGETS = {
    "patches": ("patches of photographs", patches),
    "digits": ("digits", lambda: samplers.digits().target),
    "gaussian": ("Gaussian with the digits' covariance", lambda: samplers.gaussian().target),
    "eight": ("8 Gaussians", lambda: samplers.eight().target),
    "twelve": ("12 Gaussians, 6-d", twelve),
    "aniso": ("anisotropic mixture, 10-d", anisotropic),
}
AVERAGED = "patches", "digits", "eight", "twelve", "aniso"  # one Gaussian flatters plans that are solved on Gaussians


class Case:
    """A target with starts from its exact law and where the exact flow takes them."""

    def __init__(self, name, process, last, count):
        self.target, self.process, first = TARGETS[name][1](), process, process.domain[1]
        self.score = self.target.score(process)
        clean = self.target.sample(count, 3)
        alpha, sigma = process.marginal(first)
        self.x0 = alpha * clean + sigma * np.random.default_rng(4).standard_normal(clean.shape)
        self.end = reference_flow(process, self.score, self.x0, first, last, samplers.TOLERANCE)
        self.spread = sk.plans.largest_deviation(self.target.sample(20_000, 1))

    def error(self, x):
        return float(np.sqrt(np.mean((np.asarray(x) - self.end) ** 2)))

    def run(self, method, grid):
        sol = sk.solve(sk.Reverse(self.process, self.score, eta=0), self.x0, grid=grid, method=method)
        return self.error(sol.final), sol.nfe


class Trained(Case):
    """A small U-Net of digits: noise on held-out ones, and where many steps of its own flow take it."""

    def __init__(self):
        gen, torch = load("generative"), load("torch")
        torch.manual_seed(0)
        data, net = gen.digits(), gen.UNet((1, 8, 8), 24, classes=10)
        model = gen.Diffusion(net, PROCESS, "v", "lognormal", drop=0.3)
        gen.fit(model, data.images, data.labels, steps=1200, batch=64, seed=0, checkpoint=NETWORK)
        self.process, self.score = PROCESS, model.requires_grad_(False).score()
        (alpha, sigma), clean = PROCESS.marginal(PROCESS.domain[1]), model.units(data.held_images[:100])
        self.x0 = alpha * clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(4))
        flow = sk.Reverse(PROCESS, self.score, eta=0)
        self.end = np.asarray(sk.solve(flow, self.x0, grid=sk.grids.log_snr(PROCESS, STEPS), method=sk.dpmpp_3m).final)
        self.spread = sk.plans.largest_deviation(model.units(data.images))


# --- measuring -----------------------------------------------------------------------------------


def fixed(case, budget):
    """{"method, grid": error} of all methods and grids, with as many steps as the budget has room for."""
    found = {}
    for method, grid in product(samplers.named("method", METHODS, sk.methods), GRIDS):
        if steps := budget // (method.drifts or 1):
            error, nfe = case.run(method, grid(PROCESS, steps))
            assert nfe <= budget, (method, nfe, budget)
            found[f"{method!r}, {grid.__name__}"] = error
    return found


def planned(case, budget, **ends):
    plan = sk.solved(case.process, budget, case.spread, **ends)
    error, nfe = case.run(plan.method, plan.grid)
    assert nfe == budget, (plan, nfe)
    return {"error": error, "plan": json.loads(plan.to_json())}


def schedulers(case, budget):
    """{"scheduler, its grid": error} of diffusers' samplers of the flow."""
    from .competitors import diffusers_schedulers as theirs

    torch, found = load("torch"), {}
    x = torch.as_tensor(case.x0)
    target = case.target
    if isinstance(target, sk.Empirical):
        target = target._replace(data=torch.as_tensor(target.data))
    score = target.score(TABLE)
    for scheduler, own in product(theirs.schedulers(), OWN_GRIDS):
        if scheduler.noisy:
            continue
        changed = scheduler._replace(options={**scheduler.options, **own})
        try:
            steps = theirs.fitting(changed, theirs.trailing, score, x, budget)
            made = theirs.prepared(changed, theirs.trailing, steps) if steps else None
            if made is None or any(key not in made.config for key in own) or (own and not scheduler.spaced):
                continue
            if getattr(made, "sigmas", None) is not None and float(made.sigmas[-1]) > 0:
                continue  # it does not end at sigma = 0
            found[changed.label] = case.error(theirs.run(made, changed, score, x, 0)[0])
        except (ValueError, TypeError, ImportError, IndexError):  # that grid is not one of its own
            continue
    return {label: error for label, error in found.items() if math.isfinite(error)}


def measure(cells, again):
    for name in TARGETS:
        cell = cells.setdefault(name, {})
        if again or "plans" not in cell or "fixed" not in cell:
            case = Case(name, PROCESS, PROCESS.finest, STARTS.get(name, 2000))
            cell["spread"], cell["starts"] = case.spread, len(case.x0)
            if "fixed" not in cell:
                cell["fixed"] = {str(n): fixed(case, n) for n in BUDGETS}
            cell["plans"] = {str(n): planned(case, n) for n in BUDGETS}
            yield name
        if name in BESIDE and (again or "plans beside diffusers" not in cell):
            case = Case(name, TABLE, -1.0, THEIRS)
            if "diffusers" not in cell:
                cell["diffusers"] = {str(n): schedulers(case, n) for n in FEW}
            cell["plans beside diffusers"] = {str(n): planned(case, n, final=True) for n in FEW}
            yield name


def measure_trained(report):
    case = Trained()
    plans, others = ({str(n): one(case, n) for n in TRAINED} for one in (planned, fixed))
    report["trained"] = {"spread": case.spread, "starts": len(case.x0), "fixed": others, "plans": plans}
    yield "trained"


# --- showing -------------------------------------------------------------------------------------


def ratios(cell, n, ours="plans", others="fixed"):
    """(the plan's error over that of the best of the others, which one that is)."""
    best = min(cell[others][str(n)], key=cell[others][str(n)].get)
    return cell[ours][str(n)]["error"] / cell[others][str(n)][best], best


def table(cells, ours="plans", others="fixed", budgets=BUDGETS):
    """A Markdown table of the ratios, the best of the others in brackets, and the geometric means."""
    measured = {name: cell for name, cell in cells.items() if ours in cell and others in cell}
    lines = [["plan / best fixed at NFE", *map(str, budgets)], ["---"] + ["--:"] * len(budgets)]
    for name, cell in measured.items():
        found = [ratios(cell, n, ours, others) for n in budgets]
        lines.append([TARGETS[name][0], *(f"{ratio:.2f} ({best})" for ratio, best in found)])
    averaged = [cell for name, cell in measured.items() if name in AVERAGED]
    logs = [[math.log(ratios(cell, n, ours, others)[0]) for cell in averaged] for n in budgets]
    lines.append(["geometric mean without the Gaussian", *(f"{math.exp(np.mean(log)):.2f}" for log in logs)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def trained(cell):
    """The same for the trained network, with the errors."""
    lines = [["NFE", "plan", "best fixed", "plan / it"], ["--:", "--:", "--:", "--:"]]
    for n in TRAINED:
        ratio, best = ratios(cell, n)
        error = cell["plans"][str(n)]["error"]
        lines.append([str(n), f"{error:.3f}", f"{error / ratio:.3f} (`{best}`)", f"{ratio:.2f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def without_plan(cells):
    """A Markdown table of the fixed sampler that is best for all targets at once, and of the plans' errors over its."""
    five, lines = [cells[name] for name in AVERAGED], [["NFE", "fixed sampler", "plan / it"], ["--:", "---", "--:"]]
    for n in map(str, BUDGETS):
        labels = [label for label in five[0]["fixed"][n] if all(cell["fixed"][n][label] > 0 for cell in five)]
        means = {label: np.mean([math.log(cell["fixed"][n][label]) for cell in five]) for label in labels}
        best = min(means, key=means.get)
        solved = np.mean([math.log(cell["plans"][n]["error"]) for cell in five])
        lines.append([n, f"`{best}`", f"{math.exp(solved - means[best]):.2f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(cells, path):
    measured = [(name, cell) for name, cell in cells.items() if "plans" in cell]
    with figure(path, 11, 6.5) as drawn:
        axes = drawn.subplots(2, 3)
        for (name, cell), ax in zip(measured, axes.flat):
            errors = [list(cell["fixed"][str(n)].values()) for n in BUDGETS]
            for n, values in zip(BUDGETS, errors):
                ax.plot([n] * len(values), values, ".", color="0.8", markersize=3)
            ax.plot(BUDGETS, [min(values) for values in errors], color=GREY, label="best fixed, with hindsight")
            for label in ("deis(4), log_snr", "unipc(2), quadratic", "dpmpp_2m, log_snr"):
                ax.plot(BUDGETS, [cell["fixed"][str(n)][label] for n in BUDGETS], linewidth=0.8, label=label)
            solved = [cell["plans"][str(n)]["error"] for n in BUDGETS]
            ax.plot(BUDGETS, solved, "o-", color=BLACK, label="solved")
            ax.set(title=TARGETS[name][0], xscale="log", yscale="log", xticks=BUDGETS, xticklabels=BUDGETS)
            ax.set(ylim=(0.5 * min(*map(min, errors), *solved), 2 * max(solved[0], 2 * min(errors[0]))))
            ax.minorticks_off()
        axes[1, 1].set_xlabel("network evaluations")
        axes[0, 0].set_ylabel("RMS to the exact flow")
        axes[0, 0].legend(fontsize=7)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--plans", action="store_true", help="measure the plans anew")
    options.add_argument("--trained", action="store_true", help="measure on a trained network alone")
    options.add_argument("--draw", action="store_true", help="measure nothing")
    given = options.parse_args()
    report = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"cells": {}}
    to_measure = measure_trained(report) if given.trained else measure(report["cells"], given.plans)
    for name in () if given.draw else to_measure:
        report |= {"machine": machine(), "versions": versions()}
        write_text(RESULTS, json.dumps(report, indent=1) + "\n")
        print(name, flush=True)
    print(table(report["cells"]), "", without_plan(report["cells"]), sep="\n")
    if any("diffusers" in cell for cell in report["cells"].values()):
        print("", table(report["cells"], "plans beside diffusers", "diffusers", FEW), sep="\n")
    if "trained" in report:
        print("", trained(report["trained"]), sep="\n")
    draw(report["cells"], FIGURE)


if __name__ == "__main__":
    main()
