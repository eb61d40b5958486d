"""The pages of the reference, made from the public names: a hook of mkdocs.

Whatever is in `__all__` of the packages and of their public modules gets an entry, so that a new name is documented
by its docstring alone; `tests/test_docs.py` checks it. Sites of names are found by import, texts by mkdocstrings.
"""

import functools
import inspect
import re
import reprlib
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import sdekit as sk

ROOT = Path(__file__).parents[2]
# Page, title, and the names of `sdekit` on it besides those of its modules; what fits nowhere is on the first page.
PAGES = {
    "solve": ("solve and Solution", ["solve", "Solution", "Tolerance", "Event", "Barrier"]),
    "processes": ("Processes", ["process", "noiseless", "Reverse", "Langevin"]),
    "methods": ("Methods", ["method", "family", "Method", "Taken"]),
    "scores": ("Scores", []),
    "grids": ("Grids", []),
    "targets": ("Targets", []),
    "laws": ("Laws", []),
    "plans": ("Plans", []),
    "path": ("Expectations", ["expect", "Answer", "sensitivities"]),
    "stats": ("Ensembles and statistics", ["ensemble", "stream", "merge", "Ensemble"]),
    "executors": ("Executors", []),
    "restart": ("Restart", ["restart"]),
    "likelihood": ("Likelihood", []),
    "convergence": ("Convergence", []),
    "clients": ("In other programs", []),
    "noise": ("Noise", []),
    "math": ("Elementary functions", []),
    "backends": ("Backends", []),
    "gradients": ("Gradients", []),
    "protocols": ("Protocols", []),
}
BESIDE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}  # files of the root as pages
FLAT = ("processes", "methods")  # modules whose names are written sk.NAME


