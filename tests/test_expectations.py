"""Expectations: values in closed form, levels that telescope, and what the answer says of itself.

Seeds are fixed. A value may miss its tolerance, or two means differ by four standard errors, with probabilities of 1e-2
and 6e-5 for a seed.
"""

import dataclasses
import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

import sdekit as sk
from sdekit import brownian
from sdekit.expectations import levels, multilevel
from sdekit.expectations.levels import Failed
from sdekit.expectations.numbers import Needs, Numbers, bridged, counted, sobol
from sdekit.expectations.samples import Samples

RATE, SIGMA, SPOT, STRIKE = 0.05, 0.2, 100.0, 100.0
DISCOUNT = math.exp(-RATE)
GBM = sk.GBM(mu=RATE, sigma=SIGMA)
NUMPY = sk.backends.numpy()


def normal_cdf(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


def black_scholes(spot=SPOT, strike=STRIKE, rate=RATE, sigma=SIGMA, growth=RATE):
    """The price of a call of one year, and that of a digital one, on a lognormal price of mean spot e^growth."""
    high = (math.log(spot / strike) + growth) / sigma + 0.5 * sigma
    low = high - sigma
    digital = math.exp(-rate) * normal_cdf(low)
    return math.exp(growth - rate) * spot * normal_cdf(high) - strike * digital, digital


CALL, DIGITAL = black_scholes()


def call(x):
    return DISCOUNT * np.maximum(x - STRIKE, 0.0)


def digital(x):
    return DISCOUNT * (x > STRIKE)


# --- functionals of the path, and how levels are coupled ---


def quantity(f, process, x0, along=None, inner=1, method=None):
    return multilevel._quantity(f, process, x0, 1.0, method, along, inner, False, NUMPY)


def pair(q, n, seed, paths, coarse=True):
    return q.pair(counted(q.needs(n), seed, 0, paths), coarse)


CASES = {
    "end": (call, GBM, SPOT, {}, 1),
    "mean": (lambda x, m: (m - 90) ** 2, GBM, SPOT, {"m": sk.path.mean()}, 1),
    "integral": (lambda x, m: np.exp(-m), sk.OU(sigma=1.0), 1.0, {"m": sk.path.integral(lambda x: x * x)}, 1),
    "maximum": (lambda x, m: (m - x) ** 2, GBM, SPOT, {"m": sk.path.maximum()}, 1),
    "minimum": (lambda x, m: np.maximum(x - m, 5), GBM, SPOT, {"m": sk.path.minimum()}, 1),
    "survival": (lambda x, a: call(x) * a, GBM, SPOT, {"a": sk.path.survival(85.0)}, 1),
    "inner": (digital, GBM, SPOT, {}, 16),
    "coupled": (
        lambda x, m: np.maximum(m - x[:, 0], 0), sk.Heston(), (100.0, 0.04), {"m": sk.path.maximum(0)}, 1,
    ),
    "two normals": (np.cos, sk.OU(sigma=1.0), 1.0, {}, 1, sk.sra1),
    "coupled inner": (lambda x: 1.0 * (x[:, 0] > 100), sk.Heston(), (100.0, 0.04), {}, 16),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_coarser_of_a_pair_has_the_law_of_the_finer_of_the_level_before(case):
    """Else sums of levels would not telescope. Levels are drawn with seeds of their own."""
    q = quantity(*CASES[case])
    alone, _ = pair(q, 2, 1, 40_000, False)
    fine, coarse = pair(q, 4, 2, 40_000)
    for power in (1, 2) if q.inner == 1 else (1,):  # means over the last step know more of it on the coarser path
        a, b = alone**power, coarse**power
        spread = math.sqrt(a.var() / a.size + b.var() / b.size)
        assert abs(a.mean() - b.mean()) < 4 * spread
    assert np.var(fine - coarse) < 0.5 * np.var(coarse)


def test_a_brownian_motion_meets_levels_as_it_should_on_steps_of_any_size():
    """E max W = √(2/π), P(max < 1) = erf(1/√2): the bridge's law is that of the process. So for both of a pair."""
    along = {"high": sk.path.maximum(), "low": sk.path.minimum(), "alive": sk.path.survival(1.0)}
    for f, truth in [
        (lambda x, high, low, alive: high, math.sqrt(2 / math.pi)),
        (lambda x, high, low, alive: low, -math.sqrt(2 / math.pi)),
        (lambda x, high, low, alive: alive, math.erf(1 / math.sqrt(2))),
        (lambda x, high, low, alive: 1.0 * (high < 1.0), math.erf(1 / math.sqrt(2))),
    ]:
        for value in pair(quantity(f, sk.Brownian(), 0.0, along), 2, 3, 100_000):
            assert abs(value.mean() - truth) < 4 * value.std() / math.sqrt(value.size)


def test_correlated_noise_fills_the_coarser_path_as_it_moves_the_finer():
    """Of two correlated motions the middle of the filled path is that of the path: nothing else is random there."""
    two = sk.process(lambda t, x, y: (0.0, 0.0), lambda t, x, y: (1.0, 2.0), correlation=[[1, 0.8], [0.8, 1]])
    along = {"m": sk.path.Functional(lambda walk: walk.x[1, :, 1], True, 1)}
    fine, coarse = pair(quantity(lambda x, m: m, two, (0.0, 0.0), along), 2, 5, 100)
    np.testing.assert_allclose(fine, coarse, atol=1e-13)
    assert fine.std() > 1


def test_means_over_the_last_step_are_smooth():
    """Var E(f | rest) < Var f; the points are shifted, so that no mean is biased."""
    rough, smooth = (quantity(digital, GBM, SPOT, inner=n) for n in (1, 64))
    one, many = (np.subtract(*pair(q, 32, 7, 5_000)) for q in (rough, smooth))
    assert many.var() < 0.1 * one.var()
    assert abs(one.mean() - many.mean()) < 4 * math.sqrt((one.var() + many.var()) / one.size)


def test_twins_make_up_for_areas_that_are_left_out():
    """Giles and Szpruch: variances of a smooth payoff fall as n⁻², of one path's as n⁻¹ where noise does not commute.

    X = ∫ W₁ dW₂, whose differences are areas: those of a path and its twin cancel.
    """
    pair_of = sk.process(lambda t, x, y: (0.0, 0.0), lambda t, x, y: ((1.0, 0.0), (0.0, x)), noise="general")
    q = quantity(lambda x: np.sin(x[:, 1]), pair_of, (0.0, 0.0))
    assert q.twinned and q.method is not sk.milstein_general
    alone = dataclasses.replace(q, method=sk.euler_maruyama)
    fall = [[np.subtract(*pair(of, n, 3, 20_000)).var() for n in (8, 32)] for of in (q, alone)]
    assert fall[0][0] / fall[0][1] > 10 and fall[1][0] / fall[1][1] < 6
    assert not quantity(call, GBM, SPOT).twinned


def test_the_mean_of_negated_noise_is_that_of_the_payoff():
    """An odd payoff of Brownian motion has no variance left."""
    q = dataclasses.replace(quantity(lambda x: x**3 + 1, sk.Brownian(), 0.0), antithetic=True)
    for value in pair(q, 4, 1, 100):
        np.testing.assert_allclose(value, 1.0, atol=1e-12)
    assert q.cost(4) == 2 * (4 + 2)


def test_a_bridge_of_normals_is_an_orthogonal_map():
    """So increments are independent normals; the sums of halves, quarters, … are of the first coordinates alone."""
    for n, parts in ((8, 1), (12, 3)):
        matrix = bridged(np.eye(n), parts)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(n), atol=1e-14)
        np.testing.assert_allclose(matrix[: n // parts].sum(0) ** 2, [n / parts, *np.zeros(n - 1)], atol=1e-13)


def test_scrambled_points_are_normals_and_blocks_of_them_go_on():
    needs = Needs(2, 4, 1, 2, True, True)
    whole, rest = sobol(needs, (1, 2), 0, 4096), sobol(needs, (1, 2), 1024, 3072)
    for a, b in zip(whole, rest):
        np.testing.assert_allclose(a[..., 1024:], b, rtol=1e-14)
    flat = whole.z.reshape(16, -1)
    np.testing.assert_allclose(np.cov(flat), np.eye(16), atol=0.02)
    assert whole.waits.shape == (4, 4096) and abs(whole.waits.mean() - 1) < 0.01
    assert not np.isin(sobol(needs, (1, 3), 0, 64).z, whole.z).any()


# --- answers ---


def geometric_asian():
    """E of the geometric mean's call, which is lognormal: log G ~ N(log S + (r − σ²/2)/2, σ²/3)."""
    sigma, middle = SIGMA / math.sqrt(3), math.log(SPOT) + (RATE - SIGMA**2 / 2) / 2
    return black_scholes(SPOT, STRIKE, RATE, sigma, middle - math.log(SPOT) + sigma**2 / 2)[0]


@pytest.mark.parametrize(
    "f, process, x0, truth, tol, given",
    [
        (call, GBM, SPOT, CALL, 0.1, {"control": []}),
        (digital, GBM, SPOT, DIGITAL, 0.01, {"inner": 32, "control": []}),
        (
            lambda x, m: DISCOUNT * np.maximum(np.exp(m) - STRIKE, 0), GBM, SPOT, geometric_asian(), 0.05,
            {"along": {"m": sk.path.mean(np.log)}},
        ),
        (lambda x, a: a, sk.Brownian(), 0.0, math.erf(1 / math.sqrt(2)), 0.01, {"along": {"a": sk.path.survival(1.0)}}),
        (lambda x: x[:, 0], sk.Heston(), (100.0, 0.04), 100 * math.exp(0.05), 0.3, {}),
    ],
    ids=["call", "digital", "asian", "barrier", "heston"],
)  # fmt: skip
def test_answers_are_within_their_tolerance(f, process, x0, truth, tol, given):
    answer = sk.expect(f, process, x0, 1.0, tol=tol, exact=False, seed=11, backend=NUMPY, **given)
    assert abs(answer.value - truth) < tol
    assert answer.supported and answer.bias + 2.6 * answer.stderr <= tol * (1 + 1e-12)
    assert answer.error == answer.bias + 1.96 * answer.stderr
    twins = 2 if isinstance(process, sk.Heston) else 1
    assert answer.cost == sum(
        level.paths * (level.steps * (twins + 0.5 if i else 1) + given.get("inner", 0) * (2 if i else 1))
        for i, level in enumerate(answer.levels)
    )


@pytest.mark.parametrize(
    "process, x0, f, truth",
    [
        (GBM, SPOT, call, CALL),
        (sk.OU(theta=2.0, mu=1.0, sigma=0.5), 0.0, lambda x: x * x, None),
        (sk.CIR(), 0.04, lambda x: x, None),
    ],
    ids=["GBM", "OU", "CIR"],
)
def test_exact_laws_need_no_levels(process, x0, f, truth):
    law = process.transition(0.0, 1.0, np.float64(x0))
    truth = truth or float(law.mean if isinstance(process, sk.CIR) else law.mean**2 + law.var)
    answer = sk.expect(f, process, x0, 1.0, tol=0.003 * truth, seed=3, backend=NUMPY)
    assert abs(answer.value - truth) < 0.003 * truth and answer.bias == 0
    assert [level.steps for level in answer.levels] == [1] and "exact in law" in answer.notes[0]


def test_what_a_closed_form_knows_is_not_drawn():
    """f = x is its own control; a call goes along with the price, and a control that is given replaces it."""
    answer = sk.expect(lambda x: 3 * x - 1, GBM, SPOT, 1.0, tol=1e-6, seed=1, backend=NUMPY)
    assert abs(answer.value - (3 * SPOT * math.exp(RATE) - 1)) < 1e-9
    with_price = sk.expect(call, GBM, SPOT, 1.0, tol=0.05, seed=1, backend=NUMPY)
    without = sk.expect(call, GBM, SPOT, 1.0, tol=0.05, seed=1, backend=NUMPY, control=[])
    assert with_price.cost < 0.3 * without.cost
    square = (lambda x: x * x, SPOT**2 * math.exp(2 * RATE + SIGMA**2))
    both = sk.expect(
        call, GBM, SPOT, 1.0, tol=0.05, seed=1, backend=NUMPY, control=[(lambda x: x, SPOT / DISCOUNT), square]
    )
    assert both.cost < with_price.cost and abs(both.value - CALL) < 0.05


def test_levels_cost_as_the_theory_says():
    """Milstein: variances fall as n⁻² on a smooth payoff, and most paths are on the coarsest level."""
    given = {"exact": False, "control": [], "seed": 2, "backend": NUMPY}
    answer = sk.expect(lambda x: np.log(x) ** 2, GBM, SPOT, 1.0, tol=0.005, **given)
    assert answer.rates[1] == pytest.approx(2.0, abs=0.25)
    paths = [level.paths for level in answer.levels]
    assert paths == sorted(paths, reverse=True) and len(paths) >= 3


def test_a_seed_is_an_answer():
    one, two = (sk.expect(call, GBM, SPOT, 1.0, tol=0.2, exact=False, seed=4, backend=NUMPY) for _ in range(2))
    assert one == two
    other = sk.expect(call, GBM, SPOT, 1.0, tol=0.2, exact=False, seed=5, backend=NUMPY)
    assert other.value != one.value and other.seed == 5
    drawn = sk.expect(call, GBM, SPOT, 1.0, tol=0.2, backend=NUMPY)
    assert drawn == sk.expect(call, GBM, SPOT, 1.0, tol=0.2, backend=NUMPY, seed=drawn.seed)


def test_compiled_code_gives_the_same_answer():
    one, two = (
        sk.expect(call, GBM, SPOT, 1.0, tol=0.2, exact=False, seed=4, backend=backend, coarsest=2)
        for backend in (NUMPY, sk.backends.numba())
    )
    assert two.value == pytest.approx(one.value, rel=1e-9)
    assert [level.paths for level in one.levels] == [level.paths for level in two.levels]


def test_power_sums_are_moments():
    level = Samples(quantity(call, GBM, SPOT), 4, 9)
    levels.add([(level, 1_000)])
    levels.add([(level, 2_000)])
    assert level.count == 3_000
    fine, coarse = pair(level.quantity, 4, level.seed, 3_000)
    gap = fine - coarse
    centred = gap - gap.mean()
    assert level.mean == pytest.approx(gap.mean(), rel=1e-12)
    assert level.variance == pytest.approx(gap.var(), rel=1e-10)
    assert level.kurtosis == pytest.approx((centred**4).mean() / gap.var() ** 2, rel=1e-9)
    assert level.finer == pytest.approx((fine.mean(), fine.std() / math.sqrt(3_000)), rel=1e-10)


def test_an_answer_says_what_it_cannot_support(monkeypatch):
    monkeypatch.setattr(levels, "FINEST", 8)
    with pytest.warns(RuntimeWarning, match=r"bias .* are above tol = 0.05"):
        answer = sk.expect(call, GBM, SPOT, 1.0, tol=0.05, exact=False, seed=1, backend=NUMPY, control=[])
    assert not answer.supported and answer.error > 0.05 and "not supported" in repr(answer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rough = sk.expect(digital, GBM, SPOT, 1.0, tol=0.05, exact=False, seed=1, backend=NUMPY, control=[])
    assert any("kurtosis" in note for note in rough.notes) and "kurtosis" in str(rough)


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_rare_is_seen_or_doubted(exact):
    """P(W > z) of 1e-3 to three tenths of it, which 2,048 paths miss once in eight seeds; none of 24 does.

    False failures: 24 times 3.5 standard errors, 0.01.
    """
    level = 3.0902323061678132
    for seed in range(24):
        answer = sk.expect(
            lambda x: x > level, sk.Brownian(), 0.0, 1.0, tol=3e-4, exact=exact, seed=seed, backend=NUMPY
        )
        assert answer.supported and abs(answer.value - 1e-3) < 4e-4
    with pytest.warns(RuntimeWarning, match=r"all 1048576 paths gave the same: what is rarer than 2.9e-06"):
        never = sk.expect(lambda x: x > 9, sk.Brownian(), 0.0, 1.0, tol=1e-9, exact=exact, seed=1, backend=NUMPY)
    assert not never.supported and never.value == 0


def test_an_infinite_variance_supports_nothing():
    """E exp(0.4 W²) = 1/√(1 − 0.8), whose square has no mean: a few paths make what is measured of it. One seed of 25
    is not told from a variance that exists; two of six would be with a probability of 2e-2.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answers = [
            sk.expect(lambda x: np.exp(0.4 * x * x), sk.Brownian(), 0.0, 1.0, tol=0.1, seed=seed, backend=NUMPY)
            for seed in range(6)
        ]
    assert sum(answer.supported for answer in answers) <= 1
    assert any("a few of them make the variance" in str(warning.message) for warning in caught)


@pytest.mark.parametrize(
    "drift, diffusion, f, truth",
    [
        (lambda t, x: sk.math.cos(2 * math.pi * t), lambda t, x: 0.1, lambda x: x, 0.0),
        (lambda t, x: 0.0, lambda t, x: 1 + sk.math.cos(2 * math.pi * t), lambda x: x * x, 12.0),
        (lambda t, x: 0.0, lambda t, x: 1 + sk.math.cos(2 * math.pi * t / 8), lambda x: x * x, 12.0),
    ],
    ids=["drift", "noise", "slow"],
)
def test_seasons_are_resolved(drift, diffusion, f, truth):
    """Eight seasons, which 1, 2, 4 and 8 steps see all at their height."""
    answer = sk.expect(f, sk.process(drift, diffusion), 0.0, 8.0, tol=0.5, seed=1, backend=NUMPY)
    assert answer.supported and abs(answer.value - truth) < 0.5


def test_what_two_of_its_numbers_of_steps_divide_is_resolved():
    """68 seasons look alike on 4 and on 17 steps, of which each is no multiple of the other; on 9 they do not."""
    season = sk.process(lambda t, x: sk.math.cos(2 * math.pi * 68 * t), lambda t, x: 1.0)
    answer = sk.expect(lambda x: x, season, 0.0, 1.0, tol=0.02, seed=1, backend=NUMPY)
    assert answer.supported and abs(answer.value) < 0.02


@pytest.mark.parametrize("at, levels", [(0.5, 9), (0.25, 10), (0.375, 9)])
def test_onsets_that_steps_meet_are_resolved(at, levels):
    """dX = 1{t >= at} dt + dW is exact on 2^k steps and, where these do not meet the onset, wrong by a part of 1/n."""
    onset = sk.process(lambda t, x: np.where(t < at, 0.0, 1.0), lambda t, x: 1.0)
    answer = sk.expect(lambda x: x, onset, 0.0, 1.0, tol=0.01, seed=1, backend=NUMPY)
    assert answer.supported and abs(answer.value - (1 - at)) < 0.01 and len(answer.levels) <= levels


def test_seasons_below_the_tolerance_cost_nothing():
    """A millionth of the noise, a thousand times: no level more."""
    small, none = (
        sk.process(lambda t, x, a=a: a * sk.math.cos(2000 * math.pi * t), lambda t, x: 1.0) for a in (1e-6, 0.0)
    )
    given = {"x0": 0.0, "t": 1.0, "tol": 0.02, "seed": 1, "backend": NUMPY}
    assert sk.expect(lambda x: x, small, **given).cost == sk.expect(lambda x: x, none, **given).cost


def test_what_no_steps_resolve_is_doubted(monkeypatch):
    monkeypatch.setattr(levels, "resolved", lambda *given: False)
    monkeypatch.setattr(levels, "FINEST", 8)
    with pytest.warns(RuntimeWarning, match="32 steps do not resolve what the coefficients do in time"):
        assert not sk.expect(call, GBM, SPOT, 1.0, tol=1.0, exact=False, seed=1, backend=NUMPY).supported


def test_controls_that_take_nothing_off_are_left_out():
    """Of a quarter of the variance, and of none."""
    taken = [
        multilevel._controlled(quantity(f, sk.Brownian(), 0.0), [(lambda x: x, 0.0)], 1, 1).controls
        for f in (lambda x: x + math.sqrt(1.5) * x * x, lambda x: x * x)
    ]
    assert taken[0][0][0] == pytest.approx(1.0, abs=0.5) and taken[1] == ()


def test_controls_are_weighed_on_as_many_paths_in_small_blocks(monkeypatch):
    given = call, GBM, SPOT
    whole = multilevel._controlled(quantity(*given), None, 1, 1).controls
    monkeypatch.setattr("sdekit.expectations.quantity.BLOCK", 1)
    assert quantity(*given).block(2) == 64
    assert multilevel._controlled(quantity(*given), None, 1, 1).controls[0][0] == pytest.approx(whole[0][0], rel=1e-9)


def test_first_levels_of_no_use_are_left_out():
    """A drift of −50 x is unstable on less than 32 steps."""
    answer = sk.expect(
        lambda x: x * x, sk.OU(theta=50.0, sigma=1.0), 1.0, 1.0, tol=2e-3, exact=False, seed=1, backend=NUMPY
    )
    assert answer.levels[0].steps >= 32 and abs(answer.value - 0.01) < 4e-3


def test_paths_that_leave_the_range_of_numbers_are_no_level():
    """dX = (X − X³) dt + 0.7 dW on 1, 2, … steps of five time units jumps to 1e200 and beyond."""
    wells = sk.process(lambda t, x: x - x**3, lambda t, x: 0.7)
    answer = sk.expect(lambda x: x, wells, 0.0, 5.0, tol=0.05, seed=1, backend=NUMPY)
    assert answer.levels[0].steps >= 8 and answer.supported and abs(answer.value) < 0.05
    assert sk.expect(call, GBM, SPOT, 1.0, tol=1e300, seed=1, backend=NUMPY).supported


def test_the_first_level_is_one_that_pays():
    """Of a mean over time, whose differences on one and two steps cost more than the third level alone."""
    given = {"along": {"mean": sk.path.mean()}, "antithetic": True, "seed": 1, "backend": NUMPY}
    answer = sk.expect(lambda x, mean: np.maximum(mean - 100, 0), GBM, SPOT, 1.0, tol=0.1, **given)
    assert answer.levels[0].steps in (2, 4, 8) and abs(answer.value * math.exp(-0.05) - 5.76) < 0.1


def test_a_level_that_fails_says_nothing_of_the_next(monkeypatch):
    """The variance of one step is not that of two, where the level of two fails."""
    asked = []

    class Level(NamedTuple):
        n: int
        paired: bool

        variance = cost = 0.1

        def moments(self, which=0):
            return 0.0, 1e-6 if self.n == 1 else 1.0

    def pilot(level, executor):
        asked.append(level)
        if level == (2, True):
            raise Failed
        return level

    monkeypatch.setattr(levels, "Samples", lambda q, n, seed, paired=True: Level(n, paired))
    monkeypatch.setattr(levels, "pilot", pilot)
    monkeypatch.setattr(levels, "resolved", lambda *given: True)
    quantity = SimpleNamespace(cost=lambda n, paired: float(n))
    assert levels.first_level(quantity, 0, 1, 0.1, None) == 2
    assert asked[:4] == [(1, False), (2, True), (2, False), (4, True)]


@pytest.mark.parametrize("given", [{"antithetic": True}, {"scramblings": 16}])
@pytest.mark.parametrize(
    "f, truth, more",
    [
        (call, CALL, {}),
        (lambda x, a: a, None, {"process": sk.Brownian(), "x0": 0.0, "along": {"a": sk.path.survival(1.0)}}),
    ],
    ids=["call", "barrier"],
)
def test_options_save_paths(f, truth, more, given):
    """The same value within the tolerance, for less."""
    truth = truth or math.erf(1 / math.sqrt(2))
    usual = {"process": GBM, "x0": SPOT, "t": 1.0, "tol": 0.003 * truth, "exact": False, "control": [], "seed": 8}
    plain, answer = (sk.expect(f, backend=NUMPY, **{**usual, **more, **g}) for g in ({}, given))
    assert abs(answer.value - truth) < 0.003 * truth and answer.supported
    assert answer.cost < 0.8 * plain.cost


def test_exact_laws_on_scrambled_points():
    """A smooth function of one normal: the error falls far faster than the root of the number of points."""
    answer = sk.expect(call, GBM, SPOT, 1.0, tol=1e-3, seed=3, backend=NUMPY, control=[], scramblings=16)
    assert abs(answer.value - CALL) < 1e-3 and answer.cost < 2**18


def test_equal_scramblings_claim_nothing():
    """1{W > −0.15}, 32 points each: scramblings that have as many above are equal, and wrong; on them 4 of these seeds.

    False failures: the error is meant to hold in 95 % of seeds; 52 of 60 are fewer with probability 0.003.
    """
    truth = 0.5 * math.erfc(-0.15 / math.sqrt(2))
    usual = {"tol": 0.01 * truth, "control": [], "scramblings": 32, "backend": NUMPY}
    found = [sk.expect(lambda x: x > -0.15, sk.Brownian(), 0.0, 1.0, seed=seed, **usual) for seed in range(60)]
    assert all(answer.error > 0 for answer in found)
    assert sum(abs(answer.value - truth) < answer.error for answer in found) >= 52


def test_steps_end_at_jumps():
    """A dose at 0.5 that none of 2^k equal steps from 0 to 0.9 meets: dX = −X dt + 1{t > 0.5} dt + dW."""
    dose = sk.Linear(b=lambda t: 1.0 * (t > 0.5), jumps=[0.5])
    truth = -math.expm1(-0.4)
    for given in ({}, {"scramblings": 16}, {"exact": True, "control": []}):
        answer = sk.expect(
            lambda x: x, dose, 0.0, 0.9, tol=0.02, seed=5, **{"exact": False, "control": [], "backend": NUMPY, **given}
        )
        assert abs(answer.value - truth) < 0.02
        assert all(level.steps % 2 == 0 for level in answer.levels)


@pytest.mark.parametrize("given", [{}, {"scramblings": 16}])
def test_any_executor_gives_the_same_bits(given):
    usual = {"tol": 0.1, "exact": False, "control": [], "seed": 4, "backend": NUMPY, **given}
    one = sk.expect(call, GBM, SPOT, 1.0, **usual)
    for workers in (1, 3):
        with ThreadPoolExecutor(workers) as pool:
            assert sk.expect(call, GBM, SPOT, 1.0, executor=pool, **usual) == one


@pytest.mark.slow
def test_processes_give_the_same_bits():
    pytest.importorskip("cloudpickle")
    usual = {"tol": 0.1, "seed": 4, "along": {"m": sk.path.mean()}, "backend": NUMPY}
    with sk.executors.processes(2) as pool:
        found = [sk.expect(lambda x, m: abs(m - x), GBM, SPOT, 1.0, **usual, **g) for g in ({}, {"executor": pool})]
    assert found[0] == found[1]


def test_what_a_function_raises_comes_back_from_an_executor():
    def late(x):
        return x if len(x) < 1000 else x * np.nan

    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="f is not finite on 1024 of 1024 paths"):
        sk.expect(late, GBM, SPOT, 1.0, tol=0.1, exact=False, seed=1, backend=NUMPY, executor=pool)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"tol": 0.0}, "tol must be a real number"),
        ({"tol": math.nan}, "tol must be a real number"),
        ({"f": 3}, "f must be a function of states"),
        ({"f": lambda x: 1.0}, r"f must return one real number per path, shape \(16,\)"),
        ({"f": lambda x: np.maximum(x, 0, out=x)}, "f changes its argument in place"),
        ({"f": lambda x: 1.0 if x > 0 else 0.0}, "f asks for the truth of a condition on all paths"),
        ({"f": lambda x, m: m, "along": {"m": sk.path.mean(lambda x: np.sqrt(x, out=x))}}, r"along\['m'\] changes its"),
        (
            {"f": lambda x, n: n, "along": {"m": sk.path.mean()}},
            r"f must take \(x, m\), as along names it; it has \(x, n\)",
        ),
        ({"f": lambda x, y: y}, r"f must take \(x\)"),
        ({"f": lambda x: x * np.nan}, "f is not finite on 16 of 16 paths"),
        ({"f": lambda x: np.ma.masked_array(x, x > 100)}, "f must return one real number per path, .* got MaskedArray"),
        ({"f": lambda x: 1e300 * x}, "what f gives on 1024 steps is too large: its fourth powers are not finite"),
        ({"tol": 1e-9}, r"tol is too small: it asks for more than 1e\+15 steps of paths"),
        ({"tol": 5e-324}, "tol is too small"),
        ({"tol": 5e-324, "f": lambda x: x * 0}, "tol is too small"),
        ({"tol": 1e-200, "scramblings": 16}, "tol is too small"),
        ({"control": [(lambda x: x[:3], 1.0)]}, "g of control must return one real number per path"),
        ({"f": lambda x, m: m, "along": {"m": sk.path.Functional(len, True, "x")}}, r"along\['m'\]: component must be"),
        ({"t": 0.0}, "t must be a real number, above 0"),
        ({"t": (0.0, 1.0, 2.0)}, "t must be a time, or a pair"),
        ({"x0": [1.0, 2.0]}, r"paths of shape \(2,\)"),
        ({"process": sk.noiseless(GBM)}, "has no noise, so that its state is known"),
        ({"x0": "a"}, "x0 must hold real numbers, got <U1"),
        ({"x0": 1j}, "x0 must hold real numbers, got complex128"),
        ({"inner": 0}, "inner must be an integer from 1 to 65536"),
        ({"inner": 10**9}, "inner must be an integer from 1 to 65536"),
        ({"method": "milstein"}, "method must be one of steps along increments"),
        ({"method": sk.rk4}, "method must be one of steps along increments"),
        ({"coarsest": 3}, "coarsest must be a power of two, got 3"),
        ({"along": {"m": max}}, r"along\['m'\] must be one of sdekit.path"),
        ({"along": [sk.path.mean()]}, "along must be a dict"),
        ({"along": {"m": sk.path.maximum(1)}}, r"along\['m'\] is of component 1, but GBM has 1"),
        ({"along": {"m": sk.path.mean()}, "inner": 8}, "inner draws the last step anew"),
        ({"along": {"m": sk.path.mean()}, "method": sk.exact}, "exact draws the state at the end alone"),
        ({"scramblings": 1}, "scramblings must be an integer from 16 to 64"),
        ({"antithetic": 1}, "antithetic must be True or False, got 1"),
        ({"exact": "no"}, "exact must be True or False, got 'no'"),
        ({"along": {1: sk.path.mean()}}, "along has functionals by the names"),
        ({"along": {"m": sk.path.Functional(3)}}, r"along\['m'\] must be one of sdekit.path"),
        ({"f": lambda x: [[1.0], [1.0, 2.0]]}, "what f returns must be a number, an array of one shape"),
        ({"t": (0.0, [1.0, 2.0])}, "t must be a number, an array of one shape"),
        ({"scramblings": 16, "coarsest": 2**15}, "scramblings serve 16384 steps at most"),
        ({"executor": 2}, "executor must have the submit"),
        ({"control": [call]}, "control has pairs"),
        ({"control": call}, "control has pairs"),
        ({"toll": 1}, "did you mean tol"),
    ],
)
def test_errors_name_the_argument(given, message):
    usual = {"f": call, "process": GBM, "x0": SPOT, "t": 1.0, "tol": 1.0, "seed": 1, "backend": NUMPY, "exact": False}
    with pytest.raises(ValueError, match=message):
        sk.expect(**{**usual, **given})


def test_answers_print():
    answer = sk.expect(call, GBM, SPOT, 1.0, tol=0.5, seed=1, backend=NUMPY, exact=False)
    assert repr(answer).startswith("Answer(1") and "±" in repr(answer) and "\n" not in repr(answer)
    assert str(answer).count("\n") >= 1 + len(answer.levels)


# --- derivatives ---


def greeks():
    """Delta, vega and rho of growth (discounted at a fixed rate) of a call and of a digital call."""
    high = (math.log(SPOT / STRIKE) + RATE) / SIGMA + 0.5 * SIGMA
    low, density = high - SIGMA, lambda x: math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    of_call = {"x0": normal_cdf(high), "sigma": SPOT * density(high), "mu": SPOT * normal_cdf(high)}
    of_digital = {"x0": DISCOUNT * density(low) / (SPOT * SIGMA), "sigma": -DISCOUNT * density(low) * high / SIGMA}
    return of_call, {**of_digital, "mu": DISCOUNT * density(low) / SIGMA}


MOVED = sk.process(lambda t, x, v: (v, -v), lambda t, x, v: (0.0, 1.0))  # no noise on x


def torch_call(x):
    return DISCOUNT * (x - STRIKE).clamp(min=0)


def torch_digital(x):
    return DISCOUNT * (x > STRIKE)


@pytest.mark.parametrize(
    "f, ratio, given, bias",
    [
        (torch_call, False, {}, 0),
        (torch_call, False, {"h": 1 / 16, "method": sk.milstein}, 0.01),
        (torch_call, True, {}, 0),
        (torch_digital, True, {}, 0),
        (torch_digital, True, {"h": 1 / 16, "paths": 2**17}, 0.03),
    ],
    ids=["pathwise", "pathwise steps", "ratio", "digital", "digital steps"],
)
def test_greeks_are_those_of_black_and_scholes(f, ratio, given, bias):
    """Within four standard errors, and the bias of steps."""
    truth = greeks()[f is torch_digital]
    found = sk.sensitivities(f, GBM, SPOT, 1.0, list(truth), likelihood_ratio=ratio, seed=2, **given)
    for name, exact in truth.items():
        assert abs(found[name].value - exact) < 4 * found[name].stderr + bias * abs(exact)
        assert 0 < found[name].stderr < 0.1 * abs(exact)


@pytest.mark.parametrize("ratio", [False, True])
def test_greeks_of_coupled_states(ratio):
    """E (x + 2 y)² of two correlated motions with drift a and volatilities 1 and s, by the law of the end."""

    class Pair(NamedTuple):
        a: float = 0.5
        s: float = 2.0
        correlation = np.array([[1, 0.5], [0.5, 1]])

        def drift(self, t, x, y):
            return self.a, 0.0 * y

        def diffusion(self, t, x, y):
            return 1.0, self.s

    wrt, f = ["x0", "a", "s"], lambda x: (x[:, 0] + 2 * x[:, 1]) ** 2
    found = sk.sensitivities(f, Pair(), (1.0, -1.0), 1.0, wrt, h=0.5, likelihood_ratio=ratio, seed=3, paths=2**16)
    mean = 1.0 + 0.5 - 2.0  # and the variance is 1 + 4 s² + 4 ρ s
    for name, exact in {"x0": np.array([2 * mean, 4 * mean]), "a": 2 * mean, "s": 8 * 2.0 + 4 * 0.5}.items():
        assert np.all(abs(found[name].value - exact) < 4 * found[name].stderr)
        assert np.all(found[name].stderr < 0.5)


def test_general_noise_has_the_scores_of_its_covariance():
    """Heston: pathwise and likelihood-ratio derivatives of a smooth payoff agree."""
    f = lambda x: x[:, 0] ** 2 / 1e4  # noqa: E731
    given = {"h": 0.125, "seed": 1, "paths": 2**15}
    one, two = (
        sk.sensitivities(f, sk.Heston(theta=0.3), (100.0, 0.3), 0.25, ["x0", "mu"], likelihood_ratio=ratio, **given)
        for ratio in (False, True)
    )
    for name in ("x0", "mu"):
        assert (abs(one[name].value - two[name].value) < 4 * np.hypot(one[name].stderr, two[name].stderr)).all()


@pytest.mark.parametrize("h, truth", [(0.5, 1.325**2), (1e300, 1.65)])
@pytest.mark.parametrize("ratio", [False, True])
def test_steps_end_where_a_process_jumps(ratio, h, truth):
    """d E x_1/d x_0 of Euler steps whose drift is switched on at 0.35: only steps from there see it."""

    class Switched(NamedTuple):
        jumps = (0.35,)

        def drift(self, t, x):
            return (t > 0.35) * x

        def diffusion(self, t, x):
            return 0.5

    given = {"likelihood_ratio": ratio, "method": sk.euler_maruyama, "h": h, "seed": 1, "paths": 2**15}
    found = sk.sensitivities(lambda x: x, Switched(), 1.0, 1.0, ["x0"], **given)["x0"]
    assert abs(found.value - truth) < 4 * found.stderr + 1e-12
    assert found.stderr < 0.02


def test_a_law_that_is_found_by_quadrature_needs_no_steps():
    """∂E X_1/∂x_0 = exp ∫ a, to the precision of the quadrature."""
    found = sk.sensitivities(lambda x: x, sk.Linear(a=lambda t: -1.0 - t), 1.0, 1.0, ["x0"], seed=1, paths=256)
    assert found["x0"].value == pytest.approx(math.exp(-1.5), rel=1e-11)


@pytest.mark.parametrize("name", ["x0", "mu", "sigma"])
def test_scores_of_a_lognormal_price_take_one_parameter_at_a_time(name):
    """The others stay numbers, beside a tensor."""
    given = {"likelihood_ratio": True, "seed": 2, "paths": 2**10}
    together = sk.sensitivities(torch_call, GBM, SPOT, 1.0, ["x0", "mu", "sigma"], **given)
    alone = sk.sensitivities(torch_call, GBM, SPOT, 1.0, [name], **given)
    assert alone[name].value == pytest.approx(together[name].value, rel=1e-12)


def test_lognormal_laws_mix_numpy_numbers_and_tensors():
    torch = pytest.importorskip("torch")
    x, y = torch.tensor([90.0, 100.0], dtype=torch.float64), torch.tensor([95.0, 95.0], dtype=torch.float64)
    law, plain = (GBM.transition(number(0), number(1), x) for number in (np.float64, float))
    assert torch.equal(law.log_prob(y), plain.log_prob(y)) and torch.equal(law.score(y), plain.score(y))
    law = sk.laws.LogNormal(np.float64(100.0), 0.04 * torch.ones(2, dtype=torch.float64))
    assert law.log_prob(y).shape == (2,)


def test_lognormal_laws_of_a_tensor_and_a_number_are_float64():
    torch = pytest.importorskip("torch")
    law = sk.laws.LogNormal(torch.tensor(100.0, dtype=torch.float64), 0.04)
    exact = sk.laws.LogNormal(100.0, 0.04)
    y = torch.tensor(95.0, dtype=torch.float64)
    assert float(law.log_prob(y)) == pytest.approx(exact.log_prob(95.0), rel=1e-14)
    assert float(law.score(y)) == pytest.approx(exact.score(95.0), rel=1e-14)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"f": torch_digital}, "f is not differentiable, as a comparison is not; give likelihood_ratio=True"),
        ({"f": lambda x: 1.0}, "f must return a tensor of one real number per path"),
        ({"f": lambda x: x + 1j}, "f must return a tensor of one real number per path"),
        ({"f": lambda x: (x - 100).log()}, "f is not finite on .* of 256 paths"),
        ({"f": lambda x: (x - 100).log(), "likelihood_ratio": True}, "f is not finite on .* of 256 paths"),
        ({"f": lambda x: np.maximum(x - 100, 0.0)}, "f must be made of torch or sdekit.math"),
        ({"f": lambda x: x.sub_(100)}, "f changes its argument in place"),
        ({"f": lambda x: x.sub_(100), "likelihood_ratio": True}, "f changes its argument in place"),
        ({"f": 3}, "f must be a function of states, got 3"),
        ({"wrt": ["nu"]}, "wrt: 'nu' is none of x0, mu, sigma"),
        ({"wrt": [np.zeros(2)]}, "wrt: ndarray of shape .2,. is none of x0, mu, sigma"),
        ({"wrt": None}, "wrt must be names of x0, mu, sigma, one at least; got None"),
        ({"wrt": ()}, "wrt must be names of x0, mu, sigma, one at least; got ()"),
        ({"likelihood_ratio": "no"}, "likelihood_ratio must be True or False, got 'no'"),
        ({"likelihood_ratio": True, "method": sk.milstein, "h": 0.1}, "the density of a step of milstein is not known"),
        ({"method": sk.milstein}, "h must be a real number"),
        ({"process": sk.CIR(), "x0": 1.0}, "h must be a real number"),
        ({"process": sk.CIR(), "x0": 1.0, "likelihood_ratio": True}, "h must be a real number"),
        ({"f": lambda x: x[:, 0], "process": MOVED, "x0": (0.0, 0.0), "h": 1, "likelihood_ratio": True}, "reach each"),
        ({"x0": [1.0, 2.0]}, "x0 must be one state"),
        ({"x0": 1j}, "x0 must hold real numbers, got complex128"),
        ({"paths": 1}, "paths must be an integer >= 2"),
    ],
)
def test_errors_of_derivatives_name_the_argument(given, message):
    usual = {"f": torch_call, "process": GBM, "x0": SPOT, "t": 1.0, "wrt": ["x0"], "seed": 1, "paths": 256}
    with pytest.raises(ValueError, match=message):
        sk.sensitivities(**{**usual, **given})


@pytest.mark.parametrize("second", [0.3, 0.7])  # of 0.3 rounding leaves a variance of 1e-18
def test_noise_along_one_line_has_no_density(second):
    class Line(NamedTuple):
        noise = "general"

        def drift(self, t, x, v):
            return v, -x

        def diffusion(self, t, x, v):
            return (0.1,), (second,)

    usual = {"t": 1.0, "h": 0.1, "wrt": ["x0"], "seed": 1, "paths": 256, "likelihood_ratio": True}
    with pytest.raises(ValueError, match="reach each"):
        sk.sensitivities(lambda x: x[:, 0], Line(), (0.0, 0.0), **usual)


def test_noise_that_misses_a_component_is_refused_where_torch_checks_no_arguments():
    torch = pytest.importorskip("torch")
    usual = {"f": lambda x: x[:, 0], "process": MOVED, "x0": (0.0, 0.0), "t": 1.0, "h": 1, "wrt": ["x0"], "seed": 1}
    checked = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)  # as some libraries do on import
    try:
        with pytest.raises(ValueError, match="reach each"):
            sk.sensitivities(**usual, paths=256, likelihood_ratio=True)
    finally:
        torch.distributions.Distribution.set_default_validate_args(checked)


def test_ratios_of_what_has_no_density_or_was_not_seen():
    given = {"likelihood_ratio": True, "seed": 1, "paths": 256}
    with pytest.raises(ValueError, match="the law of GBM has no density; leave likelihood_ratio out"):
        sk.sensitivities(lambda x: x, sk.GBM(mu=RATE, sigma=0.0), SPOT, 1.0, ["x0"], **given)
    with pytest.warns(RuntimeWarning, match="f is the same on all 256 paths: what is rarer than 0.012 was not seen"):
        sk.sensitivities(lambda x: x > 1e4, GBM, SPOT, 1.0, ["x0"], **given)


def test_warnings_are_as_before():
    """Threads that make blocks change no filter of the process."""
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        sk.expect(call, GBM, SPOT, 1.0, tol=0.3, exact=False, seed=1, backend=NUMPY, executor=pool)
    assert warnings.filters == before


def test_halved_normals_undo_the_halving_of_an_interval():
    """dW and area of an interval from those of its halves, as `brownian.halves` makes them."""
    u, v, z, n = np.random.default_rng(0).standard_normal((4, 1, 3, 5))
    left_u, left_v, right_u, right_v = brownian.halves(u, v, z, n)
    steps = np.stack([np.concatenate([left_u, right_u]), np.concatenate([left_v, right_v])])
    assert Numbers(steps, None, None).halved == pytest.approx(np.stack([u, v]), abs=1e-14)
