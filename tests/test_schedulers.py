"""Every scheduler class of diffusers: read, and then its own steps are ours, or refused by name."""

import importlib
import inspect
import pickle

import numpy as np
import pytest
from backends import Later
from test_guidance import consistent

import sdekit as sk
from sdekit import scores

torch = pytest.importorskip("torch")
diffusers = Later("diffusers")

pytestmark = pytest.mark.filterwarnings("ignore:::diffusers", "ignore::FutureWarning", "ignore::DeprecationWarning")


def network(x, t):
    """Smooth in both, of every scale of times, and of output of order one."""
    level = torch.as_tensor(t, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    return torch.tanh(0.8 * x.flip(-1) + 0.3) + 0.2 * torch.cos(level / (1 + level.abs()))


KNOWN = sorted({*scores.schedulers.READERS, *scores.schedulers.REFUSED})
ARGUMENTS = {
    "AmusedScheduler": {"mask_token_id": 1},
    "VQDiffusionScheduler": {"num_vec_classes": 9},
    "RFD4ProteinaScheduler": {"schedule_mode": "log", "noise_mode": "1/t", "tsr_k": 1.0, "tsr_sigma": 1.0},
}


def made(cls, **options):
    return cls(**ARGUMENTS.get(cls.__name__, {}), **options)


def test_e4_e5_every_scheduler_is_known():
    mixin, names = diffusers.schedulers.scheduling_utils.SchedulerMixin, dir(importlib.import_module("diffusers"))
    classes = ((name, getattr(diffusers, name, None)) for name in names if name.endswith("Scheduler"))
    found = {name.removesuffix("Scheduler") for name, cls in classes if inspect.isclass(cls) and issubclass(cls, mixin)}
    assert len(found) > 40 and found <= set(KNOWN)
    assert not set(scores.schedulers.READERS) & set(scores.schedulers.REFUSED)


@pytest.mark.parametrize("name", KNOWN)
def test_e4_e5_every_scheduler_is_read_or_refused_by_name(name):
    cls = getattr(diffusers, f"{name}Scheduler", None)
    if cls is None:
        pytest.skip("diffusers is older than this class, or has dropped it")
    if name in scores.schedulers.REFUSED:
        with pytest.raises(ValueError, match=f"scheduler: {name}Scheduler is not read: "):
            scores.from_diffusers(network, made(cls))
        return
    if name in ("CosineDPMSolverMultistep", "DPMSolverSDE"):
        pytest.importorskip("torchsde")  # with which diffusers draws their noise
    score = scores.from_diffusers(network, made(cls))
    process, x = score.process, torch.full((3, 2), 0.3, dtype=torch.float64)
    t = 0.5 * (max(process.domain[0], 0.0) + min(process.domain[1], 10.0))
    for value in pickle.loads(pickle.dumps(score)).pair(t, x):
        assert torch.isfinite(value).all() and value.dtype == torch.float64
    if name not in ("DDIM", "DDIMParallel", "DDIMInverse", "RePaint"):  # they keep ε where they clip
        consistent(score, t, x)


SETTINGS = {"DPMSolverMultistep": {"final_sigmas_type": "zero", "solver_type": "midpoint"}}
VE = ("Euler", "Heun", "LMS")  # whose states are x/alpha
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ZERO = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
LEADING = {"clip_sample": False, "timestep_spacing": "leading"}
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
CONTINUOUS = {"prediction_type": "v_prediction", "timestep_type": "continuous", "use_karras_sigmas": True}
TRAINED = {"clip_sample": True, "clip_sample_range": 0.5}


@pytest.mark.parametrize(
    ("name", "method", "options"),
    [
        ("DDIM", sk.ddim, LEADING),
        ("DDIM", sk.ddim, {**LEADING, "prediction_type": "v_prediction"}),
        ("DDIM", sk.ddim, {**LEADING, **TRAINED}),
        ("DDIM", sk.ddim, {**LEADING, "thresholding": True, "sample_max_value": 1.5}),
        ("DDIM", sk.ddim, {**LEADING, **ZERO}),
        ("DDIMParallel", sk.ddim, {**LEADING, "prediction_type": "sample"}),
        ("CogVideoXDDIM", sk.ddim, {"prediction_type": "v_prediction", "timestep_spacing": "trailing"}),
        ("DPMSolverMultistep", sk.dpmpp_2m, SD),
        ("DPMSolverMultistep", sk.dpmpp_2m, {**SD, "use_karras_sigmas": True}),
        ("DPMSolverMultistep", sk.dpmpp_2m, {**SD, "thresholding": True, "sample_max_value": 1.5}),
        ("DPMSolverMultistep", sk.dpmpp_2m, FLOW),
        ("UniPCMultistep", sk.unipc(2), SD),
        ("UniPCMultistep", sk.unipc(2), {**FLOW, "flow_shift": 3.0}),
        ("EulerDiscrete", sk.ddim, SD),
        ("EulerDiscrete", sk.ddim, {**SD, **ZERO}),
        (
            "EulerDiscrete",
            sk.ddim,
            {**SD, **CONTINUOUS, "sigma_min": 0.002, "sigma_max": 700.0},
        ),
        ("HeunDiscrete", sk.edm_heun, {**SD, "clip_sample": True}),
        ("FlowMatchEulerDiscrete", sk.ddim, {"shift": 3.0}),
        ("FlowMatchEulerDiscrete", sk.ddim, {"use_dynamic_shifting": True}),
        ("FlowMatchEulerDiscrete", sk.ddim, {"invert_sigmas": True}),
        ("MiniMaxH3", sk.ddim, {}),
        ("EDMEuler", sk.ddim, {}),
        ("EDMEuler", sk.ddim, {"prediction_type": "v_prediction", "sigma_schedule": "exponential"}),
        ("EDMDPMSolverMultistep", sk.dpmpp_2m, {}),
    ],
    ids=lambda v: v if isinstance(v, str) else getattr(v, "name", None) or ",".join(map(str, v)),
)  # fmt: skip
def test_e4_e5_their_steps_are_ours(name, method, options):
    """Ten steps with the same network from the same start; diffusers keeps its tables in float32."""
    scheduler = getattr(diffusers, f"{name}Scheduler")(**SETTINGS.get(name, {}), **options)
    more = {"mu": 0.9} if options.get("use_dynamic_shifting") else {}
    scheduler.set_timesteps(10, **more)
    score = scores.from_diffusers(network, scheduler)
    grid = scores.scheduler_grid(scheduler)
    rev = sk.Reverse(score.process, score, eta=0.0)
    x0 = rev.start((6, 1, 2, 2), seed=1, like=torch.ones(1, dtype=torch.float64), t=grid)
    ours = sk.solve(rev, x0, grid=grid, method=method)
    x = x0 / score.process.marginal(float(grid[0]))[0] if name.startswith(VE) and "sigma_max" not in options else x0
    calls = 0
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(network(scaled, t), t, x).prev_sample
        calls += 1
    assert ours.nfe == calls
    if options.get("invert_sigmas"):
        assert np.allclose(grid[[0, -1]], [1.0, 0.0], atol=1e-3)
    tolerance = 2e-4 if name[0] == "D" and "use_karras_sigmas" in options else 3e-5  # theirs round the network's times
    torch.testing.assert_close(ours.final, x.double(), rtol=1e-5, atol=tolerance)


def test_e5_a_configuration_stands_for_its_scheduler():
    scheduler = diffusers.DDIMScheduler(**LEADING, beta_schedule="squaredcos_cap_v2")
    assert scores.from_diffusers(network, scheduler.config) == scores.from_diffusers(network, scheduler)
    saved = {"_class_name": "DDIMScheduler", **diffusers.DDIMScheduler().config}
    assert scores.from_diffusers(network, saved) == scores.from_diffusers(network, diffusers.DDIMScheduler())
    flow = scores.from_diffusers(network, diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0).config)
    assert flow.process == sk.FlowPath()
    with pytest.raises(ValueError, match="does not say of which class"):
        scores.from_diffusers(network, {"prediction_type": "epsilon"})


