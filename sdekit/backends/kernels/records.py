"""Processes and other NamedTuple records inside compiled code.

numba passes a NamedTuple as a struct; this module makes the methods and properties of its class
callable there, compiles the functions it holds, and gives each lane its entry of array parameters.
"""

import functools
import inspect
import types as pytypes

import numpy as np
from numba import njit, types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_getattr
from numba.extending import (
    NativeValue,
    models,
    overload,
    overload_attribute,
    register_model,
    typeof_impl,
    unbox,
)

from ... import laws
from ...arrays import is_tensor
from ...equation import path_parameters
from .lane import INLINE, real, source

# All of fastmath but the promises that no NaN and no infinity occur.
FAST = {"contract", "arcp", "nsz", "reassoc", "afn"}
OPTIONS = {"error_model": "numpy", "fastmath": FAST, "nogil": True}


NATIVE = set()  # functions with an `overload` here, besides those of sdekit.math


def _is_helper(g):
    """Whether `g` is a plain Python function that numba has no implementation of."""
    known = not isinstance(g, pytypes.FunctionType) or g in NATIVE
    return not known and g.__module__ != "sdekit.math" and (g.__module__ or "").split(".")[0] != "numpy"


def compiled(function):
    """`function` jitted for use inside the lane loop, with the plain functions that it calls.

    numba takes the numbers and arrays that a function captures as constants, so that a function whose
    captured values have changed is compiled anew.
    """
    if hasattr(function, "in_kernels"):
        return compiled(function.in_kernels)
    if not isinstance(function, pytypes.FunctionType):
        return function  # already a numba dispatcher
    return _compiled(function, _captured(function))


def _captured(function, seen=()):
    """What the compiled form of `function` depends on besides its code, as a hashable value."""

    def value(g):
        if isinstance(g, (bool, int, float, str, np.number)):
            return type(g).__name__, repr(g)  # nan too equals itself
        if isinstance(g, np.ndarray):
            return g.shape, str(g.dtype), g.tobytes()
        if _is_helper(g) and g not in seen:
            return g, _captured(g, (*seen, function))
        return None

    names = [function.__globals__.get(n) for n in function.__code__.co_names]
    return tuple(map(value, names + [c.cell_contents for c in function.__closure__ or ()]))


@functools.lru_cache(maxsize=1024)
def _compiled(function, captured):
    names = {n: function.__globals__.get(n) for n in function.__code__.co_names}
    helpers = {n: compiled(g) for n, g in names.items() if _is_helper(g) and g is not function}
    cells = tuple(
        pytypes.CellType(compiled(c.cell_contents)) if _is_helper(c.cell_contents) else c
        for c in function.__closure__ or ()
    )
    copy = pytypes.FunctionType(
        function.__code__, {**function.__globals__, **helpers}, function.__name__, function.__defaults__, cells
    )
    copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
    return njit(copy, forceinline=True, **OPTIONS)


# --- what a kernel receives ----------------------------------------------------------------------


class Column:
    """Stands in a record for an array parameter: row `index` of the kernel's `columns`."""

    def __init__(self, index):
        self.index = index


class ColumnType(types.Type):
    def __init__(self, index):
        self.index = index
        super().__init__(f"Column({index})")


@typeof_impl.register(Column)
def _typeof_column(value, c):
    return ColumnType(value.index)


register_model(ColumnType)(models.OpaqueModel)


@unbox(ColumnType)
def _unbox_column(ty, obj, c):
    return NativeValue(c.context.get_dummy_value())


def is_record(value):
    return isinstance(value, tuple) and hasattr(value, "_fields")


def prepare(record, columns):
    """`record` as a kernel takes it: numbers as float64, functions compiled, arrays of paths as Columns.

    Array parameters of processes are appended to the list `columns`.
    """
    hook(type(record))
    per_path = path_parameters(record)

    def convert(name, value):
        if is_record(value):
            return prepare(value, columns)
        if isinstance(value, pytypes.FunctionType):
            return compiled(value)
        if isinstance(value, (bool, np.bool_)):
            return bool(value)
        if isinstance(value, (int, float, np.number)) or (isinstance(value, np.ndarray) and value.ndim == 0):
            return float(value)
        if is_tensor(value):
            value = value.detach().cpu().numpy()
        if isinstance(value, np.ndarray):
            if name not in per_path:
                return np.require(value, np.float64 if value.dtype.kind == "f" else None, "CW")
            columns.append(value)
            return Column(len(columns) - 1)
        return value

    return record._make(map(convert, record._fields, record))


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
class _Methods(AttributeTemplate):
    """`record.name(...)` in compiled code is the compiled method of the record's class."""

    key = types.BaseNamedTuple

    def generic_resolve(self, record, name):
        member = inspect.getattr_static(record.instance_class, name, None)
        if not isinstance(member, pytypes.FunctionType) or name in record.fields:
            return None
        return types.BoundFunction(_method(record.instance_class, name), record)


@functools.cache
def _method(cls, name):
    """The numba template of a method; its calls go straight to the compiled function."""
    target = types.Dispatcher(compiled(getattr(cls, name)))

    class Method(AbstractTemplate):
        key = (cls, name)

        def generic(self, args, kws):
            signature = target.get_call_type(self.context, (self.this, *args), kws)
            return None if signature is None else signature.replace(recvr=None).as_method()

    @lower_builtin(Method.key, types.BaseNamedTuple, types.VarArg(types.Any))
    def lower(context, builder, sig, args):
        inner = target.get_call_type(context.typing_context, sig.args, {})
        function = context.get_function(target, inner)
        if len(args) < len(inner.args):  # a receiver without fields is false to numba, which leaves it out
            args = (context.get_constant_undef(inner.args[0]), *args)
        context.add_linking_libs(getattr(function, "libs", ()))
        return function(builder, args)

    return Method


_hooked = {"additive", "calculus", "domain", "event_dims", "noise", "x0"}  # declarations, which no formula reads


def hook(cls):
    """Make the properties and numbers of the NamedTuple class `cls` known to compiled code."""
    for base in cls.__mro__[:-2]:
        _hook(vars(base))


def _hook(members):
    for name, member in members.items():
        if isinstance(member, (property, int, float)) and name not in _hooked:
            _hooked.add(name)
            overload_attribute(types.BaseNamedTuple, name, jit_options=INLINE)(_property(name))


def _property(name):
    def resolve(self):
        if name in self.fields:  # a field here, a property in another class
            index = self.fields.index(name)
            return lambda self: self[index]
        member = getattr(self.instance_class, name, None)
        if isinstance(member, property):
            function = compiled(member.fget)
            return lambda self: function(self)
        return (lambda self: member) if isinstance(member, (int, float)) else None

    return resolve


for _law in (laws.Normal, laws.LogNormal):  # the laws that compiled transitions return
    hook(_law)
