"""Sampling: small inputs that once gave a wrong number, crashed or said nothing useful; each test names its row."""

import functools
import math
import warnings

import numpy as np
import pytest

import sdekit as sk
from sdekit import matching
from sdekit.convergence.flow import reference_flow
from sdekit.convergence.law import exact_law, gaussian_law
from sdekit.solution import State
from sdekit.system import bind

torch = pytest.importorskip("torch")

ANGLES = np.arange(8) * np.pi / 4
RING = sk.GaussianMixture(np.ones(8), 2 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1), stds=0.2)
VP = sk.VP()


def flow(process, target=RING):
    return sk.Reverse(process, target.score(process), eta=0.0)


def rms(a, b):
    return float(np.sqrt(((a - b) ** 2).mean()))


@pytest.mark.parametrize("order", [2, 3])
def test_e1_close_times_do_not_spoil_unipc(order):
    """A time more changes little, however close to another it is; 0.15 and 0.13 before."""
    rev, grid = flow(VP), sk.grids.log_snr(VP, 20)
    x0 = rev.start((200, 2), seed=0)
    exact = reference_flow(VP, rev.score, x0, float(grid[0]), float(grid[-1]), 1e-8)
    errors = []
    for gap in (None, 1e-4, 1e-2, 0.09, 0.3):
        more = [] if gap is None else [grid[8] + gap * (grid[9] - grid[8])]
        times = np.sort(np.append(grid, more))[::-1]
        errors.append(rms(sk.solve(rev, x0, grid=times, method=sk.unipc(order)).final, exact))
    assert max(errors) < 1.1 * errors[0] < 0.012


@pytest.mark.parametrize("order", [2, 3])
def test_e1_neighbouring_entries_of_a_table(order):
    process = sk.DiscreteVP()
    rev = flow(process)
    x0 = rev.start((200, 2), seed=0)
    ends = [
        sk.solve(rev, x0, grid=[999.0, 800, 600, 400, *more, 200, 100, 50, 20, 5, 0], method=sk.unipc(order)).final
        for more in ([399.0], [])
    ]
    assert rms(*ends) < 0.02


SLOPE = torch.tensor(0.7, dtype=torch.float64)


@pytest.mark.parametrize(
    "network",
    [
        torch.no_grad()(lambda t, x: SLOPE * x),
        torch.inference_mode()(lambda t, x: SLOPE * x),
        lambda t, x: (SLOPE * x).detach(),
        lambda t, x: torch.as_tensor(0.7 * x.detach().numpy()),
        lambda t, x: torch.nn.Parameter(SLOPE) * x.detach(),
    ],
    ids=["no_grad", "inference_mode", "detach", "numpy", "parameters alone"],
)
def test_e2_a_likelihood_needs_derivatives(network):
    x, grid = torch.ones(3, 2, dtype=torch.float64), sk.grids.log_snr(VP, 20)
    good = sk.Reverse(VP, sk.scores.from_noise(lambda t, x: SLOPE * x, VP))
    assert torch.isfinite(sk.likelihood.log_prob(good, x, grid)).all()
    with pytest.raises(ValueError, match=r"output of the network .* has no derivative by x"):
        sk.likelihood.log_prob(sk.Reverse(VP, sk.scores.from_noise(network, VP)), x, grid)
    guided = sk.scores.guided(sk.scores.from_noise(network, VP), good.score, 2.0)
    with pytest.raises(ValueError, match="has no derivative by x"):
        sk.likelihood.log_prob(sk.Reverse(VP, guided), x, grid)


def churned(steps, churn):
    return sk.edm_heun(churn=churn, steps=steps)


