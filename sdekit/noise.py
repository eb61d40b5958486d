"""Counter-based normals: noise is a function of (seed, lane, n, stream), never a stream that is consumed.

Philox4x32-10 (J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011, doi:10.1145/2063384.2063405) maps a 128-bit counter and a 64-bit key to four 32-bit words:

    counter = (lane low word, lane high word, n div 4, stream),   key = seed,

and Box-Muller turns the words (0, 1) and (2, 3) into two normals each, so that n mod 4 picks one of
the four. A lane is one path of a coupled process or one entry of any other state; n counts
step * channels + channel. The functions below work on 64-bit integers masked to 32 bits, and so run
unchanged on numpy arrays, on torch tensors of any device, and inside numba kernels.
"""

import enum
import functools
import importlib.util
import math
import secrets

import numpy as np

from . import arrays
from . import math as sm
from .checks import integer


@enum.unique
class Stream(enum.IntEnum):
    """Every use that is made of normals and uniform numbers, each with a stream of its own, from n = 0 on.

    So two of them never share a number of one seed: data drawn with seed 0 do not know the noise of a path of seed 0.
    """

    PATH = 0  # dW of a step
    SECOND = 1  # dZ of a step
    CORRECTOR = 2  # corrector and churn of a step
    SAMPLE = 3  # `sample` of targets: normals
    BRIDGE = 4  # W as a function of time, a `word` for each channel
    PROBE = 5  # random signs that estimate a divergence
    START = 6  # `Reverse.start`
    CHOICE = 7  # `sample` of targets: which component, which data point
    LEVEL = 8  # `scores.check`: noise levels
    CHECK = 9  # `scores.check`: noise
    EXACT_START = 10  # `work_precision`: from data to starts
    DIRECTION = 11  # projections of `sliced_cramer` and `sliced_w2`
    DATA = 12  # made-up data sets of `generative`: normals
    PLACE = 13  # the same: uniform numbers
    LATENT = 14  # codes of generative models
    DECODER = 15  # what a decoder adds
    PROPOSAL = 16  # Markov chains: proposals
    ACCEPTANCE = 17  # the same: uniform numbers
    CROSSING = 18  # whether a step crosses a barrier: the first bits
    HIT = 19  # the others, and when it does: words
    EXTREME = 20  # `expect`: extremes of a path within its steps, and shifts of the points of the last
    AREA = 21  # Lévy areas of a step, a `word` for every four normals, which are n = 4 step, …


MASK = 0xFFFFFFFF
ROUNDS = 10


def philox4x32(c0, c1, c2, c3, k0, k1):
    """The ten rounds of Philox4x32: a counter of four words and a key of two give four words.

    Words are 64-bit integers (numpy int64, torch int64) with values below 2**32.
    """
    for _ in range(ROUNDS):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = ((p1 >> 32) & MASK) ^ c1 ^ k0, p1 & MASK, ((p0 >> 32) & MASK) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def box_muller(w0, w1, like):
    """Two independent standard normals from two words, in the floating-point type of `like`.

        r = √(−2 log u),  u = (w0 + ½) 2⁻³²;   θ = 2π (w1 + ½) 2⁻³²;   (r cos θ, r sin θ)

    The angle is reduced to the nearest quarter turn in integers, exactly; |normal| ≤ 6.77.
    """
    radius = sm.sqrt(-2.0 * sm.log((arrays.to_type(w0, like.dtype) + 0.5) * 2.0**-32))
    quarter = ((w1 + 2**29) >> 30) & 3
    rest = ((w1 + 2**29) & (2**30 - 1)) - 2**29
    angle = (arrays.to_type(rest, like.dtype) + 0.5) * (math.pi * 2.0**-31)
    cos, sin = sm.cos(angle), sm.sin(angle)
    odd = (quarter & 1) == 1
    x, y = sm.where(odd, sin, cos), sm.where(odd, cos, sin)
    x = sm.where(((quarter + 1) & 2) == 2, -x, x)
    y = sm.where((quarter & 2) == 2, -y, y)
    return radius * x, radius * y


def key(seed):
    """The two words of the 64-bit key; a `ValueError` unless 0 <= seed < 2**64."""
    value = integer("seed", seed, most=2**64 - 1)
    return value & MASK, value >> 32


def fresh(seed):
    """`seed`, checked, or a new one from the operating system where it is None."""
    return secrets.randbits(64) if seed is None else integer("seed", seed, most=2**64 - 1)


def words(lanes, group, seed, stream):
    """The four words of counter `group` of every lane, int64."""
    return _words(lanes, group, key(seed), int(stream))


def _words(lanes, group, key, stream):
    zero = lanes * 0
    return philox4x32(lanes & MASK, (lanes >> 32) & MASK, zero + group, zero + stream, *key)


def quad(lanes, group, key, stream, like):
    """The four normals of counter `group` of every lane; `key` and `group` may be tensors without axes."""
    w = _words(lanes, group, key, stream)
    return [*box_muller(w[0], w[1], like), *box_muller(w[2], w[3], like)]


def word(stream, channel):
    """The stream word of a use that has one for each channel, so that n is left to count something else."""
    return int(stream) + 65536 * channel


