"""The statistical battery of the generator: it passes the generator, and fails flawed ones."""

import json

import numpy as np
import pytest
from backends import Later

from sdekit import noise
from sdekit.backends.kernels import generator

battery = Later("benchmarks.battery")


def judged(rows, dtype="float32"):
    """The verdict on a million normals."""
    return battery.verdict({dtype: battery.tests(battery.collect(0, 2048, 512, dtype, rows=rows), dtype)})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_generator_passes(dtype):
    """False failure: 1e-4 for each dtype (the seed is fixed)."""
    assert judged(generator.rows, dtype)["passed"]


def too_wide(out, lane, n, seed, stream):
    out[:] = generator.rows(out, lane, n, seed, stream) * 1.005


def cut_tails(out, lane, n, seed, stream):
    np.clip(generator.rows(out, lane, n, seed, stream), -3.9, 3.9, out=out)


def skewed(out, lane, n, seed, stream):
    z = generator.rows(out, lane, n, seed, stream)
    out[:] = (z + 0.01 * (z * z - 1)) / (1 + 2e-4) ** 0.5


def without_streams(out, lane, n, seed, stream):
    generator.rows(out, lane, n, seed, noise.Stream.PATH)


def low_seed_word(out, lane, n, seed, stream):
    generator.rows(out, lane, n, seed % 2**32, stream)


def low_lane_word(out, lane, n, seed, stream):
    generator.rows(out, lane % 2**32, n, seed, stream)


def lanes_in_pairs(out, lane, n, seed, stream):
    generator.rows(out, lane, n, seed, stream)
    out[:, 1::2] = out[:, ::2]


def counters_in_pairs(out, lane, n, seed, stream):
    generator.rows(out, lane, n, seed, stream)
    out[4:8] = out[:4]


def half_turns_only(out, lane, n, seed, stream):
    """A second normal of each pair with the size of the first and an independent sign."""
    generator.rows(out, lane, n, seed, stream)
    out[1::2] = np.copysign(out[::2], out[1::2])


@pytest.mark.parametrize(
    "rows",
    [too_wide, cut_tails, skewed, without_streams, low_seed_word, low_lane_word, lanes_in_pairs, counters_in_pairs,
     half_turns_only],
)  # fmt: skip
def test_flawed_generators_fail(rows):
    assert not judged(rows)["passed"]


def test_tail_probabilities():
    """From 4 sigma on from the words; the normal law to the accuracy of their grid."""
    for level, tolerance in ((4, 1e-6), (5, 1e-4), (6, 1e-2)):
        assert battery.tail(level) == pytest.approx(2 * battery.stats.norm.sf(level), rel=tolerance)
    assert battery.tail(6.77) == 0


def test_threads_do_not_change_sums():
    one, two = (battery.collect(0, 1024, 128, "float32", threads) for threads in (1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two))


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "battery.json"
    battery.write_text(path, "old")
    with pytest.raises(TypeError):
        battery.write_text(path, 0)
    assert path.read_text(encoding="utf-8") == "old" and [p.name for p in tmp_path.iterdir()] == ["battery.json"]


def test_the_committed_result_has_passed():
    data = json.loads(battery.RESULTS.read_text(encoding="utf-8"))
    assert data["verdict"]["passed"] and min(data["normals"].values()) >= 10**9


def test_a_block_must_be_whole():
    with pytest.raises(ValueError, match="lanes must be a multiple of 512"):
        battery.collect(0, 100, 128, "float32")
