"""Pictures of samples: densities in the plane, and digits."""

import math

import numpy as np

from sdekit.drawing import figure, load


def densities(path, counts, box):
    """Histograms {title: counts (n, n)} over [−box, box]² side by side, with the colours of the first.

    Colours are logarithmic, from 1/300 of the largest density of the first histogram to that one.
    """
    colors = load("matplotlib.colors")
    shares = {title: np.asarray(count).T / np.sum(count) for title, count in counts.items()}
    top = next(iter(shares.values())).max()
    columns = len(shares) if len(shares) < 4 else min((3, 4, 5), key=lambda c: -len(shares) % c)  # few empty places
    rows = math.ceil(len(shares) / columns)
    with figure(path, 2.6 * columns, 2.75 * rows) as drawn:
        panels = drawn.subplots(rows, columns, squeeze=False).ravel()
        for panel, (title, share) in zip(panels, shares.items(), strict=False):
            norm = colors.LogNorm(top / 300, top, clip=True)
            share = np.maximum(share, top / 300)
            panel.imshow(share, origin="lower", extent=(-box, box) * 2, cmap="cividis", norm=norm)
            panel.set(xticks=[-box, 0, box], yticks=[-box, 0, box])
            panel.set_title(title, fontsize=10)
            panel.tick_params(labelsize=8, length=2)
            panel.grid(False)
            panel.label_outer()
        for panel in panels[len(shares) :]:
            panel.axis("off")


def digits(path, groups, columns=16):
    """Groups of square grey pictures with pixels from −1 (white) to 1, (title, (count, pixels)) each."""
    heights = [math.ceil(len(images) / columns) for _, images in groups]
    with figure(path, 8, 0.35 * len(groups) + 0.5 * sum(heights)) as drawn:
        panels = drawn.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
        for panel, (title, images) in zip(panels, groups, strict=True):
            panel.imshow(_tiles(np.asarray(images), columns), cmap="gray_r", vmin=-1, vmax=1)
            panel.set(xticks=[], yticks=[], title=title)
            panel.grid(False)
            panel.spines[:].set_visible(False)


def _tiles(images, columns):
    """Pictures (count, side²) side by side in rows of `columns`, one empty pixel between them."""
    side = round(images.shape[1] ** 0.5)
    blank = np.full((-len(images) % columns, side * side), np.nan)
    tiles = np.concatenate([images, blank]).reshape(-1, columns, side, side)
    tiles = np.pad(tiles, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    return np.block([list(row) for row in tiles])
