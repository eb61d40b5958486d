"""Samplers at home in other people's programs: as a scheduler of diffusers, and in k-diffusion's form.

```python
from sdekit.clients import diffusers_scheduler, karras_sampler

pipeline.scheduler = diffusers_scheduler(sk.dpmpp_2m, like=pipeline.scheduler)
```

Each needs its library only where it is called: diffusers (and torch), or torch alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..methods import Method
from ..scores import from_karras
from ..solve import solve
from ..transforms import Reverse

__all__ = ["diffusers_scheduler", "karras_sampler", "karras_sigmas"]


def diffusers_scheduler(method: Any, like: Any, grid: Callable | None = None) -> Any:
    """A scheduler of diffusers that steps with a method of this package, for the networks that `like` serves.

    method  a sampler such as `sdekit.dpmpp_2m`, or a plan: an object with `grid` and `method`
    like    the pipeline's scheduler, of a table or of flow matching. It says what the network predicts and, where
            `grid` is None, the times for `set_timesteps(n)`
    grid    one of `sdekit.grids`, called with (process, n, final=True)

    It stands in coordinates with alpha² + sigma² = 1 (those of flow matching keep their own), so that pipelines start
    from N(0, 1) and inputs are not scaled. There is one timestep for each evaluation of the network. Noise comes from
    counters, with a seed that is drawn from the pipeline's `generator`. The images are those of `sdekit.solve` from the
    same start. It is saved and loaded with its pipeline.
    """
    from .scheduler import make

    return make(method, like, grid)


def karras_sigmas(grid: Any, process: Any) -> Any:
    """The levels sigma/alpha of a grid of times, or of a plan: a float32 tensor, as k-diffusion's samplers take."""
    import torch

    times = [float(t) for t in getattr(grid, "grid", grid)]
    levels = [(sigma / alpha if alpha else float("inf")) for alpha, sigma in map(process.marginal, times)]
    return torch.tensor(levels, dtype=torch.float32)


def karras_sampler(method: Method) -> Callable:
    """A sampler in k-diffusion's form, `sampler(model, x, sigmas, extra_args=None, callback=None, disable=None)`.

    `model(x, sigma, **extra_args)` returns the denoised x, whose noise has the standard deviation sigmas[0] at the
    start. `callback` is called after each step with a dictionary of x (before it), i, sigma, sigma_hat, denoised. The
    seed of samplers with noise is `extra_args["seed"]` where that is given, else fresh.
    """
    if not isinstance(method, Method):
        raise ValueError(f"method must be a Method such as sdekit.dpmpp_2m, got {method!r}")

    def sampler(model, x, sigmas, extra_args=None, callback=None, disable=None, **unused):
        more, seen = dict(extra_args or {}), []

        def denoiser(x, sigma):
            seen[:] = [model(x, sigma, **more)]
            return seen[0]

        levels = [float(level) for level in sigmas]
        score = from_karras(denoiser, levels[0] * (1 + 1e-6), module=model if _is_module(model) else None)
        reverse, now = Reverse(score.process, score, 1.0 if method.normals else 0.0), x
        for i, sigma in enumerate(levels[:-1]):
            before, first = getattr(now, "final", now), {} if i else {"seed": more.get("seed")}
            now = solve(reverse, now, grid=levels[i : i + 2], method=method, **first)
            if callback is not None:
                callback({"x": before, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": seen[0]})
        return getattr(now, "final", now)

    return sampler


def _is_module(model):
    return callable(getattr(model, "parameters", None))
