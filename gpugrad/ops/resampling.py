"""Changing the spatial size: adaptive pooling, interpolation, and undoing max pooling.

Interpolation and uneven averages are separable, so one record for a single dimension does them all.
"""

from __future__ import annotations

import math
from typing import Any

from gpugrad import dtypes
from gpugrad.backends.additions.convolution import Sizes
from gpugrad.errors import DTypeError, NotSupportedError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, Dim, Index, function, op
from gpugrad.ops.convolution import batched, spread
from gpugrad.ops.pooling import max_pool, take_places
from gpugrad.samples import A, Sample
from gpugrad.signature import check_choice
from gpugrad.spec import Spec

_INNER: dict[str, Any] = {"home": "_ops", "method": False, "torch": ""}
_NN: dict[str, Any] = {"home": "nn.functional", "method": False}


# ---- one dimension -----------------------------------------------------------------------------


def _resized(input: Spec, *, dim: int, size: int, **settings: Any) -> Spec:
    return Spec((*input.shape[:dim], size, *input.shape[dim + 1 :]), input.dtype)


@op(result=_resized, accepts="if", samples=[
    Sample(A((2, 5, 3)), 1, 3, "adaptive"), Sample(A((2, 5)), 1, 8, "nearest"),
    Sample(A((2, 5)), 1, 8, "linear"), Sample(A((2, 5)), 1, 8, "cubic-corners"),
    Sample(A((2, 5)), 1, 3, "linear", 1.5)], **_INNER)  # fmt: skip
def resample(xp, input: Array, *, dim: Dim, size: int, mode: str,
             scale: float | None = None) -> Array:  # fmt: skip
    """``size`` weighted sums of neighbours along ``dim``; the modes are those of ``taps``."""
    return xp.resample(input, dim, size, mode, scale)


@resample.vjp
def _(xp, g, input_shape, dim, mode, scale):
    return xp.resample_grad(g, dim, input_shape[dim], mode, scale)


@op(result=_resized, accepts="f", samples=[
    Sample(A((2, 3, 3)), 1, 5, "adaptive"), Sample(A((2, 8)), 1, 5, "linear")],
    **_INNER)  # fmt: skip
def resample_grad(xp, input: Array, *, dim: Dim, size: int, mode: str,
                  scale: float | None = None) -> Array:  # fmt: skip
    """Gradient of ``resample``: every sum spread over the ``size`` elements it was made of."""
    return xp.resample_grad(input, dim, size, mode, scale)


@resample_grad.vjp
def _(xp, g, input_shape, dim, mode, scale):
    return xp.resample(g, dim, input_shape[dim], mode, scale)


# ---- adaptive pooling --------------------------------------------------------------------------


def _sizes(name: str, x: Any, value: Any, n: int) -> tuple[int, ...]:
    """The wanted sizes; ``None`` keeps one."""
    given = (value,) * n if isinstance(value, int) or value is None else tuple(value)
    if len(given) != n:
        raise SettingError(f"{name}: output_size must be an int or {n} of them, got {value!r}")
    if x.ndim not in (n + 1, n + 2):
        batched(name, x, n, lambda x: x)
    if not x.dtype.is_floating_point:
        raise NotSupportedError(f"{name}: takes floating dtypes, got {x.dtype.name}; use .float()")
    own = x.shape[-n:]
    if 0 in own:
        raise ShapeError(f"{name}: input {tuple(x.shape)} must not be empty in its last {n} sizes")
    sizes = tuple(o if s is None else s for s, o in zip(given, own))
    return spread(name, "output_size", sizes, n, 0)


def _adaptive_avg(n: int, x: Any, output_size: Any) -> Any:
    sizes = _sizes(f"adaptive_avg_pool{n}d", x, output_size, n)
    if all(s == 1 for s in sizes):
        return F.mean(x, tuple(range(-n, 0)), True)
    for d, size in enumerate(sizes, x.ndim - n):
        x = resample(x, d, size, "adaptive")
    return x


@function(method=False, aliases=("nn.functional.adaptive_avg_pool1d",), samples=[
    Sample(A((2, 3, 7)), 3), Sample(A((3, 6)), 2)])  # fmt: skip
def adaptive_avg_pool1d(input: Any, output_size: Any) -> Any:
    """Means of ``output_size`` equal parts of ``(batch, c, length)``."""
    return _adaptive_avg(1, input, output_size)


@function(samples=[
    Sample(A((2, 3, 5, 7)), (2, 3)), Sample(A((2, 3, 4, 6)), 1), Sample(A((3, 4, 6)), (None, 3)),
    Sample(A((2, 3, 2, 3)), (4, 5))], **_NN)  # fmt: skip
