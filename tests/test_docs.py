"""The documentation is true: its code runs, the values it shows are right, and its tables are complete."""

import ast
import re
from pathlib import Path

import pytest

import sdekit as sk
from sdekit.__main__ import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page):
    """(source, line before its first line) of each block of Python on a page."""
    text = page.read_text(encoding="utf-8")
    return [(found[1], text.count("\n", 0, found.start(1))) for found in BLOCK.finditer(text)]


def alike(value, text):
    """Whether `value` is what the page shows: a float to the decimals that are shown, others by str."""
    return f"{value:.{len(text.partition('.')[2])}f}" == text if type(value) is float else str(value) == text


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: p.name)
def test_code_runs_and_shows_its_values(page, tmp_path, monkeypatch):
    """The blocks of a page in one namespace; `expression  # → value` is compared. Seeds are fixed."""
    if any("import torch" in source for source, _ in blocks(page)):
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for source, before in blocks(page):
        lines = source.splitlines()
        for node in ast.increment_lineno(ast.parse(source), before).body:
            comment = lines[node.end_lineno - before - 1].partition("# → ")[2]
            if isinstance(node, ast.Expr) and comment:
                value = eval(compile(ast.Expression(node.value), str(page), "eval"), names)
                assert alike(value, comment), f"{page.name}:{node.lineno} gives {value!r}, not {comment}"
            else:
                exec(compile(ast.Module([node], []), str(page), "exec"), names)


def test_the_table_of_methods_is_that_of_the_records(capsys):
    """Every row that the page shows; a method may exist before it is documented."""
    assert main(["methods", "--markdown"]) == 0
    rows = capsys.readouterr().out.strip().splitlines()
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8").splitlines()
    shown = [line for line in page if line.startswith("| `")]
    assert len(shown) >= 14 and set(shown) <= set(rows)


def test_samplers_are_listed():
    page = (ROOT / "docs" / "sampling.md").read_text(encoding="utf-8")
    for name in sk.methods.__all__:
        assert "pair" not in getattr(sk, name).needs or f"| `{name}" in page or f", `{name}`" in page, name


def test_processes_are_listed_with_their_defaults():
    """Every process that the page lists; one may exist before it is documented."""
    page = (ROOT / "docs" / "processes.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([A-Z]\w+)\(.*?\)` \|", page, re.MULTILINE)
    assert len(listed) >= 15
    for name in listed:
        defaults = getattr(sk.processes, name)._field_defaults
        values = (f"{k}={v:.4g}" if isinstance(v, (int, float)) else k for k, v in defaults.items())
        assert f"| `{name}({', '.join(values)})` |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target
