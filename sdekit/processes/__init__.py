"""Processes: one module per family; every name in a module's `__all__` is collected here."""

from importlib import import_module
from pkgutil import iter_modules

__all__: list[str] = []

for _module in sorted(module.name for module in iter_modules(__path__)):
    _family = import_module(f"{__name__}.{_module}")
    for _name in _family.__all__:
        globals()[_name] = getattr(_family, _name)
        __all__.append(_name)
__all__.sort()