def test_e3_every_method_and_metric_has_its_row():
    methods = [
        lambda steps: sk.edm_heun(churn=0.5, steps=steps),
        lambda steps: sk.edm_heun(churn=1, steps=steps),
        functools.partial(churned, churn=2),
    ]

    def coupled_rmse(setting):
        return lambda run: 7.0

    other = sk.convergence.sliced_cramer
    table = sk.convergence.work_precision(RING, VP, methods, [8, 12], [coupled_rmse, other, coupled_rmse], samples=50)
    names = ["<lambda>", "<lambda> #2", "churned(churn=2)"]
    assert table.metrics == ("coupled_rmse", "sliced_cramer", "coupled_rmse #2") and len(table.rows) == 18
    assert list(table.of("sliced_cramer")) == names
    values = [row.value for rows in table.of("sliced_cramer").values() for row in rows]
    assert len(set(values)) == 6


ZEROS = [0.0, 1e-12, 1e-30, 2.0**-24]


@pytest.mark.parametrize("last", ZEROS)
def test_e6_a_table_that_ends_in_nothing(last):
    """Pure noise at its end, as at that of `FlowPath`: any sampler's first step is exact there."""
    table = np.append(np.cumprod(1 - np.linspace(0.01, 0.7, 35)), last)  # 3.1e-8 before the last
    process = sk.DiscreteVP(table)
    assert process.marginal(35.0) == (0.0, 1.0) and process.marginal(34.0)[0] == math.sqrt(table[34])
    assert table[-1] == last  # the caller's array stays
    rev = flow(process, sk.Gaussian([1.0, -1.0], std=0.5))
    x0 = rev.start((200, 2), seed=0)
    ends = [
        sk.solve(rev, x0, grid=np.arange(35.0, -1.0, -1.0), method=method).final
        for method in (sk.edm_heun, sk.deis(3), sk.dpm_solver(2), sk.unipc(2))
    ]
    exact = reference_flow(process, rev.score, x0, 34.0, 0.0, 1e-8)
    for end in ends:
        assert rms(end, exact) < 0.02


def test_e6_around_the_end_of_a_table():
    process = sk.DiscreteVP(np.array([0.9, 0.5, 0.1, 0.0]))
    alpha, sigma = process.marginal(np.array([2.0, 2.5, 3.0]))
    np.testing.assert_allclose(alpha, math.sqrt(0.1) * np.array([1, 0.5, 0]), rtol=1e-14)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, rtol=1e-14)
    assert process.rates(3.0) == (pytest.approx(-math.sqrt(0.1)), 0.0)
    assert process.transition(2.2, 3.0, 5.0) == (0.0, 1.0) and process.transition(3.0, 3.0, 5.0) == (5.0, 0.0)
    for log_snr in (-math.inf, -9.0, -0.3, 2.0):
        assert process.time(log_snr) == pytest.approx(process.time(np.array([log_snr]))[0])
        a, s = process.marginal(process.time(log_snr))
        assert (math.log(a / s) if a else -math.inf) == pytest.approx(log_snr, rel=1e-9)
    clean = sk.DiscreteVP(np.array([1.0, 0.9, 0.5]))
    assert clean.domain == (0.0, 2.0) and clean.marginal(0.0) == (1.0, 0.0)
    standard = sk.DiscreteVP(np.append(np.geomspace(0.99, 1e-6, 30), 2.4e-9))
    assert standard.marginal(30.0)[0] ** 2 == pytest.approx(2.4e-9)


def test_e7_general_methods_converge_on_integer_times():
    """Of exact laws, of second order and more: 8e-4 and 2.4e-3 at any number of steps where log ᾱ had kinks."""
    process, target = sk.DiscreteVP(), sk.Gaussian(0.0, std=0.5)

    def distance(method, steps):
        grid = np.round(np.linspace(999, 0, steps + 1))
        law = gaussian_law(target, process, method, grid, eta=0.0, start="exact")
        return law.w2(exact_law(target, process, 0.0))

    assert distance(sk.rk4, 37) < 2e-6 and distance(sk.rk4, 333) < 1e-7
    assert distance(sk.heun, 111) < 2e-4 and distance(sk.heun, 333) < 4e-5


