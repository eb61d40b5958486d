"""The page Flows: the statements that its marks lead to."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from calculus import integral, residual, slope

import sdekit as sk

torch = pytest.importorskip("torch")
pytest.importorskip("zuko")
import generative as gen  # noqa: E402

NUMPY = sk.backends.numpy()
MIXTURE = sk.GaussianMixture([0.3, 0.7], [-1.0, 0.8], stds=[0.4, 0.3])
PATH = sk.FlowPath()
MIX = [[0.4, 1.0, 0.0], [-1.0, 0.1, 0.5], [0.3, 0.0, -0.2]]  # a matrix with no symmetry


def wave(t, x):
    """A velocity in one dimension, and its slope."""
    return np.sin(2 * x) + t, 2 * np.cos(2 * x)


def residual_flow(x, blocks):
    """x_{k+1} = x_k + f(k/K, x_k)/K, all states, by Euler's method."""
    ode = sk.process(lambda t, x: wave(t, x)[0], noise="none")
    times = np.linspace(0, 1, blocks + 1)
    return sk.solve(ode, x, times, sk.euler_maruyama, grid=times, backend=NUMPY).x


def continuous(x):
    """The flow of dx/dt = f(t, x) from 0 to 1."""
    ode = sk.process(lambda t, x: wave(t, x)[0], noise="none")
    return sk.solve(ode, x, [0, 1], sk.dop853, tol=1e-12, backend=NUMPY).final


def log_volume(states):
    """Σ log(1 + f′(x_k)/K) along the states of a residual flow."""
    blocks = len(states) - 1
    return sum(np.log1p(wave(k / blocks, x)[1] / blocks) for k, x in enumerate(states[:-1]))


def halved(error):
    """Errors for twice as many blocks are half as large, in the limit: of order 1/K, and not more."""
    ratios = [error(k) / error(2 * k) for k in (50, 200)]
    assert abs(ratios[1] - 2) < 0.05 and abs(ratios[1] - 2) < abs(ratios[0] - 2) + 0.01


def test_flow_matching_continuity():
    """u = E[α′x_0 + σ′ε | x_t] carries p_t: ∂p/∂t + ∂(u p)/∂x = 0, with u from the exact score."""
    score = MIXTURE.score(PATH)
    velocity = sk.scores.as_velocity(score)
    flow = SimpleNamespace(drift=lambda t, x: velocity(np.full(len(x), t), x), diffusion=lambda t, x: 0.0)
    x = np.linspace(-1.8, 1.8, 21)
    assert residual(lambda t, y: np.exp(score.log_prob(t, y)), flow, 0.4, x, 1e-3, 0.01) < 1e-6


def test_conditional_flow_matching():
    """E|v − (ε − x_0)|² = E|v − u|² + a constant: for v = u + φ it exceeds its minimum by E φ²; draws, so to 4 σ."""
    t, n = 0.4, 40_000
    x0, eps = MIXTURE.sample(n, seed=1), sk.noise.normal((n,), seed=2)
    x = PATH.perturb(x0, t, eps)
    u, bump = sk.scores.as_velocity(MIXTURE.score(PATH))(np.full(n, t), x), np.sin(3 * x)
    gain = (u + bump - (eps - x0)) ** 2 - (u - (eps - x0)) ** 2 - bump**2
    assert abs(gain.mean()) < 4 * gain.std() / math.sqrt(n) < 0.05 < (bump**2).mean()


def test_straight_paths():
    """x_t = (1 − t) x_0 + t ε moves with ε − x_0; from one data point one Euler step from t = 1 arrives."""
    point = sk.Gaussian(0.7, std=0.0)
    z = np.linspace(-2, 2, 5)
    np.testing.assert_allclose(slope(lambda t: PATH.perturb(0.7, t, z[2]), 0.4, 1e-2), z[2] - 0.7, atol=1e-12)
    ode = sk.Reverse(PATH, point.score(PATH), eta=0)
    end = sk.solve(ode, z, grid=[0.999, 1e-3], method=sk.euler_maruyama, backend=NUMPY).final
    np.testing.assert_allclose(end, 0.7 + (z - 0.7) * 1e-3 / 0.999 + 0.7 * 0 * z, atol=1e-3)


def flow_model():
    """A normalizing flow with random weights, in float64."""
    torch.manual_seed(0)
    return gen.RealNVP(layers=4, width=16).double()


def test_change_of_variables():
    """log p(x) = log N(z) + log|det ∂z/∂x| with the determinant by autograd."""
    model = flow_model()
    transform, x = model.flow().transform, torch.randn(5, 2, dtype=torch.float64)
    jacobian = torch.stack([torch.autograd.functional.jacobian(transform, row) for row in x])
    z = transform(x)
    want = -0.5 * (z**2).sum(1) - math.log(2 * math.pi) + torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(model.log_prob(x), want.detach())


