"""Our samplers inside of other people's programs: the images are those of `solve`."""

import copy
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from backends import Later

import sdekit as sk
from sdekit import scores
from sdekit.clients import diffusers_scheduler, karras_sampler, karras_sigmas

torch = pytest.importorskip("torch")
diffusers = Later("diffusers")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

DDIM = {"clip_sample": False, "timestep_spacing": "leading"}


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8,), norm_num_groups=4,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), add_attention=False,
    ).eval()  # fmt: skip


def images(unet, scheduler, steps, seed=3):
    """What `DDPMPipeline` gives, before it is clipped to [0, 1]: its own loop, and its own public images."""
    pipeline = diffusers.DDPMPipeline(unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed)
    return pipeline(2, generator, num_inference_steps=steps, output_type="np").images


@torch.no_grad()
def wanted(unet, like, method, grid, seed=3):
    """The same by `solve`, from the pipeline's start and with the seed that is drawn next."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn((2, 1, 8, 8), generator=generator)
    noise = int(torch.randint(2**62, (), generator=generator))
    score = scores.from_diffusers(unet, like)
    rev = sk.Reverse(score.process, score, 1.0 if method.normals else 0.0)
    sol = sk.solve(rev, start, grid=grid, method=method, seed=noise)
    return ((sol.final / 2 + 0.5).clamp(0, 1)).permute(0, 2, 3, 1).numpy(), sol.nfe


METHODS = [
    sk.ddim, sk.ddim(0.5), sk.ancestral, sk.dpmpp_2m, sk.dpmpp_3m, sk.unipc(3), sk.deis(3), sk.lms, sk.edm_heun,
    sk.dpm_solver(2), sk.dpm_solver(3), sk.dpmpp_sde, sk.dpmpp_2m_sde,
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_pipeline_gives_the_images_of_solve(unet, method):
    like = diffusers.DDIMScheduler(**DDIM, beta_schedule="scaled_linear")
    scheduler = diffusers_scheduler(method, like=like)
    got = images(unet, scheduler, 6)
    like.set_timesteps(6)
    want, nfe = wanted(unet, like, method, scores.scheduler_grid(like))
    assert len(scheduler.timesteps) == nfe
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    assert got.std() > 0.05


class Plan(NamedTuple):
    grid: list
    method: sk.Method


def test_grids_of_ours_and_plans(unet):
    like = diffusers.DDPMScheduler()  # which clips
    process = scores.from_diffusers(unet, like).process
    grid = sk.grids.log_snr(process, 5, final=True)
    for method in (sk.unipc(2), sk.edm_heun(churn=5, steps=5)):
        want, _ = wanted(unet, like, method, grid)
        for scheduler in (
            diffusers_scheduler(method, like, sk.grids.log_snr),
            diffusers_scheduler(Plan(grid.tolist(), method), like),
        ):
            np.testing.assert_allclose(images(unet, scheduler, 5), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", [sk.dpmpp_2m, sk.dpmpp_sde, sk.edm_heun(churn=2, steps=4)], ids=repr)
def test_a_saved_pipeline_is_equal(unet, method, tmp_path):
    scheduler = diffusers_scheduler(method, diffusers.DDIMScheduler(**DDIM), sk.grids.log_snr)
    before = images(unet, scheduler, 4)
    diffusers.DDPMPipeline(unet, scheduler).save_pretrained(tmp_path)
    loaded = diffusers.DDPMPipeline.from_pretrained(tmp_path)
    assert type(loaded.scheduler) is type(scheduler) and loaded.scheduler.method is method
    assert np.array_equal(images(loaded.unet, loaded.scheduler, 4), before)
    scheduler.save_pretrained(tmp_path / "alone")
    again = type(scheduler).from_pretrained(tmp_path / "alone")
    assert np.array_equal(images(unet, again, 4), before)


def test_a_plan_is_saved_and_loaded(unet, tmp_path):
    like = diffusers.DDIMScheduler(**DDIM)
    process = sk.DiscreteVP(like.alphas_cumprod.double().numpy())
    plan = sk.solved(process, 4, spread=1.0, final=True)
    scheduler = diffusers_scheduler(plan, like)
    before, (want, nfe) = images(unet, scheduler, 4), wanted(unet, like, plan.method, plan.grid)
    np.testing.assert_allclose(before, want, rtol=0, atol=1e-5)
    assert nfe == len(scheduler.timesteps) == 4
    scheduler.save_pretrained(tmp_path)
    again = type(scheduler).from_pretrained(tmp_path)
    assert again.method is plan.method and np.array_equal(images(unet, again, 4), before)
    with pytest.raises(ValueError, match="num_inference_steps = 50, but the plan has 4 steps"):
        scheduler.set_timesteps(50)


def test_what_pipelines_read(unet, tmp_path):
    """Settings and tables are those of the scheduler whose place it takes, and it can be changed back into it."""
    like = diffusers.DDIMScheduler(**DDIM, num_train_timesteps=100, trained_betas=np.linspace(1e-4, 0.1, 100))
    made = diffusers_scheduler(sk.dpmpp_2m, like, sk.grids.log_snr)
    made.save_pretrained(tmp_path)
    scheduler = copy.deepcopy(type(made).from_pretrained(tmp_path))
    settings = {key: value for key, value in like.config.items() if key[0] != "_" and key != "trained_betas"}
    assert settings.items() <= scheduler.config.items()
    assert scheduler.config.num_train_timesteps == 100 and scheduler.config.prediction_type == "epsilon"
    for name in ("betas", "alphas", "alphas_cumprod"):
        assert torch.equal(getattr(scheduler, name), getattr(like, name))
    back = diffusers.DDIMPipeline(unet, scheduler).scheduler  # this pipeline makes a DDIMScheduler of any
    assert type(back) is type(like) and torch.equal(back.alphas_cumprod, like.alphas_cumprod)
    assert settings.items() <= back.config.items()


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (sk.dpmpp_2m, "EulerDiscreteScheduler"),
        (sk.edm_heun, "HeunDiscreteScheduler"),
        (sk.dpmpp_2m, "FlowMatchEulerDiscreteScheduler"),
    ],
)
def test_levels_are_those_of_diffusers(method, name):
    """A level for each evaluation, and the end's: sigma/alpha of tables, sigma of flows."""
    like = getattr(diffusers, name)()
    scheduler = diffusers_scheduler(method, like)
    for each in (like, scheduler):
        each.set_timesteps(5)
    torch.testing.assert_close(scheduler.sigmas, like.sigmas.float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(scheduler.timesteps.double(), like.timesteps.double(), rtol=0, atol=1e-3)


@torch.no_grad()
def test_a_run_begins_with_a_step(unet):
    """Where a timestep is there twice, for the end of one step and the begin of the next, it is the next."""
    like = diffusers.DDIMScheduler(**DDIM)
    scheduler = diffusers_scheduler(sk.edm_heun, like)
    scheduler.set_timesteps(5)
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    score = scores.from_diffusers(unet, like)
    want = sk.solve(sk.Reverse(score.process, score, 0.0), x, grid=scheduler.times[1:], method=sk.edm_heun).final
    for begin in (None, 2):
        scheduler.set_begin_index(begin)
        now = x
        for t in scheduler.timesteps[2:]:
            now = scheduler.step(unet(now, t).sample, t, now).prev_sample
        torch.testing.assert_close(now, want, rtol=1e-5, atol=1e-5)
    scheduler.set_begin_index(1)
    with pytest.raises(ValueError, match=r"begin_index = 1 lies inside a step .* begin at \[0, 2, 4, 6, 8\]"):
        scheduler.step(x, scheduler.timesteps[1], x)


def test_pipelines_of_flow_matching_hand_over_sigmas_and_a_shift():
    """Then no number is given: as many steps as sigmas, on the scheduler's grid or on ours."""
    like = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    theirs, ours = (diffusers_scheduler(sk.ddim, like, grid) for grid in (None, sk.grids.log_snr))
    for scheduler in (like, theirs, ours):
        scheduler.set_timesteps(sigmas=np.linspace(1, 0.2, 5), mu=0.9, device="cpu")
        assert len(scheduler.timesteps) == 5
    torch.testing.assert_close(theirs.timesteps, like.timesteps, rtol=1e-6, atol=0)
    grid = sk.grids.log_snr(sk.FlowPath(), 5, final=True)
    np.testing.assert_allclose(ours.timesteps, 1000 * grid[:-1], rtol=1e-6)


def test_one_scheduler_in_the_place_of_another():
    first = diffusers_scheduler(sk.dpmpp_2m, diffusers.DDIMScheduler(**DDIM))
    second = diffusers_scheduler(sk.ddim, first, sk.grids.log_snr)
    assert second.config.like == first.config.like and second.method is sk.ddim and len(second) == 1000


def test_only_methods_of_this_package_are_loaded():
    scheduler = diffusers_scheduler(sk.ddim, diffusers.DDIMScheduler(**DDIM))
    for module, name in (("os", "system"), ("sdekit.methods.exponential", "phi")):
        method = {"module": module, "name": name, "args": [], "kwargs": {}}
        with pytest.raises(ValueError, match="is no method of sdekit"):
            type(scheduler)(method=method, like=scheduler.config.like)
    assert type(scheduler).from_config(scheduler.config).method is sk.ddim


@torch.no_grad()
def test_a_conditional_pipeline(unet):
    """DiT's: class labels, guidance, and a decoder; against the same pipeline with diffusers' own scheduler."""
    torch.manual_seed(0)
    dit = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=4, in_channels=4, out_channels=8, num_layers=1, sample_size=4,
        num_embeds_ada_norm=1000, norm_num_groups=4, patch_size=2,
    ).eval()  # fmt: skip
    vae = diffusers.AutoencoderKL(block_out_channels=(4,), norm_num_groups=2, latent_channels=4).eval()
    like = diffusers.DDIMScheduler(**DDIM)
    results = []
    for scheduler in (like, diffusers_scheduler(sk.ddim, like)):
        pipeline = diffusers.DiTPipeline(dit, vae, scheduler)
        pipeline.set_progress_bar_config(disable=True)
        random = torch.Generator().manual_seed(1)
        results.append(pipeline([3, 7], generator=random, num_inference_steps=5, output_type="np").images)
    np.testing.assert_allclose(*results, rtol=0, atol=1e-4)