def public(module):
    """The public names of a module: its `__all__`, else the functions and classes that it defines."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    made_here = {n: v for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__}
    return [name for name, value in made_here.items() if not name.startswith("_") and callable(value)]


def home(owner, name):
    """The module that defines `owner.name`: the deepest one that has it among its own names."""
    value = getattr(owner, name)
    if inspect.isfunction(value) or inspect.isclass(value):
        return value.__module__
    package = owner.__name__.partition(".")[0] + "."
    having = [m for n, m in sys.modules.items() if n.startswith(package) and vars(m).get(name) is value]
    naming = [m.__name__ for m in having if name in getattr(m, "__all__", ())]
    return max(naming, key=lambda n: n.count("."), default=owner.__name__)


def walk(module):
    """(public path, where it is defined) of every public name of a module and of its public submodules."""
    for name in public(module):
        if isinstance(getattr(module, name), ModuleType):
            yield from walk(getattr(module, name))
        else:
            yield f"{module.__name__}.{name}", f"{home(module, name)}.{name}"


@functools.cache
def addresses(package):
    """The public paths of each definition, the shortest one first."""
    found = {}
    for path, definition in walk(import_module(package)):
        found.setdefault(definition, []).append(path)
    return {definition: sorted(paths, key=len) for definition, paths in found.items()}


def entry(owner, name, level):
    """The markdown of one name: an anchor under each public path, and the directive that prints its docstring.

    A name that a module hands on from another one leads to its entry there; data are shown as they are.
    """
    definition = f"{home(owner, name)}.{name}"
    paths = addresses(owner.__name__.partition(".")[0])[definition]
    owners = [path.rpartition(".")[0] for path in paths]
    its_own = [module for module in owners if "." in module and definition.startswith(module + ".")]
    if its_own and "." in owner.__name__ and owner.__name__ not in its_own:
        return f"[`{owner.__name__}.{name}`][{definition}]\n"
    spoken = paths[0].replace("sdekit.", "sk.", 1).replace("generative.", "gen.", 1)
    anchors = "\n".join(f"[](){{#{path}}}" for path in paths if path != definition)
    if not callable(getattr(owner, name)):
        return f"{anchors}\n\n{'#' * level} {spoken} {{#{definition}}}\n\n`{reprlib.repr(getattr(owner, name))}`\n"
    options = f"      heading_level: {level}\n      heading: {spoken}\n      toc_label: {name}"
    return f"{anchors}\n\n::: {definition}\n    options:\n{options}\n"


def introduction(module, level=0):
    """The docstring of a module, under its name where `level` is one of a heading."""
    shown = f"      heading_level: {level}\n      heading: {module.rsplit('.', 1)[1].capitalize()}\n" if level else ""
    return f"::: {module}\n    options:\n      members: false\n      show_root_heading: {bool(level)}\n{shown}"


def listing(owner, names, level=2):
    """Entries of `names`; submodules follow with theirs."""
    modules = [name for name in names if isinstance(getattr(owner, name), ModuleType)]
    parts = [entry(owner, name, level) for name in names if name not in modules]
    for name in modules:
        module = getattr(owner, name)
        own = [n for n in public(module) if getattr(owner, n, None) is not getattr(module, n)]
        parts += [introduction(module.__name__, level), listing(module, own, level + 1)] if own else []
    return "\n".join(parts)


def by_module(owner, names):
    """Entries of `names` under the docstrings of the modules that define them."""
    homes = dict.fromkeys(home(owner, name) for name in names)
    parts = []
    for module in homes:
        parts += [introduction(module, 2), listing(owner, [n for n in names if home(owner, n) == module], 3)]
    return "\n".join(parts)


def core():
    """Address and markdown of each page about sdekit."""
    modules = {n: getattr(sk, n) for n in sk.__all__ if isinstance(getattr(sk, n), ModuleType)}
    placed = {name for _, names in PAGES.values() for name in names}
    flat = {name for module in FLAT for name in public(modules[module])}
    elsewhere = {name for m, module in modules.items() if m not in FLAT for name in public(module)}
    loose = [name for name in sk.__all__ if name not in {*modules, *placed, *flat, *elsewhere}]
    others = [name for name, module in modules.items() if name not in PAGES and {*public(module)} - {*sk.__all__}]
    pages = {}
    for page in [*PAGES, *others]:
        title, own = PAGES.get(page, (page, []))
        own = [name for name in own if hasattr(sk, name)] + (loose if page == next(iter(PAGES)) else [])
        if not own and page not in modules:
            continue
        parts = [f"# {title}\n"]
        if page in modules:
            parts.append(introduction(f"sdekit.{page}"))
        parts.append(listing(sk, own))
        if page in FLAT:
            parts.append(by_module(sk, public(modules[page])))
        elif page in modules:
            parts.append(listing(modules[page], public(modules[page])))
        pages[f"reference/{page}.md"] = "\n".join(parts)
    return pages


def pages():
    """Address and markdown of every page of the reference."""
    models = import_module("generative")
    text = "\n".join(["# generative\n", introduction("generative"), listing(models, public(models))])
    return {**core(), "reference/generative.md": text}


def on_config(config):
    """Add the pages to the navigation, and the version to the foot of each."""
    config.nav.append({"Reference": list(pages())})
    config.copyright = f"sdekit {sk.__version__}"
    return config


def on_files(files, config):
    """Add the pages, and those that lie beside the documentation, to the site."""
    from mkdocs.structure.files import File

    made = {page: (ROOT / name).read_text(encoding="utf-8") for name, page in BESIDE.items()}
    for address, text in {**made, **pages()}.items():
        files.append(File.generated(config, address, content=text))
    return files


def on_page_markdown(markdown, page, **_):
    """Links to files of the repository lead to their pages, or are spelled out where they have none."""
    home = "../" * page.file.src_uri.count("/")

    def moved(link):
        text, target = link.groups()
        return f"[{text}]({home}{BESIDE[target]})" if target in BESIDE else f"{text} (`{target}`)"

    return re.sub(rf"\[([^\]]+)\]\({re.escape(home)}\.\./([^.)][^)]*)\)", moved, markdown)
