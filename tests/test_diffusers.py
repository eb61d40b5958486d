"""Side by side with diffusers' schedulers: the same exact network, table and grid.

diffusers rounds its table of sigma, and some of its states, to float32; states of order one agree to 1e-5.
"""

import math

import numpy as np
import pytest
from backends import begin, needs

import sdekit as sk

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of diffusers' use of numpy

torch = pytest.importorskip("torch")
needs("diffusers")

TARGET = sk.GaussianMixture([0.3, 0.7], [[-1.0, 0.2], [0.8, -0.5]], stds=[0.3, 0.4])
SETTINGS = {"beta_start": 1e-4, "beta_end": 0.02, "timestep_spacing": "linspace"}


def make(name, n, **options):
    """(the scheduler with n steps, the same process, its grid down to sigma = 0)."""
    import diffusers

    scheduler = getattr(diffusers, name)(**{**SETTINGS, **options})
    scheduler.set_timesteps(n)
    process = sk.DiscreteVP(scheduler.alphas_cumprod.double().numpy())
    return scheduler, process, np.array([*scheduler.timesteps.double().tolist(), -1.0])


def theirs(scheduler, rev, x, **draws):
    """The scheduler's states after each step, its network the exact ε."""
    states = []
    for i, t in enumerate(scheduler.timesteps):
        more = {name: values[i] for name, values in draws.items()}
        x = scheduler.step(rev.pair(float(t), x)[1], t, x, **more).prev_sample
        states.append(x)
    return torch.stack(states)