@torch.no_grad()
def test_flow_matching_and_starts_in_the_middle():
    def network(x, t):
        return torch.tanh(x.flip(-1)) + 0.001 * torch.as_tensor(t).reshape(-1, 1, 1, 1)

    like = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler = diffusers_scheduler(sk.dpmpp_2m, like)
    score = scores.from_diffusers(network, like)
    clean, noise = (torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    scheduler.set_timesteps(6)
    for begin in (0, 2):
        scheduler.set_begin_index(begin)
        timesteps = scheduler.timesteps[begin:]
        x = scheduler.scale_noise(clean, timesteps[:1], noise)
        t = scheduler.times[begin]
        torch.testing.assert_close(x, (1 - t) * clean + t * noise)
        want = sk.solve(
            sk.Reverse(score.process, score, 0.0), x, grid=scheduler.times[begin:], method=sk.dpmpp_2m
        ).final
        for s in timesteps:
            x = scheduler.step(network(x, s), s, x, return_dict=False)[0]
        torch.testing.assert_close(x, want, rtol=1e-5, atol=1e-5)


def test_errors():
    like = diffusers.DDIMScheduler(**DDIM)
    with pytest.raises(ValueError, match=r"grid must be one of sdekit\.grids"):
        diffusers_scheduler(sk.ddim, like, np.linspace)
    with pytest.raises(ValueError, match="method must be a Method"):
        diffusers_scheduler("ddim", like)
    with pytest.raises(ValueError, match="adds noise before its first evaluation; begin at the end of the table"):
        diffusers_scheduler(sk.edm_heun(churn=5, steps=6), like).set_timesteps(6)
    with pytest.raises(ValueError, match="like is a EDMEulerScheduler"):
        diffusers_scheduler(sk.ddim, diffusers.EDMEulerScheduler())
    with pytest.raises(ValueError, match="method must be a Method"):
        karras_sampler("euler")


# --- k-diffusion ---------------------------------------------------------------------------------

TARGET = sk.GaussianMixture([0.3, 0.7], [[1.0, -1.0], [-0.5, 2.0]], stds=[0.4, 0.9])


def denoiser(x, sigma, shift=0.0, seed=None):
    return TARGET.score(sk.EDM()).pair(sigma, x)[0] + shift


@pytest.mark.parametrize("method", [sk.dpmpp_2m, sk.unipc(3), sk.edm_heun, sk.dpmpp_2m_sde], ids=repr)
def test_a_sampler_in_the_form_of_k_diffusion(method):
    edm = sk.EDM()
    sigmas = karras_sigmas(sk.grids.karras(edm, 8, start=20.0, final=True), edm)
    assert sigmas.dtype == torch.float32 and sigmas[-1] == 0 and sigmas[0] == 20
    x, steps = 20 * torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), []
    got = karras_sampler(method)(denoiser, x, sigmas, {"shift": 0.1, "seed": 4}, steps.append, True)
    score = scores.from_karras(lambda x, sigma: denoiser(x, sigma, 0.1), 20.1)
    rev = sk.Reverse(score.process, score, 1.0 if method.normals else 0.0)
    want = sk.solve(rev, x, grid=sigmas.double(), method=method, seed=4).final
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    assert [step["i"] for step in steps] == list(range(8)) and torch.equal(steps[0]["x"], x)
    assert {"x", "i", "sigma", "sigma_hat", "denoised"} == set(steps[0])


