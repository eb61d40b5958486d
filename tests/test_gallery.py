"""The gallery: every page has a short script, what it prints, a figure, and a text for those who do not see it."""

import re
import warnings

import pytest
from test_docs import ROOT, blocks, tool

gallery = tool("gallery")
PAGES = gallery.pages()
SHORTER = {  # trainings that pages set themselves
    r"steps = \{.*\}": 'steps = {"gmm": 1, "vae": 2}',
    r"range\(1500\)": "range(20)",
}


def test_index_and_navigation_have_every_page():
    names = sorted(path.name for path in PAGES)
    assert names == sorted(path.name for path in gallery.PAGES.glob("*.md") if path.name != "index.md")
    shown = re.findall(r"gallery/([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert shown == ["index.md", *(path.name for path in PAGES)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_are_short_and_complete(page):
    """At most 15 lines of code, of which none scrolls, what it prints, one picture and what is to be seen there."""
    text = page.read_text(encoding="utf-8")
    (script, _, printed), (drawing, _, drawn) = blocks(page)
    lines = [line for line in script.splitlines() if line.strip()]
    assert len(lines) <= 15 and max(map(len, lines)) <= 120
    assert "matplotlib" not in script and "matplotlib" in drawing
    assert ("print(" in script) == bool(printed) and ("print(" in drawing) == bool(drawn)
    (picture,) = gallery.PICTURE.findall(text)
    assert len(picture[0]) > 60, "say what is to be seen"
    file = page.parent / picture[1]
    assert file.stem == page.stem and 1000 < file.stat().st_size < 700_000


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_run(page, tmp_path, monkeypatch):
    """Without a warning, with some steps of each training; and draw what can be saved."""
    pytest.importorskip("zuko")
    import generative as gen

    fit = gen.fit

    def shorter(*data, steps, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of models that have hardly begun to learn
            return fit(*data, steps=min(steps, 60), **options)

    monkeypatch.setattr(gen, "fit", shorter)
    monkeypatch.chdir(tmp_path)
    gallery.load("matplotlib.pyplot").switch_backend("agg")
    with gallery.style():
        _, names = gallery.run(page, change=shortened)
        assert "movie" in names or gallery.load("matplotlib.pyplot").gcf().axes
    gallery.load("matplotlib.pyplot").close("all")


def shortened(source):
    for long, short in SHORTER.items():
        source = re.sub(long, short, source)
    return source
