"""Largest and smallest elements, their places, and what lies in the middle of the order."""

from __future__ import annotations

from typing import Any, NamedTuple

from gpugrad import dtypes
from gpugrad.errors import ArgumentError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, Dim, Dims, function, op
from gpugrad.ops.reduction import SAMPLES, kept, not_empty, reduced
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor

# ---- values only -------------------------------------------------------------------------------


def _extreme(name: str) -> Any:
    def result(input: Spec, *, dim: Any, keepdim: bool) -> Spec:
        not_empty(name, input.shape, dim)
        return Spec(reduced(input.shape, dim, keepdim), input.dtype)

    return result


def share(xp: Any, g: Any, input: Any, out: Any, dim: Any) -> Any:
    """Divide the gradient evenly among the elements that are the result; NaN is equal to NaN."""
    shape = kept(input.shape, dim)
    out = xp.reshape(out, shape)
    hit = xp.logical_or(xp.equal(input, out), xp.logical_and(xp.isnan(input), xp.isnan(out)))
    return hit * xp.reshape(g, shape) / xp.sum(hit, dim, True, dtype=g.dtype)


@op(xp_name="max", result=_extreme("amax"), samples=SAMPLES)
def amax(xp, input: Array, *, dim: Dims = None, keepdim: bool = False) -> Array:
    """Largest element; NaN wins.  Equal largest elements share the gradient."""
    return xp.max(input, axis=dim, keepdims=keepdim)


@amax.vjp
def _(xp, g, input, out, dim):
    return share(xp, g, input, out, dim)


@op(xp_name="min", result=_extreme("amin"), samples=SAMPLES)
def amin(xp, input: Array, *, dim: Dims = None, keepdim: bool = False) -> Array:
    """Smallest element; NaN wins.  Equal smallest elements share the gradient."""
    return xp.min(input, axis=dim, keepdims=keepdim)


@amin.vjp
def _(xp, g, input, out, dim):
    return share(xp, g, input, out, dim)


