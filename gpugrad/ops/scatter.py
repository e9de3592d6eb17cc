"""Scattering along one dim: ``out[index[i][j]][j] = src[i][j]`` for dim 0, or combining there.

Duplicates combine in a fixed order; where they overwrite each other on the CPU, the last one stays.
"""

from __future__ import annotations

from typing import Any

from gpugrad import signature
from gpugrad.errors import ArgumentError, DTypeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, Dim, Index, function, op
from gpugrad.ops.gather import check
from gpugrad.ops.indexing import as_value
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor


def spread(xp: Any, picked: Any, shape: tuple[int, ...]) -> Any:
    """Gradient of a src that may be larger than the index: zeros beyond the index's corner."""
    if picked.shape == shape:
        return picked
    if not shape:
        return xp.sum(picked)
    corner = tuple((0, n, 1) for n in picked.shape)
    return xp.view_index_adjoint(picked, corner, shape)


def _scatter_result(called: str) -> Any:
    def result(input: Any, index: Any, src: Any, *, dim: int, **_: Any) -> Any:
        check(called, input, index, dim, src)
        return Spec(input.shape, input.dtype)

    return result


_PERMUTATION = A((1, 5), 0, 3, kind="int")  # no duplicates along dim 0: the result is unique
_SCATTER = [Sample(A((3, 5)), 0, A((4, 5), 0, 3, kind="int"), A((4, 5))),
            Sample(A((3, 5)), -1, A((2, 4), 0, 5, kind="int"), A((2, 4))),
            Sample(A(()), 0, A((), 0, 1, kind="int"), A(())),
            Sample(A((3,)), 0, A((0,), 0, 1, kind="int"), A((0,)))]  # fmt: skip


@op(promotion=None, half="native", order=("input", "dim", "index", "src"), method=False, torch="",
    result=_scatter_result("scatter"),
    samples=[Sample(A((3, 5)), 0, _PERMUTATION, A((1, 5))),
             Sample(A((3, 5)), 0, _PERMUTATION, A((2, 6)))])  # fmt: skip
def scatter_write(xp, input: Array, index: Index, src: Array, *, dim: Dim) -> Array:
    """A copy of ``input`` with ``src`` (or a number) put where ``index`` says along ``dim``."""
    check("scatter", input, index, dim, src)
    return xp.scatter_write(input, dim, index, src)


@scatter_write.vjp("input")
def _(xp, g, index, dim):
    return xp.scatter_write(g, dim, index, 0)


@scatter_write.vjp("src")
def _(xp, g, index, src_shape, dim):
    return spread(xp, xp.gather(g, dim, index), src_shape)


@op(promotion=None, half="native", order=("input", "dim", "index", "src"), inplace=True,
    result=_scatter_result("scatter_add"), samples=_SCATTER)  # fmt: skip
def scatter_add(xp, input: Array, index: Index, src: Array, *, dim: Dim) -> Array:
    """``input`` plus ``src`` where ``index`` says along ``dim``; duplicates add up."""
    check("scatter_add", input, index, dim, src)
    return xp.scatter_reduce(input, dim, index, src, "sum", True, "scatter_add")


@scatter_add.vjp("input")
def _(xp, g):
    return g


@scatter_add.vjp("src")
def _(xp, g, index, src_shape, dim):
    return spread(xp, xp.gather(g, dim, index), src_shape)


@function(inplace=True, samples=[
    Sample(A((3, 5)), 0, _PERMUTATION, A((1, 5))), Sample(A((3, 5)), 0, _PERMUTATION, 2.5),
    Sample(A((3, 5)), 0, _PERMUTATION, A((1, 5)), reduce="add")])  # fmt: skip
def scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None,
            reduce: str | None = None) -> Tensor:  # fmt: skip
    """A copy of ``input`` with ``src`` (a tensor or one number) put where ``index`` says.

    Args:
        value: other name of a ``src`` that is a number.
        reduce: None overwrites; "add" and "multiply" combine with what is there.
    """
    if (src is None) == (value is None):
        raise ArgumentError("scatter: give one of src (a tensor or a number) and value (a number)")
    src = as_value("scatter", value if src is None else src, input)
    if reduce is None:
        return scatter_write.public(input, dim, index, src)
    signature.check_choice("scatter", "reduce", reduce, ("add", "multiply"))
    if not src.ndim:
        src = F.broadcast_to(src, tuple(index.shape))
    if reduce == "add":
        return scatter_add.public(input, dim, index, src)
    return F.scatter_reduce(input, dim, index, src, "prod")


# ---- scatter_reduce ---------------------------------------------------------------------------

