"""Gathering along one dim: ``out[i][j] = input[index[i][j]][j]`` for dim 0."""

from __future__ import annotations

from typing import Any

from gpugrad import signature
from gpugrad.errors import DTypeError, NotSupportedError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, Dim, Index, function, op
from gpugrad.ops.indexing import same_dtype
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor


def check(called: str, input: Any, index: Any, dim: int, src: Any = None) -> None:
    """Raise unless shapes and dtypes fit, for arrays or specs.

    Raises:
        DTypeError: if the index is neither int64 nor int32, or src of another dtype than input;
        ShapeError: if the index is larger than the input (apart from ``dim``) or src.
    """
    if index.dtype.name not in ("int64", "int32"):
        raise DTypeError(f"{called}: index must be int64 or int32, got {index.dtype.name}")
    size = 1
    for n in index.shape:
        size *= n
    if not size:
        return
    need = index.shape or (1,)
    for name, other in (("input", input), ("src", src)):
        have = getattr(other, "shape", None)
        if have is None or (name == "src" and not have and src is not None and len(need) > 1):
            continue
        have = have or (1,)
        if len(have) != len(need) or any(
            n > h for d, (n, h) in enumerate(zip(need, have, strict=True))
            if name == "src" or d != dim
        ):  # fmt: skip
            apart = f" apart from dim {dim}" if name == "input" else ""
            raise ShapeError(
                f"{called}: index of shape {tuple(index.shape)} must have as many dims as {name} "
                f"of shape {tuple(other.shape)} and be no larger{apart}"
            )
    if src is not None:
        same_dtype(called, input, src, "src")


def _gather_result(input: Any, index: Any, *, dim: int, sparse_grad: bool = False,
                   called: str = "gather", negative: bool = False) -> Any:  # fmt: skip
    check(called, input, index, dim)
    return Spec(index.shape, input.dtype)


_INDEX = A((3, 5), 0, 3, kind="int")


@op(promotion=None, half="native", result=_gather_result, order=("input", "dim", "index"),
    samples=[Sample(A((3, 5)), 0, _INDEX), Sample(A((4, 3)), -1, A((2, 6), 0, 3, kind="int")),
             Sample(A(()), 0, A((), 0, 1, kind="int")),
             Sample(A((3,)), 0, A((0,), 0, 1, kind="int"))])  # fmt: skip
def gather(xp, input: Array, index: Index, *, dim: Dim, sparse_grad: bool = False) -> Array:
    """Elements of ``input`` that ``index`` names along ``dim``; the result has index's shape."""
    if sparse_grad:
        raise NotSupportedError("gather: sparse gradients are not supported; leave it away")
    check("gather", input, index, dim)
    return xp.gather(input, dim, index)


@op(promotion=None, half="native", order=("input", "dim", "index", "shape"), method=False, torch="",
    result=lambda input, index, *, dim, shape: Spec(shape, input.dtype),
    samples=[Sample(A((3, 5)), 0, _INDEX, (4, 5)),
             Sample(A((2, 3)), 1, A((2, 3), 0, 3, kind="int"), (4, 3))])  # fmt: skip
def gather_adjoint(xp, input: Array, index: Index, *, dim: Dim, shape: tuple[int, ...]) -> Array:
    """Zeros of a shape with ``input`` added at the places that ``index`` names along ``dim``."""
    return xp.gather_adjoint(input, dim, index, shape)


@gather.vjp("input")
def _(xp, g, index, input_shape, dim):
    return xp.gather_adjoint(g, dim, index, input_shape)


@gather_adjoint.vjp("input")
def _(xp, g, index, dim):
    return xp.gather(g, dim, index)


@function(samples=[Sample(A((3, 5)), A((1, 5), 0, 3, kind="int"), 0),
                   Sample(A((3, 5)), A((4,), 0, 15, kind="int"))])  # fmt: skip
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """``gather`` whose other dims broadcast; without ``dim``, on the flattened input.

    Negative indices count from the end.
    """
    if indices.dtype.name not in ("int64", "int32"):
        raise DTypeError(
            f"take_along_dim: indices must be int64 (or int32), got {indices.dtype.name}"
        )
    if dim is None:
        return F.reshape(F.gather(F.reshape(input, (-1,)), 0, F.reshape(indices, (-1,))),
                         tuple(indices.shape))  # fmt: skip
    d = signature.wrap_dim("take_along_dim", dim, input.ndim)
    if input.ndim != indices.ndim:
        raise ShapeError(
            f"take_along_dim: input has {input.ndim} dims and indices {indices.ndim}; "
            "they must have as many"
        )
    if not input.ndim:
        return F.gather(input, 0, indices)
    rest = signature.broadcast_shapes(
        "take_along_dim", *(tuple(1 if i == d else n for i, n in enumerate(t.shape))
                            for t in (input, indices))
    )  # fmt: skip
    input, indices = (
        F.broadcast_to(t, (*rest[:d], t.shape[d], *rest[d + 1 :])) for t in (input, indices)
    )
    size = input.shape[d]
    return F.gather(input, d, F.where(F.less(indices, 0), indices + size, indices))
