"""The tape: depth, freeing, what it keeps, when it refuses."""

import gc
import sys
import threading
import weakref

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.errors import AutogradError, DTypeError, ShapeError
from gpugrad.tape import Leaf, Node


def leaf(*shape, dtype=gg.float64):
    return gg.randn(*shape, dtype=dtype, requires_grad=True)


# ---- depth and freeing -----------------------------------------------------------------------


def test_a_million_nodes_at_the_default_recursion_limit():
    """Forward, backward and freeing of a chain are iterative."""
    assert sys.getrecursionlimit() <= 1000
    x = gg.ones(2, dtype=gg.float64, requires_grad=True)
    y = x
    for _ in range(1_000_000):
        y = y * 1.0000001 + 0.0
    (y.sum()).backward()
    np.testing.assert_allclose(x.grad.numpy(), 1.0000001**1_000_000, rtol=1e-9)
    node = weakref.ref(y.grad_fn)
    del y
    assert node() is None


def test_a_wide_and_deep_graph_counts_every_path():
    """Sharing at each level: 2**60 paths, each node visited once."""
    x = gg.tensor(1.0, dtype=gg.float64, requires_grad=True)
    y = x
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad.item() == 2.0**60


def test_graph_is_freed_without_the_cyclic_collector():
    """Outputs point at nodes, nodes at inputs, and nothing back: counting references suffices."""
    gc.collect()
    gc.disable()
    try:
        x = leaf(3)
        y = (x.exp() * x.sigmoid()).sum(0)  # saves outputs and inputs
        z = y.tanh()
        watched = [weakref.ref(z.grad_fn), weakref.ref(z), weakref.ref(y.grad_fn.edges[0])]
        z.backward()
        del y, z
        assert [w() for w in watched] == [None] * 3
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_backward_lets_saved_arrays_go():
    x = leaf(4)
    y = x * 2.0
    kept = weakref.ref(y.numpy(force=True))
    z = (y * y).sum()
    del y
    gc.collect()
    assert kept() is not None
    z.backward()
    assert kept() is None


def test_the_tape_keeps_only_what_the_rule_reads():
    """A sum needs neither operand; a product with a constant needs only the constant."""
    x = leaf(4)
    a, b = x * 1.0, x * 2.0
    watched = [weakref.ref(t.numpy(force=True)) for t in (a, b)]
    s = a + b
    del a, b
    assert [w() for w in watched] == [None, None]
    constant = gg.ones(4, dtype=gg.float64)
    p = x * constant
    assert p.grad_fn.saved[0] is None
    assert p.grad_fn.saved[1] is constant
    (s * p).sum().backward()


# ---- refusals --------------------------------------------------------------------------------


def test_second_backward_names_the_node():
    y = (leaf(3).exp()).sum()
    y.backward()
    with pytest.raises(AutogradError, match=r"ExpBackward0 a second time.*retain_graph=True"):
        y.backward()


def test_a_graph_that_keeps_nothing_may_run_twice():
    x = leaf(3)
    y = (x + 1).sum()
    y.backward()
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2, 2, 2])


WRITES = {
    "add_": lambda t: t.add_(1),
    "setitem": lambda t: t.__setitem__(0, 5.0),
    "through a view": lambda t: t[1:].mul_(2),
    "through detach": lambda t: t.detach().zero_(),
    "through data": lambda t: t.data.fill_(3),
    "out=": lambda t: gg.exp(gg.ones(3, dtype=gg.float64), out=t),
    "random fill": lambda t: t.uniform_(),
    "copy_": lambda t: t.copy_(gg.zeros(3, dtype=gg.float64)),
    "data =": lambda t: setattr(t, "data", gg.zeros(3, dtype=gg.float64)),
}


@pytest.mark.parametrize("name", WRITES)
def test_every_write_to_a_saved_input_is_noticed(name):
    """The message names the op, the tensor and the line of the write."""
    x = leaf(3)
    y = x * 1.0
    z = (y * y).sum()
    with gg.no_grad():
        WRITES[name](y)
    with pytest.raises(AutogradError, match=r"mul needs its 'input'.*test_tape\.py:\d+.*version 1"):
        z.backward()


@pytest.mark.parametrize("name", WRITES)
def test_every_write_to_a_saved_output_is_noticed(name):
    x = leaf(3)
    y = x.exp()
    z = y.sum()
    with gg.no_grad():
        WRITES[name](y)
    with pytest.raises(AutogradError, match=r"exp needs its 'out'.*test_tape\.py:\d+"):
        z.backward()


def test_a_write_before_saving_is_no_fault():
    x = leaf(3)
    y = x * 1.0
    y.add_(1.0)
    (y * y).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * (x.detach().numpy() + 1))


