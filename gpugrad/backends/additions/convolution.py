"""Convolutions of any number of dimensions, by patches and matrix products.

A convolution, its gradient in the input and its gradient in the weight are closed under
differentiation, so these three serve every order.  Images are worked on in groups that keep the
patches in the cache; a [1x1] kernel needs no copy at all.

Settings: per spatial dimension ``stride``, ``padding`` (a pair, before and after) and ``dilation``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

#: Bytes of patches worked on at once: 1 to 4 MiB were fastest on Zen 4, by up to a quarter.
_PATCH_BYTES = 2 << 20

Sizes = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]


def out_sizes(size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes) -> Sizes:
    """Spatial sizes of a convolution's result."""
    return tuple(
        (n + lo + hi - d * (k - 1) - 1) // s + 1
        for n, k, s, (lo, hi), d in zip(size, kernel, stride, padding, dilation)
    )


def windows(size: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes,
            out: Sizes) -> Iterator[tuple[Sizes, tuple[Any, ...]]]:  # fmt: skip
    """Per place in the kernel, the slices of the (padded) input that it meets."""
    for at in itertools.product(*map(range, kernel)):
        yield at, (..., *(
            slice(i * d, i * d + s * (o - 1) + 1 if o else i * d, s)
            for i, s, d, o in zip(at, stride, dilation, out)
        ))  # fmt: skip


