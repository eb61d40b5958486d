"""The normals of `sdekit.noise`, made a block at a time in vector instructions."""

import contextlib
import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from llvmlite import ir
from numba import cfunc, njit, types
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

from ... import noise
from .elementary import implementation, select
from .elementary.instructions import on_bits
from .records import ENTRY, OPTIONS

LANES = 256  # lanes of a block: its normals and states stay in the first-level cache
INLINED = {"forceinline": True, **OPTIONS}


@intrinsic
def widest_vectors(typingctx):
    """Let the calling function use 512-bit vectors; LLVM's own choice for most CPUs that have them is 256."""

    def emit(context, builder, signature, args):
        builder.function.attributes.alignstack = 64  # else spilled vectors may straddle cache lines: a third slower
        # llvmlite checks names against a list of its own, which lacks this attribute of LLVM's. Should its
        # attributes cease to be a set, narrower vectors are all that is lost.
        with contextlib.suppress(TypeError, AttributeError):
            set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), emit


# --- Box–Muller on the 32 bits of a word, where `noise.box_muller` has 64-bit integers ------------


def _on_word(expression, returns=None):
    """An instruction expression(builder, word as i32, LLVM float type, x) of a word and a float x."""

    @intrinsic
    def instruction(typingctx, word, x):
        def emit(context, builder, signature, args):
            narrow = builder.trunc(args[0], ir.IntType(32))
            return expression(builder, narrow, args[1].type, args[1])

        return (returns or x)(word, x), emit

    return instruction


def _turned(b, w):
    """The word plus an eighth turn: its two top bits are the nearest quarter turn."""
    return b.add(w, w.type(1 << 29))


def _flipped(b, sign_bit, ty, x):
    """x with its sign changed where the top bit of the i32 `sign_bit` is set."""
    bits = ir.IntType(64 if ty == ir.DoubleType() else 32)
    if bits.width == 64:
        sign_bit = b.shl(b.zext(sign_bit, bits), bits(32))
    return b.bitcast(b.xor(b.bitcast(x, bits), sign_bit), ty)


_unsigned = _on_word(lambda b, w, ty, x: b.uitofp(w, ty))
_kept = _on_word(lambda b, w, ty, x: b.bitcast(b.zext(w, ir.IntType(64 if ty == ir.DoubleType() else 32)), ty))
_word = on_bits(lambda b, i: b.zext(i, ir.IntType(64)), types.int64)
_rest = _on_word(lambda b, w, ty, x: b.sitofp(b.sub(b.and_(_turned(b, w), w.type((1 << 30) - 1)), w.type(1 << 29)), ty))
_odd = _on_word(
    lambda b, w, ty, x: b.icmp_unsigned("!=", b.and_(_turned(b, w), w.type(1 << 30)), w.type(0)), types.boolean
)
_sine_sign = _on_word(lambda b, w, ty, x: _flipped(b, b.and_(_turned(b, w), w.type(1 << 31)), ty, x))
_cosine_sign = _on_word(
    lambda b, w, ty, x: _flipped(b, b.and_(b.add(_turned(b, w), w.type(1 << 30)), w.type(1 << 31)), ty, x)
)

philox = njit(noise.philox4x32, **INLINED)


@functools.cache
def box_muller(dtype):
    """`noise.box_muller` of two words, numbers of compiled code."""
    F, number = dtype.type, from_dtype(dtype)
    log, sqrt = implementation("log_positive", number), implementation("sqrt", number)
    sin, cos = implementation("sin_poly", number), implementation("cos_poly", number)
    half, unit, minus_two, angle_unit = F(0.5), F(2.0**-32), F(-2), F(np.pi * 2.0**-31)

    @njit(**INLINED)
    def pair(w0, w1):
        radius = sqrt(minus_two * log((_unsigned(w0, half) + half) * unit))
        angle = (_rest(w1, half) + half) * angle_unit
        c, s, odd = cos(angle), sin(angle), _odd(w1, half)
        return radius * _cosine_sign(w1, select(odd, s, c)), radius * _sine_sign(w1, select(odd, c, s))

    return pair


@functools.cache
def exponentials(dtype):
    """The `noise.waits` of the 256 bytes."""
    log, F = implementation("log_positive", from_dtype(dtype)), dtype.type

    @njit(**ENTRY)
    def fill(table, bytes_):
        for i in range(256):
            table[i] = -log(bytes_[i])

    fill(table := np.empty(256, dtype), (np.maximum(np.arange(256), 2.0**-25) * 2.0**-8).astype(F))
    return table


