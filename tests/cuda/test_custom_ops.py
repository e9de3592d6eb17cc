"""Custom ops that launch CUDA C++ text: values, gradients, what is passed, what is refused.

tests/unit/test_cuda_path.py runs this file over the stand-in for CuPy, too, where the text is
executed by the host's compiler.
"""

import re
from pathlib import Path

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import Tensor
from gpugrad.autograd.function import once_differentiable
from gpugrad.errors import (
    ArgumentError,
    AutogradError,
    DeviceError,
    DTypeError,
    KernelError,
    NotSupportedError,
    ViewError,
)
from gpugrad.library import cuda_kernel, custom_op, fused_op, names

SWISH = r"""
extern "C" __global__ void swish(const float* x, float* y, long long n) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] / (1.0f + expf(-x[i]));
}
extern "C" __global__ void swish_gradient(const float* x, const float* g, float* out, long long n) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= n) return;
    float s = 1.0f / (1.0f + expf(-x[i]));
    out[i] = g[i] * s * (1.0f + x[i] * (1.0f - s));
}
"""


def blocks(*args):
    """One thread per element: the last argument is their number."""
    return -(-args[-1] // 128)


swish_kernel = cuda_kernel(SWISH, "swish", grid=blocks, block=128)
gradient_kernel = cuda_kernel(SWISH, "swish_gradient", grid=blocks, block=128)


@pytest.fixture
def swish():
    """An op with a kernel forward; the CPU has a function of ops."""

    @custom_op("cudatest::swish", mutates_args=(), device_types="cuda")
    def op(x: Tensor) -> Tensor:
        y = gg.empty_like(x)
        swish_kernel(x, y, x.numel())
        return y

    op.register_kernel("cpu", lambda x: x * gg.sigmoid(x))
    op.register_fake(lambda x: gg.empty_like(x))
    yield op
    del names.registered["cudatest::swish"]


def keep(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def by_ops(ctx, g):
    (x,) = ctx.saved_tensors
    s = gg.sigmoid(x)
    return g * s * (1 + x * (1 - s))


@once_differentiable
def by_kernel(ctx, g):
    (x,) = ctx.saved_tensors
    out = gg.empty_like(x)
    gradient_kernel(x, g.contiguous(), out, x.numel())
    return out


@pytest.mark.parametrize("n", [0, 1, 127, 128, 129, 1000])
@pytest.mark.parametrize("backward", [by_ops, by_kernel])
def test_values_and_gradients_are_those_of_the_cpu(swish, backward, n):
    """Over block borders; with a gradient made of ops, and by a kernel."""
    swish.register_autograd(by_ops, setup_context=keep, check=(gg.randn(3).double(),))
    host = gg.randn(n).double().requires_grad_()
    swish(host).square().sum().backward()
    swish.register_autograd(backward, setup_context=keep)
    x = host.detach().float().cuda().requires_grad_()
    y = swish(x)
    y.square().sum().backward()
    assert y.grad_fn.name() == "cudatest::swishBackward"
    np.testing.assert_allclose(y.tolist(), swish(host).tolist(), rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(x.grad.tolist(), host.grad.tolist(), rtol=1e-5, atol=1e-6)


def test_second_derivatives(swish):
    """They are there where backward is made of ops, and an error where a kernel is launched."""
    x = gg.tensor([0.5, -1.0], device="cuda", requires_grad=True)
    twice = []
    swish.register_autograd(by_ops, setup_context=keep)
    for t in (x, x.detach().cpu().requires_grad_()):
        (g,) = gg.autograd.grad(swish(t).sum(), t, create_graph=True)
        twice.append(gg.autograd.grad(g.sum(), t)[0].tolist())
    np.testing.assert_allclose(twice[0], twice[1], rtol=1e-5)
    swish.register_autograd(by_kernel, setup_context=keep)
    (g,) = gg.autograd.grad(swish(x).sum(), x, create_graph=True)
    with pytest.raises(AutogradError, match="once_differentiable"):
        g.sum().backward()
    swish.register_autograd(by_kernel.__wrapped__, setup_context=keep)  # not marked
    with pytest.raises(AutogradError, match="requires a gradient, and a launch is not recorded"):
        gg.autograd.grad(swish(x).sum(), x, create_graph=True)


def test_a_wrong_gradient_kernel_is_refused():
    """The check runs on the device of its samples, where the kernel takes float64."""
    source = r"""
    extern "C" __global__ void scale(const double* x, double* y, double by, int n) {
        int i = blockIdx.x * blockDim.x + threadIdx.x;
        if (i < n) y[i] = x[i] * by;
    }"""
    kernel = cuda_kernel(source, grid=blocks, block=128)

    def scaled(x, by):
        y = gg.empty_like(x)
        kernel(x, y, by, x.numel())
        return y

    @custom_op("cudatest::scale", mutates_args=(), device_types="cuda")
    def op(x: Tensor) -> Tensor:
        return scaled(x, 3.0)

    try:
        sample = (gg.ones(3, dtype=gg.float64, device="cuda"),)
        with pytest.raises(TypeError, match=r"analytical 4, numerical (3|2\.99)"):
            op.register_autograd(lambda ctx, g: scaled(g.contiguous(), 4.0), check=sample)
        op.register_autograd(lambda ctx, g: scaled(g.contiguous(), 3.0), check=sample)
    finally:
        del names.registered["cudatest::scale"]


PASSED = r"""
extern "C" __global__ void passed(double* out, bool b, char c, unsigned char uc, short s,
        unsigned short us, int i, unsigned int ui, long long l, unsigned long long ul, float f,
        double d, const float* null) {
    double all[] = {(double)b, (double)c, (double)uc, (double)s, (double)us, (double)i, (double)ui,
                    (double)l, (double)ul, (double)f, d, null == nullptr ? 1.0 : 0.0};
    for (int k = 0; k < 12; k++) out[k] = all[k];
}
"""


def test_numbers_arrive_with_the_width_of_their_type():
    """Whatever Python type they come in, and None as a null pointer."""
    kernel = cuda_kernel(PASSED, grid=1, block=1)
    out = gg.zeros(12, dtype=gg.float64, device="cuda")
    values = (True, -5, 200, -30000, 60000, -(2**31), 2**32 - 1, -(2**40), 2**63, 0.1, 0.1)
    kernel(out, *values, None)
    expected = [*map(float, values[:9]), float(np.float32(0.1)), 0.1, 1.0]
    assert out.tolist() == expected
    kernel(out, np.bool_(1), *map(np.int64, values[1:6]), *values[6:], gg.ones(1, device="cuda"))
    assert out.tolist() == [*expected[:-1], 0.0]
    kernel(out, False, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3, None)  # an int for a float
    assert out.tolist()[9:11] == [3, 3]


@pytest.mark.parametrize("dtype", [gg.float16, gg.bfloat16])
def test_halves_arrive_as_their_bits(dtype):
    source = r"""
    extern "C" __global__ void flip(const unsigned short* x, unsigned short* y) {
        y[threadIdx.x] = x[threadIdx.x] ^ 0x8000;
    }"""
    x = gg.tensor([1.5, -2.0, 0.0], dtype=dtype, device="cuda")
    y = gg.empty_like(x)
    cuda_kernel(source, grid=1, block=3)(x, y)
    assert y.tolist() == [-1.5, 2.0, -0.0]


def test_grids_blocks_and_shared_memory_by_functions_of_the_arguments():
    """A transpose by tiles of 4 x 4: two dims of blocks and threads, dynamic shared memory."""
    source = r"""
    extern "C" __global__ void transpose(const float* x, float* y, int rows, int cols, int tile) {
        extern __shared__ float kept[];
        int r = blockIdx.y * tile + threadIdx.y, c = blockIdx.x * tile + threadIdx.x;
        if (r < rows && c < cols) kept[threadIdx.y * tile + threadIdx.x] = x[r * cols + c];
        __syncthreads();
        int to = blockIdx.x * tile + threadIdx.y, from = blockIdx.y * tile + threadIdx.x;
        if (to < cols && from < rows) y[to * rows + from] = kept[threadIdx.x * tile + threadIdx.y];
    }"""
    kernel = cuda_kernel(
        source, grid=lambda x, y, rows, cols, tile: (-(-cols // tile), -(-rows // tile)),
        block=lambda x, y, rows, cols, tile: (tile, tile),
        shared_mem=lambda x, y, rows, cols, tile: 4 * tile * tile,
    )  # fmt: skip
    x = gg.arange(7.0 * 10, device="cuda").reshape(7, 10)
    y = gg.empty(10, 7, device="cuda")
    kernel(x, y, 7, 10, 4)
    assert y.tolist() == x.T.tolist()


def test_strides_are_for_kernels_that_ask():
    source = r"""
    extern "C" __global__ void gather(const float* x, float* y, long long step) {
        y[threadIdx.x] = x[threadIdx.x * step];
    }"""
    x, y = gg.arange(6.0, device="cuda").reshape(2, 3), gg.empty(2, device="cuda")
    column = x[:, 1]
    with pytest.raises(ArgumentError, match=r"shape \(2,\) and strides \(3,\); pass .contiguous"):
        cuda_kernel(source, grid=1, block=2)(column, y, column.stride(0))
    cuda_kernel(source, grid=1, block=2, contiguous=False)(column, y, column.stride(0))
    assert y.tolist() == [1, 4]


def test_what_may_be_written_counts_as_written(swish):
    """By the kernel's const: a saved tensor that a kernel wrote into raises in backward."""
    x = gg.ones(3, device="cuda", requires_grad=True)
    factor, source = gg.ones(3, device="cuda"), gg.zeros(3, device="cuda")
    view = factor[1:]
    loss = (x * factor).sum()
    version = factor._version
    swish_kernel(source, factor, 3)
    assert (factor._version, view._version, source._version) == (version + 1, version + 1, 0)
    with pytest.raises(AutogradError, match=r"modified by an in-place .*test_custom_ops.py:\d+"):
        loss.backward()
    kernel = cuda_kernel(SWISH, "swish", grid=1, contiguous=False)
    with pytest.raises(ViewError, match=r"kernel swish: .*expanded"):
        kernel(source, gg.ones(1, device="cuda").expand(3), 3)

    @custom_op("cudatest::sneaky", mutates_args=())
    def sneaky(x: Tensor, y: Tensor) -> Tensor:
        swish_kernel(x, y, 3)
        return y.clone()

    try:
        with pytest.raises(AutogradError, match=r"wrote into 'y' at .*mutates_args"):
            sneaky(source, factor)
    finally:
        del names.registered["cudatest::sneaky"]


def test_arguments_that_are_refused():
    x, y = gg.ones(3, device="cuda"), gg.zeros(3, device="cuda")
    with pytest.raises(DeviceError, match=r"shape \(2,\) is on cpu"):
        swish_kernel(gg.ones(2), y, 2)
    with pytest.raises(DTypeError, match=r"argument 1 is for 'float\* y', which takes float32, go"):
        swish_kernel(x, y.double(), 3)
    with pytest.raises(ArgumentError, match=r"has 3 parameters .* got 2 arguments"):
        swish_kernel(x, y)
    with pytest.raises(AutogradError, match="requires a gradient, and a launch is not recorded"):
        swish_kernel(x.requires_grad_(), y, 3)
    with gg.no_grad():
        swish_kernel(x, y, 3)
    for block in (1025, (32, 33), (1, 1, 65), 0):
        with pytest.raises(ArgumentError, match=r"a block of .*; accepted are 1 to"):
            cuda_kernel(SWISH, "swish", grid=1, block=block)(y, y, 3)
    with pytest.raises(ArgumentError, match="grid must be ints from 0"):
        cuda_kernel(SWISH, "swish", grid=lambda *args: 1.5)(y, y, 3)
    with pytest.raises(ArgumentError, match="65536"):
        cuda_kernel(SWISH, "swish", grid=(1, 65536))(y, y, 3)


@pytest.mark.parametrize("index", range(gg.cuda.device_count()))
def test_work_is_done_where_the_tensors_are(swish, index):
    """The current device stays what it was; tensors of two devices are refused."""
    x = gg.ones(3, device=f"cuda:{index}")
    assert (str(swish(x).device), gg.cuda.current_device()) == (f"cuda:{index}", 0)
    y = gg.empty_like(x)
    swish_kernel(x, y, 3)
    assert y.tolist() == swish(x).tolist()

    @custom_op("cudatest::where", mutates_args=())
    def where(x: Tensor) -> int:
        return gg.cuda.current_device()

    try:
        assert where(x) == index
    finally:
        del names.registered["cudatest::where"]
    if index:
        with pytest.raises(DeviceError, match="tensors are on cuda:0 and cuda:1"):
            swish_kernel(gg.ones(3, device="cuda:0"), y, 3)


def test_an_op_without_a_kernel_for_cuda_says_so():
    @custom_op("cudatest::host", mutates_args=(), device_types="cpu")
    def host(x: Tensor) -> Tensor:
        return x.clone()

    try:
        with pytest.raises(NotSupportedError, match=r'on cuda \(there is one for cpu\).*"cuda"'):
            host(gg.ones(1, device="cuda"))
    finally:
        del names.registered["cudatest::host"]


def test_a_kernel_that_does_not_compile_is_kept(tmp_path, monkeypatch):
    """The error has the line, the name of the kernel, and where the text is."""
    monkeypatch.setattr(gg.config, "cache_dir", tmp_path)
    source = 'extern "C" __global__ void broken(float* x) {\n    x[0] = undeclared;\n}'
    with pytest.raises(KernelError, match=r"(?s)undeclared.*kept in") as error:
        cuda_kernel(source, grid=1)(gg.ones(1, device="cuda"))
    kept = str(error.value).rpartition("kept in ")[2].strip()
    assert source in Path(kept).read_text()
    assert tmp_path in Path(kept).parents


def test_the_example_of_the_docs_runs():
    """On the device this time; its gradient is that of the formula."""
    text = (Path(__file__).parents[2] / "docs" / "custom-kernels.md").read_text("utf-8")
    scope = {}
    try:
        exec(re.search(r"<!-- example:.*?-->\n```python\n(.*?)```", text, re.DOTALL)[1], scope)
        x = scope["x"]
        host = x.detach().cpu().requires_grad_()
        (host * gg.sigmoid(host)).sum().backward()
        assert x.is_cuda
        np.testing.assert_allclose(x.grad.tolist(), host.grad.tolist(), rtol=1e-5, atol=1e-6)
    finally:
        names.registered.pop("mylib::swish", None)


def test_an_expression_runs_on_the_device():
    @fused_op("cudatest::expression")
    def expression(x: Tensor, y: Tensor) -> Tensor:
        return gg.tanh(x * y) + x

    try:
        host = [gg.randn(4, 33, requires_grad=True), gg.randn(33, requires_grad=True)]
        found = []
        for x, y in (host, [t.detach().cuda().requires_grad_() for t in host]):
            out = expression(x, y)
            out.square().sum().backward()
            assert out.grad_fn.name() == "cudatest::expressionBackward"
            found.append((out, x.grad, y.grad))
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a.tolist(), b.tolist(), rtol=1e-4, atol=1e-5)
    finally:
        del names.registered["cudatest::expression"]
