"""JAX and diffrax. One device for each core, since one device does not keep the cores busy."""

import math
import os

import numpy as np

from ..problem import ALL, END, SIGMA, START, THETA, Form
from ..report import cores


def load_jax():
    os.environ.setdefault("EQX_ON_ERROR", "nan")  # diffrax's advice for speed: no host checks
    flag = "--xla_force_host_platform_device_count"
    if flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}={cores()}".strip()
    import jax

    return jax


def over_devices(jax, work, run, keys):
    """run(keys) compiled and split over the devices: `keys` keys to each of them."""
    spec = jax.sharding.PartitionSpec("paths")
    devices = jax.devices()[: work.threads]
    mesh = jax.sharding.Mesh(np.array(devices), ("paths",))
    split = jax.shard_map(run, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    compiled = jax.jit(split)
    sharding = jax.sharding.NamedSharding(mesh, spec)

    def batch(seed):
        all_keys = jax.random.split(jax.random.key(seed), keys * len(devices))
        x = compiled(jax.device_put(all_keys, sharding))
        return np.asarray(x)[: work.paths]  # waits for the result

    return batch


def share(jax, work):
    """Paths on one device."""
    return -(-work.paths // min(len(jax.devices()), work.threads))


def jax_scan():
    jax = load_jax()
    jnp = jax.numpy

    def build(unroll):
        def prepare(work):
            decay, scale = 1.0 - THETA * work.h, SIGMA * math.sqrt(work.h)
            paths = share(jax, work)

            def run(keys):
                def step(x, key):
                    return decay * x + scale * jax.random.normal(key, x.shape, jnp.float32), None

                start = jnp.full(paths, START, jnp.float32)
                steps = jax.random.split(keys[0], work.steps)
                return jax.lax.scan(step, start, steps, unroll=unroll)[0]

            return over_devices(jax, work, run, keys=1)

        return prepare

    return [
        Form("jit, one device per core", build(1), 100_000, compiled=True),
        Form("jit, one device per core, unroll=4", build(4), 100_000, compiled=True),
        Form("jit, one device per core, unroll=4", build(4), ALL, compiled=True),
    ]


def diffrax_solve(jax, brownian, start, diffusion, h):
    """The end point of diffrax's Euler on one state: a number, or a vector of many paths."""
    import diffrax

    drift = diffrax.ODETerm(lambda t, y, args: -THETA * y)
    noise = diffrax.ControlTerm(diffusion, brownian)
    return diffrax.diffeqsolve(
        diffrax.MultiTerm(drift, noise),
        diffrax.Euler(),
        t0=0.0,
        t1=END,
        dt0=h,
        y0=start,
        saveat=diffrax.SaveAt(t1=True),
        adjoint=diffrax.DirectAdjoint(),
        max_steps=None,
        throw=False,
    ).ys[0]


def unsafe_brownian(shape, key, h):
    import diffrax

    return diffrax.UnsafeBrownianPath(shape, key)


def brownian_tree(shape, key, h):
    import diffrax

    return diffrax.VirtualBrownianTree(0.0, END, tol=h / 2, shape=shape, key=key)


def diffrax_vmap(brownian):
    """jit and vmap over paths, as diffrax's documentation has it."""

    def load():
        jax = load_jax()
        import diffrax  # noqa: F401 - raises here where it is missing

        def build(work):
            def one(key):
                start = jax.numpy.float32(START)
                path = brownian((), key, work.h)
                return diffrax_solve(jax, path, start, lambda t, y, args: SIGMA, work.h)

            return over_devices(jax, work, jax.vmap(one), keys=share(jax, work))

        label = "jit + vmap, one device per core"
        return [Form(label, build, chunk, compiled=True) for chunk in (10_000, 50_000)]

    return load


def diffrax_batched(brownian):
    """One solve whose state is the whole batch, the diffusion a diagonal operator."""

    def load():
        jax = load_jax()
        import diffrax  # noqa: F401 - raises here where it is missing
        import lineax

        jnp = jax.numpy

        def build(work):
            paths = share(jax, work)

            def diffusion(t, y, args):
                return lineax.DiagonalLinearOperator(jnp.full(paths, SIGMA, jnp.float32))

            def run(keys):
                start = jnp.full(paths, START, jnp.float32)
                path = brownian((paths,), keys[0], work.h)
                return diffrax_solve(jax, path, start, diffusion, work.h)

            return over_devices(jax, work, run, keys=1)

        label = "jit, the batch as one state, one device per core"
        return [Form(label, build, chunk, compiled=True) for chunk in (10_000, 200_000)]

    return load
