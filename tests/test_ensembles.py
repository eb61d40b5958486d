"""Ensembles: statistics against numpy, the same bits for any blocks, stores, errors; executors have tests apart."""

import contextlib
import errno
import functools
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import sdekit as sk
from sdekit.ensembles import stores
from sdekit.ensembles.fingerprint import fingerprint
from sdekit.stats.exactly import exact_sum, rounded

PLAIN = {"backend": sk.backends.numpy()}
TS = [0, 0.5, 1]
HERE = Path(__file__).parent
PATHS = 20_000  # four leaves and a part of one
LEVELS = [0.0, 0.05, 0.5, 0.95, 1.0]
ALL = [
    sk.stats.moments,
    sk.stats.extremes,
    sk.stats.comoments,
    sk.stats.covariance,
    sk.stats.histogram(np.linspace(-1, 1, 21)),
    sk.stats.quantiles(LEVELS),
]


def bits(result):
    """All numbers of the statistics as bytes."""
    values = [
        np.asarray(v) for found in result.results.values() for v in (found if type(found) is not int else [found])
    ]
    return [(v.dtype.str, v.shape, v.tobytes()) for v in values]


def run(process=sk.OU(), x0=0.5, statistics=ALL, **others):
    return sk.ensemble(
        process, x0, TS, statistics=statistics, **{"h": 0.25, "paths": PATHS, "seed": 3, **PLAIN, **others}
    )


@pytest.fixture(scope="module")
def whole():
    return run(keep_paths=True)


def test_paths_are_those_of_solve(whole):
    assert np.array_equal(whole.x, sk.solve(sk.OU(), 0.5, TS, h=0.25, paths=PATHS, seed=3, **PLAIN).x)
    assert (whole.paths, whole.failed, whole.stopped, whole.seed) == (PATHS, 0, (), 3)
    assert run(statistics=[]).x.shape == (3, PATHS)
    assert run(statistics=[sk.stats.moments]).x is None


def test_statistics_are_those_of_numpy(whole):
    x, moments = whole.x[1:], whole.moments
    d = x - x.mean(1, keepdims=True)
    assert (moments.count == PATHS).all() and moments.variance[0] == 0
    for found, wanted in (
        (moments.mean[1:], x.mean(1)),
        (moments.variance[1:], x.var(1, ddof=1)),
        (moments.third[1:], (d**3).mean(1)),
        (moments.fourth[1:], (d**4).mean(1)),
        (moments.kurtosis[1:], (d**4).mean(1) / (d**2).mean(1) ** 2),
        (moments.skewness[1:], (d**3).mean(1) / (d**2).mean(1) ** 1.5),
        (whole.comoments.covariance, np.cov(whole.x)),
        (whole.comoments.correlation[1:, 1:], np.corrcoef(x)),
        (whole.covariance.covariance[:, 0, 0], moments.variance),
    ):
        assert np.allclose(found, wanted, rtol=1e-11, atol=1e-14)
    found = whole.extremes
    assert np.array_equal(found.least, whole.x.min(1)) and np.array_equal(found.largest_path, whole.x.argmax(1))
    for t in range(3):
        below, *inside = np.searchsorted(np.sort(whole.x[t]), whole.histogram.edges)
        assert whole.histogram.below[t] == below and np.array_equal(
            whole.histogram.counts[t], np.diff([below, *inside])
        )
    assert np.allclose(whole.histogram.density[2].sum() * 0.1, np.mean(np.abs(whole.x[2]) < 1))


def test_quantiles_are_within_their_accuracy(whole):
    found = whole.quantiles
    exact = np.quantile(whole.x, LEVELS, axis=1, method="inverted_cdf")
    assert found.accuracy <= 1e-3
    assert (np.abs(found.values - exact) <= found.accuracy * np.abs(exact) + found.floor).all()
    assert (found.low <= exact).all() and (exact <= found.high).all()


def test_intervals_cover(whole):
    """Of 200 runs of 4,096 paths those whose 95 % intervals miss the law are 10 ± 3.1; more than 26: 1e-6."""
    misses = np.zeros(3)
    statistics = [sk.stats.moments, sk.stats.quantiles([0.3])]
    for seed in range(200):
        found = run(sk.Brownian(), 0.0, statistics, h=0.5, paths=4096, seed=seed)
        for i, (low, high, true) in enumerate(
            [(*found.moments.mean_interval(), 0.0), (*found.moments.variance_interval(), 1.0)]
            + [(found.quantiles.low[0], found.quantiles.high[0], -0.524400512708041)]
        ):
            misses[i] += not low[2] <= true <= high[2]
    assert (misses <= 26).all() and misses[:2].min() >= 1


@pytest.mark.parametrize("block", [8192, 2**14, 2**16])
def test_bits_do_not_depend_on_blocks(whole, block):
    assert bits(run(block=block)) == bits(whole)


class Shuffled(ThreadPoolExecutor):
    """Blocks are finished in an order that has nothing to do with theirs."""

    def submit(self, function, /, *args):
        delay = np.random.default_rng(args[-1]).uniform(0, 0.05)
        return super().submit(lambda: (time.sleep(delay), function(*args))[1])


def test_bits_do_not_depend_on_threads_or_order(whole):
    with Shuffled(3) as pool:
        assert bits(run(executor=pool, block=4096)) == bits(whole)


