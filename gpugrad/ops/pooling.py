"""Pooling: largest and mean values of windows over one to three spatial dimensions."""

from __future__ import annotations

import math
from typing import Any

from gpugrad import dtypes
from gpugrad.backends.additions.convolution import Pairs, Sizes, out_sizes
from gpugrad.errors import NotSupportedError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, Index, function, op
from gpugrad.ops.convolution import batched, spread
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec

_INNER: dict[str, Any] = {"home": "_ops", "method": False, "torch": ""}
_KERNEL: dict[str, Any] = {**_INNER, "half": "kernel"}
_NN: dict[str, Any] = {"home": "nn.functional", "method": False}
_TWO: dict[str, Any] = {"kernel": (2, 3), "stride": (2, 1), "padding": ((1, 1), (0, 1))}


# ---- largest values ----------------------------------------------------------------------------


def _pooled(input: Spec, *, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    out = out_sizes(input.shape[2:], kernel, stride, padding, dilation)
    shape = (*input.shape[:2], *out)
    return Spec(shape, input.dtype), Spec(shape, dtypes.int64)


@op(result=_pooled, outputs=("values", "indices"), accepts="if", samples=[
    Sample(A((2, 2, 5, 6), values="distinct"), **_TWO, dilation=(1, 2))], **_KERNEL)  # fmt: skip
def max_pool(xp, input: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs,
             dilation: Sizes) -> tuple[Array, Index]:  # fmt: skip
    """Largest element of each window of ``(n, c, *size)``, and its place in the flat ``size``."""
    return xp.max_pool(input, kernel, stride, padding, dilation)


@max_pool.vjp
def _(xp, g, indices, input_shape, kernel, stride, padding, dilation):
    return xp.max_pool_grad(g, indices, input_shape[2:], kernel, stride, padding, dilation)


@op(result=lambda input, index, *, size, **_: Spec((*input.shape[:2], *size), input.dtype),
    accepts="f", samples=[  # both windows hold elements 1 to 3
        Sample(A((2, 2, 2)), A((2, 2, 2), 1, 4, kind="int"), (5,), (4,), (1,), ((0, 0),), (1,))],
    **_KERNEL)  # fmt: skip
def max_pool_grad(xp, input: Array, index: Index, *, size: Sizes, kernel: Sizes, stride: Sizes,
                  padding: Pairs, dilation: Sizes) -> Array:  # fmt: skip
    """Gradient of ``max_pool``: ``add_places`` for places that lie in their windows."""
    return xp.max_pool_grad(input, index, size, kernel, stride, padding, dilation)


@max_pool_grad.vjp("input")
def _(xp, g, index):
    return xp.take_places(g, index)


@op(result=lambda input, index, *, size: Spec((*input.shape[:2], *size), input.dtype), accepts="f",
    samples=[Sample(A((2, 2, 3)), A((2, 2, 3), 0, 4, kind="int"), (5,))], **_INNER)  # fmt: skip
def add_places(xp, input: Array, index: Index, *, size: Sizes) -> Array:
    """Zeros ``(n, c, *size)`` with the input added at places of the flat ``size``."""
    return xp.add_places(input, index, size)


@add_places.vjp("input")
def _(xp, g, index):
    return xp.take_places(g, index)


@op(result=lambda input, index: Spec(index.shape, input.dtype),
    samples=[Sample(A((2, 2, 5)), A((2, 2, 3), 0, 4, kind="int"))], **_INNER)  # fmt: skip
def take_places(xp, input: Array, index: Index) -> Array:
    """Elements of ``(n, c, *size)`` at places of the flat ``size``."""
    return xp.take_places(input, index)


@take_places.vjp("input")
def _(xp, g, index, input_shape):
    return xp.add_places(g, index, input_shape[2:])


# ---- means -------------------------------------------------------------------------------------


def _averaged(input: Spec, *, kernel: Any, stride: Any, padding: Any, **settings: Any) -> Spec:
    out = out_sizes(input.shape[2:], kernel, stride, padding, (1,) * len(kernel))
    return Spec((*input.shape[:2], *out), input.dtype)


@op(result=_averaged, accepts="f", samples=[
    Sample(A((2, 2, 5, 6)), **_TWO), Sample(A((2, 2, 5, 6)), **_TWO, include=False),
    Sample(A((2, 2, 5, 6)), **_TWO, divisor=3)], **_KERNEL)  # fmt: skip
def avg_pool(xp, input: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs,
             include: bool = True, divisor: int | None = None) -> Array:  # fmt: skip
    """Mean of each window of ``(n, c, *size)``; padding counts with ``include``."""
    return xp.avg_pool(input, kernel, stride, padding, include, divisor)


@avg_pool.vjp
def _(xp, g, input_shape, kernel, stride, padding, include, divisor):
    return xp.avg_pool_grad(g, input_shape[2:], kernel, stride, padding, include, divisor)


def _spread(input: Spec, *, size: Any, **settings: Any) -> Spec:
    return Spec((*input.shape[:2], *size), input.dtype)


@op(result=_spread, accepts="f", samples=[Sample(A((2, 2, 3, 5)), (5, 6), **_TWO)], **_KERNEL)
def avg_pool_grad(xp, input: Array, *, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs,
                  include: bool = True, divisor: int | None = None) -> Array:  # fmt: skip
    """Gradient of ``avg_pool``: every mean spread over its window."""
    return xp.avg_pool_grad(input, size, kernel, stride, padding, include, divisor)


@avg_pool_grad.vjp
def _(xp, g, kernel, stride, padding, include, divisor):
    return xp.avg_pool(g, kernel, stride, padding, include, divisor)


# ---- windows as PyTorch describes them ---------------------------------------------------------


def _windows(name: str, n: int, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any,
             ceil_mode: bool) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    """Kernel, stride, padding in pairs and dilation; ``ceil_mode`` adds padding at the end."""
    kernel = spread(name, "kernel_size", kernel, n)
    stride = kernel if stride is None or stride == () else spread(name, "stride", stride, n)
    pads, dilation = spread(name, "padding", padding, n, 0), spread(name, "dilation", dilation, n)
    if any(2 * p > k for p, k in zip(pads, kernel)):
        raise SettingError(
            f"{name}: padding {pads} must be at most half of the kernel_size {kernel}"
        )
    found = []
    for m, k, s, p, d in zip(x.shape[-n:], kernel, stride, pads, dilation):
        room, reach = m + 2 * p - d * (k - 1) - 1, d * (k - 1) + 1
        out = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (out - 1) * s >= m + p:  # the last window must begin inside
            out -= 1
        if out < 1:
            raise ShapeError(
                f"{name}: the kernel {kernel} with dilation {dilation} is larger than the input "
                f"{tuple(x.shape[-n:])} with padding {pads}"
            )
        found.append((p, max((out - 1) * s + reach - m - p, 0)))
    return kernel, stride, tuple(found), dilation


def _max(n: int, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
         return_indices: bool) -> Any:  # fmt: skip
    name = f"max_pool{n}d"
    if x.ndim not in (n + 1, n + 2):
        return batched(name, x, n, lambda x: x)
    settings = _windows(name, n, x, kernel, stride, padding, dilation, ceil_mode)
    values, indices = max_pool(x if x.ndim == n + 2 else F.reshape(x, (1, *x.shape)), *settings)
    if x.ndim == n + 1:
        values, indices = F.squeeze(values, 0), F.squeeze(indices, 0)
    return (values, indices) if return_indices else values


_DISTINCT = [A(s, values="distinct") for s in ((2, 3, 7), (2, 3, 5, 6), (2, 2, 4, 3, 4))]


@function(samples=[
    Sample(_DISTINCT[0], 2), Sample(_DISTINCT[0], 3, 2, 1, 1, True, True)], **_NN)  # fmt: skip
def max_pool1d(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
               dilation: Any = 1, ceil_mode: bool = False,
               return_indices: bool = False) -> Any:  # fmt: skip
    """Largest values of windows of ``(batch, c, length)``; see ``max_pool2d``."""
    return _max(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@function(samples=[
    Sample(_DISTINCT[1], 2), Sample(_DISTINCT[1], (3, 2), 1, 1, 1, False, True),
    Sample(_DISTINCT[1], 3, 2, 1, 1, True), Sample(A((3, 5, 6), values="distinct"), 2, dilation=2)],
    **_NN)  # fmt: skip
def max_pool2d(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
               dilation: Any = 1, ceil_mode: bool = False,
               return_indices: bool = False) -> Any:  # fmt: skip
    """Largest values of windows of ``(batch, c, height, width)``.

    Args:
        stride: the kernel's size by default.
        ceil_mode: take the last, incomplete windows, too.
        return_indices: also return the place of each in the flattened ``height * width``.
    """
    return _max(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@function(samples=[Sample(_DISTINCT[2], 2), Sample(_DISTINCT[2], 2, 1, 1)], **_NN)
def max_pool3d(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
               dilation: Any = 1, ceil_mode: bool = False,
               return_indices: bool = False) -> Any:  # fmt: skip
    """Largest values of windows of ``(batch, c, depth, height, width)``; see ``max_pool2d``."""
    return _max(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _avg(n: int, x: Any, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, include: bool,
         divisor: int | None = None) -> Any:  # fmt: skip
    name = f"avg_pool{n}d"
    if not x.dtype.is_floating_point:
        raise NotSupportedError(f"{name}: takes floating dtypes, got {x.dtype.name}; use .float()")
    if divisor == 0:
        raise SettingError(f"{name}: divisor_override must not be zero")

    def run(x: Any) -> Any:
        kernel_, stride_, pads, _ = _windows(name, n, x, kernel, stride, padding, 1, ceil_mode)
        return avg_pool(x, kernel_, stride_, pads, include, divisor)

    return batched(name, x, n, run)


@function(method=False, aliases=("nn.functional.avg_pool1d",), samples=[
    Sample(A((2, 3, 7)), 2), Sample(A((2, 3, 7)), 3, 2, 1, True, False),
    Sample(A((3, 7)), 3, 1)])  # fmt: skip
def avg_pool1d(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
               ceil_mode: bool = False, count_include_pad: bool = True) -> Any:  # fmt: skip
    """Means of windows of ``(batch, c, length)``; see ``avg_pool2d``."""
    return _avg(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


@function(samples=[
    Sample(A((2, 3, 5, 6)), 2), Sample(A((2, 3, 5, 6)), (3, 2), (2, 1), (1, 1)),
    Sample(A((2, 3, 5, 6)), 3, 2, 1, True), Sample(A((2, 3, 5, 6)), 3, 2, 1, True, False),
    Sample(A((2, 3, 5, 6)), 2, divisor_override=3)], **_NN)  # fmt: skip
def avg_pool2d(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
               ceil_mode: bool = False, count_include_pad: bool = True,
               divisor_override: int | None = None) -> Any:  # fmt: skip
    """Means of windows of ``(batch, c, height, width)``.

    Args:
        count_include_pad: whether padding counts as elements.
        divisor_override: what to divide sums by instead of the number of elements.
    """
    return _avg(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad,
                divisor_override)  # fmt: skip


@function(samples=[Sample(A((2, 2, 4, 3, 4)), 2),
    Sample(A((2, 2, 4, 3, 4)), 2, 2, 1, True, False)], **_NN)  # fmt: skip
def avg_pool3d(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
               ceil_mode: bool = False, count_include_pad: bool = True,
               divisor_override: int | None = None) -> Any:  # fmt: skip
    """Means of windows of ``(batch, c, depth, height, width)``; see ``avg_pool2d``."""
    return _avg(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad,
                divisor_override)  # fmt: skip


def _lp(n: int, x: Any, p: float, kernel: Any, stride: Any, ceil_mode: bool) -> Any:
    size = spread(f"lp_pool{n}d", "kernel_size", kernel, n)
    if stride is not None:
        stride = spread(f"lp_pool{n}d", "stride", stride, n)
    means = _avg(n, x**p, size, stride, 0, ceil_mode, True)
    return (F.sign(means) * F.abs(means) * math.prod(size)) ** (1.0 / p)


@function(samples=[Sample(A((2, 3, 7), 0.5, 2), 2, 3), Sample(A((2, 3, 7), 0.5, 2), 3, 2, 1)],
    **_NN)  # fmt: skip
def lp_pool1d(input: Any, norm_type: float, kernel_size: int, stride: Any = None,
              ceil_mode: bool = False) -> Any:  # fmt: skip
    """``norm_type``-norms of windows of ``(batch, c, length)``."""
    return _lp(1, input, norm_type, kernel_size, stride, ceil_mode)


@function(samples=[Sample(A((2, 3, 5, 6), 0.5, 2), 2, 2)], **_NN)
def lp_pool2d(input: Any, norm_type: float, kernel_size: Any, stride: Any = None,
              ceil_mode: bool = False) -> Any:  # fmt: skip
    """``norm_type``-norms of windows of ``(batch, c, height, width)``."""
    return _lp(2, input, norm_type, kernel_size, stride, ceil_mode)


@function(samples=[Sample(A((2, 2, 4, 3, 4), 0.5, 2), 2, 2)], **_NN)
def lp_pool3d(input: Any, norm_type: float, kernel_size: Any, stride: Any = None,
              ceil_mode: bool = False) -> Any:  # fmt: skip
    """``norm_type``-norms of windows of ``(batch, c, depth, height, width)``."""
    return _lp(3, input, norm_type, kernel_size, stride, ceil_mode)
