"""Norms and distances of vectors, as ``torch`` and ``torch.nn.functional`` spell them.

``linalg.vector_norm`` does the work; its gradient at the origin is 0.
"""

from __future__ import annotations

from typing import Any

from gpugrad.dtypes import promote_types
from gpugrad.errors import SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, function, op
from gpugrad.samples import A, Sample
from gpugrad.signature import broadcast_shapes, check_choice, wrap_dim
from gpugrad.spec import Spec

_FN = "nn.functional"


@function(samples=[
    Sample(A((3, 4))), Sample(A((3, 4)), 1, 0), Sample(A((2, 3, 4)), "fro", (1, 2), True),
    Sample(A((3, 4)), 3, dim=-1), Sample(A((3, 4)), float("inf"), 1), Sample(A((4, 3)), "nuc"),
    Sample(A((5,)), 2, dtype="float64"), Sample(A(())),
])  # fmt: skip
def norm(input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False,
         dtype: Any = None) -> Any:  # fmt: skip
    """Norm of vectors over ``dim``, of all elements by default.

    Args:
        p: a number (``sum(abs(x) ** p) ** (1 / p)``), ``inf``, ``"fro"`` (2 over any dims), or
            ``"nuc"`` (sum of a matrix's singular values).
    """
    if isinstance(p, str):
        check_choice("norm", "p", p, ("fro", "nuc"))
        if p == "nuc":
            pair = (-2, -1) if dim is None else dim
            return F.matrix_norm(input, "nuc", pair, keepdim, dtype=dtype)
        p = 2
    return F.vector_norm(input, 2 if p is None else p, dim, keepdim, dtype=dtype)


@function(samples=[
    Sample(A((3, 4)), A((3, 4))), Sample(A((3, 1)), A((4,)), 1), Sample(A(()), A(())),
])  # fmt: skip
def dist(input: Any, other: Any, p: float = 2) -> Any:
    """The ``p``-norm of ``input - other``."""
    return F.vector_norm(input - other, p)


@function(inplace=True, samples=[
    Sample(A((3, 4)), 2, 0, 1.0), Sample(A((2, 3, 4)), 1, -1, 2.5), Sample(A((3, 4)), 3, 1, 9.0),
])  # fmt: skip
def renorm(input: Any, p: float, dim: int, maxnorm: float) -> Any:
    """Scale down every slice along ``dim`` whose ``p``-norm exceeds ``maxnorm``."""
    if input.ndim < 2:
        raise ShapeError(f"renorm: input must have at least 2 dimensions, got {tuple(input.shape)}")
    if p <= 0 or maxnorm < 0:
        raise SettingError(f"renorm: needs p > 0 and maxnorm >= 0, got {p} and {maxnorm}")
    dim = wrap_dim("renorm", dim, input.ndim)
    size = F.vector_norm(input, p, tuple(d for d in range(input.ndim) if d != dim), True)
    return input * F.where(size > maxnorm, maxnorm / (size + 1e-7), 1.0)


@function(home=_FN, method=False, samples=[
    Sample(A((3, 4))), Sample(A((2, 3, 4)), 1, -1), Sample(A((3, 4)), float("inf"), 0, 0.1),
])  # fmt: skip
def normalize(input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None) -> Any:
    """Divide vectors along ``dim`` by their ``p``-norm, or by ``eps`` if that is smaller."""
    size = F.clamp(F.vector_norm(input, p, dim, True), eps)
    return F.divide(input, size) if out is None else F.divide(input, size, out=out)


@function(method=False, aliases=("nn.functional.cosine_similarity",), samples=[
    Sample(A((3, 4)), A((3, 4))), Sample(A((2, 3, 4)), A((3, 4)), -1), Sample(A((5,)), A((5,)), 0),
])  # fmt: skip
def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """Cosine of the angle between vectors along ``dim``; a norm below ``eps`` counts as ``eps``."""
    shape = broadcast_shapes("cosine_similarity", tuple(x1.shape), tuple(x2.shape))
    dtype = promote_types(x1.dtype, x2.dtype)
    a, b = (F.astype(F.broadcast_to(x, shape), dtype) for x in (x1, x2))
    a, b = (x / F.clamp(F.vector_norm(x, 2, dim, True), eps) for x in (a, b))
    return F.sum(a * b, dim)


