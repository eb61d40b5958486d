"""Comparisons, roundings, remainders: exact functions, all but the remainder a few instructions each."""

from .instructions import jit, magnitude, round_down, round_even, round_up, rounded_product, select, square_root


def comparisons(f):
    inf = f.inf

    @jit
    def clamp(x, low, high):
        """x, but within [low, high]; NaN stays."""
        return select(x < low, low, select(x > high, high, x))

    @jit
    def isfinite(x):
        return magnitude(x) < inf

    @jit
    def minimum(x, y):
        return select(x < y, x, select(x == x, y, x))

    @jit
    def maximum(x, y):
        return select(x > y, x, select(x == x, y, x))

    return {"clamp": clamp, "isfinite": isfinite, "minimum": minimum, "maximum": maximum}


def alone(instruction):
    """An instruction as a function of its own, whose flags are those of `jit` wherever it is called."""
    return jit(lambda x: instruction(x))


def roundings(f):
    zero, one = f.zero, f.one
    instructions = {"abs": magnitude, "sqrt": square_root, "floor": round_down, "ceil": round_up, "round": round_even}

    @jit
    def sign(x):
        return select(x > zero, one, select(x < zero, -one, x))

    return {"sign": sign, **{name: alone(instruction) for name, instruction in instructions.items()}}


def remainders(f):
    clamp, minimum, maximum, high_half = f.clamp, f.minimum, f.maximum, f.high_half
    zero, inf, nan, limit = f.zero, f.inf, f.nan, f.F(2.0 ** (f.digits + 1))

    @jit
    def less_multiple(x, q, y):
        """x - q y, exactly where the difference has few enough digits: q y is p + low (Dekker 1971)."""
        p = rounded_product(q, y)
        q_high, y_high = high_half(q), high_half(y)
        q_low, y_low = q - q_high, y - y_high
        low = ((q_high * y_high - p) + q_high * y_low + q_low * y_high) + q_low * y_low
        return (x - p) - low

    @jit
    def mod(x, y):
        """x - q y with q = floor(x/y), which is one too large where x/y was rounded up to an integer."""
        r = less_multiple(x, clamp(round_down(x / y), -limit, limit), y)
        r = select(((r < zero) != (y < zero)) & (r != zero), r + y, r)
        r = clamp(r, minimum(y, zero), maximum(y, zero))
        r = select(magnitude(y) == inf, select(((x < zero) != (y < zero)) & (x != zero), y, x), r)
        return select((magnitude(x) < inf) & (y != zero), r, nan)

    @jit
    def floor_divide(x, y):
        return select(y == zero, x / y, round_even((x - mod(x, y)) / y))

    return {"mod": mod, "floor_divide": floor_divide}
