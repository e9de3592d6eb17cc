"""Random numbers on CuPy arrays by the kernels of ``kernels/philox.cu``.

The functions are those of ``gpugrad.backends.philox``, with the same arguments and, for the same
(seed, offset, element), the same numbers, but for the last digits of logarithms and cosines.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad.backends.nvidia.flat import FLOATS, run
from gpugrad.backends.philox import span

_FILE = "philox.cu"
_LOW64 = (1 << 64) - 1


def _fill(name: str, out: Any, seed: int, offset: int, per_block: int, *more: Any) -> Any:
    """Fill a fresh array by a kernel, a thread per ``per_block`` elements."""
    args = (out, np.int64(out.size), np.uint64(seed & _LOW64), np.uint64(offset & _LOW64), *more)
    run(_FILE, name, -(-out.size // per_block), args)
    return out


def _reals(kind: str, xp: Any, seed: int, offset: int, n: int, dtype: Any) -> Any:
    name = np.dtype(dtype).name
    if name not in FLOATS:
        raise TypeError(f"random floats have a float dtype, not {name}")
    return _fill(f"{kind}_{name}", xp.empty(n, dtype), seed, offset, 2 if name == "float64" else 4)


def bits(xp: Any, seed: int, offset: int, n: int) -> Any:
    """``n`` random uint32 words."""
    return _fill("bits", xp.empty(n, np.uint32), seed, offset, 4)


def bits64(xp: Any, seed: int, offset: int, n: int) -> Any:
    """``n`` random uint64 words."""
    return _fill("bits64", xp.empty(n, np.uint64), seed, offset, 2)


def uniform(xp: Any, seed: int, offset: int, n: int, dtype: Any) -> Any:
    """Uniform in [0, 1)."""
    return _reals("uniform", xp, seed, offset, n, dtype)


def normal(xp: Any, seed: int, offset: int, n: int, dtype: Any) -> Any:
    """Standard normal."""
    return _reals("normal", xp, seed, offset, n, dtype)


def exponential(xp: Any, seed: int, offset: int, n: int, dtype: Any) -> Any:
    """Standard exponential."""
    return _reals("exponential", xp, seed, offset, n, dtype)


def integers(xp: Any, seed: int, offset: int, n: int, low: int, high: int) -> Any:
    """int64 in [low, high)."""
    r = span(low, high)
    wide = r >= 1 << 32
    out = _fill(f"integers_{64 if wide else 32}", xp.empty(n, np.uint64), seed, offset,
                2 if wide else 4, np.uint64(low & _LOW64), np.uint64(r & _LOW64))  # fmt: skip
    return out.view(np.int64)


def permutation(xp: Any, seed: int, offset: int, n: int) -> Any:
    """A permutation of ``range(n)``, int64: the stable order of ``n`` random 64-bit keys."""
    order = xp.argsort(bits64(xp, seed, offset, n), kind="stable")
    return order.astype(np.int64, copy=False)


def over(lib: Any, plain: dict[str, Any]) -> dict[str, Any]:
    """Dropout for arrays of ``lib`` (``cupy``)."""

    def philox_dropout(x: Any, p: float, seed: int, offset: int) -> Any:
        if p == 1.0 or x.dtype.name not in FLOATS:
            return plain["philox_dropout"](x, p, seed, offset)
        x = lib.ascontiguousarray(x).reshape(x.shape)
        scale = (np.float64 if x.dtype == np.float64 else np.float32)(1.0 / (1.0 - p))
        y = lib.empty(x.shape, x.dtype)
        return _fill(f"dropout_{x.dtype.name}", y, seed, offset, 4, x, np.float32(p), scale)

    return {"philox_dropout": philox_dropout}
