"""Plans: derivatives and flows they are solved with, what the sampler does, errors expected and met, the record."""

import dataclasses
import json
import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from equations import NOISING

import sdekit as sk
from sdekit.convergence import reference_flow
from sdekit.plans import family, largest_deviation, sampler

VP = sk.VP()
HIGH, LOW = (math.log(sigma / alpha) for alpha, sigma in map(VP.marginal, (1.0, VP.finest)))


@pytest.fixture(scope="module")
def six():
    return sk.solved(VP, 6, 1.5)


def run(plan, target, process=VP, x0=None, count=500, **options):
    """(where the plan takes starts from the exact law, the starts)."""
    alpha, sigma = process.marginal(plan.grid[0])
    clean = target.sample(count, 0)
    x0 = alpha * clean + sigma * np.random.default_rng(1).standard_normal(clean.shape) if x0 is None else x0
    reverse = sk.Reverse(process, target.score(process), eta=0)
    return sk.solve(reverse, x0, grid=plan.grid, method=plan.method, **options), x0


def circle(count=8, radius=2.0, std=0.2):
    angles = 2 * np.pi * np.arange(count) / count
    means = radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    return sk.GaussianMixture(np.ones(count), means, stds=np.full((count, 2), std))


# --- what a plan is solved with ------------------------------------------------------------------


