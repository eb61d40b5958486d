"""Small equations and a method whose paths show which normals they used."""

from typing import NamedTuple

import sdekit as sk
from sdekit import math as sm

NOISING = [
    sk.VP(), sk.VP(0.2, 8.0, 1.5), sk.CosineVP(), sk.SubVP(), sk.VE(), sk.EDM(), sk.FlowPath(), sk.FlowPath(1.0, 0.01),
    sk.DiscreteVP(),
]  # fmt: skip


class Walk(NamedTuple):
    """Brownian motion in two components, as diagonal noise."""

    scale: float = 1.0
    additive = True

    def drift(self, t, x, y):
        return 0.0, 0.0

    def diffusion(self, t, x, y):
        return self.scale, self.scale


class Mixed(NamedTuple):
    """Two components driven by three noises."""

    noise = "general"
    additive = True

    def drift(self, t, x, y):
        return 0.0, 0.0

    def diffusion(self, t, x, y):
        return (1.0, 0.5, 0.0), (0.0, -1.0, 2.0)


class Fan(NamedTuple):
    """One component driven by three noises."""

    noise = "general"
    additive = True

    def drift(self, t, x):
        return 0.0

    def diffusion(self, t, x):
        return ((1.0, 10.0, 100.0),)


@sk.method(normals=2)
def both(sde, t, t1, x, h, dw, dz):
    return x + dw + 10.0 * dz


class Twist(NamedTuple):
    """General noise: two channels that do not commute, in two components."""

    noise = "general"

    def drift(self, t, x, y):
        return 0.3 * sm.sin(y), 0.3 * sm.cos(x + t)

    def diffusion(self, t, x, y):
        return (
            (0.8 + 0.4 * sm.sin(y), 0.6 * sm.cos(x)),
            (0.7 * sm.sin(x + y + t), 0.6 + 0.4 * sm.cos(y)),
        )