def test_e7_likelihood_on_a_table():
    process, target = sk.DiscreteVP(), sk.Gaussian([0.3, -0.2], std=0.5)
    x = torch.tensor([[0.5, 0.1], [-0.7, 0.4]], dtype=torch.float64)
    grid = np.round(np.linspace(999, 0, 112))

    def law(t):
        alpha, sigma = process.marginal(t)
        return sk.Gaussian([0.3 * alpha, -0.2 * alpha], std=math.hypot(0.5 * alpha, sigma))

    want = law(0.0).log_prob(x)
    rev = sk.Reverse(process, target.score(process))
    got = sk.likelihood.log_prob(rev, x, grid, prior=law(999.0).log_prob)
    assert (got - want).abs().max() < 1e-3  # 0.02 before


NET = torch.nn.Linear(2, 2).to(torch.bfloat16)


@pytest.mark.parametrize(
    "hidden", ["global", "closure", "partial", "method", "list", "dict", "held", "default", "named"]
)
def test_e8_a_network_behind_a_function_is_found(hidden):
    net = NET

    class Owner:
        def __init__(self):
            self.net = net

        def call(self, t, x):
            return net(x)

    box, ensemble, owner = {"net": net}, [net, net], Owner()
    owner.__dict__["nets"] = (net,)
    deep = {"a": {"b": {"c": {"d": net}}}}
    network, module = {
        "global": (lambda t, x: NET(x), None),
        "closure": (lambda t, x: net(x), None),
        "partial": (functools.partial(lambda n, t, x: n(x), net), None),
        "method": (Owner().call, None),
        "list": (lambda t, x: sum(n(x) for n in ensemble) / 2, None),
        "dict": (lambda t, x: box["net"](x), None),
        "held": (lambda t, x: owner.nets[0](x), None),
        "default": (lambda t, x, n=net: n(x), None),
        "named": (lambda t, x: deep["a"]["b"]["c"]["d"](x), net),
    }[hidden]
    score = sk.scores.from_noise(network, VP, module=module)
    rev = sk.Reverse(VP, sk.scores.clipped(score, -3, 3), eta=0.0)
    x0 = rev.start((4, 2), seed=0)
    assert x0.dtype == torch.float32
    with torch.no_grad():
        end = sk.solve(rev, x0, grid=sk.grids.log_snr(VP, 3), method=sk.ddim).final
    assert end.dtype == torch.float32 and torch.isfinite(end).all()


def test_e8_module_must_be_one():
    with pytest.raises(ValueError, match="module must be a torch module"):
        sk.scores.from_v(lambda t, x: x, VP, module=3)


def test_e9_networks_are_asked_at_times_they_know():
    seen = []

    def network(t, x):
        seen.extend(t.tolist())
        return 0.1 * x

    process = sk.DiscreteVP()
    rev = sk.Reverse(process, sk.scores.from_noise(network, process), eta=0.0)
    end = sk.solve(rev, np.ones((2, 2)), grid=[-1.0, 0.0, 10.0, 300.0], method=sk.ddim).final
    rev.pair(-0.5, np.ones((2, 2)))
    assert min(seen) == 0.0 and set(seen) == {0.0, 10.0} and np.isfinite(end).all()


@pytest.mark.parametrize("process", [VP, sk.FlowPath()], ids=["VP", "FlowPath"])
@pytest.mark.parametrize("order", [2, 3, 4])
def test_e10_round_trips_of_lms_stay_bounded(process, order):
    """6.5 and 2.8e3 before, with order 4."""
    rev, grid, x = flow(process), sk.grids.log_snr(process, 20), RING.sample(100, seed=1)
    up = sk.solve(rev, x, grid=grid[::-1], method=sk.lms(order)).final
    assert np.abs(up).max() < 6
    assert rms(sk.solve(rev, up, grid=grid, method=sk.lms(order)).final, x) < 0.7


def test_e11_a_start_belongs_to_its_grid():
    edm = sk.EDM()
    rev = flow(edm)
    grid = sk.grids.karras(edm, 10, start=14.6)
    x0 = rev.start((2000, 2), seed=0, t=grid)
    assert np.array_equal(x0, rev.start((2000, 2), seed=0, t=14.6))
    assert x0.std() == pytest.approx(14.6, rel=0.08)  # 5 standard errors: 6e-7
    assert np.array_equal(rev.start((2, 2), seed=0, t=torch.tensor(grid)), x0[:2])


