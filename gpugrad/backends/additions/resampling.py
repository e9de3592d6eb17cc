"""Weighted sums of a few neighbours along one dimension: interpolation and uneven averages."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

#: For each result, the elements it is made of and their weights.
Taps = tuple[tuple[tuple[int, float], ...], ...]


@lru_cache(maxsize=256)
def taps(mode: str, n: int, size: int, scale: float | None) -> Taps:
    """What each of ``size`` results is made of, given ``n`` elements.

    Args:
        mode: ``adaptive`` (means of equal parts), ``nearest``, ``nearest-exact``, ``linear`` or
            ``cubic``; the last two with ``-corners`` where the outermost elements keep their place.
        scale: elements per result where it is not ``n / size``.
    """
    kind, _, corners = mode.partition("-")
    if kind == "adaptive":
        ends = [(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]
        return tuple(tuple((j, 1 / (b - a)) for j in range(a, b)) for a, b in ends)
    if kind == "nearest":
        return tuple(((i, 1.0),) for i in _nearest(n, size, scale, 0.5 if corners else 0.0))
    step = n / size if scale is None else scale
    if corners == "corners":
        step = (n - 1) / (size - 1) if size > 1 else 0.0
    made = []
    for i in range(size):
        at = i * step if corners else (i + 0.5) * step - 0.5
        made.append(_linear(n, max(at, 0.0)) if kind == "linear" else _cubic(n, at))
    return tuple(made)


def _nearest(n: int, size: int, scale: float | None, shift: float) -> list[int]:
    # PyTorch reckons in float32, which decides where a place falls on an element's edge.
    step = np.float32(n / size if scale is None else scale)
    places = np.floor((np.arange(size, dtype=np.float32) + np.float32(shift)) * step)
    return [min(int(p), n - 1) for p in places]


def _linear(n: int, at: float) -> tuple[tuple[int, float], ...]:
    low = min(int(at), n - 1)
    part = min(max(at - low, 0.0), 1.0)
    return (low, 1 - part), (min(low + 1, n - 1), part)


def _cubic(n: int, at: float) -> tuple[tuple[int, float], ...]:
    """Keys' cubic convolution with a = -0.75."""
    low, a = math.floor(at), -0.75

    def weight(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return ((a + 2) * x - (a + 3)) * x * x + 1
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return tuple((min(max(low + j, 0), n - 1), weight(at - low - j)) for j in range(-1, 3))


def build(lib: Any) -> dict[str, Any]:
    """Resampling for arrays of ``lib``."""

    def resample(x: Any, dim: int, size: int, mode: str, scale: float | None) -> Any:
        """``size`` weighted sums of neighbours along ``dim``."""
        table = taps(mode, x.shape[dim], size, scale)
        shape = (-1, *(1,) * (x.ndim - 1 - dim))
        if all(t == ((t[0][0], 1.0),) for t in table):
            return lib.take(x, lib.asarray([t[0][0] for t in table], dtype="int64"), axis=dim)
        out = lib.zeros((*x.shape[:dim], size, *x.shape[dim + 1 :]), dtype=x.dtype)
        for j in range(max(map(len, table), default=0)):
            has = [i for i, t in enumerate(table) if len(t) > j]
            index = lib.asarray([table[i][j][0] for i in has], dtype="int64")
            weights = lib.asarray([table[i][j][1] for i in has], dtype=x.dtype).reshape(shape)
            term = lib.take(x, index, axis=dim) * weights
            if len(has) == size:
                out += term
            else:
                out[(*(slice(None),) * dim, lib.asarray(has))] += term
        return out

    def resample_grad(g: Any, dim: int, n: int, mode: str, scale: float | None) -> Any:
        """Every result spread over the elements it was made of."""
        table = taps(mode, n, g.shape[dim], scale)
        g = lib.ascontiguousarray(lib.moveaxis(g, dim, 0))
        out = lib.zeros((n, *g.shape[1:]), dtype=g.dtype)
        for i, made in enumerate(table):
            for j, weight in made:
                out[j] += g[i] if weight == 1 else g[i] * weight
        return lib.ascontiguousarray(lib.moveaxis(out, 0, dim))

    return {"resample": resample, "resample_grad": resample_grad}
