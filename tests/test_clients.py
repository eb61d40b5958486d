"""Networks of other libraries: small, randomly initialised, nothing downloaded."""

import math
import pickle

import numpy as np
import pytest

import sdekit as sk
from sdekit import scores

torch = pytest.importorskip("torch")

TARGET = sk.GaussianMixture([0.3, 0.7], [[1.0, -1.0], [-0.5, 2.0]], stds=[0.4, 0.9])


# --- EDM and k-diffusion -------------------------------------------------------------------------


def karras(x, sigma, c=None):
    """model(x, sigma) -> denoised, exact for the target; a condition is added."""
    assert sigma.shape == (len(x),)
    clean = TARGET.score(sk.EDM()).pair(sigma, x)[0]
    return clean if c is None else clean + c[:, None]


def test_a_karras_denoiser_is_the_score_of_edm():
    score = scores.from_karras(karras, sigma_max=70)
    exact = TARGET.score(sk.EDM(70.0))
    assert score.process == sk.EDM(70.0) and scores.from_karras(karras).process == sk.EDM(80.0)
    for x in (np.random.default_rng(0).normal(size=(5, 2)), torch.ones(5, 2, dtype=torch.float64)):
        for t in (0.3, 5.0):
            for got, want in zip(score.pair(t, x), exact.pair(t, x), strict=True):
                np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)
    shift = score.given(np.arange(5)).pair(0.3, x)[0] - score.pair(0.3, x)[0]
    np.testing.assert_allclose(shift, np.broadcast_to(np.arange(5)[:, None], (5, 2)), atol=1e-12)
    moved = scores.on_path(score, sk.VP()).pair(0.4, x)
    np.testing.assert_allclose(moved[1], TARGET.score(sk.VP()).pair(0.4, x)[1], rtol=0, atol=1e-10)


def test_a_karras_module_lends_its_parameters():
    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(0.5, dtype=torch.bfloat16))

        def forward(self, x, sigma):
            assert x.dtype == torch.bfloat16 and sigma.dtype == torch.float32
            return self.scale * x

    score = scores.from_karras(Module())
    rev = sk.Reverse(score.process, score, eta=0.0)
    start = rev.start((3, 2), seed=0)
    assert start.dtype == torch.float32 and 20 < start.std() < 200
    sol = sk.solve(rev, start, grid=sk.grids.karras(score.process, 4, final=True), method=sk.edm_heun, seed=0)
    assert sol.nfe == 7 and sol.x.dtype == torch.float32 and torch.isfinite(sol.x).all()


# --- diffusers -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unet():
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8,), norm_num_groups=4,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), num_class_embeds=3, add_attention=False,
    ).eval()  # fmt: skip


def scheduler(kind="epsilon", **options):
    return pytest.importorskip("diffusers").DDPMScheduler(prediction_type=kind, **options)


IMAGES = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 2])


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("n", [0, 500, 999])
@torch.no_grad()
def test_the_pair_of_a_unet_is_what_the_scheduler_makes_of_it(unet, kind, n):
    """Against the scheduler's own denoised state, from the same output at the same table index."""
    theirs = scheduler(kind, clip_sample=False)
    score = scores.from_diffusers(unet, theirs).given(LABELS)
    clean, eps = score.pair(float(n), IMAGES)
    out = unet(IMAGES, n, LABELS).sample
    want = theirs.step(out, n, IMAGES).pred_original_sample
    torch.testing.assert_close(clean, want, rtol=1e-4, atol=1e-4)
    a = theirs.alphas_cumprod[n]
    noise = {"epsilon": out, "sample": (IMAGES - a.sqrt() * out) / (1 - a).sqrt()}
    torch.testing.assert_close(eps, noise.get(kind, a.sqrt() * out + (1 - a).sqrt() * IMAGES), rtol=1e-4, atol=1e-4)
    assert isinstance(score.process, sk.DiscreteVP) and score.process.domain == (-1.0, 999.0)


@torch.no_grad()
def test_labels_change_the_sample_and_guidance_counts(unet):
    score = scores.from_diffusers(unet, scheduler())
    guided = scores.guided(score.given(LABELS), score.given(1), 2.0)
    rev = sk.Reverse(score.process, guided)
    x0 = rev.start((2, 1, 8, 8), seed=0)
    assert x0.dtype == torch.float32
    sol = sk.solve(rev, x0, grid=[999.0, 500.0, 0.0, -1.0], method=sk.ddim, seed=0)
    assert sol.nfe == 6 and torch.isfinite(sol.x).all()
    alone = sk.solve(
        sk.Reverse(score.process, score.given(1)), x0, grid=[999.0, 500.0, 0.0, -1.0], method=sk.ddim, seed=0
    )
    assert alone.nfe == 3 and not torch.allclose(alone.x, sol.x)


@torch.no_grad()
def test_a_half_unet_takes_a_float_state(unet):
    diffusers = pytest.importorskip("diffusers")
    half = diffusers.UNet2DModel.from_config(unet.config).eval()
    half.load_state_dict(unet.state_dict())
    score = scores.from_diffusers(half.to(torch.bfloat16), scheduler())
    full = scores.from_diffusers(unet, scheduler())
    assert sk.Reverse(score.process, score).start((2, 1, 8, 8), seed=0).dtype == torch.float32
    eps, want = (s.given(LABELS).pair(300.0, IMAGES)[1] for s in (score, full))
    assert eps.dtype == torch.float32 and 0 < (eps - want).abs().max() < 0.1 * want.abs().max()


def test_tables_and_predictions_are_read_from_the_scheduler():
    theirs = scheduler(beta_schedule="squaredcos_cap_v2", num_train_timesteps=50)
    process = scores.from_diffusers(lambda x, t: x, theirs).process
    np.testing.assert_array_equal(process.alphas_cumprod, theirs.alphas_cumprod.numpy().astype(np.float64))
    alpha, sigma = process.marginal(7.0)
    assert math.isclose(alpha**2, theirs.alphas_cumprod[7], rel_tol=1e-12) and math.isclose(alpha**2 + sigma**2, 1.0)


class Scheduler:
    """What is read of a scheduler: its configuration and its table, here an array."""

    def __init__(self, kind, table=(0.9, 0.5, 0.1)):
        self.config, self.alphas_cumprod = {"prediction_type": kind}, np.array(table)


def test_any_model_and_table_of_this_form_will_do():
    score = scores.from_diffusers(exact_noise, Scheduler("epsilon"))
    x = np.random.default_rng(0).normal(size=(4, 2))
    exact = TARGET.score(score.process)
    np.testing.assert_allclose(score.pair(1.0, x)[0], exact.pair(1.0, x)[0], rtol=0, atol=1e-12)
    assert pickle.loads(pickle.dumps(score)).pair(2.0, x)[0].shape == (4, 2)
    with pytest.raises(ValueError, match=r"predicts 'trigflow'; from_diffusers reads 'epsilon'"):
        scores.from_diffusers(exact_noise, Scheduler("trigflow"))
    with pytest.raises(ValueError, match="must have a table alphas_cumprod, which EDM does not have"):
        scores.from_diffusers(exact_noise, sk.EDM())
    with pytest.raises(ValueError, match=r"alphas_cumprod = ndarray of shape \(3,\)"):
        scores.from_diffusers(exact_noise, Scheduler("epsilon", (0.9, 0.95, 0.1)))


def exact_noise(x, t):
    """ε at a table index, the same for all rows."""
    return TARGET.score(sk.DiscreteVP(np.array((0.9, 0.5, 0.1)))).pair(float(t[0]), x)[1]
