"""Adversarial networks: losses and penalties as their formulas say, who is updated when, and a first training."""

import math

import pytest
from backends import needs

needs("torch", "zuko")

import torch  # noqa: E402

from generative.checkpoints import load  # noqa: E402
from generative.data import eight_gaussians  # noqa: E402
from generative.gan import GAN, WGAN  # noqa: E402
from generative.training import cosine, fit  # noqa: E402

MODELS = {
    "non-saturating": lambda: GAN(width=32),
    "minimax": lambda: GAN(width=32, minimax=True),
    "penalty": lambda: WGAN(width=32),
    "clip": lambda: WGAN(width=32, clip=0.05),
}
ALL = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def weights(part):
    return torch.cat([weight.detach().flatten().clone() for weight in part.parameters()])


def descending(optimizers):
    """What `fit` hands to `training_step`, without its checks."""

    def descend(index, loss):
        optimizers[index].zero_grad()
        loss.backward()
        optimizers[index].step()
        return loss.item()

    return descend


class Linear(torch.nn.Module):
    """A critic a·u + b."""

    def __init__(self, a, b=0.0):
        super().__init__()
        self.a, self.b = torch.nn.Parameter(torch.tensor(a)), torch.nn.Parameter(torch.tensor(b))

    def forward(self, u):
        return u @ self.a[:, None] + self.b


def test_discriminator_loss_is_the_cross_entropy():
    """With a constant logit b: softplus(−b) + softplus(b), 2 log 2 at b = 0."""
    model, x = GAN(width=8), torch.randn(50, 2)
    model.critic = Linear([0.0, 0.0], 0.7)
    assert float(model.loss(x).detach()) == pytest.approx(math.log1p(math.exp(-0.7)) + math.log1p(math.exp(0.7)))
    model.critic = Linear([0.0, 0.0])
    assert float(model.loss(x).detach()) == pytest.approx(2 * math.log(2))


@pytest.mark.parametrize("minimax", [False, True])
def test_generator_climbs_the_discriminator(minimax):
    """Plain gradient descent; the critic (rate 0) is the logit u₁, so that samples move towards larger u₁. Where it is
    far below 0 the minimax gradient σ(logit) vanishes and the other, 1 − σ, does not."""
    torch.manual_seed(0)
    model = GAN(width=16, minimax=minimax)
    model.critic = Linear([1.0, 0.0], -6.0)
    model.units.known = True
    before = model.sample(1000, seed=0)[:, 0].mean()
    rates = (torch.optim.SGD(model.critic.parameters(), 0.0), torch.optim.SGD(model.generator.parameters(), 0.05))
    model.training_step(torch.randn(1000, 2), None, 0, descending(rates))
    climbed = float(model.sample(1000, seed=0)[:, 0].mean() - before)
    assert 0 < climbed < 1e-3 if minimax else climbed > 1e-2


def test_critic_loss_is_the_gap_and_the_penalty_of_the_slope():
    """f(u) = 3u₁ + 4u₂ has slope 5 everywhere: penalty (5 − 1)²; the gap is the difference of the means. A
    slope below 1 costs nothing."""
    model, x = WGAN(width=8, penalty=0.5), torch.randn(200, 2) + 1
    model.critic = Linear([3.0, 4.0], 1.0)
    torch.manual_seed(3)
    loss = float(model.loss(x).detach())
    torch.manual_seed(3)
    fake = model.drawn(x)
    gap = float((model.critic(fake).mean() - model.critic(x).mean()).detach())
    assert loss == pytest.approx(gap + 0.5 * 16, rel=1e-5)
    model.clip = 0.1
    torch.manual_seed(3)
    assert float(model.loss(x).detach()) == pytest.approx(gap, rel=1e-4)
    model.clip, model.critic = None, Linear([0.3, 0.4])
    torch.manual_seed(3)
    assert float(model.loss(x).detach()) == pytest.approx(gap / 10, rel=1e-4)


@pytest.mark.parametrize("penalty", [1.0, 0.1])
def test_critic_estimates_the_wasserstein_distance(penalty):
    """Against a generator that always gives 0, data at (1, 0) are at distance 1: the critic's slope s minimises
    −s + penalty (s − 1)², whose minimum is −1 − 1/(4 penalty)."""
    torch.manual_seed(0)
    model = WGAN(width=32, penalty=penalty, critic_steps=10**9)
    for weight in model.generator.parameters():
        torch.nn.init.zeros_(weight)
    descend, x = descending(model.optimizers(3e-3)), torch.tensor([[1.0, 0.0]]).repeat(64, 1)
    losses = [model.training_step(x, None, step, descend) for step in range(120)]
    assert sum(losses[-20:]) / 20 == pytest.approx(-1 - 0.25 / penalty, rel=0.05)
    assert weights(model.generator).abs().max() == 0


