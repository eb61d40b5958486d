"""Pipelines of diffusers that need transformers too: tiny random parts, our scheduler in the place of theirs."""

import numpy as np
import pytest
from backends import Later, needs

import sdekit as sk
from sdekit import scores
from sdekit.clients import diffusers_scheduler

torch = pytest.importorskip("torch")
needs("transformers")
diffusers = Later("diffusers")

pytestmark = [
    pytest.mark.slow,  # transformers is imported
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]

STABLE = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
    "set_alpha_to_one": False, "steps_offset": 1,
}  # fmt: skip
WEIGHT = 3.0


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


TEXT, NONE, IMAGE = noise(1, 3, 8), noise(1, 3, 8, seed=1), noise(1, 3, 8, 8, seed=2).clamp(-1, 1) / 2 + 0.5
MASK = (torch.arange(8) % 2).float().expand(1, 1, 8, 8)


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, layers_per_block=1, block_out_channels=(8,), norm_num_groups=4, cross_attention_dim=8,
        attention_head_dim=4, down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",),
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(block_out_channels=(4,), norm_num_groups=2, latent_channels=4)
    return {"unet": unet.eval(), "vae": vae.eval()}


def pipeline(name, parts, scheduler):
    """With embeddings given, there is nothing for tokenizers and text models to do."""
    absent = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor"))
    made = getattr(diffusers, name)(**parts, **absent, scheduler=scheduler, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


def images(made, steps, **more):
    more = {"num_inference_steps": steps, "guidance_scale": WEIGHT, "output_type": "np"} | more
    random = torch.Generator().manual_seed(5)
    return made(prompt_embeds=TEXT, negative_prompt_embeds=NONE, generator=random, **more).images


USES = {
    "StableDiffusionPipeline": {},
    "StableDiffusionImg2ImgPipeline": {"image": IMAGE, "strength": 0.6},
    "StableDiffusionInpaintPipeline": {"image": IMAGE, "mask_image": MASK, "height": 8, "width": 8},
}


@pytest.mark.parametrize("name", USES)
def test_the_same_sampler_gives_the_same_images(name, parts):
    """DDIM of ours against DDIM of theirs: from noise, from an image in the middle, and changed after each step."""
    like = diffusers.DDIMScheduler(**STABLE)
    theirs, ours = (
        images(pipeline(name, parts, scheduler), 5, **USES[name])
        for scheduler in (like, diffusers_scheduler(sk.ddim, like))
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    assert theirs.std() > 0.05


@pytest.mark.parametrize("method", [sk.dpmpp_2m, sk.edm_heun, sk.dpmpp_2m_sde], ids=repr)
@torch.no_grad()
def test_they_are_those_of_solve(method, parts):
    """With guidance; D = D_u + w (D_c − D_u) and ε_u + w (ε_c − ε_u) are the same."""
    like = diffusers.DDIMScheduler(**STABLE)
    made = pipeline("StableDiffusionPipeline", parts, diffusers_scheduler(method, like, sk.grids.log_snr))
    got = images(made, 4)
    random = torch.Generator().manual_seed(5)
    start, seed = torch.randn((1, 4, 8, 8), generator=random), int(torch.randint(2**62, (), generator=random))
    score = scores.from_diffusers(parts["unet"], like)
    guided = scores.guided(score.given(TEXT), score.given(NONE), WEIGHT)
    rev = sk.Reverse(score.process, guided, 1.0 if method.normals else 0.0)
    grid = sk.grids.log_snr(score.process, 4, final=True)
    latents = sk.solve(rev, start, grid=grid, method=method, seed=seed).final
    decoded = parts["vae"].decode(latents / parts["vae"].config.scaling_factor).sample
    np.testing.assert_allclose(got, (decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1), rtol=0, atol=2e-5)


def test_a_plan_is_saved_and_loaded_with_its_pipeline(parts, tmp_path):
    like = diffusers.DDIMScheduler(**STABLE)
    plan = sk.solved(sk.DiscreteVP(like.alphas_cumprod.double().numpy()), 4, spread=1.0, final=True)
    made = pipeline("StableDiffusionPipeline", parts, diffusers_scheduler(plan, like))
    before = images(made, 4)
    with pytest.raises(ValueError, match="num_inference_steps = 50, but the plan has 4 steps"):
        images(made, 50)
    made.save_pretrained(tmp_path)
    loaded = type(made).from_pretrained(tmp_path, text_encoder=None, tokenizer=None)
    loaded.set_progress_bar_config(disable=True)
    assert np.array_equal(images(loaded, 4), before)


@torch.no_grad()
def test_flow_matching_with_the_pipelines_own_sigmas():
    """Flux hands over sigmas and a shift, without a number of steps: as many are on our grids."""
    torch.manual_seed(0)
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=8, pooled_projection_dim=8, axes_dims_rope=(4, 4, 8),
    ).eval()  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(4,), norm_num_groups=2, latent_channels=1, use_quant_conv=False, use_post_quant_conv=False,
        shift_factor=0.1, scaling_factor=1.5,
    ).eval()  # fmt: skip
    absent = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    like = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    settings = {"height": 8, "width": 8, "num_inference_steps": 4, "output_type": "np"}
    results = []
    for scheduler in (like, diffusers_scheduler(sk.ddim, like), diffusers_scheduler(sk.ddim, like, sk.grids.log_snr)):
        made = diffusers.FluxPipeline(transformer=transformer, vae=vae, scheduler=scheduler, **absent)
        made.set_progress_bar_config(disable=True)
        random = torch.Generator().manual_seed(1)
        text = {"prompt_embeds": TEXT, "pooled_prompt_embeds": TEXT[:, 0]}
        results.append(made(**text, generator=random, **settings).images)
        assert len(made.scheduler.timesteps) == 4
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=1e-5)
    assert abs(results[2] - results[0]).max() > 1e-3
