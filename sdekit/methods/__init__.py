"""Methods: how one step is taken. Each is a `Method`, a record of a pure step and its claims."""

import importlib
import pkgutil

from .method import Method as Method
from .method import family as family
from .method import method as method

__all__: list[str] = []
for _module in sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "method"):
    _family = importlib.import_module(f".{_module}", __name__)
    for _name in _family.__all__:
        globals()[_name] = getattr(_family, _name)
    __all__ += _family.__all__
