"""Matrix functions that the array libraries lack, or for which they do not say what is wrong.

All take stacks of matrices ``(..., m, n)``, also empty ones.  Matrices that cannot be inverted or
factored raise a LinAlgError that says which of the stack it is.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gpugrad.errors import LinAlgError

#: Triangular systems up to this size are solved row by row, larger ones in blocks.
_BLOCK = 32


def mT(x: Any) -> Any:
    """Every matrix transposed."""
    return x.swapaxes(-1, -2)


def vectors(a: Any, b: Any) -> bool:
    """Whether the right-hand sides ``b`` of systems ``a`` are vectors, one per matrix."""
    return b.ndim == 1 or (a.ndim - 1 == b.ndim and tuple(b.shape) == tuple(a.shape[:-1]))


def added(product: Any, c: Any, beta: float, alpha: float) -> Any:
    """``beta * c + alpha * product``, in the place of ``product``, which nobody else may have.

    With ``beta == 0`` a NaN in ``c`` does not show.
    """
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product
    c = c if beta == 1 else c * beta
    if c.dtype == product.dtype and product.ndim:
        product += c
        return product
    return product + c


def build(lib: Any) -> dict[str, Any]:
    """Products, factorisations and solvers for arrays of ``lib``."""
    multiply: Callable[[Any, Any], Any] = lib.matmul
    la = lib.linalg
    strict = _strict(lib)

    def matmul(a: Any, b: Any) -> Any:
        """``a @ b``; a stack times one matrix is one large product instead of many small ones."""
        if b.ndim == 2 and a.ndim > 2:
            return multiply(a.reshape(math.prod(a.shape[:-1]), a.shape[-1]), b).reshape(
                *a.shape[:-1], b.shape[-1]
            )
        return multiply(a, b)

    def affine(c: Any, a: Any, b: Any, beta: float = 1, alpha: float = 1) -> Any:
        """``beta * c + alpha * (a @ b)``, where ``c`` broadcasts to the product.

        With ``beta == 0`` a NaN in ``c`` does not show.
        """
        return added(matmul(a, b), c, beta, alpha)

    def affine_grads(g: Any, x: Any) -> tuple[Any, Any]:
        """Gradients ``(out, in)`` of a weight and ``(..., out)`` of its bias, yet to be summed.

        Args:
            g: ``(..., out)``, the gradient of ``x @ weight.T + bias``.
            x: ``(..., in)``.
        """
        rows = math.prod(g.shape[:-1])
        flat = g.reshape(rows, g.shape[-1])
        return matmul(flat.T, x.reshape(rows, x.shape[-1])), g

    def each(name: str, why: str, fn: Callable[..., Any], a: Any, *rest: Any) -> Any:
        """Call a routine of the library; name the matrix at fault if it refuses."""
        try:
            with strict():
                return fn(a, *rest)
        except np.linalg.LinAlgError:
            if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
                raise
            for i in np.ndindex(*a.shape[:-2]):
                try:
                    with strict():
                        fn(
                            a[i],
                            *(lib.broadcast_to(r, a.shape[:-2] + r.shape[-2:])[i] for r in rest),
                        )
                except np.linalg.LinAlgError:
                    which = f"matrix of batch {', '.join(map(str, i))}" if i else "matrix"
                    raise LinAlgError(f"{name}: the {which} {why}") from None
            raise

    def inv(a: Any) -> Any:
        return each("linalg.inv", "is singular", la.inv, a)

    def solve(a: Any, b: Any) -> Any:
        """Solution of ``a @ x = b`` for matrices ``b``."""
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a = lib.broadcast_to(a, batch + a.shape[-2:])
        b = lib.broadcast_to(b, batch + b.shape[-2:])
        return each("linalg.solve", "is singular", la.solve, a, b)

    def lower_solve(a: Any, b: Any, unit: bool) -> Any:
        """Forward substitution: by rows, after the system was halved until it is small."""
        n = a.shape[-1]
        if n > _BLOCK:
            h = n // 2
            top = lower_solve(a[..., :h, :h], b[..., :h, :], unit)
            low = b[..., h:, :] - a[..., h:, :h] @ top
            return lib.concatenate((top, lower_solve(a[..., h:, h:], low, unit)), axis=-2)
        x = b.copy()
        for i in range(n):
            if i:
                x[..., i : i + 1, :] -= a[..., i : i + 1, :i] @ x[..., :i, :]
            if not unit:
                x[..., i, :] /= a[..., i, i, None]
        return x

    def solve_triangular(a: Any, b: Any, upper: bool, left: bool = True,
                         unitriangular: bool = False) -> Any:  # fmt: skip
        """Solution of ``a @ x = b`` (``x @ a = b`` without ``left``), reading one triangle of a.

        A zero on the diagonal divides by zero; nothing is raised.
        """
        if not left:
            return mT(solve_triangular(mT(a), mT(b), not upper, True, unitriangular))
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        b = lib.broadcast_to(b, batch + b.shape[-2:])
        if upper:  # reversed in both directions it is lower
            x = lower_solve(a[..., ::-1, ::-1], b[..., ::-1, :], unitriangular)
            return x[..., ::-1, :].copy()
        return lower_solve(a, b, unitriangular)

    def cholesky(a: Any, upper: bool = False) -> Any:
        """Cholesky factor, read from one triangle."""
        low = each(
            "linalg.cholesky", "is not positive-definite", la.cholesky, mT(a) if upper else a
        )
        return mT(low) if upper else low

    def eigh(a: Any, uplo: str = "L") -> Any:
        """Eigenvalues in ascending order and eigenvectors, read from one triangle."""
        if not a.shape[-1]:
            return lib.empty(a.shape[:-1], a.dtype), lib.empty(a.shape, a.dtype)
        return tuple(each("linalg.eigh", "did not converge", lambda x: la.eigh(x, uplo), a))

    def svd(a: Any, full_matrices: bool = True) -> Any:
        """``u, s, vh`` with ``a = u * s @ vh`` and ``s`` descending."""
        *batch, m, n = a.shape
        if not a.size:
            eye = lib.eye(max(m, n), dtype=a.dtype)
            rows, cols = (m, n) if full_matrices else (min(m, n),) * 2
            return (
                lib.broadcast_to(eye[:m, :rows], (*batch, m, rows)).copy(),
                lib.empty((*batch, min(m, n)), a.dtype),
                lib.broadcast_to(eye[:cols, :n], (*batch, cols, n)).copy(),
            )
        return tuple(each("linalg.svd", "did not converge", lambda x: la.svd(x, full_matrices), a))

    def qr(a: Any, mode: str = "reduced") -> Any:
        """``q`` and ``r`` with ``a = q @ r``; ``q`` is empty for ``mode="r"``."""
        if mode == "r":
            return lib.empty((0,), a.dtype), la.qr(a, "r")
        return tuple(la.qr(a, mode))

    def cofactor(a: Any) -> Any:
        """Derivative of the determinant, ``det(a) inv(a).T``, also where ``a`` is singular.

        From ``a = u s vh``: the cofactors of a diagonal matrix are the products of all others.
        """
        u, s, vh = svd(a)
        n = s.shape[-1]
        rest = lib.broadcast_to(s[..., None, :], (*s.shape, n)).copy()
        rest[..., lib.arange(n), lib.arange(n)] = 1
        sign = lib.rint(la.det(u) * la.det(vh))
        return (u * (rest.prod(-1) * sign[..., None])[..., None, :]) @ vh

    def linalg_solve(a: Any, b: Any, left: bool = True) -> Any:
        """``solve`` for matrices on either side, or vectors."""
        if vectors(a, b):
            return solve(a, b[..., None])[..., 0]
        return solve(a, b) if left else mT(solve(mT(a), mT(b)))

    def least(a: Any, atol: float | None, rtol: float | None, s: Any) -> Any:
        """Reciprocals of the singular values above ``max(atol, rtol * largest)``, 0 for others."""
        if rtol is None:
            rtol = 0.0 if atol is not None else max(a.shape[-2:]) * float(np.finfo(a.dtype).eps)
        use = s > lib.maximum(atol or 0.0, rtol * s[..., :1])
        return lib.where(use, 1 / s, 0), use.sum(-1).astype("int64")

    def pinv(a: Any, atol: float | None = None, rtol: float | None = None,
             hermitian: bool = False) -> Any:  # fmt: skip
        """Pseudo-inverse; a hermitian one is read from the lower triangle."""
        a = lib.tril(a) + mT(lib.tril(a, -1)) if hermitian else a
        u, s, vh = svd(a, False)
        return (mT(vh) * least(a, atol, rtol, s)[0][..., None, :]) @ mT(u)

    def lstsq(a: Any, b: Any, rtol: float | None) -> Any:
        """Solution of least norm for matrices ``b``, and rank."""
        u, s, vh = svd(a, False)
        turned, rank = least(a, None, rtol, s)
        return mT(vh) @ (turned[..., None] * (mT(u) @ b)), rank

    def linalg_cross(a: Any, b: Any, axis: int) -> Any:
        """Cross product along one axis of size 3."""
        next_a, next_b = lib.roll(a, -1, axis), lib.roll(b, -1, axis)
        return next_a * lib.roll(b, 1, axis) - lib.roll(a, 1, axis) * next_b

    def matrix_exp(a: Any) -> Any:
        """Exponential by scaling, the [13/13] Padé approximant and squaring (Higham 2005)."""
        if not a.size:
            return a.copy()
        norm = lib.abs(a).sum(-2).max(-1)
        with_room = lib.where(lib.isfinite(norm) & (norm > 5.37), norm / 5.37, 1)
        halvings = lib.ceil(lib.log2(with_room)).astype("int64")[..., None, None]
        a = a / (2.0**halvings).astype(a.dtype)
        eye = lib.eye(a.shape[-1], dtype=a.dtype)
        c = _pade(13)
        a2 = a @ a
        a4 = a2 @ a2
        a6 = a4 @ a2
        odd = a6 @ (c[13] * a6 + c[11] * a4 + c[9] * a2)
        odd = a @ (odd + c[7] * a6 + c[5] * a4 + c[3] * a2 + c[1] * eye)
        even = a6 @ (c[12] * a6 + c[10] * a4 + c[8] * a2)
        even = even + c[6] * a6 + c[4] * a4 + c[2] * a2 + c[0] * eye
        out = la.solve(even - odd, even + odd)
        for i in range(int(halvings.max())):
            out = lib.where(halvings > i, out @ out, out)
        return out

    return {
        "matmul": matmul, "affine": affine, "affine_grads": affine_grads,
        "inv": inv, "solve": solve, "solve_triangular": solve_triangular,
        "cholesky": cholesky, "eigh": eigh, "svd": svd, "qr": qr, "cofactor": cofactor,
        "matrix_exp": matrix_exp, "pinv": pinv, "lstsq_svd": lstsq,
        "linalg_solve": linalg_solve, "linalg_cross": linalg_cross,
    }  # fmt: skip


def _strict(lib: Any) -> Callable[[], Any]:
    """A context in which the library looks for failures: CuPy does not, it would have to wait."""
    if lib is np:
        return contextlib.nullcontext
    import cupyx

    return lambda: cupyx.errstate(linalg="raise")


def _pade(order: int) -> list[float]:
    """Coefficients of the diagonal Padé approximant of exp, the lowest power first, scaled to 1."""
    c = [1.0]
    for k in range(1, order + 1):
        c.append(c[-1] * (order - k + 1) / (k * (2 * order - k + 1)))
    return c