def test_e11_a_start_of_another_time_is_refused():
    """2.54 for the standard deviation 0.90 of the samples before, and noise where it was not scaled."""
    edm = sk.EDM()
    rev, grid, full = flow(edm), sk.grids.karras(edm, 10, start=14.6), sk.grids.karras(edm, 10)
    own = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    for x0, times, said in ((rev.start((200, 2), seed=0), grid, "79"), (own, full, ""), (own.numpy(), full, "")):
        with pytest.raises(ValueError, match=rf"mean square of {said}.* grid begins, .* start\(shape, t=grid\)"):
            sk.solve(rev, x0, grid=times, method=sk.dpmpp_2m)
    for seed in range(200):  # by chance: rarer than 1e-6 each
        matching.begins(bind(rev, np.ones((32, 2)), 80.0), sk.ddim, State(rev.start((32, 2), seed), 80.0), full)
    for x0, times in ((80 * own, full), (14.6 * own, grid), (own[:3], full), (RING.sample(100, seed=0), grid[::-1])):
        sk.solve(rev, x0, grid=times, method=sk.ddim)
    sk.solve(rev, np.ones((100, 2)), grid=full, method=sk.ddim)  # of one state, not of draws


def test_a_sampler_takes_no_step_size():
    with pytest.raises(ValueError, match=r"h is 0.1, but ddim is a sampler, .*sdekit.grids.log_snr\(process, n\)"):
        sk.solve(flow(VP), np.ones((2, 2)), [1.0, 0.01], sk.ddim, h=0.1)


def test_a_network_says_what_it_predicts():
    net = torch.nn.Linear(2, 2)
    for score in (net, lambda t, x: net(x)):
        with pytest.raises(ValueError, match=r"score is the network .* sdekit.scores.from_noise\(network, process\)"):
            sk.Reverse(VP, score)
    assert sk.Reverse(VP, sk.scores.from_score(net, VP)).score.network is net


def test_e14_one_image_of_a_batch_alone():
    rev = sk.Reverse(VP, RING.score(VP))
    grid = sk.grids.log_snr(VP, 6)
    batch = rev.start((5, 3, 2), seed=3)
    alone = rev.start((1, 3, 2), seed=3, first_path=2)
    assert np.array_equal(alone[0], batch[2])
    whole = sk.solve(rev, rev.start((5, 2), seed=3), grid=grid, method=sk.ancestral, seed=1).final
    x0 = rev.start((2, 2), seed=3, first_path=2)
    part = sk.solve(rev, x0, grid=grid, method=sk.ancestral, seed=1, first_path=2).final
    assert np.array_equal(part, whole[2:4])
    each = rev.start((3, 4, 2), seed=[7, 8, 7], like=torch.ones(1))
    assert torch.equal(each[0], each[2]) and torch.equal(each[1:2], rev.start((1, 4, 2), seed=8, like=torch.ones(1)))
    with pytest.raises(ValueError, match="seed holds 2 seeds: give one for each of 3 rows"):
        rev.start((3, 2), seed=[1, 2])