def test_roots_that_cannot_start():
    x = leaf(3)
    with pytest.raises(AutogradError, match=r"only for a scalar; the output has shape \(3,\)"):
        (x * 2).backward()
    with pytest.raises(AutogradError, match="does not require a gradient"):
        gg.ones(1).backward()
    with pytest.raises(AutogradError, match=r"int64.*only floating"):
        gg.ones(1, dtype=gg.int64).backward()
    with pytest.raises(ShapeError, match=r"gradient of shape \(2,\).*output of shape.*\(3,\)"):
        (x * 2).backward(gg.ones(2, dtype=gg.float64))
    with pytest.raises(DTypeError, match="only floating tensors"):
        gg.ones(3, dtype=gg.int64).requires_grad_()


def test_a_leaf_cannot_be_written_while_recording():
    x = leaf(3)
    for write in (lambda: x.add_(1), lambda: x[0].fill_(1), lambda: x.__setitem__(0, 1.0)):
        with pytest.raises(AutogradError, match="leaf that requires a gradient"):
            write()
    with gg.no_grad():
        x.add_(1)


# ---- gradients of leaves ---------------------------------------------------------------------


def test_gradients_never_share_memory():
    a, b, seed = leaf(3), leaf(3), gg.ones(3, dtype=gg.float64)
    (a + b).backward(seed)
    a.grad.add_(10)
    np.testing.assert_array_equal(b.grad.numpy(), [1, 1, 1])
    np.testing.assert_array_equal(seed.numpy(), [1, 1, 1])
    c, d = leaf(2, 2), leaf(2, 2)
    (c.t() + d).sum().backward()
    assert not np.shares_memory(c.grad.numpy(), d.grad.numpy())
    c.grad.fill_(7)  # a gradient that came from expanding a sum is writable memory of its own
    np.testing.assert_array_equal(d.grad.numpy(), np.ones((2, 2)))


def test_a_gradient_has_its_leafs_dtype_and_shape():
    x = gg.ones(3, 1, dtype=gg.float32, requires_grad=True)
    y = gg.ones(1, 4, dtype=gg.float64, requires_grad=True)
    (x * y).sum().backward()
    assert (x.grad.dtype, tuple(x.grad.shape)) == (gg.float32, (3, 1))
    assert (y.grad.dtype, tuple(y.grad.shape)) == (gg.float64, (1, 4))


def test_gradients_accumulate_in_place():
    x = leaf(3)
    x.sum().backward()
    first = x.grad
    (x * 2).sum().backward()
    assert x.grad is first
    np.testing.assert_array_equal(first.numpy(), [3, 3, 3])


def test_threads_accumulate_without_loss():
    """8 threads, one leaf, one shared subgraph kept by retain_graph."""
    x = gg.ones(64, dtype=gg.float64, requires_grad=True)
    shared = x * 3.0

    def work():
        for _ in range(50):
            (shared * 1.0).sum().backward(retain_graph=True)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(64, 8 * 50 * 3.0))


# ---- choosing what to compute ----------------------------------------------------------------


def test_backward_into_chosen_leaves_only():
    a, b = leaf(3), leaf(3)
    (a * b).sum().backward(inputs=[a])
    assert a.grad is not None
    assert b.grad is None
    with pytest.raises(AutogradError, match="leaf"):
        (a * b).sum().backward(inputs=[a * 2])


def test_grad_of_leaves_and_of_results():
    a = leaf(3)
    b = a * 2
    c = (b * b).sum()
    da, db = gg.autograd.grad(c, (a, b))
    np.testing.assert_allclose(db.numpy(), 2 * b.detach().numpy())
    np.testing.assert_allclose(da.numpy(), 4 * b.detach().numpy())
    assert a.grad is None


def test_grad_of_an_unused_input():
    a, b = leaf(3), leaf(3)
    with pytest.raises(AutogradError, match=r"input 1 of shape \(3,\) was not used"):
        gg.autograd.grad(a.sum(), (a, b))
    assert gg.autograd.grad(a.sum(), (a, b), allow_unused=True)[1] is None
    zeros = gg.autograd.grad(a.sum(), (a, b), materialize_grads=True)[1]
    np.testing.assert_array_equal(zeros.numpy(), [0, 0, 0])


def test_several_roots_with_gradients():
    a = leaf(2)
    gg.autograd.backward([a.sum(), a * 3], [None, gg.ones(2, dtype=gg.float64)])
    np.testing.assert_array_equal(a.grad.numpy(), [4, 4])


def test_create_graph_differentiates_again():
    x = gg.tensor([2.0, -1.0], dtype=gg.float64, requires_grad=True)
    (g,) = gg.autograd.grad((x**3).sum(), x, create_graph=True)
    (h,) = gg.autograd.grad(g.sum(), x, create_graph=True)
    (t,) = gg.autograd.grad(h.sum(), x)
    np.testing.assert_allclose(g.detach().numpy(), [12, 3])
    np.testing.assert_allclose(h.detach().numpy(), [12, -6])
    np.testing.assert_allclose(t.numpy(), [6, 6])


