"""What tells the arguments of two runs apart, in words that another process would choose too."""

import contextlib
import dis
import functools
import hashlib
import re
import site
import sys
import sysconfig
import types
from pathlib import Path
from typing import Any

import numpy as np

from .. import arrays
from ..methods.method import Method
from ..records import fields, values
from ..solution import host

__all__ = ["fingerprint", "without_addresses"]

SHORT = 8  # numbers of an array that are shown
LONG = 1000  # characters of what one value holds that are shown
DEEP = 100  # levels within each other; what is further down goes by the name of its type
PACKAGES = {"site-packages", "dist-packages"}
PATHS = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
LIBRARIES = (*PATHS, site.getusersitepackages(), str(Path(__file__).parents[1]))
COLLECTIONS: Any = (tuple, list, dict, types.MappingProxyType, set, frozenset)
METHODS = {property: ("fget",), functools.cached_property: ("func",)}
METHODS |= dict.fromkeys((staticmethod, classmethod), ("__func__",))
CODE = (types.FunctionType, types.CodeType, type)  # what is shown by a digest
PARTS = {  # attributes that a value is made of
    **METHODS,
    **dict.fromkeys((functools.partial, functools.partialmethod), ("func", "args", "keywords")),
    types.MethodType: ("__func__", "__self__"),
    types.BuiltinMethodType: ("__name__", "__self__"),
    types.CellType: ("cell_contents",),
    types.CodeType: ("co_code", "co_names", "co_consts"),
}


def fingerprint(value):
    """A value in words: long arrays by a digest, functions and classes by that of their code and of what it uses.

    Code of libraries goes by its name: `worded` adds the version of sdekit, those of others are not compared.
    """
    return _words(value, {}, ())


def _words(value, known, within):
    """`known` has {id: (value, words)} of what was met before, `within` the ids of what holds this value."""
    if value is None or type(value) in (bool, int, float, str):
        return repr(value)
    if id(value) in within:  # it holds itself: so many levels up
        return f"#{len(within) - within.index(id(value))}"
    if id(value) not in known:
        try:
            words = _joined(value, known, (*within, id(value)))
        except Exception:  # of a value's own code
            words = type(value).__name__
        known[id(value)] = value, words  # the value too, so that no other one gets its id
    return known[id(value)][1]


def _joined(value, known, within):
    """The label of a value with the words of what it holds, or with their digest."""
    kind = type(value)
    label, held = _parts(value, kind) if len(within) <= DEEP else (kind.__name__, None)
    if held is None:
        return label
    if isinstance(held, (set, frozenset)):  # in any order: no member may know of what was met in another
        words = ", ".join(sorted(_words(x, dict(known), within) for x in held))
    elif isinstance(held, dict):
        words = ", ".join([f"{name}={_words(x, known, within)}" for name, x in held.items()])
    else:
        words = ", ".join([_words(x, known, within) for x in held])
    if isinstance(value, CODE) or len(words) > LONG:
        return f"{label or kind.__name__}:{_digest(words.encode())}"
    return f"{label}({words})"


def _parts(value, kind):
    """(label, what the value holds: a collection or {name: value} of a label, or None)."""
    if arrays.is_tensor(value) or isinstance(value, (np.ndarray, np.generic)):
        return _array(value)
    for made, names in PARTS.items():
        if isinstance(value, made):
            return kind.__name__, [getattr(value, name) for name in names]
    if isinstance(value, types.FunctionType):
        return _function(value)
    if isinstance(value, type):
        return _class(value)
    if isinstance(value, types.ModuleType):
        return value.__name__, None
    if isinstance(value, Method) and _foreign(value.build or value.step):
        return value.name, value.arguments
    if "torch" in sys.modules and isinstance(value, arrays.torch().nn.Module):
        return _network(value)
    return _foreign_object(value, kind) if _foreign(kind) else _own_object(value, kind)


def _array(value):
    data = np.asarray(host(value), order="C")
    if data.dtype.hasobject:
        return f"{data.dtype}{list(data.shape)}", data.ravel().tolist()
    if data.ndim == 0 and not arrays.is_tensor(value):
        usual = data.dtype in (np.float64, np.int64, np.bool_)  # as those of Python
        return repr(data.item()) if usual else f"{data.dtype} {data.item()!r}", None
    if data.size <= SHORT:
        return f"{data.dtype} {data.tolist()}", None
    return f"{data.dtype}{list(data.shape)}:{_digest(data.tobytes())}", None


