"""How special functions run: flattened, in pieces that stay in cache, in a wide enough type.

A formula in the files beside this one is written for one-dimensional contiguous arrays of one float
type and may use as many temporaries as it likes: a piece is small enough for them to stay in the
cache.  The coefficients there were computed for this project: each function was interpolated with
60 digits at Chebyshev nodes, which is within a small factor of the best uniform approximation.  The
error quoted beside a table is that of the formula before rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any

_PIECE = 1 << 15  # elements: a few float64 temporaries of 256 KiB fit the L2 cache


def elementwise(
    xp: Any, formula: Callable[..., Array], *arrays: Array, single: bool = False
) -> Array:
    """Apply ``formula(xp, *pieces)`` to float arrays, broadcast; the result has their dtype.

    It computes in float64, and in float32 where the input is narrower and ``single`` says that the
    formula is good enough in it.
    """
    arrays = tuple(xp.asarray(a) for a in arrays)
    if len(arrays) > 1:
        arrays = tuple(xp.broadcast_arrays(*arrays))
    dtype = arrays[0].dtype
    if dtype.kind in "iubc":
        raise TypeError(f"special functions take float arrays, got {dtype}")
    work = xp.float32 if single and dtype.itemsize < 8 else xp.float64
    shape = arrays[0].shape
    flat = [xp.ascontiguousarray(a).reshape(-1) for a in arrays]
    out = xp.empty(arrays[0].size, dtype)
    step = _PIECE if is_numpy(xp) else max(out.size, 1)
    for start in range(0, out.size, step):
        piece = slice(start, start + step)
        out[piece] = formula(xp, *(a[piece].astype(work, copy=False) for a in flat))
    return out.reshape(shape)


def is_numpy(xp: Any) -> bool:
    """Whether ``xp`` computes on the host, where looking at a value costs nothing."""
    return bool(xp.__name__ == "numpy")


def some(xp: Any, mask: Array) -> bool:
    """Whether any element is set; on a device always true, since asking would wait for it."""
    return bool(mask.any()) if is_numpy(xp) else True


def polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """Horner's rule, highest power first, in one buffer."""
    total = x * coefficients[0]
    for c in coefficients[1:-1]:
        total += c
        total *= x
    total += coefficients[-1]
    return total


def rational(over: tuple[float, ...], under: tuple[float, ...], x: Array) -> Array:
    """Quotient of two polynomials."""
    total = polynomial(over, x)
    total /= polynomial(under, x)
    return total


def sin_pi(xp: Any, x: Array) -> Array:
    """``|sin(pi x)|``, exactly 0 at the integers."""
    r = xp.abs(x - xp.rint(x))
    r *= np.pi
    return xp.sin(r)
