"""log p along the probability-flow ODE, against exact densities; probes; gradients; bits per dimension."""

import math

import numpy as np
import pytest

import sdekit as sk
from sdekit import noise
from sdekit.likelihood import bits_per_dim, log_prob, transport

torch = pytest.importorskip("torch")

MIXTURE = sk.GaussianMixture([0.3, 0.7], [[1.0, 0.0], [-1.0, 0.5]], stds=[0.4, 0.6])
RNG = np.random.default_rng(0)
FACTOR = RNG.normal(size=(3, 3))
IMAGES = sk.Gaussian(RNG.normal(size=(1, 3, 1)), FACTOR @ FACTOR.T + 0.3 * np.eye(3))


def noise_levels(high, low, n=100):
    """Noise levels whose seventh roots are equally spaced."""
    return np.linspace(high ** (1 / 7), low ** (1 / 7), n + 1) ** 7


GRIDS = {  # times of a sampler, from the prior to the data
    "VP": (sk.VP(), np.linspace(1.0, 1e-3 ** (1 / 3), 71) ** 3),
    "VE": (sk.VE(), (np.log(noise_levels(10.0, 0.01)) - math.log(0.01)) / math.log(5000.0)),
    "EDM": (sk.EDM(), noise_levels(10.0, 2e-3, 110)),
    "FlowPath": (sk.FlowPath(), np.linspace(1.0, 0.0, 51)),
}
for _, times in GRIDS.values():
    times[[0, -1]] = times[[0, -1]].round(12)  # ends exactly at the ends of the domains


def exact(score, t):
    """log p_t as a function of the state."""
    return lambda x: score.log_prob(float(t), x)


# --- agreement with exact densities --------------------------------------------------------------


@pytest.mark.parametrize("target", [MIXTURE, IMAGES], ids=["(2,)", "(1, 3, 1)"])
@pytest.mark.parametrize("name", GRIDS)
def test_log_densities_are_exact_on_fine_grids(name, target):
    """With the exact density of the noisy end as the prior, to 1e-6; data of two shapes."""
    process, grid = GRIDS[name]
    score = target.score(process)
    x = torch.as_tensor(target.sample(5, seed=1))
    found = log_prob(sk.Reverse(process, score), x, grid, prior=exact(score, grid[0]))
    assert found.shape == (5,) and not found.requires_grad
    torch.testing.assert_close(found, score.log_prob(float(grid[-1]), x), rtol=0, atol=1e-6)


def test_a_grid_that_ends_at_epsilon_gives_the_density_there():
    """And not that of the data, which differs by more."""
    process, grid = sk.VP(), np.geomspace(1.0, 0.05, 80)
    score = MIXTURE.score(process)
    x = MIXTURE.sample(5, seed=1)
    found = log_prob(sk.Reverse(process, score), x, grid, prior=exact(score, 1.0))
    assert isinstance(found, np.ndarray) and np.abs(found - score.log_prob(0.05, x)).max() < 1e-6
    assert np.abs(found - MIXTURE.log_prob(x)).max() > 1e-2


def test_the_default_prior_is_that_of_start():
    """N(0, sigma²) at the first time: exact for FlowPath, and off by what is left of the data for VP."""
    for name, error in (("FlowPath", 1e-6), ("VP", 3e-2)):
        process, grid = GRIDS[name]
        score = MIXTURE.score(process)
        x = MIXTURE.sample(4, seed=2)
        found = log_prob(sk.Reverse(process, score), x, grid)
        assert np.abs(found - score.log_prob(float(grid[-1]), x)).max() < error
    latent = transport(sk.Reverse(process, score), x, grid)
    normal = -0.5 * (latent.latent**2 / process.marginal(1.0)[1] ** 2).sum(-1)
    constant = math.log(2 * math.pi) + 2 * math.log(process.marginal(1.0)[1])
    np.testing.assert_allclose(found, normal - constant + latent.log_det, rtol=1e-12)


def test_densities_integrate_to_one():
    """In one dimension, for a coarse solver too: its map is a bijection with the Jacobian of the exact flow to O(h⁴).

    The process has states that are numbers: each entry is a path.
    """
    target, process = sk.GaussianMixture([1.0, 2.0], [-1.0, 1.0], stds=[0.3, 0.5]), sk.FlowPath()
    x = np.linspace(-5, 5, 2001)
    found = log_prob(sk.Reverse(process, target.score(process)), x, np.linspace(1, 0, 60))
    assert found.shape == (2001,)
    assert np.exp(found).sum() * (x[1] - x[0]) == pytest.approx(1.0, abs=1e-5)


def test_eta_does_not_matter_and_other_methods_serve():
    process, grid = sk.FlowPath(), np.linspace(1, 0, 21)
    score, x = MIXTURE.score(process), MIXTURE.sample(3, seed=1)
    ode = log_prob(sk.Reverse(process, score, 0.0), x, grid)
    np.testing.assert_array_equal(log_prob(sk.Reverse(process, score, 1.0), x, grid), ode)
    np.testing.assert_allclose(log_prob(sk.Reverse(process, score), x, grid, sk.heun), ode, atol=2e-2)