@pytest.mark.slow
def test_bits_of_compiled_code_do_not_depend_on_threads_or_order():
    with Shuffled(3) as pool:
        assert bits(run(executor=pool, block=4096, backend=None)) == bits(run(backend=None))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_ranges_of_paths_merge_to_the_same_bits(whole, order):
    """With blocks of other sizes, and the first range in which no path is path 0."""
    ranges = [(0, 8192), (8192, 4096), (12_288, PATHS - 12_288)]
    parts = [run(first_path=first, paths=paths, block=4096 * (1 + i)) for i, (first, paths) in enumerate(ranges)]
    found = sk.merge(parts[i] for i in order)
    assert bits(found) == bits(whole) and found.x is None
    assert (found.paths, found.first_path, found.failed, found.seed) == (PATHS, 0, 0, 3)
    late = run(first_path=8192, paths=PATHS - 8192)
    assert bits(sk.merge(parts[1:])) == bits(late) == bits(sk.merge([late]))
    assert bits(sk.merge([parts[0], sk.merge(parts[1:])])) == bits(whole)
    mine = [run(first_path=first, paths=paths, statistics=[HITS]) for first, paths in ranges]
    assert np.allclose(sk.merge(mine).hits, whole.moments.mean, rtol=1e-14)


def test_merge_leaves_what_it_is_given():
    """Merges in place, of arrays, and of what a first total takes over from a later one."""

    def add(state, sol):
        return {**state, sol.state.first_path // 8192: np.array([len(sol.failed)])}

    def united(state, later):
        for key, count in later.items():
            if key in state:
                state[key] += count
            else:
                state[key] = count
        return state

    def summed(state, later):
        state += later
        return state

    counts = sk.stats.Statistic("counts", dict, add, united)
    number = sk.stats.Statistic("number", lambda: np.zeros(1), lambda state, sol: state + len(sol.failed), summed)
    parts = [run(first_path=4096 * i, paths=4096, statistics=[counts, number]) for i in range(4)]
    for _ in range(2):
        found = sk.merge(parts)
        assert found.counts == {0: 8192, 1: 8192} and found.number == 16_384
    assert [part.number for part in parts] == [4096] * 4 and [*parts[2].counts.values()] == [4096]


def test_what_does_not_merge_is_named():
    first = run(statistics=[sk.stats.moments], paths=8192)
    for other, words in (
        (run(statistics=[sk.stats.moments], first_path=8192, h=0.5), "differ in h: 0.25 and 0.5"),
        (run(statistics=[sk.stats.moments], first_path=8192, seed=4), "differ in seed: 3 and 4"),
        (run(sk.OU(theta=2.0), statistics=[sk.stats.moments], first_path=8192), "differ in process: OU"),
        (run(statistics=[sk.stats.extremes], first_path=8192), "differ in statistics"),
        (run(statistics=[sk.stats.moments], first_path=16_384), "ends at path 8,191, the next begins at 16,384"),
        (first, "ends at path 8,191, the next begins at 0"),
        (3, "sequence of at least one Ensemble"),
    ):
        with pytest.raises(ValueError, match=words):
            sk.merge([first, other])
    with pytest.raises(ValueError, match="at least one Ensemble, got 3"):
        sk.merge(3)


def test_sums_are_exact():
    """Against fractions, over all exponents; infinite sums stay so."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 4)) * 10.0 ** rng.uniform(-320, 300, (500, 4))
    x[:, 0] = rng.standard_normal(500)
    exact = [float(sum(map(Fraction, column))) for column in x.T]
    whole = exact_sum(x)
    assert rounded(whole).tolist() == exact == rounded(exact_sum(x[::-1][:99]) + exact_sum(x[:-99])).tolist()
    assert np.abs(whole).max() < 2**32  # so that 2^31 of them can be added
    odd = np.array([[np.inf, np.inf, -np.inf, np.nan, 1e308, -1e308, -5e-324]] * 2)
    odd[1, 1] = -np.inf
    assert str(rounded(exact_sum(odd)).tolist()) == "[inf, nan, -inf, nan, inf, -inf, -1e-323]"
    far = run(sk.Brownian(), 1e8, [sk.stats.moments])
    assert far.moments.variance[2] == pytest.approx(1.0, abs=0.06)  # six standard errors: 2e-9


@pytest.mark.parametrize("repeated", [True, False])
def test_values_of_each_path_are_cut(repeated):
    """Parameters and states over the paths, one more path axis, and components."""
    rate = np.linspace(0.5, 2, PATHS)
    x0 = {"x0": 1.0, "paths": PATHS} if repeated else {"x0": np.linspace(0, 1, PATHS), "paths": None}
    found = run(sk.OU(theta=rate), statistics=[], block=4096, **x0).x
    assert np.array_equal(found, sk.solve(sk.OU(theta=rate), **x0, ts=TS, h=0.25, seed=3, **PLAIN).x)
    inner = run(sk.OU(sigma=np.array([0.1, 0.5])), [0.5, 0.5], ALL[:4], block=4096, keep_paths=True)
    assert inner.moments.mean.shape == (3, 2) and inner.comoments.covariance.shape == (2, 3, 3)
    assert np.allclose(inner.moments.std[2], inner.x[2].std(0, ddof=1)) and inner.x.shape == (3, PATHS, 2)
    pair = run(sk.Heston(), [100.0, 0.04], ALL[:4], block=4096, keep_paths=True)
    assert np.allclose(pair.covariance.covariance[2], np.cov(pair.x[2].T), rtol=1e-10)
    assert pair.covariance.covariance.shape == (3, 2, 2)


def test_tensors():
    torch = pytest.importorskip("torch")
    found = run(x0=torch.tensor(0.5, dtype=torch.float64), backend=None, block=4096, keep_paths=True)
    assert torch.is_tensor(found.x) and found.x.shape == (3, PATHS)
    assert found.moments.mean[2] == pytest.approx(float(found.x[2].mean()))


def test_events_and_failed_paths_are_counted():
    found = run(sk.Brownian(), 0.0, [sk.stats.moments], events=[sk.Barrier(0.5), sk.Barrier(-5.0)])
    assert found.stopped == (int((sk.solve(
        sk.Brownian(), np.zeros(PATHS), TS, h=0.25, seed=3, events=[sk.Barrier(0.5), sk.Barrier(-5.0)], **PLAIN
    ).event == 0).sum()), 0)  # fmt: skip
    blow = sk.process(lambda t, x: x**3, lambda t, x: 1.0, additive=True)
    with pytest.warns(RuntimeWarning, match="count in no statistic"), np.errstate(all="ignore"):
        found = run(blow, 3.0, [sk.stats.moments, sk.stats.extremes], keep_paths=True, h=0.05)
    assert 0 < found.failed == np.isnan(found.x[-1]).sum() and found.moments.count[2] == PATHS - found.failed


HITS = sk.stats.Statistic(
    "hits",
    lambda: (0, np.zeros(3)),
    lambda state, sol: (state[0] + len(sol.failed), state[1] + sol.x.sum(1)),
    lambda a, b: (a[0] + b[0], a[1] + b[1]),
    lambda state: state[1] / state[0],
)


def test_statistics_of_ones_own(whole):
    found = run(statistics=[HITS])
    assert np.allclose(found.hits, whole.x.mean(1)) and np.array_equal(
        run(statistics=[HITS], block=8192).hits, found.hits
    )
    with pytest.raises(AttributeError, match=r"no 'moments'; it has the statistics hits"):
        found.moments  # noqa: B018


@pytest.mark.parametrize("kind", ["numpy", "compiled", "torch"])
@pytest.mark.parametrize("which", ["x", "final", "failed", "state"])
def test_a_statistic_that_changes_the_paths_is_named(kind, which):
    def add(state, sol):
        values = sol.state.x if which == "state" else getattr(sol, which)
        values *= 2 if which != "failed" else False
        return state

    x0 = pytest.importorskip("torch").tensor(0.5) if kind == "torch" else 0.5
    doubled, backend = HITS._replace(name="doubled", add=add), PLAIN["backend"] if kind == "numpy" else None
    with pytest.raises(RuntimeError, match="ValueError: statistic doubled changes its argument in place"):
        run(x0=x0, statistics=[sk.stats.moments, doubled], backend=backend, paths=8192)


def test_stream_is_in_order_and_bounded():
    made = []
    drift = sk.process(lambda t, x: made.append(len(x)) or -x, noise="none")
    blocks = sk.stream(drift, np.arange(40_960.0), [0, 1], sk.rk4, h=1.0, block=4096, **PLAIN)
    made.clear()
    firsts = []
    for sol in blocks:
        firsts.append(sol.state.first_path)
        assert sum(made) <= 4 * 4096 * len(firsts)
    assert firsts == list(range(0, 40_960, 4096))


def test_a_block_that_raises_is_made_again_and_then_named():
    calls = {"left": 1}

    def add(state, sol):
        if sol.state.first_path == 8192 and calls["left"]:
            calls["left"] -= 1
            raise OSError("no luck")
        return state + 1

    once = sk.stats.Statistic("once", lambda: 0, add, lambda a, b: a + b)
    assert run(statistics=[once], block=4096).once == 5
    calls["left"] = 2
    with pytest.raises(
        RuntimeError, match=r"block 2, paths 8,192 to 12,287, raised twice: OSError: no luck; blocks 0 to 1"
    ):
        run(statistics=[once], block=4096)


def test_interrupts_cancel():
    pool = ThreadPoolExecutor(1)
    blocks = sk.stream(sk.OU(), 0.0, TS, h=0.01, paths=400_000, block=4096, executor=pool, window=50, **PLAIN)
    next(blocks)
    blocks.close()
    start = time.perf_counter()
    pool.shutdown()
    assert time.perf_counter() - start < 5  # one block at most, where fifty take much longer
    with pytest.raises(RuntimeError, match=r"block 0, .* cannot schedule new futures"):
        next(sk.stream(sk.OU(), 0.0, TS, h=0.01, paths=8192, executor=pool, **PLAIN))


class Plainly:
    def submit(self, function, *args):
        """Works at once, and returns no future."""


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"paths": None}, "paths is missing"),
        ({"paths": 7, "process": sk.OU(theta=np.ones(5))}, "paths is 7, but an array parameter of OU has values for 5"),
        ({"first_path": 5}, "first_path must be a multiple of 4,096"),
        ({"block": 1000}, "block must be a multiple of 4,096"),
        ({"executor": 3}, "executor must have the submit"),
        ({"executor": ThreadPoolExecutor}, "executor must have the submit .* got <class"),
        ({"executor": Plainly()}, "executor must return futures from submit, as concurrent.futures does; got None"),
        ({"paths": 10**30}, "paths and first_path lead to the index 1000000000000000000000000000000, but indices end"),
        ({"x0": np.zeros(0), "paths": None}, "x0 has no path"),
        ({"store": "foo://run.zarr"}, "store foo://run.zarr cannot be opened: Protocol not known"),
        ({"store": "/"}, "store / holds something else"),
        ({"store": "a\0b"}, r"store must be a path or a URL, got 'a\\x00b'"),
        ({"statistics": [HITS._replace(init=None)]}, "statistics: init, add, merge and finish of 'hits' must be"),
        ({"statistics": [HITS._replace(name="two words")]}, "a name is that of an attribute .* got 'two words'"),
        ({"statistics": sk.stats.moments}, "statistics must be a list"),
        ({"statistics": [sk.stats.quantiles]}, "take edges and levels"),
        ({"statistics": [sk.stats.moments] * 2}, "'moments' is taken"),
        ({"statistics": [HITS._replace(name="__class__")]}, "'__class__' is taken"),
        ({"x0": []}, "x0 has no path, or no component"),
        ({"keep_paths": 1}, "keep_paths must be True or False"),
        ({"events": None}, "events must be a list of sdekit.Barrier and sdekit.Event, got None"),
        ({"events": sk.Barrier(2.0)}, "events must be a list of sdekit.Barrier and sdekit.Event, got Barrier"),
        ({"h": None}, "how to step is not said"),
        ({"step": 0.1}, "no argument 'step'"),
    ],
)
def test_errors(others, words):
    if "store" in others:
        pytest.importorskip("zarr")
    with pytest.raises(ValueError, match=words):
        run(**others)


def test_errors_of_statistics():
    for make, words in (
        (lambda: sk.stats.histogram([1, 0]), "edges must be at least two increasing"),
        (lambda: sk.stats.histogram([0, np.inf]), "edges must be finite"),
        (lambda: sk.stats.quantiles([1.5]), "levels must be a real number"),
        (lambda: sk.stats.quantiles(0.5), "levels must be a sequence"),
        (lambda: sk.stats.quantiles(level for level in [0.5]), "levels must be a sequence"),
        (lambda: sk.stats.quantiles([0.5], accuracy=0), "accuracy must be"),
    ):
        with pytest.raises(ValueError, match=words):
            make()


# --- stores ------------------------------------------------------------------------------------


@pytest.fixture
def url(tmp_path):
    pytest.importorskip("zarr")
    return str(tmp_path / "run.zarr")


def data(url):
    import zarr

    return {name: array[...].tobytes() for name, array in zarr.open_group(url, mode="r").arrays()}


def test_a_store_opens_in_xarray(url, whole):
    xarray = pytest.importorskip("xarray")
    found = run(store=url, keep_paths=True, block=8192)
    assert bits(found) == bits(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = xarray.open_zarr(url, consolidated=False)
    assert data.x.dims == ("path", "time") and np.array_equal(data.x.values.T, whole.x) and not data.failed.any()
    assert np.array_equal(data.time, TS)
    assert {"process", "method", "h", "seed", "versions", "calculus", "units"} <= set(data.attrs)


def test_a_store_names_the_difference(url):
    run(store=url, statistics=[sk.stats.moments])
    for others, words in (
        ({"h": 0.5}, "with h = 0.25, but this one has h = 0.5"),
        ({"process": sk.OU(theta=2.0)}, "process = OU"),
        ({"statistics": [sk.stats.extremes]}, "statistics ="),
        ({"x0": 0.1}, "x0 = 0.5, but this one has x0 = 0.1"),
        ({"keep_paths": True}, "keep_paths = False"),
        ({"seed": 4}, "seed = 3"),
    ):
        with pytest.raises(ValueError, match=words):
            run(store=url, **{"statistics": [sk.stats.moments], **others})
    again = sk.ensemble(sk.OU(), 0.5, TS, h=0.25, paths=PATHS, statistics=[sk.stats.moments], store=url, **PLAIN)
    assert again.seed == 3  # that of the store


def test_a_damaged_store_says_so(url):
    """Whichever of our two files is cut, is another's, is empty, is gone or is a folder."""
    run(store=url, statistics=[sk.stats.moments])
    for name, texts in (
        ("totals", (b"", None, zlib.compress(b"no pickle"), zlib.compress(pickle.dumps(3)), pickle.dumps((1, [])))),
        ("totals", (zlib.compress(pickle.dumps((1, [Fraction(1)]))),)),
        ("arguments.json", (b"", None, b"{}", b"[1", b"[1]", b"null", b'{"seed": "a", "block": "1"}', b"\xff")),
    ):
        file = Path(url, "statistics", name)
        whole = file.read_bytes()
        for text in texts:
            file.write_bytes(whole[:-9] if text is None else text)
            with pytest.raises(ValueError, match=r"^store .*run\.zarr is damaged: .*; give another store$"):
                run(store=url, statistics=[sk.stats.moments])
        for damage in (lambda: None, file.mkdir):
            file.unlink()
            damage()
            with pytest.raises(ValueError, match=rf"is damaged: statistics/{name} is|holds something else"):
                run(store=url, statistics=[sk.stats.moments])
            if file.is_dir():
                file.rmdir()
            file.write_bytes(whole)
    assert run(store=url, statistics=[sk.stats.moments]).moments.count[0] == PATHS


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_store_killed_as_it_was_made_begins_anew(writes, url, monkeypatch, whole):
    """Before its first file, its second one and its arrays."""
    write, left = stores.files.write, [writes]

    def failing(*args):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stores.files, "write", failing)
        run(store=url, keep_paths=True)
    again = run(store=url, keep_paths=True)
    assert bits(again) == bits(whole) and np.array_equal(again.x[:].T, whole.x)


