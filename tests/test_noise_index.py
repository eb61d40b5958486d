"""Which normal each lane, step and channel gets, and the shapes of explicit ones."""

import math

import numpy as np
import pytest
from backends import each_backend, solve
from equations import Fan, Mixed, Walk, both

import sdekit as sk
from sdekit import noise

# --- which normals -------------------------------------------------------------------------------


def normals(lanes, n, count, seed=7, stream=noise.Stream.PATH):
    return noise.rows(np.asarray(lanes), n, count, seed, stream, np.empty(0))


@each_backend
def test_noise_index_of_entries(name):
    """State (2, 3): lane = flat index + first_path · 3, n = step, counted over the whole run."""
    sol = solve(name, sk.Brownian(), np.zeros((2, 3)), [0, 1, 3], h=0.5, seed=7, first_path=4, first_step=5)
    z = normals(np.arange(12, 18), 5, 6) * math.sqrt(0.5)
    np.testing.assert_allclose(sol.x[1].ravel(), z[:2].sum(0), atol=1e-12)
    np.testing.assert_allclose(sol.x[2].ravel(), z.sum(0), atol=1e-12)


@each_backend
def test_noise_index_of_coupled_paths(name):
    """State (2, 2 | k = 2): lane = flat index of the path + first_path · 2, n = 2 step + component."""
    sol = solve(name, Walk(), np.zeros((2, 2, 2)), [0, 3], h=1, seed=7, first_path=1, first_step=2)
    z = normals(np.arange(2, 6), 4, 6).reshape(3, 2, 4)
    np.testing.assert_allclose(sol.x[-1].reshape(4, 2).T, z.sum(0), atol=1e-12)


@each_backend
def test_noise_index_of_matrix_noise(name):
    """k = 2, m = 3: n = 3 step + channel."""
    sol = solve(name, Mixed(), np.zeros((5, 2)), [0, 3], h=1, seed=7, first_path=10, first_step=1)
    z = normals(np.arange(10, 15), 3, 9).reshape(3, 3, 5).sum(0)
    np.testing.assert_allclose(sol.x[-1].T, [z[0] + 0.5 * z[1], 2 * z[2] - z[1]], atol=1e-12)


@each_backend
def test_noise_index_of_one_component_with_several_noises(name):
    sol = solve(name, Fan(), np.zeros((2, 2)), [0, 2], h=1, seed=7, first_path=1)
    z = normals(np.arange(2, 6), 0, 6).reshape(2, 3, 4).sum(0)
    np.testing.assert_allclose(sol.x[-1].ravel(), z[0] + 10 * z[1] + 100 * z[2], atol=1e-11)


@each_backend
def test_noise_index_of_second_normals(name):
    """dz is on stream 1, with the n of dw."""
    sol = solve(name, sk.Brownian(), np.zeros(3), [0, 5], both, h=1, seed=7, first_step=3)
    dw, dz = normals(np.arange(3), 3, 5), normals(np.arange(3), 3, 5, stream=noise.Stream.SECOND)
    np.testing.assert_allclose(sol.x[-1], (dw + 10 * dz).sum(0), atol=1e-11)
    sol = solve(name, Walk(), np.zeros((3, 2)), [0, 5], both, h=1, seed=7)
    dw, dz = (
        normals(np.arange(3), 0, 10, stream=s).reshape(5, 2, 3).sum(0) for s in (noise.Stream.PATH, noise.Stream.SECOND)
    )
    np.testing.assert_allclose(sol.x[-1].T, dw + 10 * dz, atol=1e-11)


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_noise_index_of_correctors(name):
    """Two corrector draws a step: n = (2 step + draw) m + channel on stream 2; each entry is a lane."""
    flat = sk.Reverse(sk.VE(), lambda t, x: 0.0 * x)
    sol = solve(
        name,
        flat,
        np.zeros((2, 3)),
        [1.0, 0.5, 0.25],
        sk.langevin(0.16, 2),
        seed=7,
        first_path=2,
        grid=[1.0, 0.5, 0.25],
    )
    z = normals(np.arange(6, 12), 0, 4, stream=noise.Stream.CORRECTOR).reshape(2, 2, 6)
    scale = [2 * 0.16 * flat.sigma(t) for t in (1.0, 0.5)]  # √(2τ), τ = 2 (snr sigma)²
    want = sum(s * z[i].sum(0) for i, s in enumerate(scale))
    np.testing.assert_allclose(sol.x[-1].ravel(), want, rtol=1e-12)
    pc = sk.predictor_corrector(sk.euler_maruyama, sk.langevin(0.16))
    sol = solve(name, flat, np.zeros((2, 3)), [1.0, 0.5], pc, seed=7, h=0.5)
    g = flat.diffusion(1.0, np.zeros(1))
    want = g * math.sqrt(0.5) * normals(np.arange(6), 0, 1)[0]
    want = want + scale[1] * normals(np.arange(6), 0, 1, stream=noise.Stream.CORRECTOR)[0]
    np.testing.assert_allclose(sol.x[-1].ravel(), want, rtol=1e-12)