def test_e15_forgotten_gradients_are_told_once():
    net = torch.nn.Linear(2, 2)
    rev = sk.Reverse(VP, sk.scores.from_noise(lambda t, x: net(x), VP), eta=0.0)
    x0, how = rev.start((3, 2), seed=0), {"grid": sk.grids.log_snr(VP, 4), "method": sk.ddim}
    with pytest.warns(UserWarning, match=r"carry the gradients .* torch.no_grad\(\)") as record:
        sk.solve(rev, x0, **how)
    assert len(record) == 1 and record[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.no_grad():
            sk.solve(rev, x0, **how)
        sk.solve(rev, x0.requires_grad_(), **how)


def test_e16_errors_say_the_cure():
    rev = flow(VP)
    x0 = rev.start((3, 2), seed=0)
    for name in ("nfe", "steps", "num_inference_steps"):
        with pytest.raises(
            ValueError, match=rf"no argument '{name}'; did you mean grid, .*grids\.log_snr\(process, n\)"
        ):
            sk.solve(rev, x0, method=sk.ddim, **{name: 20})
    with pytest.raises(ValueError, match=r"how to step is not said.*A sampler takes grid=sdekit\.grids\.log_snr"):
        sk.solve(rev, x0, [1.0, 0.001], sk.ddim)
    with pytest.raises(ValueError, match=r"got 'unipc'; did you mean sdekit\.unipc\?"):
        sk.solve(rev, x0, method="unipc", grid=[1.0, 0.5])
    with pytest.raises(ValueError, match=r"got 'dpmpp'; did you mean sdekit\.dpmpp_\w+ or sdekit\.dpmpp_\w+"):
        sk.solve(rev, x0, method="dpmpp", grid=[1.0, 0.5])
    with pytest.raises(ValueError, match=r"got 'qqqq'$"):
        sk.solve(rev, x0, method="qqqq", grid=[1.0, 0.5])


# --- e13: networks that are not what they are given as -------------------------------------------

IMAGES = np.clip(0.5 + 0.35 * RING.sample(256, seed=3) / 2, 0, 1)  # in [0, 1]
SIGNED = sk.GaussianMixture(RING.weights, 0.35 * RING.means, stds=0.07)  # of 2·IMAGES − 1
LATENTS = sk.GaussianMixture(RING.weights, RING.means / 1.428, stds=0.14)  # of unit variance
EDM = sk.EDM()
TABLE = sk.DiscreteVP()
SCALED = sk.DiscreteVP(np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2))


def exact(kind, process, target=LATENTS):
    return getattr(sk.scores, f"as_{kind}")(target.score(process))


def level(log):
    return np.exp(log).clip(1e-6, 80)


def inner(scale, target=LATENTS):
    """EDM's F with sigma_data = scale, called with (log(sigma)/4, c_in x)."""

    def network(t, x):
        sigma = level(4 * t)[:, None]
        total = sigma**2 + scale**2
        x = x * np.sqrt(total)
        return (
            (exact("denoiser", EDM, target)(sigma[:, 0], x) - scale**2 / total * x) * np.sqrt(total) / (scale * sigma)
        )

    return network


def ring(std):
    """Of this standard deviation in each component."""
    return sk.GaussianMixture(RING.weights, RING.means / 1.428 * std, stds=0.14 * std)


MISTAKES = {
    "its times run from 0 to 999": ("noise", VP, lambda t, x: exact("noise", VP)(t / 999, x), 0),
    "its times run from 0 to 1 ": ("noise", TABLE, lambda t, x: exact("noise", TABLE)(np.clip(999 * t, 0, 999), x), 0),
    r"the data lie in \[0, 1\]": ("noise", VP, exact("noise", VP, SIGNED), IMAGES),
    r"the data lie in \[0, 255\]": ("v", VP, exact("v", VP, SIGNED), 255 * IMAGES),
    "the data lack a factor": ("noise", VP, exact("noise", VP), 5.4),
    "its table is that of √betas": ("noise", TABLE, exact("noise", SCALED), 0),
    "it is EDM's network inside its preconditioning, with sigma_data = 0.5": ("denoiser", EDM, inner(0.5), 0),
    r"its times are log\(sigma\)/4": ("denoiser", EDM, lambda t, x: exact("denoiser", EDM)(level(4 * t), x), 0),
    r"its times are log\(sigma\) ": ("noise", EDM, lambda t, x: exact("noise", EDM)(level(t), x), 0),
}


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_e13_mistakes_are_named(mistake):
    kind, process, network, data = MISTAKES[mistake]
    if not isinstance(data, np.ndarray):
        data = LATENTS.sample(256, seed=2) * (data or 1)
    with pytest.raises(ValueError, match=mistake):
        getattr(sk.scores, f"from_{kind}")(network, process).check(data)


