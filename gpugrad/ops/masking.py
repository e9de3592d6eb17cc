"""Masks: fill, select and scatter where a bool tensor is True, and find where it is."""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes, signature
from gpugrad.errors import DTypeError, NotSupportedError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, function, op
from gpugrad.ops.indexing import as_value, same_dtype
from gpugrad.samples import A, Sample
from gpugrad.tensor import Tensor


def _check_mask(called: str, mask: Any) -> None:
    if mask.dtype is not dtypes.bool_:
        raise DTypeError(f"{called}: mask must be bool, got {mask.dtype.name}; use mask.bool()")


@function(inplace=True, samples=[
    Sample(A((3, 4)), A((3, 4), kind="bool"), 2.5), Sample(A((3, 4)), A((4,), kind="bool"), A(())),
    Sample(A((4,)), A((3, 1), kind="bool"), 0),
    Sample(A(()), A((), kind="bool"), 1.0)])  # fmt: skip
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """``value`` where ``mask`` (broadcast) is True, ``input`` elsewhere, in input's dtype.

    Raises:
        SettingError: for a number that the dtype cannot hold.
    """
    _check_mask("masked_fill", mask)
    value = as_value("masked_fill", value, input)
    if value.ndim:
        raise ShapeError(
            f"masked_fill: value must be a number or a 0-d tensor, got shape {tuple(value.shape)}; "
            "use where"
        )
    return F.where(mask, F.astype(value, input.dtype), input)


@function(samples=[Sample(A((3, 4)), A((3, 4), kind="bool")),
                   Sample(A((4,)), A((3, 1), kind="bool"))])  # fmt: skip
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """Elements where ``mask`` is True, in one dim; input and mask broadcast."""
    _check_mask("masked_select", mask)
    shape = signature.broadcast_shapes("masked_select", tuple(input.shape), tuple(mask.shape))
    input, mask = F.broadcast_to(input, shape), F.broadcast_to(mask, shape)
    if not shape:
        input, mask = F.reshape(input, (1,)), F.reshape(mask, (1,))
    return F.index(input, (mask,), (0,), "masked_select")


@function(inplace=True, samples=[Sample(A((3, 4)), A((3, 4), kind="bool"), A((12,))),
                                 Sample(A((3, 4)), A((4,), kind="bool"), A((3, 4)))])  # fmt: skip
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy of ``input`` whose masked elements are, in order, the first elements of ``source``.

    Raises:
        ShapeError: if source has fewer elements than the mask has True ones.
    """
    _check_mask("masked_scatter", mask)
    same_dtype("masked_scatter", input, source, "source")
    shape = signature.broadcast_shapes("masked_scatter", tuple(input.shape), tuple(mask.shape))
    full, mask = F.broadcast_to(input, shape or (1,)), F.broadcast_to(mask, shape or (1,))
    wanted = int(mask.sum())
    if source.numel() < wanted:
        raise ShapeError(
            f"masked_scatter: the mask has {wanted} True elements, source only {source.numel()}"
        )
    values = F.view_index(F.reshape(source, (-1,)), ((0, wanted, 1),))
    return F.reshape(F.index_write(full, values, (mask,), (0,), False, "masked_scatter"), shape)


def _count_unknown(input: Any) -> Any:
    raise NotSupportedError(
        "argwhere: the number of nonzero elements is unknown without data (meta device)"
    )


@op(promotion=None, half="native", differentiable=False, result=_count_unknown,
    samples=[Sample(A((3, 4), kind="bool")), Sample(A((5,), -1, 2, kind="int")), Sample(A(())),
             Sample(A((0, 2)))])  # fmt: skip
def argwhere(xp, input: Array) -> Array:
    """Indices of nonzero elements: an int64 tensor (count, ndim), in row-major order."""
    return xp.argwhere(input)


@function(differentiable=False, samples=[
    Sample(A((3, 4), kind="bool")), Sample(A((3, 4), kind="bool"), as_tuple=True)])  # fmt: skip
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Indices of nonzero elements: a tensor (count, ndim), or a tuple of one tensor per dim."""
    if not as_tuple:
        return argwhere.public(input)
    places = argwhere.public(input if input.ndim else F.reshape(input, (1,)))
    return tuple(F.view_index(places, ((0, places.shape[0], 1), d)) for d in range(places.shape[1]))