@function(method=False, aliases=("nn.functional.pairwise_distance",), samples=[
    Sample(A((3, 4)), A((3, 4))), Sample(A((2, 3, 4)), A((4,)), 1.0, keepdim=True),
    Sample(A((4,)), A((4,)), 3, 0.1),
])  # fmt: skip
def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6,
                      keepdim: bool = False) -> Any:  # fmt: skip
    """The ``p``-norm of ``x1 - x2 + eps`` along the last dimension."""
    return F.vector_norm(x1 - x2 + eps, p, -1, keepdim)


# ---- all pairs ---------------------------------------------------------------------------------

_MODES = (
    "use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist",
    "donot_use_mm_for_euclid_dist",
)  # fmt: skip
#: From this many rows on PyTorch takes the matrix product, which is faster and less exact.
_MANY = 25


def _pairs(x1: Spec, x2: Spec) -> Spec:
    batch = broadcast_shapes("cdist", x1.shape[:-2], x2.shape[:-2])
    return Spec((*batch, x1.shape[-2], x2.shape[-2]), x1.dtype)


@op(home="_ops", method=False, torch="", accepts="f", result=_pairs, samples=[
    Sample(A((3, 4)), A((5, 4))), Sample(A((2, 1, 3, 4)), A((3, 2, 4))),
    Sample(A((0, 4)), A((2, 4))),
])  # fmt: skip
def euclidean(xp, x1: Array, x2: Array) -> Array:
    """Distances of all pairs of rows, by one matrix product.

    ``(..., P, M), (..., R, M) -> (..., P, R)``.
    """
    squares = xp.sum(x1 * x1, -1, True) + xp.expand_dims(xp.sum(x2 * x2, -1), -2)
    squares = squares - 2 * xp.matmul(x1, xp.swapaxes(x2, -1, -2))
    return xp.sqrt(xp.maximum(squares, 0))


@euclidean.vjp
def _(xp, g, x1, x2, out):
    same = xp.equal(out, 0)
    w = xp.where(same, 0.0, g / xp.where(same, 1.0, out))
    to_first = xp.sum(w, -1, True) * x1 - xp.matmul(w, x2)
    w = xp.swapaxes(w, -1, -2)
    return to_first, xp.sum(w, -1, True) * x2 - xp.matmul(w, x1)


@function(method=False, samples=[
    Sample(A((3, 4)), A((5, 4))), Sample(A((2, 1, 3, 4)), A((3, 2, 4)), 1.0),
    Sample(A((3, 4)), A((2, 4)), 3.0), Sample(A((30, 4)), A((2, 4))), Sample(A((0, 4)), A((2, 4))),
])  # fmt: skip
def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: str = _MODES[0]) -> Any:
    """The ``p``-norms of the differences of all pairs of rows.

    Args:
        x1: ``(..., P, M)``.
        x2: ``(..., R, M)``; the result is ``(..., P, R)``.
        compute_mode: whether Euclidean distances come from a matrix product; by default they do
            from 25 rows on.
    """
    check_choice("cdist", "compute_mode", compute_mode, _MODES)
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(
            f"cdist: inputs of shapes {tuple(x1.shape)} and {tuple(x2.shape)}; they must have at "
            "least 2 dimensions and the same last one"
        )
    if p < 0:
        raise SettingError(f"cdist: p must not be negative, got {p}")
    many = max(x1.shape[-2], x2.shape[-2]) > _MANY
    if p == 2 and (compute_mode == _MODES[1] or (compute_mode == _MODES[0] and many)):
        return F.euclidean(x1, x2)
    return F.vector_norm(F.expand_dims(x1, -2) - F.expand_dims(x2, -3), p, -1)
