"""A state of several components as so many tensors: what compiles a step then joins nothing in memory."""

import operator

__all__ = ["Parts"]


class Parts:
    """k components, of one shape, that add and scale like an array with the components on its first axis."""

    def __init__(self, parts):
        self.parts = tuple(parts)

    def __len__(self):
        return len(self.parts)

    def __iter__(self):
        return iter(self.parts)

    def __getitem__(self, i):
        return self.parts[i]

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        """What torch does where one of the two is a tensor."""
        count = next(len(a.parts) for a in args if isinstance(a, Parts))
        own = [[a.parts[i] if isinstance(a, Parts) else a for a in args] for i in range(count)]
        return Parts([func(*mine, **(kwargs or {})) for mine in own])

    def _each(self, of, other):
        others = other.parts if isinstance(other, Parts) else (other,) * len(self.parts)
        return Parts([of(a, b) for a, b in zip(self.parts, others)])

    def __add__(self, other):
        return self._each(operator.add, other)

    def __sub__(self, other):
        return self._each(operator.sub, other)

    def __mul__(self, other):
        return self._each(operator.mul, other)

    def __truediv__(self, other):
        return self._each(operator.truediv, other)

    def __radd__(self, other):
        return self._each(lambda a, b: b + a, other)

    def __rsub__(self, other):
        return self._each(lambda a, b: b - a, other)

    def __rmul__(self, other):
        return self._each(lambda a, b: b * a, other)

    def __neg__(self):
        return Parts([-a for a in self.parts])