def test_a_plain_velocity_field():
    """dx/dt = −x over [0, 1] from N(0, 1) at t = 0 gives N(0, e⁻²) at t = 1; log det of the way back is d."""
    field = sk.process(lambda t, x: -x, noise="none", event_dims=None)
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(2, 3, 2)
    found = log_prob(field, x, np.linspace(0, 1, 30))
    want = (-0.5 * (x * math.e) ** 2 - 0.5 * math.log(2 * math.pi) + 1).reshape(2, -1).sum(-1)
    torch.testing.assert_close(found, want, rtol=0, atol=1e-6)
    moved = transport(field, x, np.linspace(0, 1, 30))
    torch.testing.assert_close(moved.latent, math.e * x, rtol=1e-6, atol=0)
    torch.testing.assert_close(moved.log_det, torch.full((2,), 6.0, dtype=torch.float64), rtol=1e-6, atol=0)


def test_a_constant_field_has_no_divergence():
    field = sk.process(lambda t, x: 1 + 0 * x, noise="none", event_dims=1)
    moved = transport(field, torch.zeros(3, 2), [0.0, 1.0])
    assert (moved.log_det == 0).all() and (moved.latent == -1).all()


# --- probes --------------------------------------------------------------------------------------


def coupled(t, x):
    """A field whose Jacobian is far from diagonal, so that probes matter."""
    return torch.sin(x @ torch.as_tensor(FACTOR, dtype=x.dtype)) * (1 + t)


FIELD = sk.process(lambda t, x: coupled(float(np.ravel(t)[0]), x), noise="none", event_dims=1)


def test_probes_are_unbiased():
    """Over 4,000 paths from the same x: within 5 standard errors, false with probability 6e-7."""
    x = torch.full((4000, 3), 0.4, dtype=torch.float64)
    grid = np.linspace(0, 1, 6)
    found = transport(FIELD, x, grid, probes=1, seed=5).log_det
    want = transport(FIELD, x[:1], grid).log_det
    assert found.std() > 0.1
    assert abs(found.mean() - want) < 5 * found.std() / math.sqrt(len(x))
    more = transport(FIELD, x, grid, probes=4, seed=5).log_det
    assert more.std().item() == pytest.approx(found.std().item() / 2, rel=0.1)


def test_probes_stay_the_same_over_the_solve():
    """On dx/dt = A x the estimate from t = 2 to 0 is then −2 vᵀAv exactly; other signs at each evaluation tell."""
    a = torch.as_tensor(FACTOR)
    field = sk.process(lambda t, x: x @ a.T, noise="none", event_dims=1)
    x = torch.zeros(4, 3, dtype=torch.float64)
    v = noise.normal((4, 3), 7, noise.Stream.PROBE, x).sign()
    assert set(v.unique().tolist()) == {-1.0, 1.0}
    found = transport(field, x, np.linspace(0, 2, 9), probes=1, seed=7).log_det
    torch.testing.assert_close(found, -2 * ((v @ a.T) * v).sum(-1), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(found, -2 * torch.trace(a).expand(4))


def test_probes_belong_to_the_seed_and_the_path():
    x, grid = torch.as_tensor(RNG.normal(size=(6, 3))), np.linspace(0, 1, 5)
    one = log_prob(FIELD, x, grid, probes=2, seed=1)
    assert torch.equal(one, log_prob(FIELD, x, grid, probes=2, seed=1))
    assert not torch.equal(one, log_prob(FIELD, x, grid, probes=2, seed=2))
    torch.testing.assert_close(log_prob(FIELD, x[:3], grid, probes=2, seed=1), one[:3], rtol=1e-12, atol=1e-12)


def test_probes_of_one_number_are_exact():
    """v² = 1: for states of one number any probe gives the derivative itself."""
    field = sk.process(lambda t, x: torch.sin(3 * x), noise="none")
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)
    grid = np.linspace(0, 1, 8)
    torch.testing.assert_close(log_prob(field, x, grid, probes=1), log_prob(field, x, grid), rtol=1e-14, atol=1e-14)


# --- networks ------------------------------------------------------------------------------------


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2, dtype=torch.float64)
        self.calls = 0

    def forward(self, t, x):
        self.calls += 1
        return torch.tanh(self.linear(x)) * (1 + t[:, None])


@pytest.mark.parametrize("probes", [None, 2])
def test_gradients_reach_the_parameters(probes):
    """Against central differences of the log-likelihood in one weight; and in the data."""
    torch.manual_seed(0)
    net = Net()
    process = sk.FlowPath()
    rev = sk.Reverse(process, sk.scores.from_velocity(net, process))
    x = torch.as_tensor(RNG.normal(size=(4, 2)), dtype=torch.float64).requires_grad_()
    grid = np.linspace(1, 0, 6)

    def total():
        return log_prob(rev, x, grid, probes=probes, seed=3).sum()

    def difference(values, i, step=1e-6):
        with torch.no_grad():
            old = values[i].item()
            values[i] = old + step
            up = total()
            values[i] = old - step
            down = total()
            values[i] = old
        return ((up - down) / (2 * step)).item()

    total().backward()
    weight = net.linear.weight
    assert weight.grad[0, 1].item() == pytest.approx(difference(weight, (0, 1)), rel=1e-5)
    assert x.grad[1, 0].item() == pytest.approx(difference(x, (1, 0)), rel=1e-5)