@pytest.mark.parametrize("steps", [6, 8])  # small members and large ones
def test_the_derivatives_are_those_of_the_sampler(steps):
    """In the steps' shares and in the weights, against central differences."""
    window = sampler.Window(2.0, -3.0, steps)
    few = family.family(1.5, 2.0, -3.0, steps, 2, 0)
    at = window.fixed(3) + 0.1 * np.random.default_rng(0).standard_normal(len(window.fixed(3)))
    end, by = sampler.sensitivities(window, at, few)
    np.testing.assert_array_equal(end, sampler.sampled(window, at, few))
    for k in range(len(at)):
        move = np.where(np.arange(len(at)) == k, 1e-5, 0.0)
        difference = sampler.sampled(window, at + move, few) - sampler.sampled(window, at - move, few)
        np.testing.assert_allclose(by[..., k], difference / 2e-5, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("steps", [6, 8])
def test_the_flow_of_the_family_is_the_exact_one(steps):
    """Against the eighth-order solver and the mixture's own score: EDM has alpha = 1."""
    edm = sk.EDM()
    start, end = 50.0, 0.02
    few = family.family(1.5, math.log(start), math.log(end), steps, 3, 4)
    for member in (1, 2, 3):
        chosen = few.member == member
        weights, points, variances = (a[chosen][0] for a in (np.exp(few.log_weights), few.points, few.variances))
        target = sk.GaussianMixture(weights, points, stds=np.tile(np.sqrt(variances), (len(points), 1)))
        exact = reference_flow(edm, target.score(edm), few.start[chosen], start, end, 1e-10)
        np.testing.assert_allclose(few.end[chosen], exact, atol=1e-5)
    variances = few.variances[few.member == 0]
    shrink = np.sqrt((variances + end**2) / (variances + start**2))
    np.testing.assert_allclose(few.end[few.member == 0], shrink * few.start[few.member == 0], atol=1e-6)


def test_fixed_orders_are_the_methods_of_that_order():
    """Order 1 is ddim; from the third step on order 3 is dpmpp_3m: of one memory they make the same step."""
    window, target = sampler.Window(HIGH, LOW, 5), circle()
    reverse = sk.Reverse(VP, target.score(VP), eta=0)
    first, third = (record_of(window, window.fixed(order)) for order in (1, 3))
    made, x0 = run(first, target)
    np.testing.assert_allclose(made.final, sk.solve(reverse, x0, grid=first.grid, method=sk.ddim).final, rtol=1e-9)
    begun = sk.solve(reverse, x0, grid=third.grid[:3], method=sk.dpmpp_3m)
    own = dataclasses.replace(begun, state=begun.state._replace(memory=begun.memory._replace(of="planned")))
    step = third.grid[2:4]
    expected = sk.solve(reverse, begun, grid=step, method=sk.dpmpp_3m).final
    np.testing.assert_allclose(sk.solve(reverse, own, grid=step, method=third.method).final, expected, rtol=1e-9)


def record_of(window, parameters):
    levels, _ = window.levels(parameters[: window.n])
    rows = iter(parameters[window.n :].tolist())
    weights = [[next(rows) for _ in range(min(i, sampler.LAGS))] for i in range(window.n)]
    angles = np.arctan(np.exp(levels))
    return sk.Plan(repr(VP), window.n, 1.0, VP.time(-levels), angles, weights, 0.0, 0.0, "by hand")


# --- what it does --------------------------------------------------------------------------------


def test_on_a_gaussian_the_sampler_is_its_linear_map(six):
    """x/alpha is multiplied by a number for each variance, by the formula of the docstring; so is its exact law."""
    std = np.array([0.01, 0.1, 0.5, 1.5])
    target = sk.Gaussian(np.zeros(4), std=std)
    factor, past = np.ones(4), []
    for (t, t1), row in zip(pairwise(six.grid), six.weights, strict=True):
        (a0, s0), (a1, s1) = VP.marginal(t), VP.marginal(t1)
        past.insert(0, a0 * std**2 / (a0**2 * std**2 + s0**2) * a0 * factor)  # D for x = a0 · factor
        ratio = s1 / a1 * a0 / s0
        slope = past[0] + sum(w * (value - past[0]) for w, value in zip(row, past[1:]))
        factor = ratio * factor + (1 - ratio) * slope
    sol, x0 = run(six, target)
    start, end = (VP.marginal(t)[0] for t in (six.grid[0], six.grid[-1]))
    np.testing.assert_allclose(sol.final, end * factor * x0 / start, rtol=1e-9, atol=1e-12)
    law = sk.convergence.gaussian_law(target, VP, six.method, six.grid, eta=0, start="exact")
    np.testing.assert_allclose(law.std, end * factor / start * np.hypot(start * std, VP.marginal(1.0)[1]), rtol=1e-9)


def test_a_plan_expects_less_and_errs_less_on_targets_it_has_not_seen(six):
    """Against all fixed methods of one evaluation a step on log-SNR; eight Gaussians, one Gaussian, a skew mixture."""
    assert six.error < 0.3 * six.fixed
    rng = np.random.default_rng(2)
    skew = sk.GaussianMixture([1.0, 2.0, 5.0, 0.5], rng.standard_normal((4, 5)), stds=rng.uniform(0.05, 0.5, (4, 5)))
    for target in (circle(), sk.Gaussian(np.zeros(10), std=np.geomspace(0.03, 1.5, 10)), skew):
        sol, x0 = run(six, target, count=2000)
        end = reference_flow(VP, target.score(VP), x0, 1.0, VP.finest, 1e-9)
        reverse, grid = sk.Reverse(VP, target.score(VP), eta=0), sk.grids.log_snr(VP, 6)

        def error(x, end=end):
            return np.sqrt(np.mean((x - end) ** 2))

        methods = sk.ddim, sk.dpmpp_2m, sk.dpmpp_3m, sk.unipc(1), sk.unipc(2), sk.deis(2), sk.deis(3), sk.lms(3)
        best = min(error(sk.solve(reverse, x0, grid=grid, method=m).final) for m in methods)
        assert sol.nfe == 6 and error(sol.final) < 0.8 * best, target


def test_a_plan_tells_points_without_blur_apart():
    """300 in 16 dimensions, against the fixed samplers that are best on digits: 0.69 of the best of them at seed 0."""
    points = np.random.default_rng(0).standard_normal((300, 16)) * np.geomspace(1.6, 0.3, 16)
    target, plan = sk.Empirical(points, 0.0), sk.solved(VP, 8, points)
    sol, x0 = run(plan, target, count=1000)
    reverse = sk.Reverse(VP, target.score(VP), eta=0)
    end = reference_flow(VP, target.score(VP), x0, 1.0, VP.finest, 1e-6)
    fixed = (sk.unipc(2), sk.grids.cosine), (sk.unipc(3), sk.grids.quadratic), (sk.deis(4), sk.grids.log_snr)
    others = [sk.solve(reverse, x0, grid=grid(VP, 8), method=m).final for m, grid in fixed]
    error, *errors = (np.sqrt(np.mean((x - end) ** 2)) for x in (sol.final, *others))
    assert error < 0.75 * min(errors), (error, errors)


@pytest.mark.parametrize("process", NOISING, ids=str)
def test_every_process_of_marginal_form(process):
    plan = sk.solved(process, 3, 1.0)
    assert len(plan.grid) == 4 and all(a > b for a, b in pairwise(plan.grid))
    expected = sk.grids.log_snr(process, 3)
    assert (plan.grid[0], plan.grid[-1]) == (expected[0], expected[-1])
    sol, _ = run(plan, sk.Gaussian(np.zeros(2), std=1.0), process)
    assert sol.nfe == 3 and np.isfinite(sol.final).all() and sol.final.std() == pytest.approx(1.0, abs=0.15)


def test_processes_alike_in_log_snr_share_weights():
    """VP and EDM between the same levels: the same weights, and times of the same levels."""
    edm = sk.EDM(sigma_max=200.0)
    a = sk.solved(VP, 4, 1.0)
    b = sk.solved(edm, 4, 1.0, start=math.exp(HIGH), end=math.exp(LOW))
    np.testing.assert_allclose(np.concatenate(a.weights), np.concatenate(b.weights), atol=1e-4)
    levels = [math.log(sigma / alpha) for alpha, sigma in map(VP.marginal, a.grid)]
    np.testing.assert_allclose(levels, np.log(b.grid), atol=1e-4)


def test_ends_without_signal_and_without_noise_are_steps_of_first_order():
    """They count, and the last one is the denoised state."""
    path, target = sk.FlowPath(), circle()
    plan = sk.solved(path, 7, 1.5, start=1.0, final=True)
    assert (plan.grid[0], plan.grid[-1], len(plan.grid)) == (1.0, 0.0, 8)
    assert [len(row) for row in plan.weights] == [0, 0, 1, 2, 3, 3, 0]
    assert plan == sk.solved(path, 7, 1.5, start=1.0, end=0.0)
    sol, x0 = run(plan, target, path)
    assert sol.nfe == 7
    reverse = sk.Reverse(path, target.score(path), eta=0)
    before = sk.solve(reverse, x0, grid=plan.grid[:-1], method=plan.method).final
    np.testing.assert_array_equal(sol.final, target.score(path).pair(plan.grid[-2], before)[0])
    one = sk.solve(reverse, x0, grid=plan.grid[:2], method=sk.ddim).final
    np.testing.assert_allclose(sk.solve(reverse, x0, grid=plan.grid[:2], method=plan.method).final, one, rtol=1e-12)


def test_torch_and_runs_that_are_cut_agree(six):
    target = circle()
    sol, x0 = run(six, target)
    tensors, _ = run(six, target, x0=torch.tensor(x0))
    np.testing.assert_allclose(tensors.final.numpy(), sol.final, rtol=1e-10, atol=1e-12)
    single, _ = run(six, target, x0=torch.tensor(x0, dtype=torch.float32))
    assert single.final.dtype == torch.float32
    np.testing.assert_allclose(single.final.numpy(), sol.final, atol=1e-4)
    reverse = sk.Reverse(VP, target.score(VP), eta=0)
    first = sk.solve(reverse, x0, grid=six.grid[:4], method=six.method)
    np.testing.assert_array_equal(sk.solve(reverse, first, grid=six.grid[3:], method=six.method).final, sol.final)


# --- the record ----------------------------------------------------------------------------------


def test_a_plan_is_a_value(six):
    """The same again, through JSON and pickle, its method too; another one differs."""
    again = sk.Plan.from_json(six.to_json())
    assert again == six == sk.solved(VP, 6, 1.5) and hash(again) == hash(six)
    assert pickle.loads(pickle.dumps(six)) == six and again.method is six.method
    assert pickle.loads(pickle.dumps(six.method)) is six.method
    assert six != sk.solved(VP, 6, 1.4)
    assert "\n" not in repr(six) and repr(six).startswith("Plan(VP(") and "nfe=6" in repr(six)
    with pytest.raises(AttributeError):
        six.nfe = 7


def test_spread_is_the_largest_standard_deviation_in_any_direction():
    """By power iteration, of numpy's data and torch's, with axes; nothing of d × d numbers is made (d = 200,000)."""
    rng = np.random.default_rng(3)
    axes, _ = np.linalg.qr(rng.standard_normal((12, 12)))
    data = 5.0 + rng.standard_normal((400, 12)) * np.geomspace(2, 0.1, 12) @ axes
    exact = math.sqrt(np.linalg.eigvalsh(np.cov(data.T, bias=True))[-1])
    for given in (data, data.reshape(400, 3, 4), torch.tensor(data), data.tolist()):
        assert largest_deviation(given) == pytest.approx(exact, rel=1e-3)
    assert sk.solved(VP, 2, data).spread == largest_deviation(data)
    assert largest_deviation(rng.standard_normal((4, 200_000))) == pytest.approx(math.sqrt(200_000 / 4), rel=0.1)
    assert largest_deviation(2.5) == 2.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spread": 0.0}, "spread must be a real number, above 0"),
        ({"spread": math.nan}, "spread"),
        ({"spread": "wide"}, "spread"),
        ({"spread": np.ones((5, 2))}, "spread must be data that vary"),
        ({"spread": np.array([[1.0, np.nan], [0.0, 1.0]])}, "spread must be a number or at least two states"),
        ({"nfe": 0}, "nfe must be an integer from 1"),
        ({"nfe": 2.5}, "nfe must be an integer"),
        ({"nfe": 1, "end": 0.0}, "nfe = 1 is not more than the steps of first order"),
        ({"start": 0.5, "end": 0.7}, "start = 0.5 and end = 0.7"),
        ({"process": sk.OU(1.0, 0.0, 1.0)}, "must be finite times"),
        ({"process": "VP"}, "process must be a noising process"),
        ({"process": sk.VP(beta_max=np.array([10.0, 20.0]))}, "one schedule per path"),
    ],
)
def test_what_makes_no_sense_raises(arguments, message):
    with pytest.raises(ValueError, match=message):
        sk.solved(**{"process": VP, "nfe": 4, "spread": 1.0} | arguments)