class Guided(torch.nn.Module):
    """A denoiser as programs wrap it: a network of ε in k-diffusion's form, asked with and without a condition."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner = torch.nn.Linear(3, 2)

    def forward(self, x, sigma, cond, uncond, cond_scale):
        level = sigma[:, None]

        def denoised(c):
            scale = (level**2 + 1).rsqrt()
            return x - level * torch.tanh(self.inner(torch.cat([scale * x, level.log() / 4], 1)) + c)

        return torch.lerp(denoised(uncond), denoised(cond), cond_scale)


@torch.no_grad()
def test_steps_in_the_form_of_k_diffusion():
    """Euler's d = (x − D)/sigma is `ddim`; its 2M multistep, with r = h_last/h, is `dpmpp_2m`."""
    model, x = Guided(), 15 * torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    args = {"cond": 0.3, "uncond": -0.2, "cond_scale": 2.0}
    sigmas = torch.tensor([15.0, 6.0, 2.5, 1.0, 0.4, 0.1, 0.0])

    def clean(x, sigma):
        return model(x, sigma * x.new_ones(len(x)), **args)

    euler = multistep = x
    old, h_last = None, None
    for sigma, after in pairwise(sigmas):
        euler = euler + (after - sigma) * (euler - clean(euler, sigma)) / sigma
        now, h = clean(multistep, sigma), (sigma / after).log()
        ahead = now if old is None or after == 0 else now + h / (2 * h_last) * (now - old)
        multistep = after / sigma * multistep - torch.expm1(-h) * ahead
        old, h_last = now, h
    for method, want in ((sk.ddim, euler), (sk.dpmpp_2m, multistep)):
        got = karras_sampler(method)(model, x, sigmas, extra_args=args, disable=True)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def recipe(first, **names):
    """The block of docs/sampling.md with these words in its first line, run with these names."""
    page = (Path(__file__).parents[1] / "docs" / "sampling.md").read_text(encoding="utf-8")
    source = next(part for part in page.split("```py\n")[1:] if first in part.partition("\n")[0])
    exec(source.partition("```")[0], names)
    return names


