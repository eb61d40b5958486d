"""Small inputs that once gave a wrong number, crashed or said nothing useful; each test names its row (F1, …)."""

import warnings

import numpy as np
import pytest
from backends import needs

needs("torch", "zuko", "sklearn", "ot", "tqdm")

import torch  # noqa: E402

import generative as gen  # noqa: E402
import sdekit as sk  # noqa: E402
from benchmarks.metrics import modes_found  # noqa: E402
from generative import __main__ as cli  # noqa: E402

EIGHT = gen.data.eight_gaussians
TARGET = sk.GaussianMixture(np.ones(8), EIGHT.modes.numpy(), stds=EIGHT.std)
CONTINUOUS = [sk.VP(), sk.VE(), sk.SubVP(), sk.CosineVP(), sk.EDM(), sk.FlowPath()]


class Exact(torch.nn.Module):
    """What the perfect network predicts; it keeps the times at which it is asked."""

    shape = (2,)

    def __init__(self, process, read=sk.scores.as_noise):
        super().__init__()
        self.network, self.times = read(TARGET.score(process)), []

    def forward(self, t, x):
        self.times.append(float(t[0]))
        return self.network(t, x)


def on_a_mode(x):
    return modes_found(x, EIGHT.modes, EIGHT.std)[1]


def drawn(process, steps=16, **options):
    """(share on a mode, times asked at, model) of 4000 samples: exact draws have 0.989 ± 0.0017."""
    model = gen.Diffusion(Exact(process), process, "noise", scaled=False, **options)
    share = on_a_mode(model.sample(4000, seed=0, steps=steps))
    assert model.nfe == steps
    return share, model.net.times, model


@pytest.mark.parametrize("process", CONTINUOUS, ids=lambda process: type(process).__name__)
def test_f1_samples_in_continuous_time(process):
    """Seed fixed."""
    assert drawn(process)[0] > 0.96


@pytest.mark.parametrize(("steps", "least"), [(8, 0.975), (16, 0.96), (32, 0.975)])
def test_f1_samples_on_the_levels_of_a_table(steps, least):
    """Seed fixed. Once 0.215, 0.160 and 0.684: levels were even in time. The network is asked at whole numbers."""
    share, times, _ = drawn(sk.DiscreteVP(), steps)
    assert share > least and times == [round(t) for t in times] and len(set(times)) == steps


@pytest.mark.parametrize("process", CONTINUOUS, ids=lambda process: type(process).__name__)
def test_f1_samples_on_a_hundred_levels(process):
    """Seed fixed. VP once had 0.326, FlowPath 0.815, EDM 0.019."""
    share, times, model = drawn(process, levels=100)
    assert share > 0.95 and set(np.float32(times)) <= set(np.float32(model.levels)) and len(set(times)) == 16


def test_f1_levels_too_far_apart_are_refused():
    with pytest.raises(ValueError, match=r"levels = 100 leave a gap of 6\.. in log\(alpha/sigma\), .*'lognormal'"):
        gen.Diffusion(gen.MLP(), sk.EDM(), weighting="simple", levels=100)


def test_f1_fewer_levels_than_steps_are_all_taken():
    process = sk.VE(0.1, 10.0)
    model = gen.Diffusion(gen.MLP(), process, levels=8)
    assert np.array_equal(model.grid(32), model.levels[::-1]) and np.array_equal(model.grid(7), model.levels[::-1])


@pytest.mark.slow
def test_f2_the_default_follows_the_process():
    """Once 0.267 and 0.224: uniform times of EDM are nearly all noise. Trained shortly, seeds fixed; longer 0.98."""
    x = EIGHT.sample(50_000, seed=5)
    for make in (lambda net: gen.Diffusion(net, sk.EDM(), "v"), lambda net: gen.FlowMatching(net, sk.EDM())):
        torch.manual_seed(0)
        model = make(gen.MLP((2,), 64, 2))
        gen.fit(model, x, steps=400, batch=512, lr=5e-3, ema=0.99, seed=0)
        assert on_a_mode(model.sample(2000, seed=1)) > 0.8
    assert gen.Diffusion(gen.MLP(), sk.VE()).weighting == "lognormal"
    assert gen.Diffusion(gen.MLP(), sk.VP()).weighting == "simple"


