"""Random numbers that depend on (seed, offset, element index) and on nothing else.

The generator is Philox4x32-10: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers:
as easy as 1, 2, 3", SC'11.  It has no state: a block of four 32-bit words is a function of a
128-bit counter and a 64-bit key.  Here

    counter = (block index lo, block index hi, offset lo, offset hi)      key = (seed lo, seed hi)

and word ``i`` of a call is lane ``i % 4`` of block ``i // 4``.  ``offset`` is the number of the
call, which the generator raises by one for each, so no two calls share a word.  A 64-bit word ``i``
is the words ``2i`` (low half) and ``2i + 1`` (high half).  The first ``k`` numbers of a call are
the same whatever ``n`` is.

Two counter words ride in one 64-bit lane, the multiplicand on top: with ``a = c0 << 32 | c1`` and
``b = c2 << 32 | c3`` a round is

    a, b = M1 * (b >> 32) ^ (a << 32) ^ (k0 << 32),  M0 * (a >> 32) ^ (b << 32) ^ (k1 << 32)

so the two halves of each product land where they belong, and no mask is needed.  The work is done
in pieces that stay in the L2 cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

Array = Any

M0, M1 = 0xD2511F53, 0xCD9E8D57  # multipliers
W0, W1 = 0x9E3779B9, 0xBB67AE85  # what a round adds to the key: golden ratio, sqrt(3) - 1
ROUNDS = 10

_LOW32 = (1 << 32) - 1
_LOW64 = (1 << 64) - 1
# Blocks per piece: on a host four buffers of 128 KiB stay in L2; a GPU wants few, large launches.
_HOST_BLOCKS, _DEVICE_BLOCKS = 1 << 14, 1 << 22
# A piece is padded to whole vectors, so that an element near the end of a call goes through the
# same vector code (of log, sin, cos) as it would in a longer call.
_PAD_BLOCKS = 16


def philox4x32(xp: Any, counter: tuple[Array, ...], key: tuple[int, int]) -> tuple[Array, ...]:
    """Encrypt four arrays of 32-bit counter words; return four uint32 arrays of random words."""
    c0, c1, c2, c3 = (xp.asarray(c).astype(xp.uint64) for c in counter)
    shift = xp.uint64(32)
    a, b = xp.atleast_1d(c0 << shift | c1), xp.atleast_1d(c2 << shift | c3)
    _rounds(xp, a, b, xp.empty_like(a), xp.empty_like(b), _round_keys(*key))
    halves = (a >> shift, a, b >> shift, b)
    return tuple((h & xp.uint64(_LOW32)).astype(xp.uint32).reshape(c0.shape) for h in halves)


def bits(xp: Any, seed: int, offset: int, n: int) -> Array:
    """``n`` random uint32 words."""
    out = xp.empty(n, xp.uint32)
    for start, stop, words in _stream(xp, seed, offset, n):
        out[start:stop] = words[: stop - start]
    return out


def bits64(xp: Any, seed: int, offset: int, n: int) -> Array:
    """``n`` random uint64 words."""
    return bits(xp, seed, offset, 2 * n).view(xp.uint64)


def uniform(xp: Any, seed: int, offset: int, n: int, dtype: Any) -> Array:
    """Uniform in [0, 1): the top ``p`` bits of a word times ``2**-p``, ``p`` the dtype's precision.

    ``p`` is 53 (float64, of a 64-bit word), 24 (float32), 11 (float16) or 8 (bfloat16): every value
    is exact in the dtype, so none is rounded up to 1.
    """
    if _work(xp, dtype)[0] is xp.float64:
        out = xp.empty(n, xp.float64)
        for start, stop, words in _stream(xp, seed, offset, n, 2):
            out[start:stop] = _top(xp, words.view(xp.uint64), 53)[: stop - start]
        out *= 2.0**-53
        return out
    precision = {"float32": 24, "float16": 11, "bfloat16": 8}[np.dtype(dtype).name]
    out = xp.empty(n, dtype)
    unit = xp.float32(2.0**-precision)
    for start, stop, words in _stream(xp, seed, offset, n):
        values = _top(xp, words, precision)[: stop - start].astype(xp.float32)
        values *= unit
        out[start:stop] = values
    return out


def normal(xp: Any, seed: int, offset: int, n: int, dtype: Any) -> Array:
    """Standard normal by Box and Muller (1958): elements ``2j``, ``2j + 1`` from the words of both.

        x[2j] = sqrt(-2 log u) cos(2 pi v),   x[2j + 1] = sqrt(-2 log u) sin(2 pi v)

    with ``u`` in (0, 1] from word ``2j`` (see ``_open_unit``) and ``v`` in [0, 1) from the top bits
    of word ``2j + 1``.  float64 reads 64-bit words; float16 and bfloat16 are rounded from float32.
    The tails end at 6.8 in float32 and at 8.6 in float64.
    """
    work, per, precision = _work(xp, dtype)
    out = xp.empty(n, dtype)
    turn = work(2 * math.pi * 2.0**-precision)
    for start, stop, words in _stream(xp, seed, offset, n, per):
        pairs = (words if per == 1 else words.view(xp.uint64)).reshape(-1, 2)
        radius = _open_unit(xp, pairs[:, 0], work)
        xp.log(radius, out=radius)
        radius *= work(-2.0)
        xp.sqrt(radius, out=radius)
        angle = _top(xp, xp.ascontiguousarray(pairs[:, 1]), precision).astype(work)
        angle *= turn
        across = xp.cos(angle)
        across *= radius
        xp.sin(angle, out=angle)
        angle *= radius
        out[start:stop:2] = across[: (stop - start + 1) // 2]
        out[start + 1 : stop : 2] = angle[: (stop - start) // 2]
    return out


def exponential(xp: Any, seed: int, offset: int, n: int, dtype: Any) -> Array:
    """Standard exponential ``-log u``, ``u`` in (0, 1] as for ``normal``; never 0.

    Where ``u`` rounds to 1 the result is eps / 2 of the working precision, as PyTorch has it.
    """
    work, per, _ = _work(xp, dtype)
    out = xp.empty(n, dtype)
    least = work(xp.finfo(work).eps / 2)
    for start, stop, words in _stream(xp, seed, offset, n, per):
        u = _open_unit(xp, words if per == 1 else words.view(xp.uint64), work)
        xp.log(u, out=u)
        xp.negative(u, out=u)
        xp.maximum(u, least, out=u)
        out[start:stop] = u[: stop - start]
    return out


def bernoulli(xp: Any, seed: int, offset: int, p: Array) -> Array:
    """Bools of ``p``'s shape, true where ``uniform < p``: always at ``p = 1``, never at 0 or NaN.

    The uniform number is float64 for float64 ``p``, else float32.
    """
    dtype = xp.float64 if p.dtype == xp.float64 else xp.float32
    return uniform(xp, seed, offset, p.size, dtype).reshape(p.shape) < p


def integers(xp: Any, seed: int, offset: int, n: int, low: int, high: int) -> Array:
    """int64 in [low, high): ``low + (w * r >> b)``, ``r = high - low``, ``w`` a word of ``b`` bits.

    ``b`` is 32 where ``r < 2**32``, else 64.  No word is rejected, so that element ``i`` always
    reads word ``i``; the price is that the probability of a value is off 1 / r by less than
    ``2**-b``, a relative bias below ``r / 2**b`` (none where ``r`` is a power of two).
    """
    r = span(low, high)
    out = xp.empty(n, xp.uint64)
    per = 1 if r < 1 << 32 else 2
    for start, stop, words in _stream(xp, seed, offset, n, per):
        if per == 1:
            high_part = words.astype(xp.uint64)
            high_part *= xp.uint64(r)
            high_part >>= xp.uint64(32)
        else:
            high_part = _multiply_high(xp, words.view(xp.uint64), r)
        out[start:stop] = high_part[: stop - start]
    out += xp.uint64(low & _LOW64)  # modulo 2**64, which is two's complement
    return out.view(xp.int64)


def span(low: int, high: int) -> int:
    """How many integers are in [low, high).

    Raises:
        ValueError: if there is none, or they are not all int64.
    """
    if high <= low or low < -(1 << 63) or high > 1 << 63:
        raise ValueError(f"integers need low < high within int64, got low={low}, high={high}")
    return high - low


def permutation(xp: Any, seed: int, offset: int, n: int) -> Array:
    """A permutation of ``range(n)``, int64: the stable order of ``n`` random 64-bit keys."""
    keys = bits64(xp, seed, offset, n)
    if _is_numpy(xp):
        # The order of distinct keys is stable whatever the algorithm: this one is five times as
        # fast, and equal keys come once in 2**65 / n**2 calls.
        order = xp.argsort(keys)
        keys = keys[order]
        if not (keys[1:] == keys[:-1]).any():
            return order.astype(xp.int64, copy=False)
        keys = bits64(xp, seed, offset, n)
    return xp.argsort(keys, kind="stable").astype(xp.int64, copy=False)


def _is_numpy(xp: Any) -> bool:
    return bool(xp.__name__ == "numpy")


def _work(xp: Any, dtype: Any) -> tuple[Any, int, int]:
    """Type to compute a float dtype in, its 32-bit words per element, its precision in bits."""
    name = np.dtype(dtype).name
    if name not in ("float64", "float32", "float16", "bfloat16"):
        raise TypeError(f"random floats have a float dtype, not {name}")
    return (xp.float64, 2, 53) if name == "float64" else (xp.float32, 1, 24)


def _top(xp: Any, words: Array, count: int) -> Array:
    """The top ``count`` bits of unsigned words, as signed integers: those convert faster."""
    size = words.dtype.itemsize
    shifted = words >> words.dtype.type(8 * size - count)
    return shifted.view(xp.int64 if size == 8 else xp.int32)


def _open_unit(xp: Any, words: Array, work: Any) -> Array:
    """Uniform in (0, 1]: float32 ``w * 2**-32 + 2**-33``, float64 ``((w >> 11) + 1) * 2**-53``.

    float32 uses all 32 bits, since its spacing near 0 is what the tail of a normal is made of.
    """
    words = xp.ascontiguousarray(words)
    if work is xp.float64:
        u = _top(xp, words, 53).astype(work)
        u += 1.0
        u *= 2.0**-53
    else:
        u = words.astype(work)
        u *= work(2.0**-32)
        u += work(2.0**-33)
    return u


def _multiply_high(xp: Any, w: Array, r: int) -> Array:
    """The upper 64 bits of ``w * r``, ``r`` up to ``2**64``, by schoolbook on 32-bit halves."""
    if r > _LOW64:
        return w
    shift, low = xp.uint64(32), xp.uint64(_LOW32)
    r1, r0 = xp.uint64(r >> 32), xp.uint64(r & _LOW32)
    w1, w0 = w >> shift, w & low
    middle = w1 * r0
    middle += w0 * r0 >> shift  # at most (2**32 - 1) * 2**32: it cannot overflow
    carry = middle & low
    carry += w0 * r1
    return w1 * r1 + (middle >> shift) + (carry >> shift)


def _round_keys(lo: int, hi: int) -> list[tuple[int, int]]:
    """The key of every round, in the upper half of a 64-bit word as the packed state wants it."""
    return [(((lo + i * W0) & _LOW32) << 32, ((hi + i * W1) & _LOW32) << 32) for i in range(ROUNDS)]


def _rounds(xp: Any, a: Array, b: Array, t: Array, u: Array, keys: list[tuple[int, int]]) -> None:
    """Apply a round per key to the packed state ``a``, ``b`` in place; ``t``, ``u`` are scratch."""
    shift, m0, m1 = xp.uint64(32), xp.uint64(M0), xp.uint64(M1)
    shr, shl, mul, xor = xp.right_shift, xp.left_shift, xp.multiply, xp.bitwise_xor
    for k0, k1 in keys:
        shr(a, shift, out=t)
        mul(t, m0, out=t)
        shr(b, shift, out=u)
        mul(u, m1, out=u)
        shl(a, shift, out=a)
        xor(a, u, out=a)
        xor(a, xp.uint64(k0), out=a)
        shl(b, shift, out=b)
        xor(b, t, out=b)
        xor(b, xp.uint64(k1), out=b)


def _stream(
    xp: Any, seed: int, offset: int, n: int, per: int = 1
) -> Iterator[tuple[int, int, Array]]:
    """Yield (start, stop, words) for ``n`` elements of ``per`` words each.

    ``words`` holds at least the words of elements ``start`` to ``stop``.  It is a buffer that the
    next step overwrites, and ``start`` is a multiple of 4.

    The first two rounds are cheap, because three of the four counter words are the same for a whole
    piece: each of these rounds has one product of plain numbers.
    """
    total = -(-n * per // 4)
    size = min(_HOST_BLOCKS if _is_numpy(xp) else _DEVICE_BLOCKS, _whole(max(total, 1)))
    shift, m0, m1 = xp.uint64(32), xp.uint64(M0), xp.uint64(M1)
    keys = _round_keys(seed & _LOW32, seed >> 32 & _LOW32)
    (k0, k1), (j0, j1) = keys[:2]
    product = M1 * (offset & _LOW32)
    key_b = xp.uint64((offset & _LOW64) >> 32 << 32 ^ k1)
    ramp = xp.arange(size, dtype=xp.uint64) * m0
    buffers = [xp.empty(size, xp.uint64) for _ in range(4)]
    packed = xp.empty((size, 2), xp.uint64)
    for first in range(0, total, size):
        count = min(size, _whole(total - first))
        a, b, t, u = (buffer[:count] for buffer in buffers)
        # `size` is a power of two or all there is: the low word does not wrap within a piece.
        head = product ^ (first >> 32 << 32) ^ k0
        xp.add(ramp[:count], xp.uint64(M0 * (first & _LOW32)), out=b)
        xp.bitwise_xor(b, key_b, out=b)
        xp.right_shift(b, shift, out=u)
        xp.multiply(u, m1, out=u)
        xp.bitwise_xor(u, xp.uint64((head << 32 & _LOW64) ^ j0), out=a)
        xp.left_shift(b, shift, out=b)
        xp.bitwise_xor(b, xp.uint64((M0 * (head >> 32)) ^ j1), out=b)
        _rounds(xp, a, b, t, u, keys[2:])
        for lane, half, spare in ((0, a, t), (1, b, u)):
            # In memory the low half comes first: swap the halves on the way out.
            xp.right_shift(half, shift, out=spare)
            xp.left_shift(half, shift, out=half)
            xp.bitwise_or(half, spare, out=packed[:count, lane])
        start = first * 4 // per
        yield start, min(n, start + size * 4 // per), packed[:count].reshape(-1).view(xp.uint32)


def _whole(blocks: int) -> int:
    """Round a number of blocks up to whole vectors."""
    return -(-blocks // _PAD_BLOCKS) * _PAD_BLOCKS
