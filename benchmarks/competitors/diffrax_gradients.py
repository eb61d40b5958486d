"""Gradients by diffrax: the neural SDE and the flow of `benchmarks.gradients`, with the same parameters.

Bytes are those of the temporaries that XLA has planned for the compiled gradient.
"""

import math

import numpy as np
import torch

from .with_jax import load_jax


def _modules():
    jax = load_jax()
    jax.config.update("jax_enable_x64", True)  # the flow; all arrays have types of their own
    import diffrax
    import lineax

    return jax, diffrax, lineax


def _arrays(jax, net):
    return {name: jax.numpy.asarray(p.detach().numpy()) for name, p in net.named_parameters()}


def _compiled(jax, function, parameters):
    """(a task, bytes) of the value and gradient of a function of the parameters."""
    ready = jax.jit(jax.value_and_grad(function)).lower(parameters).compile()
    return (lambda: jax.block_until_ready(ready(parameters))), ready.memory_analysis().temp_size_in_bytes


def _adjoints(diffrax):
    yield "diffrax, checkpointed", diffrax.RecursiveCheckpointAdjoint()
    yield "diffrax, backsolve", diffrax.BacksolveAdjoint()


def neural(net, x0, steps):
    """(name, task, bytes) of a gradient of the neural SDE by Heun's method, and by each adjoint."""
    jax, diffrax, lineax = _modules()
    jnp, t1 = jax.numpy, np.float32(1.0)
    start = jnp.asarray(x0.numpy())

    def part(p, name, x):
        h = jax.nn.silu(p[f"{name}.0.weight"] @ x + p[f"{name}.0.bias"])
        return jnp.tanh(p[f"{name}.2.weight"] @ h + p[f"{name}.2.bias"])

    def one(x, key, p, adjoint):
        path = diffrax.VirtualBrownianTree(
            0 * t1, t1, np.float32(0.5 / steps), jax.ShapeDtypeStruct(x.shape, x.dtype), key
        )
        terms = diffrax.MultiTerm(
            diffrax.ODETerm(lambda t, x, p: part(p, "of_drift", x)),
            diffrax.ControlTerm(lambda t, x, p: lineax.DiagonalLinearOperator(0.2 * part(p, "of_noise", x)), path),
        )
        sol = diffrax.diffeqsolve(
            terms, diffrax.Heun(), 0 * t1, t1, t1 / np.float32(steps), x, p, adjoint=adjoint, max_steps=steps + 2,
            throw=False,
        )  # fmt: skip
        return sol.ys[-1]

    keys = jax.random.split(jax.random.key(0), len(start))
    for name, adjoint in _adjoints(diffrax):

        def loss(p, adjoint=adjoint):
            return (jax.vmap(lambda x, key: one(x, key, p, adjoint))(start, keys) ** 2).mean()

        yield f"{name}, heun", *_compiled(jax, loss, _arrays(jax, net))


def flow(net, data, tol):
    """(name, task, bytes) of the gradient of the flow's likelihood by each adjoint; see `benchmarks.flow`."""
    jax, diffrax, _ = _modules()
    jnp, names = jax.numpy, [name for name, _ in net.named_parameters()]
    start = jnp.concatenate([jnp.asarray(data.numpy()), jnp.zeros((len(data), 1))], -1)

    def drift(t, x, p):
        a = jnp.tanh(
            jnp.concatenate([x[:, :2], jnp.full_like(x[:, :1], t)], -1) @ p["first.weight"].T + p["first.bias"]
        )
        b = jnp.tanh(a @ p["mid.weight"].T + p["mid.bias"])
        across = p["mid.weight"] * (p["first.weight"][:, :2] @ p["last.weight"]).T
        trace = ((1 - b**2) * ((1 - a**2) @ across.T)).sum(-1, keepdims=True)
        return jnp.concatenate([b @ p["last.weight"].T + p["last.bias"], trace], -1)

    for name, adjoint in _adjoints(diffrax):

        def loss(p, adjoint=adjoint):
            sol = diffrax.diffeqsolve(
                diffrax.ODETerm(drift), diffrax.Dopri5(), 0.0, 1.0, None, start, p, adjoint=adjoint,
                stepsize_controller=diffrax.PIDController(rtol=tol, atol=tol), throw=False,
            )  # fmt: skip
            end = sol.ys[-1]
            return -(-0.5 * (end[:, :2] ** 2).sum(-1) - math.log(2 * math.pi) + end[:, 2]).mean()

        task, size = _compiled(jax, loss, _arrays(jax, net))

        def done(task=task):
            value, slopes = task()
            return float(value), torch.cat([torch.as_tensor(np.array(slopes[n])).flatten() for n in names])

        yield name, done, size
