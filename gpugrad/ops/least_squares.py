"""Pseudo-inverses and least-squares solutions, from singular values above a cutoff."""

from __future__ import annotations

from typing import Any, NamedTuple

from gpugrad import dtypes
from gpugrad.errors import ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, function, op
from gpugrad.ops.factorizations import svdvals
from gpugrad.ops.linalg import check_matrix, check_square
from gpugrad.ops.matmul import mT
from gpugrad.samples import A, Sample
from gpugrad.signature import broadcast_shapes, check_choice
from gpugrad.spec import Spec

_SHAPES = ((3, 3), (4, 3), (3, 4), (2, 4, 3), (0, 3, 2))


# ---- pseudo-inverse ----------------------------------------------------------------------------


def _pinv_result(A: Spec, *, hermitian: bool, **settings: Any) -> Spec:
    (check_square if hermitian else check_matrix)("linalg.pinv", A)
    return Spec((*A.shape[:-2], A.shape[-1], A.shape[-2]), A.dtype)


@op(home="linalg", method=False, accepts="f", name="pinv", result=_pinv_result, tolerance=10,
    samples=[*(Sample(A(s, values="well")) for s in _SHAPES),
    Sample(A((3, 3), values="spd"), rtol=1e-6),
             Sample(A((3, 3), values="well"), atol=1e-6)])  # fmt: skip
def linalg_pinv(xp, A: Array, *, atol: float | None = None, rtol: float | None = None,
                hermitian: bool = False) -> Array:  # fmt: skip
    """Moore-Penrose inverses; singular values up to ``max(atol, rtol * largest)`` count as zero.

    ``rtol`` is ``eps * max(m, n)`` by default, and 0 where only ``atol`` is given.
    """
    return xp.pinv(A, atol, rtol, hermitian)


def pinv_gradient(xp: Any, g: Any, a: Any, p: Any) -> Any:
    """Golub & Pereyra 1973: the derivative of a pseudo-inverse of constant rank, transposed.

    ``dP = -P dA P + P P' dA' (I - A P) + (I - P A) dA' P' P``
    """
    pt, gt = mT(xp, p), mT(xp, g)
    left = gt @ p @ pt
    right = pt @ p @ gt
    return left - a @ (p @ left) + right - (right @ p) @ a - pt @ g @ pt


@linalg_pinv.vjp
def _(xp, g, A, out, hermitian):
    a = xp.tril(A) + mT(xp, xp.tril(A, -1)) if hermitian else A
    return pinv_gradient(xp, g, a, out)


@function(samples=[Sample(A((4, 3), values="well")), Sample(A((3, 3), values="well"), 1e-6)])
def pinverse(input: Any, rcond: float = 1e-15) -> Any:
    """Moore-Penrose inverse: ``linalg.pinv`` with ``rtol=rcond``."""
    return linalg_pinv(input, rtol=rcond)


# ---- least squares -----------------------------------------------------------------------------

_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


def _column(a: Any, b: Any) -> bool:
    """Whether ``b`` holds vectors, one per matrix."""
    return len(b.shape) == len(a.shape) - 1 and tuple(b.shape) == tuple(a.shape[:-1])


def _lstsq_result(A: Spec, B: Spec, **settings: Any) -> tuple[Spec, ...]:
    name = "linalg.lstsq"
    check_matrix(name, A)
    vector = _column(A, B)
    if not vector:
        check_matrix(name, B)
    b = (*B.shape, 1) if vector else B.shape
    m, n = A.shape[-2:]
    if b[-2] != m:
        raise ShapeError(f"{name}: A {A.shape} and B {B.shape}: B must have {m} rows")
    batch = broadcast_shapes(name, A.shape[:-2], b[:-2])
    solution = (*batch, n) if vector else (*batch, n, b[-1])
    return (
        Spec(solution, A.dtype),
        Spec((*batch, b[-1]), A.dtype),
        Spec(A.shape[:-2], dtypes.int64),
    )


@op(home="_ops", method=False, torch="", accepts="f", promotion="same", result=_lstsq_result,
    tolerance=10, outputs=("solution", "residuals", "rank"),
    samples=[Sample(A((4, 3), values="well"), A((4, 2)))])  # fmt: skip
def least_squares(xp, A: Array, B: Array, *, rcond: float | None = None) -> tuple[Array, ...]:
    """Solution of least norm, squared residuals, and rank."""
    vector = _column(A, B)
    b = xp.reshape(B, (*B.shape, 1)) if vector else B
    x, rank = xp.lstsq_svd(A, b, rcond)
    r = A @ x - b
    return x[..., 0] if vector else x, xp.sum(r * r, axis=-2), rank


@least_squares.vjp
def _(xp, g, A, B, solution):
    vector = _column(A, B)
    gx, gr = g[0], g[1]
    if vector:
        gx, B, solution = (xp.reshape(x, (*x.shape, 1)) for x in (gx, B, solution))
    p = xp.pinv(A)
    gb = mT(xp, p) @ gx
    # at the solution A.T @ residual is 0, so the residuals do not change with it
    r = 2 * (A @ solution - B) * xp.reshape(gr, (*gr.shape[:-1], 1, gr.shape[-1]))
    ga = pinv_gradient(xp, gx @ mT(xp, B), A, p) + r @ mT(xp, solution)
    gb = gb - r
    return ga, xp.reshape(gb, gb.shape[:-1]) if vector else gb


class LeastSquares(NamedTuple):
    """What ``linalg.lstsq`` returns."""

    solution: Any
    residuals: Any
    rank: Any
    singular_values: Any


@function(home="linalg", method=False, tolerance=10, samples=[
    Sample(A((4, 3), values="well"), A((4, 2))), Sample(A((2, 4, 3), values="well"), A((2, 4))),
    Sample(A((3, 4), values="well"), A((3, 2))), Sample(A((4, 3), values="well"), A((4, 1)),
    driver="gelsd"), Sample(A((4, 3), values="well"), A((4, 2)), driver="gels")])  # fmt: skip
def lstsq(A: Any, B: Any, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """Least-squares solution of least norm of ``A @ X = B``.

    Args:
        rcond: singular values up to ``rcond * largest`` count as zero; ``eps * max(m, n)`` by
            default.
        driver: decides which results are filled, as in PyTorch: all but ``gels`` the rank,
            ``gelsd`` and ``gelss`` the singular values, all but ``gelsy`` (the default) the squared
            residuals, where ``m > n`` and the rank is full.  The solution is the same for all.
    """
    check_choice("linalg.lstsq", "driver", driver, (None, *_DRIVERS))
    x, residuals, rank = least_squares(A, B, rcond)
    m, n = A.shape[-2:]
    with_residuals = driver not in (None, "gelsy") and m > n
    if not with_residuals or (not A.is_meta and bool((rank < n).any())):
        residuals = F.reshape(residuals[..., :0], (0,))
    rank = rank.new_zeros((0,)) if driver == "gels" else rank
    s = svdvals(A).detach() if driver in ("gelsd", "gelss") else x.new_zeros((0,))
    return LeastSquares(x, residuals, rank, s)
