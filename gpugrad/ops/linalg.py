"""Linear algebra: determinants, inverses, linear systems, powers and norms of matrices.

Everything takes stacks of matrices ``(..., m, n)`` of floats.  The factorisations are in
``factorizations``, the products in ``matmul``.
"""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.backends.additions.linalg import vectors
from gpugrad.errors import ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, function, op
from gpugrad.ops.matmul import mT
from gpugrad.samples import A, Sample
from gpugrad.signature import broadcast_shapes
from gpugrad.spec import Spec

WELL = [Sample(A(s, values="well")) for s in ((3, 3), (2, 3, 3), (1, 1), (0, 3, 3), (0, 0))]


def check_square(name: str, *arrays: Any) -> None:
    """Raise a ShapeError unless all are stacks of square matrices."""
    for a in arrays:
        if len(a.shape) < 2 or a.shape[-1] != a.shape[-2]:
            raise ShapeError(
                f"{name}: takes square matrices (..., n, n), got shape {tuple(a.shape)}"
            )


def check_matrix(name: str, a: Any) -> None:
    """Raise a ShapeError unless this is a stack of matrices."""
    if len(a.shape) < 2:
        raise ShapeError(f"{name}: takes matrices (..., m, n), got shape {tuple(a.shape)}")


def same_square(name: str) -> Any:
    """The result rule of what maps square matrices to such."""

    def result(A: Spec, **settings: Any) -> Spec:
        check_square(f"linalg.{name}", A)
        return Spec(A.shape, A.dtype)

    return result


def _matrix(xp: Any, x: Any) -> Any:
    """One number per matrix, shaped to multiply with the matrices."""
    return xp.reshape(x, (*x.shape, 1, 1))


# ---- determinants ------------------------------------------------------------------------------


def _one_per_matrix(A: Spec) -> Spec:
    check_square("linalg.det", A)
    return Spec(A.shape[:-2], A.dtype)


@op(home="linalg", method=False, accepts="f", result=_one_per_matrix, samples=WELL)
def det(xp, A: Array) -> Array:
    """Determinants of square matrices."""
    return xp.linalg.det(A)


@det.vjp
def _(xp, g, A):
    return _matrix(xp, g) * xp.cofactor(A)


@op(home="_ops", method=False, torch="", accepts="f", result=same_square("cofactor"), samples=WELL)
def cofactor(xp, A: Array) -> Array:
    """Cofactor matrices, the gradient of ``det``; finite where ``A`` is singular."""
    return xp.cofactor(A)


@cofactor.vjp
def _(xp, g, A, out):
    # C = det(A) W with W = inv(A).T, dW = -W dA.T W and d det = det <W, dA>
    w = mT(xp, xp.inv(A))
    return xp.sum(g * out, axis=(-2, -1), keepdims=True) * w - w @ mT(xp, g) @ out


def _sign_and_log(A: Spec) -> tuple[Spec, Spec]:
    check_square("linalg.slogdet", A)
    return Spec(A.shape[:-2], A.dtype), Spec(A.shape[:-2], A.dtype)


@op(home="linalg", method=False, accepts="f", result=_sign_and_log, outputs=("sign", "logabsdet"),
    samples=WELL)  # fmt: skip
def slogdet(xp, A: Array) -> tuple[Array, Array]:
    """Sign and logarithm of the absolute value of determinants; ``(0, -inf)`` for singular ones."""
    return tuple(xp.linalg.slogdet(A))


@slogdet.vjp
def _(xp, g, A):
    return _matrix(xp, g[1]) * mT(xp, xp.inv(A))


@function(name="det", samples=WELL)
def _det(input: Any) -> Any:
    """Determinants of square matrices: ``linalg.det``."""
    return det(input)


@function(name="slogdet", samples=WELL)
def _slogdet(input: Any) -> Any:
    """Sign and logarithm of absolute determinants: ``linalg.slogdet``."""
    return slogdet(input)


@function(samples=[Sample(A((3, 3), values="spd")), Sample(A((2, 3, 3), values="spd"))])
def logdet(input: Any) -> Any:
    """Logarithm of determinants; NaN where one is negative, -inf where it is 0."""
    sign, log = slogdet(input)
    return log + F.log(sign)


# ---- inverses and systems ----------------------------------------------------------------------


@op(home="linalg", method=False, accepts="f", result=same_square("inv"), samples=WELL)
def inv(xp, A: Array) -> Array:
    """Inverses of square matrices.

    Raises:
        LinAlgError: naming the matrix that is singular.
    """
    return xp.inv(A)


@inv.vjp
def _(xp, g, out):
    w = mT(xp, out)
    return -(w @ g @ w)


@function(samples=WELL)
def inverse(input: Any) -> Any:
    """Inverses of square matrices: ``linalg.inv``."""
    return inv(input)


def _solved(name: str, a: Spec, b: Spec, left: bool) -> Spec:
    check_square(name, a)
    if b.ndim == 0:
        raise ShapeError(f"{name}: B must have at least one dimension, got a 0-d tensor")
    check_matrix(name, b)
    if a.shape[-1] != b.shape[-2 if left else -1]:
        raise ShapeError(
            f"{name}: A {a.shape} and B {b.shape}: {'rows' if left else 'columns'} of B must be "
            f"{a.shape[-1]}"
        )
    batch = broadcast_shapes(name, a.shape[:-2], b.shape[:-2])
    return Spec((*batch, *b.shape[-2:]), b.dtype)


