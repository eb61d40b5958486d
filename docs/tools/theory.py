"""The pages on theory: formulas become MathML, and the tests that their marks lead to a page; a hook of mkdocs.

Browsers draw MathML themselves, so that formulas need neither scripts nor fonts from elsewhere.
"""

import ast
import html
import re
from pathlib import Path

TESTS = Path(__file__).parents[2] / "tests" / "theory"
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
NAMED = re.compile(
    r"(<mi>(?:cos|det|exp|log|sign|sin|tr)</mi>)(?=<m[^o])"
)  # a function and an argument without brackets
MENDED = {
    "<mi>&#x0007E;</mi>": "<mo>&#x0223C;</mo>",  # \sim is an operator
    "<mo>&#x02016;</mo>": '<mo stretchy="false">&#x02016;</mo>',  # both bars of a norm are of one size
}
HEAD = """---
search: { exclude: true }
---
# Tests of the theory

What the marks of these pages lead to: every test with what it asks, and its code. In a clone they run with
`python -m pytest tests/theory`.
"""


def functions(path):
    """(name, docstring, source with decorators) of each test of a module, in its order."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            yield node.name, ast.get_docstring(node), "\n".join(lines[first - 1 : node.end_lineno])


def escaped(text):
    """Text that Markdown leaves as it is."""
    return re.sub(r"([\\*_\[\]{}])", r"\\\1", html.escape(text, quote=False))


def checks():
    """The page of the tests."""
    parts = [HEAD]
    for path in sorted(TESTS.glob("test_*.py")):
        parts.append(f"## {path.name}\n")
        for name, asked, source in functions(path):
            shown = f"<details markdown>\n<summary>Code</summary>\n\n```python\n{source}\n```\n\n</details>\n"
            parts.append(f"### `{name}` {{#{name}}}\n\n{escaped(asked)}\n\n{shown}")
    return "\n".join(parts)


def pages():
    """Address and markdown of what is added to the site."""
    return {"theory/checks.md": checks()}


def mathml(found):
    """A formula of TeX, as arithmatex leaves it, in MathML."""
    from latex2mathml.converter import convert

    place = {"span": "inline", "div": "block"}[found[1]]
    tex = html.unescape(found[2]).strip()
    drawn = convert(tex, display=place)
    for made, meant in MENDED.items():
        drawn = drawn.replace(made, meant)
    drawn = NAMED.sub(r'\1<mspace width="0.17em" />', drawn)
    return drawn if place == "inline" else f'<div class="formula">{drawn}</div>'


def on_files(files, config):
    from mkdocs.structure.files import File

    for address, text in pages().items():
        files.append(File.generated(config, address, content=text))
    return files


def on_page_content(content, **_):
    return FORMULA.sub(mathml, content).replace("</math><a ", "</math>&#8288;<a ")  # no line begins with a mark