def _function(function):
    """Of one's own: code, defaults, and what it takes from around it. Of a library: the one inside, if there is one."""
    if _foreign(function):
        inside = vars(function).get("__wrapped__")
        return function.__name__, None if inside is None else (inside,)
    code = function.__code__
    attributes = dict.fromkeys(name for c in _codes(code) for name in c.co_names)
    around = _taken(_globals(code), attributes, function.__globals__)
    return function.__name__, (code, function.__closure__, function.__defaults__, function.__kwdefaults__, around)


def _codes(code):
    """It, and what is defined in it."""
    return [code, *(inner for c in code.co_consts if isinstance(c, types.CodeType) for inner in _codes(c))]


def _globals(code):
    """The global names that code reads, in order, but those that it stores too: counters and caches."""
    steps = [step for c in _codes(code) for step in dis.get_instructions(c)]
    stored = {step.argval for step in steps if step.opname == "STORE_GLOBAL"}
    read = (step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"))
    return [name for name in dict.fromkeys(read) if name not in stored]


def _taken(names, attributes, space, seen=()):
    """{name: value} of names in a namespace; in place of a module of one's own what is taken from that."""
    found = {}
    for name in names:
        value = space.get(name)
        if not isinstance(value, types.ModuleType):
            found |= {name: value} if name in space else {}
        elif value not in seen and not _foreign(value):
            inner = _taken(attributes, attributes, vars(value), (*seen, value))
            found |= {f"{name}.{key}": x for key, x in inner.items()}
    return found


def _class(kind):
    """Of one's own: bases and members, but what Python itself writes there."""
    if _foreign(kind):
        return without_addresses(repr(kind)), None
    usual = (n for n, v in vars(kind).items() if n.startswith("__") and not callable(v) and type(v) not in METHODS)
    members = {name: vars(kind)[name] for name in vars(kind).keys() - usual}
    return kind.__name__, (kind.__bases__, sorted(members.items(), key=lambda item: item[0]))


def _network(value):
    """Numbers, structure, and code of one's own; no plain attributes, among which are counters."""
    value = value._modules.get("_orig_mod", value)  # inside of what is compiled
    kinds = dict.fromkeys(type(module) for module in value.modules())
    own = [kind for kind in kinds if not _foreign(kind)]
    return type(value).__name__, (dict(value.state_dict()), own, without_addresses(repr(value)))


def _own_object(value, kind):
    """Its class, and fields, or attributes and items."""
    if fields(kind) is not None:
        return kind.__name__, {"class": kind, **values(value)}
    base = next((base for base in (*COLLECTIONS, float, int, str) if isinstance(value, base)), None)
    items = {"items": base(value)} if base else {}
    return kind.__name__, {"class": kind, **_attributes(value, kind), **items}


def _foreign_object(value, kind):
    """Fields, items, the function inside, or attributes where the usual text would show none."""
    if fields(kind) is not None:
        return kind.__name__, values(value)
    if isinstance(value, COLLECTIONS):
        return "", value if isinstance(value, (tuple, list, set, frozenset)) else list(value.items())
    own = vars(value) if kind.__dictoffset__ else {}
    for name in "__wrapped__", "pyfunc":
        if name in own:
            return kind.__name__, (own[name],)
    bare = kind.__repr__ is object.__repr__ and kind.__module__.partition(".")[0] not in sys.stdlib_module_names
    held = _attributes(value, kind) if bare or isinstance(value, types.SimpleNamespace) else None
    return (kind.__name__, held) if held else (without_addresses(repr(value)), None)


def _attributes(value, kind):
    """{name: value} of attributes and slots, but those that a cached property keeps."""
    held = dict(vars(value)) if kind.__dictoffset__ else {}
    for cls in kind.__mro__:
        for name, member in vars(cls).items():
            if isinstance(member, functools.cached_property):
                held.pop(name, None)
            elif isinstance(member, types.MemberDescriptorType) and "__slots__" in vars(cls):  # others hold addresses
                with contextlib.suppress(AttributeError):  # it is not set
                    held[name] = member.__get__(value)
    return held


def _foreign(thing):
    """Whether a function, a class or a module is of a library."""
    if isinstance(thing, types.FunctionType):
        file, name = thing.__code__.co_filename, thing.__globals__.get("__name__")  # `wraps` copies the module
        if not file.startswith("<"):
            return _library(file)
    else:
        name = thing.__name__ if isinstance(thing, types.ModuleType) else thing.__module__
    file = getattr(sys.modules.get(name or ""), "__file__", None)
    return name in sys.builtin_module_names or (name != "__main__" and file is not None and _library(file))


@functools.lru_cache(1024)
def _library(file):
    return bool(PACKAGES.intersection(Path(file).parts)) or any(map(Path(file).is_relative_to, LIBRARIES))


def without_addresses(text):
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _digest(data):
    return hashlib.sha256(data).hexdigest()[:12]