def start():
    return torch.randn((40, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(0))


TO_ZERO = {"final_sigmas_type": "zero", "lower_order_final": True}  # as all here: the last step is of first order
DDIM = {"clip_sample": False, "set_alpha_to_one": True, "timestep_spacing": "leading"}  # its grid is made of strides
KEPT = {"solver_order": 3, "lower_order_final": False}


@pytest.mark.parametrize("n", [5, 10, 20])
@pytest.mark.parametrize(
    ("method", "name", "options"),
    [
        (sk.ddim, "DDIMScheduler", DDIM),
        (sk.dpmpp_2m, "DPMSolverMultistepScheduler", {**TO_ZERO, "solver_order": 2, "solver_type": "midpoint"}),
        (sk.unipc(1), "UniPCMultistepScheduler", {**TO_ZERO, "solver_order": 1, "solver_type": "bh2"}),
        (sk.unipc(2), "UniPCMultistepScheduler", {**TO_ZERO, "solver_order": 2, "solver_type": "bh2"}),
    ],
    ids=["ddim", "dpmpp_2m", "unipc1", "unipc2"],
)
def test_flows_agree_to_the_end(method, name, options, n):
    scheduler, process, grid = make(name, n, **options)
    rev = sk.Reverse(process, TARGET.score(process), 0.0)
    sol = sk.solve(rev, start(), ts=grid, method=method, grid=grid, seed=0)
    assert sol.nfe == n and len(scheduler.timesteps) == n
    torch.testing.assert_close(sol.x[1:], theirs(scheduler, rev, start()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("n", [5, 10, 20])
def test_heun_agrees_to_the_end(n):
    """Their states are x/alpha, and each time but the first is there twice, for both stages."""
    import diffusers

    scheduler = diffusers.HeunDiscreteScheduler(**SETTINGS, beta_schedule="linear")
    scheduler.set_timesteps(n)
    process = sk.DiscreteVP(scheduler.alphas_cumprod.double().numpy())
    times = scheduler.timesteps.double().tolist()
    rev = sk.Reverse(process, TARGET.score(process), 0.0)
    sol = sk.solve(rev, start(), grid=[times[0], *times[1::2], -1.0], method=sk.edm_heun, seed=0)
    x = start() / process.marginal(times[0])[0]
    for t in scheduler.timesteps:
        x = scheduler.step(rev.pair(float(t), scheduler.scale_model_input(x, t))[1], t, x).prev_sample
    assert sol.nfe == len(times) == 2 * n - 1
    torch.testing.assert_close(sol.x[-1], x, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "name", "options"),
    [
        (sk.unipc(3), "UniPCMultistepScheduler", {**KEPT, "solver_type": "bh2"}),
        (sk.deis(2), "DEISMultistepScheduler", {**KEPT, "solver_order": 2}),
        (sk.deis(3), "DEISMultistepScheduler", KEPT),
    ],
    ids=["unipc3", "deis2", "deis3"],
)
def test_flows_agree_up_to_the_last_step(method, name, options):
    """There theirs do not end at sigma = 0, or not at finite values. DEIS's weights cancel in their float32."""
    scheduler, process, grid = make(name, 12, **options)
    scheduler.timesteps = scheduler.timesteps[:-1]
    rev = sk.Reverse(process, TARGET.score(process), 0.0)
    sol = sk.solve(rev, start(), ts=grid[:-1], method=method, grid=grid[:-1], seed=0)
    torch.testing.assert_close(sol.x[1:], theirs(scheduler, rev, start()), rtol=1e-5, atol=1e-5)


def test_the_stochastic_one_agrees():
    options = {**TO_ZERO, "solver_order": 2, "solver_type": "midpoint", "algorithm_type": "sde-dpmsolver++"}
    scheduler, process, grid = make("DPMSolverMultistepScheduler", 12, **options)
    rev = sk.Reverse(process, TARGET.score(process))
    z = torch.randn((12, 40, 2), dtype=torch.float32, generator=torch.Generator().manual_seed(1))
    sol = sk.solve(rev, start(), ts=grid, method=sk.dpmpp_2m_sde, noise=z.double(), grid=grid)
    torch.testing.assert_close(sol.x[1:], theirs(scheduler, rev, start(), variance_noise=z), rtol=0, atol=1e-5)


def test_the_third_order_differs_and_theirs_is_of_second():
    """From exact values, in float64: their second difference lacks a factor 2, and the slope shows it."""
    process, mean, var, ends = sk.VP(), 0.7, 0.25, (0.5, 0.05)
    rev = sk.Reverse(process, sk.Gaussian(mean, std=0.5).score(process), 0.0)
    import diffusers

    scheduler = diffusers.DPMSolverMultistepScheduler(solver_order=3)

    def path(t):
        (a0, s0), (a1, s1) = process.marginal(ends[0]), process.marginal(float(t))
        spread = math.sqrt((a1**2 * var + s1**2) / (a0**2 * var + s0**2))
        return torch.full((1,), a1 * mean + spread * (0.9 - a0 * mean), dtype=torch.float64)

    def errors(n):
        first, last = (math.log(a / s) for a, s in map(process.marginal, ends))
        grid = [ends[0], *(process.time(float(v)) for v in np.linspace(first, last, n + 1)[1:-1]), ends[1]]
        past = [(t, rev.pair(t, path(t))[0]) for t in grid[:2]]
        memory = sk.dpmpp_3m.init(None, grid[0], None)
        for t, clean in past:
            memory = memory.after(t, clean, "dpmpp_3m")
        ours = sk.solve(rev, begin(path(grid[2]), 2, memory), grid=np.array(grid[2:]), method=sk.dpmpp_3m).final
        scheduler.sigmas = torch.tensor([s / a for a, s in map(process.marginal, grid)], dtype=torch.float64)
        x, values = path(grid[2]), [clean for _, clean in past]
        for i in range(2, n):
            values.append(rev.pair(grid[i], x)[0])
            scheduler._step_index = i
            x = scheduler.multistep_dpm_solver_third_order_update(values, sample=x)
        return [abs(end - path(ends[1])).item() for end in (ours, x)]

    coarse, fine = errors(100), errors(200)
    orders = [math.log2(a / b) for a, b in zip(coarse, fine)]
    assert abs(orders[0] - 3) < 0.15 and abs(orders[1] - 2) < 0.15
