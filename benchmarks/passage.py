"""Draws the figure of docs/first-passage.md: `python -m benchmarks.passage`."""

import math
from pathlib import Path

import numpy as np

import sdekit as sk
from sdekit.drawing import BLUE, GREY, RED, figure

PATH = Path(__file__).parents[1] / "docs" / "figures" / "first-passage.png"
SIZES = [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125]
PATHS = 1_000_000


def alive(h, event):
    """The share of Brownian motions from 0 that `event` has not stopped by t = 1."""
    return np.isnan(sk.solve(sk.Brownian(), np.zeros(PATHS), [0, 1], h=h, seed=1, events=[event]).stopped).mean()


def main():
    ends = [alive(h, sk.Event(lambda t, x: x - 1.0)) for h in SIZES]
    bridge = [alive(h, sk.Barrier(1.0)) for h in SIZES]
    with figure(PATH, 6, 3.6) as drawn:
        panel = drawn.subplots()
        panel.axhline(math.erf(1 / math.sqrt(2)), color=GREY, lw=1, label="exact")
        panel.plot(SIZES, ends, "s-", color=RED, label="looked at where steps end: Event")
        panel.plot(SIZES, bridge, "o-", color=BLUE, label="with the Brownian bridge: Barrier")
        panel.set(xscale="log", xlabel="step size h", ylabel="P(alive) at t = 1")
        panel.legend()


if __name__ == "__main__":
    main()
