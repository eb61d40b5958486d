"""Expectations with an error bar, by multilevel Monte Carlo."""

from .answer import Answer, Level
from .multilevel import expect
from .sensitivities import Sensitivity, sensitivities

__all__ = ["Answer", "Level", "Sensitivity", "expect", "sensitivities"]
