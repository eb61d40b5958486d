"""A continuous normalizing flow on two moons, and what the gradient of its likelihood costs at several tolerances.

Part of `python -m benchmarks.gradients`. Everyone steps by Dormand and Prince's method of order 5, in float64, with one
step size for the batch, from the same parameters: those of a flow that was trained first. The error is that of the
gradient, relative to the one at a tolerance of 1e-10.
"""

import math

import numpy as np
import torch
from torch import nn

import sdekit as sk

from .measures import interleaved, peak

TOLERANCES, ADJOINT = (1e-3, 1e-4, 1e-5, 1e-6), "torchdiffeq, odeint_adjoint"


class Flow(nn.Module):
    """In the plane: the velocity v of a state, and tr ∂v/∂x."""

    noise = "none"
    event_dims = 1

    def __init__(self, hidden=64):
        super().__init__()
        self.first, self.mid, self.last = nn.Linear(3, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 2)

    def drift(self, t, x):
        a = torch.tanh(self.first(torch.cat([x[..., :2], torch.ones_like(x[..., :1]) * t], -1)))
        b = torch.tanh(self.mid(a))
        across = self.mid.weight * (self.first.weight[:, :2] @ self.last.weight).T
        trace = ((1 - b**2) * ((1 - a**2) @ across.T)).sum(-1, keepdim=True)
        return torch.cat([self.last(b), trace], -1)

    def forward(self, t, x):
        return self.drift(t, x)


def moons(n, generator):
    angle = math.pi * torch.rand(n, generator=generator)
    upper = torch.rand(n, generator=generator) < 0.5
    x = torch.where(upper, torch.cos(angle), 1 - torch.cos(angle)) - 0.5
    y = torch.where(upper, torch.sin(angle), 0.5 - torch.sin(angle)) - 0.25
    return torch.stack([x, y], -1) + 0.05 * torch.randn(n, 2, generator=generator)


def likelihood(net, data, solve):
    """A task: the mean log-likelihood of the data under the flow to a standard normal, and its gradient."""
    start = torch.cat([data, data.new_zeros(len(data), 1)], -1)

    def task():
        net.zero_grad()
        end = solve(start)
        normal = -0.5 * (end[:, :2] ** 2).sum(-1) - math.log(2 * math.pi)
        loss = -(normal + end[:, 2]).mean()
        loss.backward()
        return float(loss.detach()), torch.cat([p.grad.flatten() for p in net.parameters()])

    return task


def trained(iterations):
    """A flow in float64 that fits two moons, by ten steps of `rk4`."""
    torch.manual_seed(0)
    net, generator = Flow(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(iterations):
        data = moons(256, generator)
        likelihood(net, data, lambda x: sk.solve(net, x, [0.0, 1.0], sk.rk4, h=0.1).final)()
        optimizer.step()
    return net.double()


def contenders(net, data, tol):
    """{name: task} of those who count tensors."""
    import torchdiffeq

    ts, tolerance = torch.tensor([0.0, 1.0], dtype=torch.float64), sk.Tolerance(tol, tol, batch=True)

    def ours(gradient):
        how = {"tol": tolerance, "backend": sk.backends.torch(gradient=gradient)}
        return likelihood(net, data, lambda x: sk.solve(net, x, [0.0, 1.0], sk.dopri5, **how).final)

    def theirs(solve):
        return likelihood(net, data, lambda x: solve(net, x, ts, rtol=tol, atol=tol, method="dopri5")[-1])

    return {
        "sdekit, backpropagation": ours(None),
        "sdekit, checkpointed(1)": ours(sk.gradients.checkpointed(1)),
        "torchdiffeq, odeint": theirs(torchdiffeq.odeint),
        ADJOINT: theirs(torchdiffeq.odeint_adjoint),
    }


def measured(tolerances=TOLERANCES, rounds=2, iterations=400):
    """[{name, tolerance, loss, error, bytes, seconds}, …]."""
    from .competitors import diffrax_gradients

    net, data = trained(iterations), moons(256, torch.Generator().manual_seed(1)).double()
    exact = contenders(net, data, 1e-10)["sdekit, backpropagation"]()[1]
    tasks, sizes = {}, {}
    for tol in tolerances:
        for name, task in contenders(net, data, tol).items():
            tasks[name, tol], sizes[name, tol] = task, peak(task)
        for name, task, size in diffrax_gradients.flow(net, data, tol):
            tasks[name, tol], sizes[name, tol] = task, size
    ends, seconds = {key: task() for key, task in tasks.items()}, interleaved(tasks, rounds)
    return [
        {
            "name": key[0],
            "tolerance": key[1],
            "loss": loss,
            "error": float((slope - exact).norm() / exact.norm()),
            "bytes": sizes[key],
            "seconds": seconds[key],
        }
        for key, (loss, slope) in ends.items()
    ]


def cheaper(rows, name):
    """How many times the seconds of a contender `odeint_adjoint` takes at equal error, at each of its errors.

    Between tolerances the logarithm of the seconds is a line of the logarithm of the error.
    """
    seconds, errors = (
        {n: np.log([r[what] for r in rows if r["name"] == n]) for n in (name, ADJOINT)} for what in ("seconds", "error")
    )
    order = np.argsort(errors[ADJOINT])
    within = (errors[name] >= errors[ADJOINT].min()) & (errors[name] <= errors[ADJOINT].max())
    theirs = np.interp(errors[name], errors[ADJOINT][order], seconds[ADJOINT][order])
    return [float(v) for v in np.exp(theirs - seconds[name])[within]]


def markdown(rows):
    lines = [
        "| gradient | tolerance | loss | error of the gradient | MB | ms | at equal error |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name in dict.fromkeys(row["name"] for row in rows):
        mine, ratios = [row for row in rows if row["name"] == name], cheaper(rows, name)
        for row in mine:
            mean = f"{np.exp(np.log(ratios).mean()):.2f}" if ratios and row is mine[-1] else ""
            cells = f"{row['tolerance']:.0e} | {row['loss']:.4f} | {row['error']:.1e} | {row['bytes'] / 1e6:.1f}"
            lines.append(f"| {name} | {cells} | {1e3 * row['seconds']:.0f} | {mean} |")
    return "\n".join(lines)