@functools.cache
def filler(dtype, along, waits=False):
    """fill(z, row, groups, lane, group, stream, k0, k1): normals into rows of z, of shape (rows, LANES).

    Or `noise.waits` into sixteen rows for each counter.

    Rows row + 4g … row + 4g + 3 get the four normals of counter group + g of the lanes lane, lane + 1, …;
    or, `along` the steps, of the counters group + g LANES + i of the one lane `lane`. The instructions are
    the same, and so are the bits. Kernels share the compiled code, which `call` reaches by its address.
    """
    half, number, pair = dtype.type(0.5), from_dtype(dtype), box_muller(dtype)
    table = exponentials(dtype) if waits else np.empty(0, dtype)
    mask, lane_step, group_step, inner_step = noise.MASK, int(not along), LANES if along else 1, int(along)

    @njit(**INLINED)
    def normals(z, r, i, w0, w1, w2, w3):
        z[r + i], z[r + LANES + i] = pair(w0, w1)
        z[r + 2 * LANES + i], z[r + 3 * LANES + i] = pair(w2, w3)

    @njit(**INLINED)
    def words(z, r, i, w0, w1, w2, w3):
        z[r + 3 * LANES + i], z[r + 7 * LANES + i] = _kept(w0, half), _kept(w1, half)
        z[r + 11 * LANES + i], z[r + 15 * LANES + i] = _kept(w2, half), _kept(w3, half)

    @njit(**INLINED)
    def looked_up(z, r):
        """The numbers of the words in every fourth row: a logarithm of each would take four times as long."""
        for q in range(r, r + 16 * LANES, 4 * LANES):
            for i in range(q, q + LANES):
                w = _word(z[i + 3 * LANES])
                z[i], z[i + LANES] = table[w & 0xFF], table[(w >> 8) & 0xFF]
                z[i + 2 * LANES], z[i + 3 * LANES] = table[(w >> 16) & 0xFF], table[w >> 24]

    put, per = (words, 16) if waits else (normals, 4)

    @cfunc(types.void(types.CPointer(number), *[types.int64] * 7), **OPTIONS)
    def fill(z, row, groups, lane, group, stream, k0, k1):
        widest_vectors()
        # masked here, which lets LLVM multiply 32 by 32 bits
        channel, a, b = stream & mask, k0 & mask, k1 & mask
        for g in range(groups):
            first, r = group + g * group_step, (row + per * g) * LANES
            for i in range(LANES):
                at = lane + i * lane_step
                count = (first + i * inner_step) & mask
                w0, w1, w2, w3 = philox(at & mask, (at >> 32) & mask, count, channel, a, b)
                put(z, r, i, w0, w1, w2, w3)
            if waits:
                looked_up(z, r)

    return fill


@intrinsic
def call(typingctx, address, z, row, groups, lane, group, stream, k0, k1):
    """A `filler` by its address."""
    numbers = [row, groups, lane, group, stream, k0, k1]

    def emit(context, builder, signature, args):
        data = context.make_array(z)(context, builder, args[1]).data
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [data.type, *[word] * 7])
        rest = [context.cast(builder, a, t, types.int64) for a, t in zip(args[2:], numbers)]
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [data, *rest])
        return context.get_dummy_value()

    return types.none(address, z, *numbers), emit


def block(rows, dtype, lanes=LANES):
    """Room for `rows` values for each of `lanes` lanes, whose vectors do not straddle cache lines."""
    size = rows * lanes * np.dtype(dtype).itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(rows, lanes)


@njit(**ENTRY)
def _rows(fill, per, z, out, lane, n, stream, k0, k1, begin, end):
    first, count = n // per, out.shape[0]
    for start in range(begin, end, LANES):
        call(fill, z, 0, z.shape[0] // per, lane + start, first, stream, k0, k1)
        for r in range(count):
            for i in range(min(LANES, end - start)):
                out[r, start + i] = z[n - per * first + r, i]


def rows(out, lane, n, seed, stream, threads=1):
    """Fill `out`, of shape (count, lanes), with normals n, … of the lanes `lane`, …: `noise.rows` in place."""
    k0, k1 = noise.key(seed)
    per = 16 if stream == noise.Stream.CROSSING else 4
    groups = (n + out.shape[0] - 1) // per + 1 - n // per
    fill = filler(out.dtype, False, per == 16).address

    def fill_span(begin, end):
        _rows(fill, per, block(per * groups, out.dtype), out, lane, n, stream, k0, k1, begin, end)

    spans(fill_span, out.shape[1], threads, least=65536)
    return out


def spans(work, size, threads, least):
    """work(begin, end) over [0, size) in pieces, whole blocks each, on `threads` threads."""
    step = max(least, -(-size // (4 * threads))) if threads > 1 else size
    step = -(-step // LANES) * LANES
    pieces = [(a, min(a + step, size)) for a in range(0, size, max(step, 1))]
    if len(pieces) < 2:
        return [work(*p) for p in pieces]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda p: work(*p), pieces))
