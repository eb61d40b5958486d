"""Docstrings as Markdown: an extension of griffe, with which mkdocstrings reads the sources.

Docstrings are written for `help()`. Their indented formulas are preformatted in Markdown as they stand; here the
lists of arguments, in two columns, become definition lists, the characters of formulas in sentences lose their
meaning in Markdown, and names and sources become links.
"""

import inspect
import re
from urllib.parse import quote

import griffe

import sdekit

TERM = re.compile(r"^(?P<term>[\w*`]+(?:, ?[\w*`…]+)*(?: ?\([^)]*\))?(?: or [\w`]+)*)  +(?P<text>\S.*)$")
WORD = re.compile(r"^(?P<term>[\w*]+) (?P<text>\S.*)$")
COLUMNS = re.compile(r"^\s*\S+ {2,}\S")
SHAPE = re.compile(r"^(\([^)]*\))  +")
CODE = re.compile(r"(`[^`]+`)")
DOI = re.compile(r"\bdoi:(10\.\S*[^\s,;.)])")
NOTE = re.compile(r"(Order|Cost|Sources?|Use|Raises)\b.*")  # begins a line of its own
ARXIV = re.compile(r"\barXiv[: ](\d{4}\.\d{4,5})")
ARGUMENTS = {"process", "method", "noise"}  # such a word in a docstring is an argument of that name
MODULES = {name for name in sdekit.__all__ if inspect.ismodule(getattr(sdekit, name))}
LINKED = {*sdekit.__all__} - MODULES - ARGUMENTS
LINKED |= {f"{module}.{name}" for module in MODULES for name in getattr(getattr(sdekit, module), "__all__", ())}


def escaped(text):
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([*_\[\]|#])", r"\\\1", text)


def linked(text):
    """Text outside of code: sources as links, everything else as it is spelled."""
    for pattern, address in ((DOI, "https://doi.org/"), (ARXIV, "https://arxiv.org/abs/")):
        found = pattern.search(text)
        if found:
            before, after = linked(text[: found.start()]), linked(text[found.end() :])
            return f"{before}[{escaped(found[0])}]({address}{quote(found[1])}){after}"
    return escaped(text)


def code(span):
    """A name in backticks, which leads to its entry where it is a public one."""
    name = span.strip("`").removeprefix("sdekit.").removeprefix("sk.")
    return f"[{span}][sdekit.{name}]" if name in LINKED else span


def prose(text):
    parts = CODE.split(text)
    line = "".join(code(part) if i % 2 else linked(part) for i, part in enumerate(parts))
    return re.sub(r"^\\([*] )", r"\1", line)  # an item of a list


def entry(line, columns):
    """(term, text) of a line `term  text`, or of `term text` where the text begins in one of the columns; else None."""
    found = TERM.match(line) or next((m for c in columns if (m := WORD.match(line)) and m.start("text") == c), None)
    return found and (found["term"].replace("`", ""), found["text"])


def definitions(lines, columns):
    """A definition list of lines `name  text`, whose longer texts go on in indented lines."""
    out = []
    for line in lines:
        found = entry(line, columns)
        if found:
            shape = SHAPE.match(found[1])
            start, text = (f"`{shape[1]}` ", found[1][shape.end() :]) if shape else ("", found[1])
            out += ["", f"`{found[0]}`", f":   {start}{prose(text)}"]
            continue
        if COLUMNS.match(line):
            out[-1] += "  "  # this one is a line of its own in Markdown
        out.append(f"    {prose(line.strip())}")
    return [*out, ""] if out else []


def paragraph(lines):
    """Sentences, with perhaps a list of arguments among them."""
    columns = {found.start("text") for found in map(TERM.match, lines) if found}
    out, listed = [], []
    for line in lines:
        if entry(line, columns) or (listed and line.startswith("  ")):
            listed.append(line)
        else:
            apart = [""] if NOTE.match(line) else []
            out, listed = [*out, *definitions(listed, columns), *apart, prose(line)], []
    return out + definitions(listed, columns)


def markdown(text):
    """The Markdown of a docstring."""
    out = []
    for part in re.split(r"\n[ \t]*\n", text):
        lines = part.splitlines()
        out += lines if all(line.startswith("    ") for line in lines) else paragraph(lines)
        out.append("")
    return "\n".join(out)


class Docstrings(griffe.Extension):
    """Rewrites each docstring when its object has been read."""

    def on_object(self, *, obj, **_):
        if obj.docstring and not obj.is_alias:
            obj.docstring.value = markdown(obj.docstring.value)

    def on_class(self, *, cls, **_):
        """Give a NamedTuple the signature of its fields, which griffe makes for dataclasses alone."""
        if any(str(base).endswith("NamedTuple") for base in cls.bases):
            kind = griffe.ParameterKind.positional_or_keyword
            fields = [field for field in cls.attributes.values() if field.annotation and not field.is_alias]
            taken = [griffe.Parameter(f.name, annotation=f.annotation, kind=kind, default=f.value) for f in fields]
            signature = griffe.Parameters(griffe.Parameter("self", kind=kind), *taken)
            cls.set_member("__init__", griffe.Function("__init__", parameters=signature))
