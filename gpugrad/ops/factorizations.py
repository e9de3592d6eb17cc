"""Factorisations of matrices, and the least-squares solutions that stand on them.

Gradients of eigenvectors and singular vectors exist where the values are distinct; those of the
values alone always do, and have records of their own (``eigvalsh``, ``svdvals``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from gpugrad.errors import AutogradError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, function, op
from gpugrad.ops.linalg import check_matrix, check_square, same_square, solve_triangular
from gpugrad.ops.matmul import mT
from gpugrad.samples import A, Sample
from gpugrad.signature import check_choice
from gpugrad.spec import Spec

_SPD = [A(s, values="spd") for s in ((3, 3), (2, 3, 3), (1, 1), (0, 3, 3))]
_SHAPES = ((3, 3), (4, 3), (3, 4), (2, 4, 3), (0, 3, 2))


def _scaled(xp: Any, u: Any, s: Any) -> Any:
    """``u @ diag(s)``."""
    return u * xp.reshape(s, (*s.shape[:-1], 1, s.shape[-1]))


def _ratio(xp: Any, a: Any, b: Any) -> Any:
    """``a / b``, and 0 where both are 0: a gradient that is not there needs no distinct values."""
    nothing = xp.logical_and(xp.equal(a, 0), xp.equal(b, 0))
    return a / xp.where(nothing, 1, b)


def _gaps(xp: Any, s: Any) -> Any:
    """``s[j] - s[i]`` in row i, column j."""
    return xp.reshape(s, (*s.shape[:-1], 1, s.shape[-1])) - xp.reshape(s, (*s.shape, 1))


# ---- Cholesky ----------------------------------------------------------------------------------


@op(home="linalg", method=False, accepts="f", xp_name="cholesky", result=same_square("cholesky"),
    samples=[*(Sample(a) for a in _SPD), Sample(_SPD[1], upper=True)])  # fmt: skip
def cholesky(xp, A: Array, *, upper: bool = False) -> Array:
    """``L`` with ``A = L @ L.T`` (``U.T @ U`` with ``upper``), reading that triangle of ``A``.

    Raises:
        LinAlgError: naming the matrix that is not positive-definite.
    """
    return xp.cholesky(A, upper)


@cholesky.vjp
def _(xp, g, out, upper):
    # Murray 2016, "Differentiation of the Cholesky decomposition", in the symmetric form
    low, g = (mT(xp, out), mT(xp, g)) if upper else (out, g)
    p = xp.tril(mT(xp, low) @ g)
    p = xp.tril(p, -1) + mT(xp, p)  # both halves; symmetric, the diagonal once
    x = xp.solve_triangular(mT(xp, low), p, True)
    return 0.5 * xp.solve_triangular(low, x, False, False)


@function(name="cholesky", samples=[Sample(_SPD[0]), Sample(_SPD[1], upper=True)])
def _cholesky(input: Any, upper: bool = False) -> Any:
    """Cholesky factor: ``linalg.cholesky``."""
    return cholesky(input, upper=upper)


# PyTorch's gradients of the next two have entries in the triangle that is never read; these do not,
# so the two are compared through ``cholesky`` (tests/ops/test_linalg.py), where they agree.


@function(torch="", samples=[Sample(A((3, 2)), A((3, 3), values="well")),
                             Sample(A((2, 3, 2)), A((2, 3, 3), values="well"), True)])  # fmt: skip
def cholesky_solve(B: Any, L: Any, upper: bool = False) -> Any:
    """Solution of ``A @ X = B`` from the Cholesky factor ``L`` of ``A``."""
    check_square("cholesky_solve", L)
    check_matrix("cholesky_solve", B)
    low = mT(F, L) if upper else L
    half = solve_triangular(low, B, upper=False)
    return solve_triangular(mT(F, low), half, upper=True)


@function(torch="", samples=[Sample(A((3, 3), values="well")),
                             Sample(A((2, 3, 3), values="well"), upper=True)])  # fmt: skip
def cholesky_inverse(L: Any, upper: bool = False) -> Any:
    """Inverse of a matrix from its Cholesky factor ``L``."""
    check_square("cholesky_inverse", L)
    eye = F.broadcast_to(F.eye(L.shape[-1], dtype=L.dtype, device=L.device), L.shape)
    return cholesky_solve(eye, L, upper)


# ---- QR ----------------------------------------------------------------------------------------


def _qr_result(A: Spec, *, mode: str) -> tuple[Spec, Spec]:
    check_matrix("linalg.qr", A)
    check_choice("linalg.qr", "mode", mode, ("reduced", "complete", "r"))
    *batch, m, n = A.shape
    k = m if mode == "complete" else min(m, n)
    q = (0,) if mode == "r" else (*batch, m, k)
    return Spec(q, A.dtype), Spec((*batch, k, n), A.dtype)


@op(home="linalg", method=False, accepts="f", xp_name="qr", result=_qr_result, outputs=("Q", "R"),
    samples=[*(Sample(A(s, values="well")) for s in _SHAPES),
             Sample(A((3, 4), values="well"), mode="complete")])  # fmt: skip
def qr(xp, A: Array, *, mode: str = "reduced") -> tuple[Array, Array]:
    """``Q`` with orthonormal columns and upper triangular ``R``, with ``A = Q @ R``.

    Args:
        mode: ``"reduced"``, ``"complete"`` (square ``Q``) or ``"r"`` (an empty ``Q``).
    """
    check_choice("linalg.qr", "mode", mode, ("reduced", "complete", "r"))
    return xp.qr(A, mode)


@qr.vjp
def _(xp, g, Q, R, mode):
    if mode == "r":
        raise AutogradError("linalg.qr: mode='r' has no gradient, which needs Q; use 'reduced'")
    m, k, n = Q.shape[-2], R.shape[-2], R.shape[-1]
    if mode == "complete" and m > n:
        raise AutogradError(
            f"linalg.qr: mode='complete' of a {m} x {n} matrix has no gradient; use 'reduced'"
        )
    gq, gr = g
    if n == k:
        return _qr_gradient(xp, gq, gr, Q, R)
    # wide: A = [X, Y] and R = [U, V] with X = Q U and Y = Q V (Roberts & Roberts 2020)
    y, gv = Q @ R[..., k:], gr[..., k:]
    gx = _qr_gradient(xp, gq + y @ mT(xp, gv), gr[..., :k], Q, R[..., :k])
    return xp.concat((gx, Q @ gv), axis=-1)


def _qr_gradient(xp: Any, gq: Any, gr: Any, q: Any, r: Any) -> Any:
    """For ``R`` square: Walter & Lehmann 2012."""
    m = xp.tril(r @ mT(xp, gr) - mT(xp, gq) @ q)
    m = m + mT(xp, xp.tril(m, -1))
    return xp.solve_triangular(mT(xp, r), gq + q @ m, False, False)


class QR(NamedTuple):
    """What ``qr`` returns."""

    Q: Any
    R: Any


@function(name="qr", samples=[Sample(A((4, 3), values="well")),
    Sample(A((3, 3), values="well"), False)])  # fmt: skip
def _qr(input: Any, some: bool = True) -> Any:
    """``Q`` and ``R`` with ``input = Q @ R``: ``linalg.qr``, complete without ``some``."""
    return QR(*qr(input, mode="reduced" if some else "complete"))


# ---- eigenvalues of symmetric matrices ---------------------------------------------------------


def _eigh_result(A: Spec, *, UPLO: str) -> tuple[Spec, Spec]:
    check_square("linalg.eigh", A)
    check_choice("linalg.eigh", "UPLO", UPLO, ("L", "U"))
    return Spec(A.shape[:-1], A.dtype), Spec(A.shape, A.dtype)


@op(home="linalg", method=False, accepts="f", xp_name="eigh", result=_eigh_result,
    outputs=("eigenvalues", "eigenvectors"), samples=[Sample(a) for a in _SPD])  # fmt: skip
def eigh(xp, A: Array, *, UPLO: str = "L") -> tuple[Array, Array]:
    """Eigenvalues, ascending, and eigenvectors (columns) of symmetric matrices.

    Only the triangle ``UPLO`` is read.  The sign of an eigenvector is arbitrary.
    """
    return xp.eigh(A, UPLO)


@eigh.vjp
def _(xp, g, eigenvalues, eigenvectors):
    # Giles 2008, "An extended collection of matrix derivative results", section 3.1
    values, v = g[0], eigenvectors
    inner = mT(xp, v) @ g[1]
    turned = _ratio(xp, 0.5 * (inner - mT(xp, inner)), _gaps(xp, eigenvalues))
    return (_scaled(xp, v, values) + v @ turned) @ mT(xp, v)


def _values(name: str) -> Any:
    def result(A: Spec, **settings: Any) -> Spec:
        (check_square if name == "eigvalsh" else check_matrix)(f"linalg.{name}", A)
        return Spec((*A.shape[:-2], min(A.shape[-2:])), A.dtype)

    return result


@op(home="linalg", method=False, accepts="f", result=_values("eigvalsh"),
    samples=[Sample(a) for a in _SPD])  # fmt: skip
def eigvalsh(xp, A: Array, *, UPLO: str = "L") -> Array:
    """Eigenvalues of symmetric matrices, ascending; only the triangle ``UPLO`` is read."""
    check_choice("linalg.eigvalsh", "UPLO", UPLO, ("L", "U"))
    return xp.eigh(A, UPLO)[0]


@eigvalsh.vjp
def _(xp, g, A, UPLO):
    v = xp.eigh(A, UPLO)[1]
    return _scaled(xp, v, g) @ mT(xp, v)


# ---- singular values ---------------------------------------------------------------------------


def _svd_result(A: Spec, *, full_matrices: bool) -> tuple[Spec, Spec, Spec]:
    check_matrix("linalg.svd", A)
    *batch, m, n = A.shape
    k = min(m, n)
    rows, cols = (m, n) if full_matrices else (k, k)
    shapes = ((*batch, m, rows), (*batch, k), (*batch, cols, n))
    u, s, vh = (Spec(shape, A.dtype) for shape in shapes)
    return u, s, vh


@op(home="linalg", method=False, accepts="f", xp_name="svd", result=_svd_result,
    outputs=("U", "S", "Vh"),
    samples=[Sample(A(s, values="well"), False) for s in _SHAPES])  # fmt: skip
def svd(xp, A: Array, *, full_matrices: bool = True) -> tuple[Array, Array, Array]:
    """``U``, ``S`` (descending) and ``Vh`` with ``A = U @ diag(S) @ Vh``.

    Without ``full_matrices`` the vectors that only complete the bases are left out.  Signs of
    vectors are arbitrary.
    """
    return xp.svd(A, full_matrices)


@svd.vjp
def _(xp, g, U, S, Vh):
    # Townsend 2016, "Differentiating the singular value decomposition"
    k = S.shape[-1]
    u, v = U[..., :k], mT(xp, Vh[..., :k, :])
    gu, gs, gv = g[0][..., :k], g[1], mT(xp, g[2][..., :k, :])
    square = _gaps(xp, S * S)
    utg, vtg = mT(xp, u) @ gu, mT(xp, v) @ gv
    row = xp.reshape(S, (*S.shape[:-1], 1, k))
    left = _ratio(xp, utg - mT(xp, utg), square) * row
    right = xp.reshape(S, (*S.shape, 1)) * _ratio(xp, vtg - mT(xp, vtg), square)
    inner = u @ (left + right) + _scaled(xp, u, gs)
    if u.shape[-2] > k:
        inner = inner + _ratio(xp, gu - u @ utg, row)
    out = inner @ mT(xp, v)
    if v.shape[-2] > k:
        out = out + u @ mT(xp, _ratio(xp, gv - v @ vtg, row))
    return out


@op(home="linalg", method=False, accepts="f", result=_values("svdvals"),
    samples=[Sample(A(s, values="well")) for s in _SHAPES])  # fmt: skip
def svdvals(xp, A: Array) -> Array:
    """Singular values of matrices, descending."""
    return xp.svd(A, False)[1]


@svdvals.vjp
def _(xp, g, A):
    u, _, vh = xp.svd(A, False)
    return _scaled(xp, u, g) @ vh


class SVD(NamedTuple):
    """What ``svd`` returns."""

    U: Any
    S: Any
    V: Any


@function(name="svd", samples=[Sample(A((4, 3), values="well"))])
def _svd(input: Any, some: bool = True, compute_uv: bool = True) -> Any:
    """``U``, ``S`` and ``V`` (not transposed) with ``input = U @ diag(S) @ V.T``."""
    if compute_uv:
        u, s, vh = svd(input, full_matrices=not some)
        return SVD(u, s, mT(F, vh))
    *batch, m, n = input.shape
    empty = {"dtype": input.dtype, "device": input.device}
    return SVD(F.zeros((*batch, m, m), **empty), svdvals(input), F.zeros((*batch, n, n), **empty))
