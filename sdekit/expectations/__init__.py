"""Expectations with an error bar, by multilevel Monte Carlo."""

from .answer import Answer, Level
from .multilevel import expect

__all__ = ["Answer", "Level", "expect"]