def adaptive_avg_pool2d(input: Any, output_size: Any) -> Any:
    """Means of ``output_size`` equal parts of ``(batch, c, height, width)``; None keeps a size."""
    return _adaptive_avg(2, input, output_size)


@function(samples=[Sample(A((2, 2, 3, 4, 5)), (2, 2, 3))], **_NN)
def adaptive_avg_pool3d(input: Any, output_size: Any) -> Any:
    """Means of ``output_size`` equal parts of ``(batch, c, depth, height, width)``."""
    return _adaptive_avg(3, input, output_size)


@op(differentiable=False, accepts="if",
    samples=[Sample(A((2, 3, 5, 7), values="distinct"), (2, 3))],
    result=lambda input, *, size: Spec((*input.shape[:2], *size), dtypes.int64),
    **_INNER)  # fmt: skip
def adaptive_places(xp, input: Array, *, size: Sizes) -> Index:
    """Place of the largest element of each of ``size`` parts in the flat spatial dimensions."""
    return xp.adaptive_places(input, size)


def _adaptive_max(n: int, x: Any, output_size: Any, return_indices: bool) -> Any:
    sizes = _sizes(f"adaptive_max_pool{n}d", x, output_size, n)
    y = x if x.ndim == n + 2 else F.reshape(x, (1, *x.shape))
    if all(s and m % s == 0 for m, s in zip(y.shape[2:], sizes)):
        step = tuple(m // s for m, s in zip(y.shape[2:], sizes))
        values, indices = max_pool(y, step, step, ((0, 0),) * n, (1,) * n)
    else:
        indices = adaptive_places(y, sizes)
        values = take_places(y, indices)
    if x.ndim == n + 1:
        values, indices = F.squeeze(values, 0), F.squeeze(indices, 0)
    return (values, indices) if return_indices else values


@function(samples=[Sample(A((2, 3, 7), values="distinct"), 3, True)], **_NN)
def adaptive_max_pool1d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """Largest values of ``output_size`` equal parts of ``(batch, c, length)``."""
    return _adaptive_max(1, input, output_size, return_indices)


@function(samples=[
    Sample(A((2, 3, 5, 7), values="distinct"), (2, 3), True),
    Sample(A((3, 4, 6), values="distinct"), (None, 3))], **_NN)  # fmt: skip
def adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """Largest values of ``output_size`` equal parts of ``(batch, c, height, width)``."""
    return _adaptive_max(2, input, output_size, return_indices)


@function(samples=[Sample(A((2, 2, 3, 4, 5), values="distinct"), 2)], **_NN)
def adaptive_max_pool3d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """Largest values of ``output_size`` equal parts of ``(batch, c, depth, height, width)``."""
    return _adaptive_max(3, input, output_size, return_indices)


# ---- undoing max pooling -----------------------------------------------------------------------


def _unpool(n: int, x: Any, indices: Any, kernel: Any, stride: Any, padding: Any,
            output_size: Any) -> Any:  # fmt: skip
    name = f"max_unpool{n}d"
    if not x.dtype.is_floating_point:
        raise DTypeError(f"{name}: takes floating dtypes, got {x.dtype.name}")
    if indices.dtype is not dtypes.int64:
        raise DTypeError(f"{name}: indices must be int64, got {indices.dtype.name}")
    if tuple(x.shape) != tuple(indices.shape):
        raise ShapeError(
            f"{name}: input {tuple(x.shape)} and indices {tuple(indices.shape)} must have one shape"
        )
    kernel = spread(name, "kernel_size", kernel, n)
    stride = kernel if stride is None else spread(name, "stride", stride, n)
    pads = spread(name, "padding", padding, n, 0)
    if output_size is None:
        steps = zip(x.shape[-n:], kernel, stride, pads)
        size = tuple((m - 1) * s - 2 * p + k for m, k, s, p in steps)
    else:
        size = spread(name, "output_size", tuple(output_size)[-n:], n, 0)
    lead = tuple(x.shape[:-n])
    flat = F.zeros((*lead, math.prod(size)), dtype=x.dtype, device=x.device)
    out = flat.scatter(-1, F.reshape(indices, (*lead, -1)), F.reshape(x, (*lead, -1)))
    return F.reshape(out, (*lead, *size))


@function(samples=[Sample(A((1, 1, 4)), A((1, 1, 4), 0, 8, "int64", "distinct"), 2)], **_NN)
def max_unpool1d(input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
                 output_size: Any = None) -> Any:  # fmt: skip
    """Zeros with the input at the places that ``max_pool1d`` returned."""
    return _unpool(1, input, indices, kernel_size, stride, padding, output_size)


@function(samples=[Sample(A((1, 1, 2, 2)), A((1, 1, 2, 2), 0, 16, "int64", "distinct"), 2)], **_NN)
def max_unpool2d(input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
                 output_size: Any = None) -> Any:  # fmt: skip
    """Zeros with the input at the places that ``max_pool2d`` returned."""
    return _unpool(2, input, indices, kernel_size, stride, padding, output_size)


@function(samples=[
    Sample(A((1, 1, 2, 1, 1)), A((1, 1, 2, 1, 1), 0, 8, "int64", "distinct"), (1, 2, 2))],
    **_NN)  # fmt: skip
def max_unpool3d(input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
                 output_size: Any = None) -> Any:  # fmt: skip
    """Zeros with the input at the places that ``max_pool3d`` returned."""
    return _unpool(3, input, indices, kernel_size, stride, padding, output_size)


# ---- interpolation -----------------------------------------------------------------------------

_MODES = {"nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "linear": (1,), "bilinear": (2,),
          "trilinear": (3,), "bicubic": (2,), "area": (1, 2, 3)}  # fmt: skip


def _target(x: Any, n: int, size: Any, factor: Any, recompute: Any) -> tuple[Any, Any]:
    """Wanted sizes, and elements per result where a factor decides it."""
    if (size is None) == (factor is None):
        raise SettingError("interpolate: give either size or scale_factor")
    if size is not None:
        if recompute:
            raise SettingError("interpolate: recompute_scale_factor needs scale_factor, not size")
        return spread("interpolate", "size", size, n), (None,) * n
    factors = (factor,) * n if isinstance(factor, int | float) else tuple(factor)
    if len(factors) != n:
        raise SettingError(f"interpolate: scale_factor must be a number or {n}, got {factor!r}")
    sizes = tuple(math.floor(m * float(f)) for m, f in zip(x.shape[2:], factors))
    if min(sizes) < 1:
        raise SettingError(
            f"interpolate: scale_factor {factor} of sizes {tuple(x.shape[2:])} gives {sizes}; "
            "they must be >= 1"
        )
    return sizes, (None,) * n if recompute else tuple(1.0 / f for f in factors)


_PLANE = A((2, 3, 4, 5))


@function(samples=[
    Sample(_PLANE, (7, 3)), Sample(_PLANE, None, 2.0),
    Sample(_PLANE, (7, 3), None, "nearest-exact"),
    Sample(_PLANE, (7, 3), None, "bilinear", False), Sample(_PLANE, (7, 3), None, "bilinear", True),
    Sample(_PLANE, None, (1.7, 0.6), "bilinear"), Sample(_PLANE, (7, 9), None, "bicubic"),
    Sample(_PLANE, None, 1.7, "bilinear", recompute_scale_factor=True),
    Sample(_PLANE, (7, 3), None, "bicubic", True), Sample(_PLANE, (2, 3), None, "area"),
    Sample(A((2, 3, 5)), 8, None, "linear"),
    Sample(A((1, 2, 2, 3, 4)), (4, 2, 5), None, "trilinear")],
    **_NN)  # fmt: skip
def interpolate(input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
                align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
                antialias: bool = False) -> Any:  # fmt: skip
    """Resize ``(batch, c, *sizes)`` to ``size``, or by ``scale_factor``.

    Args:
        mode: ``nearest``, ``nearest-exact``, ``linear`` (one spatial dimension), ``bilinear`` or
            ``bicubic`` (two), ``trilinear`` (three), ``area`` (means of equal parts).
        align_corners: for linear and cubic modes: the outermost elements keep their place.
        recompute_scale_factor: reckon places from the sizes instead of from ``scale_factor``.
    """
    check_choice("interpolate", "mode", mode, tuple(_MODES))
    n = input.ndim - 2
    if n not in _MODES[mode]:
        raise NotSupportedError(
            f"interpolate: mode {mode!r} takes {' or '.join(str(m + 2) for m in _MODES[mode])} "
            f"dimensions, got shape {tuple(input.shape)}"
        )
    if align_corners is not None and mode in ("nearest", "nearest-exact", "area"):
        raise SettingError(
            f"interpolate: align_corners is for linear and cubic modes, not {mode!r}"
        )
    if antialias:
        raise NotSupportedError("interpolate: antialias=True is not supported")
    sizes, scales = _target(input, n, size, scale_factor, recompute_scale_factor)
    if mode == "area":
        return _adaptive_avg(n, input, sizes)
    images = mode.startswith("nearest") and input.dtype is dtypes.uint8
    if not input.dtype.is_floating_point and not images:
        raise NotSupportedError(
            f"interpolate: mode {mode!r} takes floating dtypes (nearest also uint8), got "
            f"{input.dtype.name}"
        )
    kind = mode if mode.startswith("nearest") else "cubic" if mode == "bicubic" else "linear"
    kind = f"{kind}-corners" if align_corners else kind
    for d, (wanted, scale) in enumerate(zip(sizes, scales), 2):
        input = resample(input, d, wanted, kind, scale)
    return input
