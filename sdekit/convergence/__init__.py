"""How accurate a method is: orders of convergence, measured."""

from .orders import Estimate, coarsen, strong_order, weak_order

__all__ = ["Estimate", "coarsen", "strong_order", "weak_order"]
