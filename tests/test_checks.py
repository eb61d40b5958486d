"""Numbers as arguments: what counts as one, and what the error says of the rest."""

import fractions
import math

import numpy as np
import pytest

from sdekit.checks import integer, real, shown

torch = pytest.importorskip("torch")
NO_NUMBERS = {
    "text": "3", "none": None, "bool": True, "numpy bool": np.True_, "tensor bool": torch.tensor(True),
    "complex": 1 + 0j, "numpy complex": np.complex128(1), "tensor complex": torch.tensor(1 + 0j),
    "array": np.array([3]), "tensor": torch.tensor([3]), "list": [3], "dict": {}, "date": np.datetime64("2026-01-01"),
    "span": np.timedelta64(3, "s"), "numpy text": np.str_("3"), "object": np.array(3, object), "type": float,
    "gradient": torch.tensor(3.0, requires_grad=True), "masked": np.ma.array([3.0]),
}  # fmt: skip


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3), torch.tensor(3)], ids=repr)
def test_integers(value):
    found = integer("n", value, least=1, most=3)
    assert found == 3 and type(found) is int
    assert type(real("x", value)) is float and real("x", value) == 3.0


@pytest.mark.parametrize(
    "value", [0.25, np.float16(0.25), np.array(0.25), torch.tensor(0.25), fractions.Fraction(1, 4)], ids=repr
)
def test_reals(value):
    found = real("x", value, above=0, most=0.25)
    assert found == 0.25 and type(found) is float
    with pytest.raises(ValueError, match=r"n must be an integer >= 0, got "):
        integer("n", value)


@pytest.mark.parametrize("value", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_what_is_no_number(value):
    with pytest.raises(ValueError, match=r"^n must be an integer >= 0, got \S"):
        integer("n", value)
    with pytest.raises(ValueError, match=r"^x must be a real number, got \S"):
        real("x", value)


@pytest.mark.parametrize(
    ("bounds", "good", "bad", "words"),
    [
        ({}, (-math.inf, 0, math.inf), (math.nan, np.nan, 10**400), "x must be a real number, got"),
        ({"above": 0}, (1e-300, math.inf), (0, -1.0), "x must be a real number, above 0, got"),
        ({"least": 0, "below": 1}, (0, 0.999), (1, -1e-9), "x must be a real number, below 1 and at least 0, got"),
        ({"above": 0, "below": math.inf}, (1,), (math.inf, 0), "x must be a real number, above 0 and finite, got"),
        ({"least": 0, "most": 1}, (0, 1), (1.1, -0.1), "x must be a real number, at least 0 and at most 1, got"),
        ({"above": -math.inf, "below": math.inf}, (0, -1e300), (math.inf, -math.inf), "x must be a real number, finite"),  # noqa: E501
    ],
)  # fmt: skip
def test_bounds(bounds, good, bad, words):
    for value in good:
        assert real("x", value, **bounds) == value
    for value in bad:
        with pytest.raises(ValueError) as error:
            real("x", value, **bounds)
        assert str(error.value).startswith(words)


def test_bounds_of_integers():
    for value, bounds in ((0, {"least": 1}), (5, {"most": 4}), (-1, {})):
        with pytest.raises(ValueError, match="n must be an integer"):
            integer("n", value, **bounds)
    with pytest.raises(ValueError, match="n must be an integer from 1 to 4, got 5"):
        integer("n", 5, 1, 4)


def test_messages_stay_short():
    for value in (np.zeros((1000, 3)), torch.zeros(99), "x" * 10_000, list(range(10_000))):
        assert len(shown(value)) < 90 and "\n" not in shown(value)
    assert shown(np.zeros((2, 3))) == "ndarray of shape (2, 3)" and shown("a") == "'a'"
