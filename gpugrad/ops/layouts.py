"""Views that walk memory in steps of their own: diagonals, windows, any strides, other dtypes."""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.errors import DimError, SettingError, ViewError
from gpugrad.op import Array, Int, Ints, op
from gpugrad.ops.views import adjoint
from gpugrad.samples import A, Laid, Sample
from gpugrad.signature import wrap_dim
from gpugrad.spec import Spec


def _two_dims(name: str, ndim: int, dim1: int, dim2: int) -> tuple[int, int]:
    a, b = wrap_dim(name, dim1, ndim), wrap_dim(name, dim2, ndim)
    if a == b or ndim < 2:
        raise DimError(f"{name}: dim1 {dim1} and dim2 {dim2} must be two dimensions of {ndim}")
    return a, b


def _on_diagonal(input: Spec, *, offset: int, dim1: int, dim2: int) -> Spec:
    shape = input.shape
    a, b = _two_dims("diagonal", len(shape), dim1, dim2)
    rows, columns = shape[a] + min(offset, 0), shape[b] - max(offset, 0)
    rest = tuple(s for i, s in enumerate(shape) if i not in (a, b))
    return Spec((*rest, max(min(rows, columns), 0)), input.dtype)


@op(view=True, promotion=None, half="native", result=_on_diagonal,
    samples=[Sample(A((3, 4))), Sample(A((3, 4)), 1), Sample(A((3, 4)), -5),
             Sample(A((2, 3, 3)), -1, 1, 2), Sample(A((2, 3, 4)), 0, -1, 0)])  # fmt: skip
def diagonal(xp, input: Array, *, offset: Int = 0, dim1: Int = 0, dim2: Int = 1) -> Array:
    """View of a diagonal of two dimensions, which come back as the last one."""
    a, b = _two_dims("diagonal", input.ndim, dim1, dim2)
    return xp.diagonal(input, offset, a, b)


@diagonal.vjp
def _(xp, g, input_shape, offset, dim1, dim2):
    return adjoint(xp, g, input_shape, "diagonal", offset=offset, dim1=dim1, dim2=dim2)


def _windows(input: Spec, *, dimension: int, size: int, step: int) -> Spec:
    shape = tuple(input.shape) or (1,)  # a 0-d input has one window of size 0 or 1
    dim = wrap_dim("unfold", dimension, len(shape))
    if step <= 0 or not 0 <= size <= shape[dim]:
        raise SettingError(
            f"unfold: size {size} and step {step} do not fit size {shape[dim]} of dimension {dim}; "
            f"accepted: size 0 to {shape[dim]}, step from 1"
        )
    count = () if not input.shape else ((shape[dim] - size) // step + 1,)
    return Spec((*shape[:dim], *count, *shape[dim + 1 :], size), input.dtype)


@op(view=True, promotion=None, half="native", result=_windows, torch="Tensor.unfold",
    samples=[Sample(A((7,)), 0, 3, 1), Sample(A((2, 7)), 1, 3, 2), Sample(A((4, 2)), 0, 2, 3),
             Sample(A((4,)), -1, 0, 1), Sample(A(()), 0, 1, 1),
             Sample(A(()), -1, 0, 2)])  # fmt: skip
def unfold(xp, input: Array, *, dimension: Int, size: Int, step: Int) -> Array:
    """View of all windows of ``size`` places, ``step`` apart, in a new last dimension."""
    _windows(input, dimension=dimension, size=size, step=step)
    if not input.shape:
        return xp.reshape(input, (1,))[:size]
    return xp.sliding_window(input, dimension % input.ndim, size, step)


@unfold.vjp
def _(xp, g, input_shape, dimension, size, step):
    return adjoint(xp, g, input_shape, "unfold", dimension=dimension, size=size, step=step)


def _extent(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))


@op(view=True, promotion=None, half="native", method=False, torch="",
    result=lambda input, *, size, stride, offset, layout: Spec(size, input.dtype),
    samples=[Sample(A((2, 3)), size=(2, 2), stride=(1, 2), offset=1, layout=(3, 1))])  # fmt: skip
def restride(xp, input: Array, *, size: Ints, stride: Ints, offset: Int, layout: Ints) -> Array:
    """Memory of an input that has strides ``layout`` seen with other sizes and strides.

    An input laid out otherwise is first copied into that layout (zeros where it has no element), so
    that the same settings mean the same elements when a gradient or a changed base walks them.
    ``offset`` counts elements from the input's first one.
    """
    item = input.itemsize
    if tuple(s // item for s in input.strides) != layout and input.size:
        low = min(offset, 0)
        length = max(_extent(input.shape, layout), offset + _extent(size, stride)) - low
        block = xp.zeros(length, dtype=input.dtype)
        steps = tuple(s * item for s in layout)
        copy = xp.strided(block, input.shape, steps, -low * item)
        copy[...] = input
        input = copy
    return xp.strided(input, size, tuple(s * item for s in stride), offset * item)


@restride.vjp
def _(xp, g, input_shape, size, stride, offset, layout):
    return adjoint(xp, g, input_shape, "restride", size=size, stride=stride, offset=offset,
                   layout=layout)  # fmt: skip


@op(view=True, promotion=None, half="native", method=False, differentiable=False, torch="",
    result=lambda input, *, dtype: Spec(_bits_shape(input.shape, input.dtype, dtype), dtype),
    samples=[Laid(A((2, 4), kind="float32"), dtype=dtypes.int32),
             Laid(A((2, 4), kind="int32"), dtype=dtypes.int64),
             Laid(A((2, 4), kind="int16"), dtype=dtypes.uint8)])  # fmt: skip
def view_dtype(xp, input: Array, *, dtype: DType) -> Array:
    """The same bytes as elements of another dtype; the last dimension shrinks or grows with it.

    Raises:
        ViewError: if bytes of the last dimension are not together.
    """
    if input.itemsize != dtype.itemsize and (
        input.ndim == 0 or (input.strides[-1] != input.itemsize and input.shape[-1] != 1)
    ):
        raise ViewError(
            f"view: a {dtype.name} of {dtype.itemsize} bytes cannot be made of elements of "
            f"{input.itemsize} that are not side by side in the last dimension"
        )
    _bits_shape(input.shape, input.dtype, dtype)
    return input.view(dtype.np)


def _bits_shape(shape: tuple[int, ...], old: Any, new: Any) -> tuple[int, ...]:
    if old.itemsize == new.itemsize:
        return tuple(shape)
    if not shape or shape[-1] * old.itemsize % new.itemsize:
        raise ViewError(
            f"view: the last dimension of shape {tuple(shape)}, elements of {old.itemsize} bytes, "
            f"cannot be cut into elements of {new.itemsize} bytes"
        )
    return (*shape[:-1], shape[-1] * old.itemsize // new.itemsize)