# ---- hooks -----------------------------------------------------------------------------------


def test_tensor_hooks_see_the_whole_gradient_and_may_replace_it():
    x = leaf(3)
    y = x * 2
    seen = []
    handle = y.register_hook(lambda g: (seen.append(g.numpy().copy()), g * 10)[1])
    (y + y).sum().backward()
    np.testing.assert_array_equal(seen[0], [2, 2, 2])
    np.testing.assert_array_equal(x.grad.numpy(), [40, 40, 40])
    handle.remove()
    x.grad = None
    (x * 2 + 0).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2, 2, 2])
    assert len(seen) == 1


def test_a_hook_on_a_leaf_runs_before_accumulation():
    x = leaf(2)
    x.register_hook(lambda g: -g)
    x.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [-1, -1])


def test_a_hook_must_keep_the_shape():
    x = leaf(2)
    x.register_hook(lambda g: g.sum())
    with pytest.raises(ShapeError, match=r"hook.*\(2,\) returned \(\)"):
        x.sum().backward()


def test_node_hooks_before_and_after():
    x = leaf(2)
    y = x * 3
    events = []
    y.grad_fn.register_prehook(lambda gs: events.append(("pre", gs[0].tolist())))
    y.grad_fn.register_hook(lambda gi, go: events.append(("post", gi[0].tolist(), go[0].tolist())))
    y.sum().backward()
    assert events == [("pre", [1, 1]), ("post", [3, 3], [1, 1])]


def test_retain_grad_and_post_accumulate_hook():
    x = leaf(2)
    y = x * 3
    y.retain_grad()
    calls = []
    x.register_post_accumulate_grad_hook(lambda t: calls.append((t is x, t.grad.tolist())))
    (y * 2).sum().backward()
    assert y.grad.tolist() == [2, 2]
    assert calls == [(True, [6, 6])]
    with pytest.raises(AutogradError, match="leaves"):
        y.register_post_accumulate_grad_hook(print)


def test_hooks_may_use_ops_of_their_own():
    """User code runs inside backward, on this thread, with everything working."""
    x = leaf(2)
    inner = leaf(2)

    def hook(g):
        with gg.enable_grad():
            (inner * 2).sum().backward()
        return (g / 2).exp()

    x.register_hook(hook)
    x.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp([0.5, 0.5]))
    assert inner.grad.tolist() == [2, 2]


# ---- the graph is in the user's hands --------------------------------------------------------


def test_the_graph_can_be_walked():
    x = leaf(3)
    y = (x * 2).exp().sum()
    node = y.grad_fn
    names = []
    while isinstance(node, Node):
        names.append(node.name())
        node = node.next_functions[0][0]
    assert names == ["SumBackward0", "ExpBackward0", "MulBackward0"]
    assert isinstance(node, Leaf)
    assert node.variable is x


def test_a_node_can_be_executed_again_from_what_it_holds():
    """Op, settings and inputs are enough: the invariant that graphs stand on."""
    x = leaf(2, 3)
    y = x.sum(dim=1, keepdim=True)
    node = y.grad_fn
    again = node.op(x, **node.settings)
    np.testing.assert_array_equal(again.detach().numpy(), y.detach().numpy())
    assert (node.shape, node.dtype) == ((2, 1), np.float64)


def test_non_float_results_carry_no_gradient():
    x = leaf(4)
    assert not (x > 0).requires_grad
    assert not x.argmax().requires_grad
    values, indices = x.sort()
    assert values.requires_grad
    assert not indices.requires_grad


def test_requires_grad_can_be_switched_on_leaves_only():
    x = leaf(2)
    y = x * 1
    with pytest.raises(AutogradError, match="leaf"):
        y.requires_grad_(False)
    x.sum().backward()
    x.requires_grad_(False)
    assert x.grad.tolist() == [1, 1]
    assert not (x * 2).requires_grad
    x.requires_grad = True
    assert x.grad.tolist() == [1, 1]


def test_a_gradient_that_nobody_else_holds_is_taken_over_uncopied():
    made = []

    class Known(gg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            result = g * 2
            made.append(id(result.numpy()))
            return result

    x = leaf(5)
    Known.apply(x).sum().backward()
    assert id(x.grad.numpy()) == made[0]
    kept = []

    class Held(Known):
        @staticmethod
        def backward(ctx, g):
            kept.append(g * 2)
            return kept[0]

    y = leaf(5)
    Held.apply(y).sum().backward()
    assert not np.shares_memory(y.grad.numpy(), kept[0].numpy())
