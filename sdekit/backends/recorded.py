"""Samplers in a graph: their coefficients are computed on the host, and enter it as tensors.

Such a step runs here with numbers for times and a `Sum` for each state, up to what the score evaluates.
What is left of it, a `Program`, holds no number: other grids compile nothing but where their steps have other terms,
as the first ones of a multistep method do, and the last where it ends at sigma = 0.
"""

import math
import operator
from typing import Any, NamedTuple

import numpy as np
import torch

from ..methods.taken import Taken
from ..records import replaced, values, with_parameters
from ..scores.evaluation import evaluate, known_time, nonzero
from ..scores.predictions import RULES, Prediction

__all__: list[str] = []

ONE = 0  # the place of the number 1, in front of the state, the memory and the noises


class Program(NamedTuple):
    """A step without its numbers. A place counts the arrays: those that enter, then those that are evaluated."""

    evaluations: tuple[tuple[str, tuple[int, ...]], ...]  # what is evaluated, and of which arrays' sum
    results: tuple[tuple[int, ...], ...]  # the arrays that each is the sum of, the state first


class Unsupported(AttributeError, TypeError):
    """What a step does to a `Sum` that is not recorded; an AttributeError, so that `hasattr` says no."""


class Sum:
    """Σ c v, of arrays v that only the graph has: {place: c}. All but sums and products with numbers raises."""

    def __init__(self, terms, shape):
        self.terms, self.shape, self.ndim = terms, shape, len(shape)

    def __add__(self, other):
        others = other.terms if isinstance(other, Sum) else {ONE: _number(other)}
        return Sum({p: self.terms.get(p, 0.0) + others.get(p, 0.0) for p in self.terms | others}, self.shape)

    def __mul__(self, c):
        c = _number(c)
        return Sum({p: c * v for p, v in self.terms.items()}, self.shape)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + other * -1.0

    def __rsub__(self, other):
        return other + self * -1.0

    def __truediv__(self, c):
        return self * (1.0 / c)

    def __array_ufunc__(self, ufunc, how, *given, **more):
        return _asked(ufunc.__name__, given, more)

    @classmethod
    def __torch_function__(cls, function, types, given=(), more=None):
        return _asked(function.__name__, given, more)

    def __getattr__(self, name):
        raise Unsupported(f"it asks for .{name} of a state")


ARITHMETIC = {
    "add": operator.add, "subtract": operator.sub, "sub": operator.sub, "multiply": operator.mul, "mul": operator.mul,
    "divide": operator.truediv, "div": operator.truediv,
}  # fmt: skip
REFUSED = (
    "abs", "array", "bool", "eq", "float", "floordiv", "ge", "getitem", "gt", "int", "le", "len", "lt", "matmul", "mod",
    "ne", "pow", "rfloordiv", "rmatmul", "rmod", "rpow", "rtruediv",
)  # fmt: skip


def _refusal(name):
    def refuse(self, *others, **more):
        raise Unsupported(f"it takes {name} of a state")

    return refuse


for _name in REFUSED:
    setattr(Sum, f"__{_name}__", _refusal(_name))


def _number(c):
    """A coefficient as Python's number."""
    if getattr(c, "ndim", 0):
        raise Unsupported(f"it takes a state together with an array of shape {tuple(c.shape)}, not a number")
    return float(c)


def _asked(name, given, more):
    """What numpy or torch was asked to do with sums: arithmetic with numbers of theirs."""
    if name not in ARITHMETIC or more or len(given) != 2:
        raise Unsupported(f"it takes {name} of a state")
    return ARITHMETIC[name](*(v if isinstance(v, Sum) else _number(v) for v in given))


class Tape:
    """What a step does to arrays, written down."""

    def __init__(self, shape):
        self.shape, self.places, self.numbers, self.evaluations = shape, 0, [], []

    def arrays(self, count):
        self.places += count
        return [Sum({p: 1.0}, self.shape) for p in range(self.places - count, self.places)]

    def evaluate(self, what, t, x, count):
        """`count` arrays, those that `EVALUATED[what]` gives."""
        self.numbers += [t, *x.terms.values()]
        self.evaluations.append((what, tuple(x.terms)))
        return self.arrays(count)


class Hosted:
    """The process as a step on the host sees it."""

    def __init__(self, process, tape):
        self._process, self._tape = process, tape

    def __getattr__(self, name):
        return getattr(self._process, name)

    def pair(self, t, x):
        score = getattr(self._process, "score", None)
        if not isinstance(score, Prediction):
            return self._tape.evaluate("pair", t, x, 2)
        (output,) = self._tape.evaluate("output", known_time(score.process, t), x, 1)
        return score.to_pair(score.process, t, x, output)

    def denoise(self, t, x):
        return self.pair(t, x)[0]

    def score(self, t, x):
        score = self._process.score
        if not isinstance(score, Prediction) or score.to_pair is RULES["score"]:
            return self._tape.evaluate("score", t, x, 1)[0]
        sigma = score.process.marginal(t)[1]
        nonzero(sigma, t, "sigma", "the score −ε/sigma is undefined there")
        return self.pair(t, x)[1] * (-1.0 / sigma)


