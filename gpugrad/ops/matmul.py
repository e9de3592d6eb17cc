"""Matrix products: one record does the work, the named special cases check their dims and call it.

All arrays of a product must have one dtype.  16-bit floats are multiplied and summed in float32 and
rounded once: by the library where it can, else by way of float32 arrays (``half="product"``).
"""

from __future__ import annotations

import math
from typing import Any

from gpugrad.errors import ShapeError
from gpugrad.op import Array, op
from gpugrad.samples import A, Sample
from gpugrad.signature import broadcast_shapes
from gpugrad.spec import Spec

# ---- shapes ------------------------------------------------------------------------------------


def mT(xp: Any, x: Any) -> Any:
    """Every matrix transposed: the last two dimensions change places."""
    n = len(x.shape)
    return xp.permute_dims(x, (*range(n - 2), n - 1, n - 2))


def column(xp: Any, x: Any) -> Any:
    """Add a last dimension of size 1."""
    return xp.reshape(x, (*x.shape, 1))


def rows(xp: Any, x: Any) -> Any:
    """All leading dimensions as one: ``(..., n) -> (m, n)``."""
    return xp.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def check_ndim(name: str, **arrays: tuple[Any, int]) -> None:
    """Raise a ShapeError unless each array has the dimensions that it is listed with."""
    for key, (x, ndim) in arrays.items():
        if len(x.shape) != ndim:
            what = {1: "a vector", 2: "a matrix"}.get(ndim, f"{ndim}-d")
            raise ShapeError(f"{name}: {key} must be {what}, got shape {tuple(x.shape)}")


def check_inner(name: str, a: Any, b: Any, inner: int, other: int) -> None:
    """Raise a ShapeError unless the sizes that are summed over agree."""
    if inner != other:
        raise ShapeError(
            f"{name}: {tuple(a.shape)} @ {tuple(b.shape)}: inner sizes {inner} and {other} differ"
        )


def product(input: Spec, other: Spec) -> Spec:
    """Shape and dtype of ``input @ other``."""
    if not input.ndim or not other.ndim:
        raise ShapeError(
            f"matmul: {input.shape} @ {other.shape}: both must have at least one dimension; "
            "multiply by a 0-d tensor with *"
        )
    check_inner("matmul", input, other, input.shape[-1], other.shape[max(other.ndim - 2, 0)])
    batch = broadcast_shapes("matmul", input.shape[:-2], other.shape[:-2])
    ends = input.shape[-2:-1] + (other.shape[-1:] if other.ndim > 1 else ())
    return Spec((*batch, *ends), input.dtype)


#: What the records of all products say.
PRODUCT: dict[str, Any] = {"promotion": "same", "accepts": "if", "half": "product"}

# ---- the product -------------------------------------------------------------------------------

_SHAPES = [((3, 4), (4, 5)), ((4,), (4,)), ((4,), (4, 5)), ((3, 4), (4,)), ((2, 3, 4), (4, 5)),
           ((2, 3, 4), (2, 4, 5)), ((5, 1, 3, 4), (2, 4, 2)), ((3, 4), (2, 4, 5)),
           ((4,), (2, 4, 3)), ((2, 3, 4), (4,)), ((3, 0), (0, 2)), ((0, 3), (3, 2)),
           ((0, 2, 3), (3, 4))]  # fmt: skip


@op(operator="__matmul__", aliases=("linalg.matmul",), **PRODUCT, result=product,
    samples=[Sample(A(a), A(b)) for a, b in _SHAPES])  # fmt: skip
def matmul(xp, input: Array, other: Array) -> Array:
    """Matrix product over the last two dimensions; leading ones broadcast.

    A vector on the left is a row and on the right a column, and the result lacks that dimension.
    """
    return xp.matmul(input, other)


@matmul.vjp("input")
def to_left(xp, g, other, input_shape):
    if len(other.shape) == 1:
        return column(xp, g) * other
    if len(input_shape) == 1:
        return xp.reshape(xp.matmul(other, column(xp, g)), other.shape[:-1])
    return xp.matmul(g, mT(xp, other))


@matmul.vjp("other")
def to_right(xp, g, input, other_shape):
    if len(input.shape) == 1:
        row = xp.reshape(g, (*g.shape[:-1], 1, g.shape[-1])) if g.shape else g
        return (column(xp, input) if g.shape else input) * row
    if len(other_shape) == 1:
        return xp.matmul(xp.reshape(g, (-1,)), rows(xp, input))
    if len(other_shape) == 2:  # one product over all rows instead of one per batch and a sum
        return xp.matmul(mT(xp, rows(xp, input)), rows(xp, g))
    return xp.matmul(mT(xp, input), g)


# ---- with checked dimensions -------------------------------------------------------------------


def _fixed(*shapes: tuple[int, ...]) -> list[Sample]:
    return [Sample(*map(A, shapes))]


