"""pytest-benchmark wrappers: every form of every contender on a small piece of work, checked.

The published table comes from `python -m benchmarks.throughput`, which interleaves full-size runs.
"""

import numpy as np
import pytest

from benchmarks.problem import SIGMA, START, THETA, Work, check_alike, check_law, euler
from benchmarks.report import cores
from benchmarks.throughput import CONTENDERS, batch_work, in_batches

WORK = Work(paths=20_000, steps=50, threads=min(cores(), 2))


@pytest.mark.parametrize("name", CONTENDERS)
def test_throughput(benchmark, name):
    """The law is tested to 4 standard errors, twice: a form fails by chance with 1.3e-4."""
    try:
        forms = CONTENDERS[name]()
    except ImportError as missing:
        pytest.skip(f"{missing.name or missing} is not installed")
    runs = []
    for form in forms:
        part = batch_work(form, WORK)
        runs.append(in_batches(form.build(part), part.paths, WORK.paths))
        form.check(runs[-1](1), WORK)
    benchmark.extra_info["form"] = forms[0].label
    benchmark.pedantic(runs[0], args=(2,), rounds=3)
    if benchmark.enabled:
        rate = WORK.paths * WORK.steps / benchmark.stats.stats.median
        benchmark.extra_info["path_steps_per_second"] = rate


def test_the_checks_see_a_wrong_equation():
    """Noise or drift of 4 % too much at 20,000 paths: missed by chance with less than 1e-3."""

    def sample(theta=THETA, sigma=SIGMA, seed=1):
        return euler(lambda x: -theta * x, sigma, [START], WORK.paths, WORK.steps, seed)

    right = sample()
    check_law(right, WORK.steps)
    check_alike(right, sample(seed=2))
    for wrong in (sample(sigma=1.04 * SIGMA), sample(theta=1.04 * THETA)):
        with pytest.raises(AssertionError, match="wrong"):
            check_law(wrong, WORK.steps)
    with pytest.raises(AssertionError, match="wrong"):
        check_alike(right, sample(sigma=1.07 * SIGMA, seed=2))
    with pytest.raises(AssertionError, match="wrong"):
        check_law(np.full(WORK.paths, np.nan), WORK.steps)
