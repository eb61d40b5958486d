"""Levels and paths chosen from measured means, variances and costs.

    E P ≈ Σ_l E(P_l − P_{l−1}),  each from paths of its own,  N_l ∝ √(V_l/C_l)

Sources: M. Giles, "Multilevel Monte Carlo path simulation", 2008, doi:10.1287/opre.1070.0496; diagnostics: M. Giles,
"Multilevel Monte Carlo methods", 2015, doi:10.1017/S096249291500001X, section 3; scrambled points: M. Giles,
B. Waterhouse, "Multilevel quasi-Monte Carlo path simulation", 2009, doi:10.1515/9783110213140.165.
"""

import math

import numpy as np

from ..ensembles.stream import results
from ..ensembles.work import submitter
from .answer import Answer, Level
from .numbers import MOST_DIMENSIONS, dimension
from .quantity import Failed
from .resolution import resolved
from .samples import Samples, sums

PILOT = 1024  # paths of the first level
LEAST = 256  # and of a new one, each having half of those before,
EVENTS = 20  # unless few of them make the variance: a share 1/kurtosis does,
MOST = 2048  # of so many at most
KNOWN = 100  # that make the variance of the first level, which nothing is compared with; half as many will do,
ENOUGH = 2**20  # in so many path-steps at most, or MOST paths
UNSEEN = 3.0  # what has a probability of 3/N is not seen in N paths once in e³ = 20 times
SURE = 2.6  # standard errors that a tolerance has to have room for: 99 %
FINEST = 2**20  # steps
ROUGH = 2**10  # times as many steps as asked for may be on the first level
LONGEST = 2.0**50  # steps of paths
HEAVY = 100.0  # the kurtosis from which on a variance is extrapolated


def add(short, executor=None):
    """Draw for each of some (level, paths) so many more paths, in blocks on the executor."""
    calls = [(level, call) for level, paths in short for call in level.calls(paths)]
    if executor is None:
        for level, call in calls:
            level.merge(call, sums(level.quantity, *call))
        return
    q = short[0][0].quantity
    named = {"f": q.f, "process": q.process, "along": q.along, "control": q.controls}
    submit = submitter(executor, sums, q, named, lambda index: ({}, calls[index][1]))
    try:
        for index, found in results(executor, submit, range(len(calls)), _missing):
            level, call = calls[index]
            level.merge(call, found)
    except RuntimeError as error:
        raise error.__cause__ if isinstance(error.__cause__, ValueError) else error from None


def _missing(index, why):
    return f"a block of paths {why}; the same call begins anew"


def pilot(level, executor=None, paths=PILOT):
    """The level with its first paths: of scramblings a power of two points each; more where differences are rare."""
    strata = max(1, level.scramblings)
    add([(level, strata * 2 ** int(math.log2(paths / strata)))], executor)
    while level.count < min(MOST, _enough(level, EVENTS)):
        add([(level, level.count)], executor)
    return level


def _enough(level, events=KNOWN):
    """Paths of which so many make the variance; where none does there are not enough, but for what controls know."""
    return events * level.kurtosis if level.variance > 0 or level.quantity.controls else math.inf


def most_steps(q, first, scramblings):
    """The steps of the finest level that there may be; a ValueError where points leave no room for three."""
    finest = FINEST
    while scramblings and dimension(q.needs(finest)) > MOST_DIMENSIONS:
        finest //= 2
    if scramblings and 4 * first > finest:
        raise ValueError(f"scramblings serve {finest} steps at most, but the third level has {4 * first}; leave it out")
    return finest