@pytest.mark.parametrize("std", [0.25, 1.0, 2.0, 5.0])
def test_e13_the_inner_network_of_edm_on_data_of_any_scale(std):
    data = ring(std).sample(256, seed=2)
    for scale in (0.5, std):
        with pytest.raises(ValueError, match="EDM's network inside its preconditioning, with sigma_data = "):
            sk.scores.from_denoiser(inner(scale, ring(std)), EDM).check(data)


@pytest.mark.parametrize("factor", [0.18215, 0.13025, 0.3611])
@pytest.mark.parametrize("std", [0.5, 0.8, 1.5])
def test_e13_latents_without_their_factor(factor, std):
    """Those of the usual autoencoders, whatever the standard deviation of what the network was trained on."""
    data = ring(std).sample(256, seed=2) / factor
    for process in (VP, TABLE, EDM, sk.FlowPath()):
        with pytest.raises(ValueError, match="the data lack a factor: it knows them times about 0"):
            sk.scores.from_noise(exact("noise", process, ring(std)), process).check(data)


@pytest.mark.parametrize(
    ("given", "true", "named"),
    [
        (VP, sk.CosineVP(), r"its process is CosineVP\("),
        (VP, sk.FlowPath(), r"its process is FlowPath\("),
        (VP, SCALED, "its table is that of √betas"),
        (VP, sk.VP(0.01, 10.0), r"its process is VP\(beta_min=0.01"),
        (VP, sk.SubVP(), r"its process is SubVP\("),
        (sk.FlowPath(), sk.SubVP(), r"its process is SubVP\("),
        (sk.CosineVP(), VP, r"its process is VP\(|its table is that of betas"),  # the two differ by 1e-3
        (sk.VP(0.01, 10.0), VP, r"its process is VP\(|its table is that of betas"),
        (TABLE, sk.CosineVP(), "its table is that of the cosine schedule|its process is CosineVP"),
        (sk.FlowPath(), VP, r"its process is VP\(|its table is that of betas"),
        (sk.VE(), EDM, r"its process is EDM\("),
        (EDM, sk.VE(), r"its process is VE\("),
    ],
    ids=repr,
)
def test_e13_networks_of_another_process(given, true, named):
    """The network is called with the times, and the states, of the one that it was given with."""
    clean, span = LATENTS.sample(256, seed=2), {EDM: 80.0, TABLE: 999.0, SCALED: 999.0}

    def network(t, x):
        u = t / (1.0 if EDM in (given, true) else span.get(given, 1.0) / span.get(true, 1.0))
        return exact("noise", true)(np.clip(u, max(true.domain[0], 1e-5), true.domain[1]), x)

    with pytest.raises(ValueError, match=named):
        sk.scores.from_noise(network, given).check(clean)


def test_e13_good_networks_pass_on_data_of_any_scale():
    for target, data in ((LATENTS, LATENTS.sample(256, seed=5)), (SIGNED, 2 * IMAGES - 1)):
        for process in (VP, TABLE, SCALED, EDM):
            sk.scores.from_noise(exact("noise", process, target), process).check(data)


# --- e12: guidance -------------------------------------------------------------------------------


class Own:
    """A score without `given`."""

    event_dims = 1

    def __init__(self, mean):
        self.process, self.exact = VP, sk.Gaussian(mean, std=0.5).score(VP)

    def pair(self, t, x):
        return self.exact.pair(t, x)

    def __call__(self, t, x):
        return self.exact(t, x)