class Comfy:
    """How ComfyUI calls: KSAMPLER holds a function, and gives it a model that knows masks, options and a seed."""

    class KSAMPLER:
        def __init__(self, sampler_function, extra_options=None, inpaint_options=None):
            self.function = sampler_function

        def sample(self, model, sigmas, noise, seed, callback):
            args = {"model_options": {}, "seed": seed, "denoise_mask": None}
            return self.function(
                model, sigmas[0] * noise, sigmas, extra_args=args, disable=True,
                callback=lambda x: callback(x["i"], x["denoised"], x["x"], len(sigmas) - 1),
            )  # fmt: skip

    sigma_max, sigma_min = torch.tensor(14.6), torch.tensor(0.03)

    def get_model_object(self, name):
        return {"model_sampling": self}[name]

    def __call__(self, x, sigma, denoise_mask, model_options, seed):
        assert denoise_mask is None and x.dtype == torch.float32 == sigma.dtype
        return TARGET.score(sk.EDM()).pair(sigma, x)[0]


@pytest.mark.slow
def test_the_recipe_for_comfyui(monkeypatch):
    package, module, seen = ModuleType("comfy"), ModuleType("comfy.samplers"), []
    package.samplers, module.KSAMPLER = module, Comfy.KSAMPLER
    monkeypatch.setitem(sys.modules, "comfy", package)
    monkeypatch.setitem(sys.modules, "comfy.samplers", module)
    node = recipe("import comfy")["NODE_CLASS_MAPPINGS"]["Planned"]
    assert node.INPUT_TYPES()["required"].keys() == {"model", "steps"}
    sampler, sigmas = getattr(node(), node.FUNCTION)(Comfy(), 6)
    assert len(sigmas) == 7 and sigmas[0] == 14.6 and sigmas[-1] == 0 and sigmas.dtype == torch.float32
    noise = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    got = sampler.sample(Comfy(), sigmas, noise, 3, lambda *step: seen.append(step))
    rev = sk.Reverse(sk.EDM(), TARGET.score(sk.EDM()), 0.0)
    exact = sk.solve(rev, 14.6 * noise.double(), grid=np.append(np.geomspace(14.6, 1e-3, 300), 0), method=sk.dpmpp_3m)
    assert (got - exact.final).square().mean().sqrt() < 0.12 * exact.final.std()
    assert [step[0] for step in seen] == list(range(6)) and seen[0][3] == 6


