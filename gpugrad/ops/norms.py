"""Norms of vectors and matrices, and what follows from singular values: rank and condition."""

from __future__ import annotations

import math
from typing import Any

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.errors import ArgumentError, DimError, DTypeError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, Dims, function, op
from gpugrad.ops.factorizations import eigvalsh, svdvals
from gpugrad.ops.linalg import check_matrix, check_square, det, inv
from gpugrad.ops.reduction import extent, kept, reduced
from gpugrad.samples import A, Sample
from gpugrad.signature import wrap_dims
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor

# ---- vectors -----------------------------------------------------------------------------------


def _normed(x: Spec, *, ord: float, dim: Any, keepdim: bool, dtype: Any) -> Spec:
    if extent(x.shape, dim) == 0 and (ord < 0 or ord == math.inf):
        raise ShapeError(
            f"linalg.vector_norm: the norm of order {ord} of no elements is not defined; "
            f"dim {dim} of shape {x.shape} is empty"
        )
    if dtype is not None and not dtype.is_floating_point:
        raise DTypeError(f"linalg.vector_norm: dtype must be floating, got {dtype.name}")
    return Spec(reduced(x.shape, dim, keepdim), dtype or x.dtype)


_ORDERS = (0, 1, 2, 3, 0.5, -1, 1.5, math.inf, -math.inf)


@op(home="linalg", method=False, accepts="f", result=_normed, samples=[
    *(Sample(A((3, 4), 0.5, 2, values="distinct"), o, 1) for o in _ORDERS), Sample(A((3, 4))),
    Sample(A((2, 3, 4)), 2, (0, 2), True), Sample(A((0, 3)), dim=0), Sample(A(()))])  # fmt: skip
def vector_norm(xp, x: Array, *, ord: float = 2, dim: Dims = None, keepdim: bool = False,
                dtype: DType | None = None) -> Array:  # fmt: skip
    """Norm over ``dim`` (all by default): ``sum(abs(x) ** ord) ** (1 / ord)``.

    ``inf`` and ``-inf`` take the largest and smallest absolute value, 0 counts what is not 0.
    """
    x = x if dtype is None else xp.astype(x, dtype)
    if ord == 2:
        return xp.sqrt(xp.sum(x * x, axis=dim, keepdims=keepdim))
    size = xp.abs(x)
    if ord == 1:
        return xp.sum(size, axis=dim, keepdims=keepdim)
    if math.isinf(ord):
        return (xp.max if ord > 0 else xp.min)(size, axis=dim, keepdims=keepdim)
    if ord == 0:
        return xp.sum(xp.astype(xp.not_equal(x, 0), x.dtype), axis=dim, keepdims=keepdim)
    return xp.sum(size**ord, axis=dim, keepdims=keepdim) ** (1 / ord)


@vector_norm.vjp
def _(xp, g, x, out, ord, dim):
    shape = kept(x.shape, dim)
    g, out = xp.reshape(g, shape), xp.reshape(out, shape)
    if ord == 0:
        return xp.zeros_like(x)
    if ord == 1:
        return g * xp.sign(x)
    if math.isinf(ord):  # ties share the gradient
        hit = xp.equal(xp.abs(x), out)
        return xp.sign(x) * hit * g / xp.sum(hit, axis=dim, keepdims=True)
    nowhere = xp.equal(out, 0)
    scale = xp.where(nowhere, 0, g / xp.where(nowhere, 1, out) ** (ord - 1))  # 0 at the origin
    if ord == 2:
        return x * scale
    zero = xp.equal(x, 0)
    power = xp.abs(xp.where(zero, 1, x)) ** (ord - 1)
    return xp.where(zero, 0, xp.sign(x) * power) * scale


# ---- matrices ----------------------------------------------------------------------------------

_MATRIX_ORDERS = ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf)
_STACK = A((2, 3, 4), values="distinct")


@function(home="linalg", method=False, samples=[
    *(Sample(_STACK, o) for o in _MATRIX_ORDERS), Sample(_STACK, dim=(2, 0), keepdim=True),
    Sample(_STACK, "nuc", (0, 1), True)])  # fmt: skip
