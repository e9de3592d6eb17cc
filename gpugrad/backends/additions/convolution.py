"""Convolutions of any number of dimensions, by patches and matrix products.

A convolution, its gradient in the input and its gradient in the weight are closed under
differentiation, so these three serve every order.  Images are worked on in groups that keep the
patches in the cache; a [1x1] kernel needs no copy at all.  Patches of many floats in one or two
dimensions are copied and added on the host by the compiled loops of ``backends.image_loops``.

The result lies in memory as the input does, channels last included (``laid_as``).  On CUDA devices
cuDNN goes first (``nvidia.cudnn_conv``).

Settings: per spatial dimension ``stride``, ``padding`` (a pair, before and after) and ``dilation``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpugrad.backends import image_loops
from gpugrad.backends.compiled import WORTH

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


def compiles(lib: Any, dtype: Any, dims: int, elements: int) -> bool:
    """Whether a compiled loop is there for such images, and worth its start."""
    return lib is np and dims <= 2 and dtype.char in "fd" and elements >= WORTH


def simple(kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes) -> bool:
    """Whether every patch is one pixel, in order: then the images are the columns."""
    return set(kernel) == {1} == set(stride) and not any(map(any, padding))


def two(sizes: Sizes) -> Sizes:
    """One or two sizes as two: a line is an image of height 1."""
    if len(sizes) not in (1, 2):
        raise ValueError(f"one or two sizes are needed, got {sizes}")
    return (1,) * (2 - len(sizes)) + tuple(sizes)


def planar(x: Any) -> Any:
    """``(n, c, *size)`` as ``(n * c, h, w)``, a view of a contiguous array."""
    return x.reshape(x.shape[0] * x.shape[1], *two(x.shape[2:]))


def placed(stride: Sizes, padding: Pairs, dilation: Sizes) -> image_loops.At:
    """Settings as the compiled loops take them."""
    before = (0,) * (2 - len(padding)) + tuple(lo for lo, _ in padding)
    at = (*two(stride), *before, *two(dilation))
    if len(at) != 6 or not all(isinstance(i, int) for i in at):
        raise ValueError(f"one int is needed per dimension, got {stride}, {padding}, {dilation}")
    return at


def laid_as(lib: Any, y: Any, *sources: Any) -> Any:
    """Images ``(n, c, *size)`` with channels last in memory if one of the sources has them so."""
    last, first = (0, *range(2, y.ndim), 1), (0, y.ndim - 1, *range(1, y.ndim - 1))
    for x in sources:
        if lies_last(x):
            return lib.ascontiguousarray(y.transpose(last)).transpose(first)
    return y


def lies_last(x: Any) -> bool:
    """Whether images ``(n, c, *size)`` of two or more dims have channels last in memory."""
    if x.ndim <= 3 or x.flags.c_contiguous:
        return False
    return bool(x.transpose(0, *range(2, x.ndim), 1).flags.c_contiguous)


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

    def columns_of(x: Any, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes,
                   out: Sizes) -> Callable[[slice], Any]:  # fmt: skip
        """What gives the patches ``(images, c, *kernel, *out)`` of a slice of the images.

        The next slice may overwrite them.
        """
        n, each = x.shape[0], x.shape[1] * math.prod(kernel) * math.prod(out)
        if not compiles(lib, x.dtype, len(kernel), n * each) or simple(
            kernel, stride, padding, dilation
        ):
            view = patches(padded(x, padding), kernel, stride, dilation, out)
            return view.__getitem__
        x = lib.ascontiguousarray(x)
        at = placed(stride, padding, dilation)
        buffer = lib.empty((chunk(n, each * x.itemsize), x.shape[1], *kernel, *out), x.dtype)
        same = set(stride) == {1} and x.shape[2:] == out
        fill = image_loops.im2col_same if same else image_loops.im2col

        def filled(part: slice) -> Any:
            columns = buffer[: part.stop - part.start]
            fill(planar(x[part]), columns.reshape(-1, *two(kernel), *two(out)), at)
            return columns

        return filled

    def chunk(images: int, each: int) -> int:
        """How many images to work on at once, of so many bytes of patches each."""
        return min(max(1, _PATCH_BYTES // max(each, 1)), images)

    def chunks(images: int, each: int) -> Iterator[slice]:
        step = max(chunk(images, each), 1)
        return (slice(i, min(i + step, images)) for i in range(0, images, step))

    def convolution(x: Any, w: Any, bias: Any, stride: Sizes, padding: Pairs, dilation: Sizes,
                    groups: int) -> Any:  # fmt: skip
        """``(n, c, *size)`` with weights ``(o, c / groups, *kernel)`` to ``(n, o, *out)``."""
        kernel = w.shape[2:]
        out = out_sizes(x.shape[2:], kernel, stride, padding, dilation)
        columns = columns_of(x, kernel, stride, padding, dilation, out)
        rows, places, weight = math.prod(w.shape[1:]), math.prod(out), w
        w = w.reshape(groups, w.shape[0] // groups, rows)
        y = lib.empty((x.shape[0], groups, w.shape[1], places), dtype=x.dtype)
        bias = None if bias is None else bias.reshape(groups, -1, 1)
        for part in chunks(x.shape[0], groups * rows * places * x.itemsize):
            lib.matmul(w, columns(part).reshape(-1, groups, rows, places), out=y[part])
            if bias is not None:
                y[part] += bias  # while it is in the cache
        return laid_as(lib, y.reshape(x.shape[0], groups * w.shape[1], *out), x, weight)

    def conv_input_grad(g: Any, w: Any, size: Sizes, stride: Sizes, padding: Pairs,
                        dilation: Sizes, groups: int) -> Any:  # fmt: skip
        """Gradient in the input of sizes ``size``; also what a transposed convolution is."""
        kernel, out, n = w.shape[2:], g.shape[2:], g.shape[0]
        rows, places = math.prod(w.shape[1:]), math.prod(out)
        turned = w.reshape(groups, -1, rows).swapaxes(1, 2)
        h = g.reshape(n, groups, g.shape[1] // groups, places)
        shape = (n, groups * w.shape[1], *size)
        if simple(kernel, stride, padding, dilation):
            x = lib.matmul(turned, h).reshape(shape)
        else:
            x = summed(lambda part: lib.matmul(turned, h[part]), shape, g.dtype, kernel, stride,
                       padding, dilation, out)  # fmt: skip
        return laid_as(lib, x, g, w)

    def summed(columns: Callable[[slice], Any], shape: Sizes, dtype: Any, kernel: Sizes,
               stride: Sizes, padding: Pairs, dilation: Sizes, out: Sizes) -> Any:  # fmt: skip
        """Images of shape ``(n, c, *size)``: patches added up where ``columns_of`` takes them."""
        n, c, *size = shape
        each = c * math.prod(kernel) * math.prod(out)
        compiled = compiles(lib, dtype, len(kernel), n * each)
        full = tuple(s + (0 if compiled else lo + hi) for s, (lo, hi) in zip(size, padding))
        x = lib.zeros((n, c, *full), dtype=dtype)
        for part in chunks(n, each * x.itemsize):
            found = columns(part)
            if compiled:
                found = lib.ascontiguousarray(found).reshape(-1, *two(kernel), *two(out))
                image_loops.col2im(found, planar(x[part]), placed(stride, padding, dilation))
                continue
            found = found.reshape(-1, c, *kernel, *out)
            for at, place in windows(full, kernel, stride, dilation, out):
                x[part][place] += found[(slice(None), slice(None), *at)]
        return x if compiled else unpadded(x, padding)

    def conv_weight_grad(g: Any, x: Any, kernel: Sizes, stride: Sizes, padding: Pairs,
                         dilation: Sizes, groups: int) -> Any:  # fmt: skip
        """Gradient in the weight of kernel sizes ``kernel``."""
        n, out = g.shape[0], g.shape[2:]
        columns = columns_of(x, kernel, stride, padding, dilation, out)
        rows, places = x.shape[1] // groups * math.prod(kernel), math.prod(out)
        g = g.reshape(n, groups, g.shape[1] // groups, places)
        # Of the two ways to write a product that is summed over many places, BLAS wants this one.
        turned = places >= 1024
        few = places < g.shape[2]
        w = lib.zeros((groups, rows, g.shape[2]) if turned else (groups, g.shape[2], rows), x.dtype)
        for part in chunks(n, groups * rows * places * x.itemsize):
            a, b = columns(part).reshape(-1, groups, rows, places), g[part]
            if few:  # to put the images side by side moves less than their products would be
                a, b = (v.transpose(1, 2, 0, 3).reshape(1, groups, v.shape[2], len(v) * places)
                        for v in (a, b))  # fmt: skip
            w += (lib.matmul(a, b.swapaxes(2, 3)) if turned else
                  lib.matmul(b, a.swapaxes(2, 3))).sum(0)  # fmt: skip
        if turned:
            w = lib.ascontiguousarray(w.swapaxes(1, 2))
        return w.reshape(groups * g.shape[2], x.shape[1] // groups, *kernel)

    def im2col(x: Any, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes) -> Any:
        """Patches as columns ``(n, c * kernel, out)``."""
        out = out_sizes(x.shape[2:], kernel, stride, padding, dilation)
        rows, places = x.shape[1] * math.prod(kernel), math.prod(out)
        found = lib.empty((x.shape[0], rows, places), dtype=x.dtype)
        columns = columns_of(x, kernel, stride, padding, dilation, out)
        for part in chunks(x.shape[0], rows * places * x.itemsize):
            found[part] = columns(part).reshape(-1, rows, places)
        return found

    def col2im(columns: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs,
               dilation: Sizes) -> Any:  # fmt: skip
        """Columns added up where ``im2col`` took them from."""
        out = out_sizes(size, kernel, stride, padding, dilation)
        shape = (columns.shape[0], columns.shape[1] // math.prod(kernel), *size)
        return summed(columns.__getitem__, shape, columns.dtype, kernel, stride, padding, dilation,
                      out)  # fmt: skip

    own = {f.__name__: f for f in (convolution, conv_input_grad, conv_weight_grad)}
    if lib is not np:
        from gpugrad.backends.nvidia import cudnn_conv
        from gpugrad.backends.nvidia.patches import over as with_kernels

        own = cudnn_conv.over(lib, own) | with_kernels(lib, {"im2col": im2col, "col2im": col2im})
    return {"im2col": im2col, "col2im": col2im, **own}
