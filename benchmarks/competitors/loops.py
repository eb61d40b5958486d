"""Loops in numpy, numba and torch, and torchsde."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..problem import ALL, END, SIGMA, START, THETA, Form


def on_threads(work, part, join):
    """A batch whose paths are split over a pool: part(seed, paths) makes one share."""
    share = -(-work.paths // work.threads)

    def batch(seed):
        seeds = range(seed * work.threads, (seed + 1) * work.threads)
        with ThreadPoolExecutor(work.threads) as pool:
            return join(list(pool.map(lambda s: part(s, share), seeds)))[: work.paths]

    return batch


# --- numpy ---


def numpy_part(work):
    decay = np.float32(1.0 - THETA * work.h)
    scale = np.float32(SIGMA * math.sqrt(work.h))

    def part(seed, paths):
        rng = np.random.default_rng(seed)
        x = np.full(paths, START, dtype=np.float32)
        z = np.empty_like(x)
        for _ in range(work.steps):
            rng.standard_normal(out=z, dtype=np.float32)
            z *= scale
            x *= decay
            x += z
        return x

    return part


def numpy_alone(work):
    part = numpy_part(work)
    return lambda seed: part(seed, work.paths)


def numpy_threads(work):
    return on_threads(work, numpy_part(work), np.concatenate)


def numpy_loop():
    return [
        Form("in place", numpy_alone, 100_000),
        Form("in place, one generator per thread", numpy_threads, 20_000),
        Form("in place, one generator per thread", numpy_threads, 200_000),
    ]


# --- numba ---


def numba_prange():
    import numba

    @numba.njit(parallel=True, fastmath=True)
    def run(seed, paths, steps, decay, scale):
        x = np.empty(paths, np.float32)
        for thread in numba.prange(numba.get_num_threads()):
            np.random.seed(seed * 1000 + thread)  # seeds are kept by thread
        for i in numba.prange(paths):
            y = np.float32(START)
            for _ in range(steps):
                y = decay * y + scale * np.float32(np.random.standard_normal())
            x[i] = y
        return x

    def build(work):
        numba.set_num_threads(min(work.threads, numba.config.NUMBA_NUM_THREADS))
        decay = np.float32(1.0 - THETA * work.h)
        scale = np.float32(SIGMA * math.sqrt(work.h))
        return lambda seed: run(seed, work.paths, work.steps, decay, scale)

    return [Form("prange over paths", build, ALL, compiled=True)]


# --- torch ---


def torch_randn_like():
    """The loop that is usually written."""
    import torch

    def build(work):
        scale = SIGMA * math.sqrt(work.h)

        @torch.no_grad()
        def batch(seed):
            torch.set_num_threads(work.threads)
            torch.manual_seed(seed)
            x = torch.full((work.paths,), START)
            for _ in range(work.steps):
                x = x - THETA * x * work.h + scale * torch.randn_like(x)
            return x.numpy()

        return batch

    return [Form("one batch", build, chunk) for chunk in (20_000, 200_000, ALL)]


def torch_best_loop():
    """In place, and with a generator per thread, since torch draws on one thread only.

    torch.compile of the step is left out: its CPU code draws normals one by one and is slower.
    """
    import torch

    def torch_part(work):
        decay, scale = 1.0 - THETA * work.h, SIGMA * math.sqrt(work.h)

        @torch.no_grad()
        def part(seed, paths):
            generator = torch.Generator().manual_seed(seed)
            x = torch.full((paths,), START)
            z = torch.empty_like(x)
            for _ in range(work.steps):
                z.normal_(0.0, scale, generator=generator)
                torch.add(z, x, alpha=decay, out=x)
            return x

        return part

    def alone(work):
        part = torch_part(work)

        def batch(seed):
            torch.set_num_threads(work.threads)
            return part(seed, work.paths).numpy()

        return batch

    def threads(work):
        parts = on_threads(work, torch_part(work), lambda shares: torch.cat(shares).numpy())

        def batch(seed):
            torch.set_num_threads(1)
            return parts(seed)

        return batch

    return [
        Form("in place", alone, 200_000),
        Form("in place, one generator per thread", threads, 40_000),
        Form("in place, one generator per thread", threads, 200_000),
        Form("in place, one generator per thread", threads, ALL),
    ]


def torchsde_forms(best):
    """torchsde as its documentation calls it, or in the best of the forms that suit this problem."""
    import torch
    import torchsde

    class Equation(torch.nn.Module):
        noise_type = "diagonal"
        sde_type = "ito"

        def f(self, t, y):
            return -THETA * y

        def g(self, t, y):
            return torch.full_like(y, SIGMA)

    class Products(Equation):
        """With the products that sdeint takes in place of f and g where they are given."""

        def g_prod(self, t, y, v):
            return SIGMA * v

        def f_and_g_prod(self, t, y, v):
            return -THETA * y, SIGMA * v

    def build(equation, hinted):
        def prepare(work):
            ts = torch.tensor([0.0, END])

            @torch.no_grad()
            def batch(seed):
                torch.set_num_threads(work.threads)
                torch.manual_seed(seed)
                y0 = torch.full((work.paths, 1), START)
                bm = None
                if hinted:  # told the step, the interval is divided for it from the start
                    bm = torchsde.BrownianInterval(0.0, END, size=y0.shape, entropy=seed, dt=work.h)
                ys = torchsde.sdeint(equation, y0, ts, method="euler", dt=work.h, bm=bm)
                return ys[-1, :, 0].numpy()

            return batch

        return prepare

    if not best:
        return [Form("sdeint(equation, y0, ts, dt=h)", build(Equation(), hinted=False), ALL)]
    return [
        Form("f and g, Brownian interval told dt", build(Equation(), hinted=True), ALL),
        Form("products, Brownian interval told dt", build(Products(), hinted=True), 100_000),
        Form("products, Brownian interval told dt", build(Products(), hinted=True), ALL),
    ]