@function(samples=[
    Sample(A((3, 4))), Sample(A((3, 4)), dim=1), Sample(A((3, 4)), dim=0, keepdim=True),
])  # fmt: skip
def aminmax(input: Any, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """Smallest and largest element, as ``(min, max)``."""
    if dim is None and not keepdim:
        return MinMax(F.min(input), F.max(input))
    return MinMax(F.min(input, dim, keepdim), F.max(input, dim, keepdim))


MinMax: Any = NamedTuple("aminmax", [("min", Any), ("max", Any)])  # type: ignore[name-match]

# ---- places ------------------------------------------------------------------------------------


def _place(name: str) -> Any:
    def result(input: Spec, *, dim: Any, keepdim: bool) -> Spec:
        not_empty(name, input.shape, dim)
        return Spec(reduced(input.shape, dim, keepdim), dtypes.int64)

    return result


_DISTINCT = [
    Sample(A((3, 4), values="distinct")), Sample(A((3, 4), values="distinct"), 1),
    Sample(A((2, 3, 5), values="distinct"), 0, True), Sample(A(()), -1), Sample(A(())),
    Sample(A((2, 0, 3)), 2),
]  # fmt: skip


@op(accepts="if", differentiable=False, result=_place("argmax"), samples=_DISTINCT)
def argmax(xp, input: Array, *, dim: Dim | None = None, keepdim: bool = False) -> Array:
    """Place of the largest element, the first of several; without ``dim`` in the flat input."""
    return xp.asarray(xp.argmax(input, axis=dim, keepdims=keepdim), dtype="int64")


@op(accepts="if", differentiable=False, result=_place("argmin"), samples=_DISTINCT)
def argmin(xp, input: Array, *, dim: Dim | None = None, keepdim: bool = False) -> Array:
    """Place of the smallest element, the first of several; without ``dim`` in the flat input."""
    return xp.asarray(xp.argmin(input, axis=dim, keepdims=keepdim), dtype="int64")


# ---- values with their places ------------------------------------------------------------------


def _with_place(name: str) -> Any:
    def result(input: Spec, *, dim: int, keepdim: bool) -> tuple[Spec, Spec]:
        not_empty(name, input.shape, dim)
        shape = reduced(input.shape, dim, keepdim)
        return Spec(shape, input.dtype), Spec(shape, dtypes.int64)

    return result


def return_place(xp: Any, g: Any, indices: Any, shape: Any, dim: int, keepdim: bool) -> Any:
    """The gradient of values picked along ``dim``: zeros, but at their places."""
    if not keepdim:
        g, indices = xp.expand_dims(g, dim), xp.expand_dims(indices, dim)
    return xp.gather_adjoint(g, dim, indices, shape)


def _picked(xp: Any, input: Any, place: Any, dim: int, keepdim: bool) -> Any:
    values = xp.take_along_axis(input, place, dim)
    return (values, place) if keepdim else (xp.squeeze(values, dim), xp.squeeze(place, dim))


_ALONG: dict[str, Any] = {
    "home": "_ops", "method": False, "torch": "", "outputs": ("values", "indices"),
    "samples": [
        Sample(A((3, 4), values="distinct"), 1), Sample(A((2, 3, 5), values="distinct"), 0, True),
        Sample(A(()), 0), Sample(A((2, 0, 3)), 2),
    ],
}  # fmt: skip


@op(**_ALONG, result=_with_place("max"))
def max_along(xp, input: Array, *, dim: Dim, keepdim: bool = False) -> Array:
    """Largest element along ``dim`` and where it is, the first of several."""
    return _picked(xp, input, xp.argmax(input, axis=dim, keepdims=True), dim, keepdim)


@max_along.vjp
def _(xp, g, indices, input_shape, dim, keepdim):
    return return_place(xp, g, indices, input_shape, dim, keepdim)


@op(**_ALONG, result=_with_place("min"))
def min_along(xp, input: Array, *, dim: Dim, keepdim: bool = False) -> Array:
    """Smallest element along ``dim`` and where it is, the first of several."""
    return _picked(xp, input, xp.argmin(input, axis=dim, keepdims=True), dim, keepdim)


@min_along.vjp
def _(xp, g, indices, input_shape, dim, keepdim):
    return return_place(xp, g, indices, input_shape, dim, keepdim)


Max: Any = NamedTuple("max", [("values", Any), ("indices", Any)])  # type: ignore[name-match]
Min: Any = NamedTuple("min", [("values", Any), ("indices", Any)])  # type: ignore[name-match]


def _overloads(name: str, input: Any, dim: Any, keepdim: bool, other: Any) -> Any:
    other = dim if isinstance(dim, Tensor) else other
    if other is not None:
        if keepdim or not (dim is None or other is dim):
            raise ArgumentError(f"{name}: takes other, or dim and keepdim; not both")
        return getattr(F, f"{name}imum")(input, other)
    if dim is None:
        return getattr(F, name)(input)
    kind = Max if name == "max" else Min
    return kind(*getattr(F, f"{name}_along")(input, dim, keepdim))


_OVERLOADS = [
    Sample(A((3, 4))), Sample(A((3, 4), values="distinct"), 1), Sample(A(())), Sample(A(()), 0),
    Sample(A((2, 3, 5), values="distinct"), -1, keepdim=True), Sample(A((3, 1)), A((4,))),
    Sample(A((3, 4)), other=A((3, 4))),
]  # fmt: skip


@function(samples=_OVERLOADS)
def max_(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """Largest element, or with ``dim`` the largest along it and where, as ``(values, indices)``.

    ``max(input, other)`` is the larger of two tensors, element by element.  Along a dimension the
    gradient goes to the element at the index; otherwise equal elements share it.
    """
    return _overloads("max", input, dim, keepdim, other)


@function(samples=_OVERLOADS)
def min_(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """Smallest element, or with ``dim`` the smallest along it and where, as ``(values, indices)``.

    ``min(input, other)`` is the smaller of two tensors, element by element.  Along a dimension the
    gradient goes to the element at the index; otherwise equal elements share it.
    """
    return _overloads("min", input, dim, keepdim, other)
