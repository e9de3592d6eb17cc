"""Custom ops without a GPU: PyTorch's habits, gradients, what is refused and in which words.

What launches on tensors is tested in tests/cuda/test_custom_ops.py, which
tests/unit/test_cuda_path.py also runs over the stand-in for CuPy.
"""

import copy
import itertools
import pickle
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import Tensor
from gpugrad.autograd.function import once_differentiable
from gpugrad.autograd.graph import saved_tensors_hooks
from gpugrad.errors import (
    ArgumentError,
    AutogradError,
    DeviceError,
    DTypeError,
    KernelError,
    NotSupportedError,
    RegistrationError,
    SettingError,
    ShapeError,
)
from gpugrad.library import cuda_kernel, custom_op, fused_op, names, numba_kernel
from gpugrad.library.c_signature import parameters
from gpugrad.modes import recording
from gpugrad.op import Array
from gpugrad.testing import check_op, gradcheck, gradgradcheck
from gpugrad.testing.scratch import scratch

_count = itertools.count()


@pytest.fixture
def name():
    """A name for an op, forgotten after the test."""
    made = f"testlib::op{next(_count)}"
    yield made
    names.registered.pop(made, None)


def square_op(name, **more):
    """x * x by NumPy."""

    @custom_op(name, mutates_args=(), **more)
    def square(x: Tensor) -> Tensor:
        return gg.from_numpy(np.asarray(np.square(x.numpy())))

    return square


