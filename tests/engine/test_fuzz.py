"""Random programs: the same on PyTorch and gpugrad, nothing left over in memory, any thread."""

import contextlib
import gc
import threading
import weakref
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import gpugrad
from gpugrad.errors import AutogradError
from gpugrad.tape import Node
from tests.engine import program_dtypes, program_values
from tests.engine.program_writes import STEPS
from tests.engine.programs import Choices, Impossible, Twins, attempt, flat, programs, total

EASY = [HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=1000, suppress_health_check=EASY)
@given(program=programs(STEPS))
def test_values_views_writes_and_gradients(program):
    Twins(STEPS, program_values.start).run(program)


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=500, suppress_health_check=EASY)
@given(program=programs(program_dtypes.STEPS))
def test_dtypes(program):
    Twins(program_dtypes.STEPS, program_dtypes.start, digits=2e-4).run(program)


# ---- memory ------------------------------------------------------------------------------------


@pytest.fixture
def only_new():
    """Let the cyclic collector look at what a test makes, not at all that was imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def saved_then_overwritten(garbage):
    """Tensors that a node keeps and that were then written to with what came of that node.

    This one cycle is the program's own, and PyTorch's too: the tensor's history is the node, and
    the node keeps the tensor.  ``backward`` through it raises, as what was kept is overwritten.
    """
    nodes = [x for x in garbage if isinstance(x, Node)]
    kept = [t for n in nodes for t in n.saved or () if isinstance(t, gpugrad.Tensor)]
    return [t for t in kept if t._version and t.grad_fn is not None]


@contextlib.contextmanager
def no_cycles():
    """Nothing of gpugrad made inside may be left to the cyclic collector."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        left = Counter(type(x).__name__ for x in gc.garbage
                       if type(x).__module__.startswith("gpugrad"))  # fmt: skip
        assert not left or saved_then_overwritten(gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def run_on_both(program):
    """Run what can be run; PyTorch's pool is only there to choose from."""
    import torch

    pools = [program_values.start(lib) for lib in (torch, gpugrad)]
    for name, choices in program:
        if name == "backward":  # create_graph would make a cycle of a leaf and its own gradient
            choices = [*choices[:2], 0]
        try:
            action = STEPS[name](Choices(choices), pools[0])
        except (Impossible, RuntimeError):
            continue
        for lib, pool in zip((torch, gpugrad), pools, strict=True):
            found = flat(attempt(action, lib, pool)[0])
            pool += [t for t in found if not any(t is x for x in pool)]
        if len(pools[0]) != len(pools[1]) or len(pools[0]) > 15:
            return


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_reference_counting_frees_everything(only_new):
    @settings(max_examples=200, suppress_health_check=EASY)
    @given(program=programs(STEPS))
    def check(program):
        with no_cycles():
            run_on_both(program)

    check()


@pytest.mark.parametrize(
    "name", ["write", "write_part", "view", "become", "hook", "custom", "packed"]
)
@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_arrays_go_with_their_tensors(name, only_new):
    """A step of each kind, twice, and a backward: then every array and node made is gone."""
    with no_cycles():
        pool = program_values.start(gpugrad)
        import torch

        twins = program_values.start(torch)
        made = []
        for k in range(40):
            try:
                action = STEPS[name](Choices([k, k, k, k]), twins)
            except (Impossible, RuntimeError):
                continue
            got = [flat(attempt(action, lib, p)[0])
                   for lib, p in ((torch, twins), (gpugrad, pool))]  # fmt: skip
            kept = got[1] + pool
            made += [weakref.ref(x) for t in kept for x in (t, t._array, t._node) if x is not None]
            del got, kept, action
        attempt(total, gpugrad, pool)
        del pool, twins
        assert not [r() for r in made if r() is not None]


# ---- what random programs have found -----------------------------------------------------------


def leaf(*values):
    return gpugrad.tensor(values, dtype=gpugrad.float64, requires_grad=True)


@pytest.mark.parametrize("fn", [
    lambda x: 1 / (x + 3), lambda x: x / (x + 3), gpugrad.nn.functional.elu,
    gpugrad.nn.functional.selu, gpugrad.nn.functional.celu,
    lambda x: gpugrad.nn.functional.layer_norm(x, (3,)),
    lambda x: gpugrad.nn.functional.group_norm(x.view(1, 3, 1), 1),
])  # fmt: skip
def test_results_that_may_be_written(fn):
    """As in PyTorch, an activation or a sum may be done in place on these."""
    x = leaf(0.5, -1.5, 2.0)
    y = fn(x)
    y += 1
    y.relu_()
    (g,) = gpugrad.autograd.grad(y.sum(), [x])
    np.testing.assert_array_equal(
        g.numpy(), gpugrad.autograd.grad((fn(x) + 1).relu().sum(), [x])[0].numpy()
    )


def test_retain_grad_adds_up_follows_writes_and_comes_last():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: g * 10)
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    assert y.grad.tolist() == [20, 20]
    y = x * 2
    y.retain_grad()
    y.mul_(3)
    (y * y).sum().backward()
    assert y.grad.tolist() == [12, 24]


def test_second_derivative_through_a_write():
    x = leaf(0.3)
    y = (x * 1).tanh_()
    (g,) = gpugrad.autograd.grad(y.sum(), [x], create_graph=True)
    g.sum().backward()
    t = np.tanh(0.3)
    np.testing.assert_allclose(x.grad.numpy(), [-2 * t * (1 - t * t)])