def test_a_plan_runs_on_its_own_grid_from_its_start(six):
    reverse = sk.Reverse(VP, circle().score(VP), eta=0)
    x = np.zeros((3, 2))
    with pytest.raises(ValueError, match="give solve grid=plan.grid"):
        sk.solve(reverse, x, grid=sk.grids.log_snr(VP, 6), method=six.method)
    with pytest.raises(ValueError, match="needs 2 evaluations before it; begin at 1.0"):
        sk.solve(reverse, x, grid=six.grid[2:], method=six.method)
    with pytest.raises(ValueError, match="holds no plan"):
        sk.Plan.from_json("{}")
    with pytest.raises(ValueError, match="nfe \\+ 1 decreasing times"):
        sk.Plan("VP()", 2, 1.0, (1.0, 0.5), (1.5, 1.0), ((), ()), 0.0, 0.0, "by hand")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"nfe": "6"}, "nfe must be an integer >= 1, got '6'"),
        ({"nfe": 5}, "nfe = 5, 7 times"),
        ({"process": 3}, "process and found must be text, got 3"),
        ({"spread": "x"}, "spread must be a real number, above 0 and finite, got 'x'"),
        ({"error": None}, "error must be a real number"),
        ({"grid": None}, "grid must be a list of numbers"),
        ({"grid": [1, "a", 0.5, 0.4, 0.3, 0.2, 0.1]}, r"grid\[1\] must be a real number, finite, got 'a'"),
        ({"grid": [math.nan] * 7}, r"grid\[0\] must be a real number, finite, got nan"),
        (
            {"angles": [9, 1.4, 1.2, 1.0, 0.8, 0.6, 0.4]},
            r"angles\[0\] must be a real number, at least 0 and at most 1.57",
        ),
        ({"angles": [0.1 * i for i in range(7)]}, "decreasing times and angles"),
        ({"weights": 7}, "weights must be a list of numbers, or of rows"),
        ({"weights": [[], [math.inf], [], [], [], []]}, r"weights\[1\]\[0\] must be a real number, finite, got inf"),
        ({"weights": [[1.0], [], [], [], [], []]}, r"weights\[i\] are at most min\(i, 3\) numbers, got \[1, 0"),
        ({"more": 1}, "holds no plan with the fields angles, error"),
    ],
)
def test_a_text_that_holds_no_plan_says_so(six, changed, message):
    read = json.loads(six.to_json())
    with pytest.raises(ValueError, match=message):
        sk.Plan.from_json(json.dumps(read | changed))


