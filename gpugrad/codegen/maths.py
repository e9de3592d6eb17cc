"""The maths library of CPU kernels: what C spellings call, written so that a loop vectorises.

Every function is named as in C (``expf`` takes float32, ``exp`` float64) or as in
``kernels/elementwise.cuh``.  A name that is missing here sends its op to the array code, so only
functions that beat NumPy's belong here.  The float32 polynomials are minimax fits of this project.
Their errors in units of the last place are bounded in tests/codegen/test_maths.py and told in
docs/numerics.md.  NaN, infinities, signs of zero and denormals are as in C.

Importing this module imports Numba.  Helpers may contract ``a * b + c``, kernels may not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

f32, i32 = np.float32, np.int32
_OPTIONS: Any = {"error_model": "numpy", "nogil": True, "forceinline": True}
_helper = njit(fastmath={"contract"}, **_OPTIONS)
_exact = njit(**_OPTIONS)
#: The only additions whose order the compiler may choose: those of a sum's partial sums.
plus = njit(fastmath={"reassoc"}, **_OPTIONS)(lambda a, b: a + b)


def _bits(source: Any, target: Any, name: str) -> Any:
    """An intrinsic that reads the bits of one type as another."""

    def typed(typingctx: Any, x: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], context.get_value_type(target))

        return target(source), build

    typed.__name__ = name
    return intrinsic(typed)


to_bits = _bits(types.float32, types.int32, "to_bits")
from_bits = _bits(types.int32, types.float32, "from_bits")


@intrinsic
def from_half(typingctx: Any, x: Any) -> Any:
    """float16, held in a uint16, as float32."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), build