def keep(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def square_backward(ctx, g):
    (x,) = ctx.saved_tensors
    return 2 * x * g


def leaf(*shape):
    return gg.randn(*shape, dtype=gg.float64, requires_grad=True)


class Recorder:
    def __init__(self):
        self.seen = []

    def record(self, op, inputs, settings, outputs):
        self.seen.append((op, inputs, settings, outputs))


# ---- gradients ---------------------------------------------------------------------------------


def test_a_gradient_that_is_right_is_registered(name):
    """First and second derivatives are those of differences."""
    square = square_op(name)
    square.register_autograd(square_backward, setup_context=keep, check=[(leaf(3),), {"x": leaf()}])
    x = leaf(2, 3)
    assert gradcheck(square, (x,))
    assert gradgradcheck(square, (x,))


@pytest.mark.parametrize(("sample", "backward", "words"), [
    (lambda: (gg.ones(3).double(),), lambda ctx, g: 2.01 * g,
     r"sample 0: gradient of input 0 .* analytical 2.01, numerical 2"),
    (lambda: [(gg.ones(3).double(),), (gg.zeros(3).double(),)], lambda ctx, g: 2 * g,
     r"sample 1: gradient of input 0 .* analytical 2, numerical"),
    (lambda: (gg.ones(3),), lambda ctx, g: 2 * g, "input 0 is float32; differences need float64"),
    (lambda: (gg.ones(3).double(),), lambda ctx, g: (g, g), r"2 gradients.*\['x'\]"),
    (lambda: (gg.ones(3).double(),), lambda ctx, g: g[:2], r"\(2,\), its input \(3,\)"),
    (lambda: (gg.ones(3).double(),), lambda ctx, g: 3.0, "for 'x' a Tensor or None, got float"),
    (lambda: (), lambda ctx, g: g, "missing argument 'x'"),
])  # fmt: skip
def test_a_wrong_gradient_is_refused_with_its_numbers(name, sample, backward, words):
    """And the op keeps what it had before."""
    square = square_op(name)
    square.register_autograd(square_backward, setup_context=keep)
    with pytest.raises((RegistrationError, ArgumentError), match=words):
        square.register_autograd(backward, check=sample())
    x = leaf(3)
    square(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy())


def test_a_check_that_could_not_fail_is_refused(name):
    """An op whose results carry no gradient has none to check."""

    @custom_op(name, mutates_args=())
    def places(x: Tensor) -> Tensor:
        return x.long()

    with pytest.raises(RegistrationError, match="no result carries a gradient"):
        places.register_autograd(lambda ctx, g: g, check=(leaf(2),))


def test_only_the_chosen_inputs_are_checked(name):
    @custom_op(name, mutates_args=())
    def scaled(x: Tensor, y: Tensor) -> Tensor:
        return x * y

    def backward(ctx, g):
        return g * ctx.saved_tensors[1], None

    with pytest.raises(RegistrationError, match="gradient of input 1"):
        scaled.register_autograd(backward, setup_context=keep,
                                 check=(gg.ones(2).double(), gg.ones(2).double()))  # fmt: skip
    scaled.register_autograd(backward, setup_context=keep, check=(leaf(2), gg.ones(2).double()))


def test_a_backward_that_is_not_made_of_ops(name):
    """Marked so, a second derivative raises; the first is as ever."""
    square = square_op(name)

    @once_differentiable
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return gg.from_numpy(2 * x.detach().numpy() * g.numpy())

    square.register_autograd(backward, setup_context=keep, check=(leaf(2),))
    x = leaf(3)
    (g,) = gg.autograd.grad(square(x).sum(), x, create_graph=True)
    with pytest.raises(AutogradError, match="once_differentiable"):
        g.sum().backward()
    square.register_autograd(
        lambda ctx, g: gg.from_numpy(2 * ctx.saved_tensors[0].numpy() * g.numpy()),
        setup_context=keep,
    )
    with pytest.raises(AutogradError, match="requires a gradient, which NumPy cannot record"):
        gg.autograd.grad(square(x).sum(), x, create_graph=True)


def test_gradients_of_lists_and_others(name):
    """A list has a list of gradients; what is no tensor has None."""

    @custom_op(name, mutates_args=())
    def total(ts: list[Tensor], n: int) -> Tensor:
        return sum(ts) * n

    a, b = leaf(2), leaf(2)
    for bad, words in (
        (lambda ctx, g: ([g], None), r"for 'ts' a list of 2 gradients or None, got list of 1"),
        (lambda ctx, g: (g, None), r"for 'ts' a list of 2 gradients or None, got Tensor"),
        (lambda ctx, g: ([g, g], g), r"for 'n' None, as it is no tensor, got Tensor"),
        (lambda ctx, g: [g, g], r"returned 1 gradients; it has the arguments \['ts', 'n'\]"),
    ):
        total.register_autograd(bad)
        with pytest.raises(AutogradError, match=words):
            total([a, b], 3).sum().backward()

    def setup(ctx, inputs, output):
        ctx.n = inputs[1]
        assert ctx.needs_input_grad == ([True, True], False)

    total.register_autograd(lambda ctx, g: ([g * ctx.n] * 2, None), setup_context=setup,
                            check=([a, b], 3))  # fmt: skip
    total.register_autograd(lambda ctx, g: (None, None))
    with pytest.raises(AutogradError):  # None is no gradient at all
        gg.autograd.grad(total([a, b], 3).sum(), a)


def test_what_is_kept_is_checked_and_goes(name):
    """A saved tensor that was overwritten raises; saved-tensor hooks see what is kept."""
    square = square_op(name)
    square.register_autograd(square_backward, setup_context=keep)
    x = leaf(3)
    y = x * 1
    z = square(y)
    with gg.no_grad():
        y.add_(1)
    with pytest.raises(AutogradError, match="modified by an in-place operation"):
        z.sum().backward()
    packed = []
    with saved_tensors_hooks(lambda t: packed.append(t) or t, lambda t: t):
        z = square(x)
    z.sum().backward()
    assert len(packed) == 1
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy())


# ---- one op among others -----------------------------------------------------------------------


def test_recorders_and_the_tape_see_one_op(name):
    """Not what its function does; and what they are told is enough to call it again."""

    @custom_op(name, mutates_args=())
    def scaled(x: Tensor, n: int, *, by: float = 2.0) -> Tensor:
        return (x.relu() + 1) * n * by

    scaled.register_autograd(lambda ctx, g: (g, None))
    x, recorder = leaf(3), Recorder()
    with recording(recorder):
        y = scaled(x, 3, by=4)
    ((op, inputs, settings, outputs),) = recorder.seen
    assert (op, settings) == (scaled, {"by": 4.0})
    assert outputs[0] is y
    assert op(*inputs, **settings).tolist() == y.tolist()
    assert y.grad_fn.name() == f"{name}Backward"
    assert y.grad_fn.op is scaled
    with gg.profiler.profile(record_shapes=True) as profile:
        scaled(x, 3).sum().backward()
    seen = {e.key: e for e in profile.key_averages()}
    assert set(seen) >= {name, f"{name}Backward"}
    assert not set(seen) & {"relu", "add"}
    assert scaled(x, 3).requires_grad
    with gg.no_grad():
        assert not scaled(x, 3).requires_grad
    with gg.inference_mode():
        assert scaled(x, 3).is_inference()
    scaled.register_autograd(lambda ctx, g: (g * float("nan"), None))
    with gg.autograd.detect_anomaly():
        loss = scaled(x, 3).sum()
        with pytest.raises(AutogradError, match=f"{name} was called at .*test_custom_ops"):
            loss.backward()