REDUCES = ("sum", "prod", "mean", "amax", "amin")


@op(promotion=None, order=("input", "dim", "index", "src", "reduce"), inplace=True,
    result=_scatter_result("scatter_reduce"),
    samples=[Sample(*s.args, r, include_self=i) for s in _SCATTER for r in REDUCES
             for i in (True, False)])  # fmt: skip
def scatter_reduce(xp, input: Array, index: Index, src: Array, *, dim: Dim, reduce: str,
                   include_self: bool = True) -> Array:  # fmt: skip
    """Reduce the elements of ``src`` that ``index`` sends to the same place along ``dim``.

    Args:
        reduce: "sum", "prod", "mean", "amax" or "amin".
        include_self: whether ``input`` takes part; else it shows only where nothing is sent.
    """
    signature.check_choice("scatter_reduce", "reduce", reduce, REDUCES)
    check("scatter_reduce", input, index, dim, src)
    if reduce == "mean" and input.dtype.kind == "b":
        raise DTypeError("scatter_reduce: the mean takes int or floating dtypes, got bool")
    return xp.scatter_reduce(input, dim, index, src, reduce, include_self)


def _met(xp: Any, src: Any, index: Any) -> Any:
    """The part of src that the index addresses."""
    if src.shape == index.shape:
        return src
    return xp.view_index(src, tuple((0, n, 1) for n in index.shape))


def _share(xp: Any, g: Any, input: Any, index: Any, src: Any, out: Any, dim: int,
           include_self: bool) -> Any:  # fmt: skip
    """Which of input and src equal the extremum (1 or 0), and what each tied one gets of ``g``."""
    mine = xp.astype(xp.equal(input, out), g.dtype)
    theirs = xp.astype(xp.equal(src, xp.gather(out, dim, index)), g.dtype)
    if not include_self:
        mine = xp.scatter_write(mine, dim, index, 0)
    return mine, theirs, g / xp.scatter_add(mine, dim, index, theirs)


def _mean_share(xp: Any, g: Any, index: Any, src: Any, dim: int, include_self: bool) -> Any:
    """``g`` over the number of elements that met in each place."""
    count = xp.ones_like(g)
    if not include_self:
        count = xp.scatter_write(count, dim, index, 0)
    return g / xp.scatter_add(count, dim, index, xp.ones_like(src))


@scatter_reduce.vjp("input")
def _(xp, g, input, index, src, out, dim, reduce, include_self):
    src = _met(xp, src, index)
    if reduce in ("amax", "amin"):
        mine, _, share = _share(xp, g, input, index, src, out, dim, include_self)
        grad = mine * share
    elif reduce == "mean":
        grad = _mean_share(xp, g, index, src, dim, include_self)
    elif reduce == "prod":
        grad = g * xp.scatter_reduce(xp.ones_like(input), dim, index, src, "prod")
    else:
        grad = g
    return grad if include_self else xp.scatter_write(grad, dim, index, 0)


@scatter_reduce.vjp("src")
def _(xp, g, input, index, src, out, src_shape, dim, reduce, include_self):
    src = _met(xp, src, index)
    if reduce in ("amax", "amin"):
        _, theirs, share = _share(xp, g, input, index, src, out, dim, include_self)
        grad = theirs * xp.gather(share, dim, index)
    elif reduce == "mean":
        grad = xp.gather(_mean_share(xp, g, index, src, dim, include_self), dim, index)
    elif reduce == "prod":
        grad = _others(xp, g, input, index, src, out, dim, include_self)
    else:
        grad = xp.gather(g, dim, index)
    return spread(xp, grad, src_shape)


def _others(xp: Any, g: Any, input: Any, index: Any, src: Any, out: Any, dim: int,
            include_self: bool) -> Any:  # fmt: skip
    """``g`` times the product of everything else that met: by division, but around zeros.

    A zero that is alone in its place gets the product of the others; beside another zero
    everything gets 0, by division of 0 by 1.
    """
    zero = xp.equal(src, xp.zeros_like(src))
    zeros = xp.scatter_add(xp.zeros_like(g), dim, index, xp.astype(zero, g.dtype))
    zeros = xp.gather(zeros, dim, index)
    alone = xp.logical_and(zero, xp.equal(zeros, xp.ones_like(zeros)))
    ones = xp.ones_like(src)
    filled = xp.where(alone, ones, src)
    others = xp.scatter_reduce(input, dim, index, filled, "prod", include_self)
    divided = xp.gather(g * out, dim, index) / xp.where(zero, ones, src)
    return xp.where(alone, xp.gather(g * others, dim, index), divided)
