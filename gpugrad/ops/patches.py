"""Patches of images as columns, and columns added up to images again."""

from __future__ import annotations

import math
from typing import Any

from gpugrad.backends.additions.convolution import Pairs, Sizes, out_sizes
from gpugrad.errors import ShapeError
from gpugrad.op import Array, function, op
from gpugrad.ops.convolution import batched, pairs, spread
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec

_INNER: dict[str, Any] = {"home": "_ops", "method": False, "torch": "", "accepts": "bf",
                          "half": "kernel"}  # fmt: skip
_SETTINGS: dict[str, Any] = {"stride": (2, 1), "padding": ((1, 1), (0, 0)), "dilation": (1, 2)}


def _columns(input: Spec, *, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Spec:
    out = out_sizes(input.shape[2:], kernel, stride, padding, dilation)
    if any(s < 1 for s in out):
        raise ShapeError(
            f"unfold: no patch of kernel {kernel} with dilation {dilation} fits into the input "
            f"{input.shape[2:]} with padding {padding}"
        )
    n, c = input.shape[:2]
    return Spec((n, c * math.prod(kernel), math.prod(out)), input.dtype)


@op(result=_columns, samples=[Sample(A((2, 3, 5, 6)), (2, 3), **_SETTINGS)], **_INNER)
def im2col(xp, input: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs,
           dilation: Sizes) -> Array:  # fmt: skip
    """Patches of ``(n, c, *size)`` as columns ``(n, c * kernel, places)``, ``padding`` in pairs."""
    _columns(input, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    return xp.im2col(input, kernel, stride, padding, dilation)


@im2col.vjp
def _(xp, g, input_shape, kernel, stride, padding, dilation):
    return xp.col2im(g, input_shape[2:], kernel, stride, padding, dilation)


def _image(input: Spec, *, size: Any, kernel: Any, stride: Any, padding: Any,
           dilation: Any) -> Spec:  # fmt: skip
    places = out_sizes(size, kernel, stride, padding, dilation)
    n, rows, columns = input.shape
    if rows % math.prod(kernel) or columns != math.prod(places):
        raise ShapeError(
            f"fold: input {input.shape} does not fit output {size}: kernel {kernel} needs a "
            f"multiple of {math.prod(kernel)} rows and {' * '.join(map(str, places))} columns"
        )
    return Spec((n, rows // math.prod(kernel), *size), input.dtype)


@op(result=_image, samples=[Sample(A((2, 18, 6)), (5, 6), (2, 3), **_SETTINGS)], **_INNER)
def col2im(xp, input: Array, *, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs,
           dilation: Sizes) -> Array:  # fmt: skip
    """Columns added up where ``im2col`` would take them from."""
    _image(input, size=size, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    return xp.col2im(input, size, kernel, stride, padding, dilation)


@col2im.vjp
def _(xp, g, kernel, stride, padding, dilation):
    return xp.im2col(g, kernel, stride, padding, dilation)


@function(home="nn.functional", method=False, samples=[
    Sample(A((2, 3, 5, 6)), (2, 3)), Sample(A((2, 3, 5, 6)), 2, 2, 1, 2),
    Sample(A((3, 5, 6)), 3)])  # fmt: skip
def unfold(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
           stride: Any = 1) -> Any:  # fmt: skip
    """Patches of ``(batch, c, h, w)`` as columns ``(batch, c * kh * kw, places)``."""
    kernel = spread("unfold", "kernel_size", kernel_size, 2)
    pads = pairs(spread("unfold", "padding", padding, 2, 0))
    strides = spread("unfold", "stride", stride, 2)
    dilations = spread("unfold", "dilation", dilation, 2)
    return batched("unfold", input, 2, lambda x: im2col(x, kernel, strides, pads, dilations))


@function(home="nn.functional", method=False, samples=[
    Sample(A((2, 18, 16)), (5, 6), (2, 3)), Sample(A((2, 12, 9)), (5, 6), 2, 2, 1, 2),
    Sample(A((18, 16)), (5, 6), (2, 3))])  # fmt: skip
def fold(input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
         stride: Any = 1) -> Any:  # fmt: skip
    """Columns ``(batch, c * kh * kw, places)`` added up to ``(batch, c, *output_size)``."""
    size = spread("fold", "output_size", output_size, 2)
    kernel = spread("fold", "kernel_size", kernel_size, 2)
    pads = pairs(spread("fold", "padding", padding, 2, 0))
    strides = spread("fold", "stride", stride, 2)
    dilations = spread("fold", "dilation", dilation, 2)
    return batched("fold", input, 1, lambda x: col2im(x, size, kernel, strides, pads, dilations))
