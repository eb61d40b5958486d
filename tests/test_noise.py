"""The generator: published answers, one definition on all array types, and the statistics of its normals."""

import math

import numpy as np
import pytest
from backends import Later

from sdekit import noise
from sdekit.backends.kernels import generator

stats = Later("scipy.stats")

# Random123's known answers for philox4x32-10 (kat_vectors): counter, key, words.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize("counter, key, words", KNOWN)
def test_philox_known_answers(counter, key, words):
    got = noise.philox4x32(*(np.array([c]) for c in counter), *key)
    assert tuple(int(w[0]) for w in got) == words


@pytest.mark.parametrize("counter, key, words", KNOWN)
def test_philox_known_answers_on_torch(counter, key, words, device):
    torch = pytest.importorskip("torch")
    got = noise.philox4x32(*(torch.tensor([c], device=device) for c in counter), *key)
    assert tuple(int(w[0]) for w in got) == words


def test_counter_layout():
    """Normal n of a lane comes from counter (lane low, lane high, n div 4, stream), key = seed, words n mod 4."""
    lane, seed, stream = 5 * 2**32 + 7, 3 * 2**32 + 11, noise.Stream.CORRECTOR
    z = noise.rows(np.array([lane]), 0, 12, seed, stream, np.empty(0))[:, 0]
    for n in range(12):
        words = noise.philox4x32(*(np.array([c]) for c in (7, 5, n // 4, stream)), 11, 3)
        u, v = ((int(w[0]) + 0.5) * 2**-32 for w in words[n % 4 // 2 * 2 : n % 4 // 2 * 2 + 2])
        trig = math.sin if n % 2 else math.cos
        assert z[n] == pytest.approx(math.sqrt(-2 * math.log(u)) * trig(2 * math.pi * v), abs=1e-12)


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 5e-6)])
@pytest.mark.parametrize("first, n, count", [(0, 0, 8), (2**32 - 100, 5, 3), (7 * 2**33 + 1, 4 * 2**20 - 2, 9)])
def test_numba_makes_the_same_normals(dtype, tolerance, first, n, count):
    out = generator.rows(np.empty((count, 1000), dtype), first, n, 2**63 + 5, noise.Stream.SECOND)
    reference = noise.rows(first + np.arange(1000), n, count, 2**63 + 5, noise.Stream.SECOND, np.empty(0, dtype))
    assert reference.dtype == dtype
    np.testing.assert_allclose(out, reference, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name, tolerance", [("float64", 1e-12), ("float32", 5e-6)])
def test_torch_makes_the_same_normals(name, tolerance, device):
    torch = pytest.importorskip("torch")
    like = torch.empty(0, dtype=getattr(torch, name), device=device)
    lanes = 2**32 - 100 + np.arange(1000)
    z = noise.rows(torch.as_tensor(lanes, device=device), 6, 5, 9, noise.Stream.PATH, like)
    assert z.dtype == like.dtype and z.device.type == like.device.type
    reference = noise.rows(lanes, 6, 5, 9, noise.Stream.PATH, np.empty(0, name))
    np.testing.assert_allclose(z.cpu().numpy(), reference, rtol=0, atol=tolerance)


def test_float32_follows_float64():
    """Both read the same words: the largest difference is where u is next to 1 and log u next to 0."""
    a = generator.rows(np.empty((16, 65536), np.float32), 0, 0, 1, 0)
    b = generator.rows(np.empty((16, 65536), np.float64), 0, 0, 1, 0)
    assert np.abs(a - b).max() < 3e-4


def test_threads_and_rows_do_not_change_normals():
    one = generator.rows(np.empty((5, 200_000)), 0, 2, 3, 0, threads=1)
    assert (generator.rows(np.empty((5, 200_000)), 0, 2, 3, 0, threads=3) == one).all()
    assert (generator.rows(np.empty((2, 1000)), 70_000, 4, 3, 0) == one[2:4, 70_000:71_000]).all()


def test_extreme_words():
    """The largest and smallest radius and every quarter turn are finite, and the tail ends at 6.77."""
    w = np.array([0, 1, 2**29, 2**29 - 1, 2**30, 2**31, 3 * 2**30, 2**32 - 1])
    for dtype in (np.float32, np.float64):
        for w0 in (0, 2**32 - 1):
            x, y = noise.box_muller(np.full_like(w, w0), w, np.empty(0, dtype))
            u, v = (w0 + 0.5) * 2.0**-32, (w + 0.5) * 2.0**-32
            r = math.sqrt(-2 * math.log(u)) if u < 1 else 0.0
            atol = 1e-12 if dtype is np.float64 else 2e-5
            np.testing.assert_allclose(x, r * np.cos(2 * np.pi * v), rtol=0, atol=atol)
            np.testing.assert_allclose(y, r * np.sin(2 * np.pi * v), rtol=0, atol=atol)
    assert math.sqrt(-2 * math.log(2.0**-33)) < 6.77


def test_normal_and_uniform():
    a, b = noise.normal((5, 3), seed=4), noise.normal((2, 3), seed=4)
    assert a.dtype == np.float64 and (a[:2] == b).all()
    assert noise.normal((4,), seed=0, like=np.zeros(1, np.float32)).dtype == np.float32
    u = noise.uniform((1000,), seed=4, like=np.zeros(1, np.float32))
    assert u.dtype == np.float32 and u.min() > 0 and u.max() < 1
    assert (noise.normal((5,), seed=0, n=1) != noise.normal((5,), seed=0)).all()


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "a", None])
def test_bad_seeds(seed):
    with pytest.raises(ValueError, match="seed must be an integer"):
        noise.key(seed)


def test_statistics():
    """4e6 normals. Each of the 12 z-scores exceeds 5 with probability 6e-7: false failures below 1e-5."""
    z = generator.rows(np.empty((40, 100_000)), 0, 0, seed=2024, stream=0)
    other = generator.rows(np.empty((40, 100_000)), 0, 0, seed=2024, stream=1)
    n = z.size
    moments = {1: 0, 2: 1, 3: 0, 4: 3, 5: 0, 6: 15, 7: 0, 8: 105}
    for p, expected in moments.items():
        variance = math.prod(range(1, 2 * p, 2)) - expected**2
        assert abs((z**p).mean() - expected) < 5 * math.sqrt(variance / n)
    for a, b in ((z[1:], z[:-1]), (z[2:], z[:-2]), (z[:, 1:], z[:, :-1]), (z, other)):
        assert abs((a * b).mean()) < 5 / math.sqrt(a.size)
    for level in (2, 3, 4):
        p = 2 * stats.norm.sf(level)
        assert abs((np.abs(z) > level).mean() - p) < 5 * math.sqrt(p / n)
    # Kolmogorov–Smirnov on 1e6 of them; below 1e-6 once in a million seeds
    assert stats.kstest(z[:10].ravel(), "norm").pvalue > 1e-6


def test_no_two_uses_share_a_number():
    """Each use of normals and uniform numbers has a stream of its own, and none is drawn without its name (A15)."""
    streams = list(noise.Stream)
    assert len({int(s) for s in streams}) == len(noise.Stream.__members__) == len(streams)
    drawn = [noise.rows(np.arange(1000), 0, 8, 0, s, np.empty(0)).ravel() for s in streams]
    worst = np.abs(np.corrcoef(drawn) - np.eye(len(streams))).max()
    assert worst < 6 / math.sqrt(8000)  # 231 pairs, six standard errors: false failures below 4e-7


def test_the_noise_levels_of_a_check_do_not_know_the_data():
    """Data drawn with the seed of the check: level and data correlate by chance alone (A15)."""
    data = noise.uniform((4000,), 0)
    levels = noise.uniform((4000,), 0, noise.Stream.LEVEL)
    assert abs(np.corrcoef(data, levels)[0, 1]) < 5 / math.sqrt(4000)