def _solve_result(A: Spec, B: Spec, *, left: bool) -> Spec:
    check_square("linalg.solve", A)
    if B.ndim and vectors(A, B):
        solved = _solved("linalg.solve", A, Spec((*B.shape, 1), B.dtype), True)
        return Spec(solved.shape[:-1], B.dtype)
    return _solved("linalg.solve", A, B, left)


@op(home="linalg", method=False, accepts="f", promotion="same", xp_name="linalg_solve",
    result=_solve_result, samples=[
    Sample(A((3, 3), values="well"), A((3, 2))), Sample(A((2, 3, 3), values="well"), A((2, 3))),
    Sample(A((3, 3), values="well"), A((3,))), Sample(A((2, 1, 3, 3), values="well"), A((4, 3, 2))),
    Sample(A((3, 3), values="well"), A((2, 3)), left=False),
    Sample(A((0, 3, 3)), A((3, 2)))])  # fmt: skip
def solve(xp, A: Array, B: Array, *, left: bool = True) -> Array:
    """Solution of ``A @ X = B`` (``X @ A = B`` without ``left``).

    ``B`` holds vectors if it is 1-d or has ``A``'s shape without the last dimension.

    Raises:
        LinAlgError: naming the matrix that is singular.
    """
    return xp.linalg_solve(A, B, left)


@solve.vjp
def _(xp, g, A, out, B_shape, left):
    b = xp.linalg_solve(mT(xp, A), g, left)
    if vectors(A, Spec(B_shape, g.dtype)):
        outer = xp.reshape(b, (*b.shape, 1)) * xp.reshape(out, (*out.shape[:-1], 1, out.shape[-1]))
        return -outer, b
    return -(b @ mT(xp, out) if left else mT(xp, out) @ b), b


def _triangular_result(A: Spec, B: Spec, *, left: bool, **settings: Any) -> Spec:
    return _solved("linalg.solve_triangular", A, B, left)


@op(home="linalg", method=False, accepts="f", promotion="same", result=_triangular_result, samples=[
    Sample(A((3, 3), values="well"), A((3, 2)), upper=True),
    Sample(A((2, 3, 3), values="well"), A((3, 2)), upper=False),
    Sample(A((3, 3), values="well"), A((4, 2, 3)), upper=False, left=False),
    Sample(A((3, 3), -1, 1), A((3, 2)), upper=True, unitriangular=True)])  # fmt: skip
def solve_triangular(xp, A: Array, B: Array, *, upper: bool, left: bool = True,
                     unitriangular: bool = False) -> Array:  # fmt: skip
    """Solution of ``A @ X = B`` where only one triangle of ``A`` is read.

    A zero on the diagonal gives inf or NaN, no error; ``unitriangular`` takes the diagonal as 1.
    """
    _triangular_result(A, B, left=left)
    return xp.solve_triangular(A, B, upper, left, unitriangular)


@solve_triangular.vjp
def _(xp, g, A, out, upper, left, unitriangular):
    b = xp.solve_triangular(mT(xp, A), g, not upper, left, unitriangular)
    a = b @ mT(xp, out) if left else mT(xp, out) @ b
    one = 1 if unitriangular else 0
    return -(xp.triu(a, one) if upper else xp.tril(a, -one)), b


# ---- powers and the exponential ----------------------------------------------------------------


@op(home="linalg", method=False, accepts="f", result=same_square("matrix_exp"), tolerance=10,
    samples=[Sample(A(s)) for s in ((3, 3), (2, 4, 4), (1, 1), (0, 3, 3))])  # fmt: skip
def matrix_exp(xp, A: Array) -> Array:
    """Exponentials of square matrices."""
    return xp.matrix_exp(A)


@matrix_exp.vjp
def _(xp, g, A):
    # exp([[A.T, g], [0, A.T]]) holds the gradient in its upper right corner (Mathias 1996)
    n, t = A.shape[-1], mT(xp, A)
    top, low = xp.concat((t, g), axis=-1), xp.concat((xp.zeros_like(t), t), axis=-1)
    return xp.matrix_exp(xp.concat((top, low), axis=-2))[..., :n, n:]


@function(name="matrix_exp", samples=[Sample(A((3, 3)))])
def _matrix_exp(input: Any) -> Any:
    """Exponentials of square matrices: ``linalg.matrix_exp``."""
    return matrix_exp(input)


@function(home="linalg", method=False, name="matrix_power", samples=[
    Sample(A((2, 3, 3), values="well"), n) for n in (0, 1, 3, -2)])  # fmt: skip
def _matrix_power(A: Any, n: int) -> Any:
    """Square matrices to the integer power ``n``; of the inverse where ``n`` is negative."""
    check_square("linalg.matrix_power", A)
    if n == 0:
        eye = F.eye(A.shape[-1], dtype=A.dtype, device=A.device)
        never = F.zeros((), dtype=dtypes.bool_, device=A.device)
        return F.where(never, A, eye)  # on the tape, with a gradient of 0
    base, n, out = (inv(A), -n, None) if n < 0 else (A, n, None)
    while n:
        if n & 1:
            out = base if out is None else out @ base
        n >>= 1
        if n:
            base = base @ base
    return out.clone() if out is A else out


@function(samples=[Sample(A((3, 3), values="well"), n) for n in (0, 2, 5, -1)])
def matrix_power(input: Any, n: int) -> Any:
    """Square matrices to an integer power: ``linalg.matrix_power``."""
    return _matrix_power(input, n)
