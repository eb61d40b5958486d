"""The documentation is true: its code runs, the values it shows are right, and its tables are complete."""

import ast
import builtins
import functools
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import sdekit as sk
from sdekit.__main__ import main
from sdekit.drawing import load

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def tool(name):
    """A script that helps to build the site."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "tools" / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


EXECUTE = tool("execute")
blocks = EXECUTE.blocks


def alike(value, text):
    """Whether `value` is what the page shows: a float to the decimals that are shown, others by str."""
    return f"{value:.{len(text.partition('.')[2])}f}" == text if type(value) is float else str(value) == text


def run(node, comment, names, where):
    """One statement of a page: `→ value` is compared, `raises Error: part of its message` is asked for."""
    shown, wanted = comment.partition("# → ")[2], re.search(r"# raises (\w+): (.*)", comment)
    if not (isinstance(node, ast.Expr) and (shown or wanted)):
        exec(compile(ast.Module([node], []), where, "exec"), names)
        return
    expression = compile(ast.Expression(node.value), where, "eval")
    if wanted:
        with pytest.raises(getattr(builtins, wanted[1]), match=re.escape(wanted[2])):
            eval(expression, names)
    else:
        value = eval(expression, names)
        assert alike(value, shown), f"{where}:{node.lineno} gives {value!r}, not {shown}"


def same_figure(made, kept):
    """Whether two pictures are one, but for fonts and rounding: 2 % of the brightness on average."""
    made, kept = (load("matplotlib.image").imread(path)[..., :3] for path in (made, kept))
    return made.shape == kept.shape and abs(made - kept).mean() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p) and p.parent.name != "gallery"], ids=lambda p: p.name)
def test_code_runs_and_shows_its_values(page, tmp_path, monkeypatch, capsys):
    """The blocks of a page in one namespace, what they print, and their figures. Seeds are fixed."""
    if any("import torch" in source for source, *_ in blocks(page)):
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for source, before, shown in blocks(page):
        lines = source.splitlines()
        for node in ast.increment_lineno(ast.parse(source), before).body:
            run(node, lines[node.end_lineno - before - 1], names, page.name)
        printed = capsys.readouterr().out
        assert not shown or printed == shown, f"{page.name}:{before} prints {printed}"
    for figure in tmp_path.glob("start-*.png"):
        assert same_figure(figure, EXECUTE.FIGURES / figure.name), figure.name


def test_measured_tables_are_those_of_the_results():
    """`python -m benchmarks.pages` would change nothing."""
    pytest.importorskip("torch")
    from benchmarks import pages

    for page in pages.PAGES:
        assert pages.renewed(page) == (ROOT / page).read_text(encoding="utf-8"), page


def test_the_table_of_methods_is_that_of_the_records(capsys):
    """Every row that the page shows; a method may exist before it is documented."""
    assert main(["methods", "--markdown"]) == 0
    rows = capsys.readouterr().out.strip().splitlines()
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8").splitlines()
    shown = [line for line in page if line.startswith("| `")]
    assert len(shown) >= 13 and set(shown) <= set(rows)


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
        fields = inspect.signature(getattr(sk.processes, name)).parameters.values()
        values = (f"{f.name}={f.default:.4g}" if isinstance(f.default, (int, float)) else f.name for f in fields)
        assert f"| `{name}({', '.join(values)})` |" in page


@functools.cache
def generated():
    """Paths of the pages that tools add to the site."""
    return {(ROOT / "docs" / address).resolve() for address in [*tool("reference").core(), *tool("theory").pages()]}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        there = (page.parent / target).resolve()
        assert "://" in target or there.exists() or there in generated(), target


def test_marks_of_the_theory_lead_to_tests():
    """Every mark names a test, and every test is named by the page of its module."""
    for page in sorted((ROOT / "docs" / "theory").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        marks = re.findall(r"\[✓\]\(checks\.md#(\w+)\)", text)
        tests = [name for name, *_ in tool("theory").functions(ROOT / "tests" / "theory" / f"test_{page.stem}.py")]
        assert sorted(marks) == sorted(tests) and text.count("✓](") == len(marks), page.name


def test_formulas_become_mathml():
    """As arithmatex leaves them; every formula of the theory is one that can be drawn."""
    pytest.importorskip("latex2mathml")
    draw = tool("theory").on_page_content
    inline = draw('<p>of <span class="arithmatex">\\(a &lt; \\log p\\)</span></p>')
    assert inline.startswith("<p>of <math") and "log</mi><mspace" in inline and "&#x0003C;" in inline
    assert draw('<div class="arithmatex">\\[\n\\frac12\n\\]</div>').startswith('<div class="formula"><math')
    for page in sorted((ROOT / "docs" / "theory").glob("*.md")):
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for tex in re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", text, re.DOTALL):
            made = draw(f'<span class="arithmatex">\\({max(tex)}\\)</span>')
            assert "\\" not in made and "merror" not in made, tex


def names(module, package):
    """Every public name of a module, as a path, and those of its public submodules."""
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            yield from names(value, f"{package}.{name}") if hasattr(value, "__all__") else ()
        else:
            yield f"{package}.{name}"


def test_every_public_name_has_an_entry():
    """Under its public path, once, and with a docstring to show."""
    text = "\n".join(tool("reference").core().values())
    for name in names(sk, "sdekit"):
        assert f"[](){{#{name}}}\n" in text or f"::: {name}\n" in text, name
    shown = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    assert len(shown) == len(set(shown)) > 100
    for path in shown:
        module, _, name = path.rpartition(".")
        if path not in sys.modules:
            assert (getattr(sys.modules[module], name).__doc__ or "").strip(), path


DOCSTRING = """A step; `x*y` of `solve`.

    x' = x + f*h

t  the times 0 < t_1 < t_2
y      (n, *event)   [x, y] there,
       and more
Sentence. Source: nobody, doi:10.1/a_(b)c<d>2;3.
Cost: none
"""


def test_docstrings_become_markdown():
    """Formulas stay as they are, lists become definitions, and characters of Markdown are escaped."""
    pytest.importorskip("griffe")
    assert tool("docstrings").markdown(DOCSTRING).splitlines() == [
        "A step; `x*y` of [`solve`][sdekit.solve].",
        "",
        "    x' = x + f*h",
        "",
        "",
        "`t`",
        ":   the times 0 &lt; t\\_1 &lt; t\\_2",
        "",
        "`y`",
        ":   `(n, *event)` \\[x, y\\] there,",
        "    and more",
        "",
        "Sentence. Source: nobody, [doi:10.1/a\\_(b)c&lt;d>2;3](https://doi.org/10.1/a_%28b%29c%3Cd%3E2%3B3).",
        "",
        "Cost: none",
    ]
