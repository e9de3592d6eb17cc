"""Compiled loops over channels: moments, sums, and the passes that write a normalised array.

Two layouts, each read as it lies in memory: ``x (outer, channels, inner)``, where a channel is rows
of ``inner`` elements, and ``x (rows, channels)``, channels last.  ``which`` numbers the channels,
or the blocks of rows, that a thread takes; what is found for them stands in arrays of that length.

Sums go through ``LANES`` partial sums in the array's dtype, over at most ``BLOCK`` elements, which
are folded to ``FOLDED`` and from there on added in float64.  Lanes are written out, since a
compiler may not reorder additions: so the order, and every bit, is the same on every machine and
for every number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad.backends.compiled import compiled

#: Partial sums: enough that an addition need not wait for the one before it.
LANES, FOLDED = 64, 16
#: Elements that are brought together before they are added: they stay in the innermost cache.
BLOCK = 4096
_u = np.uintp


@compiled(cut=3)
def plane_moments(which: Any, mean: Any, var: Any, x: Any) -> None:
    """Mean and variance (which divides by n) of channels of ``x (outer, channels, inner)``.

    Memory is read once.  A block's deviations are taken from its own mean, about which no digits
    cancel, and blocks are joined as in Chan, Golub, LeVeque: "Updating formulae and a pairwise
    algorithm for computing sample variances", 1979.
    """
    outer, channels, inner = x.shape
    source, zero = x.reshape(-1), x.dtype.type(0)
    block = np.empty(BLOCK, x.dtype)
    first, second = np.empty(LANES, x.dtype), np.empty(LANES, x.dtype)
    whole = outer * inner
    for k in range(which.size):
        n, at, count, middle, squares = 0, 0, 0, 0.0, 0.0
        while count < whole:
            size, fill = min(BLOCK, whole - count), 0
            while fill < size:
                take = min(size - fill, inner - at)
                base = (n * channels + which[k]) * inner + at
                for j in range(take):
                    block[_u(fill + j)] = source[_u(base + j)]
                fill, at = fill + take, at + take
                if at == inner:
                    n, at = n + 1, 0
            padded = (size + LANES - 1) // LANES * LANES
            for j in range(size, padded):
                block[_u(j)] = zero
            for j in range(LANES):
                first[_u(j)] = zero
            for i in range(0, padded, LANES):
                for j in range(LANES):
                    first[_u(j)] += block[_u(i + j)]
            for i in range(FOLDED, LANES, FOLDED):
                for j in range(FOLDED):
                    first[_u(j)] += first[_u(i + j)]
            total, rest = 0.0, 0.0
            for j in range(FOLDED):
                total += first[_u(j)]
            rough = x.dtype.type(total / size)
            for j in range(size, padded):
                block[_u(j)] = rough
            for j in range(LANES):
                first[_u(j)], second[_u(j)] = zero, zero
            for i in range(0, padded, LANES):
                for j in range(LANES):
                    d = block[_u(i + j)] - rough
                    first[_u(j)] += d
                    second[_u(j)] += d * d
            for i in range(FOLDED, LANES, FOLDED):
                for j in range(FOLDED):
                    first[_u(j)] += first[_u(i + j)]
                    second[_u(j)] += second[_u(i + j)]
            total = 0.0
            for j in range(FOLDED):
                total += first[_u(j)]
                rest += second[_u(j)]
            both = count + size
            apart = rough + total / size - middle
            middle += apart * size / both
            squares += rest - total * total / size + apart * apart * count * size / both
            count = both
        mean[k], var[k] = middle, squares / whole


@compiled(cut=4)
def plane_sums(which: Any, mean: Any, total: Any, product: Any, g: Any, x: Any) -> None:
    """Sums of ``g`` and of ``g * (x - mean)`` over channels of ``(outer, channels, inner)``."""
    outer, channels, inner = x.shape
    gs, xs, zero = g.reshape(-1), x.reshape(-1), x.dtype.type(0)
    ones, twos = np.empty(BLOCK, x.dtype), np.empty(BLOCK, x.dtype)
    first, second = np.empty(LANES, x.dtype), np.empty(LANES, x.dtype)
    whole = outer * inner
    for k in range(which.size):
        n, at, count, one, two, centre = 0, 0, 0, 0.0, 0.0, mean[k]
        while count < whole:
            size, fill = min(BLOCK, whole - count), 0
            while fill < size:
                take = min(size - fill, inner - at)
                base = (n * channels + which[k]) * inner + at
                for j in range(take):
                    ones[_u(fill + j)] = gs[_u(base + j)]
                    twos[_u(fill + j)] = gs[_u(base + j)] * (xs[_u(base + j)] - centre)
                fill, at = fill + take, at + take
                if at == inner:
                    n, at = n + 1, 0
            padded = (size + LANES - 1) // LANES * LANES
            for j in range(size, padded):
                ones[_u(j)], twos[_u(j)] = zero, zero
            for j in range(LANES):
                first[_u(j)], second[_u(j)] = zero, zero
            for i in range(0, padded, LANES):
                for j in range(LANES):
                    first[_u(j)] += ones[_u(i + j)]
                    second[_u(j)] += twos[_u(i + j)]
            for i in range(FOLDED, LANES, FOLDED):
                for j in range(FOLDED):
                    first[_u(j)] += first[_u(i + j)]
                    second[_u(j)] += second[_u(i + j)]
            for j in range(FOLDED):
                one += first[_u(j)]
                two += second[_u(j)]
            count += size
        total[k], product[k] = one, two


@compiled(cut=4)
def plane_apply(which: Any, mean: Any, scale: Any, shift: Any, x: Any, out: Any, residual: Any,
                add: bool, relu: bool) -> None:  # fmt: skip
    """``(x - mean) * scale + shift`` per channel, ``+ residual`` with ``add``, at least 0 if asked.

    Arrays are ``(outer, channels, inner)``; a NaN stays one.
    """
    outer, channels, inner = x.shape
    xs, ys, more, zero = x.reshape(-1), out.reshape(-1), residual.reshape(-1), x.dtype.type(0)
    for k in range(which.size):
        centre, slope, lift = mean[k], scale[k], shift[k]
        for n in range(outer):
            base = (n * channels + which[k]) * inner
            for j in range(inner):
                ys[_u(base + j)] = (xs[_u(base + j)] - centre) * slope + lift
            if add:
                for j in range(inner):
                    ys[_u(base + j)] += more[_u(base + j)]
            if relu:
                for j in range(inner):
                    y = ys[_u(base + j)]
                    ys[_u(base + j)] = zero if y <= zero else y


@compiled(cut=5)
def plane_gradient(which: Any, mean: Any, a: Any, b: Any, c: Any, g: Any, x: Any, out: Any) -> None:
    """``g * a + (x - mean) * b + c`` per channel of arrays ``(outer, channels, inner)``."""
    outer, channels, inner = x.shape
    gs, xs, ys = g.reshape(-1), x.reshape(-1), out.reshape(-1)
    for k in range(which.size):
        centre, steep, slope, lift = mean[k], a[k], b[k], c[k]
        for n in range(outer):
            base = (n * channels + which[k]) * inner
            for j in range(inner):
                y = gs[_u(base + j)] * steep + (xs[_u(base + j)] - centre) * slope
                ys[_u(base + j)] = y + lift


@compiled(cut=3)
def column_moments(which: Any, mean: Any, rest: Any, x: Any, step: int) -> None:
    """Per block of ``step`` rows of ``x (rows, channels)``: means, and sums of squared deviations.

    Both are ``(blocks, channels)`` in float64, deviations from the block's own mean.
    """
    rows, channels = x.shape
    source, zero = x.reshape(-1), x.dtype.type(0)
    first, second = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    rough = np.empty(channels, x.dtype)
    for k in range(which.size):
        begin, end = which[k] * step, min((which[k] + 1) * step, rows)
        size = end - begin
        first[:] = zero
        for r in range(begin, end):
            for j in range(channels):
                first[_u(j)] += source[_u(r * channels + j)]
        for j in range(channels):
            rough[_u(j)] = first[_u(j)] / size
        first[:], second[:] = zero, zero
        for r in range(begin, end):
            for j in range(channels):
                d = source[_u(r * channels + j)] - rough[_u(j)]
                first[_u(j)] += d
                second[_u(j)] += d * d
        for j in range(channels):
            total = np.float64(first[_u(j)])
            mean[_u(k), _u(j)] = rough[_u(j)] + total / size
            rest[_u(k), _u(j)] = second[_u(j)] - total * total / size


@compiled(cut=3)
def column_sums(which: Any, total: Any, product: Any, g: Any, x: Any, mean: Any, step: int) -> None:
    """Per block of rows of ``(rows, channels)``: sums of ``g`` and of ``g * (x - mean)``.

    Both are ``(blocks, channels)`` in float64.
    """
    rows, channels = x.shape
    gs, xs, zero = g.reshape(-1), x.reshape(-1), x.dtype.type(0)
    first, second = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    for k in range(which.size):
        first[:], second[:] = zero, zero
        for r in range(which[k] * step, min((which[k] + 1) * step, rows)):
            for j in range(channels):
                value = gs[_u(r * channels + j)]
                first[_u(j)] += value
                second[_u(j)] += value * (xs[_u(r * channels + j)] - mean[_u(j)])
        for j in range(channels):
            total[_u(k), _u(j)], product[_u(k), _u(j)] = first[_u(j)], second[_u(j)]


@compiled(cut=3)
def column_apply(x: Any, out: Any, residual: Any, mean: Any, scale: Any, shift: Any, add: bool,
                 relu: bool) -> None:  # fmt: skip
    """``plane_apply`` for arrays ``(rows, channels)``."""
    rows, channels = x.shape
    xs, ys, more, zero = x.reshape(-1), out.reshape(-1), residual.reshape(-1), x.dtype.type(0)
    for r in range(rows):
        base = r * channels
        for j in range(channels):
            y = (xs[_u(base + j)] - mean[_u(j)]) * scale[_u(j)]
            ys[_u(base + j)] = y + shift[_u(j)]
        if add:
            for j in range(channels):
                ys[_u(base + j)] += more[_u(base + j)]
        if relu:
            for j in range(channels):
                y = ys[_u(base + j)]
                ys[_u(base + j)] = zero if y <= zero else y


@compiled(cut=3)
def column_gradient(g: Any, x: Any, out: Any, mean: Any, a: Any, b: Any, c: Any) -> None:
    """``plane_gradient`` for arrays ``(rows, channels)``."""
    rows, channels = x.shape
    gs, xs, ys = g.reshape(-1), x.reshape(-1), out.reshape(-1)
    for r in range(rows):
        base = r * channels
        for j in range(channels):
            y = gs[_u(base + j)] * a[_u(j)] + (xs[_u(base + j)] - mean[_u(j)]) * b[_u(j)]
            ys[_u(base + j)] = y + c[_u(j)]
