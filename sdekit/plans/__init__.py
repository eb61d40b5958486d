"""Plans: grids and multistep weights that are solved from exact flows, for samplers of few evaluations."""

from .record import Plan
from .solving import largest_deviation, solved

__all__ = ["Plan", "largest_deviation", "solved"]