def matrix_norm(A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *,
                dtype: DType | None = None) -> Any:  # fmt: skip
    """Norm of matrices in the dims ``dim``.

    Args:
        ord: ``"fro"`` (root of the sum of squares), ``"nuc"`` (sum of singular values), ``2``
            and ``-2`` (largest and smallest singular value), ``1`` and ``-1`` (of the sums of
            absolute values of columns), ``inf`` and ``-inf`` (of rows).
    """
    name = "linalg.matrix_norm"
    check_matrix(name, A)
    dims = wrap_dims(name, dim, A.ndim)
    if dims is None or len(dims) != 2:
        raise DimError(f"{name}: dim must be two dimensions, got {dim}")
    if ord not in _MATRIX_ORDERS:
        raise SettingError(f"{name}: ord must be one of {_MATRIX_ORDERS}, got {ord!r}")
    A = A if dtype is None else A.to(dtype)
    if not A.dtype.is_floating_point:
        raise DTypeError(f"{name}: takes floating dtypes, got {A.dtype.name}")
    if ord == "fro":
        return vector_norm(A, 2, dims, keepdim)
    if ord in ("nuc", 2, -2):
        rest = [i for i in range(A.ndim) if i not in dims]
        s = svdvals(F.permute_dims(A, (*rest, *dims)))
        out = s.sum(-1) if ord == "nuc" else s.amax(-1) if ord == 2 else s.amin(-1)
        return F.reshape(out, kept(A.shape, dims)) if keepdim else out
    summed, chosen = dims if abs(ord) == 1 else dims[::-1]
    sums = F.sum(F.abs(A), summed, True)
    out = sums.amax(chosen, True) if ord > 0 else sums.amin(chosen, True)
    return out if keepdim else F.reshape(out, reduced(A.shape, dims, False))


@function(home="linalg", method=False, samples=[
    Sample(A((3, 4))), Sample(A((2, 3, 4)), 1, (1, 2)), Sample(A((4,)), 3),
    Sample(A((3, 4)), "nuc")])  # fmt: skip
def norm(A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *,
         dtype: DType | None = None) -> Any:  # fmt: skip
    """Vector or matrix norm: of matrices where ``dim`` is two dims or ``ord`` needs a matrix."""
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if dim is None and A.ndim not in (1, 2):
        raise ShapeError(
            f"linalg.norm: with ord={ord!r} and no dim the input must be 1-d or 2-d, got "
            f"{tuple(A.shape)}"
        )
    pair = (0, 1) if dim is None and A.ndim == 2 else dim
    if isinstance(ord, str) or (isinstance(pair, tuple | list) and len(pair) == 2):
        if pair is None:
            raise ShapeError(f"linalg.norm: ord={ord!r} is for matrices, got {tuple(A.shape)}")
        return matrix_norm(A, ord, pair, keepdim, dtype=dtype)
    return vector_norm(A, ord, dim, keepdim, dtype=dtype)


# ---- what singular values say ------------------------------------------------------------------


@function(home="linalg", method=False, samples=[
    *(Sample(A((2, 3, 3), values="well"), p) for p in (None, 2, -2)),
    Sample(A((3, 4)))])  # fmt: skip
def cond(A: Any, p: Any = None) -> Any:
    """Condition numbers: ``norm(A, p) * norm(inv(A), p)``, inf for a singular matrix."""
    check_matrix("linalg.cond", A)
    if p in (None, 2, -2):
        s = svdvals(A)
        first, last = s[..., 0], s[..., -1]
        return last / first if p == -2 else first / last
    check_square("linalg.cond", A)
    d = det(A)
    if not bool((d != 0).all()):  # the inverse of the others must not fail for one
        eye = F.eye(A.shape[-1], dtype=A.dtype, device=A.device)
        bad = (d == 0)[..., None, None]
        ok = F.where(bad, eye, A)
        found = matrix_norm(ok, p) * matrix_norm(inv(ok), p)
        return F.where(d == 0, math.inf, found)
    return matrix_norm(A, p) * matrix_norm(inv(A), p)


@function(home="linalg", method=False, differentiable=False, samples=[
    Sample(A((2, 3, 4))), Sample(A((3, 3)), rtol=0.5), Sample(A((3, 3)), atol=1.0),
    Sample(A((3, 3), values="spd"), hermitian=True)])  # fmt: skip
def matrix_rank(A: Any, *, atol: Any = None, rtol: Any = None, hermitian: bool = False,
                tol: Any = None) -> Any:  # fmt: skip
    """How many singular values exceed ``max(atol, rtol * largest)``, as int64.

    ``rtol`` is ``eps * max(m, n)`` by default, and 0 where only ``atol`` is given.
    """
    check_matrix("linalg.matrix_rank", A)
    s = F.abs(eigvalsh(A)) if hermitian else svdvals(A)
    s = s.detach()
    if not s.shape[-1]:
        return F.sum(F.astype(s, dtypes.int64), -1)
    return F.sum(s > cutoff(A, s, atol if tol is None else tol, rtol), -1)


def cutoff(a: Any, s: Any, atol: Any, rtol: Any) -> Any:
    """The size up to which singular values count as zero."""

    for what, given in (("atol", atol), ("rtol", rtol)):
        if not (given is None or isinstance(given, int | float | Tensor)):
            raise ArgumentError(f"{what} must be a number or a Tensor, got {given!r}")

    def per_matrix(tolerance: Any) -> Any:
        many = getattr(tolerance, "ndim", 0) > 0
        return F.reshape(tolerance, (*tolerance.shape, 1)) if many else tolerance

    if rtol is None:
        rtol = 0.0 if atol is not None else max(a.shape[-2:]) * dtypes.finfo(a.dtype).eps
    relative = s.amax(-1, True) * per_matrix(rtol)
    return relative if atol is None else relative.clamp(min=per_matrix(atol))
