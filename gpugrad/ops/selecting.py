"""Rows by a list of numbers: ``index_select`` and its writing relatives, ``take`` and ``put``.

All are ``index`` and ``index_write`` with one index tensor, so none needs a rule of its own.
"""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes, signature
from gpugrad.errors import DTypeError, IndexingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, Index, function, op
from gpugrad.ops.indexing import as_value, same_dtype
from gpugrad.ops.scatter import REDUCES
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor


def _vector(called: str, index: Tensor) -> Tensor:
    """A 1-d int index; a 0-d one becomes one element."""
    if index.dtype.name not in ("int64", "int32"):
        raise DTypeError(f"{called}: index must be int64 or int32, got {index.dtype.name}")
    if index.ndim > 1:
        raise IndexingError(
            f"{called}: index must have one dim, got shape {tuple(index.shape)}; use x[index]"
        )
    return index if index.ndim else F.reshape(index, (1,))


def _write(called: str, input: Tensor, dim: int, index: Tensor, source: Tensor, accumulate: bool,
           negative: bool = False) -> Tensor:  # fmt: skip
    """``index_write`` along one dim with a source of exactly the selected shape (or 0-d)."""
    d = signature.wrap_dim(called, dim, input.ndim)
    index = _vector(called, index)
    same_dtype(called, input, source, "source")
    if not input.ndim:
        up = F.reshape(input, (1,)), F.reshape(source, (1,))
        return F.reshape(_write(called, up[0], 0, index, up[1], accumulate, negative), ())
    want = (*input.shape[:d], index.numel(), *input.shape[d + 1 :])
    if source.ndim == 0 and input.ndim == 1 and index.numel() == 1:
        source = F.reshape(source, (1,))
    if called != "index_fill" and tuple(source.shape) != want:
        raise ShapeError(
            f"{called}: source has shape {tuple(source.shape)}; for {index.numel()} indices along "
            f"dim {d} of input {tuple(input.shape)} it must be {want}"
        )
    return F.index_write(input, source, (index,), (d,), accumulate, called, negative)


_ROWS = A((2,), 0, 3, kind="int")
_DISTINCT = A((1,), 0, 3, kind="int")  # where writes would overwrite each other


@function(samples=[Sample(A((3, 4)), 0, _ROWS), Sample(A((2, 3)), -1, _ROWS)])
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """A copy of the rows (along ``dim``) that a 1-d index names."""
    d = signature.wrap_dim("index_select", dim, input.ndim)
    index = _vector("index_select", index)
    if not input.ndim:
        return F.reshape(F.index(F.reshape(input, (1,)), (index,), (0,), "index_select", False), ())
    return F.index(input, (index,), (d,), "index_select", False)


@function(inplace=True, samples=[Sample(A((3, 4)), 0, _ROWS, A((2, 4))),
                                 Sample(A((2, 3)), 1, _ROWS, A((2, 2)), alpha=2)])  # fmt: skip
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *,
              alpha: float = 1) -> Tensor:  # fmt: skip
    """``input`` with ``alpha * source`` added to the rows that a 1-d index names."""
    if alpha != 1:
        if type(alpha) is float and not source.dtype.is_floating_point:
            raise DTypeError(f"index_add: alpha {alpha} is a float; {source.dtype.name} takes ints")
        source = F.astype(F.multiply(source, alpha), source.dtype)
    return _write("index_add", input, dim, index, source, True)


@function(inplace=True, samples=[Sample(A((3, 4)), 0, _DISTINCT, A((1, 4)))])
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of ``input`` with the rows that a 1-d index names replaced by those of ``source``."""
    return _write("index_copy", input, dim, index, source, False)


@function(inplace=True, samples=[Sample(A((3, 4)), 1, _ROWS, 1.5),
                                 Sample(A((3, 4)), 0, _ROWS, A(()))])  # fmt: skip
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy of ``input`` whose rows that a 1-d index names hold one value."""
    value = as_value("index_fill", value, input)
    if value.ndim:
        raise ShapeError(
            f"index_fill: value must be a number or a 0-d tensor, got shape {tuple(value.shape)}"
        )
    value = F.astype(value, input.dtype)
    return _write("index_fill", input, dim, index, value, False, True)


