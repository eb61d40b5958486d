"""The picture of `simulate`."""

import numpy as np

from ..drawing import BLUE, GREY, ORANGE, figure

__all__ = ["paths"]

SHOWN = 40  # sample paths in one figure: more of them hide each other


def paths(path, t, x, title, names, exact=None):
    """Sample paths with the mean and one standard deviation, a panel for each component.

    t (times,); x (times, paths, components); `exact` holds the closed-form mean and standard
    deviation at the times t, both (times,), where the process has them.
    """
    with figure(path, 8, 1.2 + 3.2 * len(names)) as drawn:
        panels = drawn.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for panel, name, values in zip(panels, names, np.moveaxis(x, -1, 0), strict=True):
            values = np.ma.masked_invalid(np.asarray(values, np.float64))
            with np.errstate(all="ignore"):  # paths on their way to infinity
                mean, std = values.mean(1), values.std(1)
            shown = values[:, : max(1, SHOWN // len(names))]
            lines = panel.plot(t, shown, color=GREY, lw=0.5, alpha=0.5, zorder=1)
            lines[0].set_label("sample paths")
            band = mean - std, mean + std
            panel.fill_between(t, *band, color=BLUE, alpha=0.25, lw=0, label="mean ± std of all")
            panel.plot(t, mean, color=BLUE, label="mean of all")
            if exact is not None:
                _dashed(panel, t, *exact)
            panel.set(ylabel=name, xlim=(t[0], t[-1]))
            panel.margins(x=0)
        drawn.suptitle(title, x=0.01, ha="left", fontsize=11)
        handles, labels = panels[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        panels[-1].set_xlabel("time t")


def _dashed(panel, t, mean, std):
    """The closed-form mean and mean ± std over what was sampled."""
    panel.plot(t, mean, color=ORANGE, lw=1.4, ls=(0, (4, 3)), label="closed form")
    with np.errstate(all="ignore"):
        edges = mean - std, mean + std
    for edge in edges:
        panel.plot(t, edge, color=ORANGE, lw=1.0, ls=(0, (4, 3)))
