"""The picture of the page on fitting, made by the code of the page: `python -m benchmarks.fitting`.

Writes docs/figures/fitting.png and prints how far each fit is from what it was fitted to.
"""

import re
import time
from pathlib import Path

import torch

from sdekit.drawing import BLUE, GREY, ORANGE, RED, figure

DOCS = Path(__file__).parents[1] / "docs"
PICTURE = DOCS / "figures" / "fitting.png"


def run():
    """The names that the blocks of the page make."""
    names = {"__name__": "page"}
    text = (DOCS / "fitting.md").read_text(encoding="utf-8")
    for source in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        begin = time.process_time()
        exec(compile(source, "fitting.md", "exec"), names)
        print(f"a block of {source.count(chr(10))} lines took {time.process_time() - begin:.1f} s of the processor")
    return names


def transitions(panel, made):
    """Drift and noise where the paths have been."""
    x = torch.linspace(made["low"], made["high"], 201, dtype=torch.float64)
    for name, color in (("drift", BLUE), ("diffusion", ORANGE)):
        fitted, known = (getattr(made[process], name)(0.0, x).detach() for process in ("fitted", "known"))
        panel.plot(x, fitted, color=color, label={"drift": "drift f", "diffusion": "noise g"}[name])
        panel.plot(x, known, color=GREY, ls="--", lw=1)
    panel.set(title="Neural SDE", xlabel="x")
    panel.legend()


def posterior(panel, made):
    """Mean ± 2 standard deviations against time."""
    sk, model, at = made["sk"], made["latent"], torch.linspace(0, 2, 81, dtype=torch.float64)
    x0 = sk.laws.Normal(model.mean, model.log_var.exp()).sample(torch.randn(20_000, dtype=torch.float64))
    start = torch.stack([x0, torch.zeros_like(x0)], -1)
    x = sk.solve(model, start, at.tolist(), h=0.02, seed=1001).x[..., 0]
    mean, std = x.mean(1), x.std(1)
    panel.fill_between(at, mean - 2 * std, mean + 2 * std, color=BLUE, alpha=0.25, lw=0)
    panel.plot(at, mean, color=BLUE)
    _, mean, var = made["exact"](model.mu, at)
    for edge in (0, -2, 2):
        panel.plot(at, mean + edge * var.sqrt(), color=GREY, ls="--", lw=1)
    panel.plot(made["times"], made["seen"], "o", color=RED, label="seen")
    panel.set(title="Latent SDE", xlabel="time t")
    panel.legend()


def motion(panel, made):
    """The plane of angle and velocity."""
    for x, color, ls in ((made["guess"], BLUE, "-"), (made["truth"], GREY, "--")):
        panel.plot(*x.T, color=color, ls=ls, lw=1.5 if ls == "-" else 1)
    panel.plot(*made["motions"].flatten(0, 1).T, ".", color=ORANGE, ms=2, zorder=0, label="seen")
    panel.set(title="Neural ODE", xlabel="angle", ylabel="velocity")


@torch.no_grad()
def draw(made):
    with figure(PICTURE, 11.5, 3.6) as drawn:
        for panel, one in zip(drawn.subplots(1, 3), (transitions, posterior, motion), strict=True):
            one(panel, made)


def main():
    torch.set_num_threads(1)
    made = run()
    gap, level = made["evidence"] - made["values"].mean(), made["latent"].mu.item()
    print(f"drift {made['error_of_drift']:.3f}, noise {made['error_of_noise']:.4f}")
    print(f"bound {gap:.3f} below the evidence, level {level:.3f}, the likeliest {float(made['best']):.2f}")
    print(f"neural ODE {(made['guess'] - made['truth']).abs().max():.3f}")
    for name, estimate in zip(("delta", "vega", "rho"), made["estimates"], strict=True):
        print(f"{name} {made['errors'](estimate, made[name]):.1f} standard errors")
    draw(made)


if __name__ == "__main__":
    main()