def test_arguments_in_the_wrong_order():
    with pytest.raises(ValueError, match="unet must be a network, .* got a DDIMScheduler; the scheduler comes second"):
        scores.from_diffusers(diffusers.DDIMScheduler(), network)
    with pytest.raises(ValueError, match="unet must be a network, .* got a str$"):
        scores.from_diffusers("unet", diffusers.DDIMScheduler())


class Bare:
    alphas_cumprod = np.array([0.9, 0.5, 0.1])


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (Bare(), "must have a configuration, which Bare does not have"),
        ({"_class_name": "NoScheduler"}, "a NoScheduler, which is no scheduler of diffusers"),
        ({"_class_name": "DDPMPipeline"}, "a DDPMPipeline, which is no scheduler of diffusers"),
    ],
)
def test_what_is_no_scheduler(scheduler, said):
    with pytest.raises(ValueError, match=said):
        scores.from_diffusers(network, scheduler)


def test_times_of_ones_own():
    scheduler = diffusers.DDPMScheduler()
    scheduler.set_timesteps(timesteps=[900, 500, 10])
    assert scores.scheduler_grid(scheduler).tolist() == [900.0, 500.0, 10.0, -1.0]


def test_e5_errors_are_short():
    for scheduler in (diffusers.LCMScheduler(), diffusers.DDIMScheduler(prediction_type="epsilon")):
        scheduler.alphas_cumprod = scheduler.alphas_cumprod.flip(0)
        with pytest.raises(ValueError) as error:
            scores.from_diffusers(network, scheduler)
        assert len(str(error.value)) < 250


@torch.no_grad()
def test_e5_learned_variances_are_left_out():
    score = scores.from_diffusers(
        lambda x, t: torch.cat([network(x, t), 9 + x], 1), diffusers.DDPMScheduler(variance_type="learned_range")
    )
    x = torch.ones(2, 3, 4, 4)
    plain = scores.from_diffusers(network, diffusers.DDPMScheduler())
    assert torch.equal(score.pair(500.0, x)[1], plain.pair(500.0, x)[1])


