"""Shape changes that every other family stands on: they move no data where the layout allows."""

from __future__ import annotations

import math
from typing import Any

from gpugrad.errors import DimError, ShapeError
from gpugrad.factory import arranged
from gpugrad.op import Array, Dim, Ints, NewDim, Shape, op
from gpugrad.samples import A, Sample
from gpugrad.signature import wrap_dim, wrap_dims
from gpugrad.spec import Spec


def filled_in(name: str, old: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Replace the one ``-1`` of a new shape by the size that keeps the number of elements.

    Raises:
        ShapeError: if there is no such size, or the numbers of elements differ.
    """
    total = math.prod(old)
    if min(shape, default=0) >= 0 and math.prod(shape) == total:
        return shape
    unknown = shape.count(-1)
    known = math.prod(s for s in shape if s != -1)
    bad = unknown > 1 or any(s < -1 for s in shape)
    if not bad and unknown:
        if known == 0 or total % known:
            raise ShapeError(
                f"{name}: shape {shape} does not fit the {total} elements of shape {tuple(old)}"
                + ("; -1 is ambiguous beside a size of 0" if known == 0 else "")
            )
        return tuple(total // known if s == -1 else s for s in shape)
    if bad:
        raise ShapeError(f"{name}: shape {shape} must be of sizes >= 0 and at most one -1")
    if known != total:
        raise ShapeError(
            f"{name}: shape {shape} has {known} elements, the input of shape {tuple(old)} {total}"
        )
    return shape


@op(
    view=True, promotion=None, half="native",
    result=lambda input, *, shape: Spec(filled_in("reshape", input.shape, shape), input.dtype),
    samples=[
        Sample(A((2, 6)), (3, 4)), Sample(A((2, 3, 4)), (-1, 4)), Sample(A(()), (1, 1)),
        Sample(A((1,)), ()), Sample(A((0, 3)), (3, 0)), Sample(A((4,)), (2, 2)),
    ],
)  # fmt: skip
def reshape(xp, input: Array, *, shape: Shape) -> Array:
    """The same elements in another shape; one size may be -1.  A copy only where it must be."""
    return xp.reshape(input, filled_in("reshape", input.shape, shape))


@reshape.vjp
def _(xp, g, input_shape):
    return xp.reshape(g, input_shape)


def order_of(name: str, dims: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """Check that ``dims`` names every dimension once; make them non-negative."""
    wrapped = wrap_dims(name, dims, ndim) or ()
    if len(wrapped) != ndim:
        raise DimError(f"{name}: dims {dims} must name each of the {ndim} dimensions once")
    return wrapped


def _permuted(input: Spec, *, dims: tuple[int, ...]) -> Spec:
    order = order_of("permute", dims, len(input.shape))
    return Spec(tuple(input.shape[d] for d in order), input.dtype)


@op(
    view=True, promotion=None, half="native", xp_name="permute_dims", result=_permuted,
    samples=[
        Sample(A((2, 3, 4)), (2, 0, 1)), Sample(A((2, 3)), (-1, 0)), Sample(A(()), ()),
        Sample(A((0, 3)), (1, 0)),
    ],
)  # fmt: skip
def permute(xp, input: Array, *, dims: Shape) -> Array:
    """View with the dimensions in the order ``dims``."""
    return xp.permute_dims(input, order_of("permute", dims, input.ndim))


@permute.vjp
def _(xp, g, dims):
    order = [d % len(dims) for d in dims]
    return xp.permute_dims(g, tuple(sorted(range(len(order)), key=order.__getitem__)))


def _swapped(input: Spec, *, dim0: int, dim1: int) -> Spec:
    shape = list(input.shape)
    shape[dim0], shape[dim1] = shape[dim1], shape[dim0]
    return Spec(tuple(shape), input.dtype)


@op(
    view=True, promotion=None, half="native", xp_name="swapaxes", result=_swapped,
    aliases=("swapaxes", "swapdims"),
    samples=[Sample(A((2, 3, 4)), 0, 2), Sample(A((2, 3)), -1, -2), Sample(A(()), 0, 0)],
)  # fmt: skip
def transpose(xp, input: Array, *, dim0: Dim, dim1: Dim) -> Array:
    """View with two dimensions exchanged."""
    return xp.swapaxes(input, dim0, dim1)


@transpose.vjp
def _(xp, g, dim0, dim1):
    return xp.swapaxes(g, dim0, dim1)


def _grown(name: str, shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    """The shape after expanding to ``size``, whose -1 keep what is there."""
    lead = len(size) - len(shape)
    if lead < 0:
        raise ShapeError(
            f"{name}: size {size} has {len(size)} dimensions, the input of shape {tuple(shape)} "
            f"has {len(shape)}; it takes at least as many"
        )
    padded = (None,) * lead + tuple(shape)
    result = tuple(old if new == -1 else new for old, new in zip(padded, size, strict=True))
    for old, new in zip(padded, result, strict=True):
        if new is None or new < 0 or old not in (None, 1, new):
            raise ShapeError(
                f"{name}: size {size} does not fit the input of shape {tuple(shape)}: only sizes "
                "of 1 grow, and -1 keeps the size of a dimension that is there"
            )
    return result  # type: ignore[return-value]


@op(
    view=True, promotion=None, half="native", xp_name="broadcast_to", torch="Tensor.expand",
    result=lambda input, *, size: Spec(_grown("expand", input.shape, size), input.dtype),
    samples=[
        Sample(A((3, 1)), (2, 3, 4)), Sample(A((3, 1)), -1, 4), Sample(A(()), (2, 2)),
        Sample(A((1, 3)), (0, 3)), Sample(A((3,)), (3,)),
    ],
)  # fmt: skip
def expand(xp, input: Array, *, size: Shape) -> Array:
    """View with dimensions of size 1 repeated without copying; -1 keeps a size."""
    return xp.broadcast_to(input, _grown("expand", input.shape, size))


@expand.vjp
def _(xp, g):
    return g  # the tape sums what was broadcast


def _without_ones(shape: tuple[int, ...], dim: Any) -> tuple[int, ...]:
    if dim is None:
        return tuple(s for s in shape if s != 1)
    dims = dim if isinstance(dim, tuple | list) else (dim,)
    gone = [wrap_dim("squeeze", d, len(shape)) for d in dims]
    if len(set(gone)) != len(gone):
        raise DimError(f"squeeze: dim {dim} names a dimension twice")
    return tuple(s for i, s in enumerate(shape) if s != 1 or i not in gone)


@op(
    view=True, promotion=None, half="native",
    result=lambda input, *, dim: Spec(_without_ones(input.shape, dim), input.dtype),
    samples=[
        Sample(A((1, 3, 1))), Sample(A((1, 3, 1)), 0), Sample(A((1, 3, 1)), (0, -1)),
        Sample(A((2, 3)), 1), Sample(A(())), Sample(A((1, 0)), 0), Sample(A(()), 0),
    ],
)  # fmt: skip
def squeeze(xp, input: Array, *, dim: Ints | None = None) -> Array:
    """View without the dimensions of size 1 (all, or those named; other sizes stay)."""
    return xp.reshape(input, _without_ones(input.shape, dim))


@squeeze.vjp
def _(xp, g, input_shape):
    return xp.reshape(g, input_shape)


def _with_one(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return (*shape[:dim], 1, *shape[dim:])


@op(
    view=True, promotion=None, half="native", xp_name="expand_dims",
    result=lambda input, *, dim: Spec(_with_one(input.shape, dim), input.dtype),
    samples=[Sample(A((2, 3)), 0), Sample(A((2, 3)), -1), Sample(A(()), 0), Sample(A((0,)), 1)],
)  # fmt: skip
def unsqueeze(xp, input: Array, *, dim: NewDim) -> Array:
    """View with a dimension of size 1 inserted before ``dim``."""
    return xp.expand_dims(input, dim)


@unsqueeze.vjp
def _(xp, g, input_shape):
    return xp.reshape(g, input_shape)


@op(
    promotion=None, half="native", xp_name="copy",
    result=lambda input, *, memory_format: Spec(input.shape, input.dtype),
    samples=[Sample(A((2, 3))), Sample(A(())), Sample(A((0, 3)))],
)  # fmt: skip
def clone(xp, input: Array, *, memory_format: Any = None) -> Array:
    """A copy of the elements in fresh memory, laid out as the input is where that is dense.

    Args:
        memory_format: ``preserve_format`` (default), ``contiguous_format`` or ``channels_last``.
    """
    return arranged(xp, "clone", input, memory_format)


@clone.vjp
def _(xp, g):
    return g
