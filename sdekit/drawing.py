"""How figures look, with matplotlib (imported where a figure is drawn).

Colours are of the palette for all kinds of colour vision by M. Okabe and K. Ito, "Color universal
design", 2008; densities use `cividis`.
"""

import contextlib
import importlib
from pathlib import Path

from .files import replacing

__all__ = ["figure", "formats", "load", "style"]

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#5F6368"
PINK, SKY, BLACK = "#CC79A7", "#56B4E9", "#000000"
STYLE = Path(__file__).with_suffix(".mplstyle")


def load(name):
    """Import an optional module; where it is missing say how to get it."""
    top = name.partition(".")[0]
    try:
        importlib.import_module(top)
    except ModuleNotFoundError as error:
        if error.name != top:
            raise
        package = {"sklearn": "scikit-learn"}.get(top, top)
        raise ModuleNotFoundError(
            f'{package} is not installed; pip install "sdekit[demo]" brings it along', name=top
        ) from None
    return importlib.import_module(name)


def formats():
    """Endings of the picture files that matplotlib writes."""
    return sorted(load("matplotlib.figure").Figure().canvas.get_supported_filetypes())


def style():
    """A context in which figures look like all others, whatever the settings are."""
    matplotlib = load("matplotlib")
    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **matplotlib.rc_params_from_file(STYLE, False, False)})


@contextlib.contextmanager
def figure(path, width, height):
    """A new figure of that size in inches, saved to `path` at the end."""
    with style():
        drawn = load("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
        yield drawn
        with replacing(path) as part:
            drawn.savefig(part, format=path.suffix[1:].lower())
