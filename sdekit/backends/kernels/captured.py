"""What compiled code depends on besides its text: the values that functions and classes capture.

`describe` takes a snapshot as nested tuples (tag, …), compared and hashed as a whole; `records.build` makes of it what
the compiler takes. Nothing that is compiled reads anything else. So equal descriptions share their code, whoever made
the functions, and whatever was changed since the last solve gives another description.
"""

import dis
import functools
import inspect
import itertools
import operator
import types

import numpy as np
from numba.core.dispatcher import Dispatcher

from ...records import fields

NATIVE: set = set()  # functions with an `overload` here, besides those of sdekit.math
REFUSED = "which does not compile"
_LIBRARIES = ("numpy", "math", "cmath", "operator", "builtins", "numba", "sys")  # known to numba, or never compiled
_PLAIN = (bool, int, float, complex, str, type(None))
_NONE: dict = {}
_TUPLE = {"_replace", "_asdict", "_make", "_fields", "_field_defaults"}  # members of every NamedTuple


class Text:
    """The text of a function, one object for all that were written alike."""

    def __init__(self, function):
        tree = _reads(function.__code__)
        self.code, self.module = function.__code__, function.__module__
        self.free = [(i, n, tree.pop(n, {})) for i, n in enumerate(self.code.co_freevars)]
        self.read = [(n, inner) for n, inner in tree.items() if n not in self.code.co_cellvars]

    @property
    def names(self):
        """Of all that is read from outside, in the order of descriptions."""
        return [n for _, n, _ in self.free] + [n for n, _ in self.read]


_texts: dict = {}  # id of a code object: itself, which keeps the id its own, and its Text
_same: dict = {}  # code without what says where it stands: its Text


def _text(function):
    code = function.__code__
    if id(code) not in _texts:
        bare = _bare(code)
        _texts[id(code)] = code, _same.get(bare) or _same.setdefault(bare, Text(function))
    return _texts[id(code)][1]


def _bare(code):
    inner = tuple(_bare(c) if isinstance(c, types.CodeType) else c for c in code.co_consts)
    return code.replace(co_filename="", co_firstlineno=1, co_linetable=b"", co_qualname=code.co_name, co_consts=inner)


def _reads(code):
    """{name: {attribute: {attribute of it: …}}} of the names from outside that the code reads."""
    found: dict = {}
    here = None
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"):
            here = found.setdefault(step.argval, {})
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            here = here if here is None else here.setdefault(step.argval, {})
        elif step.opname != "EXTENDED_ARG":
            here = None
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            _merge(found, _reads(inner))
    return found


def _merge(tree, other):
    for name, branch in other.items():
        _merge(tree.setdefault(name, {}), branch)


# --- descriptions --------------------------------------------------------------------------------


class Watch:
    """Where a description was read, so that the next solve can tell in a moment that it still holds."""

    def __init__(self):
        self.steady = True  # nothing that was read can change in itself, as arrays and lists do
        self.lookups: list = []  # the `get` of a dict,
        self.names: list = []  # what it was asked for,
        self.found: list = []  # and what it found
        self.cells: list = []  # (cell, its content)
        self.functions: list = []  # (function, its code, its defaults)
        self.done: dict = {}  # id of a function or class: its description

    def get(self, names, name, missing=Ellipsis):
        """names[name], watched from now on."""
        value = names.get(name, missing)
        self.lookups.append(names.get)
        self.names.append(name)
        self.found.append(value)
        return value

    def holds(self):
        """Whether all is as it was."""
        found = map(operator.call, self.lookups, self.names, itertools.repeat(Ellipsis))
        return (
            self.steady
            and all(map(operator.is_, found, self.found))
            and all(_content(cell) is value for cell, value in self.cells)
            and all(f.__code__ is code and f.__defaults__ is defaults for f, code, defaults in self.functions)
        )


def describe(value, tree=_NONE, watch=None):
    """`value` as a hashable (tag, …); `tree` has the attributes that are read of it."""
    kind, watch = type(value), watch or Watch()
    if kind in _PLAIN:
        return "plain", kind, repr(value) if kind in (float, complex) else value  # nan equals itself, -0.0 not 0.0
    if kind is types.FunctionType:
        return _once(_function, value, watch)
    if isinstance(value, types.ModuleType):
        known = value.__name__.split(".")[0] in _LIBRARIES or value.__name__ == "sdekit.math"
        return ("given", value) if known else _space(value, tree, watch)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        watch.steady = False
        return "array", value.shape, value.dtype.str, value.tobytes()
    if isinstance(value, np.generic):
        return "scalar", kind, value.tobytes()
    if is_record(value):
        watch.steady &= isinstance(value, tuple)
        names = fields(kind)
        return _whole(
            "record", [_once(_class, kind, watch), *(describe(getattr(value, n), _NONE, watch) for n in names)]
        )
    if isinstance(value, (tuple, list)):
        return _sequence(value, watch)
    function = _as_function(value, watch)
    if function is not None:
        return describe(function, tree, watch)
    return _other(value, tree, watch)


