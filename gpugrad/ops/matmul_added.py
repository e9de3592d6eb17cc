"""Products that are added to something: one record does the work, PyTorch's names call it."""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.errors import DTypeError, ShapeError
from gpugrad.op import Array, op
from gpugrad.ops.matmul import (
    PRODUCT,
    check_batch,
    check_inner,
    check_ndim,
    column,
    product,
    to_left,
    to_right,
)
from gpugrad.samples import A, Sample
from gpugrad.signature import broadcast_shapes
from gpugrad.spec import Spec


def _sum_of(input: Spec, mat1: Spec, mat2: Spec, *, beta: float, alpha: float) -> Spec:
    return product(mat1, mat2)


@op(home="_ops", method=False, torch="", **PRODUCT, result=_sum_of, samples=[
    Sample(A((5,)), A((3, 4)), A((4, 5)), beta=1, alpha=1),
    Sample(A((3, 5)), A((2, 3, 4)), A((2, 4, 5)), beta=3, alpha=2),
    Sample(A((3,)), A((3, 4)), A((4,)), beta=2, alpha=1),
    Sample(A(()), A((4,)), A((4,)), beta=1, alpha=3),
    Sample(A((2, 5)), A((4,)), A((2, 4, 5)), beta=1, alpha=1),
    Sample(A((3, 2)), A((3, 0)), A((0, 2)), beta=2, alpha=1),
    Sample(A((5,)), A((3, 4)), A((4, 5)), beta=0, alpha=1)])  # fmt: skip
def affine(xp, input: Array, mat1: Array, mat2: Array, *, beta: float, alpha: float) -> Array:
    """``beta * input + alpha * (mat1 @ mat2)``, where ``input`` expands to the product."""
    return xp.affine(input, mat1, mat2, beta=beta, alpha=alpha)


@affine.vjp("input")
def _(xp, g, beta):
    return None if beta == 0 else g if beta == 1 else g * beta


@affine.vjp("mat1")
def _(xp, g, mat2, mat1_shape, alpha):
    return to_left(xp, g if alpha == 1 else g * alpha, mat2, mat1_shape)


@affine.vjp("mat2")
def _(xp, g, mat1, mat2_shape, alpha):
    return to_right(xp, g if alpha == 1 else g * alpha, mat1, mat2_shape)


def _check_added(name: str, input: Any, product: Any, beta: float, alpha: float) -> None:
    """Check that ``input`` expands to the product (anything with shape and dtype), and factors."""
    if broadcast_shapes(name, input.shape, product.shape) != tuple(product.shape):
        raise ShapeError(
            f"{name}: input of shape {tuple(input.shape)} does not expand to the product's "
            f"{tuple(product.shape)}"
        )
    kind = dtypes.as_dtype(product.dtype).category
    whole = isinstance(alpha, int) and isinstance(beta, int)
    if (kind == dtypes.INTEGER and not whole) or (kind == dtypes.BOOL and {beta, alpha} - {0, 1}):
        taken, what = ("integers", "integer") if kind == dtypes.INTEGER else ("0 or 1", "bool")
        raise DTypeError(
            f"{name}: beta and alpha must be {taken} for {what} tensors, got {beta} and {alpha}"
        )


def _added(xp: Any, name: str, input: Any, mat1: Any, mat2: Any, beta: float, alpha: float) -> Any:
    """``beta * input + alpha * (mat1 @ mat2)``; with ``beta == 0`` a NaN in it does not show."""
    _check_added(name, input, product(mat1, mat2), beta, alpha)
    return xp.affine(input, mat1, mat2, beta=beta, alpha=alpha)


def _with(*shapes: tuple[int, ...]) -> list[Sample]:
    arrays = [A(s) for s in shapes]
    return [Sample(*arrays), Sample(*arrays, beta=3, alpha=2), Sample(*arrays, beta=0)]


@op(**PRODUCT, inplace=True, samples=_with((5,), (3, 4), (4, 5)))
def addmm(xp, input: Array, mat1: Array, mat2: Array, *, beta: float = 1,
          alpha: float = 1) -> Array:  # fmt: skip
    """``beta * input + alpha * (mat1 @ mat2)``; ``input`` is ignored where ``beta`` is 0."""
    check_ndim("addmm", mat1=(mat1, 2), mat2=(mat2, 2))
    check_inner("addmm", mat1, mat2, mat1.shape[1], mat2.shape[0])
    return _added(xp, "addmm", input, mat1, mat2, beta, alpha)


@op(**PRODUCT, inplace=True, samples=_with((3,), (3, 4), (4,)))
def addmv(xp, input: Array, mat: Array, vec: Array, *, beta: float = 1,
          alpha: float = 1) -> Array:  # fmt: skip
    """``beta * input + alpha * (mat @ vec)``."""
    check_ndim("addmv", mat=(mat, 2), vec=(vec, 1))
    check_inner("addmv", mat, vec, mat.shape[1], vec.shape[0])
    return _added(xp, "addmv", input, mat, vec, beta, alpha)


_FLOATS = [A(s, kind="float64") for s in ((3, 4), (3,), (4,))]  # bools take no factors


@op(promotion="same", inplace=True, samples=[
    *_with((3, 4), (3,), (4,))[::2], Sample(*_FLOATS, beta=0.5, alpha=2)])  # fmt: skip
def addr(xp, input: Array, vec1: Array, vec2: Array, *, beta: float = 1,
         alpha: float = 1) -> Array:  # fmt: skip
    """``beta * input + alpha * outer(vec1, vec2)``."""
    check_ndim("addr", vec1=(vec1, 1), vec2=(vec2, 1))
    product = column(xp, vec1) * vec2
    _check_added("addr", input, product, beta, alpha)
    scaled = product if alpha == 1 else product * alpha
    return scaled if beta == 0 else scaled + (input if beta == 1 else input * beta)


@op(**PRODUCT, inplace=True, samples=_with((3, 5), (2, 3, 4), (2, 4, 5)))
def addbmm(xp, input: Array, batch1: Array, batch2: Array, *, beta: float = 1,
           alpha: float = 1) -> Array:  # fmt: skip
    """``beta * input + alpha * sum(batch1[i] @ batch2[i])``."""
    check_batch("addbmm", batch1, batch2)
    b, n, k = batch1.shape
    left = xp.reshape(xp.permute_dims(batch1, (1, 0, 2)), (n, b * k))
    right = xp.reshape(batch2, (b * k, batch2.shape[2]))
    return _added(xp, "addbmm", input, left, right, beta, alpha)


@op(**PRODUCT, inplace=True, samples=_with((3, 5), (2, 3, 4), (2, 4, 5)))
def baddbmm(xp, input: Array, batch1: Array, batch2: Array, *, beta: float = 1,
            alpha: float = 1) -> Array:  # fmt: skip
    """``beta * input + alpha * bmm(batch1, batch2)``."""
    check_batch("baddbmm", batch1, batch2)
    return _added(xp, "baddbmm", input, batch1, batch2, beta, alpha)