def test_a_text_that_is_cut_anywhere_holds_no_plan(six):
    whole = six.to_json()
    for text in (*(whole[:i] for i in range(0, len(whole) - 1, 53)), whole + "}", "not JSON", None):
        with pytest.raises(ValueError, match="the text holds no plan"):
            sk.Plan.from_json(text)


def test_a_plan_is_for_processes_that_are_as_noisy_at_its_times(six):
    """Another schedule with the same times is refused, one that rounding tells apart is not."""
    with pytest.raises(ValueError, match=r"the plan is for VP\(.*beta_max=20.0.*solve a plan for this process"):
        run(six, circle(), sk.VP(beta_max=10.0))
    run(six, circle(), sk.VP(beta_max=20.0 + 1e-5))
    run(sk.Plan.from_json(six.to_json()), circle())


def test_work_precision_takes_plans(six):
    target = circle()
    record = sk.convergence.work_precision(
        target, VP, [sk.dpmpp_2m, six], [5, 6], sk.convergence.coupled_rmse, samples=200
    )
    rows = record.of("coupled_rmse")
    assert [(row.budget, row.nfe, row.steps) for row in rows["solved"]] == [(6, 6, 6)] and len(rows["dpmpp_2m"]) == 2
    assert rows["solved"][0].value < 0.7 * rows["dpmpp_2m"][1].value
    with pytest.raises(ValueError, match="give start, end and final that agree"):
        sk.convergence.work_precision(target, VP, six, 6, sk.convergence.coupled_rmse, end=0.1, samples=10)
