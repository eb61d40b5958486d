"""What gradients cost: `python -m benchmarks.gradients`; time and peak memory in one run, results/gradients.json.

A neural SDE (state 32, hidden 128, a batch of 256, float32) over fixed steps, against torchsde, and a continuous
normalizing flow on two moons (64 hidden) over adaptive ones, against torchdiffeq. Medians of interleaved rounds, one
thread, seconds of its processor. Memory is the peak of the bytes of live tensors, counted as they are made and freed.
"""

import json
import math
import statistics
import time
import warnings
import weakref
from pathlib import Path

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import sdekit as sk
from sdekit.files import write_text

from .report import machine, versions

RESULTS = Path(__file__).parent / "results" / "gradients.json"
STATE, HIDDEN, BATCH, STEPS, ROUNDS = 32, 128, 256, 100, 3


class Live(TorchDispatchMode):
    """The bytes of the tensors that are made within it and live: `now`, and `peak`."""

    def __init__(self):
        super().__init__()
        self.now, self.peak, self.known = 0, 0, {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return made

    def _add(self, storage):
        key = storage._cdata
        if key in self.known:
            return
        size = storage.nbytes()

        def gone(_):
            self.now -= size
            self.known.pop(key, None)

        self.known[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


def peak(task):
    """The most bytes that live at a time in a task."""
    with Live() as live:
        task()
    return live.peak


class Neural(nn.Module):
    """A neural SDE, as torchsde takes them too: f(t, y), g(t, y)."""

    noise = noise_type = "diagonal"
    calculus = sde_type = "stratonovich"
    event_dims = 1

    def __init__(self, state=STATE, hidden=HIDDEN):
        super().__init__()
        nets = [
            nn.Sequential(nn.Linear(state, hidden), nn.SiLU(), nn.Linear(hidden, state), nn.Tanh()) for _ in range(2)
        ]
        self.of_drift, self.of_noise = nets

    def drift(self, t, x):
        return self.of_drift(x)

    def diffusion(self, t, x):
        return 0.2 * self.of_noise(x)

    f, g = drift, diffusion


class Flow(nn.Module):
    """A continuous normalizing flow in the plane: the state, and the integral of its divergence."""

    noise = "none"
    event_dims = 1

    def __init__(self, hidden=64):
        super().__init__()
        self.first, self.mid, self.last = nn.Linear(3, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 2)

    def drift(self, t, x):
        """(v, tr ∂v/∂x), the derivative of both columns beside the value."""
        t = torch.as_tensor(t, dtype=x.dtype)
        t = t if t.ndim == x.ndim else t.expand(*x.shape[:-1], 1)
        h = torch.tanh(self.first(torch.cat([x[..., :2], t], -1)))
        columns = (1 - h**2)[..., None] * self.first.weight[:, :2]
        g = torch.tanh(self.mid(h))
        columns = (1 - g**2)[..., None] * (self.mid.weight @ columns)
        trace = (self.last.weight.T * columns).sum((-2, -1))
        return torch.cat([self.last(g), trace[..., None]], -1)

    def forward(self, t, x):
        return self.drift(t, x)


def moons(n, generator):
    angle = math.pi * torch.rand(n, generator=generator)
    upper = torch.rand(n, generator=generator) < 0.5
    x = torch.where(upper, torch.cos(angle), 1 - torch.cos(angle)) - 0.5
    y = torch.where(upper, torch.sin(angle), 0.5 - torch.sin(angle)) - 0.25
    return torch.stack([x, y], -1) + 0.05 * torch.randn(n, 2, generator=generator)


def ours(net, x0, method, gradient, steps=STEPS):
    """A task: loss and gradient of the end of a solve."""

    def task():
        net.zero_grad()
        backend = sk.backends.torch(gradient=gradient)
        sol = sk.solve(net, x0, [0.0, 1.0], method, h=1 / steps, seed=0, backend=backend)
        (sol.final**2).mean().backward()

    return task


def torchsde(net, x0, steps=STEPS, **how):
    import torchsde

    ts = torch.tensor([0.0, 1.0])

    def task():
        net.zero_grad()
        solve = torchsde.sdeint_adjoint if "adjoint_method" in how else torchsde.sdeint
        (solve(net, x0, ts, dt=1 / steps, **how)[-1] ** 2).mean().backward()

    return task


def coupled(method, coupling=0.999):
    """The map of `reversible` as a method, for plain backpropagation."""
    from sdekit.gradients.coupled import paired

    return paired(method, coupling)


def interleaved(tasks, rounds=ROUNDS):
    """Median seconds of processor time of each task."""
    times = {name: [] for name in tasks}
    for n in range(rounds + 1):
        for name, task in tasks.items():
            begin = time.process_time()
            task()
            if n:
                times[name].append(time.process_time() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def neural():
    """Seconds of one gradient of 100 steps, and peak bytes of 100 and 1,000 steps of a batch of 64."""
    torch.manual_seed(0)
    net, x0 = Neural(), torch.randn(BATCH, STATE)
    policies = sk.gradients
    tasks = {
        "heun": ours(net, x0, sk.heun, None),
        "heun, checkpointed(10)": ours(net, x0, sk.heun, policies.checkpointed(10)),
        "the coupled map of heun": ours(net, x0, coupled(sk.heun), None),
        "heun, reversible": ours(net, x0, sk.heun, policies.reversible()),
        "heun, adjoint": ours(net, x0, sk.heun, policies.adjoint()),
        "reversible_heun": ours(net, x0, sk.reversible_heun, None),
        "reversible_heun, reversible": ours(net, x0, sk.reversible_heun, policies.reversible()),
        "torchsde heun": torchsde(net, x0, method="heun"),
        "torchsde adjoint, heun": torchsde(net, x0, method="heun", adjoint_method="heun"),
        "torchsde adjoint, reversible_heun": torchsde(
            net, x0, method="reversible_heun", adjoint_method="adjoint_reversible_heun"
        ),
    }
    seconds = interleaved(tasks)
    memory = {}
    for steps in (100, 1000):
        for method, gradient in (
            (sk.heun, policies.reversible()),
            (sk.reversible_heun, policies.reversible()),
            (sk.heun, policies.adjoint()),
            (sk.heun, policies.checkpointed(math.isqrt(steps))),
            (sk.heun, None),
        ):
            if gradient is not None or steps == 100:
                memory[f"{method}, {gradient}, {steps}"] = peak(ours(net, x0[:64], method, gradient, steps))
    return {"seconds": seconds, "bytes": memory}


def main():
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)
    result = {"neural SDE": neural(), "flow": flow(), "machine": machine(), "versions": versions()}
    for name in ("neural SDE", "flow"):
        for part, values in result[name].items():
            for key, value in values.items():
                print(f"{name} {part} {key:60s} {value:.4g}")
    write_text(RESULTS, json.dumps(result, indent=1) + "\n")


def likelihood(flow, data, solve):
    """A task: the mean log-likelihood of the data under the flow from a standard normal, and its gradient."""
    start = torch.cat([data, data.new_zeros(len(data), 1)], -1)

    def task():
        flow.zero_grad()
        end = solve(start)
        normal = -0.5 * (end[:, :2] ** 2).sum(-1) - math.log(2 * math.pi)
        loss = -(normal + end[:, 2]).mean()
        loss.backward()
        return float(loss.detach()), torch.cat([p.grad.flatten() for p in flow.parameters()])

    return task


def flow():
    """Loss, peak bytes, seconds and the error of the gradient at several tolerances, all by dopri5 in float64."""
    import torchdiffeq

    torch.manual_seed(0)
    net, data = Flow().double(), moons(256, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(2.0)  # so that there is something to solve
    ts = torch.tensor([0.0, 1.0], dtype=torch.float64)

    def sdekit(gradient, tol):
        tolerance = sk.Tolerance(tol, tol, batch=True)
        how = {"tol": tolerance, "backend": sk.backends.torch(gradient=gradient)}
        return likelihood(net, data, lambda x: sk.solve(net, x, [0.0, 1.0], sk.dopri5, **how).final)

    def others(solve, tol):
        return likelihood(net, data, lambda x: solve(net, x, ts, rtol=tol, atol=tol, method="dopri5")[-1])

    exact = sdekit(None, 1e-10)()[1]
    tasks = {}
    for tol in (1e-3, 1e-5):
        tasks[f"sdekit, backpropagation, {tol}"] = sdekit(None, tol)
        tasks[f"sdekit, checkpointed(1), {tol}"] = sdekit(sk.gradients.checkpointed(1), tol)
        tasks[f"sdekit, checkpointed(10), {tol}"] = sdekit(sk.gradients.checkpointed(10), tol)
        tasks[f"torchdiffeq, odeint_adjoint, {tol}"] = others(torchdiffeq.odeint_adjoint, tol)
    ends = {name: task() for name, task in tasks.items()}
    return {
        "loss": {name: loss for name, (loss, _) in ends.items()},
        "error": {name: float((g - exact).norm() / exact.norm()) for name, (_, g) in ends.items()},
        "bytes": {name: peak(task) for name, task in tasks.items()},
        "seconds": interleaved(tasks, 2),
    }


if __name__ == "__main__":
    main()
