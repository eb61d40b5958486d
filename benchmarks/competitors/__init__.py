"""The problem of `benchmarks.problem` in other libraries, each in the forms that suit it best.

Every loader returns a list of `Form`; where its library is missing it raises ImportError. All use
float32, the same step, and keep the end points only. Forms of one library differ in the length of
a batch, in threads, and in what its documentation suggests for speed; the fastest is reported.
"""

import functools

from .loops import numba_prange, numpy_loop, torch_best_loop, torch_randn_like, torchsde_forms
from .with_jax import brownian_tree, diffrax_batched, diffrax_vmap, jax_scan, unsafe_brownian

COMPETITORS = {
    "torchsde, as documented": functools.partial(torchsde_forms, best=False),
    "torchsde, best of several forms": functools.partial(torchsde_forms, best=True),
    "diffrax, vmap, UnsafeBrownianPath": diffrax_vmap(unsafe_brownian),
    "diffrax, vmap, VirtualBrownianTree": diffrax_vmap(brownian_tree),
    "diffrax, batch as one state, UnsafeBrownianPath": diffrax_batched(unsafe_brownian),
    "diffrax, batch as one state, VirtualBrownianTree": diffrax_batched(brownian_tree),
    "numba, prange loop": numba_prange,
    "numpy loop": numpy_loop,
    "torch loop, randn_like": torch_randn_like,
    "torch loop, best of several forms": torch_best_loop,
    "JAX scan": jax_scan,
}
SLOW = {  # fraction of the paths that is run: the rate is what is compared
    "torchsde, as documented": 0.1,
    "diffrax, vmap, VirtualBrownianTree": 0.01,
    "diffrax, batch as one state, VirtualBrownianTree": 0.02,
}