@each_backend
def test_first_path_of_a_lone_state_is_that_row_of_a_batch(name):
    """A state without path axes is one path, whatever its number of components."""
    for process, row in ((sk.Brownian(), 0.0), (Walk(), np.zeros(2))):
        batch = solve(name, process, row, [0, 1], h=0.5, paths=6, seed=2)
        alone = solve(name, process, row, [0, 1], h=0.5, seed=2, first_path=5)
        np.testing.assert_allclose(alone.x, batch.x[:, 5], atol=1e-14)


def test_lanes_and_steps_beyond_32_bits():
    for first in (2**32 - 2, 2**40):
        got = solve("numba", sk.Brownian(), np.zeros(4), [0, 1], first_path=first, seed=2**64 - 1, h=1)
        want = noise.rows(first + np.arange(4), 0, 1, 2**64 - 1, 0, np.empty(0))[0]
        np.testing.assert_allclose(got.x[-1], want, atol=1e-12)
    late = 2**34 - 1
    sols = [solve(name, sk.Brownian(), np.zeros(4), [0, 1], first_step=late, h=1) for name in ("numba", "numpy")]
    np.testing.assert_allclose(sols[0].x, sols[1].x, atol=1e-12)


# --- explicit normals ----------------------------------------------------------------------------


@each_backend
@pytest.mark.parametrize(
    ("process", "shape", "method", "expected"),
    [
        (sk.Brownian(), (), sk.euler_maruyama, (4,)),
        (sk.Brownian(), (2, 3), sk.euler_maruyama, (4, 2, 3)),
        (Walk(), (5, 2), sk.euler_maruyama, (4, 5, 2)),
        (Walk(), (2,), sk.euler_maruyama, (4, 2)),
        (Mixed(), (5, 2), sk.euler_maruyama, (4, 5, 3)),
        (Fan(), (5,), sk.euler_maruyama, (4, 5, 3)),
        (sk.Brownian(), (5,), both, (2, 4, 5)),
        (Walk(), (5, 2), both, (2, 4, 5, 2)),
    ],
)
def test_shapes_of_explicit_normals(name, process, shape, method, expected):
    z = np.random.default_rng(0).normal(size=expected)
    sol = solve(name, process, np.zeros(shape), [0, 1], method, h=0.25, noise=z)
    dw = 0.5 * (z[0] + 10 * z[1] if method is both else z)
    if isinstance(process, Mixed):
        dw = np.stack([dw[..., 0] + 0.5 * dw[..., 1], 2 * dw[..., 2] - dw[..., 1]], -1)
    if isinstance(process, Fan):
        dw = dw @ [1.0, 10.0, 100.0]
    np.testing.assert_allclose(sol.x[-1], dw.sum(0), atol=1e-12)
    for wrong in (z[..., None], z[:-1] if method is not both else z[:1], z[:, :3] if method is both else z[:3]):
        with pytest.raises(ValueError, match=r"noise has shape .* but 4 steps of .* take"):
            solve(name, process, np.zeros(shape), [0, 1], method, h=0.25, noise=wrong)
