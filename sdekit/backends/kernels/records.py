"""Processes and other NamedTuple records inside compiled code.

numba passes a NamedTuple as a struct; this module makes the methods and properties of its class
callable there, compiles the functions it holds, and gives each lane its entry of array parameters.
"""

import functools
import types as pytypes
from collections import namedtuple

import numpy as np
from numba import njit, types
from numba.core.imputils import lower_builtin, lower_getattr
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_getattr
from numba.cpython.tupleobj import namedtuple_getattr
from numba.extending import overload, typeof_impl

from ...arrays import is_tensor, on_host
from ...records import path_parameters, values
from . import lifted  # noqa: F401  (what formulas call)
from .captured import REFUSED, Watch, describe, is_record
from .columns import Column, ColumnType, Text
from .elementary.instructions import BARE, source
from .explain import COMPILES
from .lane import INLINE, real

# Formulas of users, processes and methods are rounded as written, but for a·b + c of states (`lane`): of times and
# parameters floor(t·f − 2) must be what numpy says. Reassociation serves the kernel's own sums alone: x/k/m must not
# become x/(k·m), which can overflow, nor t/h be t·(1/h), which misses whole numbers.
FORMULA = {"error_model": "numpy", "fastmath": {"nsz", "afn"}, "nogil": True, **BARE}
OPTIONS = {**FORMULA, "fastmath": {"contract", "nsz", "afn", "reassoc"}}
ENTRY = {**OPTIONS, "no_cpython_wrapper": False}  # of what Python calls

_current: dict = {}  # id of a function or class: itself, which keeps the id its own, its Watch, what it became


def compiled(value):
    """A function jitted for use inside the lane loop, with the functions that it calls; a class of records likewise."""
    _, watch, made = _current.get(id(value), (None, None, None))
    if watch is None or not watch.holds():
        watch = Watch()
        made = build(describe(value, watch=watch))
        if len(_current) > 1000:
            _current.clear()
        _current[id(value)] = value, watch, made
    return made


def build(description):
    """What the compiler takes for a value that `captured.describe` has described."""
    return _BUILD[description[0]](*description[1:])


class Refused:
    """Stands where a function reads what does not compile; the compiler meets it only if it gets there."""

    def __init__(self, text):
        self.text = text


@typeof_impl.register(Refused)
def _typeof_refused(value, c):
    raise ValueError(value.text)


def _named(description, name):
    """The value that is read as `name`."""
    if description[0] == "refused":
        return Refused(f"{name} is {description[1]}, {REFUSED}")
    return _space(*description[1:], name) if description[0] == "space" else build(description)


def _space(names, parts, name="object"):
    space = pytypes.ModuleType(name)  # numba takes attributes of modules as constants
    for attribute, part in zip(names, parts):
        setattr(space, attribute, _named(part, f"{name}.{attribute}"))
    return space


@functools.cache
def _function(text, optional, parts):
    values = [None if p is None else _named(p, n) for n, p in zip([""] * optional + text.names, parts)]
    defaults, values = tuple(values[:optional]), values[optional:]
    free = len(text.free)
    names = {n: v for n, v, p in zip(text.names, values, parts[optional:]) if p is not None}
    cells = tuple(map(pytypes.CellType, values[:free]))
    copy = pytypes.FunctionType(text.code, {"__name__": text.module, **names}, text.code.co_name, defaults, cells)
    copy.__module__, copy.__qualname__ = text.module, text.code.co_qualname
    return njit(copy, forceinline=True, **FORMULA)


@functools.cache
def _class(name, fields, members):
    cls = type(name, (namedtuple(name, fields),), {"__slots__": ()})
    _members[cls] = {n: (kind, description) for n, kind, description in members}
    for n, kind, _ in members:
        if kind != "method":
            _lower_attribute(n)
    return cls


_members: dict = {}  # class of a record in compiled code: {name: (kind, description)} of what it has besides fields

_BUILD = {
    "plain": lambda kind, value: kind(value) if kind in (float, complex) else value,
    "scalar": lambda kind, data: np.frombuffer(data, kind)[0],
    "array": lambda shape, dtype, data: np.frombuffer(data, dtype).reshape(shape),
    "tuple": lambda *parts: tuple(map(build, parts)),
    "record": lambda cls, *parts: build(cls)(*map(build, parts)),
    "given": lambda value: value,
    "function": _function,
    "class": _class,
    "space": _space,
    "refused": lambda what: Refused(f"{what}, {REFUSED}"),
}