@function(inplace=True, samples=[
    Sample(A((3, 4)), 0, _ROWS, A((2, 4)), r, include_self=i)
    for r in ("prod", "mean", "amax", "amin") for i in (True, False)])  # fmt: skip
def index_reduce(input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *,
                 include_self: bool = True) -> Tensor:  # fmt: skip
    """Reduce rows of ``source`` into the rows of ``input`` that a 1-d index names.

    Args:
        reduce: "prod", "mean", "amax" or "amin" (``index_add`` is the sum).
        include_self: whether ``input`` takes part.
    """
    signature.check_choice("index_reduce", "reduce", reduce, REDUCES[1:])
    if input.dtype is dtypes.bool_ and (reduce == "mean" or not include_self):
        raise DTypeError(f"index_reduce: {reduce} of bool needs include_self, and is no mean")
    d = signature.wrap_dim("index_reduce", dim, input.ndim)
    index = _vector("index_reduce", index)
    want = (*input.shape[:d], index.numel(), *input.shape[d + 1 :]) if input.ndim else (1,)
    if (tuple(source.shape) or (1,)) != want:
        raise ShapeError(
            f"index_reduce: source has shape {tuple(source.shape)}; for {index.numel()} indices "
            f"along dim {d} of input {tuple(input.shape)} it must be {want}"
        )
    column = (1,) * d + (-1,) + (1,) * (len(want) - d - 1)
    index = F.broadcast_to(F.reshape(index, column), want)
    source = F.reshape(source, want)
    base = input if input.ndim else F.reshape(input, (1,))
    result = F.scatter_reduce(base, d, index, source, reduce, include_self)
    return F.reshape(result, tuple(input.shape))


@function(samples=[Sample(A((3, 4)), A((2, 2), -12, 12, kind="int"))])
def take(input: Tensor, index: Tensor) -> Tensor:
    """Elements of the flattened input; negative indices count from the end."""
    _integers("take", index)
    return F.index(F.reshape(input, (-1,)), (index,), (0,), "take")


@function(inplace=True, samples=[
    Sample(A((3, 4)), A((3,), -12, 12, kind="int"), A((3,)), True),
    Sample(A((3, 4)), A((1,), -12, 12, kind="int"), A((1,)))])  # fmt: skip
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of ``input`` with ``source`` put (or added) at places of the flattened input."""
    _integers("put", index)
    same_dtype("put", input, source, "source")
    if index.numel() != source.numel():
        raise ShapeError(
            f"put: index has {index.numel()} elements and source {source.numel()}; "
            "they must have as many"
        )
    flat, source = F.reshape(input, (-1,)), F.reshape(source, tuple(index.shape))
    return F.reshape(F.index_write(flat, source, (index,), (0,), accumulate, "put"),
                     tuple(input.shape))  # fmt: skip


def _integers(called: str, index: Tensor) -> None:
    if index.dtype.name not in ("int64", "int32"):
        raise DTypeError(f"{called}: index must be int64 or int32, got {index.dtype.name}")


@op(promotion=None, half="native", differentiable=False, method=False, torch="unravel_index",
    result=lambda indices, *, shape: tuple(Spec(indices.shape, indices.dtype) for _ in shape),
    samples=[Sample(A((4,), 0, 12, kind="int"), shape=(3, 4))])  # fmt: skip
def unravel_index(xp, indices: Index, *, shape: int | tuple[int, ...]) -> tuple[Array, ...]:
    """Coordinates in an array of ``shape`` of places in its flattened form, one tensor per dim."""
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"unravel_index: indices must be integers, got {indices.dtype}")
    shape = signature.int_tuple("unravel_index", "shape", shape)
    size = 1
    for n in shape:
        size *= n
    if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < size:
        raise IndexingError(
            f"unravel_index: indices {int(indices.min())} to {int(indices.max())} for shape "
            f"{shape}; accepted: 0 to {size - 1}"
        )
    parts = []
    for n in reversed(shape):
        parts.append(indices % n)
        indices = indices // n
    return tuple(reversed(parts))