@pytest.mark.parametrize("half", [False, True], ids=["whole", "half"])
def test_a_damaged_array_says_so(half, url, monkeypatch):
    """Metadata or times that are cut, another's or gone, an empty or lost chunk: each time all else stays as it is."""
    given = {"store": url, "keep_paths": True, "block": 4096, "statistics": [sk.stats.moments]}
    commit = stores.Zarr.commit

    def stopped(self, index, *rest):
        if half and index == 3:
            raise KeyboardInterrupt
        commit(self, index, *rest)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(stores.Zarr, "commit", stopped)
        run(**given)

    def files():
        return {path: path.read_bytes() for path in Path(url).rglob("*") if path.is_file()}

    for name in ("zarr.json", "x/zarr.json", "failed/zarr.json", "time/zarr.json", "x/c/1/0", "failed/c/1", "time/c/0"):
        file = Path(url, name)
        whole, chunk = file.read_bytes(), "/c/" in name
        others = (b"", *([whole[: len(whole) // 2]] if name == "time/c/0" else ()))
        texts = [whole[:-9], b"", b"[1]", b"{}", b"\xff\xfe", whole.replace(b'"zarr_format": 3', b'"zarr_format": 2')]
        if name in ("x/zarr.json", "failed/zarr.json"):
            texts += [whole.replace(str(PATHS).encode(), b"3"), whole.replace(b"4096", b"4095")]
            texts += [whole.replace(b'"float64"', b'"int64"').replace(b'"bool"', b'"int8"').replace(b"false", b"0")]
        for text in (None, *(others if chunk else texts)):
            file.unlink() if text is None else file.write_bytes(text)
            before = files()
            with pytest.raises(ValueError, match=r"^store .*run\.zarr is damaged: .*; give another store$"):
                run(**given)
            assert files() == before
            file.write_bytes(whole)
    assert np.array_equal(run(**given).x[:].T, run(keep_paths=True).x)


@pytest.mark.parametrize("name", ["stopped", "event"])
def test_lost_chunks_of_events_are_noticed(name, url):
    up = sk.Barrier(0.5)
    given = {"h": 0.25, "paths": PATHS, "block": 4096, "seed": 3, "keep_paths": True, "store": url, **PLAIN}
    for _ in range(2):
        sk.ensemble(sk.OU(), 0.5, TS, events=[up], **given)
    Path(url, name, "c", "1").unlink()
    with pytest.raises(ValueError, match=f"is damaged: the chunk {name}/c/1 is missing or empty"):
        sk.ensemble(sk.OU(), 0.5, TS, events=[up], **given)


def test_a_changed_chunk_raises_where_it_is_read(url):
    """Not before, since a store may be larger than what one wants to read: its chunks carry a checksum."""
    run(store=url, keep_paths=True)
    file = Path(url, "x/c/0/0")
    whole = file.read_bytes()
    for text in (whole[:20], whole[:500] + bytes(b ^ 1 for b in whole[500:503]) + whole[503:]):
        file.write_bytes(text)
        found = run(store=url, keep_paths=True)
        with pytest.raises((RuntimeError, ValueError)):
            found.x[:]


@pytest.mark.filterwarnings("ignore:.*became non-finite")
def test_stores_that_threads_make_are_whole(tmp_path):
    """Chunks of nothing but NaN and False too, whatever zarr is set to, which stays so."""
    zarr = pytest.importorskip("zarr")
    lost = sk.process(lambda t, x: x * np.inf, lambda t, x: 1.0)

    def make(i):
        store = tmp_path / f"{i}.zarr"
        sk.ensemble(lost, 0.5, grid=TS, paths=8192, block=4096, seed=3, store=store, keep_paths=True, **PLAIN)
        assert zarr.config.get("array.write_empty_chunks") is False
        return len(list(store.rglob("c/*/0"))), len(list(store.glob("failed/c/*")))

    with zarr.config.set({"array.write_empty_chunks": False}), ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            assert set(pool.map(make, range(24))) == {(2, 2)}


def test_paths_that_are_all_lost_are_kept_too(url):
    """Zarr leaves chunks out that hold nothing but NaN; here a chunk that is not there is a damage."""
    lost = sk.process(lambda t, x: x * np.inf, lambda t, x: 1.0)
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match="became non-finite"):
            found = sk.ensemble(lost, 0.5, grid=TS, paths=PATHS, seed=3, store=url, **PLAIN)
        assert found.failed == PATHS and np.isnan(found.x[:]).all()


def test_what_is_no_store_is_left_alone(tmp_path):
    pytest.importorskip("zarr")
    (tmp_path / "mine").write_text("data")
    for place in (tmp_path, tmp_path / "mine", f"{tmp_path}/mine"):
        with pytest.raises(ValueError, match="holds something else"):
            run(store=place)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"] and (tmp_path / "mine").read_text() == "data"


@pytest.mark.parametrize("store", ["", 3, True, b"run.zarr", ["run.zarr"]])
def test_a_store_is_a_path(store, tmp_path, monkeypatch):
    pytest.importorskip("zarr")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="store must be a path or a URL, got"):
        run(store=store)
    assert not list(tmp_path.iterdir())


def test_a_store_on_fsspec(whole):
    pytest.importorskip("fsspec")
    pytest.importorskip("zarr")
    assert bits(run(store="memory://run.zarr", keep_paths=True)) == bits(whole)
    assert bits(run(store="memory://run.zarr", keep_paths=True)) == bits(whole)


@pytest.mark.parametrize("protocol", ["file", "local"])
def test_a_store_on_a_disk_by_its_url(protocol, tmp_path, whole):
    pytest.importorskip("zarr")
    for _ in range(2):
        assert bits(run(store=f"{protocol}://{tmp_path}/new/run.zarr/", keep_paths=True)) == bits(whole)
    assert Path(tmp_path, "new/run.zarr/statistics/lock").exists()


class Strange:
    pass


def test_states_that_are_objects_are_refused_with_a_store(url):
    strange = HITS._replace(init=Strange, add=lambda state, sol: state, merge=lambda a, b: a)
    with pytest.raises(ValueError, match=r"numbers, arrays, tuples, lists and dicts, got .*Strange"):
        run(store=url, statistics=[strange])


NOT_WRITTEN = "cannot be written: .*{}.*; blocks that were finished are kept, and the same call goes on there"


@pytest.fixture
def disk(tmp_path):
    """A function that mounts a small disk of its own with these options, anew if it is there."""

    def mount(options):
        again = "remount," * os.path.ismount(tmp_path)
        command = ["mount", "-t", "tmpfs", "-o", again + options, "sdekit", str(tmp_path)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("disks cannot be mounted here")
        return tmp_path / "run.zarr"

    yield mount
    if os.path.ismount(tmp_path):
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.parametrize("keep", [True, False])
def test_a_full_and_a_read_only_disk_lose_nothing(keep, disk, tmp_path_factory):
    """Full in the midst of the blocks; more room, and the same call goes on to the bytes of an undisturbed store."""
    pytest.importorskip("zarr")
    given = {"statistics": [HITS], "keep_paths": keep, "block": 4096, "paths": 81_920}
    if not keep:  # totals that grow
        grow = HITS._replace(init=dict, add=lambda state, sol: {sol.state.first_path: sol.x[2]})
        given["statistics"] = [
            grow._replace(merge=lambda a, b: a | b, finish=lambda state: sum(map(len, state.values())))
        ]
    small = disk("size=1m")
    with pytest.raises(OSError, match=NOT_WRITTEN.format("No space left on device")):
        run(store=small, **given)
    done = pickle.loads(zlib.decompress((small / "statistics" / "totals").read_bytes()))[0]
    assert 0 < done < 20
    disk("size=16m,ro")
    with pytest.raises(OSError, match=NOT_WRITTEN.format("Read-only file system")):
        run(store=small, **given)
    disk("size=16m,rw")
    whole = str(tmp_path_factory.mktemp("whole") / "run.zarr")
    assert np.array_equal(run(store=small, **given).hits, run(store=whole, **given).hits)
    assert data(str(small)) == data(whole)
    with pytest.raises(OSError, match=NOT_WRITTEN.format("Read-only file system")):
        disk("ro"), run(store=small.with_name("new.zarr"), **given)


def test_an_object_store_that_fails_loses_nothing():
    """It takes some objects and no more, for want of space or of a right; then all of them."""
    pytest.importorskip("zarr")
    fsspec = pytest.importorskip("fsspec")
    from fsspec.implementations.memory import MemoryFileSystem

    class Failing(MemoryFileSystem):
        protocol, store, pseudo_dirs = "failing", {}, [""]
        room, reason = 0, OSError(errno.ENOSPC, "No space left on device")

        def pipe_file(self, path, value, **options):
            Failing.room -= 1
            if Failing.room < 0:
                raise Failing.reason
            return super().pipe_file(path, value, **options)

    fsspec.register_implementation("failing", Failing, clobber=True)
    given = {"store": "failing://run.zarr", "statistics": [HITS], "keep_paths": True, "block": 4096}
    for reason in (PermissionError(errno.EACCES, "Access denied"), Failing.reason):
        Failing.room, Failing.reason = 0, reason
        with pytest.raises(OSError, match=NOT_WRITTEN.format(reason.strerror)):
            run(**given)
    failures = 0
    for Failing.room in range(3, 60, 3):
        with contextlib.suppress(OSError):
            run(**given)
            break
        failures += 1
    assert 3 <= failures < 15
    Failing.room = 10**6
    found = run(**given)
    assert np.array_equal(found.hits, run(statistics=[HITS]).hits)
    assert np.array_equal(found.x[...].T, run(statistics=[]).x)


class Ending(ThreadPoolExecutor):
    """It shuts down in the midst of a run."""

    left = 7

    def submit(self, function, /, *args):
        self.left -= 1
        if self.left == 0:
            self.shutdown(wait=False, cancel_futures=True)
        return super().submit(function, *args)


def test_an_executor_that_shuts_down_loses_nothing(url):
    given = {"store": url, "statistics": [HITS], "block": 4096, "keep_paths": True, "paths": 81_920}
    with (
        Ending(1) as pool,
        pytest.raises(
            RuntimeError,
            match=r"block \d, paths .* raised twice: .* after shutdown; .* to 19 are missing: the same call",
        ),
    ):
        run(executor=pool, window=2, **given)
    done = pickle.loads(zlib.decompress(Path(url, "statistics", "totals").read_bytes()))[0]
    assert 3 <= done <= 6
    assert np.array_equal(run(**given).hits, run(paths=81_920, statistics=[HITS]).hits)


SCRIPT = """
import sys, numpy as np, sdekit as sk
def add(state, sol):
    print("leaf", flush=True)
    return state + sol.x.sum(1)
mine = sk.stats.Statistic("mine", lambda: np.zeros(3), add, lambda a, b: a + b)
found = sk.ensemble(sk.OU(), 0.5, [0, 0.5, 1], h=0.01, paths=40_960, seed=3, block=4096, store=sys.argv[1],
                    keep_paths=True, statistics=[mine, sk.stats.extremes], backend=sk.backends.numpy())
print(found.mine.tobytes().hex(), found.extremes.least.tobytes().hex())
"""


def start(url):
    return subprocess.Popen([sys.executable, "-c", SCRIPT, url], stdout=subprocess.PIPE, text=True)


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    """It is killed after its third block and again after two more; meanwhile another run is refused."""
    pytest.importorskip("zarr")
    urls = [str(tmp_path / name) for name in ("killed.zarr", "whole.zarr")]
    leaves = 0
    for until in (3, 2):
        with start(urls[0]) as process:
            for _ in range(until):
                leaves += process.stdout.readline() == "leaf\n"
            if until == 2:
                with pytest.raises(ValueError, match="in use by another run"):
                    sk.ensemble(sk.OU(), 0.5, TS, h=0.01, paths=40_960, store=urls[0], **PLAIN)
            process.kill()
    outputs = []
    for url in urls:
        with start(url) as process:
            outputs.append(process.stdout.read().split())
    assert outputs[0][-2:] == outputs[1][-2:] and leaves == 5
    assert outputs[0].count("leaf") < outputs[1].count("leaf") == 10
    assert data(urls[0]) == data(urls[1])


def test_fingerprints_tell_values_apart():
    def scaled(k):
        return lambda t, x: k * x

    assert fingerprint(scaled(1)) == fingerprint(scaled(1)) != fingerprint(scaled(2))
    assert fingerprint(lambda x: x + 1) != fingerprint(lambda x: x + 2)
    assert fingerprint(np.ones(3)) == fingerprint(np.ones(3)) != fingerprint(np.zeros(3))
    assert fingerprint(sk.OU()) != fingerprint(sk.OU(theta=2.0))
    assert fingerprint(np.float32(1)) != fingerprint(np.float64(1)) == fingerprint(1.0)
    assert json.dumps(fingerprint(object())) == '"<object object>"'


SOURCE = """
from typing import NamedTuple
LEVEL = {level}
def helper(x): return x > LEVEL
def function(x): return helper(x) or function(x) or x in {{"a", "b"}}
class Record(NamedTuple):
    noise = "none"
    def drift(self, t, x): return {rate} * x
class Plain:
    def __init__(self, k): self.k = k
    @property
    def twice(self): return {factor} * self.k
    def __call__(self, x): return {call} * x
"""


@pytest.mark.parametrize(
    "name, changes",
    [("function", ["level"]), ("Record()", ["rate"]), ("Record().drift", ["rate"]), ("Plain(1)", ["factor", "call"])],
)
def test_fingerprints_are_of_code_and_of_what_it_uses(name, changes):
    """A script that is changed between two runs on one store: globals, helpers, methods, properties."""
    usual = {"level": 0.0, "rate": 1.0, "factor": 2, "call": 3}

    def told(**more):
        names = {"__name__": "study"}
        exec(SOURCE.format(**(usual | more)), names)
        return fingerprint(eval(name, names))

    assert told() == told() and "0x" not in told()
    for change in usual:
        assert (told(**{change: 5}) != told()) == (change in changes)


WITH_K = {  # sources of a `value` that hold K
    "numba": "import numba\n@numba.njit\ndef h(x): return K * x\nvalue = lambda x: h(x)",
    "lru_cache": "import functools\n@functools.lru_cache\ndef h(x): return K * x\nvalue = lambda x: h(x)",
    "wraps": "def w(f): return functools.wraps(f)(lambda x: K * f(x))\nvalue = w(abs)",
    "vectorize": "value = np.vectorize(lambda x: K * x)",
    "module": "import types\nm = types.ModuleType('m')\n"
    "exec('def h(x): return K * x', vars(m))\nvalue = lambda x: m.h(x)",
    "keyword-only": "def value(x, *, k=K): return k * x",
    "default": "def value(x, k=K): return k * x",
    "closure": "def made(k): return lambda x: k * x\nvalue = made(K)",
    "step": "@sk.method(noise='none', order=1)\ndef value(sde, t, t1, x, h): return x + K * h",
    "corrected": "@sk.method()\ndef s(sde, t, t1, x, h, dw): return K * x\nvalue = sk.predictor_corrector(corrector=s)",
    "which lambda": "f, g = lambda x: x, lambda x: 2 * x\nvalue = [f, g, (f, g)[K - 1]]",
    "spline": "from scipy.interpolate import CubicSpline\nvalue = CubicSpline([0, 1, 2], [0, K, 0])",
    "slots": "class P: __slots__ = 'k'\nvalue = P()\nvalue.k = K",
    "attribute": "class P: pass\nvalue = P()\nvalue.sigma = K",
    "partial": "class P: f = functools.partial(pow, K)\nvalue = P()",
    "bound": "class P:\n def f(self): return self.k\np = P()\np.k = K\nclass Q: f = p.f\nvalue = Q()",
    "free": "import types\nclass P: pass\nvalue = types.MethodType(lambda self: K, P())",
    "of an array": "value = np.arange(K, K + 9).dot",
    "dunder": "class P:\n def __getitem__(self, i): return K\nvalue = P()",
    "static": "class P:\n f = staticmethod(lambda x: K)\nvalue = P",
    "class method": "class P:\n f = classmethod(lambda cls: K)\nvalue = P",
    "cached": "class P:\n f = functools.cached_property(lambda self: K)\nvalue = P()",
    "base": "class B:\n def f(self): return K\nclass P(B): pass\nvalue = P()",
    "data": "class P(dict): pass\nvalue = P(a=K)",
    "number": "class P(float): pass\nvalue = P(K)",
    "namespace": "import types\nvalue = types.SimpleNamespace(f=lambda x: K * x)",
    "objects": "value = np.array([lambda x: K, None])",
    "weights": "import torch\nvalue = torch.nn.Linear(2, 1, bias=False)\ntorch.nn.init.constant_(value.weight, K)",
    "structure": "from torch import nn\nvalue = nn.Sequential((nn.ReLU(), nn.Tanh())[K - 1])",
    "forward": "from torch import nn\nclass N(nn.Module):\n def forward(self, x): return K * x\n"
    "value = nn.Sequential(N())",
    "item": "value = [0] * 2000 + [K]",
}
CALLED = {  # sources of a `value`, and of a `call` of it that leaves its words as they are
    "cached": "class P:\n @functools.cached_property\n def f(self): return 1\nvalue = P()\ncall = lambda: value.f",
    "global": "N = 0\ndef value():\n global N\n N += 1\ncall = value",
    "network": "from torch import nn\nclass N(nn.Module):\n nfe = 0\n"
    " def forward(self, x):\n  self.nfe += 1\n  return x\nvalue = N()\ncall = lambda: value(1)",
    "compiled": "import torch\nvalue = net = torch.nn.Linear(2, 1, bias=False)\ntorch.nn.init.ones_(net.weight)\n"
    "call = lambda: globals().update(value=torch.compile(net))",
    "numba": "import numba\nvalue = numba.njit(lambda x: x)\ncall = lambda: value(1)",
    "lru_cache": "value = functools.lru_cache(lambda x: x)\ncall = lambda: value(1)",
    "vectorize": "value = np.vectorize(lambda x: x, otypes=[float], cache=True)\ncall = lambda: value(np.ones(3))",
    "set": "h = lambda x: x\n"
    "value = {(lambda x, i=i: h(x) + i) for i in range(9)} | {'a', 'b', 'c'}\ncall = value.copy",
    "mutual": "def f(x): return g(x)\ndef g(x): return f(x)\nvalue = {f, g, (f, g)}\ncall = value.copy",
    "spline": "from scipy.interpolate import CubicSpline\nvalue = CubicSpline([0, 1, 2], [0, 1, 0])\n"
    "call = lambda: value(1)",
    "spread": "import scipy.stats\nvalue = scipy.stats.norm(0, 2)\ncall = value.rvs",
    "executor": "import concurrent.futures as c\nvalue = c.ThreadPoolExecutor(1)\n"
    "call = lambda: value.submit(abs, 1).result()",
    "module": "import json\ndef made(m): return lambda x: m.dumps(x)\nvalue = made(json)\ncall = lambda: value(1)",
    "objects": "value = np.array([object(), lambda x: x])\ncall = value.copy",
    "enum": "import enum\nclass E(enum.Enum): A = 1\nvalue = E.A\ncall = lambda: E(1)",
    "abstract": "import abc\nclass P(abc.ABC):\n def f(self): return P\nvalue = P()\ncall = lambda: isinstance(1, P)",
    "generator": "import torch\nvalue = torch.Generator()\ncall = value.seed",
    "record": "import dataclasses as d\n@d.dataclass\nclass P: x: list = d.field(default_factory=list)\n"
    "value = P()\ncall = lambda: repr(value)",
}
ODD = {  # sources of a `value` that cannot be looked at in the usual way
    "list": "value = []\nvalue.append(value)",
    "dict": "value = {}\nvalue['me'] = value",
    "attributes": "class P:\n def __getattr__(self, name): raise KeyError(name)\nvalue = P()",
    "fields": "class P(tuple):\n _fields = ('x',)\nvalue = P()",
    "cell": "def made():\n def f(): return late\n return f\n late = 1\nvalue = made()",
    "repr": "class P(int):\n def __repr__(self): raise OSError\nvalue = [P()]",
    "deep": "value = []\nfor _ in range(10**5): value = [value]",
    "wide": "value = []\nfor _ in range(99): value = [value, value]",
    "grid": "class P: pass\nvalue = [P() for _ in range(99)]\nfor p in value: p.all = value",
}


def told(source, k="1", calls=0):
    """The fingerprint of the value of a source."""
    if "torch" in source:
        pytest.importorskip("torch")
    names = {"__name__": "study", "np": np, "sk": sk, "functools": functools}
    exec(re.sub(r"\bK\b", k, source), names)
    for _ in range(calls):
        names["call"]()
    return fingerprint(names["value"])


@pytest.mark.parametrize("source", WITH_K.values(), ids=WITH_K)
def test_fingerprints_of_other_code_and_data_differ(source):
    assert told(source) == told(source) != told(source, "2")


@pytest.mark.parametrize("source", CALLED.values(), ids=CALLED)
def test_fingerprints_stay_with_calls(source):
    assert told(source) == told(source, calls=3)


def test_fingerprints_are_those_of_another_process():
    sources = [*WITH_K.values(), *CALLED.values()]
    here = [told(source) for source in sources]
    code = "import json, sys; from test_ensembles import told; print(json.dumps([*map(told, json.load(sys.stdin))]))"
    env = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(map(str, [HERE, HERE.parent]))}
    args = {"input": json.dumps(sources[::-1]), "capture_output": True, "text": True, "env": env}
    there = subprocess.run([sys.executable, "-c", code], **args, check=True).stdout
    assert json.loads(there)[::-1] == here


@pytest.mark.parametrize("source", ODD.values(), ids=ODD)
def test_whatever_is_given_has_a_fingerprint(source):
    def below(levels):
        return below(levels - 1) if levels else told(source)

    assert below(0) == below(20) and 0 < len(below(0)) < 2000


def test_what_holds_itself_is_told_by_the_levels_between():
    assert told(ODD["list"]) == "(#1)"


def test_objects_have_the_fingerprint_of_what_they_hold():
    class Plain:
        def __init__(self, k):
            self.k, self.me = k, self

    assert fingerprint(Plain(1)) == fingerprint(Plain(1)) != fingerprint(Plain(2))
    assert "0x" not in fingerprint(np.where)


def test_a_store_and_a_merge_are_of_one_type_of_numbers(tmp_path):
    pytest.importorskip("zarr")
    given = {"h": 0.1, "paths": 4096, "seed": 0, "statistics": [sk.stats.moments]}
    sk.ensemble(sk.OU(), 1.0, TS, **given, store=tmp_path / "run")
    with pytest.raises(ValueError, match=r"x0 = 1.0, but this one has x0 = float32 1.0"):
        sk.ensemble(sk.OU(), np.float32(1.0), TS, **given, store=tmp_path / "run")
    halves = [sk.ensemble(sk.OU(), x0, TS, **given, first_path=i * 4096) for i, x0 in enumerate((1.0, np.float32(1)))]
    with pytest.raises(ValueError, match=r"differ in x0: 1.0 and float32 1.0"):
        sk.merge(halves)


def test_a_store_is_the_root_of_a_file_system(tmp_path, monkeypatch):
    pytest.importorskip("zarr")
    monkeypatch.chdir(tmp_path)
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").store.clear()
    given = {"h": 0.1, "paths": 4096, "seed": 0, "statistics": [sk.stats.moments]}
    for store in "memory://", "memory:///":
        sk.ensemble(sk.OU(), 1.0, TS, **given, store=store)
        assert fsspec.filesystem("memory").exists("/statistics/totals") and not list(tmp_path.iterdir())
        fsspec.filesystem("memory").store.clear()