EVALUATED = {
    "pair": lambda process, t, x: process.pair(t, x),
    "output": lambda process, t, x: [
        evaluate(process.score.network, t, x, process.score.event_dims, process.score.condition)
    ],
    "score": lambda process, t, x: [process.score(t, x)],
}


class Equation(NamedTuple):
    """What a step on the host sees: samplers read the process alone."""

    process: Any

    def __getattr__(self, name):
        raise Unsupported(f"it asks for .{name} of the equation")


class Step(NamedTuple):
    """One step, recorded.

    numbers  of its program, a float64 tensor
    held     the arrays of the memory that it takes
    memory   behind it, with a `Sum` in place of each array
    """

    program: Program
    numbers: Any
    held: list
    memory: Any

    def after(self, x, results):
        """The memory behind the step from x, with the results for what is new in it."""
        entered, results = [1.0, x, *self.held], iter(results)
        return mapped(self.memory, Sum, lambda v: entered[_place(v)] if _entered(v, self.held) else next(results))


def step(problem, process, s, memory):
    """The `Step` of number s; of process the parameters are numbers. A ValueError where it is not a sampler's."""
    try:
        return _step(problem, process, s, memory)
    except Unsupported as error:
        raise ValueError(
            f"{problem.method.name} on {problem.system.name} does not compile: a step with coefficients from the host "
            f"may add arrays, scale them with numbers and evaluate the score, but this one does more ({error}); leave "
            f"compile out"
        ) from error


def _step(problem, process, s, memory):
    steps, method = problem.steps, problem.method
    tape, held = Tape(tuple(problem.shape)), []
    _, x = tape.arrays(2)

    def entering(value):
        held.append(value)
        return Sum(tape.arrays(1)[0].terms, tuple(value.shape))

    memory = [mapped(memory, torch.Tensor, entering)] if method.init is not None else []
    h = float(steps.t[s + 1]) - float(steps.t[s])
    rest = [*(z * math.sqrt(abs(h)) for z in tape.arrays(method.normals)), *memory]
    taken = method.step(Equation(Hosted(process, tape)), float(steps.begin[s]), float(steps.end[s]), x, h, *rest)
    taken = taken if isinstance(taken, Taken) else Taken(taken)
    if not isinstance(taken.x, Sum):
        raise Unsupported(f"its state is a {type(taken.x).__name__} of its own")
    results = [taken.x]
    mapped(taken.memory, Sum, lambda v: None if _entered(v, held) else results.append(v))
    numbers = [*tape.numbers, *(c for total in results for c in total.terms.values())]
    program = Program(tuple(tape.evaluations), tuple(tuple(total.terms) for total in results))
    numbers = torch.tensor([float(c) for c in numbers], dtype=torch.float64, device=problem.x0.device)
    return Step(program, numbers, held, taken.memory)


def numeric(process):
    """The process, and that of its score, with numbers for parameters that are tensors without axes."""
    process = with_parameters(process, lambda value: value if value.ndim else value.item())
    score = values(process).get("score")
    if not isinstance(score, Prediction):
        return process
    return replaced(process, score=score._replace(process=numeric(score.process)))


LEAVES = (Sum, torch.Tensor, int, float, np.generic, str, type(None))


def mapped(record, kind, change):
    """The record, of tuples, lists and dicts within each other, with `change(value)` for each value of the kind."""
    if type(record) is dict:
        return {name: mapped(value, kind, change) for name, value in record.items()}
    if isinstance(record, tuple) or type(record) is list:
        return getattr(record, "_make", type(record))(mapped(value, kind, change) for value in record)
    if not isinstance(record, LEAVES):
        raise Unsupported(
            f"it remembers a {type(record).__name__}, not arrays and numbers in tuples, lists and dicts of these"
        )
    return change(record) if isinstance(record, kind) else record


def _place(total):
    return next(iter(total.terms))


def _entered(total, held):
    """Whether a sum is the state that a step takes, or an array of its memory."""
    return list(total.terms.values()) == [1.0] and _place(total) < 2 + len(held)


def replay(program, process, entered, numbers):
    """The results of a program in a graph; `entered` begins with the number 1."""
    values, at = list(entered), iter(numbers.unbind())

    def total(places):
        return sum(next(at) * values[place] for place in places)

    for what, places in program.evaluations:
        t = next(at)
        values += EVALUATED[what](process, t, total(places))
    return [total(places) for places in program.results]