def _once(kind, value, watch):
    """kind(value, watch), remembered; meanwhile refused, as a thing inside itself."""
    if id(value) not in watch.done:
        watch.done[id(value)] = "refused", f"{value.__name__} inside itself"
        watch.done[id(value)] = kind(value, watch)
    return watch.done[id(value)]


def _whole(tag, parts):
    """(tag, *parts), or the first part that is refused."""
    return next((p for p in parts if p[0] == "refused"), (tag, *parts))


def _sequence(value, watch):
    watch.steady &= isinstance(value, tuple)
    numbers = isinstance(value, list) and all(isinstance(v, (int, float)) for v in value)
    if numbers and any(isinstance(v, float) for v in value):
        value = map(float, value)  # of one type, so that it may be indexed with a variable
    return _whole("tuple", [describe(v, _NONE, watch) for v in value])


def _function(function, watch):
    function = getattr(function, "in_kernels", function)
    module = function.__module__ or ""
    if function in NATIVE or module == "sdekit.math" or module.split(".")[0] == "numpy":
        return "given", function
    text = _text(function)
    cells = [(function.__closure__[i], _content(function.__closure__[i]), tree) for i, _, tree in text.free]
    watch.functions.append((function, function.__code__, function.__defaults__))
    watch.cells += [(cell, content) for cell, content, _ in cells]
    found = [(watch.get(function.__globals__, n), tree) for n, tree in text.read]
    defaults = [describe(v, _NONE, watch) for v in function.__defaults__ or ()]
    parts = [describe(content, tree, watch) for _, content, tree in cells]
    parts += [None if value is Ellipsis else describe(value, tree, watch) for value, tree in found]
    return "function", text, len(defaults), (*defaults, *parts)


def _content(cell):
    try:
        return cell.cell_contents
    except ValueError:  # not yet assigned
        return Ellipsis


def _as_function(value, watch):
    """A plain function that does what a jitted one, a partial or a method of a record does; else None.

    So does a class that says what stands for it `in_kernels`.
    """
    if isinstance(value, type):
        return getattr(value, "in_kernels", None)
    if isinstance(value, Dispatcher):
        return value.py_func
    if isinstance(value, (types.MethodType, functools.partial)):
        watch.steady = False
    if isinstance(value, types.MethodType):
        return _bound(value, value.__func__, {"self": value.__self__})
    if isinstance(value, functools.partial):
        return _bound(value, value.func, {f"arg{i}": a for i, a in enumerate(value.args)}, value.keywords)
    return None


def _bound(value, function, first, keywords=_NONE):
    """def bound(t, x): return function(*first, t, x, **keywords)"""
    free = [p for n, p in inspect.signature(value).parameters.items() if n not in keywords and p.default is p.empty]
    left = ["*" * (p.kind is p.VAR_POSITIONAL) + p.name for p in free]
    given = [*first, *left, *(f"{n}=key_{n}" for n in keywords)]
    fixed = {**first, **{f"key_{n}": v for n, v in keywords.items()}}
    code = _call(", ".join(left), ", ".join(given))
    return types.FunctionType(code, {"__name__": __name__, "function": function, **fixed})


@functools.cache
def _call(left, given):
    names: dict = {}
    exec(f"def bound({left}):\n    return function({given})", names)
    return names["bound"].__code__


def _space(value, tree, watch):
    """A module, class or object as the attributes that are read of it."""
    own = vars(value) if isinstance(value, types.ModuleType) else None
    watch.steady &= own is not None
    found = [getattr(value, n, Ellipsis) if own is None else watch.get(own, n) for n in tree]
    parts = [describe(v, inner, watch) for v, inner in zip(found, tree.values())]
    return ("space", tuple(tree), tuple(parts)) if tree else _refused(value)


def _other(value, tree, watch):
    if isinstance(value, type) and not tree:
        known = issubclass(value, (*_PLAIN, np.generic))
        return ("given", value) if known else _refused(value) if fields(value) is None else _once(_class, value, watch)
    if isinstance(value, (types.BuiltinFunctionType, np.ufunc)):
        return "given", value
    return _space(value, tree, watch)


def _refused(value):
    return "refused", f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"


# --- records -------------------------------------------------------------------------------------


def is_record(value):
    """Whether `value` is an object of a NamedTuple or dataclass."""
    return not isinstance(value, type) and fields(type(value)) is not None


def _class(cls, watch):
    """A record class as its name, its fields and what its methods, properties and attributes are."""
    names = fields(cls)
    bases = [vars(base) for base in cls.__mro__ if base not in (object, tuple)]
    found = []
    for name in dict.fromkeys(n for base in bases for n in base):
        member = next(m for m in (watch.get(base, name) for base in bases) if m is not Ellipsis)
        if name in names or name in _TUPLE or name.startswith("__"):
            continue
        if isinstance(member, types.FunctionType):
            found.append((name, "method", describe(member, _NONE, watch)))
        elif isinstance(member, (property, functools.cached_property)):
            getter = member.fget if isinstance(member, property) else member.func
            found.append((name, "property", describe(getter, _NONE, watch)))
        elif not isinstance(member, classmethod):
            member = member.__func__ if isinstance(member, staticmethod) else member
            found.append((name, "value", describe(member, _NONE, watch)))
    return "class", cls.__name__, names, tuple(found)