def test_an_op_is_pickled_as_its_name(name):
    square = square_op(name)
    assert pickle.loads(pickle.dumps(square)) is copy.deepcopy(square) is square
    data = pickle.dumps(square)
    del names.registered[name]
    with pytest.raises(ArgumentError, match=f"no custom op '{name}' is registered; import"):
        pickle.loads(data)


def test_ops_by_name(name):
    """In `gpugrad.ops`, and for the functions that register more."""
    square = square_op(name)
    library, _, own = name.partition("::")
    assert getattr(getattr(gg.ops, library), own) is square
    assert own in dir(getattr(gg.ops, library))
    gg.library.register_autograd(name, square_backward, setup_context=keep, check=(leaf(2),))
    gg.library.register_fake(name)(lambda x: gg.empty_like(x))
    gg.library.register_kernel(name, "cpu")(lambda x: x * 10)
    gg.library.register_autocast(name, "cpu", gg.bfloat16)
    assert square(gg.ones(2)).tolist() == [10, 10]
    assert square(gg.empty(2, device="meta")).is_meta
    with gg.autocast("cpu"):
        assert square(gg.ones(2)).dtype is gg.bfloat16
    with pytest.raises(AttributeError, match=f"no custom op {library}::nothing"):
        getattr(getattr(gg.ops, library), "nothing")  # noqa: B009
    with pytest.raises(ArgumentError, match="no custom op 'a::b' is registered"):
        gg.library.register_fake("a::b")


def test_transforms_take_an_op_like_any_other(name):
    """`vmap`, derivatives of functions and checkpointing."""
    square = square_op(name)
    square.register_autograd(square_backward, setup_context=keep)
    x = leaf(3, 2)
    assert gg.vmap(square)(x).tolist() == (x * x).tolist()
    np.testing.assert_allclose(
        gg.func.hessian(lambda v: square(v).sum())(x[0].detach()).numpy(), 2 * np.eye(2)
    )
    gg.utils.checkpoint.checkpoint(square, x, use_reentrant=False).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy())


# ---- writes ------------------------------------------------------------------------------------


def test_writes_are_counted_and_what_is_not_declared_is_refused(name):
    @custom_op(name, mutates_args=["out"])
    def fill(x: Tensor, out: Tensor) -> None:
        out.numpy()[...] = x.numpy() + 1

    x, out = gg.zeros(2), gg.zeros(2)
    version = out._version
    fill(x, out)
    assert out.tolist() == [1, 1]
    assert out._version > version
    with pytest.raises(AutogradError, match=r"writes into \['out'\].* requires a gradient; use"):
        fill(leaf(2), out)
    with gg.no_grad():
        fill(leaf(2), out)
    with pytest.raises(RegistrationError, match="such an op has no gradient"):
        fill.register_autograd(lambda ctx, g: g)
    with pytest.raises(gg.errors.ViewError, match="expanded"):
        fill(x, gg.zeros(1).expand(2))
    assert fill(gg.empty(2, device="meta"), gg.empty(2, device="meta")) is None


def test_an_undeclared_write_is_named(name):
    @custom_op(name, mutates_args=())
    def sneaky(x: Tensor, y: Tensor) -> Tensor:
        y.mul_(2)
        return x + y

    with pytest.raises(AutogradError, match=r"wrote into 'y' at .*test_custom_ops.py:\d+, and"):
        sneaky(gg.ones(2), gg.ones(2))
    with pytest.raises(AutogradError, match="wrote into 'y'"):
        sneaky(gg.ones(2), gg.ones(2, requires_grad=True))


