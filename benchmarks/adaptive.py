"""Steps of adaptive size against other libraries, in one run.

    python -m benchmarks.adaptive        writes benchmarks/results/adaptive.json

Ensembles: Lorenz's equation for ρ from 0 to 21, T = 1, tolerance 1e-8, float64, host to host, in order and shuffled;
libraries that are slow get fewer of the same values, and rates are compared; every library has its pair of order 5 and
that of order 8, and the errors that they reach stand beside the rates. The reference is `dop853` at 1e-13, itself
compared with scipy's. Then the 25 equations of `detest` with the pairs that scipy has too, and Arenstorf's orbit.
"""

import json
import os
import statistics
import time
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.integrate import solve_ivp

import sdekit as sk
from benchmarks.competitors.with_jax import load_jax
from benchmarks.detest import END, equations
from benchmarks.report import cores, machine, versions

RESULTS = Path(__file__).parent / "results" / "adaptive.json"
ROUNDS, PATHS, FEW, LOOP, TOL = 5, 100_000, 10_000, 20, 1e-8
PAIRS = {"RK23": sk.bosh3, "RK45": sk.dopri5, "DOP853": sk.dop853}
TOLERANCES = {"RK23": range(3, 7), "RK45": range(3, 11), "DOP853": range(3, 11)}  # order 3 takes hours beyond
RHO = np.linspace(0, 21, PATHS)
SHUFFLED = np.random.default_rng(0).permutation(PATHS)


# --- ensembles ---


def ours(rho, method=sk.dopri5, tol=TOL):
    return sk.solve(sk.noiseless(sk.Lorenz(rho=rho)), [1.0, 0.0, 0.0], [0, 1], method, tol=tol).final


def by_torchdiffeq(rho, method="dopri5"):
    """One batch, one step size."""
    import torch
    from torchdiffeq import odeint

    torch.set_num_threads(cores())
    r = torch.as_tensor(rho)

    def f(t, u):
        x, y, z = u.unbind(-1)
        return torch.stack([10.0 * (y - x), x * (r - z) - y, x * y - 8 / 3 * z], -1)

    start = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).expand(len(rho), 3).contiguous()
    with torch.no_grad():
        return odeint(f, start, torch.tensor([0.0, 1.0]).double(), rtol=TOL, atol=TOL, method=method)[-1].numpy()