def test_generator_moves_once_in_critic_steps_and_weights_are_clipped():
    model = WGAN(width=8, clip=0.02, critic_steps=3)
    descend, x, moved = descending(model.optimizers(1e-3)), torch.randn(32, 2), []
    for step in range(6):
        before = weights(model.generator)
        model.training_step(x, None, step, descend)
        moved.append(not torch.equal(before, weights(model.generator)))
        assert weights(model.critic).abs().max() <= 0.02
    assert moved == [False, False, True] * 2
    assert weights(model.generator).abs().max() > 0.02


@ALL
def test_training_brings_samples_towards_the_data(make):
    """From near 0 towards radius 2: the mean radius grows in 100 steps of `fit`, which can be repeated."""
    data = eight_gaussians.sample(5000, seed=1)

    def train():
        torch.manual_seed(0)
        model = make()
        model.standardise(data)
        start = float(model.sample(2000, seed=0).norm(dim=1).mean())
        record = fit(model, data, steps=100, batch=64, lr=4e-3, ema=0.9, seed=0)
        assert record.steps == 100 and torch.isfinite(record.losses).all()
        return start, model

    start, model = train()
    assert float(model.sample(2000, seed=0).norm(dim=1).mean()) > start + 0.2
    assert torch.equal(model.sample(10, seed=0), train()[1].sample(10, seed=0))


@ALL
def test_resumed_equals_uninterrupted_bit_for_bit(make, tmp_path):
    def run(**options):
        torch.manual_seed(0)
        model = make()
        return model, fit(model, data, steps=12, batch=16, seed=0, **options).losses

    def stop(progress):
        if progress > 0.6:
            raise KeyboardInterrupt
        return cosine(progress)

    data, path = eight_gaussians.sample(200, seed=1), tmp_path / "gan.pt"
    whole, losses = run()
    with pytest.raises(KeyboardInterrupt):
        run(schedule=stop, checkpoint=path, every=5)
    resumed, again = run(checkpoint=path, every=5)
    assert torch.equal(losses, again)
    assert all(map(torch.equal, whole.state_dict().values(), resumed.state_dict().values()))


@pytest.mark.parametrize("part", ["critic", "generator"])
def test_what_is_not_finite_reaches_neither_weights_nor_checkpoint(part, tmp_path):
    """An infinite gradient of one part in step 7."""
    model, path, calls = WGAN(width=8, critic_steps=1), tmp_path / "gan.pt", []
    plain = model.drawn

    def trouble(x):
        calls.append(1)  # twice a step: for the critic, then for the generator
        bad = len(calls) == 2 * 7 + (1 if part == "critic" else 2)
        return plain(x) + (math.inf if bad else 0.0)

    model.drawn = trouble
    with pytest.raises(FloatingPointError, match="at step 7; .*gan.pt holds step 5"):
        fit(model, eight_gaussians.sample(200, seed=0), steps=12, batch=16, checkpoint=path, seed=0, every=5)
    assert torch.isfinite(weights(model)).all() and torch.isfinite(weights(load(path))).all()


@ALL
def test_samples_are_a_function_of_the_seed_and_there_is_no_density(make):
    model, state = make(), torch.get_rng_state()
    with pytest.raises(ValueError, match=f"{type(model).__name__} is not trained yet: fit"):
        model.sample(64, seed=3)
    model.standardise(eight_gaussians.sample(100, seed=0))
    x = model.sample(64, seed=3)
    assert x.shape == (64, 2) and not x.requires_grad
    assert torch.allclose(x, model.sample(128, seed=3)[:64], atol=1e-6)
    assert not torch.allclose(x, model.sample(64, seed=4))
    assert torch.equal(state, torch.get_rng_state())
    assert model.density == "none" and not hasattr(model, "log_prob")
    for call in (lambda c: model.sample(4, c=c, seed=0), lambda c: model.loss(torch.zeros(4, 2), c=c)):
        with pytest.raises(ValueError, match="labels"):
            call(torch.zeros(4, dtype=torch.long))


def test_code_is_normals_and_signs():
    model = WGAN(latent=3, signs=2)
    model.generator = torch.nn.Identity()
    code = model.drawn(torch.zeros(500, 2))
    assert (code[:, 3:].abs() == 1).all() and len(code[:, :3].unique()) == 1500


def test_images():
    model = WGAN(shape=(1, 8, 8), width=16)
    model.standardise(torch.rand(50, 1, 8, 8))
    assert model.sample(3, seed=0).shape == (3, 1, 8, 8)
    assert torch.isfinite(model.loss(torch.rand(5, 1, 8, 8)))