def rows(lanes, n, count, seed, stream, like):
    """The normals n, …, n + count − 1 of every lane, of shape (count, len(lanes)); of `CROSSING` see `waits`.

    `lanes` are int64 lane indices, an array or tensor; the result has the type of `lanes` and the
    floating-point type of `like`.
    """
    if stream == Stream.CROSSING:
        return waits(lanes, n, count, seed, like)
    out = []
    for group in range(n // 4, (n + count - 1) // 4 + 1):
        out += quad(lanes, group, key(seed), int(stream), like)
    return arrays.stack(out[n % 4 : n % 4 + count])


def consecutive(first, size, n, count, seed, stream, like):
    """`rows` of the lanes first, …, first + size − 1; on a GPU by one kernel for every four, which reads nothing."""
    if stream == Stream.CROSSING or not _fuses(like):
        return rows(first + arrays.arange(size, like), n, count, seed, stream, like)
    groups = range(n // 4, (n + count - 1) // 4 + 1)
    made = [_in_one_kernel(_normals, first, size, group, seed, stream, like) for group in groups]
    return (made[0] if len(made) == 1 else arrays.joined(made))[n % 4 : n % 4 + count]


def _fuses(like):
    """Whether normals for `like` are made by a kernel that torch compiles: on a GPU, and in no trace or transform."""
    if not (arrays.is_tensor(like) and like.device.type == "cuda" and arrays.concrete(like)):
        return False
    plain = arrays.torch()._C._functorch.peek_interpreter_stack() is None
    return plain and importlib.util.find_spec("triton") is not None


def _in_one_kernel(made, first, size, group, seed, stream, like):
    torch = arrays.torch()
    numbers = torch.tensor([first, group, *key(seed), int(stream)], dtype=torch.int64, device=like.device)
    with torch.no_grad():
        return _compiled(made)(numbers, size, torch.empty(0, dtype=like.dtype, device=like.device))


@functools.lru_cache
def _compiled(made):
    return arrays.torch().compile(made, fullgraph=True, dynamic=True)


def _normals(numbers, size, like):
    """(4, size) normals; `numbers` are the first lane, the counter, two words of the key and the stream."""
    first, group, k0, k1, stream = numbers
    return arrays.stack(quad(first + arrays.arange(size, like), group, (k0, k1), stream, like))


def _four_words(numbers, size, like):
    """(4, size) words in the same way."""
    first, group, k0, k1, stream = numbers
    return arrays.stack(_words(first + arrays.arange(size, like), group, (k0, k1), stream))


def waits(lanes, n, count, seed, like):
    """The numbers n, …, n + count − 1 of `CROSSING` of every lane: −log u of the least u with 8 given first bits.

    A byte each, and so sixteen of a counter: they decide but where u and what it is compared with agree in all of it,
    and then a word of `HIT` has the other bits. Above 2⁻³³.
    """
    out = []
    for group in range(n // 16, (n + count - 1) // 16 + 1):
        for w in words(lanes, group, seed, Stream.CROSSING):
            parts = (arrays.to_type((w >> shift) & 0xFF, like.dtype) for shift in (0, 8, 16, 24))
            out += [-sm.log(sm.maximum(part, 2.0**-25) * 2.0**-8) for part in parts]
    return arrays.stack(out[n % 16 : n % 16 + count])


def working(like):
    """An empty array of the floating-point type in which normals for `like` are made."""
    if like is None:
        return np.empty(0)
    if arrays.is_tensor(like):
        torch = arrays.torch()
        return like.new_empty(0, dtype=torch.float64 if like.dtype == torch.float64 else torch.float32)
    return np.empty(0, np.float64 if np.asarray(like).dtype == np.float64 else np.float32)


def normal(shape, seed=None, stream=Stream.SAMPLE, like=None, n=0, first=0):
    """Standard normals of `shape`, entry i being normal `n` of lane first + i of a stream.

    numpy float64, or the type, floating-point type and device of `like`. A larger leading axis only
    appends: the first rows stay what they were. `seed` None draws a new one.
    """
    work, n = working(like), integer("n", n)
    z = consecutive(first, math.prod(shape), n, 1, fresh(seed), stream, work)[0].reshape(tuple(shape))
    return z if like is None else z.to(like.dtype) if arrays.is_tensor(like) else z.astype(np.asarray(like).dtype)


def uniform(shape, seed=None, stream=Stream.CHOICE, like=None, n=0):
    """Uniform numbers in (0, 1) of `shape`, (word + ½) 2⁻³² with word n mod 4 of lane i's counter n div 4."""
    work, n = working(like), integer("n", n)
    size, group, seed = math.prod(shape), n // 4, fresh(seed)
    if _fuses(work):
        word = _in_one_kernel(_four_words, 0, size, group, seed, stream, work)[n % 4]
    else:
        word = words(arrays.arange(size, work), group, seed, stream)[n % 4]
    u = (arrays.to_type(word, work.dtype) + 0.5) * 2.0**-32
    return sm.minimum(u, 1.0 - 2.0**-24).reshape(tuple(shape))
