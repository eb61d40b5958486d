"""Imports point strictly down the layers: each module can be read without those above it."""

import ast
import subprocess
import sys
import types
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = {
    "sdekit.arrays": 0,
    "sdekit.checks": 0,
    "sdekit.drawing": 0,
    "sdekit.elimination": 0,
    "sdekit.files": 0,
    "sdekit.machine": 0,
    "sdekit.math": 0,
    "sdekit.parts": 0,
    "sdekit.records": 0,
    "sdekit.reprs": 0,
    "sdekit.brownian": 1,
    "sdekit.control": 1,
    "sdekit.course": 1,
    "sdekit.equation": 1,
    "sdekit.events": 1,
    "sdekit.grids": 1,
    "sdekit.jacobian": 1,
    "sdekit.laws": 1,
    "sdekit.levy": 1,
    "sdekit.methods": 1,
    "sdekit.noise": 1,
    "sdekit.path": 1,
    "sdekit.probe": 1,
    "sdekit.processes": 1,
    "sdekit.protocols": 1,
    "sdekit.scores": 1,
    "sdekit.steps": 1,
    "sdekit.system": 1,
    "sdekit.targets": 1,
    "sdekit.functions": 1,
    "sdekit.transforms": 1,
    "sdekit.backends": 2,
    "sdekit.gradients": 2,
    "sdekit.problem": 2,
    "sdekit.solution": 2,
    "sdekit.arguments": 3,
    "sdekit.given": 3,
    "sdekit.matching": 3,
    "sdekit.solve": 3,
    "sdekit.clients": 4,
    "sdekit.convergence": 4,
    "sdekit.expectations": 4,
    "sdekit.ensembles": 4,
    "sdekit.executors": 4,
    "sdekit.likelihood": 4,
    "sdekit.plans": 4,
    "sdekit.restart": 4,
    "sdekit.stats": 4,
    "sdekit.__main__": 5,
    "sdekit.app": 5,
    "sdekit": 5,
    "generative": 6,
}
HEAVY = {"numba", "torch"}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_name(path): path for package in ("sdekit", "generative") for path in sorted((ROOT / package).rglob("*.py"))
}


def imports(source, module, is_package, everywhere):
    """Absolute names that `source` imports: at import time, or in function bodies too."""
    found = []

    def visit(node):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() if not everywhere:
                return
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                return
            case ast.Import(names=names):
                found.extend(name.name for name in names)
            case ast.ImportFrom(module=base, names=names, level=level):
                if level:
                    parts = module.split(".")
                    above = parts[: len(parts) - level + is_package]
                    base = ".".join([*above, *([base] if base else [])])
                found.extend(f"{base}.{name.name}" for name in names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return found


def imports_of(module, everywhere):
    path = FILES[module]
    return imports(path.read_text(encoding="utf-8"), module, path.name == "__init__.py", everywhere)


def longest_known(name, known):
    """The longest prefix of a dotted name that is in `known`, or None."""
    parts = name.split(".")
    prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in known), None)


def layer(name):
    """Layer of a module: that of the longest entry of LAYERS above it."""
    entry = longest_known(name, LAYERS)
    assert entry != "sdekit" or name == "sdekit", f"{name} has no layer: add it to LAYERS"
    return LAYERS[entry]


def in_layer(number):
    return [name for name in FILES if LAYERS[longest_known(name, LAYERS)] == number]


def upward(module, names):
    """The imported modules that lie in a higher layer than `module`."""
    targets = {longest_known(name, FILES) for name in names} - {None}
    return sorted(target for target in targets if layer(target) > layer(module))


@pytest.mark.parametrize("module", FILES)
def test_imports_point_down(module):
    assert upward(module, imports_of(module, everywhere=True)) == []


def test_no_import_cycles():
    """Also inside a layer: what a module needs at import time does not need it back."""
    graph = {
        module: {longest_known(name, FILES) for name in imports_of(module, False)} - {None, module} for module in FILES
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize("module", in_layer(0) + in_layer(1))
def test_the_mathematics_imports_no_backend(module):
    roots = {name.split(".")[0] for name in imports_of(module, everywhere=False)}
    assert not roots & HEAVY


@pytest.mark.parametrize("module", in_layer(6))
def test_generative_uses_public_names(module):
    """`import sdekit as sk` is the only import of it, and sk.a.b goes through what `__all__` names at each step."""
    import sdekit

    assert not any(name.startswith("sdekit.") for name in imports_of(module, everywhere=True))
    for chain in chains(FILES[module].read_text(encoding="utf-8")):
        found = sdekit
        for name in chain:
            public = getattr(found, "__all__", dir(found)) if isinstance(found, types.ModuleType) else [name]
            assert name in public or name in ("__all__", "__version__"), f"sk.{'.'.join(chain)}: {name} is not public"
            assert not name.startswith("_") or name.startswith("__"), f"sk.{'.'.join(chain)}: private"
            found = getattr(found, name)


def chains(source):
    """("a", "b") for each sk.a.b of a source."""
    for node in ast.walk(ast.parse(source)):
        names = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if names and isinstance(node, ast.Name) and node.id == "sk":
            yield tuple(reversed(names))


def test_chains_are_found():
    assert set(chains("sk.a.b(sk.c).d")) == {("a", "b"), ("a",), ("c",)}


def test_importing_sdekit_leaves_scipy_alone():
    """It takes three times as long as all the rest."""
    code = "import sys, sdekit; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_importing_sdekit_leaves_torch_alone():
    code = "import sys, sdekit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("source", "module", "expected"),
    [
        ("from sdekit.solve import solve", "sdekit.backends.new", ["sdekit.solve"]),
        ("from ..solve import solve", "sdekit.processes.new", ["sdekit.solve"]),
        ("from .. import backends", "sdekit.processes.new", ["sdekit.backends"]),
        ("def f():\n    import sdekit.solve", "sdekit.laws", ["sdekit.solve"]),
        ("from sdekit import math as sm", "sdekit.laws", []),
        ("import sdekit", "sdekit.laws", ["sdekit"]),
    ],
)
def test_the_rule_sees_an_import(source, module, expected, monkeypatch):
    for name in ("sdekit.solve", "sdekit.backends", "sdekit.math", "sdekit"):
        monkeypatch.setitem(FILES, name, None)
    assert upward(module, imports(source, module, is_package=False, everywhere=True)) == expected
