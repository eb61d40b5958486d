"""Numbers of the elementary functions, a table printed by `benchmarks/fit_elementary.py`.

Minimax coefficients, degree 0 first, and constants ("ln2", "half_pi", "two_thirds_log2e") as sums of parts, of which
all but the last have so few bits that n times them is exact.
"""

import json
from pathlib import Path

import numpy as np

_TABLE = json.loads(Path(__file__).with_suffix(".json").read_text())
COEFFICIENTS = {dtype: _TABLE[dtype.__name__] for dtype in (np.float32, np.float64)}

ERFC_POLE = 2.5  # "erfc" is a polynomial in (a - 2.5)/(a + 2.5)
