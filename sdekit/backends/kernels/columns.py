"""What stands in a record for an array parameter and for a string, when compiled code takes it."""

import operator

from numba import types
from numba.extending import NativeValue, models, overload, register_model, typeof_impl, unbox

from .lane import INLINE


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


class Text:
    """Stands in a record for a string: a constant of the code, where an object would be counted by each lane."""

    def __init__(self, value):
        self.value = value


class TextType(types.Type):
    def __init__(self, value):
        self.value = value
        super().__init__(f"Text({value!r})")


@typeof_impl.register(Text)
def _typeof_text(value, c):
    return TextType(value.value)


register_model(TextType)(models.OpaqueModel)


@unbox(TextType)
def _unbox_text(ty, obj, c):
    return NativeValue(c.context.get_dummy_value())


def _compares(op):
    @overload(op, jit_options=INLINE)
    def compare(a, b):
        values = [getattr(ty, "value", getattr(ty, "literal_value", None)) for ty in (a, b)]
        if TextType in map(type, (a, b)) and all(isinstance(v, str) for v in values):
            result = op(*values)
            return lambda a, b: result


_compares(operator.eq)
_compares(operator.ne)
