"""Small things of linear algebra: cross products, traces and diagonals."""

from __future__ import annotations

from typing import Any

from gpugrad.errors import ShapeError
from gpugrad.op import Array, function, op
from gpugrad.samples import A, Sample
from gpugrad.signature import broadcast_shapes, wrap_dim
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor


def _crossed(input: Spec, other: Spec, *, dim: int) -> Spec:
    if input.ndim != other.ndim:
        raise ShapeError(
            f"linalg.cross: {input.shape} and {other.shape} must have as many dimensions"
        )
    d = wrap_dim("linalg.cross", dim, input.ndim)
    if not input.ndim or input.shape[d] != 3 or other.shape[d] != 3:
        raise ShapeError(
            f"linalg.cross: dim {dim} of {input.shape} and {other.shape} must have size 3 in both"
        )
    return Spec(broadcast_shapes("linalg.cross", input.shape, other.shape), input.dtype)


@op(home="linalg", method=False, accepts="if", promotion="same", name="cross",
    xp_name="linalg_cross", result=_crossed,
    samples=[Sample(A((4, 3)), A((4, 3))), Sample(A((3, 1)), A((3, 4)), dim=0)])  # fmt: skip
def linalg_cross(xp, input: Array, other: Array, *, dim: int = -1) -> Array:
    """Cross products of vectors of 3 that lie along ``dim``."""
    _crossed(input, other, dim=dim)
    return xp.linalg_cross(input, other, dim)


@linalg_cross.vjp
def _(xp, g, input, other, dim):
    return xp.linalg_cross(other, g, dim), xp.linalg_cross(g, input, dim)


@function(samples=[Sample(A((4, 3)), A((4, 3))), Sample(A((3, 4)), A((3, 4)), dim=0)])
def cross(input: Any, other: Any, dim: int | None = None) -> Any:
    """Cross products along ``dim``, by default the first dimension of size 3."""
    if dim is None:
        dim = next((i for i, s in enumerate(input.shape) if s == 3), None)
        if dim is None:
            raise ShapeError(f"cross: no dimension of {tuple(input.shape)} has size 3")
    return linalg_cross(input, other, dim=dim)


@op(accepts="if", samples=[Sample(A((3, 3))), Sample(A((2, 4)))])
def trace(xp, input: Array) -> Array:
    """Sum of a matrix's diagonal; integers are summed as int64."""
    if len(input.shape) != 2:
        raise ShapeError(f"trace: takes a matrix, got shape {tuple(input.shape)}")
    return xp.sum(xp.diagonal(input))


@function(home="linalg", method=False, samples=[Sample(A((2, 3))), Sample(A((2, 3, 4)), offset=1)])
def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Diagonals of matrices, as a view: ``Tensor.diagonal`` with the last dims by default."""
    return A.diagonal(offset, dim1, dim2)