def first_level(q, seed, n, tol, executor):
    """The steps of the first level: the fewest on which paths are finite and that are worth a level.

    The cost is (Σ √(V C))², so that n are where  √(V_n C_n) + √(V C of P_2n − P_n) < √(V_2n C_2n). Where 4 n steps do
    not resolve what the coefficients do in time, it is the first ones that do.
    """
    last, alone = min(FINEST, n * ROUGH), None
    while True:
        try:
            if alone is None:
                alone = pilot(Samples(q, n, seed, False), executor).moments()[1]
            level = pilot(Samples(q, 2 * n, seed), executor)
            finer = level.moments(1)[1]
            both = math.sqrt(alone * q.cost(n, False)) + math.sqrt(level.variance * level.cost)
            if finer == 0 or n >= last or both < math.sqrt(finer * q.cost(2 * n, False)):
                break
            alone = finer
        except Failed:
            alone = None
            if n >= last:
                raise
        n *= 2
    seen = 4 * n
    while seen < last and not resolved(q, seen, _share(level, tol)):
        seen *= 2
    return n if seen == 4 * n else seen


def _share(level, tol):
    """What of a standard deviation of the state a season may move: f then moves by a quarter of tol or so."""
    deviation = math.sqrt(level.moments(1)[1])
    return 0.25 * tol / deviation if deviation > 0 else math.inf


def single(q, tol, seed, scramblings, executor):
    """The answer of a law that is drawn as it is."""
    level = pilot(Samples(q, q.parts, seed, False, scramblings), executor)
    while short := _short([level], [level.variance], tol / SURE):
        add(short, executor)
    return _answer([level], 0.0, None, seed, tol)