def build(lib: Any) -> dict[str, Any]:
    """Convolutions and patches for arrays of ``lib``."""
    as_strided = lib.lib.stride_tricks.as_strided

    def padded(x: Any, padding: Pairs, value: float = 0) -> Any:
        """Surround the spatial dimensions; negative padding cuts."""
        if not any(map(any, padding)):
            return x
        lead = x.ndim - len(padding)
        sizes = tuple(n + lo + hi for n, (lo, hi) in zip(x.shape[lead:], padding))
        out = lib.full((*x.shape[:lead], *sizes), value, dtype=x.dtype)
        out[(..., *(slice(lo, lo + n) for n, (lo, _) in zip(x.shape[lead:], padding)))] = x
        return out

    def unpadded(x: Any, padding: Pairs) -> Any:
        """Cut the padding off again."""
        if not any(map(any, padding)):
            return x
        lead = x.ndim - len(padding)
        cut = (slice(lo, n - hi) for n, (lo, hi) in zip(x.shape[lead:], padding))
        return lib.ascontiguousarray(x[(..., *cut)])

    def patches(x: Any, kernel: Sizes, stride: Sizes, dilation: Sizes, out: Sizes) -> Any:
        """A view ``(n, channels, *kernel, *out)`` of padded images."""
        n, c, *steps = x.strides
        inner = tuple(t * d for t, d in zip(steps, dilation))
        outer = tuple(t * s for t, s in zip(steps, stride))
        return as_strided(x, (*x.shape[:2], *kernel, *out), (n, c, *inner, *outer))

    def chunks(images: int, each: int) -> Iterator[slice]:
        step = max(1, _PATCH_BYTES // max(each, 1))
        return (slice(i, min(i + step, images)) for i in range(0, images, step))

    def grouped(x: Any, groups: int) -> Any:
        """``(n, channels, ...)`` as ``(n, groups, rows, columns)`` for one product per group."""
        return x.reshape(x.shape[0], groups, -1, math.prod(x.shape[2:]))

    def convolution(x: Any, w: Any, bias: Any, stride: Sizes, padding: Pairs, dilation: Sizes,
                    groups: int) -> Any:  # fmt: skip
        """``(n, c, *size)`` with weights ``(o, c / groups, *kernel)`` to ``(n, o, *out)``."""
        kernel = w.shape[2:]
        out = out_sizes(x.shape[2:], kernel, stride, padding, dilation)
        view = patches(padded(x, padding), kernel, stride, dilation, out)
        rows, places = math.prod(w.shape[1:]), math.prod(out)
        w = w.reshape(groups, w.shape[0] // groups, rows)
        y = lib.empty((x.shape[0], groups, w.shape[1], places), dtype=x.dtype)
        for part in chunks(x.shape[0], groups * rows * places * x.itemsize):
            columns = view[part].reshape(part.stop - part.start, groups, rows, places)
            lib.matmul(w, columns, out=y[part])
        y = y.reshape(x.shape[0], groups * w.shape[1], *out)
        if bias is not None:
            y += bias.reshape(-1, *(1,) * len(out))
        return y

    def conv_input_grad(g: Any, w: Any, size: Sizes, stride: Sizes, padding: Pairs,
                        dilation: Sizes, groups: int) -> Any:  # fmt: skip
        """Gradient in the input of sizes ``size``; also what a transposed convolution is."""
        kernel, out, n = w.shape[2:], g.shape[2:], g.shape[0]
        rows, places = math.prod(w.shape[1:]), math.prod(out)
        turned = w.reshape(groups, -1, rows).swapaxes(1, 2)
        g = g.reshape(n, groups, g.shape[1] // groups, places)
        full = tuple(s + lo + hi for s, (lo, hi) in zip(size, padding))
        x = lib.zeros((n, groups * w.shape[1], *full), dtype=g.dtype)
        for part in chunks(n, groups * rows * places * g.itemsize):
            columns = lib.matmul(turned, g[part])
            add_patches(x[part], columns.reshape(-1, x.shape[1], *kernel, *out), kernel, stride,
                        dilation)  # fmt: skip
        return unpadded(x, padding)

    def add_patches(x: Any, columns: Any, kernel: Sizes, stride: Sizes, dilation: Sizes) -> None:
        """Add every patch ``(n, channels, *kernel, *out)`` where it was taken from."""
        out = columns.shape[2 + len(kernel) :]
        for at, place in windows(x.shape[2:], kernel, stride, dilation, out):
            x[place] += columns[(slice(None), slice(None), *at)]

    def conv_weight_grad(g: Any, x: Any, kernel: Sizes, stride: Sizes, padding: Pairs,
                         dilation: Sizes, groups: int) -> Any:  # fmt: skip
        """Gradient in the weight of kernel sizes ``kernel``."""
        n, out = g.shape[0], g.shape[2:]
        view = patches(padded(x, padding), kernel, stride, dilation, out)
        rows, places = x.shape[1] // groups * math.prod(kernel), math.prod(out)
        g = g.reshape(n, groups, g.shape[1] // groups, places)
        w = lib.zeros((groups, g.shape[2], rows), dtype=x.dtype)
        for part in chunks(n, groups * rows * places * x.itemsize):
            columns = view[part].reshape(part.stop - part.start, groups, rows, places)
            w += lib.matmul(g[part], columns.swapaxes(2, 3)).sum(0)
        return w.reshape(groups * g.shape[2], x.shape[1] // groups, *kernel)

    def im2col(x: Any, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes) -> Any:
        """Patches as columns ``(n, c * kernel, out)``."""
        out = out_sizes(x.shape[2:], kernel, stride, padding, dilation)
        view = patches(padded(x, padding), kernel, stride, dilation, out)
        columns = view.reshape(x.shape[0], x.shape[1] * math.prod(kernel), math.prod(out))
        return columns.copy() if lib.may_share_memory(columns, x) else columns

    def col2im(columns: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs,
               dilation: Sizes) -> Any:  # fmt: skip
        """Columns added up where ``im2col`` took them from."""
        out = out_sizes(size, kernel, stride, padding, dilation)
        n, c = columns.shape[0], columns.shape[1] // math.prod(kernel)
        full = tuple(s + lo + hi for s, (lo, hi) in zip(size, padding))
        x = lib.zeros((n, c, *full), dtype=columns.dtype)
        add_patches(x, columns.reshape(n, c, *kernel, *out), kernel, stride, dilation)
        return unpadded(x, padding)

    return {
        "convolution": convolution, "conv_input_grad": conv_input_grad,
        "conv_weight_grad": conv_weight_grad, "im2col": im2col, "col2im": col2im,
    }  # fmt: skip
