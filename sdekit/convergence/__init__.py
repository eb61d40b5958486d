"""How accurate a method is: orders of convergence, exact laws of Gaussian targets, accuracy against evaluations."""

from . import metrics
from .coupling import coarsen
from .flow import reference_flow
from .law import Law, exact_law, gaussian_law
from .measures import class_frequencies, coupled_rmse, flow_kl, kernel_mmd, misplaced, sliced_cramer, wasserstein
from .nfe import WorkPrecision, work_precision
from .orders import Estimate, strong_order, weak_order

__all__ = [
    "Estimate", "Law", "WorkPrecision", "class_frequencies", "coarsen", "coupled_rmse", "exact_law", "flow_kl",
    "gaussian_law", "kernel_mmd", "metrics", "misplaced", "reference_flow", "sliced_cramer", "strong_order",
    "wasserstein", "weak_order", "work_precision",
]  # fmt: skip