def test_no_graph_where_gradients_are_off():
    net, x = Net(), torch.zeros(3, 2, dtype=torch.float64)
    field = sk.process(lambda t, x: net(x[:, 0] * 0 + t, x), noise="none", event_dims=1)
    with torch.no_grad():
        off = log_prob(field, x, np.linspace(1, 0, 4))
    on = log_prob(field, x, np.linspace(1, 0, 4))
    assert not off.requires_grad and on.requires_grad
    torch.testing.assert_close(on.detach(), off, rtol=1e-14, atol=1e-14)


def test_evaluations_are_counted():
    net = Net()
    process = sk.FlowPath()
    rev = sk.Reverse(process, sk.scores.from_velocity(net, process))
    for context, extra in ((torch.no_grad(), 0), (torch.enable_grad(), 1)):
        net.calls = 0
        with context:
            moved = transport(rev, torch.zeros(3, 2, dtype=torch.float64), np.linspace(1, 0, 6), sk.heun)
        assert moved.nfe == net.calls == 10 + extra


def test_low_precision_and_integer_data():
    """The state is float32 at least, float64 for numbers."""
    process, grid = sk.FlowPath(), np.linspace(1, 0, 9)
    rev = sk.Reverse(process, MIXTURE.score(process))
    x = torch.tensor([[0.5, 0.25]])
    half = log_prob(rev, x.to(torch.bfloat16), grid)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, log_prob(rev, x.double(), grid).float(), rtol=1e-4, atol=1e-4)
    assert log_prob(rev, [[1, 0]], grid).dtype == np.float64


def test_training_a_flow_by_maximum_likelihood():
    """Five steps on a linear field: the likelihood rises."""
    torch.manual_seed(0)
    a = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    field = sk.process(lambda t, x: x @ a, noise="none", event_dims=1)
    x = torch.as_tensor(RNG.normal(size=(64, 2)) @ np.diag([0.3, 2.0]))
    optimiser = torch.optim.Adam([a], 0.2)
    losses = []
    for _ in range(10):
        loss = -log_prob(field, x, np.linspace(1, 0, 5)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5


# --- bits and errors -----------------------------------------------------------------------------


def test_bits_per_dimension():
    """Uniform levels cost log2 of their number: 8 bits for 256 on [−1, 1], log2(16) for 16 of width 1/8."""
    assert bits_per_dim(-10 * math.log(2.0), 10) == pytest.approx(8.0)
    assert bits_per_dim(-64 * math.log(2.0), 64, 1 / 8) == pytest.approx(4.0)
    torch.testing.assert_close(bits_per_dim(torch.tensor([0.0, -math.log(2.0)]), 1), torch.tensor([7.0, 8.0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_prob(sk.OU(), np.zeros(3), [1, 0]), "OU has noise"),
        (lambda: log_prob(sk.process(lambda t, x, y: (y, x), noise="none"), np.zeros((3, 2)), [1, 0]), "coupled"),
        (lambda: log_prob(FIELD, np.zeros((4, 3)), [1, 0], probes=0), "probes must be an integer >= 1"),
        (lambda: log_prob(FIELD, np.zeros((4, 3)), [1, 0], probes=1, seed=-1), "seed must be"),
        (lambda: log_prob(FIELD, np.zeros((4, 3)), [1, 0], prior=lambda z: z), "prior must return one value per path"),
        (lambda: log_prob(FIELD, np.zeros((4, 3)), [1, 0, 2]), "monotone"),
        (lambda: log_prob(FIELD, np.zeros((4, 3)), []), "grid must hold two or more times"),
        (lambda: log_prob(sk.Reverse(sk.VP(), MIXTURE.score(sk.VP())), np.zeros((4, 2)), [1, 0]), "infinite at t = 0"),
        (lambda: log_prob(FIELD, np.zeros((4, 3)), [1, 0], sk.dpmpp_2m), "pair"),
        (
            lambda: log_prob(sk.Reverse(sk.EDM(), MIXTURE.score(sk.EDM())), np.zeros((4, 2)), [1, 2]),
            "grid must decrease",
        ),
        (lambda: bits_per_dim(0.0, 3, 0.0), "width must be positive"),
        (lambda: bits_per_dim(0.0, 0), "dims must be an integer"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_inference_mode_has_no_divergence():
    """Nothing is recorded in it, so that every field would seem to be constant."""
    x = torch.zeros(4, 3)
    with torch.inference_mode(), pytest.raises(ValueError, match="use no_grad"):
        log_prob(FIELD, x, [1, 0])


def test_no_data_have_no_likelihoods():
    process = sk.FlowPath()
    rev = sk.Reverse(process, MIXTURE.score(process))
    for probes in (None, 2):
        assert log_prob(rev, np.zeros((0, 2)), [1.0, 0.5, 0.0], probes=probes).shape == (0,)
