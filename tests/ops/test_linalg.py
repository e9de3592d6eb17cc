"""Linear algebra beyond what the records' samples show: identities, special matrices, messages."""

from __future__ import annotations

import math

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import linalg
from gpugrad.errors import (
    AutogradError,
    DTypeError,
    LinAlgError,
    NotSupportedError,
    SettingError,
    ShapeError,
)
from gpugrad.testing import gradcheck, gradgradcheck

F = gg.nn.functional


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def leaf(x: np.ndarray) -> gg.Tensor:
    """A float64 tensor that wants a gradient."""
    return gg.tensor(np.asarray(x, dtype=np.float64)).requires_grad_()


def spd(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Symmetric positive definite matrices."""
    x = rng.standard_normal(shape)
    return x @ x.swapaxes(-1, -2) + shape[-1] * np.eye(shape[-1])


def close(a, b, tolerance: float = 1e-9) -> None:
    """Compare tensors or arrays."""
    a, b = (x.numpy(force=True) if isinstance(x, gg.Tensor) else np.asarray(x) for x in (a, b))
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# ---- what the results satisfy --------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 5), (3, 4, 4), (2, 3, 2, 2), (0, 3, 3), (1, 1), (70, 70)])
def test_square_identities(rng, shape: tuple[int, ...]) -> None:
    """Inverse, solution, determinant and factors are consistent with each other."""
    x = rng.standard_normal(shape) + shape[-1] * np.eye(shape[-1])
    a, b = gg.tensor(x), gg.tensor(rng.standard_normal((*shape[:-1], 3)))
    eye = np.broadcast_to(np.eye(shape[-1]), shape)
    close(a @ linalg.inv(a), eye)
    close(a @ linalg.solve(a, b), b)
    close(linalg.solve(a, b.mT, left=False) @ a, b.mT)
    sign, log = linalg.slogdet(a)
    if shape[-1] < 20:
        close(sign * log.exp(), linalg.det(a), 1e-8)
    p = gg.tensor(spd(rng, *shape))
    low, up = linalg.cholesky(p), linalg.cholesky(p, upper=True)
    close(low @ low.mT, p)
    close(up.mT @ up, p)
    close(p @ gg.cholesky_solve(b, low), b)
    close(gg.cholesky_inverse(low) @ p, eye)
    values, v = linalg.eigh(p)
    close(v * values.unsqueeze(-2) @ v.mT, p)
    close(linalg.eigvalsh(p), values)
    for upper in (True, False):
        for unit in (True, False):
            t = np.triu(x) if upper else np.tril(x)
            if unit:
                t = t / shape[-1] - np.eye(shape[-1]) * np.diagonal(
                    t / shape[-1], 0, -1, -2)[..., None] + np.eye(shape[-1])  # fmt: skip
            given = gg.tensor(x / shape[-1] if unit else x)  # the rest must not be read
            y = linalg.solve_triangular(given, b, upper=upper, unitriangular=unit)
            close(gg.tensor(t) @ y, b)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (2, 4, 4), (0, 3, 2), (3, 0), (2, 0, 3)])
def test_any_shape_identities(rng, shape: tuple[int, ...]) -> None:
    """Factors of matrices of any shape multiply to the matrix and are orthogonal."""
    a = gg.tensor(rng.standard_normal(shape))
    m, n = shape[-2:]
    for full in (False, True):
        u, s, vh = linalg.svd(a, full_matrices=full)
        k = min(m, n)
        close((u[..., :k] * s.unsqueeze(-2)) @ vh[..., :k, :], a)
        close(u.mT @ u, np.broadcast_to(np.eye(u.shape[-1]), (*shape[:-2], *u.shape[-1:] * 2)))
    for mode in ("reduced", "complete"):
        q, r = linalg.qr(a, mode=mode)
        close(q @ r, a)
        close(q.mT @ q, np.broadcast_to(np.eye(q.shape[-1]), (*shape[:-2], *q.shape[-1:] * 2)))
        close(r, np.triu(r.numpy()))
    p = linalg.pinv(a)
    close(a @ p @ a, a)
    close(p @ a @ p, p)
    close((a @ p).mT, a @ p)


def test_least_squares(rng) -> None:
    """The residual is orthogonal to the columns; of many solutions the shortest is returned."""
    a, b = gg.tensor(rng.standard_normal((3, 6, 4))), gg.tensor(rng.standard_normal((3, 6, 2)))
    out = linalg.lstsq(a, b, driver="gelsd")
    r = a @ out.solution - b
    close(a.mT @ r, np.zeros((3, 4, 2)))
    close(out.residuals, (r * r).sum(-2))
    assert out.rank.tolist() == [4, 4, 4]
    assert out.singular_values.shape == (3, 4)
    deficient = a.clone()
    deficient[..., 3] = deficient[..., 0]
    out = linalg.lstsq(deficient, b, driver="gelsd")
    assert out.rank.tolist() == [3, 3, 3]
    assert out.residuals.shape == (0,)
    close(out.solution, linalg.pinv(deficient) @ b)


def test_matrix_exp(rng) -> None:
    """exp of a sum of commuting matrices, of large ones, and of a rotation's generator."""
    a = gg.tensor(rng.standard_normal((4, 4)))
    close(linalg.matrix_exp(a) @ linalg.matrix_exp(-a), np.eye(4))
    big = a * 20
    close(linalg.matrix_exp(big / 2) @ linalg.matrix_exp(big / 2) / linalg.matrix_exp(big).norm(),
          linalg.matrix_exp(big) / linalg.matrix_exp(big).norm())  # fmt: skip
    turn = linalg.matrix_exp(gg.tensor([[0.0, -math.pi / 2], [math.pi / 2, 0.0]]))
    close(turn, [[0, -1], [1, 0]], 1e-6)
    assert linalg.matrix_exp(gg.tensor([[math.nan]])).isnan().all()


@pytest.mark.torch
def test_random_batches_against_torch(rng) -> None:
    """Values and gradients of compositions agree with PyTorch's."""
    torch = pytest.importorskip("torch")
    x, y = rng.standard_normal((2, 3, 4, 4)), rng.standard_normal((3, 4, 2))
    for f in (
        lambda la, a, b: la.inv(a) @ b,
        lambda la, a, b: la.solve(a, b),
        lambda la, a, b: la.pinv(a[..., :3]) @ b,
        lambda la, a, b: la.lstsq(a[..., :3], b.expand(2, 3, 4, 2)).solution,
        lambda la, a, b: la.lstsq(a[..., :3], b.expand(2, 3, 4, 2), driver="gelsd").residuals,
        lambda la, a, b: la.pinv(a, rtol=0.3) @ b,
        lambda la, a, b: la.pinv(a, atol=0.9) @ b,
        lambda la, a, b: la.pinv(a + a.mT, hermitian=True) @ b,
        lambda la, a, b: la.matrix_exp(a) @ b,
        lambda la, a, b: la.det(a),
        lambda la, a, b: la.qr(a)[1] ** 2,
        lambda la, a, b: la.qr(a[..., :2, :])[1] ** 2,
        lambda la, a, b: la.svd(a)[1],
        lambda la, a, b: la.svd(a[..., :3, :])[0] ** 2,
        lambda la, a, b: la.svd(a[..., :3], full_matrices=False)[2] ** 2,
        lambda la, a, b: la.eigh(a @ a.mT)[1] ** 2,
        lambda la, a, b: la.cholesky(a @ a.mT + 3),
        lambda la, a, b: la.matrix_power(a, -3),
        lambda la, a, b: la.multi_dot([a[0, 0], a[0, 1], b[0]]),
        *(lambda la, a, b, p=p: la.matrix_norm(a, p) for p in ("fro", "nuc", 1, -1, 2, math.inf)),
    ):
        outs = []
        for lib, make in (
            (linalg, leaf),
            (torch.linalg, lambda v: torch.tensor(v).requires_grad_()),
        ):
            a, b = make(x), make(y)
            out = f(lib, a, b)
            (out * make(np.cos(np.arange(out.numel())).reshape(out.shape))).sum().backward()
            outs.append((out, a.grad, *([] if b.grad is None else [b.grad])))
        for mine, other in zip(*outs):
            close(mine, other.detach().numpy(), 1e-7)


@pytest.mark.parametrize("p", [None, 2, -2, 1, -1, math.inf, -math.inf, "fro", "nuc"])
def test_condition_numbers(rng, p) -> None:
    """They agree with NumPy, have gradients (PyTorch's fail), and are inf for singular matrices."""
    x = rng.standard_normal((2, 3, 3))
    close(linalg.cond(gg.tensor(x), p), np.linalg.cond(x, p))
    gradcheck(lambda a: linalg.cond(a, p), (leaf(x),))
    x[1] = 1
    if p in (1, "fro"):
        assert linalg.cond(gg.tensor(x), p).isinf().tolist() == [False, True]


@pytest.mark.parametrize("tolerance", [1e-3, "one per matrix"])
def test_rank(rng, tolerance) -> None:
    """The rank counts singular values above the tolerances."""
    x = rng.standard_normal((2, 4, 2)) @ rng.standard_normal((2, 2, 5))
    a = gg.tensor(x)
    tol = gg.tensor([1e-3, 1e3], dtype=gg.float64) if isinstance(tolerance, str) else tolerance
    assert linalg.matrix_rank(a).tolist() == [2, 2]
    assert linalg.matrix_rank(a, atol=tol).tolist() == [2, 0 if isinstance(tolerance, str) else 2]
    assert linalg.matrix_rank(a.mT @ a, hermitian=True).tolist() == [2, 2]


@pytest.mark.torch
def test_through_cholesky_against_torch(rng) -> None:
    """Gradients of solutions from a Cholesky factor agree once they pass the factorisation."""
    torch = pytest.importorskip("torch")
    x, y = spd(rng, 2, 3, 3), rng.standard_normal((2, 3, 2))
    for upper in (False, True):
        a, b = leaf(x), leaf(y)
        c, d = torch.tensor(x).requires_grad_(), torch.tensor(y).requires_grad_()
        for lib, la, p, q in ((gg, linalg, a, b), (torch, torch.linalg, c, d)):
            factor = la.cholesky(p, upper=upper)
            out = lib.cholesky_solve(q, factor, upper).sum()
            (out + (lib.cholesky_inverse(factor, upper) ** 2).sum()).backward()
        close(a.grad, c.grad.numpy())
        close(b.grad, d.grad.numpy())


# ---- gradients at awkward places -----------------------------------------------------------------


def test_gradient_of_det_at_singular_matrices() -> None:
    """The cofactors are exact where the inverse does not exist, also of rank n - 2."""
    a = leaf([[1.0, 2.0], [2.0, 4.0]])
    linalg.det(a).backward()
    close(a.grad, [[4, -2], [-2, 1]])
    b = leaf([[1.0, 2, 3], [2, 4, 6], [3, 6, 9]])
    linalg.det(b).backward()
    close(b.grad, np.zeros((3, 3)))
    gradcheck(linalg.det, (a,))


def test_equal_values_do_not_hurt_what_needs_none(rng) -> None:
    """Values alone, and values beside unused vectors, have gradients when they repeat."""
    eye = np.eye(3)
    for f in (linalg.eigvalsh, lambda a: linalg.eigh(a)[0], linalg.svdvals,
              lambda a: linalg.svd(a)[1], lambda a: linalg.matrix_norm(a, "nuc")):  # fmt: skip
        a = leaf(eye)
        f(a).sum().backward()
        close(a.grad, eye)
    tall = leaf([[1.0, 0], [0, 0], [0, 0]])
    linalg.svd(tall, full_matrices=False)[1].sum().backward()
    assert tall.grad.isfinite().all()


def test_norms_at_the_origin() -> None:
    """The gradient of every norm at 0 is 0 where PyTorch's is, never NaN."""
    for p in (0, 1, 1.5, 2, 3, math.inf):
        a = leaf(np.zeros(3))
        linalg.vector_norm(a, p).backward()
        close(a.grad, np.zeros(3))
    a = leaf([3.0, 4.0])
    gradgradcheck(lambda x: linalg.vector_norm(x), (a,))


def test_second_derivatives(rng) -> None:
    """The second derivative of compositions is right."""
    a = leaf(rng.standard_normal((3, 3)) + 3 * np.eye(3))
    b = leaf(rng.standard_normal((3, 2)))
    sym = lambda x: x @ x.mT + 2  # noqa: E731
    for f in (
        lambda a, b: linalg.solve(a, b),
        lambda a, b: linalg.solve_triangular(a, b, upper=False),
        lambda a, b: linalg.lstsq(gg.cat([a, b.mT]), gg.cat([b, b[:2]])).solution,
        lambda a, b: linalg.pinv(gg.cat([a, b], 1)),
        lambda a, b: linalg.qr(gg.cat([a, b], 1))[1],
        lambda a, b: linalg.svd(gg.cat([a, b], 1), full_matrices=False)[0] ** 2,
        lambda a, b: linalg.eigh(sym(a))[1] ** 2,
        lambda a, b: linalg.cholesky(sym(a)),
        lambda a, b: linalg.slogdet(a)[1] + linalg.det(a) * b.sum(),
        lambda a, b: linalg.matrix_exp(a / 3) @ b,
        lambda a, b: gg.einsum("ij,jk,lk->il", a, b, b),
        lambda a, b: F.linear(b.mT, a, b[:, 0]),
    ):
        gradcheck(f, (a, b))
        gradgradcheck(f, (a, b))


def test_einsum_broadcasts_and_takes_lists(rng) -> None:
    """Sizes of 1, hidden dimensions of different number and the list form agree with NumPy."""
    a, b = rng.standard_normal((2, 1, 3, 4)), rng.standard_normal((5, 4, 2))
    x, y = gg.tensor(a), gg.tensor(b)
    close(gg.einsum("...ij,...jk->...ik", x, y), a @ b)
    close(gg.einsum("...ij,...jk", x, y), a @ b)
    close(gg.einsum(y, [0, 1, 2], [2, 0]), b.sum(1).T)
    close(gg.einsum(x, [..., 0, 1], y, [..., 1, 2], [..., 0, 2]), a @ b)
    close(gg.einsum("abcd,efg->ag", x, y), np.einsum("abcd,efg->ag", a, b))
    square = rng.standard_normal((3, 3, 3))
    close(gg.einsum("iii->i", gg.tensor(square)), np.einsum("iii->i", square))


def test_products_of_empty_sums_are_zero() -> None:
    """An inner size of 0 gives zeros, and a batch of 0 an empty result."""
    assert (gg.ones(2, 0) @ gg.ones(0, 3)).tolist() == [[0.0] * 3] * 2
    assert F.linear(gg.ones(0, 4), gg.ones(2, 4)).shape == (0, 2)
    assert F.conv2d(gg.ones(0, 3, 5, 5), gg.ones(2, 3, 3, 3)).shape == (0, 2, 3, 3)
    assert F.max_pool2d(gg.ones(0, 3, 4, 4), 2).shape == (0, 3, 2, 2)


def test_beta_zero_ignores_the_input() -> None:
    """As in PyTorch, a NaN in an ignored input does not reach the result."""
    nan = gg.full((2, 2), math.nan)
    assert gg.addmm(nan, gg.ones(2, 3), gg.ones(3, 2), beta=0).tolist() == [[3.0, 3.0]] * 2
    x = gg.ones(2, 2)
    assert x.addmm_(gg.ones(2, 3), gg.ones(3, 2), alpha=2) is x
    assert x.tolist() == [[7.0, 7.0]] * 2


def test_pooling_of_nothing_but_infinity() -> None:
    """A window of -inf at the edge points at an element, not at padding; NaN wins."""
    x = gg.full((1, 1, 4), -math.inf)
    values, places = F.max_pool1d(x, 3, 2, 1, return_indices=True)
    assert values.tolist() == [[[-math.inf, -math.inf]]]
    assert places.tolist() == [[[0, 1]]]
    y = gg.tensor([[[1.0, math.nan, 2.0, 3.0]]])
    assert F.max_pool1d(y, 2).isnan().tolist() == [[[True, False]]]


# ---- what is refused -----------------------------------------------------------------------------

_ONE, _TWO = gg.ones(3, 4), gg.ones(5, 6)
_SINGULAR = gg.stack([gg.eye(2)] * 3 + [gg.ones(2, 2)])

REFUSED = [
    (lambda: _ONE @ _TWO, ShapeError, r"matmul: \(3, 4\) @ \(5, 6\): inner sizes 4 and 5 differ"),
    (lambda: gg.ones(2, 3, 4) @ gg.ones(3, 4, 5), ShapeError, "matmul: shapes .* do not broadcast"),
    (lambda: _ONE @ gg.ones(4, 5, dtype=gg.float64), DTypeError, "matmul: operands have the dtype"),
    (lambda: gg.ones(()) @ _ONE, ShapeError, r"matmul: \(\) @ .*multiply by a 0-d tensor with \*"),
    (lambda: gg.mm(gg.ones(2, 2, 2), _ONE), ShapeError, "mm: input must be a matrix, got shape"),
    (lambda: gg.bmm(gg.ones(2, 3, 4), gg.ones(3, 4, 5)), ShapeError, "bmm: .*batch sizes 2 and 3"),
    (lambda: gg.dot(gg.ones(3), gg.ones(4)), ShapeError, "dot: .*inner sizes 3 and 4 differ"),
    (lambda: gg.addmm(gg.ones(7), _ONE, _ONE.T), ShapeError, "addmm: shapes .* do not broadcast"),
    (lambda: F.linear(_ONE, _TWO), ShapeError, "has 4 features, weight .* takes 6"),
    (lambda: F.linear(_ONE, gg.ones(1, 4), gg.ones(5)), ShapeError, "linear: bias"),
    (lambda: gg.einsum("ij,jk->ik", _ONE, _TWO), ShapeError, "einsum: .*'j' has the sizes 4 and 5"),
    (lambda: gg.einsum("ij->ijk", _ONE), SettingError, "einsum: .*letter of the result"),
    (lambda: gg.einsum("ijk->i", _ONE), ShapeError, "einsum: .* names 3 dimensions"),
    (lambda: linalg.inv(_SINGULAR), LinAlgError, r"linalg.inv: the matrix of batch 3 is singular"),
    (lambda: linalg.inv(gg.ones(2, 2)), LinAlgError, "linalg.inv: the matrix is singular"),
    (lambda: linalg.solve(_SINGULAR, gg.ones(4, 2)), LinAlgError, "matrix of batch 3 is singular"),
    (lambda: linalg.cholesky(-gg.eye(2)), LinAlgError, "cholesky: the matrix is not positive"),
    (lambda: linalg.inv(_ONE), ShapeError, r"linalg.inv: takes square matrices .*\(3, 4\)"),
    (lambda: linalg.solve_triangular(gg.ones(4, 3), _ONE, upper=True), ShapeError, "square"),
    (lambda: linalg.inv(gg.ones(2, 2, dtype=gg.int64)), DTypeError, "inv: takes floating dtypes"),
    (lambda: linalg.svd(gg.full((2, 2), math.nan)), LinAlgError, "linalg.svd: .*did not converge"),
    (lambda: linalg.qr(_ONE, mode="full"), SettingError, "linalg.qr: mode must be one of"),
    (lambda: linalg.matrix_norm(_ONE, 3), SettingError, "linalg.matrix_norm: ord must be one of"),
    (lambda: linalg.eig(gg.eye(2)), NotSupportedError, "complex .*use linalg.eigh"),
    (lambda: linalg.cross(gg.ones(4), gg.ones(4)), ShapeError, "must have size 3"),
    (lambda: F.conv2d(gg.ones(1, 3, 5, 5), gg.ones(2, 4, 3, 3)), ShapeError,
     "conv2d: input .* has 3 channels, weight .* takes 4"),
    (lambda: F.conv2d(gg.ones(1, 3, 2, 2), gg.ones(2, 3, 3, 3)), ShapeError, "kernel .* is larger"),
    (lambda: F.conv2d(gg.ones(1, 3, 5, 5), gg.ones(2, 3, 3, 3), stride=2, padding="same"),
     SettingError, "padding='same' needs stride 1"),
    (lambda: F.conv2d(gg.ones(1, 3, 5, 5), gg.ones(2, 3, 3, 3), gg.ones(1)), ShapeError,
     "bias must"),
    (lambda: F.max_pool2d(gg.ones(1, 1, 4, 4), 2, padding=2), SettingError, "at most half"),
    (lambda: F.interpolate(gg.ones(1, 1, 4, 4)), SettingError, "either size or scale_factor"),
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(REFUSED)))
def test_refusals_say_what_is_wrong(k: int) -> None:
    """Each wrong call raises its own class with both sides in the message."""
    call, error, message = REFUSED[k]
    with pytest.raises(error, match=message):
        call()


def test_gradients_that_do_not_exist_say_so() -> None:
    """QR without Q, and QR of a tall matrix with a square Q."""
    with pytest.raises(AutogradError, match="mode='r' has no gradient"):
        linalg.qr(leaf(np.eye(2)), mode="r")[1].sum().backward()
    with pytest.raises(AutogradError, match="mode='complete' of a 3 x 2 matrix"):
        linalg.qr(leaf(np.ones((3, 2))), mode="complete")[1].sum().backward()
