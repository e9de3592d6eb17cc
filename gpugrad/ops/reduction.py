"""Reductions: sums, products, extremes and what is true of all or any.

Everywhere ``dim`` is the dimension or dimensions to reduce (all of them by default) and ``keepdim``
says whether they stay with size 1.
"""

from __future__ import annotations

import math
from typing import Any

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.errors import DimError, DTypeError, ShapeError
from gpugrad.op import Array, Dim, Dims, op
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec

# ---- shapes ------------------------------------------------------------------------------------


def axes(ndim: int, dim: Any) -> tuple[int, ...]:
    """The dimensions that ``dim`` (an int, a tuple or None for all) stands for."""
    return tuple(range(ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)


def kept(shape: tuple[int, ...], dim: Any) -> tuple[int, ...]:
    """The shape after reducing ``dim`` with ``keepdim=True``."""
    gone = axes(len(shape), dim)
    return tuple(1 if i in gone else s for i, s in enumerate(shape))


def reduced(shape: tuple[int, ...], dim: Any, keepdim: bool) -> tuple[int, ...]:
    """The shape after reducing ``dim``."""
    if keepdim:
        return kept(shape, dim)
    gone = axes(len(shape), dim)
    return tuple(s for i, s in enumerate(shape) if i not in gone)


def extent(shape: tuple[int, ...], dim: Any) -> int:
    """How many elements are reduced to one."""
    return math.prod(shape[i] for i in axes(len(shape), dim))


def spread(xp: Any, g: Any, shape: tuple[int, ...], dim: Any) -> Any:
    """Put the dimensions back that were reduced and repeat ``g`` along them: a sum's gradient."""
    return xp.broadcast_to(xp.reshape(g, kept(shape, dim)), shape)


def not_empty(name: str, shape: tuple[int, ...], dim: Any) -> None:
    """Raise where there is nothing to choose from."""
    if extent(shape, dim) == 0:
        if dim is None:
            raise ShapeError(f"{name}: shape {tuple(shape)} has no elements; one is needed")
        raise DimError(
            f"{name}: dim {dim} of shape {tuple(shape)} has size 0; at least one element is needed"
        )


SAMPLES = [
    Sample(A((3, 4))), Sample(A((3, 4)), 1), Sample(A((2, 3, 4)), (0, 2)), Sample(A(())),
    Sample(A((2, 3, 4)), (-1, 0), keepdim=True), Sample(A((3, 4)), 0, True), Sample(A(()), 0),
]  # fmt: skip
#: What only reductions with a neutral element take.
EMPTY = [Sample(A((0, 3))), Sample(A((0, 3)), 0), Sample(A((0, 3)), 1)]


# ---- sums --------------------------------------------------------------------------------------


def _summed(input: Spec, *, dim: Any, keepdim: bool, dtype: Any) -> Spec:
    own = input.dtype if input.dtype.is_floating_point else dtypes.int64
    return Spec(reduced(input.shape, dim, keepdim), dtype or own)


@op(result=_summed, samples=[*SAMPLES, *EMPTY, Sample(A((3, 4)), dtype=dtypes.float64)])
def sum_(xp, input: Array, *, dim: Dims = None, keepdim: bool = False,
         dtype: DType | None = None) -> Array:  # fmt: skip
    """Sum of elements; integers and bools are summed as int64 unless ``dtype`` says otherwise."""
    return xp.sum(input, dim, keepdim, dtype)


@sum_.vjp
def _(xp, g, input_shape, dim):
    return spread(xp, g, input_shape, dim)


@op(samples=[*SAMPLES, *EMPTY])
def nansum(xp, input: Array, *, dim: Dims = None, keepdim: bool = False,
           dtype: DType | None = None) -> Array:  # fmt: skip
    """Sum of the elements that are not NaN."""
    return xp.sum(xp.where(xp.isnan(input), 0, input), dim, keepdim, dtype=dtype)


def _float_dtype(name: str, own: Any, dtype: Any) -> Any:
    found = dtype or own
    if not found.is_floating_point:
        raise DTypeError(
            f"{name}: takes floating dtypes, got {found.name}; pass dtype=float32 to convert first"
        )
    return found


def _averaged(input: Spec, *, dim: Any, keepdim: bool, dtype: Any) -> Spec:
    return Spec(reduced(input.shape, dim, keepdim), _float_dtype("mean", input.dtype, dtype))


@op(result=_averaged, samples=[*SAMPLES, *EMPTY, Sample(A((3, 4), kind="int"), dtype="float32")])
def mean(xp, input: Array, *, dim: Dims = None, keepdim: bool = False,
         dtype: DType | None = None) -> Array:  # fmt: skip
    """Arithmetic mean; NaN of no elements.  Integers need a floating ``dtype``."""
    _float_dtype("mean", dtypes.from_numpy(input.dtype), dtype)
    return xp.sum(input, dim, keepdim, dtype) / extent(input.shape, dim)


@mean.vjp
def _(xp, g, input_shape, dim):
    return spread(xp, g / extent(input_shape, dim), input_shape, dim)


@op(accepts="f", samples=[*SAMPLES, *EMPTY])
def nanmean(xp, input: Array, *, dim: Dims = None, keepdim: bool = False,
            dtype: DType | None = None) -> Array:  # fmt: skip
    """Mean of the elements that are not NaN; NaN where all are."""
    missing = xp.isnan(input)
    total = xp.sum(xp.where(missing, 0, input), dim, keepdim, dtype=dtype)
    return total / xp.sum(xp.logical_not(missing), dim, keepdim, dtype=total.dtype)


# ---- products ----------------------------------------------------------------------------------


def others(xp: Any, x: Any) -> Any:
    """Per element the product of all others along the last dimension.

    A tree of pairs, so that zeros need no special case and every derivative follows by itself:
    the product without ``a`` is the product without its pair ``a * b``, times ``b``.
    """
    n = x.shape[-1]
    if n < 2:
        return xp.ones_like(x)
    if n % 2:
        last = x[..., n - 1 :]
        rest = others(xp, x[..., : n - 1])
        whole = rest[..., :1] * x[..., :1]
        return xp.concat((rest * last, whole), axis=-1)
    a, b = x[..., 0::2], x[..., 1::2]
    above = others(xp, a * b)
    return xp.reshape(xp.stack((above * b, above * a), axis=-1), x.shape)


SINGLE = [
    Sample(A((3, 4))), Sample(A((3, 4)), 1), Sample(A((2, 3, 4)), 0, True), Sample(A(())),
    Sample(A(()), -1), Sample(A((2, 3, 5)), -2), Sample(A((2, 1, 3)), dim=1),
]  # fmt: skip


def _multiplied(input: Spec, *, dim: Any, keepdim: bool, dtype: Any) -> Spec:
    return _summed(input, dim=dim, keepdim=keepdim, dtype=dtype)


@op(result=_multiplied, samples=[*SINGLE, *EMPTY, Sample(A((3, 4)), dtype=dtypes.float64)])
def prod(xp, input: Array, *, dim: Dim | None = None, keepdim: bool = False,
         dtype: DType | None = None) -> Array:  # fmt: skip
    """Product of elements, 1 of none; integers and bools become int64."""
    return xp.prod(input, dim, keepdim, dtype)


@prod.vjp
def _(xp, g, input, dim):
    if dim is None:
        return xp.reshape(others(xp, xp.reshape(input, (-1,))), input.shape) * g
    rest = xp.swapaxes(others(xp, xp.swapaxes(input, dim, -1)), dim, -1)
    return rest * xp.reshape(g, kept(input.shape, dim))


# ---- truth -------------------------------------------------------------------------------------


def _judged(input: Spec, *, dim: Any, keepdim: bool) -> Spec:
    own = dtypes.uint8 if input.dtype is dtypes.uint8 else dtypes.bool_
    return Spec(reduced(input.shape, dim, keepdim), own)


@op(result=_judged, differentiable=False, samples=[*SAMPLES, *EMPTY, Sample(A((9,), kind="bool"))])
def all_(xp, input: Array, *, dim: Dims = None, keepdim: bool = False) -> Array:
    """Whether all elements are true (not zero); uint8 for uint8, else bool."""
    found = xp.all(input, axis=dim, keepdims=keepdim)
    return xp.astype(found, dtypes.uint8) if input.dtype == dtypes.uint8.np else found


@op(result=_judged, differentiable=False, samples=[*SAMPLES, *EMPTY, Sample(A((9,), kind="bool"))])
def any_(xp, input: Array, *, dim: Dims = None, keepdim: bool = False) -> Array:
    """Whether any element is true (not zero); uint8 for uint8, else bool."""
    found = xp.any(input, axis=dim, keepdims=keepdim)
    return xp.astype(found, dtypes.uint8) if input.dtype == dtypes.uint8.np else found


@op(differentiable=False, samples=[
    Sample(A((3, 4))), Sample(A((2, 3, 4)), (0, -1)), Sample(A(()), 0), *EMPTY,
], result=lambda input, *, dim: Spec(reduced(input.shape, dim, False), dtypes.int64))  # fmt: skip
def count_nonzero(xp, input: Array, *, dim: Dims = None) -> Array:
    """How many elements are not zero, as int64."""
    return xp.asarray(xp.count_nonzero(input, axis=dim), dtype="int64")