@pytest.mark.parametrize("process", [sk.EDM(), sk.VE()], ids=["EDM", "VE"])
def test_f2_the_exact_velocity_of_growing_noise_is_a_minimum(process):
    """Its loss is a mean square, larger by |0.2 F|² at 1.2 F; the model's own sampler gives the data. Seeds fixed."""

    class Turned(torch.nn.Module):
        """d(x/n)/dφ = (alpha ε − sigma D)/n, from x/n and log(sigma/alpha)/4."""

        shape, factor = (2,), 1.0

        def forward(self, level, u):
            sigma = (4 * level[:, None]).exp()
            n = (1 + sigma**2).sqrt()
            clean, eps = TARGET.score(process).pair(process.time(-4 * level), n * u)
            return self.factor * (eps - sigma * clean) / n

    model = gen.FlowMatching(Turned(), process)
    assert on_a_mode(model.sample(4000, seed=0, steps=16)) > 0.96
    losses = []
    for factor in (0.8, 1.0, 1.2):
        torch.manual_seed(0)
        model.net.factor = factor
        losses.append(model.loss(EIGHT.sample(4000, seed=1)))
    assert losses[1] < min(losses[0], losses[2]) - 0.005


@pytest.mark.parametrize(
    "make",
    [
        lambda: gen.Diffusion(gen.MLP(width=16, depth=1), sk.VP()),
        lambda: gen.FlowMatching(gen.MLP(width=16, depth=1)),
        lambda: gen.FlowMatching(gen.MLP(width=16, depth=1), sk.VE()),
        lambda: gen.CNF(gen.MLP(width=16, depth=1)),
        lambda: gen.VAE(width=16),
        lambda: gen.GAN(width=16),
        lambda: gen.RealNVP(width=16, spline=True),
    ],
    ids=["diffusion", "flow", "flow-ve", "cnf", "vae", "gan", "realnvp"],
)
def test_f3_bfloat16(make):
    """Of the samples of float32 within 0.2 on average, where the eight bits of every layer add up."""
    model = make()
    gen.fit(model, torch.randn(200, 2), steps=2, batch=16, seed=0)
    x, half = model.sample(50, seed=0), model.to(torch.bfloat16).sample(50, seed=0)
    assert half.dtype == torch.bfloat16 and (half.float() - x).abs().mean() < 0.2
    assert torch.isfinite(model.loss(torch.randn(8, 2).bfloat16()))


def test_f4_arguments_and_untrained_models():
    model = gen.Diffusion(gen.MLP(width=8, depth=1), sk.VP())
    for made in (model, gen.VAE(), gen.GMM(8), gen.GAN(), gen.RealNVP()):
        with pytest.raises(ValueError, match="is not trained yet"):
            made.sample(5)
        with pytest.raises(ValueError, match="n must be an integer .*, got True"):
            gen.fit(made, torch.randn(60, 2), steps=1, seed=0)
            made.sample(True)
        assert made.sample(np.int64(5), seed=0).shape == (5, 2)
    with pytest.raises(ValueError, match=r"shape must be a tuple of integers, such as \(2,\), got 2"):
        gen.MLP(2)
    assert repr(gen.GMM(8)) == "GMM(components=8, shape=(2,), restarts=3)"


def test_f5_training_longer(tmp_path):
    """After n steps of a run 2n train on from there; fewer than there are is an error."""
    path, x = tmp_path / "run.pt", torch.randn(300, 2)

    def run(steps):
        torch.manual_seed(0)
        model = gen.Diffusion(gen.MLP(width=16, depth=1), sk.VP())
        return gen.fit(model, x, steps=steps, batch=16, seed=0, checkpoint=path), model

    first, _ = run(6)
    longer, model = run(12)
    assert longer.steps == 12 and torch.equal(longer.losses[:6], first.losses)
    assert all(map(torch.equal, model.state_dict().values(), gen.load(path).state_dict().values()))
    assert torch.equal(run(12)[0].losses, longer.losses)
    with pytest.raises(ValueError, match=r"steps = 6, but .*run\.pt holds 12 already"):
        run(6)


