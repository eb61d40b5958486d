"""What gradients cost, in time and in memory, here and elsewhere.

    python -m benchmarks.gradients                  # some minutes; writes benchmarks/results/gradients.json
    python -m benchmarks.gradients --long           # the same with 10,000 steps besides
    python -m benchmarks.gradients --quick FOLDER   # fewer rounds and steps, into that folder

A neural SDE (state 32, hidden 128, Stratonovich, float32, a batch of 256) over 100 fixed steps against torchsde and
diffrax, and a continuous normalizing flow over adaptive steps (`benchmarks.flow`) against torchdiffeq and diffrax.
Medians of interleaved rounds on one thread, seconds of the processor. Memory is the peak of the bytes of live tensors,
counted as they are made and freed; diffrax's, what its compiler has planned. `python -m benchmarks.pages` writes the
tables of the page.
"""

import argparse
import json
import math
import warnings
from pathlib import Path

import torch
from torch import nn

import sdekit as sk
from sdekit.files import write_text
from sdekit.gradients.coupled import paired

from . import flow
from .competitors import diffrax_gradients
from .measures import interleaved, peak
from .report import machine, versions

RESULTS = Path(__file__).parent / "results"
STATE, HIDDEN, BATCH, STEPS = 32, 128, 256, 100


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


def ours(net, x0, method, gradient, steps=STEPS):
    """A task: loss and gradient of the end of a solve."""

    def task():
        net.zero_grad()
        backend = sk.backends.torch(gradient=gradient)
        sol = sk.solve(net, x0, [0.0, 1.0], method, h=1 / steps, seed=0, backend=backend)
        (sol.final**2).mean().backward()

    return task


def torchsde(net, x0, **how):
    import torchsde

    ts = torch.tensor([0.0, 1.0])

    def task():
        net.zero_grad()
        solve = torchsde.sdeint_adjoint if "adjoint_method" in how else torchsde.sdeint
        (solve(net, x0, ts, dt=1 / STEPS, **how)[-1] ** 2).mean().backward()

    return task


def contenders(net, x0):
    """({name: task}, {name: bytes}) of one gradient."""
    policies = sk.gradients
    tasks = {
        "heun": ours(net, x0, sk.heun, None),
        "heun, checkpointed(10)": ours(net, x0, sk.heun, policies.checkpointed(10)),
        "the coupled map of heun": ours(net, x0, paired(sk.heun, 0.999), None),
        "heun, reversible": ours(net, x0, sk.heun, policies.reversible()),
        "heun, adjoint": ours(net, x0, sk.heun, policies.adjoint()),
        "reversible_heun": ours(net, x0, sk.reversible_heun, None),
        "reversible_heun, reversible": ours(net, x0, sk.reversible_heun, policies.reversible()),
        "torchsde sdeint, heun": torchsde(net, x0, method="heun"),
        "torchsde sdeint_adjoint, heun": torchsde(net, x0, method="heun", adjoint_method="heun"),
        "torchsde sdeint_adjoint, reversible_heun": torchsde(
            net, x0, method="reversible_heun", adjoint_method="adjoint_reversible_heun"
        ),
    }
    sizes = {name: peak(task) for name, task in tasks.items()}
    for name, task, size in diffrax_gradients.neural(net, x0, STEPS):
        tasks[name], sizes[name] = task, size
    return tasks, sizes


def growth(lengths):
    """Peak bytes against the number of steps, a batch of 16 in float64."""
    torch.manual_seed(0)
    net, x0 = Neural().double(), torch.randn(16, STATE).double()
    policies, some = sk.gradients, [n for n in lengths if n <= 1000]
    kinds = {
        "heun, reversible": (lengths, sk.heun, lambda steps: policies.reversible()),
        "reversible_heun, reversible": (lengths, sk.reversible_heun, lambda steps: policies.reversible()),
        "heun, adjoint": (some, sk.heun, lambda steps: policies.adjoint()),
        "heun, checkpointed(√steps)": (some, sk.heun, lambda steps: policies.checkpointed(math.isqrt(steps))),
        "heun": ([100], sk.heun, lambda steps: None),
    }
    return {
        name: {str(n): peak(ours(net, x0, method, policy(n), n)) for n in ns}
        for name, (ns, method, policy) in kinds.items()
    }


def neural(rounds, lengths):
    torch.manual_seed(0)
    tasks, sizes = contenders(Neural(), torch.randn(BATCH, STATE))
    seconds = interleaved(tasks, rounds)
    rows = [{"name": name, "seconds": seconds[name], "bytes": sizes[name]} for name in tasks]
    return {"gradient": rows, "growth": growth(lengths)}


def markdown(result):
    """The table of the neural SDE, and that of memory against the number of steps."""
    rows = result["gradient"]
    plain = next(row["seconds"] for row in rows if row["name"] == "heun")
    lines = ["| gradient of 100 steps | ms | plain `heun` = 1 | MB |", "|---|--:|--:|--:|"]
    for row in rows:
        ratio = row["seconds"] / plain
        lines.append(f"| {row['name']} | {1e3 * row['seconds']:.0f} | {ratio:.2f} | {row['bytes'] / 1e6:.1f} |")
    lengths = list(next(iter(result["growth"].values())))
    heads = " | ".join(f"{int(n):,} steps" for n in lengths)
    lines += ["", f"| peak MB, 16 paths, float64 | {heads} |", "|---|" + "--:|" * len(lengths)]
    for name, sizes in result["growth"].items():
        cells = " | ".join(f"{sizes[n] / 1e6:.2f}" if n in sizes else "" for n in lengths)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", type=Path, metavar="FOLDER", help="fewer rounds and steps, into this folder")
    options.add_argument("--long", action="store_true", help="measure the memory of 10,000 steps too")
    given = options.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)
    if given.quick:
        result = {"neural": neural(1, (100, 300)), "flow": flow.measured((1e-3, 1e-5), 1, 100)}
    else:
        result = {"neural": neural(2, (100, 1000, 10_000) if given.long else (100, 1000)), "flow": flow.measured()}
    result |= {"machine": machine(), "versions": versions()}
    write_text((given.quick or RESULTS) / "gradients.json", json.dumps(result, indent=1) + "\n")
    print(markdown(result["neural"]), flow.markdown(result["flow"]), sep="\n\n")


if __name__ == "__main__":
    main()