def test_memory_of_arguments_is_not_returned(name):
    @custom_op(name, mutates_args=())
    def half(x: Tensor) -> Tensor:
        return x[: len(x) // 2]

    with pytest.raises(AutogradError, match=r"shape \(2,\) that is an argument, or shares memory"):
        half(gg.ones(4))


# ---- registration ------------------------------------------------------------------------------


def unhinted(x):
    return x


def no_result(x: Tensor):
    return x


def strange(x: dict) -> Tensor:
    return x


def strange_result(x: Tensor) -> str:
    return x


def many(*x: Tensor) -> Tensor:
    return x[0]


def named(*, x: Tensor) -> Tensor:
    return x


def unknown(x: "Nowhere") -> Tensor:  # noqa: F821
    return x


@pytest.mark.parametrize(("fn", "words"), [
    (unhinted, "parameter 'x' needs a type hint: Tensor, int"),
    (no_result, "the result needs a type hint"),
    (strange, r"parameter 'x' has the type hint <class 'dict'>; accepted: Tensor"),
    (strange_result, r"the result has the type hint <class 'str'>; accepted: Tensor, list"),
    (many, r"\*x is not supported"),
    (named, r"tensors must be positional, \['x'\] are keyword-only"),
    (unknown, "a type hint cannot be read: name 'Nowhere' is not defined"),
])  # fmt: skip
def test_functions_that_are_no_op(name, fn, words):
    with pytest.raises(RegistrationError, match=f"{name}: {words}"):
        custom_op(name, mutates_args=())(fn)
    assert name not in names.registered


def test_names_and_settings_that_are_refused(name):
    square = square_op(name)
    with pytest.raises(RegistrationError, match=f"{name} is registered already, in {__name__}"):
        square_op(name)
    for bad in ("square", "a::b::c", "a.b::c", "::b", 3):
        with pytest.raises(RegistrationError, match='a name is "library::op"'):
            square_op(bad)
    with pytest.raises(RegistrationError, match=r"'linalg' is a part of gpugrad\.ops"):
        square_op("linalg::square")
    with pytest.raises(RegistrationError, match=r"mutates_args has \['y'\]; its tensors are"):
        custom_op("testlib::other", mutates_args=["y"])(square._kernels[None])
    with pytest.raises(RegistrationError, match='must be a sequence of names or "unknown", got'):
        custom_op("testlib::other", mutates_args="x")(square._kernels[None])
    with pytest.raises(NotSupportedError, match="use type hints"):
        custom_op("testlib::other", mutates_args=(), schema="(Tensor x) -> Tensor")
    with pytest.raises(SettingError, match="device types are cpu, cuda, got 'xpu'"):
        square.register_kernel("xpu")
    with pytest.raises(SettingError, match="got 'meta'; for shapes alone there is register_fake"):
        square.register_kernel(["cpu", "meta"])
    with pytest.raises(SettingError, match="cast_inputs must be a float dtype"):
        square.register_autocast("cpu", gg.int32)
    for register in (square.register_fake, square.register_kernel("cpu")):
        with pytest.raises(RegistrationError, match=r"does not take the arguments of .*x: Tensor"):
            register(lambda: None)
    assert square(gg.ones(1)).tolist() == [1]


def test_unknown_means_every_tensor(name):
    @custom_op(name, mutates_args="unknown")
    def swap(x: Tensor, y: Tensor, n: int) -> None:
        x.add_(n)

    x, y = gg.zeros(1), gg.zeros(1)
    swap(x, y, 2)
    assert (x.item(), y._version) == (2, 1)


def test_a_device_without_a_kernel_is_named(name):
    square = square_op(name, device_types="cuda")
    words = r"no kernel for tensors on cpu \(there is one for cuda\).*register_kernel\(\"cpu\"\)"
    with pytest.raises(NotSupportedError, match=words):
        square(gg.ones(2))
    with pytest.raises(NotSupportedError, match="meta tensors; say it with register_fake"):
        square(gg.empty(2, device="meta"))


def test_an_op_that_makes_tensors(name):
    """Its device argument says whose function runs."""

    @custom_op(name, mutates_args=(), device_types="cuda")
    def ones(n: int, device: gg.device) -> Tensor:
        return gg.ones(n, device=device)

    with pytest.raises(NotSupportedError, match="no kernel for tensors on cpu"):
        ones(2, "cpu")
    ones.register_kernel("cpu")(lambda n, device: gg.ones(n, device=device))
    assert ones(2, "cpu").tolist() == [1, 1]


def test_results_that_are_not_what_was_promised(name):
    answers = {}

    @custom_op(name, mutates_args=())
    def asked(x: Tensor) -> tuple[Tensor, int]:
        return answers["now"]

    answers["now"] = gg.ones(1), 3
    assert asked(gg.ones(1))[1] == 3
    for wrong in (gg.ones(1), (gg.ones(1),), (3, gg.ones(1)), None, np.ones(1)):
        answers["now"] = wrong
        with pytest.raises(ArgumentError, match=r"returned .*; the type hint says \(Tensor, num"):
            asked(gg.ones(1))


# ---- expressions -------------------------------------------------------------------------------


def swish(x: Tensor, beta: float = 1.0) -> Tensor:
    """x * sigmoid(beta x)."""
    return x * gg.sigmoid(x * beta)


def test_an_expression_is_an_op_with_a_gradient(name):
    """One node of its name; two orders of gradients; checked in float64 where it has no kernel."""
    op = fused_op(name, check=[(leaf(3), 2.0)])(swish)
    x = gg.randn(5, 7, requires_grad=True)
    recorder = Recorder()
    with recording(recorder):
        y = op(x, 0.5)
    assert [r[0] for r in recorder.seen] == [op]
    assert y.grad_fn.name() == f"{name}Backward"
    expected = swish(x, 0.5)
    np.testing.assert_allclose(y.tolist(), expected.tolist(), rtol=1e-5, atol=1e-6)
    for a, b in zip(_twice(y, x), _twice(expected, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert gradcheck(op, (leaf(4),))
    meta = gg.empty(2, 3, device="meta", requires_grad=True)
    assert (op(meta).shape, op(meta).requires_grad) == ((2, 3), True)
    outer = gg.fuse(lambda x: op(x, 0.5) * 3)
    np.testing.assert_allclose(outer(x).tolist(), (expected * 3).tolist(), rtol=1e-5, atol=1e-6)


def _twice(y, x):
    (g,) = gg.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = gg.autograd.grad((g * g).sum(), x)
    return g.tolist(), h.tolist()


def test_an_expression_with_a_gradient_of_ones_own(name):
    """The user's goes before the derived one; a wrong one is refused."""
    op = fused_op(name, swish)

    def backward(ctx, g):
        (x, beta) = ctx.saved_tensors[0], ctx.beta
        s = gg.sigmoid(x * beta)
        return g * s * (1 + ctx.twist + x * beta * (1 - s)), None

    def setup(twist):
        def keep_both(ctx, inputs, output):
            ctx.save_for_backward(inputs[0])
            ctx.beta, ctx.twist = inputs[1], twist

        return keep_both

    with pytest.raises(RegistrationError, match="analytical"):
        op.register_autograd(backward, setup_context=setup(0.01), check=(leaf(3), 2.0))
    op.register_autograd(backward, setup_context=setup(0), check=(leaf(3), 2.0))
    x = gg.ones(2, requires_grad=True)
    assert type(op(x).grad_fn._ctx).__name__ == "FunctionCtx"
    assert op(x).grad_fn._ctx.beta == 1.0
    op.register_kernel("cpu", lambda x, beta: x * 0)
    assert op(x).tolist() == [0, 0]


def test_expressions_that_are_refused(name):
    def sorts(x: Tensor) -> Tensor:
        return x.sort().values

    def keyword(x: Tensor, *, n: int = 2) -> Tensor:
        return x * n

    with pytest.raises(RegistrationError, match=r"sort at .* cannot be fused"):
        fused_op(name, sorts, check=(leaf(3),))
    assert name not in names.registered
    with pytest.raises(RegistrationError, match="takes no keyword-only arguments"):
        fused_op(name, keyword)
    op = fused_op(name, sorts)
    for x in (gg.ones(3), gg.ones(3).double()):
        with pytest.raises(NotSupportedError, match=r"sort at .* cannot be fused"):
            op(x)


@pytest.mark.parametrize(("spelt", "factor"), [("({0} + {0})", 2), ("({0} * 3)", 3)])
def test_an_elementwise_op_may_spell_its_own_c(spelt, factor):
    """A kernel has that text; small arrays, and what is checked, have the function."""
    with scratch():

        @gg.elementwise(c=spelt, accepts="f", domain=(-2.0, 2.0), torch="")
        def doubled(xp, input: Array) -> Array:
            """Twice the input."""
            return input * 2

        @doubled.vjp
        def _(xp, g):
            return g * 2

        x = gg.randn(300, 300)
        assert doubled(x[0]).equal(x[0] * 2)
        assert gg.fuse(lambda x: gg.doubled(x) + 0)(x).equal(x * factor)
        check_op("doubled")  # of the function and its rule


# ---- CUDA C++ ----------------------------------------------------------------------------------

SOURCE = r'''
// extern "C" __global__ void commented(int* x);
/* extern "C" __global__ void out(int* x) {} */
typedef long long i64;
using scalar = float;
#define COUNT unsigned int
template <class T> __device__ T twice(T x) { return x + x; }
extern "C" __global__ void __launch_bounds__(256)
swish(const float* __restrict__ x, scalar *y, i64 n, COUNT k, float const * const z,
      unsigned long long* c, float4* v, const unsigned short h[], double** t, bool b, size_t m,
      short s, unsigned char u, const Strange<int, 3>* q, signed char* i8, long int l) {
    if (n > 0) y[0] = twice(x[0]);  // a comment with ) and {
}
extern "C" {
__global__ void plain() {}
}
template <class T> __global__ void templated(T* x) {}
'''  # fmt: skip


def test_parameters_are_read_off_the_declaration():
    """The dtypes that a pointer takes, whether it writes, and the width of a number."""
    name, found = parameters(SOURCE, "swish")
    read = [(p.written, p.accepted) if p.pointer else p.scalar for p in found]
    assert name == "swish"
    assert read == [
        (False, (gg.float32,)), (True, (gg.float32,)), np.int64, np.uint32, (False, (gg.float32,)),
        (True, (gg.int64,)), (True, (gg.float32,)), (False, (gg.float16, gg.bfloat16, gg.int16)),
        (True, (gg.int64,)), np.bool_, np.uint64, np.int16, np.uint8, (False, None),
        (True, (gg.int8,)), np.int64,
    ]  # fmt: skip
    assert parameters(SOURCE, "plain") == ("plain", ())


@pytest.mark.parametrize(("source", "name", "words"), [
    (SOURCE, None, r"has the kernels \['plain', 'swish', 'templated'\]; name one"),
    (SOURCE, "commented", r"no kernel 'commented' in the source; it has"),
    (SOURCE, "templated", r'templated must be declared extern "C" __global__'),
    ("void f() {}", None, r'no extern "C" __global__ function'),
    ('extern "C" __global__ void f(Strange s) {}', None, r"parameter 'Strange s'; by value"),
    ('extern "C" __global__ void f(float& s) {}', None, r"parameter 'float& s'; by value"),
])  # fmt: skip
def test_sources_that_cannot_be_launched(source, name, words):
    with pytest.raises(KernelError, match=words):
        cuda_kernel(source, name, grid=1)


def test_launches_on_other_tensors_are_refused():
    """Before anything asks for a GPU."""
    kernel = cuda_kernel('extern "C" __global__ void f(const float* x, int n) {}', grid=1)
    with pytest.raises(DeviceError, match=r'is on cpu, and .*register_kernel\("cpu"\)'):
        kernel(gg.ones(2), 2)
    with pytest.raises(DeviceError, match=r"is on meta, and .*register_fake"):
        kernel(gg.empty(2, device="meta"), 2)
    with pytest.raises(ArgumentError, match=r"2 parameters \(const float\* x, int n\), got 1 arg"):
        kernel(gg.ones(2))
    with pytest.raises(DTypeError, match=r"'const float\* x', which takes float32, got \(2,\) fl"):
        kernel(gg.ones(2).double(), 2)
    with pytest.raises(ArgumentError, match=r"'const float\* x', which takes a Tensor or None"):
        kernel(np.ones(2), 2)
    for bad, words in ((2.0, "takes an int, got 2.0"), (gg.ones(1), r"\.item\(\) gives its numb"),
                       (2**31, "takes -2147483648 to 2147483647, got 2147483648")):  # fmt: skip
        with pytest.raises(ArgumentError, match=f"argument 1 is for 'int n', which .*{words}"):
            kernel(gg.ones(2), bad)
    with pytest.raises(ArgumentError, match=r"strides \(1, 2\); pass .contiguous\(\)"):
        kernel(gg.ones(2, 2).T, 2)
    for bad in (-1, (1, 2, 3, 4), 1.5, "x", ()):
        with pytest.raises(ArgumentError, match="grid must be ints"):
            cuda_kernel(kernel.source, grid=bad)


def _has_nvrtc():
    from gpugrad.backends.nvidia import compile

    try:
        compile.version()
    except DeviceError:
        return False
    return find_spec("cuda.core") is not None


@pytest.mark.skipif(
    not (find_spec("cuda") and _has_nvrtc()),
    reason="NVRTC is missing: pip install 'gpugrad[test]'",
)
def test_a_kernel_compiles_or_says_why_without_a_gpu(tmp_path, monkeypatch):
    """The compiler's line is in the error, and the text in a file."""
    monkeypatch.setattr(gg.config, "cache_dir", tmp_path)
    good = 'extern "C" __global__ void f(float* x) { x[threadIdx.x] *= 2; }'
    assert cuda_kernel(good, grid=1).compile("sm_90").registers > 0
    bad = 'extern "C" __global__ void f(float* x) {\n    x[0] = y;\n}'
    with pytest.raises(
        KernelError, match=r"(?s)\(2\): error: identifier \"y\".*kept in (\S+)"
    ) as e:
        cuda_kernel(bad, grid=1).compile("sm_90")
    kept = str(e.value).rpartition("kept in ")[2].strip()
    assert bad in Path(kept).read_text()
    assert tmp_path in Path(kept).parents
    with pytest.raises(SettingError, match="sm_90"):
        cuda_kernel(good, grid=1).compile("compute_90")


# ---- Numba -------------------------------------------------------------------------------------


def test_numba_kernels_that_cannot_be_launched():
    def doubled(x, out, n):
        raise AssertionError("never called on the host")

    with pytest.raises(RegistrationError, match=r"mutates_args has \['y'\]; the parameters of dou"):
        numba_kernel(doubled, grid=1, mutates_args=["y"])
    kernel = numba_kernel(doubled, grid=1, mutates_args=["out"])
    with pytest.raises(ArgumentError, match=r"3 parameters \(x, out, n\), got 1 arguments"):
        kernel(gg.ones(1))
    with pytest.raises(DTypeError, match=r"argument 'x' is \(2,\) bfloat16"):
        kernel(gg.ones(2).bfloat16(), gg.ones(2), 3)
    with pytest.raises(ArgumentError, match=r"argument 'n' must be a Tensor or a number, got None"):
        kernel(gg.ones(2), gg.ones(2), None)
    with pytest.raises(DeviceError, match="is on cpu"):
        kernel(gg.ones(2), gg.ones(2), 3)


def test_the_library_is_loaded_when_it_is_asked_for():
    """A program without custom ops does not pay for them."""
    code = "import sys, gpugrad; assert 'gpugrad.library' not in sys.modules; gpugrad.library"
    subprocess.run([sys.executable, "-c", code], check=True)


DOCS = Path(__file__).parents[2] / "docs" / "custom-kernels.md"
EXAMPLES = re.findall(
    r"<!-- example:.*?-->\n```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL
)


@pytest.mark.parametrize("example", EXAMPLES, ids=["text", "expression", "numba"])
def test_the_examples_of_the_docs_run(example):
    before = {*names.registered}
    try:
        scope = {}
        exec(compile(example, DOCS.name, "exec"), scope)
        assert len({*names.registered} - before) == 1
        assert "x" not in scope or scope["x"].grad is not None
    finally:
        for added in {*names.registered} - before:
            del names.registered[added]


def test_shape_errors_of_backward_name_the_op(name):
    square = square_op(name)
    square.register_autograd(lambda ctx, g: gg.ones(5))
    with pytest.raises(ShapeError, match=rf"gradient of {name} has shape \(5,\), its input \(3,\)"):
        square(leaf(3)).sum().backward()
