"""User-written functions, saved-tensor hooks, checkpointing."""

import gc
import weakref

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.autograd import Function, graph
from gpugrad.autograd.function import once_differentiable
from gpugrad.errors import ArgumentError, AutogradError
from gpugrad.testing import gradcheck, gradgradcheck
from gpugrad.utils.checkpoint import checkpoint, checkpoint_sequential


def leaf(*shape):
    return gg.randn(*shape, dtype=gg.float64, requires_grad=True)


class Cube(Function):
    """x ** 3 with a gradient made of ops."""

    @staticmethod
    def forward(ctx, x, scale=1.0):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x * x * x * scale

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3 * x * x * ctx.scale, None


class Exp(Function):
    """Keeps its output, which must not keep the graph alive in a circle."""

    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y


@pytest.mark.parametrize("function", [Cube, Exp])
def test_first_and_second_derivatives(function):
    x = leaf(4)
    assert gradcheck(function.apply, (x,))
    assert gradgradcheck(function.apply, (x,))


def test_non_tensor_arguments_and_context():
    x = leaf(3)
    y = Cube.apply(x, 2.0)
    assert y.grad_fn.name() == "CubeBackward"
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 6 * x.detach().numpy() ** 2)
    with pytest.raises(AutogradError, match="second time"):
        y.sum().backward()


def test_a_saved_output_makes_no_cycle():
    gc.collect()
    gc.disable()
    try:
        y = Exp.apply(leaf(3))
        node = weakref.ref(y.grad_fn)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_saved_tensors_are_checked_for_writes():
    x = leaf(3)
    y = x * 1
    z = Cube.apply(y).sum()
    y.detach().add_(1)
    with pytest.raises(AutogradError, match=r"Cube saved a tensor.*test_function\.py:\d+"):
        z.backward()


class Split(Function):
    """Two outputs, one of them not differentiable."""

    @staticmethod
    def forward(ctx, x):
        positive = x * (x > 0).double()
        sign = (x > 0).double()
        ctx.mark_non_differentiable(sign)
        ctx.save_for_backward(sign)
        return positive, sign

    @staticmethod
    def backward(ctx, g, _):
        return g * ctx.saved_tensors[0]


def test_non_differentiable_outputs():
    x = leaf(5)
    positive, sign = Split.apply(x)
    assert positive.requires_grad
    assert not sign.requires_grad
    positive.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), sign.numpy())


class Unused(Function):
    """Shows what backward gets for an output nobody used."""

    materialize = True

    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(Unused.materialize)
        return x * 1, x * 2

    @staticmethod
    def backward(ctx, a, b):
        Unused.seen = (a, b)
        return a


def test_unused_outputs_get_zeros_or_none():
    Unused.materialize = True
    Unused.apply(leaf(2))[0].sum().backward()
    assert Unused.seen[1].tolist() == [0, 0]
    Unused.materialize = False
    Unused.apply(leaf(2))[0].sum().backward()
    assert Unused.seen[1] is None


class AddOne(Function):
    """Writes its input in place."""

    @staticmethod
    def forward(ctx, x):
        x.add_(1)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx, g):
        return g * 7


def test_dirty_inputs_take_the_new_history():
    x = leaf(2)
    y = x * 1
    z = AddOne.apply(y)
    assert z is y
    z.sum().backward()
    assert x.grad.tolist() == [7, 7]


class Rough(Function):
    """A backward that is not made of recorded ops."""

    @staticmethod
    def forward(ctx, x):
        return x.detach().clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        return g * 2


def test_once_differentiable_refuses_the_second_time():
    x = leaf(2)
    (g,) = gg.autograd.grad(Rough.apply(x).sum(), x, create_graph=True)
    assert g.tolist() == [2, 2]
    with pytest.raises(AutogradError, match="once_differentiable"):
        g.sum().backward()


def test_wrong_backwards_are_named():
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x, y):
            return x + y

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(AutogradError, match=r"Wrong.backward returned 1 gradients.*had 2"):
        Wrong.apply(leaf(2), leaf(2)).sum().backward()
    with pytest.raises(ArgumentError, match="save_for_backward takes tensors"):
        gg.autograd.function.FunctionCtx().save_for_backward(3)


def test_nothing_is_recorded_where_nothing_needs_it():
    assert Cube.apply(gg.ones(2)).grad_fn is None
    with gg.no_grad():
        assert Cube.apply(leaf(2)).grad_fn is None


# ---- saved-tensor hooks ----------------------------------------------------------------------