def models():
    """(model, scheduler, state shape, condition, the model's own call) of four architectures, with random weights."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=6, attention_head_dim=4, addition_embed_type="text_time", addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=4 * 6 + 5,
    )  # fmt: skip
    text = {"text_embeds": torch.randn(1, 5), "time_ids": torch.randn(1, 6)}
    sdxl = {"encoder_hidden_states": torch.randn(1, 3, 6), "added_cond_kwargs": text}
    dit = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=4, in_channels=4, out_channels=8, num_layers=1, sample_size=8,
        num_embeds_ada_norm=1000, norm_num_groups=4, patch_size=2,
    )  # fmt: skip
    sd3 = diffusers.SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=4,
        num_attention_heads=2, joint_attention_dim=6, caption_projection_dim=8, pooled_projection_dim=5,
    )  # fmt: skip
    pooled = {"encoder_hidden_states": torch.randn(1, 3, 6), "pooled_projections": torch.randn(1, 5)}
    labels, flow = torch.tensor([3, 7]), diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    yield unet, diffusers.DDIMScheduler(**LEADING, **SD), sdxl, lambda x, t: unet(x, t, **both(sdxl)).sample
    yield (
        dit,
        diffusers.DDIMScheduler(**LEADING),
        labels,
        lambda x, t: dit(x, timestep=t.expand(2), class_labels=labels).sample[:, :4],
    )
    yield sd3, flow, pooled, lambda x, t: sd3(x, timestep=t.expand(2), **both(pooled)).sample


def both(condition):
    return {k: both(v) if isinstance(v, dict) else v.expand(2, *v.shape[1:]) for k, v in condition.items()}


@torch.no_grad()
@pytest.mark.parametrize("which", range(3), ids=["UNet2DCondition", "DiT", "SD3"])
def test_e5_architectures_sample_as_their_own_loop(which):
    model, scheduler, condition, call = list(models())[which]
    model.eval()
    scheduler.set_timesteps(4)
    score = scores.from_diffusers(model, scheduler).given(condition)
    grid = scores.scheduler_grid(scheduler)
    rev = sk.Reverse(score.process, score, eta=0.0)
    x = rev.start((2, 4, 8, 8), seed=0, t=grid)
    ours = sk.solve(rev, x, grid=grid, method=sk.ddim)
    for t in scheduler.timesteps:
        x = scheduler.step(call(x, t), t, x).prev_sample
    assert ours.nfe == 4
    torch.testing.assert_close(ours.final, x, rtol=1e-4, atol=2e-5)


def test_e5_processes_of_their_own():
    """Against the formulas of the classes, where no sampler is shared."""
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    v_diffusion = scores.from_diffusers(network, made(diffusers.IPNDMScheduler))
    alpha, sigma = v_diffusion.process.marginal(0.4)
    a, s = alpha / np.hypot(alpha, sigma), sigma / np.hypot(alpha, sigma)
    inside = x / np.hypot(alpha, sigma)
    want = s * inside + a * network(inside, np.arctan2(s, a) * 2 / np.pi)  # their `ets`
    torch.testing.assert_close(v_diffusion.pair(0.4, x)[1], want, rtol=1e-9, atol=1e-9)

    variance_exploding = scores.from_diffusers(network, made(diffusers.ScoreSdeVeScheduler))
    level = 0.01 * 134800**0.3
    torch.testing.assert_close(variance_exploding(0.3, x), network(x, level), rtol=1e-9, atol=1e-9)

    scheduler = made(diffusers.DDPMWuerstchenScheduler)
    cosine = scores.from_diffusers(network, scheduler)
    assert cosine.process.marginal(0.3)[0] ** 2 == pytest.approx(float(scheduler._alpha_cumprod(0.3, "cpu")), rel=1e-6)
    torch.testing.assert_close(cosine.pair(0.3, x)[1], network(x, 0.3), rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="scaler = 2.0; scaler = 1 is read"):
        scores.from_diffusers(network, diffusers.DDPMWuerstchenScheduler(scaler=2.0))

    proteina = scores.from_diffusers(network, made(diffusers.RFD4ProteinaScheduler))
    want = x + 0.3 * network(x, 0.7)  # data, by a velocity towards data at time 0.7
    torch.testing.assert_close(proteina.pair(0.3, x)[0], want, rtol=1e-6, atol=1e-6)


def test_e5_levels_that_a_network_knows_as_angles():
    pytest.importorskip("torchsde")  # which this class of diffusers draws its noise with
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scheduler = made(diffusers.CosineDPMSolverMultistepScheduler)
    level = torch.tensor(3.0, dtype=torch.float64)
    out = network(scheduler.precondition_inputs(x, level), scheduler.precondition_noise(level))
    want = scheduler.precondition_outputs(x, out, level)
    torch.testing.assert_close(scores.from_diffusers(network, scheduler).pair(3.0, x)[0], want, rtol=1e-9, atol=1e-9)