# --- what a kernel receives ----------------------------------------------------------------------


def prepare(record, columns):
    """`record` as a kernel takes it: numbers as float64, functions compiled, arrays of paths as Columns.

    Array parameters of processes are appended to the list `columns`.
    """
    per_path = path_parameters(record)

    def convert(name, value):
        if is_record(value):
            return prepare(value, columns)
        if isinstance(value, (bool, np.bool_)):
            return bool(value)
        if isinstance(value, (int, float, np.number)) or (isinstance(value, np.ndarray) and value.ndim == 0):
            return float(value)
        if is_tensor(value):
            value = on_host(value)
        if isinstance(value, np.ndarray):
            if name not in per_path:
                return np.require(value, np.float64 if value.dtype.kind == "f" else None, "CW")
            columns.append(value)
            return Column(len(columns) - 1)
        if isinstance(value, str):
            return Text(value)
        if isinstance(value, (tuple, type(None))):
            return value
        value = compiled(value)
        if isinstance(value, Refused):
            raise ValueError(f"{name} of {type(record).__name__} is {value.text}; {COMPILES}")
        return value

    return compiled(type(record))(*(convert(n, v) for n, v in values(record).items()))


def at(record, columns, lane):
    """`record` with each Column replaced by this lane's entry of `columns` (compiled code only)."""
    raise NotImplementedError("numba kernels only")


def _has_columns(ty):
    return isinstance(ty, ColumnType) or (
        isinstance(ty, types.BaseNamedTuple) and any(_has_columns(t) for t in ty.types)
    )


@overload(at, jit_options=INLINE)
def _at(record, columns, lane):
    if isinstance(record, ColumnType):
        index = record.index
        return lambda record, columns, lane: real(columns[index, lane])
    if not _has_columns(record):
        return lambda record, columns, lane: record
    items = ", ".join(f"at(record[{i}], columns, lane)" for i in range(len(record.types)))
    text = f"def impl(record, columns, lane):\n    return cls({items})"
    return source(text, at=at, cls=record.instance_class)


# --- methods and properties ----------------------------------------------------------------------


@infer_getattr
class _Members(AttributeTemplate):
    """`record.name` in compiled code, where `name` is no field but a member of the record's class."""

    key = types.BaseNamedTuple

    def generic_resolve(self, record, name):
        kind, description = _members.get(record.instance_class, {}).get(name, (None, None))
        if kind == "method":
            return types.BoundFunction(_method(record.instance_class, name), record)
        if kind == "property":
            return _call_type(self.context, build(description), (record,)).return_type
        return None if kind is None else self.context.resolve_value_type(_member(record, name))


def _member(record, name):
    return _named(_members[record.instance_class][name][1], f"{record.instance_class.__name__}.{name}")


def _call_type(context, function, args, kws=None):
    return types.Dispatcher(function).get_call_type(context, args, kws or {})


@functools.cache
def _lower_attribute(name):
    """Let `record.name` be lowered for records that have `name` as a property or attribute of their class."""

    @lower_getattr(types.BaseNamedTuple, name)
    def lower(context, builder, record, value):
        if name in record.fields:
            return namedtuple_getattr(context, builder, record, value, name)
        member = _member(record, name)
        if _members[record.instance_class][name][0] == "property":
            signature = _call_type(context.typing_context, member, (record,))
            return _lowered_call(context, builder, member, signature, (value,))
        return context.get_constant_generic(builder, context.typing_context.resolve_value_type(member), member)


def _lowered_call(context, builder, function, signature, args):
    lowered = context.get_function(types.Dispatcher(function), signature)
    context.add_linking_libs(getattr(lowered, "libs", ()))
    return lowered(builder, args)


@functools.cache
def _method(cls, name):
    """The numba template of a method; its calls go straight to the compiled function."""
    function = build(_members[cls][name][1])

    class Method(AbstractTemplate):
        key = (cls, name)

        def generic(self, args, kws):
            signature = _call_type(self.context, function, (self.this, *args), kws)
            return None if signature is None else signature.replace(recvr=None).as_method()

    @lower_builtin(Method.key, types.BaseNamedTuple, types.VarArg(types.Any))
    def lower(context, builder, sig, args):
        inner = _call_type(context.typing_context, function, sig.args)
        if len(args) < len(inner.args):  # a receiver without fields is false to numba, which leaves it out
            args = (context.get_constant_undef(inner.args[0]), *args)
        return _lowered_call(context, builder, function, inner, args)

    return Method
