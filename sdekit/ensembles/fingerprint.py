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
COLLECTIONS = (tuple, list, dict, types.MappingProxyType, set, frozenset)
INSIDE = ("__wrapped__", "pyfunc")  # where objects of libraries keep the function that they are made of
HOLDERS = {property: "fget", functools.cached_property: "func", staticmethod: "__func__", classmethod: "__func__"}


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
    """The label of a value and the words of what it holds, or their digest."""
    label, held, hidden = _parts(value) if len(within) <= DEEP else (type(value).__name__, None, False)
    if held is None:
        return label
    if isinstance(held, (set, frozenset)):  # in any order: no member may know of what was met in another
        words = ", ".join(sorted(_words(x, dict(known), within) for x in held))
    elif isinstance(held, dict):
        words = ", ".join([f"{name}={_words(x, known, within)}" for name, x in held.items()])
    else:
        words = ", ".join([_words(x, known, within) for x in held])
    short = not hidden and len(words) <= LONG
    return f"{label}({words})" if short else f"{label or type(value).__name__}:{_digest(words.encode('utf-8', 'replace'))}"


def _parts(value):
    """(label, what the value holds or None, whether that is shown by its digest)."""
    kind = type(value)
    if arrays.is_tensor(value) or isinstance(value, (np.ndarray, np.generic)):
        return _array(value)
    if isinstance(value, (types.FunctionType, types.CodeType)):
        return _function(value) if isinstance(value, types.FunctionType) else ("code", _instructions(value), True)
    if isinstance(value, type):
        return _class(value)
    if isinstance(value, types.ModuleType):
        return value.__name__, None, False
    if isinstance(value, (functools.partial, functools.partialmethod)):
        return kind.__name__, (value.func, value.args, value.keywords), False
    if isinstance(value, types.MethodType):
        return f"{value.__name__} of ", (value.__self__, value.__func__), False
    if isinstance(value, types.BuiltinMethodType) and not isinstance(value.__self__, (types.ModuleType, type(None))):
        return f"{value.__name__} of ", (value.__self__,), False
    for holder, name in HOLDERS.items():
        if isinstance(value, holder):
            return kind.__name__, (getattr(value, name),), False
    if isinstance(value, Method) and _foreign(value.build or value.step):
        return value.name, value.arguments, False
    if "torch" in sys.modules and isinstance(value, arrays.torch().nn.Module):
        return _network(value)
    return _object(value, kind)


def _array(value):
    data = np.asarray(host(value), order="C")
    if data.dtype.hasobject:
        return f"{data.dtype}{list(data.shape)}", data.ravel().tolist(), False
    if data.ndim == 0 and not arrays.is_tensor(value):
        usual = data.dtype in (np.float64, np.int64, np.bool_)  # as those of Python
        return repr(data.item()) if usual else f"{data.dtype} {data.item()!r}", None, False
    short = f"{data.dtype} {data.tolist()}" if data.size <= SHORT else None
    return short or f"{data.dtype}{list(data.shape)}:{_digest(data.tobytes())}", None, False


def _function(function):
    """Of one's own: code, defaults, and what it takes from around it. Of a library: the one inside, if there is one."""
    if _foreign(function):
        inside = vars(function).get("__wrapped__")
        return function.__name__, None if inside is None else (inside,), False
    cells = []
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # it is empty
            cells.append(cell.cell_contents)
    code = function.__code__
    names, attributes = _globals(code), dict.fromkeys(name for c in _codes(code) for name in c.co_names)
    used = _taken(names, attributes, function.__globals__)
    return function.__name__, (code, cells, function.__defaults__, function.__kwdefaults__, used), True


def _codes(code):
    """It, and what is defined in it."""
    return [code, *(inner for c in code.co_consts if isinstance(c, types.CodeType) for inner in _codes(c))]


def _instructions(code):
    return code.co_code, code.co_names, code.co_consts


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
        return without_addresses(repr(kind)), None, False
    usual = (n for n, v in vars(kind).items() if n.startswith("__") and not callable(v) and type(v) not in HOLDERS)
    members = {name: vars(kind)[name] for name in vars(kind).keys() - usual}
    return kind.__name__, (kind.__bases__, sorted(members.items(), key=lambda item: item[0])), True


def _network(value):
    """Numbers, structure, and code of one's own; no plain attributes, among which are counters."""
    value = value._modules.get("_orig_mod", value)  # inside of what is compiled
    kinds = dict.fromkeys(type(module) for module in value.modules())
    own = [kind for kind in kinds if not _foreign(kind)]
    return type(value).__name__, (dict(value.state_dict()), own, without_addresses(repr(value))), True


def _object(value, kind):
    """Class, fields or attributes, and items."""
    foreign, label = _foreign(kind), kind.__name__
    base = next((base for base in COLLECTIONS if isinstance(value, base)), None)
    if fields(kind) is not None:
        held = values(value)
    elif foreign and base:
        return "", list(value.items()) if base in (dict, types.MappingProxyType) else value, False
    elif foreign:
        inside = [vars(value)[name] for name in INSIDE if kind.__dictoffset__ and name in vars(value)]
        if inside:
            return label, inside[:1], False
        bare = kind.__repr__ is object.__repr__ and kind.__module__.partition(".")[0] not in sys.stdlib_module_names
        held = _attributes(value, kind) if bare or isinstance(value, types.SimpleNamespace) else None
        return (label, held, False) if held else (without_addresses(repr(value)), None, False)
    else:
        held = _attributes(value, kind) | ({"items": base(value)} if base else {})
    return label, held if foreign else {"class": kind, **held}, False


def _attributes(value, kind):
    """{name: value} of attributes and slots, but those that a cached property keeps."""
    held = dict(vars(value)) if kind.__dictoffset__ else {}
    for name, member in (item for cls in kind.__mro__ for item in vars(cls).items()):
        if isinstance(member, functools.cached_property):
            held.pop(name, None)
        elif isinstance(member, types.MemberDescriptorType):
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
    file = getattr(sys.modules.get(name), "__file__", None)
    return name in sys.builtin_module_names or (name != "__main__" and file is not None and _library(file))


@functools.lru_cache(1024)
def _library(file):
    return bool(PACKAGES.intersection(Path(file).parts)) or any(map(Path(file).is_relative_to, LIBRARIES))


def without_addresses(text):
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _digest(data):
    return hashlib.sha256(data).hexdigest()[:12]