@op(**PRODUCT, samples=_fixed((3, 4), (4, 5)))
def mm(xp, input: Array, mat2: Array) -> Array:
    """Product of two matrices, without broadcasting."""
    check_ndim("mm", input=(input, 2), mat2=(mat2, 2))
    check_inner("mm", input, mat2, input.shape[1], mat2.shape[0])
    return xp.matmul(input, mat2)


def check_batch(name: str, a: Any, b: Any) -> None:
    """Raise a ShapeError unless two batches of matrices fit without broadcasting."""
    check_ndim(name, input=(a, 3), mat2=(b, 3))
    if a.shape[0] != b.shape[0]:
        raise ShapeError(
            f"{name}: {tuple(a.shape)} @ {tuple(b.shape)}: batch sizes {a.shape[0]} and "
            f"{b.shape[0]} differ; matmul broadcasts them"
        )
    check_inner(name, a, b, a.shape[2], b.shape[1])


@op(**PRODUCT, samples=_fixed((2, 3, 4), (2, 4, 5)))
def bmm(xp, input: Array, mat2: Array) -> Array:
    """Products of two equal batches of matrices, without broadcasting."""
    check_batch("bmm", input, mat2)
    return xp.matmul(input, mat2)


@op(**PRODUCT, samples=_fixed((3, 4), (4,)))
def mv(xp, input: Array, vec: Array) -> Array:
    """Product of a matrix and a vector."""
    check_ndim("mv", input=(input, 2), vec=(vec, 1))
    check_inner("mv", input, vec, input.shape[1], vec.shape[0])
    return xp.matmul(input, vec)


@op(**PRODUCT, samples=_fixed((4,), (4,)))
def dot(xp, input: Array, tensor: Array) -> Array:
    """Sum of the products of two vectors' elements."""
    check_ndim("dot", input=(input, 1), tensor=(tensor, 1))
    check_inner("dot", input, tensor, input.shape[0], tensor.shape[0])
    return xp.matmul(input, tensor)


@op(**PRODUCT, samples=_fixed((4,), (4,)))
def vdot(xp, input: Array, other: Array) -> Array:
    """``dot``; the two differ for complex numbers only."""
    check_ndim("vdot", input=(input, 1), other=(other, 1))
    check_inner("vdot", input, other, input.shape[0], other.shape[0])
    return xp.matmul(input, other)


@op(samples=_fixed((3,), (4,)), aliases=("ger",))
def outer(xp, input: Array, vec2: Array) -> Array:
    """All products of an element of one vector with one of the other."""
    check_ndim("outer", input=(input, 1), vec2=(vec2, 1))
    return column(xp, input) * vec2


# ---- layers ------------------------------------------------------------------------------------


def _affine(input: Spec, weight: Spec, bias: Spec | None = None) -> Spec:
    if weight.ndim not in (1, 2) or not input.ndim:
        raise ShapeError(
            f"linear: input {input.shape}, weight {weight.shape}; accepted: (..., in) and (out, in)"
        )
    if input.shape[-1] != weight.shape[-1]:
        raise ShapeError(
            f"linear: input {input.shape} has {input.shape[-1]} features, "
            f"weight {weight.shape} takes {weight.shape[-1]}"
        )
    shape = (*input.shape[:-1], *weight.shape[:-1])
    if bias is not None and broadcast_shapes("linear", shape, bias.shape) != shape:
        raise ShapeError(f"linear: bias {bias.shape} does not fit the result's shape {shape}")
    return Spec(shape, input.dtype)


@op(home="nn.functional", method=False, **PRODUCT, result=_affine, samples=[
    Sample(A((3, 4)), A((5, 4)), A((5,))), Sample(A((2, 3, 4)), A((5, 4))),
    Sample(A((4,)), A((5, 4)), A((5,))), Sample(A((3, 4)), A((4,))),
    Sample(A((0, 4)), A((2, 4)))])  # fmt: skip
def linear(xp, input: Array, weight: Array, bias: Array | None = None) -> Array:
    """``input (..., in) @ weight.T + bias`` with ``weight (out, in)`` and ``bias (out,)``."""
    if len(weight.shape) > 2:
        _affine(input, weight, bias)
    right = weight if len(weight.shape) == 1 else mT(xp, weight)
    if bias is None:
        return xp.matmul(input, right)
    total = xp.affine(bias, input, right, beta=1, alpha=1)
    if total.shape != (*input.shape[:-1], *weight.shape[:-1]):
        _affine(input, weight, bias)
    return total


@linear.vjp("input")
def _(xp, g, weight):
    return column(xp, g) * weight if len(weight.shape) == 1 else xp.matmul(g, weight)


@linear.vjp("weight")
def _(xp, g, input, weight_shape):
    if len(weight_shape) == 1:
        return xp.matmul(xp.reshape(g, (-1,)), rows(xp, input))
    return xp.matmul(mT(xp, rows(xp, g)), rows(xp, input))


@linear.vjp("bias")
def _(xp, g):
    return g


@linear.vjp_of("weight", "bias")
def _(xp, g, input, weight_shape):
    if len(weight_shape) == 1:
        return xp.matmul(xp.reshape(g, (-1,)), rows(xp, input)), g
    return xp.affine_grads(g, input)