def test_what_hooks_unpacked_is_not_the_written_memory():
    x = leaf(0.3)
    y = x * 1
    with gpugrad.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        z = y.sin()
    (g,) = gpugrad.autograd.grad(z.sum(), [y], create_graph=True)
    y.detach().fill_(7)
    (g2,) = gpugrad.autograd.grad(g.sum(), [y])
    np.testing.assert_allclose(g2.numpy(), -np.sin([0.3]))


def test_gradient_of_a_write_through_a_view_in_another_order_of_strides():
    """The gradient comes in transposed, where the flat view of the write would be a copy."""
    x = leaf(1.0)
    y = gpugrad.zeros(3, 2, dtype=gpugrad.float64)
    y.copy_(x.expand(3, 2))
    y.reshape(6).mul_(5)
    (y.t() * gpugrad.ones(2, 3, dtype=gpugrad.float64)).sum().backward()
    assert x.grad.tolist() == [30]
    base = leaf(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    z = (base.view(2, 3).t() * 1).t().reshape(6)
    (z * gpugrad.arange(6, dtype=gpugrad.float64)).sum().backward()
    assert base.grad.tolist() == [0, 1, 2, 3, 4, 5]


def test_gradient_of_an_intermediate_stops_there():
    x = leaf(2.0)
    y = x.exp()
    y.sum().backward()
    (g,) = gpugrad.autograd.grad((y * 3).sum(), [y])  # what exp kept is freed, and not needed
    assert g.tolist() == [3]


def test_a_frozen_leaf_comes_back():
    x = leaf(1.0)
    y = (x * 3).sum()
    x.requires_grad_(False)
    y.backward(retain_graph=True)
    assert x.grad is None
    x.requires_grad_()
    y.backward()
    assert x.grad.tolist() == [3]


def test_clone_of_an_expanded_tensor_is_contiguous():
    x = gpugrad.ones(3)
    assert x.expand(2, 3).clone().view(-1).shape == (6,)


def test_function_gets_tensors_for_0d_gradients():
    class Cube(gpugrad.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 3 * x * x

    x = gpugrad.tensor(2.0, requires_grad=True)
    (Cube.apply(x) * 1).sum().backward()
    assert x.grad.item() == 12


def test_views_outside_the_history_are_not_written():
    x = leaf(1.0, 2.0)
    y = x * 1
    with gpugrad.no_grad():
        outside = y[0]
    with pytest.raises(AutogradError, match="made under no_grad"):
        outside.mul_(x[0])
    part = gpugrad.zeros(3)[1:].requires_grad_()
    with pytest.raises(AutogradError, match="leaf"):
        part[:].mul_(2)


# ---- threads -----------------------------------------------------------------------------------


def in_threads(*work):
    """Run functions at once, a thread each, and raise what one of them raised."""
    errors = []
    ready = threading.Barrier(len(work))

    def run(fn):
        try:
            ready.wait()
            fn()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(fn,)) for fn in work]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


def test_threads_add_to_shared_leaves():
    """Own graphs over shared leaves at once: no contribution is lost."""
    w = gpugrad.ones(40, dtype=gpugrad.float64, requires_grad=True)
    b = gpugrad.zeros(1, dtype=gpugrad.float64, requires_grad=True)
    rounds = 60

    def train():
        for i in range(rounds):
            x = gpugrad.full((3, 40), float(i % 3), dtype=gpugrad.float64)
            y = (x * w + b).clone()
            y[0].mul_(2)
            y.sum().backward()

    in_threads(*[train] * 6)
    assert w.grad.tolist() == [4.0 * 6 * rounds] * 40  # x is 1 on average, rows count 2 + 1 + 1
    assert b.grad.tolist() == [4.0 * 40 * 6 * rounds]


def test_forward_in_one_thread_backward_in_another():
    leaves = [gpugrad.full((5,), float(i + 1), requires_grad=True) for i in range(8)]
    graphs = []
    in_threads(*[lambda x=x: graphs.append((x, (x.exp().log() * x).sum())) for x in leaves])
    in_threads(*[lambda y=y: y.backward() for _, y in graphs])
    for x, _ in graphs:
        np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy(), rtol=1e-5)


def test_no_grad_is_of_its_thread():
    """Modes of one thread are not seen by another, however they interleave."""
    x = gpugrad.ones(3, requires_grad=True)
    inside, done = threading.Event(), threading.Event()

    def quiet():
        with gpugrad.no_grad():
            inside.set()
            assert done.wait(10)
            assert not (x * 2).requires_grad
            with pytest.raises(AutogradError):
                (x * 2).sum().backward()

    def loud():
        assert inside.wait(10)
        try:
            assert gpugrad.is_grad_enabled()
            (x * 2).sum().backward()
        finally:
            done.set()

    in_threads(quiet, loud)
    assert x.grad.tolist() == [2, 2, 2]


def test_one_graph_backward_from_several_threads():
    """A retained graph may be walked by many at once; what it keeps is only read."""
    x = gpugrad.full((50,), 0.5, dtype=gpugrad.float64, requires_grad=True)
    y = x
    for _ in range(30):
        y = (y * 1.01).tanh() + x
    loss = y.sum()
    (expected,) = gpugrad.autograd.grad(loss, [x], retain_graph=True)
    in_threads(*[lambda: loss.backward(retain_graph=True)] * 6)
    np.testing.assert_allclose(x.grad.numpy(), 6 * expected.numpy(), rtol=1e-12)