class NPSE:
    """What sbi has: an estimator with its schedule, and a potential whose gradient is the score for an observation."""

    potential_fn = property(lambda self: self)
    beta_min, beta_max, t_min = 0.01, 10.0, 1e-3
    mean_base, std_base = torch.zeros(1, 2), torch.ones(1, 2)
    law = sk.VP(0.01, 10.0)

    def __init__(self, prior, sde_type):
        assert sde_type == "vp"

    def append_simulations(self, theta, x):
        return self

    def train(self):
        return self

    def build_posterior(self):
        return self

    def set_x(self, x):
        self.posterior = sk.Gaussian(x, std=0.25)

    def parameters(self):
        return iter([torch.zeros(1)])

    def gradient(self, theta, time):
        alpha, sigma = self.law.marginal(time[:, None])
        return (alpha * self.posterior.mean - theta) / (alpha**2 * 0.25**2 + sigma**2)


@pytest.mark.slow
def test_the_recipe_for_sbi():
    """Mean and deviation of the posterior: 5 standard errors of 1,000 draws (1e-6), and a hundredth."""
    theta = torch.rand(500, 2, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)  # whose generator the recipe draws from
    given = {"NPSE": NPSE, "prior": None, "theta": theta, "x": theta, "x_o": torch.tensor([0.2, -0.3])}
    samples = recipe("NPSE", sk=sk, torch=torch, **given)["samples"]
    assert samples.shape == (1000, 2) and samples.dtype == torch.float32
    bound = 5 * 0.25 / 1000**0.5 + 0.01
    assert (samples.mean(0) - given["x_o"]).abs().max() < bound and (samples.std(0) - 0.25).abs().max() < bound


def test_sigmas_of_other_processes_and_plans():
    vp = sk.VP()
    plan = Plan([0.9, 0.3, 0.01], sk.dpmpp_2m)
    want = [sigma / alpha for alpha, sigma in map(vp.marginal, plan.grid)]
    np.testing.assert_allclose(karras_sigmas(plan, vp), want, rtol=1e-6)
