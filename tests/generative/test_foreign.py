"""A network trained elsewhere: five lines make a sampler of it, whatever it predicts."""

import math

import pytest

torch = pytest.importorskip("torch")

import sdekit as sk  # noqa: E402
from generative import Diffusion  # noqa: E402

DATA = sk.GaussianMixture([0.5, 0.5], [[-1.5, 0.0], [1.5, 0.0]], stds=0.3)
MAKERS = {
    "noise": (sk.scores.as_noise, sk.scores.from_noise),
    "denoiser": (sk.scores.as_denoiser, sk.scores.from_denoiser),
    "v": (sk.scores.as_v, sk.scores.from_v),
    "score": (sk.scores.as_score, sk.scores.from_score),
    "velocity": (sk.scores.as_velocity, sk.scores.from_velocity),
}
METHODS = [name for name in sk.methods.__all__ if {"none", "additive"} & set(getattr(sk, name).noise)]


class Foreign(torch.nn.Module):
    """Stands for somebody's trained network (t, x); it knows nothing of this package."""

    def __init__(self, predict):
        super().__init__()
        self.predict, self.bias = predict, torch.nn.Parameter(torch.zeros(2))

    def forward(self, t, x):
        return self.predict(t, x) + self.bias


def looks_right(x):
    """Both modes, with the right spread: 5 standard errors of 2000 draws (1e-6), and 0.1 for coarse solvers."""
    share, width = (x[:, 0] > 0).double().mean(), x[:, 1].double().std()
    return abs(share - 0.5) < 5 * 0.5 / math.sqrt(2000) and abs(width - 0.3) < 5 * 0.3 / math.sqrt(4000) + 0.1


@pytest.mark.parametrize("prediction", MAKERS)
def test_five_lines(prediction):
    make, read = MAKERS[prediction]
    vp = sk.VP()
    net = Foreign(make(DATA.score(vp)))
    # what a user writes:
    score = read(net, vp)
    reverse = sk.Reverse(vp, score)
    grid = sk.grids.log_snr(vp, 30, final=True)
    with torch.no_grad():
        x = sk.solve(reverse, reverse.start((2000, 2), seed=0), grid=grid, method=sk.dpmpp_2m, seed=0).x[-1]
    assert looks_right(x)


@pytest.mark.parametrize("name", METHODS)
def test_through_every_method(name):
    """Diffusion wraps the same network, scaled=False; every method that runs on a `Reverse` samples from it."""
    vp, method = sk.VP(), getattr(sk, name)
    if "transition" in method.needs or method is sk.langevin or method.jacobian:
        pytest.skip("not a sampler from noise to data")
    method = sk.annealed_langevin(0.3, 10) if method is sk.annealed_langevin else method
    model = Diffusion(Foreign(sk.scores.as_noise(DATA.score(vp))), vp, "noise", scaled=False, shape=(2,))
    assert looks_right(model.sample(2000, seed=2, method=method, steps=40 if "pair" in method.needs else 100))
