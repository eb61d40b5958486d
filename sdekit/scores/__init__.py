"""Scores: what a network predicts, read as the pair (D, ε).

With x_t = alpha·x_0 + sigma·ε the pair is D = E[x_0 | x_t] and ε = E[ε | x_t], so that
x = alpha·D + sigma·ε, and the score is ∇ log p_t(x) = −ε / sigma (Tweedie's formula; B. Efron,
"Tweedie's formula and selection bias", JASA 2011, doi:10.1198/jasa.2011.tm11181). The pair is the
canonical object because every single prediction loses something at one end of the path.

`from_…` reads a network as a score and `as_…` a score as a network. `guided`, `clipped`, `thresholded`,
`inpainted` and `on_path` make scores from scores, and `check` tells whether a network was given as
what it is.

A network is any callable `(t, x)`, or `(t, x, c)` where the score was made with `given(c)`. It
receives x of shape (B, *event), t of shape (B,) and c of shape (B, …), and returns the shape of x.
B is the first axis of x; where `event_dims` says that several axes count paths they are flattened
into one, and where it says that none does B is 1. x and c come in the type and device of the state
(in the floating-point type of the network's parameters where it is a torch module, bfloat16 say),
t in the same, but in float32 at least. A torch module is found behind a lambda, a partial, a method or in a
container too; where it is hidden deeper, `from_…(network, process, module=net)` names it.
"""

from ..protocols import Score
from .checks import check
from .clients import from_karras
from .combined import inpainted, on_path
from .conditioned import classified, measured
from .evaluation import (  # noqa: F401  (what other modules make scores with)
    checked,
    differs,
    evaluate,
    example,
    finite,
    floating,
    like,
    marginal,
    network_parameter,
    nonzero,
    parameter,
    path_axes,
    per_path,
    schedule,
    weak,
)
from .guidance import clipped, guided, thresholded
from .predictions import (
    as_denoiser,
    as_noise,
    as_score,
    as_v,
    as_velocity,
    from_denoiser,
    from_noise,
    from_score,
    from_v,
    from_velocity,
)
from .schedulers import from_diffusers, scheduler_grid

__all__ = [
    "Score", "as_denoiser", "as_noise", "as_score", "as_v", "as_velocity", "check", "classified", "clipped",
    "from_denoiser", "from_diffusers", "from_karras", "from_noise", "from_score", "from_v", "from_velocity", "guided",
    "inpainted", "measured", "on_path", "scheduler_grid", "thresholded",
]  # fmt: skip
