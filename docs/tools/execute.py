"""Runs the blocks of Python on a page, and renews what the page shows of it: outputs and figures.

    python docs/tools/execute.py docs/getting-started.md

The blocks run in one namespace. Behind a block ```python a block ```text shows what it prints. Figures that a page
saves belong to `docs/figures`. Pages of the gallery, whose figures are taken from them, have `gallery.py`.
"""

import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

FIGURES = Path(__file__).parents[1] / "figures"
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


def blocks(page):
    """(source, line before its first line, what it shows) of each block of Python on a page."""
    text = page.read_text(encoding="utf-8")
    return [(found[1], text.count("\n", 0, found.start(1)), found[2] or "") for found in BLOCK.finditer(text)]


def executed(page, change=lambda source: source):
    """(the text of a page with what its blocks print, their names); `change` is applied to a source before it runs."""
    names = {"__name__": "__main__"}

    def with_output(found):
        printed = io.StringIO()
        before = "\n" * text.count("\n", 0, found.start(1))  # lines of errors are those of the page
        with contextlib.redirect_stdout(printed):
            exec(compile(before + change(found[1]), page.name, "exec"), names)
        shown = printed.getvalue()
        return f"```python\n{found[1]}```" + (f"\n\n```text\n{shown}```" if shown else "")

    text = page.read_text(encoding="utf-8")
    return BLOCK.sub(with_output, text), names


def main(page):
    """Renew a page, and the figures that it draws."""
    page, os.environ["MPLBACKEND"] = Path(page).resolve(), "Agg"
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        text, _ = executed(page)
        for figure in Path(folder).glob("*.png"):
            shutil.copy(figure, FIGURES)
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
