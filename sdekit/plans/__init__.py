"""Plans: grids and multistep weights that are solved from exact flows, for samplers of few evaluations."""

from .record import Plan
from .solving import solved

__all__ = ["Plan", "solved"]
