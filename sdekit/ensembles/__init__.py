"""Ensembles: any number of paths, block by block, on any executor, with statistics that merge exactly and stores.

A path is a function of the seed and its index, so that any machine can make any block of paths.
"""

from .ensemble import ensemble
from .result import Ensemble, merge
from .stream import stream

__all__ = ["Ensemble", "ensemble", "merge", "stream"]