@intrinsic
def to_half(typingctx: Any, x: Any) -> Any:
    """float32 rounded to float16, held in a uint16."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), build


@_exact
def from_bf16(x):  # type: ignore[no-untyped-def]
    return from_bits(i32(i32(x) << 16))


@_exact
def to_bf16(x):  # type: ignore[no-untyped-def]
    bits = np.uint32(to_bits(x))
    rounded = np.uint32(bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    kept = np.uint16(rounded >> np.uint32(16))
    nan = np.uint16((bits >> np.uint32(16)) | np.uint32(0x40))
    return nan if x != x else kept


# ---- exponentials ------------------------------------------------------------------------------

_LOG2E, _LN2_HIGH, _LN2_LOW = f32(1.4426950408889634), f32(0.693359375), f32(-2.12194440e-4)
_ROUND = f32(12582912.0)  # 1.5 * 2**23: adding it rounds to an integer
_ROUND_BITS = i32(0x4B400000)


@_exact
def _nearest(x):  # type: ignore[no-untyped-def]
    # In a function that may not contract, else the product would enter the sum unrounded: harmless
    # to the result, but it would tie the rounding to how a compiler felt.
    return f32(x + _ROUND)


@_helper
def _expm1_core(r):  # type: ignore[no-untyped-def]
    """exp(r) - 1 for |r| <= log(2) / 2."""
    p = f32(1.3951717410236597e-3)
    p = p * r + f32(8.369598537683487e-3)
    p = p * r + f32(4.16661873459816e-2)
    p = p * r + f32(0.16666512191295624)
    p = p * r + f32(0.5)
    return p * (r * r) + r


@_exact
def _power(n):  # type: ignore[no-untyped-def]
    """2**n for -126 <= n <= 127."""
    return from_bits(i32((n + i32(127)) << i32(23)))


@_helper
def expf(x):  # type: ignore[no-untyped-def]
    y = f32(-104.0) if x < f32(-104.0) else x
    y = f32(89.0) if y > f32(89.0) else y
    t = _nearest(y * _LOG2E)
    k = t - _ROUND
    r = (y - k * _LN2_HIGH) - k * _LN2_LOW
    n = i32(to_bits(t) - _ROUND_BITS)
    half = i32(n >> i32(1))
    p = (_expm1_core(r) + f32(1.0)) * _power(half) * _power(i32(n - half))
    return x if x != x else p


@_helper
def expm1f(x):  # type: ignore[no-untyped-def]
    y = f32(-20.0) if x < f32(-20.0) else x
    y = f32(89.0) if y > f32(89.0) else y
    t = _nearest(y * _LOG2E)
    k = t - _ROUND
    r = (y - k * _LN2_HIGH) - k * _LN2_LOW
    n = i32(to_bits(t) - _ROUND_BITS)
    half = _power(i32(n - i32(1)))  # 2**n itself may overflow
    p = f32(2.0) * (_expm1_core(r) * half + (half - f32(0.5)))
    return x if x != x or x == f32(0.0) else p


@_helper
def exp2f(x):  # type: ignore[no-untyped-def]
    y = f32(-151.0) if x < f32(-151.0) else x
    y = f32(129.0) if y > f32(129.0) else y
    t = _nearest(y)
    k = t - _ROUND
    r = (y - k) * f32(0.6931471805599453)
    n = i32(to_bits(t) - _ROUND_BITS)
    half = i32(n >> i32(1))
    p = (_expm1_core(r) + f32(1.0)) * _power(half) * _power(i32(n - half))
    return x if x != x else p


# ---- logarithms --------------------------------------------------------------------------------


@_helper
def _log1p_core(f):  # type: ignore[no-untyped-def]
    """log(1 + f) - f for 1 + f between the roots of 1/2 and 2."""
    p = f32(6.925864517688751e-2)
    p = p * f + f32(-0.11807858943939209)
    p = p * f + f32(0.11877914518117905)
    p = p * f + f32(-0.1238180622458458)
    p = p * f + f32(0.14217716455459595)
    p = p * f + f32(-0.1666935682296753)
    p = p * f + f32(0.20002272725105286)
    p = p * f + f32(-0.24999985098838806)
    p = p * f + f32(0.3333331048488617)
    s = f * f
    return p * (s * f) - f32(0.5) * s


@_helper
def _log_split(x):  # type: ignore[no-untyped-def]
    """Exponent and mantissa less one of a positive float, the latter within sqrt(1/2), sqrt(2)."""
    small = x < f32(1.1754943508222875e-38)
    y = x * f32(8388608.0) if small else x
    bits = i32(to_bits(y) - i32(0x3F3504F3))
    n = i32(bits >> i32(23))
    m = from_bits(i32((bits & i32(0x007FFFFF)) + i32(0x3F3504F3)))
    return f32(n) - (f32(23.0) if small else f32(0.0)), f32(m - f32(1.0))


@_helper
def logf(x):  # type: ignore[no-untyped-def]
    k, f = _log_split(x)
    y = (_log1p_core(f) + k * _LN2_LOW) + f + k * _LN2_HIGH
    y = x if x == f32(np.inf) else y
    y = f32(-np.inf) if x == f32(0.0) else y
    return y if x >= f32(0.0) else f32(np.nan)


@_helper
def log1pf(x):  # type: ignore[no-untyped-def]
    u = f32(x + f32(1.0))
    lost = f32(x - f32(u - f32(1.0)))  # what rounding the sum cut off
    k, f = _log_split(u)
    y = ((_log1p_core(f) + lost / u) + k * _LN2_LOW) + f + k * _LN2_HIGH
    y = x if u == f32(1.0) or x == f32(np.inf) else y
    y = f32(-np.inf) if u == f32(0.0) else y
    return y if u >= f32(0.0) else f32(np.nan)


@_helper
def log2f(x):  # type: ignore[no-untyped-def]
    k, f = _log_split(x)
    y = (_log1p_core(f) + f) * _LOG2E + k
    y = x if x == f32(np.inf) else y
    y = f32(-np.inf) if x == f32(0.0) else y
    return y if x >= f32(0.0) else f32(np.nan)


# ---- hyperbolic tangent and error function -----------------------------------------------------


@_helper
def tanhf(x):  # type: ignore[no-untyped-def]
    a = f32(abs(x))
    s = x * x
    p = f32(2.1227425895631313e-3)
    p = p * s + f32(-8.156276308000088e-3)
    p = p * s + f32(2.1692605689167976e-2)
    p = p * s + f32(-5.3945377469062805e-2)
    p = p * s + f32(0.13333195447921753)
    p = p * s + f32(-0.3333333134651184)
    near = x + x * (s * p)
    far = f32(1.0) - f32(2.0) / (expf(a + a) + f32(1.0))
    far = -far if x < f32(0.0) else far
    near = x if x == f32(0.0) else near  # keeps the sign of zero
    return near if a < f32(0.625) else far


@_helper
def erff(x):  # type: ignore[no-untyped-def]
    a = f32(abs(x))
    s = x * x
    p = f32(8.362306834897026e-5)
    p = p * s + f32(-8.141480502672493e-4)
    p = p * s + f32(5.200990010052919e-3)
    p = p * s + f32(-2.685941383242607e-2)
    p = p * s + f32(0.11283696442842484)
    p = p * s + f32(-0.37612634897232056)
    p = p * s + f32(0.12837916612625122)
    near = x + x * p
    close = a < f32(0.92) or x != x
    a = f32(4.0) if a > f32(4.0) else a
    q = f32(5.150880497239996e-6)
    q = q * a + f32(-4.820222966372967e-5)
    q = q * a + f32(-3.606476093409583e-5)
    q = q * a + f32(2.89230071939528e-3)
    q = q * a + f32(-2.2612009197473526e-2)
    q = q * a + f32(0.10520291328430176)
    q = q * a + f32(0.6356565356254578)
    q = q * a + f32(1.1285449266433716)
    far = f32(1.0) - expf(-(q * a))
    far = -far if x < f32(0.0) else far
    return near if close else far


# ---- what hardware does, for both precisions ---------------------------------------------------

sqrt = sqrtf = _exact(lambda x: np.sqrt(x))
fabs = fabsf = _exact(lambda x: abs(x))
floor = floorf = _exact(lambda x: np.floor(x))
ceil = ceilf = _exact(lambda x: np.ceil(x))
trunc = truncf = _exact(lambda x: np.trunc(x))
rint = rintf = _exact(lambda x: np.rint(x))
isinf = _exact(lambda x: abs(x) == np.inf)
isfinite = _exact(lambda x: abs(x) < np.inf)
fmax = fmaxf = _exact(lambda a, b: a if a > b or b != b else b)
fmin = fminf = _exact(lambda a, b: a if a < b or b != b else b)
gg_maximum = _exact(lambda a, b: a if a != a or a > b else b)
gg_minimum = _exact(lambda a, b: a if a != a or a < b else b)


@_exact
def order_up(x):  # type: ignore[no-untyped-def]
    """float32 as an integer of the same order; NaN above all.  Integer extremes vectorise."""
    bits = to_bits(x)
    key = i32(bits ^ i32((bits >> i32(31)) & i32(0x7FFFFFFF)))
    return i32(0x7FFFFFFF) if x != x else key


@_exact
def from_order(key):  # type: ignore[no-untyped-def]
    return from_bits(i32(key ^ i32((key >> i32(31)) & i32(0x7FFFFFFF))))
