"""Sorting and picking by rank.  NaN counts as the largest number; ties keep no order unless asked.

Values are elements of the input, so their gradient goes back to where they came from.
"""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.errors import NotSupportedError, SettingError
from gpugrad.op import Array, Dim, function, op
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor


def _pair(shape: tuple[int, ...], input: Any) -> Any:
    return Spec(shape, input.dtype), Spec(shape, dtypes.int64)


def _distinct(*shape: int) -> A:
    return A(shape, 1, 100, values="distinct")


def _spread(op: Any) -> None:
    """The gradient of values picked along a dim: back to their places."""

    @op.vjp("input")
    def _(xp, g, indices, input_shape, dim):
        return xp.gather_adjoint(g, dim, indices, input_shape)


@op(outputs=("values", "indices"),
    result=lambda input, *, dim, descending, stable: _pair(input.shape, input),
    samples=[Sample(_distinct(5)), Sample(_distinct(3, 4), 0, True), Sample(_distinct()),
             Sample(_distinct(3, 4), stable=True), Sample(_distinct(0, 3))])  # fmt: skip
def sort(xp, input: Array, *, dim: Dim = -1, descending: bool = False,
         stable: bool = False) -> tuple[Array, Array]:  # fmt: skip
    """Values in order along ``dim``, and where they were.

    Args:
        stable: whether equal elements keep their order.
    """
    return xp.sort(input, dim, descending, stable)


_spread(sort)


def _check_k(called: str, k: Any, low: int, shape: tuple[int, ...], dim: int) -> int:
    size = shape[dim] if shape else 1
    if isinstance(k, bool) or not isinstance(k, int) or not low <= k <= size:
        raise SettingError(
            f"{called}: k is {k}, dim {dim} has size {size}; accepted: {low} to {size}"
        )
    return k


def _topk_result(input: Any, *, k: int, dim: int, largest: bool, sorted: bool) -> Any:
    _check_k("topk", k, 0, input.shape, dim)
    return _pair((*input.shape[:dim], k, *input.shape[dim + 1 :]), input)


@op(outputs=("values", "indices"), accepts="if", result=_topk_result,
    samples=[Sample(_distinct(5), 2), Sample(_distinct(3, 4), 3, 0, False), Sample(_distinct(), 1),
             Sample(_distinct(3, 4), 4), Sample(_distinct(3, 4), 0)])  # fmt: skip
def topk(xp, input: Array, *, k: int, dim: Dim = -1, largest: bool = True,
         sorted: bool = True) -> tuple[Array, Array]:  # fmt: skip
    """The ``k`` largest (or smallest) values along ``dim``, and where they are.

    They come in order also where ``sorted=False`` would allow any.
    """
    return xp.topk(input, _check_k("topk", k, 0, input.shape, dim), dim, largest)


_spread(topk)


def _kth_result(input: Any, *, k: int, dim: int, keepdim: bool) -> Any:
    _check_k("kthvalue", k, 1, input.shape, dim)
    return _pair((*input.shape[:dim], *(1,) * keepdim, *input.shape[dim + 1 :]), input)


@op(outputs=("values", "indices"), accepts="if", result=_kth_result,
    samples=[Sample(_distinct(5), 2), Sample(_distinct(3, 4), 3, 0, True),
             Sample(A((), kind="float32"), 1)])  # fmt: skip
def kthvalue(xp, input: Array, *, k: int, dim: Dim = -1,
             keepdim: bool = False) -> tuple[Array, Array]:  # fmt: skip
    """The ``k``-th smallest value along ``dim`` (from 1), and where it is."""
    return xp.kthvalue(input, _check_k("kthvalue", k, 1, input.shape, dim), dim, keepdim)


@kthvalue.vjp("input")
def _(xp, g, indices, input_shape, dim, keepdim):
    if not keepdim:
        g, indices = xp.expand_dims(g, dim), xp.expand_dims(indices, dim)
    return xp.gather_adjoint(g, dim, indices, input_shape)


@function(differentiable=False, samples=[Sample(_distinct(3, 4)), Sample(_distinct(5), 0, True)])
def argsort(input: Tensor, dim: int = -1, descending: bool = False,
            stable: bool = False) -> Tensor:  # fmt: skip
    """Indices that sort ``input`` along ``dim``."""
    indices: Tensor = sort.public(input, dim, descending, stable).indices
    return indices


@function(samples=[Sample(_distinct(3, 4)), Sample(_distinct())])
def msort(input: Tensor) -> Tensor:
    """``input`` sorted along its first dim."""
    values: Tensor = sort.public(input, 0).values
    return values


# ---- distinct elements ------------------------------------------------------------------------


def _unknown(input: Any, *, dim: Any, consecutive: bool) -> Any:
    raise NotSupportedError(
        "unique: the number of distinct elements is unknown without data (meta device)"
    )


@op(outputs=("values", "inverse", "counts"), differentiable=False, method=False, torch="",
    result=_unknown, samples=[Sample(A((6,), 0, 3, kind="int"), None, False)])  # fmt: skip
def distinct(xp, input: Array, *, dim: Dim | None,
             consecutive: bool) -> tuple[Array, Array, Array]:  # fmt: skip
    """Distinct elements, or slices along ``dim``; where each element went; how often each comes.

    Args:
        consecutive: merge neighbours only, in place of equal elements anywhere.
    """
    return xp.distinct(input, dim, consecutive)


def _chosen(found: Any, return_inverse: bool, return_counts: bool) -> Any:
    parts = [found.values]
    if return_inverse:
        parts.append(found.inverse)
    if return_counts:
        parts.append(found.counts)
    return parts[0] if len(parts) == 1 else tuple(parts)


@function(differentiable=False, samples=[
    Sample(A((6,), 0, 3, kind="int")), Sample(A((3, 4), 0, 3, kind="int"), True, True, True),
    Sample(A((5, 2), 0, 2, kind="int"), dim=0, return_inverse=True),
    Sample(A((0,)), return_counts=True)])  # fmt: skip
def unique(input: Tensor, sorted: bool = True, return_inverse: bool = False,
           return_counts: bool = False, dim: int | None = None) -> Any:  # fmt: skip
    """Distinct elements in rising order (also where ``sorted=False`` would allow any).

    Args:
        return_inverse: also where in the result each element went.
        return_counts: also how often each comes.
        dim: compare slices along this dim; None: elements.  Every NaN is distinct.
    """
    return _chosen(distinct.public(input, dim, False), return_inverse, return_counts)


@function(differentiable=False, samples=[
    Sample(A((6,), 0, 2, kind="int"), True, True),
    Sample(A((5, 2), 0, 1, kind="int"), dim=0)])  # fmt: skip
def unique_consecutive(input: Tensor, return_inverse: bool = False, return_counts: bool = False,
                       dim: int | None = None) -> Any:  # fmt: skip
    """As ``unique``, but only equal neighbours are merged, and the order stays."""
    return _chosen(distinct.public(input, dim, True), return_inverse, return_counts)