def by_diffrax(solver):
    """A function of ρ by the solver of this name: vmap, jit, one device for each core."""
    jax = load_jax()
    jax.config.update("jax_enable_x64", True)
    import diffrax

    jnp, control = jax.numpy, diffrax.PIDController(rtol=TOL, atol=TOL)

    def f(t, u, rho):
        x, y, z = u
        return jnp.stack([10.0 * (y - x), x * (rho - z) - y, x * y - 8 / 3 * z])

    def one(rho):
        term, method, start = diffrax.ODETerm(f), getattr(diffrax, solver)(), jnp.array([1.0, 0.0, 0.0])
        sol = diffrax.diffeqsolve(
            term, method, 0.0, 1.0, None, start, args=rho, stepsize_controller=control, max_steps=10_000
        )
        return sol.ys[0]

    spec = jax.sharding.PartitionSpec("paths")
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("paths",))
    run = jax.jit(jax.shard_map(jax.vmap(one), mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
    return lambda rho: np.asarray(run(jax.device_put(rho, jax.sharding.NamedSharding(mesh, spec))))


def by_scipy(rho, method="RK45", tol=TOL):
    def end(r):
        def f(t, u):
            return 10.0 * (u[1] - u[0]), u[0] * (r - u[2]) - u[1], u[0] * u[1] - 8 / 3 * u[2]

        return solve_ivp(f, (0, 1), (1.0, 0.0, 0.0), rtol=tol, atol=tol, method=method).y[:, -1]

    return np.stack([end(r) for r in rho])


def ensembles():
    """Rates, ratios and errors of one interleaved run."""
    begin = time.perf_counter()
    ours(RHO[:10])
    first = time.perf_counter() - begin
    few, loop = RHO[:: PATHS // FEW], RHO[:: PATHS // LOOP]
    forms = {
        "sdekit dopri5, in order": (ours, RHO),
        "sdekit dopri5, shuffled": (ours, RHO[SHUFFLED]),
        "sdekit dop853, in order": (partial(ours, method=sk.dop853), RHO),
        "sdekit dop853, shuffled": (partial(ours, method=sk.dop853), RHO[SHUFFLED]),
        "torchdiffeq dopri5, one batch": (by_torchdiffeq, few),
        "torchdiffeq dopri8, one batch": (partial(by_torchdiffeq, method="dopri8"), few),
        "diffrax Tsit5, vmap": (by_diffrax("Tsit5"), few),
        "diffrax Dopri8, vmap": (by_diffrax("Dopri8"), few),
        "scipy RK45, loop": (by_scipy, loop),
        "scipy DOP853, loop": (partial(by_scipy, method="DOP853"), loop),
    }
    reference = ours(RHO, sk.dop853, 1e-13)
    check = np.abs(reference[:: PATHS // LOOP] - by_scipy(loop, "DOP853", 1e-13)).max()
    where, errors = {v: i for i, v in enumerate(RHO)}, {}
    for name, (run, rho) in forms.items():  # compiles
        errors[name] = float(np.abs(run(rho) - reference[[where[v] for v in rho]]).max()) / TOL
    seconds = {name: [] for name in forms}
    for _ in range(ROUNDS):
        for name, (run, rho) in forms.items():
            begin = time.perf_counter()
            run(rho)
            seconds[name].append(time.perf_counter() - begin)
    rate = {name: len(forms[name][1]) / statistics.median(times) for name, times in seconds.items()}
    mine, others = (list(group) for _, group in groupby(forms, lambda name: name.startswith("sdekit")))
    ratios = {f"{a} / {b}": rate[a] / rate[b] for a in mine for b in others}
    return {
        "paths": {name: len(rho) for name, (_, rho) in forms.items()}, "seconds": seconds, "rate": rate,
        "ratios": ratios, "largest error / tol": errors, "reference against scipy's": float(check),
        "first call, s": first,
    }  # fmt: skip


# --- single equations ---


class Whole(NamedTuple):
    """An equation of `detest` as a process whose states are arrays."""

    f: object
    noise = "none"
    event_dims = 1

    def drift(self, t, x):
        return self.f(t, x[0])[None]


def compared(equation, reference, scipys, tol):
    """(our error / scipy's, our evaluations / scipy's), errors as the largest over the components at the end."""
    start = np.array([equation.start])
    how = sk.Tolerance(tol, tol, batch=True)
    sol = sk.solve(Whole(equation.f), start, [0, END], PAIRS[scipys], tol=how, backend=sk.backends.numpy())
    theirs = solve_ivp(equation.f, (0, END), equation.start, rtol=tol, atol=tol, method=scipys)
    errors = np.abs(sol.final[0] - reference).max(), np.abs(theirs.y[:, -1] - reference).max()
    return float(errors[0] / max(errors[1], 1e-300)), int(sol.nfe[0]) / theirs.nfev


def detest():
    """Ratios by pair: all of them, and their medians."""
    found = {}
    for name in PAIRS:
        found[name] = {"columns": ["equation", "tolerance", "error ratio", "evaluations ratio"], "rows": []}
    for equation in equations():
        reference = solve_ivp(equation.f, (0, END), equation.start, rtol=1e-13, atol=1e-13, method="DOP853").y[:, -1]
        for name, part in found.items():
            for digits in TOLERANCES[name]:
                part["rows"].append([equation.name, digits, *compared(equation, reference, name, 10.0**-digits)])
    for part in found.values():
        part["median"] = [statistics.median(row[i] for row in part["rows"]) for i in (2, 3)]
    return found


class Arenstorf(NamedTuple):
    """A satellite about earth and moon: Hairer, Nørsett and Wanner, "Solving … I", 1993, (II.0.1) and (II.0.2)."""

    mu: float = 0.012277471
    noise = "none"

    def drift(self, t, x, y, u, v):
        nu = 1.0 - self.mu
        a = ((x + self.mu) * (x + self.mu) + y * y) ** 1.5
        b = ((x - nu) * (x - nu) + y * y) ** 1.5
        fx = x + 2 * v - nu * (x + self.mu) / a - self.mu * (x - nu) / b
        return u, v, fx, y - 2 * u - nu * y / a - self.mu * y / b


ORBIT = (0.994, 0.0, 0.0, -2.00158510637908252240537862224), 17.0652165601579625588917206249


def arenstorf():
    start, period = ORBIT
    sol = sk.solve(Arenstorf(), list(start), [0, period], sk.dop853, tol=1e-9, backend=sk.backends.numpy())
    return {"distance": float(np.abs(sol.final[:2] - start[:2]).max()), "evaluations": int(sol.nfe)}


def main():
    load = os.getloadavg()  # of a machine that does other work as well, rates say little
    result = {"rounds": ROUNDS, "tol": TOL, "load average at the start": load, "ensembles": ensembles()}
    for part in ("rate", "ratios", "largest error / tol"):
        for name, value in result["ensembles"][part].items():
            print(f"{part:20s} {name:70s} {value:12.4g}", flush=True)
    result |= {"arenstorf": arenstorf(), "detest": detest(), "machine": machine(), "versions": versions()}
    print(result["arenstorf"], {name: part["median"] for name, part in result["detest"].items()})
    sk.files.write_text(RESULTS, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
