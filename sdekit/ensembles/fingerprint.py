"""What tells the arguments of two runs apart, in words that another process would choose too."""

import dis
import functools
import hashlib
import re
import sys
import sysconfig
import types

import numpy as np

from .. import arrays
from ..records import fields, values
from ..solution import host

__all__ = ["fingerprint", "without_addresses"]


SHORT = 8  # numbers that are shown
LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def fingerprint(value, told=None):
    """A value in words: long arrays by a digest; functions and classes by that of their code and of what it uses.

    Code of libraries is known by its name. Of functions and objects that were `told` the name is enough.
    """
    told = set() if told is None else told
    inner = functools.partial(fingerprint, told=told)
    if arrays.is_number(value):
        usual = value.dtype in (np.float64, np.int64)  # as those of Python
        return repr(value.item()) if usual else f"{value.dtype} {value.item()!r}"
    if arrays.is_tensor(value) or isinstance(value, np.ndarray):
        data = np.asarray(host(value), order="C")
        if data.size <= SHORT:
            return f"{data.dtype} {data.tolist()}"
        return f"{data.dtype}{list(data.shape)}:{_digest(data.tobytes())}"
    if isinstance(value, (tuple, list)) and fields(type(value)) is None:
        return f"({', '.join(map(inner, value))})"
    if isinstance(value, dict):
        return inner(tuple(value.items()))
    if isinstance(value, (set, frozenset)):  # whose order is by chance
        return f"{{{', '.join(sorted(map(inner, value)))}}}"
    if isinstance(value, functools.partial):
        return f"partial{inner((value.func, value.args, value.keywords))}"
    if isinstance(value, types.MethodType):
        return f"{value.__name__} of {inner(value.__self__)}"
    return _object(value, told, inner)


def _object(value, told, inner):
    """A function, a class, or an object of one."""
    function, kind = isinstance(value, types.FunctionType), value if isinstance(value, type) else type(value)
    foreign, record = _foreign(value if function else kind), fields(kind) is not None
    if (value is kind and foreign) or not (function or record or hasattr(value, "__dict__")):
        return without_addresses(repr(value))
    if id(value) in told:
        return getattr(value, "__name__", kind.__name__)
    told.add(id(value))
    if function:
        return value.__name__ if foreign else f"{value.__name__}:{_digest(repr(_code(value, inner)).encode())}"
    code = "" if foreign else f":{_digest(repr([_members(c, inner) for c in kind.__mro__]).encode())}"
    if value is kind:
        return f"{kind.__name__}{code}"
    if callable(getattr(value, "state_dict", None)):
        plain = {name: x for name, x in vars(value).items() if isinstance(x, (int, float, str))}
        return f"{kind.__name__}{code}{inner((*value.state_dict().items(), *plain.items()))}"
    if record and not kind.__module__.startswith("sdekit.methods"):
        held = ", ".join(f"{name}={inner(field)}" for name, field in values(value).items())
        return f"{kind.__name__}{code}({held})"
    return without_addresses(repr(value)) if foreign else f"{kind.__name__}{code}{inner(vars(value))}"


def _foreign(value):
    """Whether a function or a class is of a library, which the version of tells apart."""
    module = getattr(value, "__module__", None) or "builtins"
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return module.partition(".")[0] in ("sdekit", *sys.builtin_module_names) or file.startswith(LIBRARIES)


def _members(kind, inner):
    """What a class of one's own holds; of properties and static methods their function."""
    told = {} if _foreign(kind) else {n: v for n, v in vars(kind).items() if n == "__call__" or n[:2] != "__"}
    return [(n, inner(getattr(v, "__func__", getattr(v, "fget", getattr(v, "func", v))))) for n, v in told.items()]


def without_addresses(text):
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _code(function, inner):
    """Of a function: instructions, names, constants, defaults, and what it takes from around it."""
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    around = {name: function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__}
    used = {name: value for name, value in around.items() if not isinstance(value, types.ModuleType)}
    return *_instructions(function.__code__), inner(held), inner(function.__defaults__), inner(used)


def _names(code):
    """The global names that code reads, in order."""
    own = [step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    return dict.fromkeys([*own, *(name for c in code.co_consts if isinstance(c, types.CodeType) for name in _names(c))])


def _instructions(code):
    constants = [_instructions(c) if isinstance(c, types.CodeType) else fingerprint(c) for c in code.co_consts]
    return code.co_code, code.co_names, constants


def _digest(data):
    return hashlib.sha256(data).hexdigest()[:12]
