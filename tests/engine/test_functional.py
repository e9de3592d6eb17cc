"""``autograd.functional`` against PyTorch."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.autograd import functional as fn
from gpugrad.errors import ArgumentError, AutogradError, ShapeError

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
tfn = torch.autograd.functional

RNG = np.random.default_rng(0)
A, B, V = RNG.normal(size=(3,)), RNG.normal(size=(3,)), RNG.normal(size=(3,))


def pair(array):
    return gg.from_numpy(array.copy()), torch.from_numpy(array.copy())


def same(mine, theirs):
    if isinstance(mine, tuple):
        assert isinstance(theirs, tuple)
        for m, t in zip(mine, theirs, strict=True):
            same(m, t)
    else:
        np.testing.assert_allclose(
            mine.detach().numpy(), theirs.detach().numpy(), rtol=1e-12, atol=1e-12
        )


def two(x, y):
    return x * y + x.exp(), (x * x).sum()


def scalar(x, y):
    return (x * x * y).sum() + y.exp().sum()


def test_vjp_and_jvp():
    (a, ta), (b, tb), (v, tv) = pair(A), pair(B), pair(V)
    one, tone = gg.tensor(2.0, dtype=gg.float64), torch.tensor(2.0, dtype=torch.float64)
    same(fn.vjp(two, (a, b), (v, one)), tfn.vjp(two, (ta, tb), (tv, tone)))
    same(fn.jvp(two, (a, b), (v, a)), tfn.jvp(two, (ta, tb), (tv, ta)))
    same(fn.jvp(lambda x: x.sin(), a, v), tfn.jvp(lambda x: x.sin(), ta, tv))


def test_jacobian_and_hessian():
    (a, ta), (b, tb) = pair(A), pair(B)
    same(fn.jacobian(two, (a, b)), tfn.jacobian(two, (ta, tb)))
    same(fn.jacobian(lambda x: x.sin(), a), tfn.jacobian(lambda x: x.sin(), ta))
    same(fn.hessian(scalar, (a, b)), tfn.hessian(scalar, (ta, tb)))
    same(fn.hessian(lambda x: (x**3).sum(), a), tfn.hessian(lambda x: (x**3).sum(), ta))


def test_hessian_products():
    (a, ta), (b, tb), (v, tv) = pair(A), pair(B), pair(V)
    same(fn.vhp(scalar, (a, b), (v, a)), tfn.vhp(scalar, (ta, tb), (tv, ta)))
    same(fn.hvp(scalar, (a, b), (v, a)), tfn.hvp(scalar, (ta, tb), (tv, ta)))


def test_results_are_recorded_when_asked():
    a, _ = pair(A)
    a.requires_grad_()
    _, g = fn.vjp(lambda x: (x**3).sum(), a, create_graph=True)
    g.sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), 6 * A)
    assert not fn.vjp(lambda x: (x**3).sum(), a)[1].requires_grad


def test_refusals():
    a, _ = pair(A)
    with pytest.raises(ShapeError, match="one element"):
        fn.hessian(lambda x: x, a)
    with pytest.raises(ArgumentError, match="v may be left away"):
        fn.jvp(lambda x: x, a)
    with pytest.raises(ShapeError, match="v has shape"):
        fn.vjp(lambda x: x, a, gg.zeros(2))
    with pytest.raises(AutogradError, match="does not depend on input 1"):
        fn.vjp(lambda x, y: x.sum(), (a, a), strict=True)