def multilevel(q, tol, seed, first, scramblings, executor):
    """The answer of levels of first, 2 first, … steps."""

    def fresh(n):
        return pilot(Samples(q, n, seed, n > first, scramblings), executor, max(LEAST, PILOT * first // n))

    finest = most_steps(q, first, scramblings)
    levels = [fresh(first << i) for i in range(3)]
    while True:
        alpha, beta = _rates(levels)
        bias = _bias(levels, alpha)
        small, last = 4 * bias <= tol, levels[-1]
        room = (tol - bias if small else 0.75 * tol) / SURE
        if short := _short(levels, _variances(levels, beta), room):
            add(short, executor)
        elif small and resolved(q, last.n, _share(last, tol)):
            return _answer(levels, bias, (alpha, beta), seed, tol)
        elif last.n >= finest:
            return _answer(levels, bias, (alpha, beta), seed, tol, resolves=not small)
        else:
            levels.append(fresh(2 * last.n))


def _short(levels, variances, room):
    """(level, paths that it lacks) of those that lack some for a standard error of `room`."""
    if levels[0].scramblings:  # twice the points where there are too few, or where that saves most for its cost
        few = [level for level in levels if level.count < _least(level, levels[0])]
        error, cost = math.hypot(*(level.stderr for level in levels)), sum(level.count * level.cost for level in levels)
        if not few and error <= room:
            return []
        _reachable(error, room * (LONGEST / cost) ** 1.5)  # the error falls as N^{−3/2} at best
        level = max(few or levels, key=lambda level: level.stderr**2 / (level.count * level.cost))
        return [(level, level.count)]
    whole = sum(math.sqrt(v * level.cost) for v, level in zip(variances, levels))
    _reachable(whole, room * math.sqrt(LONGEST))
    share = whole / room / room
    wanted = [math.ceil(share * math.sqrt(v / level.cost)) for v, level in zip(variances, levels)]
    wanted[0] = max(wanted[0], math.ceil(_least(levels[0], levels[0])))
    return [
        (level, min(max(n - level.count, level.count // 50 + 1), 15 * level.count))
        for level, n in zip(levels, wanted)
        if n > level.count
    ]


def _reachable(error, most):
    if error >= most:
        raise ValueError(f"tol is too small: it asks for more than {LONGEST:.1g} steps of paths; give a larger one")


def _least(level, first):
    """Paths that a level needs whatever their spread: where few make that of the first level, or where there is none.

    Scramblings of values that are not all the same have equal means by chance, where f has few values.
    """
    most = max(MOST, ENOUGH // level.cost)
    if level.scramblings and level.stderr == 0 < level.variance:
        return most
    return min(_enough(level), most) if level is first else 0


def _rates(levels):
    """(α, β) by least squares over the differences, those whose means stand out of their errors; at least 1/2."""
    n = np.log2([level.n for level in levels[1:]])
    means = np.array([abs(level.mean) for level in levels[1:]])
    clear = means > 2 * np.array([level.stderr for level in levels[1:]])
    variances = np.array([level.variance for level in levels[1:]])
    weak = levels[0].quantity.method.weak or 1.0  # what noise adds to that would make the bias seem small
    alpha = min(_slope(n[clear], means[clear], 1.0), max(1.0, weak))
    return alpha, _slope(n[variances > 0], variances[variances > 0], 1.0)


def _slope(n, values, default):
    return default if len(n) < 2 else max(0.5, float(-np.polyfit(n, np.log2(values), 1)[0]))


def _bias(levels, alpha):
    """Σ of the differences to come, a geometric series after each of the last three."""
    last = levels[-1].n
    tails = [abs(level.mean) * (level.n / last) ** alpha for level in levels[-3:] if level.coarse]
    return max(tails) / (2**alpha - 1)


def _variances(levels, beta):
    """Variances; where few paths or a few of them make one, not below what the level before lets expect.

    Where no path of the first differences makes one, those may be as the events that make that of the first level.
    """
    first = levels[0]
    found = [first.variance]
    for level in levels[1:]:
        expected = found[-1] * 2.0**-beta if found[1:] else 0.0
        if level is levels[1] and level.variance == 0:
            found.append(UNSEEN / level.count * first.variance * first.kurtosis)
            continue
        found.append(max(level.variance, expected if level.kurtosis > HEAVY else 0.5 * expected))
    return found


def _stderr(levels, rates):
    """The standard error of the sum: of scramblings as it is, else from the variances."""
    if rates is None or levels[0].scramblings:
        return math.hypot(*(level.stderr for level in levels))
    return math.sqrt(sum(v / level.count for v, level in zip(_variances(levels, rates[1]), levels)))


def _answer(levels, bias, rates, seed, tol, resolves=True):
    records, notes, before = [], [], None
    for level in levels:
        gap = 0.0 if before is None else _gap(before, level)
        records.append(Level(level.n, level.count, level.mean, level.variance, level.kurtosis, gap, level.seed))
        before = level
    stderr = _stderr(levels, rates)
    if rates is None:
        notes.append("exact in law: one level, no bias")
    heavy = [] if levels[0].scramblings else [r for r in records[1:] if r.kurtosis > HEAVY]
    notes += [f"{r.steps} steps: kurtosis {r.kurtosis:.0f}, variance extrapolated" for r in heavy]
    apart = [r for r in records if r.consistency > 1]
    doubts = [f"{r.steps} steps: {r.consistency:.1f} times as far from the level before as noise allows" for r in apart]
    if levels[0].count < _enough(levels[0], KNOWN // 2):
        doubts.append(_few(records[0]))
    if not resolves:
        doubts.append(f"{records[-1].steps} steps do not resolve what the coefficients do in time")
    if bias + SURE * stderr > tol:
        doubts.append(f"bias {bias:.2g} and 2.6 standard errors of {stderr:.2g} are above tol = {tol:.2g}")
    error = bias + (SURE if levels[0].scramblings else 1.96) * stderr
    return Answer(
        sum(level.mean for level in levels), error, bias, stderr, tuple(records), rates,
        sum(level.count * level.cost for level in levels), seed, not doubts, (*notes, *doubts),
    )  # fmt: skip


def _few(first):
    if first.variance > 0:
        return f"kurtosis {first.kurtosis:.2g} on {first.paths} paths: a few of them make the variance"
    return f"all {first.paths} paths gave the same: what is rarer than {UNSEEN / first.paths:.2g} was not seen"


def _gap(before, level):
    (a, sa), (b, sb) = before.finer, level.finer
    spread = 3 * (level.stderr + sa + sb)
    return abs(level.mean - (b - a)) / spread if spread > 0 else 0.0
