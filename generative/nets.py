"""Networks: functions (t, x, c=None) -> x's shape, conditioned on a time and, if they have classes, a label.

t (B,) is whatever the model passes: a time, or a noise level of order one. c (B,) holds integer labels; −1, or no c at
all, stands for "no label", the null class that guidance needs.
"""

from __future__ import annotations

import math

import torch
from torch import nn

import sdekit as sk

from .checkpoints import recorded
from .standard import sizes

__all__ = ["MLP", "UNet"]

WIDEST, DEEPEST, CLASSES = 2**16, 1000, 2**24  # more is a slip of the pen, which would take all memory


def layers(width, depth, least=0):
    """Width and depth of a network as integers that make sense."""
    return sk.checks.integer("width", width, 1, WIDEST), sk.checks.integer("depth", depth, least, DEEPEST)


class Embedding(nn.Module):
    """t and c as a vector: sines and cosines of t at geometric frequencies and an entry per class, through two layers.

    Source of the sines: A. Vaswani et al., "Attention is all you need", 2017, arXiv:1706.03762.
    """

    def __init__(self, width, classes=0, frequencies=16, slowest=0.25, fastest=16.0):
        super().__init__()
        turns = torch.logspace(math.log10(slowest), math.log10(fastest), frequencies)
        self.register_buffer("angular", 2 * math.pi * turns, persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * frequencies + 1, width), nn.SiLU(), nn.Linear(width, width))
        self.labels = nn.Embedding(classes + 1, width) if classes else None

    def forward(self, t, c=None):
        t = t.to(self.angular)[:, None]
        angle = t * self.angular
        out = self.layers(torch.cat([t, angle.sin(), angle.cos()], 1))
        if self.labels is None:
            return out
        c = torch.full((len(t),), -1, device=t.device) if c is None else c
        return out + self.labels(c + 1)


@recorded
class MLP(nn.Module):
    """Residual perceptron for events of any shape, read as vectors.

    h ← h + W₂ silu(W₁ silu(h) + V e(t, c)), `depth` times, between two linear maps; the last one starts at 0.
    Beside x it reads sin and cos of 2ᵏ π x/2, k < waves: densities in few dimensions with sharp detail are learned
    faster (M. Tancik et al., "Fourier features let networks learn high frequency functions in low dimensional
    domains", 2020, arXiv:2006.10739).
    """

    def __init__(self, shape=(2,), width=64, depth=3, classes=0, waves=3):
        super().__init__()
        self.shape, self.waves = sizes("shape", shape), sk.checks.integer("waves", waves, 0, 64)
        self.classes = sk.checks.integer("classes", classes, 0, CLASSES)
        width, depth = layers(width, depth)
        size, narrow = math.prod(self.shape), max(width // 4, 16)
        self.embedding = Embedding(narrow, classes)
        self.first = nn.Linear(size * (1 + 2 * waves), width)
        self.into = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.time = nn.Linear(narrow, depth * width)
        self.back = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.last = nn.Linear(width, size)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, t, x, c=None):
        act = nn.functional.silu
        shifts = self.time(act(self.embedding(t, c))).chunk(len(self.into), 1)
        h = self.first(self._waves(x.flatten(1)))
        for into, shift, back in zip(self.into, shifts, self.back, strict=True):
            h = h + back(act(into(act(h)) + shift))
        return self.last(act(h)).reshape(x.shape)

    @property
    def trained(self):
        """Whether the last layer, which starts at 0, has moved."""
        return bool(self.last.weight.any())

    def _waves(self, x):
        angles = [x * (0.5 * math.pi * 2**k) for k in range(self.waves)]
        return torch.cat([x, *(f(angle) for angle in angles for f in (torch.sin, torch.cos))], 1)


class Block(nn.Module):
    """Residual block of two 3 × 3 convolutions; the embedding scales and shifts between them."""

    def __init__(self, into, out, width):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, into), nn.Conv2d(into, out, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(8, out), nn.Conv2d(out, out, 3, padding=1)
        self.film = nn.Linear(width, 2 * out)
        self.skip = nn.Conv2d(into, out, 1) if into != out else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x, e):
        act = nn.functional.silu
        scale, shift = self.film(e)[:, :, None, None].chunk(2, 1)
        h = self.conv1(act(self.norm1(x)))
        h = self.conv2(act(self.norm2(h) * (1 + scale) + shift))
        return self.skip(x) + h


@recorded
class UNet(nn.Module):
    """Small U-Net for images whose sides halve once: blocks at full size and at half size, with skip connections.

    Source: O. Ronneberger et al., "U-Net", 2015, arXiv:1505.04597; blocks after J. Ho et al., 2020, arXiv:2006.11239.
    """

    def __init__(self, shape=(1, 8, 8), channels=32, classes=0):
        super().__init__()
        self.shape, self.classes = sizes("shape", shape), sk.checks.integer("classes", classes, 0, CLASSES)
        channels = sk.checks.integer("channels", channels, 8, WIDEST)
        if len(self.shape) != 3 or self.shape[1] % 2 or self.shape[2] % 2 or channels % 8:
            raise ValueError(
                f"shape must be (C, H, W) with even sides, channels a multiple of 8; got {shape}, {channels}"
            )
        image, width = self.shape[0], 4 * channels
        self.embedding = Embedding(width, classes)
        self.first = nn.Conv2d(image, channels, 3, padding=1)
        self.down = Block(channels, channels, width)
        self.shrink = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.middle = nn.ModuleList(Block(2 * channels, 2 * channels, width) for _ in range(2))
        self.grow = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.up = Block(2 * channels, channels, width)
        self.last = nn.Sequential(nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, image, 3, padding=1))
        nn.init.zeros_(self.last[-1].weight)
        nn.init.zeros_(self.last[-1].bias)

    @property
    def trained(self):
        """Whether the last layer, which starts at 0, has moved."""
        return bool(self.last[-1].weight.any())

    def forward(self, t, x, c=None):
        e = nn.functional.silu(self.embedding(t, c))
        full = self.down(self.first(x), e)
        half = self.shrink(full)
        for block in self.middle:
            half = block(half, e)
        return self.last(self.up(torch.cat([full, self.grow(half)], 1), e))
