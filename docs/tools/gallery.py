"""Runs the pages of the gallery: what their code prints and draws becomes the output and the figure they show.

    make gallery                            # all pages
    python docs/tools/gallery.py em option  # these

Pages run in one folder, so that a checkpoint that one leaves serves the next. The figure drawn last, or the animation
`movie`, is saved as the page's picture. A warning fails.
"""

import contextlib
import re
import sys
import tempfile
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from execute import executed

from sdekit.drawing import load, style

PAGES = Path(__file__).parents[1] / "gallery"
PICTURE = re.compile(r"^!\[(.+)\]\((\S+)\)$", re.MULTILINE)
FIXED = {"svg": {"metadata": {"Date": None}}}  # the same picture is the same file


def pages():
    """The pages in the order of the index, which may name one twice."""
    index = (PAGES / "index.md").read_text(encoding="utf-8")
    return [PAGES / name for name in dict.fromkeys(re.findall(r"\]\((\w[\w-]*\.md)\)", index))]


def run(page, **change):
    """(the text of a page with what its blocks print, their names), as `executed` has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return executed(page, **change)


def save(names, path):
    """The animation or figure of a page that has run."""
    if "movie" in names:
        return names["movie"].save(path, writer="pillow", dpi=80)  # the style's 150 make over a megabyte
    kind = path.suffix[1:]
    return load("matplotlib.pyplot").gcf().savefig(path, format=kind, **FIXED.get(kind, {}))


def made(page):
    """Runs a page, saves its picture, and writes what it printed into it."""
    text, names = run(page)
    save(names, page.parent / PICTURE.search(text)[2])
    page.write_text(text, encoding="utf-8")


def main(names):
    pyplot = load("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), style():
        for page in [PAGES / f"{name}.md" for name in names] or pages():
            begun = time.process_time(), time.perf_counter()
            made(page)
            pyplot.close("all")
            cpu, wall = time.process_time() - begun[0], time.perf_counter() - begun[1]
            print(f"{page.stem:24} {cpu:6.1f} s of processors in {wall:6.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