def test_f6_arrays_on_the_command_line(here):
    np.save("data.npy", np.random.default_rng(0).standard_normal((64, 3)))
    assert cli.main(["train", "diffusion", "data.npy", "--out", "m.pt", "--steps", "2", "--batch", "8"]) == 0
    assert cli.main(["sample", "m.pt", "-n", "5", "--steps", "2", "--out", "x.npz"]) == 0
    assert np.load("x.npz")["x"].shape == (5, 3)


def test_f6_codes():
    """Two numbers of a line in the plane, through a code of one: what is decoded is near what was encoded."""
    u = torch.randn(2000, 1, generator=torch.Generator().manual_seed(0))
    x, model = torch.cat([1 + 2 * u, 5 - 3 * u], 1), gen.VAE(latent=1, width=32, depth=1)
    gen.fit(model, x, steps=300, batch=128, lr=1e-2, ema=0.95, seed=0)
    z = model.encode(x)
    assert z.shape == (2000, 1) and (model.decode(z) - x).abs().mean() < 0.3  # of a spread of 2 and 3
    with pytest.raises(ValueError, match=r"z must be of shape \(N, 1\), got \(4, 2\)"):
        model.decode(torch.zeros(4, 2))


def test_f6_trajectories(monkeypatch):
    model = gen.Diffusion(gen.MLP(width=8, depth=1), sk.VP())
    model.standardise(torch.randn(50, 2))
    monkeypatch.setattr("generative.sampling.CHUNK", 3)
    path = model.sample(5, seed=0, steps=4, trajectory=True)
    assert path.shape == (5, 5, 2) and torch.equal(path[-1], model.sample(5, seed=0, steps=4))

    def log_prob(x):
        return -0.5 * (x**2).sum(1)

    x0 = torch.zeros(7, 2)
    x = gen.langevin_sample(log_prob, x0, 0.1, 7, seed=0, every=2)
    assert x.shape == (3, 7, 2)
    assert torch.allclose(x[1], gen.langevin_sample(log_prob, x0, 0.1, 4, seed=0), atol=1e-6)
    x = gen.mala(log_prob, x0, 0.1, 7, seed=0, every=2).x
    assert x.shape == (3, 7, 2) and torch.equal(x[1], gen.mala(log_prob, x0, 0.1, 4, seed=0).x)
    with pytest.raises(ValueError, match="every must be an integer from 1 to 7, got 8"):
        gen.mala(log_prob, x0, 0.1, 7, every=8)


def test_f6_em_shows_that_it_works(capsys):
    gen.fit(gen.GMM(2), torch.randn(200, 2), progress=True, seed=0)
    assert "3/3" in capsys.readouterr().err


def test_f7_a_collapsed_code_is_told():
    x = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="all 2 units of the code are off") as told:
        gen.fit(gen.VAE(width=16, depth=1, beta=4.0), x, steps=200, batch=128, lr=1e-2, ema=0.95, seed=0)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gen.fit(gen.VAE(width=16, depth=1, sigma=0.3), x, steps=200, batch=128, lr=1e-2, ema=0.95, seed=0)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.ones((9, 2)) + 1j, "must hold real numbers as x, it holds complex128"),
        (np.array(["a", "b"]), "must hold real numbers as x"),
        (np.ones((9, 2), bool), "must hold real numbers as x, it holds bool"),
        (b"hello", "is no whole file of arrays of numbers"),
        (None, "is no whole file of arrays of numbers"),
    ],
)
def test_f6_files_that_hold_no_data(array, said, tmp_path, capsys):
    path = tmp_path / "x.npy"
    np.save(path, np.ones((9, 2)) if array is None or isinstance(array, bytes) else array)
    if not isinstance(array, np.ndarray):
        path.write_bytes(path.read_bytes()[:100] if array is None else array)
    assert cli.main(["train", "diffusion", str(path), "--out", str(tmp_path / "m.pt"), "--steps", "1"]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "m.pt").exists()


def test_f6_data_are_real_numbers():
    with pytest.raises(ValueError, match="data must be real numbers, got torch.complex64"):
        gen.fit(gen.GMM(2), torch.ones(9, 2, dtype=torch.complex64), steps=1)
