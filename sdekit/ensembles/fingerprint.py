"""What tells the arguments of two runs apart, in words that another process would choose too."""

import functools
import hashlib
import re
import types

import numpy as np

from .. import arrays
from ..records import fields, values
from ..solution import host

__all__ = ["fingerprint", "without_addresses"]


SHORT = 8  # numbers that are shown


def fingerprint(value):
    """A value in words: long arrays by a digest, functions by that of their code and of what it holds."""
    if arrays.is_number(value):
        return repr(value.item())
    if arrays.is_tensor(value) or isinstance(value, np.ndarray):
        data = np.asarray(host(value), order="C")
        if data.size <= SHORT:
            return f"{data.dtype} {data.tolist()}"
        return f"{data.dtype}{list(data.shape)}:{_digest(data.tobytes())}"
    if isinstance(value, types.FunctionType):
        return f"{value.__name__}:{_digest(repr(_code(value)).encode())}"
    if isinstance(value, functools.partial):
        return f"partial{fingerprint((value.func, value.args, tuple(value.keywords.items())))}"
    if callable(getattr(value, "state_dict", None)):
        return f"{type(value).__name__}{fingerprint(tuple(value.state_dict().items()))}"
    if fields(type(value)) is not None and not getattr(type(value), "__module__", "").startswith("sdekit.methods"):
        held = ", ".join(f"{name}={fingerprint(field)}" for name, field in values(value).items())
        return f"{type(value).__name__}({held})"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(fingerprint, value))})"
    if isinstance(value, dict):
        return fingerprint(tuple(value.items()))
    return without_addresses(repr(value))


def without_addresses(text):
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _code(function):
    """Of a function: instructions, names, constants, defaults and what it holds of the functions around it."""
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    return *_instructions(function.__code__), fingerprint(held), fingerprint(function.__defaults__)


def _instructions(code):
    constants = [_instructions(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return code.co_code, code.co_names, constants


def _digest(data):
    return hashlib.sha256(data).hexdigest()[:12]