def moved(weight):
    return sk.Gaussian([weight, -weight], std=0.5).score(VP)  # of equal variances, exact


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_e12_weights_of_each_path_and_of_the_time(make):
    x = make(np.random.default_rng(0).normal(size=(3, 2)))
    pair = Own([1.0, -1.0]), Own([0.0, 0.0])

    def same(guided, weights, t=0.4):
        for i, weight in enumerate(weights):
            for got, want in zip(guided.pair(t, x), moved(weight).pair(t, x), strict=True):
                np.testing.assert_allclose(got[i], want[i], rtol=0, atol=1e-12)
            np.testing.assert_allclose(guided(t, x)[i], moved(weight)(t, x)[i], rtol=0, atol=1e-11)

    guided = sk.scores.guided
    same(guided(*pair, make(np.array([0.0, 2.0, 5.5]))), [0.0, 2.0, 5.5])
    same(guided(*pair, lambda t: 3 * t), [1.2] * 3)
    times = make(np.array([0.1, 0.4, 0.9]))
    for weight, want in ((lambda t: 3 * t, [0.3, 1.2, 2.7]), (lambda t: 4.0, [4.0] * 3)):
        for i, value in enumerate(want):
            exact = moved(value).pair(float(times[i]), x)[0][i]
            np.testing.assert_allclose(guided(*pair, weight).pair(times, x)[0][i], exact, rtol=0, atol=1e-12)
    limited = guided(*pair, 4.0, interval=(0.2, 0.6))
    same(limited, [4.0] * 3)
    same(limited, [1.0] * 3, t=0.7)
    assert rms(np.asarray(limited.pair(times, x)[0][0]), np.asarray(moved(1.0).pair(0.1, x)[0][0])) < 1e-12
    with pytest.raises(ValueError, match=r"weight has shape \(2,\); expected a number or one value per path"):
        guided(*pair, make(np.ones(2))).pair(0.4, x)
    for wrong in (3.0, (0.5, 0.2), (1,)):
        with pytest.raises(ValueError, match="interval"):
            guided(*pair, 2.0, interval=wrong)


@pytest.mark.parametrize("kind", ["noise", "v", "denoiser"])
def test_e12_rescaled_guidance_acts_on_what_the_network_predicts(kind):
    """(1 − φ) out + φ out std(out_c)/std(out), with the standard deviation over each sample."""
    x, weight, share = np.random.default_rng(0).normal(size=(3, 4, 5)), 7.0, 0.7

    def network(t, x, c):
        return np.sin(x + c.reshape(-1, 1, 1)) * (1 + 0.3 * c.reshape(-1, 1, 1))

    score = getattr(sk.scores, f"from_{kind}")(network, VP)
    cond, null = (network(None, x, np.full(3, c)) for c in (1.0, 0.0))
    plain = null + weight * (cond - null)
    ratio = cond.std((1, 2), keepdims=True) / plain.std((1, 2), keepdims=True)
    want = getattr(sk.scores, f"from_{kind}")(lambda t, x: plain * (1 - share + share * ratio), VP)
    guided = sk.scores.guided(score.given(1.0), score.given(0.0), weight, rescale=share)
    for got, exact in zip(guided.pair(0.4, x), want.pair(0.4, x), strict=True):
        np.testing.assert_allclose(got, exact, rtol=0, atol=1e-12)
    np.testing.assert_allclose(guided(0.4, x), want(0.4, x), rtol=0, atol=1e-12)


def test_e12_dynamic_thresholding():
    x = 5 * np.random.default_rng(0).normal(size=(3, 4, 5))
    network = sk.scores.from_denoiser(lambda t, x: x, VP)
    clean, eps = sk.scores.thresholded(network, 0.9).pair(0.4, x)
    s = np.quantile(np.abs(x.reshape(3, -1)), 0.9, axis=1).reshape(3, 1, 1)
    np.testing.assert_allclose(clean, x.clip(-s, s) / s, rtol=1e-14)
    alpha, sigma = VP.marginal(0.4)
    np.testing.assert_allclose(alpha * clean + sigma * eps, x, rtol=0, atol=1e-12)
    kept = sk.scores.thresholded(network, 0.9, noise="kept").pair(0.4, torch.as_tensor(x))
    np.testing.assert_allclose(kept[0], clean, rtol=1e-12)
    np.testing.assert_allclose(kept[1], network.pair(0.4, x)[1], rtol=1e-12)
    most = sk.scores.thresholded(network, 0.9, most=2.0).pair(0.4, x)[0]
    np.testing.assert_allclose(most, x.clip(-2, 2) / 2, rtol=1e-14)
    with pytest.raises(ValueError, match="noise must be 'moved' .* or 'kept', got 'lost'"):
        sk.scores.clipped(network, noise="lost")