def test_hooks_see_everything_that_is_kept():
    packed, unpacked = [], []

    def pack(t):
        packed.append(tuple(t.shape))
        return t.numpy(force=True).copy()

    def unpack(a):
        unpacked.append(a.shape)
        return gg.from_numpy(a)

    x = leaf(3)
    with graph.saved_tensors_hooks(pack, unpack):
        y = (x.exp() * x).sum()
    assert sorted(packed) == [(3,), (3,), (3,)]  # exp: its output; mul: both operands
    assert not unpacked
    (g,) = gg.autograd.grad(y, x, create_graph=True)
    np.testing.assert_allclose(
        g.detach().numpy(), np.exp(x.detach().numpy()) * (1 + x.detach().numpy())
    )
    (h,) = gg.autograd.grad(g.sum(), x)  # what was unpacked has its history
    np.testing.assert_allclose(h.numpy(), np.exp(x.detach().numpy()) * (2 + x.detach().numpy()))


def test_what_a_function_saves_through_hooks_keeps_its_history():
    x = gg.tensor(2.0, dtype=gg.float64, requires_grad=True)
    with graph.saved_tensors_hooks(lambda t: [t], lambda packed: packed[0]):
        y = Cube.apply(x)
    (g,) = gg.autograd.grad(y, x, create_graph=True)
    (h,) = gg.autograd.grad(g, x)
    assert (g.item(), h.item()) == (12, 12)  # 3 x**2 and 6 x


def test_unpack_must_give_back_what_was_packed():
    x = leaf(3)
    with graph.saved_tensors_hooks(lambda t: t, lambda t: gg.zeros(2)):
        y = (x * x).sum()
    with pytest.raises(AutogradError, match=r"unpack hook returned \(2,\)"):
        y.backward()


def test_save_on_cpu_changes_nothing():
    x = leaf(3)
    with graph.save_on_cpu():
        y = (x * x).sum()
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy())


# ---- checkpointing ---------------------------------------------------------------------------


def block(x, w):
    h = gg.nn.functional.dropout((x @ w).tanh(), 0.5)
    return (h * h).sigmoid() * x


@pytest.mark.parametrize("use_reentrant", [True, False, None])
def test_checkpoint_gives_the_same_gradients_with_the_same_dropout(use_reentrant):
    x, w = leaf(4, 4), leaf(4, 4)
    gg.manual_seed(3)
    plain = gg.autograd.grad(block(x, w).sum(), (x, w))
    after = gg.rand(2)
    gg.manual_seed(3)
    out = checkpoint(block, x, w, use_reentrant=use_reentrant)
    replayed = gg.autograd.grad(out.sum(), (x, w))
    for a, b in zip(plain, replayed, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    np.testing.assert_array_equal(gg.rand(2).numpy(), after.numpy())  # the replay drew nothing


def test_checkpoint_keeps_no_intermediate_result():
    x = leaf(4)
    kept = []

    def f(x):
        y = x.exp()
        kept.append(weakref.ref(y.numpy(force=True)))
        return (y * y).tanh().sum()

    out = checkpoint(f, x)
    assert kept[0]() is None
    out.backward()
    assert len(kept) == 2
    e = np.exp(x.detach().numpy())
    np.testing.assert_allclose(x.grad.numpy(), (1 - np.tanh(e * e) ** 2) * 2 * e * e)


def test_checkpoint_supports_grad_of_grad_and_retained_graphs():
    x = leaf(3)

    def f(x):
        return (x.sin() * x.exp()).sum()

    (g,) = gg.autograd.grad(checkpoint(f, x), x, create_graph=True)
    (h,) = gg.autograd.grad(g.sum(), x)
    a = x.detach().numpy()
    np.testing.assert_allclose(h.numpy(), 2 * np.cos(a) * np.exp(a))
    y = checkpoint(f, x)
    y.backward(retain_graph=True)
    first = x.grad.clone()
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * first.numpy())


def test_a_forward_that_changes_its_mind_is_refused():
    x = leaf(3)
    calls = []

    def f(x):
        calls.append(1)
        return x.exp().sum() if len(calls) == 1 else x.sum()

    with pytest.raises(AutogradError, match="its replay 0"):
        checkpoint(f, x).backward()


def test_a_changed_argument_is_noticed():
    x = leaf(3)
    y = x * 1
    out = checkpoint(lambda t: t.exp().sum(), y)
    y.detach().add_(1)
    with pytest.raises(AutogradError, match="cannot be replayed"):
        out.backward()


def test_checkpoint_sequential():
    x = leaf(3)
    functions = [lambda t: t.exp(), lambda t: t.sin(), lambda t: t * t, lambda t: t.sum()]
    checkpoint_sequential(functions, 2, x).backward()
    e = np.exp(x.detach().numpy())
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.sin(e) * np.cos(e) * e)
