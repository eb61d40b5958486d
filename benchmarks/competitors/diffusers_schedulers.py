"""Every scheduler of diffusers that takes the same grid, against the methods here: same denoiser, starts and times.

    python -m benchmarks.competitors.diffusers_schedulers             # writes benchmarks/results/diffusers.json

The process is `DiscreteVP` with DDPM's table, the denoiser the exact one of the target, the times those that the
scheduler itself reports, then t = −1, where sigma = 0. Two grids: `trailing` (equal steps of the index) for all
schedulers with that spacing, and `log_snr` (equal steps of log-SNR, rounded to entries of the table) for those that
take a list of timesteps. Not among them: DEIS and SASolver, which end at the table's first entry and not at sigma =
0; LCM and TCD, which are for distilled networks; DPMSolverSDE, which needs torchsde. Methods with several evaluations
per step get fewer steps: the NFE, counted, are compared.
"""

import argparse
import json
import time
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import sdekit as sk
from sdekit import convergence
from sdekit.convergence import metrics
from sdekit.files import write_text

from .. import samplers
from ..report import machine, versions

RESULTS = Path(__file__).parents[1] / "results" / "diffusers.json"
BUDGETS = (5, 10, 20)
PROCESS = sk.DiscreteVP()
LAST = len(PROCESS.alphas_cumprod)
COMMON = {"num_train_timesteps": LAST, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
OURS_FLOW = (
    "euler, midpoint, rk4, ddim, edm_heun, dpm_solver(2), dpm_solver(3), dpmpp_2m, dpmpp_3m, unipc(1), "
    "unipc(2), unipc(3), deis(2), deis(3), deis(4), lms(2), lms(3), lms(4)"
)
OURS_NOISY = "euler_maruyama, heun, sra1, ancestral, exponential_euler, dpmpp_sde, dpmpp_2m_sde"


# --- grids: entries of the table, largest first ---


def trailing(n):
    return np.round(np.arange(LAST, 0, -LAST / n)).astype(int) - 1


def log_snr(n):
    """Equal steps of log(alpha/sigma) from the last entry to the first, rounded; always n different entries."""
    if n == 1:
        return np.array([LAST - 1])
    times = np.round(sk.grids.log_snr(PROCESS, n - 1)).astype(int)
    for i in range(n - 2, -1, -1):  # make room where two have fallen together
        times[i] = max(times[i], times[i + 1] + 1)
    return times


GRIDS = {"trailing": trailing, "log_snr": log_snr}


def as_grid(choose):
    """A grid as those of `sdekit.grids`: the chosen entries, then t = −1."""

    def grid(process, n, **_):
        return np.append(choose(n), -1).astype(float)

    grid.__name__ = choose.__name__
    return grid


# --- their schedulers ---


class Theirs(NamedTuple):
    name: str
    options: dict
    noisy: bool = False
    listed: bool = False  # takes a list of timesteps
    spaced: bool = True  # has a timestep_spacing
    cost: int = 1  # evaluations per step
    extra: Any = None  # arguments of `step`

    @property
    def label(self):
        parts = [f"{k}={v}" for k, v in {**self.options, **(self.extra or {})}.items() if k not in QUIET]
        return f"{self.name.removesuffix('Scheduler')}({', '.join(parts)})"


QUIET = ("clip_sample", "final_sigmas_type", "lower_order_final", "set_alpha_to_one", "skip_prk_steps")
ZERO = {"final_sigmas_type": "zero"}


def multistep(name, orders, more=({},), noisy=False, **given):
    for order, options in product(orders, more):
        yield Theirs(name, {"solver_order": order, "lower_order_final": True, **options}, noisy, **given)


def schedulers():
    sde = [{"algorithm_type": "sde-dpmsolver++", **ZERO}]
    unipc = [{**ZERO, "solver_type": "bh1"}, {**ZERO, "solver_type": "bh2"}]
    solvers = [{**ZERO, "solver_type": kind} for kind in ("midpoint", "heun")]
    unclipped = {"clip_sample": False}
    return [
        Theirs("DDIMScheduler", unclipped),
        Theirs("DDIMScheduler", unclipped, noisy=True, extra={"eta": 1.0}),
        Theirs("DDPMScheduler", unclipped, noisy=True, listed=True),
        *multistep("DPMSolverMultistepScheduler", (1, 2, 3), solvers, listed=True),
        *multistep("DPMSolverMultistepScheduler", (1, 2, 3), sde, noisy=True, listed=True),
        *multistep("DPMSolverSinglestepScheduler", (2, 3), solvers, listed=True, spaced=False),
        *multistep("UniPCMultistepScheduler", (1, 2, 3), unipc),
        *multistep("DEISMultistepScheduler", (1, 2, 3)),
        Theirs("HeunDiscreteScheduler", {}, listed=True, cost=2),
        Theirs("EulerDiscreteScheduler", {**ZERO}, listed=True),
        Theirs("EulerAncestralDiscreteScheduler", {}, noisy=True),
        Theirs("KDPM2DiscreteScheduler", {}, cost=2),
        Theirs("KDPM2AncestralDiscreteScheduler", {}, noisy=True, cost=2),
        Theirs("LMSDiscreteScheduler", {}),
        Theirs("PNDMScheduler", {"set_alpha_to_one": True, "skip_prk_steps": True}),
        Theirs("SASolverScheduler", {"predictor_order": 2, "corrector_order": 2}, noisy=True),
    ]


def prepared(theirs, choose, steps):
    """The scheduler with its timesteps on the grid, or None where it takes another one."""
    import diffusers

    if not (theirs.listed if choose is log_snr else theirs.listed or theirs.spaced):
        return None
    spacing = {"timestep_spacing": "trailing"} if theirs.spaced else {}
    scheduler = getattr(diffusers, theirs.name)(**COMMON, **spacing, **theirs.options)
    if theirs.listed:
        scheduler.set_timesteps(timesteps=choose(steps).tolist())
    else:
        scheduler.set_timesteps(steps)
    return scheduler


def run(scheduler, theirs, score, x, seed):
    """(samples, NFE): the scheduler's loop, the states in its own scale, the noise predicted in ours."""
    torch.manual_seed(seed)
    sigmas = getattr(scheduler, "sigmas", None)
    scaled = getattr(scheduler, "init_noise_sigma", 1.0) != 1.0  # states x/alpha
    x = x * float((1 + sigmas[0].double() ** 2) ** 0.5) if scaled else x
    count = 0
    for t in scheduler.timesteps:
        given = scheduler.scale_model_input(x, t)
        eps = score.pair(float(t), given)[1]
        count += 1
        x = scheduler.step(eps, t, x, **(theirs.extra or {})).prev_sample
    return x, count


def fitting(theirs, choose, score, x, budget):
    """The most steps whose NFE is within the budget, as counted on two states; 0 for none."""
    for steps in range(budget, 0, -1):
        scheduler = prepared(theirs, choose, steps)
        if scheduler is None:
            return 0
        if len(scheduler.timesteps) <= budget:
            return steps if run(scheduler, theirs, score, x[:2], 0)[1] <= budget else 0
    return 0


def on_the_grid(scheduler, choose, steps):
    """Whether the scheduler looks at all times of the grid (single-step ones look in between as well) and ends at 0."""
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None and float(sigmas[-1]) > 0:
        return False
    times = np.array(sorted({round(float(t), 3) for t in scheduler.timesteps}))
    return all(np.abs(times - t).min() < 1e-3 for t in choose(steps))


# --- the comparison ---


class Problem(NamedTuple):
    """A target with starts and the metrics of flows and of noisy samplers."""

    name: str
    target: Any
    score: Any
    flow_starts: Any
    noisy_starts: Any
    flow: Any
    noisy: Any


def problem(name, samples):
    case = samplers.TARGETS[name]()
    data = torch.as_tensor(case.target.data)
    target = case.target._replace(data=data)
    score = target.score(PROCESS)
    alpha, sigma = PROCESS.marginal(LAST - 1.0)

    def starts(count, seed):
        clean = target.sample(count, seed, like=data)
        return alpha * clean + sigma * sk.noise.normal(clean.shape, seed + 100, like=data)

    x, y = starts(samples[0], 1), starts(samples[1], 2)
    flow = convergence.coupled_rmse
    noisy = case.metrics[True][0]
    return Problem(name, target, score, x, y, flow, noisy)


def measure(p, choose):
    """Rows (side, name, noisy, budget, steps, NFE, value, stderr, floor) of both sides on one grid."""
    rows = []
    for noisy in (False, True):
        starts, metric = (p.noisy_starts, p.noisy) if noisy else (p.flow_starts, p.flow)
        names = OURS_NOISY if noisy else OURS_FLOW
        ours = convergence.work_precision(
            p.target, PROCESS, samplers.named("method", names, sk.methods), BUDGETS, metric, grid=as_grid(choose),
            x0=starts, tol=samplers.TOLERANCE,
        )  # fmt: skip
        rows += [Entry("sdekit", r.method, noisy, *r[2:]) for r in ours.rows]
        judge = judged(p, noisy)
        for theirs, budget in product([s for s in schedulers() if s.noisy == noisy], BUDGETS):
            rows += their_rows(p, theirs, choose, budget, starts, judge)
    return rows


class Entry(NamedTuple):
    side: str
    name: str
    noisy: bool
    budget: int
    steps: int
    nfe: int
    value: float
    stderr: float
    floor: float
    note: str = ""


def judged(p, noisy):
    """The same metric as `work_precision` applies, as a function of samples."""
    if not noisy:
        end = convergence.reference_flow(PROCESS, p.score, p.flow_starts, LAST - 1.0, -1.0, samplers.TOLERANCE)
        return metrics.rmse(end, samplers.TOLERANCE)
    if p.name == "digits":
        return metrics.class_frequencies(p.target.data, samplers.digit_data()[1])
    return metrics.sliced_cramer(metrics.law_at(p.target, PROCESS, -1.0))


def their_rows(p, theirs, choose, budget, starts, judge):
    """One entry, or none where the scheduler takes another grid or needs more evaluations for a step."""
    try:
        steps = fitting(theirs, choose, p.score, starts, budget)
        if not steps:
            return []
        scheduler = prepared(theirs, choose, steps)
        if not on_the_grid(scheduler, choose, steps):
            return []
        x, nfe = run(scheduler, theirs, p.score, starts, seed=0)
    except Exception as error:  # theirs to raise
        return [Entry("diffusers", theirs.label, theirs.noisy, budget, 0, 0, *[float("nan")] * 3, repr(error)[:200])]
    return [Entry("diffusers", theirs.label, theirs.noisy, budget, steps, nfe, *judge(x))]


def best(rows, side):
    found = [r for r in rows if r.side == side and r.value == r.value]
    return min(found, key=lambda r: r.value)


def verdicts(rows):
    """For each kind and budget: the best of each side and whether ours is as good within 3 standard errors."""
    for noisy, budget in product((False, True), BUDGETS):
        here = [r for r in rows if r.noisy == noisy and r.budget == budget]
        ours, theirs = best(here, "sdekit"), best(here, "diffusers")
        slack = 3 * float(np.hypot(ours.stderr, theirs.stderr))
        yield {"noisy": noisy, "budget": budget, "ours": ours._asdict(), "theirs": theirs._asdict(),
               "at_least_as_good": ours.value <= theirs.value + slack}  # fmt: skip


def main(argv=None):
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="few samples, nothing written")
    quick = options.parse_args(argv).quick
    samples = {"eight": (10_000, 100_000), "digits": (500, 2_000)}
    if quick:
        samples = {"eight": (500, 5_000), "digits": (50, 100)}
    clock, results = time.perf_counter(), []
    for name, choose in product(samples, GRIDS.values()):
        rows = measure(problem(name, samples[name]), choose)
        judged_rows = list(verdicts(rows))
        results.append({"target": name, "grid": choose.__name__, "samples": samples[name], "columns": Entry._fields,
                        "rows": rows, "verdicts": judged_rows})  # fmt: skip
        print(f"\n{name}, {choose.__name__}   ({time.perf_counter() - clock:.0f} s)")
        for v in judged_rows:
            a, b = v["ours"], v["theirs"]
            print(f"  {'law ' if v['noisy'] else 'flow'} {v['budget']:3} NFE   {a['name']:18} {a['value']:.3e} ± "
                  f"{a['stderr']:.0e}   {b['name']:60} {b['value']:.3e} ± {b['stderr']:.0e}   "
                  f"{'as good or better' if v['at_least_as_good'] else 'WORSE'}", flush=True)  # fmt: skip
    if not quick:
        where = {"machine": machine(), "versions": versions(), "seconds": time.perf_counter() - clock}
        write_text(RESULTS, json.dumps({**where, "results": nulled(results)}, indent=1) + "\n")


def nulled(value):
    """Strict JSON: numbers that are not finite become null."""
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, dict):
        return {k: nulled(v) for k, v in value.items()}
    return [nulled(v) for v in value] if isinstance(value, (list, tuple)) else value


if __name__ == "__main__":
    main()
