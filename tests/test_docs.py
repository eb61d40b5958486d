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
    text = page.read_text()
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
    assert main(["methods", "--markdown"]) == 0
    assert capsys.readouterr().out.strip() in (ROOT / "docs" / "methods.md").read_text()


@pytest.mark.parametrize("name", sk.processes.__all__)
def test_processes_are_listed_with_their_defaults(name):
    defaults = getattr(sk.processes, name)._field_defaults
    values = (f"{k}={v:.4g}" if isinstance(v, (int, float)) else k for k, v in defaults.items())
    assert f"| `{name}({', '.join(values)})` |" in (ROOT / "docs" / "processes.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target
