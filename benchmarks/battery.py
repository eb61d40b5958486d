"""A statistical battery on two billion normals of the project's own generator.

    python -m benchmarks.battery                                  # 2**30 normals of each dtype
    python -m benchmarks.battery --lanes 4096 --depth 1024 --no-write

For float32 and for float64, on lanes of their own: moments, Kolmogorov–Smirnov, chi-square, tails,
and correlations of the normals and of their squares along n, along lanes, and with the normals of
other streams, keys and lane words. All numbers are visited once, in blocks, so that memory stays
small. Every test gives a p-value; the battery fails where one is below LEVEL / number of tests, which
happens to a perfect generator with probability LEVEL at most (Bonferroni).

Writes benchmarks/results/battery.json; `python -m benchmarks.pages` shows it on docs/noise.md.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from scipy import stats

from sdekit import noise
from sdekit.backends.kernels import generator
from sdekit.files import write_text

from .report import cores, machine, versions

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "battery.json"
LEVEL = 1e-4  # probability that a perfect generator fails
DTYPES = ("float32", "float64")

ROWS, LANES = 128, 512  # of a block, which stays in the second-level cache
REACH, PER_UNIT = 8, 4096  # bins of width 1/4096 on [−8, 8)
BINS = 2 * REACH * PER_UNIT
LEVELS = (1, 2, 3, 4, 5, 5.5, 6)  # of the tail counts; multiples of the width of a bin
ALONG_N = tuple(range(1, 9))
ALONG_LANES = (*range(1, 9), generator.LANES)
LARGEST = math.sqrt(-2 * math.log(2.0**-33))  # the radius of word 0: 6.764

# What the normals (seed 0, stream 0, lane, n) are correlated with: seed, stream, offset of the lane.
PARTNERS = {
    "stream 1": (0, noise.Stream.SECOND, 0),
    "stream 2": (0, noise.Stream.CORRECTOR, 0),
    "stream 3": (0, noise.Stream.SAMPLE, 0),
    "stream 4": (0, noise.Stream.BRIDGE, 0),
    "seed 1": (1, noise.Stream.PATH, 0),
    "seed 2**32": (2**32, noise.Stream.PATH, 0),
    "lane + 2**32": (0, noise.Stream.PATH, 2**32),
}

EXPECTED = """\
Normals come from u = (w + 1/2) 2**-32 with a 32-bit word w, so that |z| <= sqrt(-2 log 2**-33) = 6.764; \
a normal law exceeds this with probability 1.3e-11. Tail probabilities from 4 sigma on are those of the \
words themselves. In float32 words round to 24 bits: next to u = 1 the radius takes the values \
sqrt(2 k) 2**-12, and u rounds to 1 for the last 128 words, so that a pair of normals is exactly zero with \
probability 2**-25; in float64 none is. Elsewhere the discreteness changes distribution functions by less \
than 1e-7, against 3e-5 that 2**30 normals resolve, and moments by less than 0.01 standard errors."""


# --- one pass over the normals -------------------------------------------------------------------


class Sums(NamedTuple):
    """What is kept of the normals; sums of shares add up."""

    count: int
    powers: np.ndarray  # Σ z, …, Σ z⁸
    histogram: np.ndarray
    zeros: int
    largest: float
    along_n: np.ndarray  # (lags, 3): Σ ab, Σ (a² − 1)(b² − 1), and the number of pairs
    along_lanes: np.ndarray
    across: np.ndarray

    def __add__(self, other):
        largest = max(self.largest, other.largest)
        return Sums(*(a + b for a, b in zip(self, other)))._replace(largest=largest)


FAST = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz"}}


@njit(**FAST)
def add_powers(z, sums):
    """Add Σ z, …, Σ z⁸ to `sums`."""
    s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = 0.0
    for r in range(z.shape[0]):
        for i in range(z.shape[1]):
            x = np.float64(z[r, i])
            x2 = x * x
            x3 = x2 * x
            x4 = x2 * x2
            s1 += x
            s2 += x2
            s3 += x3
            s4 += x4
            s5 += x4 * x
            s6 += x4 * x2
            s7 += x4 * x3
            s8 += x4 * x4
    for p, s in enumerate((s1, s2, s3, s4, s5, s6, s7, s8)):
        sums[p] += s


@njit(**FAST)
def add_bins(z, histogram):
    """Count the normals in bins; return how many are zero and the largest |z|."""
    zeros, largest = 0, 0.0
    for r in range(z.shape[0]):
        for i in range(z.shape[1]):
            x = np.float64(z[r, i])
            bin_ = math.floor((x + REACH) * PER_UNIT)
            histogram[min(max(bin_, 0), BINS - 1)] += 1
            zeros += x == 0
            largest = max(largest, abs(x))
    return zeros, largest


@njit(**FAST)
def add_products(a, b, rows, lanes, sums):
    """Add the products of a[r + rows, i + lanes] and b[r, i], of their squares less 1, and their number."""
    values = squares = 0.0
    for r in range(a.shape[0] - rows):
        later, earlier = a[r + rows, lanes:], b[r]  # views: an index that may be negative does not vectorise
        for i in range(later.size):
            x, y = np.float64(later[i]), np.float64(earlier[i])
            values += x * y
            squares += (x * x - 1) * (y * y - 1)
    sums[0] += values
    sums[1] += squares
    sums[2] += (a.shape[0] - rows) * (a.shape[1] - lanes)


def share(lane, depth, dtype, rows):
    """`Sums` of the normals 0 … depth − 1 of the lanes lane … lane + LANES − 1."""
    z, other = np.empty((2, ROWS, LANES), dtype)
    powers, histogram = np.zeros(8), np.zeros(BINS, np.int64)
    along_n, along_lanes, across = (np.zeros((len(x), 3)) for x in (ALONG_N, ALONG_LANES, PARTNERS))
    zeros, largest = 0, 0.0
    for n in range(0, depth, ROWS):
        rows(z, lane, n, 0, noise.Stream.PATH)
        add_powers(z, powers)
        nothing, top = add_bins(z, histogram)
        zeros, largest = zeros + nothing, max(largest, top)
        for lag, sums in zip(ALONG_N, along_n):
            add_products(z, z, lag, 0, sums)
        for lag, sums in zip(ALONG_LANES, along_lanes):
            add_products(z, z, 0, lag, sums)
        for (seed, stream, offset), sums in zip(PARTNERS.values(), across):
            rows(other, lane + offset, n, seed, stream)
            add_products(z, other, 0, 0, sums)
    return Sums(depth * LANES, powers, histogram, zeros, largest, along_n, along_lanes, across)


def collect(first_lane, lanes, depth, dtype, threads=1, rows: Callable = generator.rows):
    """`Sums` of the normals 0 … depth − 1 of `lanes` lanes; `rows` makes them, as `generator.rows` does."""
    if lanes < LANES or lanes % LANES or depth < ROWS or depth % ROWS:
        raise ValueError(f"lanes must be a multiple of {LANES} and depth of {ROWS}, got {lanes} and {depth}")
    starts = range(first_lane, first_lane + lanes, LANES)
    with ThreadPoolExecutor(threads) as pool:
        first, *others = pool.map(lambda lane: share(lane, depth, dtype, rows), starts)
    return sum(others, first)


# --- tests ---------------------------------------------------------------------------------------


class Test(NamedTuple):
    """A statistic and the probability of one at least as extreme."""

    name: str
    statistic: float
    p: float
    note: dict[str, Any] = {}


def scored(name, z):
    """The test of a standard normal score."""
    return Test(name, float(z), float(2 * stats.norm.sf(abs(z))))


def counted(name, found, n, probability, **note):
    """The exact binomial test of a count."""
    expected = n * probability
    z = (found - expected) / math.sqrt(expected * (1 - probability)) if expected else float(found)
    p = stats.binomtest(int(found), int(n), probability).pvalue if expected else float(found == 0)
    return Test(name, float(z), float(p), {"found": int(found), "expected": expected, **note})


def moments(sums):
    """Raw moments: E z^p = (p − 1)!! for even p, 0 for odd; the variance of z^p from E z^2p."""
    for p, total in enumerate(sums.powers, 1):
        mean = 0.0 if p % 2 else float(math.prod(range(1, p, 2)))
        variance = math.prod(range(1, 2 * p, 2)) - mean**2
        yield scored(f"moment {p}", (total / sums.count - mean) / math.sqrt(variance / sums.count))


def kolmogorov_smirnov(sums):
    """On all normals, at the edges of the bins.

    Between two edges the distance moves by the root of a bin's probability, 0.01 of its unit 1/√n at
    most, so that p is very slightly too large.
    """
    edges = np.linspace(-REACH, REACH, BINS + 1)[1:-1]
    distance = abs(np.cumsum(sums.histogram)[:-1] / sums.count - stats.norm.cdf(edges)).max()
    scaled = math.sqrt(sums.count) * distance
    yield Test("Kolmogorov-Smirnov", scaled, float(stats.kstwobign.sf(scaled)), {"distance": float(distance)})


def chi_square(sums, least=25):
    """On the bins, those on either side that expect fewer than `least` normals as one; a good fit counts as odd too."""
    edges = np.linspace(-REACH, REACH, BINS + 1)
    # differences of the lower tail, on either side the accurate one
    half = np.diff(stats.norm.cdf(edges[: BINS // 2 + 1]))
    expected = sums.count * np.concatenate([half, half[::-1]])
    inner = np.flatnonzero(expected >= least)
    low, high = inner[0], inner[-1] + 1
    outside = sums.count * stats.norm.cdf(edges[low])
    expected = np.concatenate([[outside], expected[low:high], [outside]])
    found = sums.histogram
    found = np.concatenate([[found[:low].sum()], found[low:high], [found[high:].sum()]])
    value, freedom = float(((found - expected) ** 2 / expected).sum()), len(expected) - 1
    p = 2 * min(stats.chi2.sf(value, freedom), stats.chi2.cdf(value, freedom))
    yield Test("chi-square", value, float(min(p, 1)), {"degrees of freedom": freedom})


def tail(level):
    """P(|z| > level): (2/π) arccos(level/r) of the angles for each radius r; below 4 the normal law is as good."""
    if level < 4:
        return float(2 * stats.norm.sf(level))
    words = np.arange(math.ceil(math.exp(-0.5 * level**2) * 2**32))
    radius = np.sqrt(-2 * np.log((words + 0.5) * 2.0**-32))
    return float(np.arccos(level / radius[radius > level]).sum() * 2 / math.pi * 2.0**-32)


def tails(sums):
    """How many |z| lie beyond each level."""
    for level in LEVELS:
        edge = int(level * PER_UNIT)
        middle = sums.histogram[BINS // 2 - edge : BINS // 2 + edge].sum()
        normal = sums.count * 2 * stats.norm.sf(level)
        yield counted(f"beyond {level} sigma", sums.count - middle, sums.count, tail(level), normal=float(normal))


def bounds(sums, dtype):
    """The largest |z|, and pairs of normals that are exactly zero."""
    yield Test("largest", sums.largest, float(sums.largest <= LARGEST * (1 + 1e-6)), {"bound": LARGEST})
    probability = 2.0**-25 if dtype == "float32" else 0.0
    yield counted("pairs of zeros", sums.zeros / 2, sums.count // 2, probability)


def correlations(sums):
    """Σ ab/√n, and Σ (a² − 1)(b² − 1)/(2√n) of the squares."""
    groups = (
        ("along n, lag", ALONG_N, sums.along_n),
        ("along lanes, lag", ALONG_LANES, sums.along_lanes),
        ("with", PARTNERS, sums.across),
    )
    for text, names, table in groups:
        for name, (values, squares, pairs) in zip(names, table):
            yield scored(f"correlation {text} {name}", values / math.sqrt(pairs))
            yield scored(f"correlation of squares {text} {name}", squares / (2 * math.sqrt(pairs)))


def tests(sums, dtype):
    """All tests of one dtype."""
    return [
        *moments(sums), *kolmogorov_smirnov(sums), *chi_square(sums), *tails(sums), *bounds(sums, dtype),
        *correlations(sums),
    ]  # fmt: skip


def verdict(results):
    """Whether the battery passes, from the tests of all dtypes."""
    ps = np.array([test.p for found in results.values() for test in found])
    return {
        "passed": bool(ps.min() >= LEVEL / len(ps)),
        "tests": len(ps),
        "smallest p": float(ps.min()),
        "threshold": LEVEL / len(ps),
        "p below 0.01": int((ps < 0.01).sum()),
        "false failure at most": LEVEL,
    }


# --- the whole battery ---------------------------------------------------------------------------


def run(lanes, depth, threads):
    """The battery as one record, ready for JSON."""
    results, seconds = {}, {}
    for i, dtype in enumerate(DTYPES):
        begin = time.perf_counter()
        # lanes of its own: both dtypes read the same words, and would say the same twice
        results[dtype] = tests(collect(i * lanes, lanes, depth, dtype, threads), dtype)
        seconds[dtype] = round(time.perf_counter() - begin, 1)
        print(f"{dtype}: {lanes * depth:,} normals, {seconds[dtype]} s")
    return {
        "verdict": verdict(results),
        "normals": dict.fromkeys(DTYPES, lanes * depth),
        "work": {"lanes": lanes, "depth": depth, "threads": threads, "seconds": seconds},
        "machine": machine(),
        "versions": versions(),
        "expected": EXPECTED,
        "results": {dtype: [record(test) for test in found] for dtype, found in results.items()},
    }


def record(test):
    return {"test": test.name, "statistic": test.statistic, "p": test.p, **test.note}


def summary(data):
    """The result in Markdown."""
    by_name = {dtype: {test["test"]: test for test in data["results"][dtype]} for dtype in DTYPES}

    def row(label, cell):
        return f"| {label} | {' | '.join(cell(by_name[dtype]) for dtype in DTYPES)} |"

    def largest(part):
        return lambda found: f"{max(abs(found[name]['statistic']) for name in found if part in name):.2f}"

    def p(name):
        return lambda found: f"{found[name]['p']:.2f}"

    def count(name):
        return lambda found: f"{found[name]['found']:,} of {found[name]['expected']:,.1f}"

    judged = data["verdict"]
    return "\n".join(
        [
            "| | float32 | float64 |",
            "| --- | --: | --: |",
            f"| normals | {' | '.join(f'{n:,}' for n in data['normals'].values())} |",
            row("moments 1 … 8, largest score", largest("moment")),
            row("Kolmogorov–Smirnov, p", p("Kolmogorov-Smirnov")),
            row("chi-square, p", p("chi-square")),
            *(row(f"beyond {level}σ, found of expected", count(f"beyond {level} sigma")) for level in (4, 5, 6)),
            row("largest absolute value", largest("largest")),
            row("pairs of zeros, found of expected", count("pairs of zeros")),
            row(f"{2 * sum(map(len, (ALONG_N, ALONG_LANES, PARTNERS)))} correlations, largest score", largest("corr")),
            "",
            f"{judged['tests']} tests, smallest p-value {judged['smallest p']:.2g}: "
            + ("passed." if judged["passed"] else "FAILED."),
        ]
    )


def main(argv=None):
    """Run the battery, print it, write it; exit status 1 where it fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.battery", description=__doc__.split("\n\n")[0])
    parser.add_argument("--lanes", type=int, default=2**16, help="lanes of each dtype (%(default)s)")
    parser.add_argument("--depth", type=int, default=2**14, help="normals of each lane (%(default)s)")
    parser.add_argument("--threads", type=int, default=cores(), help="never changes a result (%(default)s)")
    parser.add_argument("--no-write", action="store_true", help="print only")
    arguments = parser.parse_args(argv)
    data = run(arguments.lanes, arguments.depth, arguments.threads)
    for dtype, found in data["results"].items():
        for test in found:
            print(f"{dtype}  {test['test']:48} {test['statistic']:14.4f}  p = {test['p']:.3g}")
    print(json.dumps(data["verdict"], indent=1))
    if not arguments.no_write:
        write_text(RESULTS, json.dumps(data, indent=1) + "\n")
    return 0 if data["verdict"]["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