def test_coupling_layers_are_triangular():
    """In a layer that moves half of the features by the other half, the Jacobian's determinant is its diagonal's."""
    model = flow_model()
    for layer in model.flow().transform.transforms:
        jacobian = torch.autograd.functional.jacobian(layer, torch.tensor([0.3, -0.7], dtype=torch.float64))
        assert (jacobian == 0).sum() == 1 and float(jacobian.diagonal().prod()) == pytest.approx(
            float(torch.linalg.det(jacobian))
        )


def test_density_of_a_flow_has_mass_one():
    """Sum over 240² cells of side 1/20."""
    side = torch.linspace(-6, 6, 241, dtype=torch.float64)[:-1] + 0.025
    x = torch.cartesian_prod(side, side)
    assert float(flow_model().log_prob(x).exp().sum()) / 400 == pytest.approx(1.0, abs=2e-3)


def test_residual_flow_has_order_one():
    """K residual blocks x + f/K are Euler's method: the distance to the flow of the ODE is of order 1/K."""
    x = np.linspace(-1.5, 1.5, 11)
    exact = continuous(x)
    halved(lambda blocks: np.abs(residual_flow(x, blocks)[-1] - exact).max())


def test_log_determinants_tend_to_the_integral():
    """Σ log|1 + f′/K| tends to ∫ f′ dt, the logarithm of the flow's own slope, with order 1/K."""
    x = np.linspace(-1.5, 1.5, 11)
    exact = np.log(slope(continuous, x, 0.01))
    halved(lambda blocks: np.abs(log_volume(residual_flow(x, blocks)) - exact).max())


def test_residual_blocks_are_invertible():
    """x ← y − f(x)/K finds the x of y = x + f(x)/K; with L = Lip(f)/K < 1 each step shrinks the error by L."""
    blocks, x = 4, np.linspace(-1.5, 1.5, 11)
    y, guess = x + wave(0.0, x)[0] / blocks, 0.0 * x
    worst = np.abs(guess - x).max()
    for n in range(1, 30):
        guess = y - wave(0.0, guess)[0] / blocks
        assert np.abs(guess - x).max() <= (2 / blocks) ** n * worst + 1e-15
    np.testing.assert_allclose(guess, x, atol=1e-8)


def test_series_of_the_log_determinant():
    """log det(I + J) = Σ (−1)^{k+1} tr(J^k)/k for ‖J‖ < 1."""
    j = 0.5 * np.array(MIX)
    terms = [(-1) ** (k + 1) * np.trace(np.linalg.matrix_power(j, k)) / k for k in range(1, 60)]
    assert np.linalg.norm(j, 2) < 1 and sum(terms) == pytest.approx(np.linalg.slogdet(np.eye(3) + j)[1], abs=1e-12)


def turning():
    """dx/dt = tanh(A x) + t in three dimensions."""
    matrix = torch.tensor(MIX, dtype=torch.float64)
    return sk.process(lambda t, x: torch.tanh(x @ matrix) + t, noise="none", event_dims=1)


def test_instantaneous_change_of_variables():
    """∫ div f dt is the log-determinant of the flow map, by autograd through the solver."""
    grid, x = np.linspace(1.0, 0.0, 41), torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64)
    moved = sk.likelihood.transport(turning(), x[None], grid)

    def there(x):
        return sk.solve(turning(), x[None], grid=grid[::-1].copy(), method=sk.rk4).final[0]

    jacobian = torch.autograd.functional.jacobian(there, x)
    torch.testing.assert_close(moved.latent[0], there(x))
    assert float(moved.log_det[0]) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), abs=1e-6)


def test_likelihood_along_the_probability_flow():
    """log p of the data, where it is known: a mixture under VP; p_ε at the grid's end ε = 1e-3."""
    vp, x = sk.VP(), torch.linspace(-1.5, 1.5, 9, dtype=torch.float64)
    score = MIXTURE.score(vp)
    got = sk.likelihood.log_prob(sk.Reverse(vp, score), x, sk.grids.log_snr(vp, 60, end=1e-3))
    torch.testing.assert_close(got, score.log_prob(1e-3, x), atol=1e-2, rtol=0)


def test_hutchinson():
    """E vᵀJv = tr J for random signs: the mean over all eight; the variance is ½ ‖J + Jᵀ‖² off the diagonal."""
    j = np.array(MIX)
    signs = np.array(list(itertools.product([-1, 1], repeat=3)))
    values = np.einsum("ni,ij,nj->n", signs, j, signs)
    both = j + j.T
    assert values.mean() == pytest.approx(np.trace(j))
    assert values.var() == pytest.approx(((both - np.diag(both.diagonal())) ** 2).sum() / 2)


def test_cnf_density_has_mass_one():
    """An untrained continuous flow in one dimension."""
    torch.manual_seed(0)
    model = gen.CNF(gen.MLP((1,), width=16)).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, dtype=weight.dtype))
    mass = integral(lambda x: model.log_prob(torch.as_tensor(x)[:, None]).exp().detach().numpy(), -8.0, 8.0)
    assert mass == pytest.approx(1.0, abs=1e-3)
