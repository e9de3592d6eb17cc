"""Run by tests/unit/test_cuda_path.py: Numba kernels on tensors, over a fake of ``numba.cuda``.

The fake refuses what numba-cuda 0.2x refuses, as read in its dispatcher and API: launch settings
that are no ints or no stream, arguments that are no numbers and have no array interface.  It runs a
kernel's Python function once per thread, on the stand-in's memory.
"""

import ctypes
import numbers
import sys
import types

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import Tensor
from gpugrad.errors import ArgumentError, AutogradError, DeviceError, KernelError
from gpugrad.library import custom_op, names, numba_kernel


class Stream:
    """What ``external_stream`` gives: ``handle.value`` is the address."""

    def __init__(self, address):
        if type(address) is not int:
            raise TypeError("an address of a stream is an int")
        self.handle = types.SimpleNamespace(value=address)


class Numba(types.ModuleType):
    """As ``numba.cuda``, with a note of every launch and of every wait for a stream."""

    def __init__(self):
        super().__init__("numba.cuda")
        self.launches, self.waits, self.place = [], [], 0
        self.external_stream = Stream

    def grid(self, ndim):
        assert ndim == 1
        return self.place

    def jit(self, fn):
        return Dispatcher(self, fn)


def three(dims):
    dims = list(dims) if isinstance(dims, tuple | list) else [dims]
    if len(dims) > 3:
        raise ValueError("must be a sequence of 1, 2 or 3 integers")
    if not all(isinstance(d, numbers.Integral) for d in dims):
        raise TypeError("must be a sequence of integers")
    return (*dims, 1, 1)[:3]


class Dispatcher:
    def __init__(self, cuda, fn):
        self.cuda, self.py_func = cuda, fn

    def __getitem__(self, settings):
        if len(settings) not in (2, 3, 4):
            raise ValueError("must specify at least the griddim and blockdim")
        grid, block, stream, shared = (*settings, 0, 0)[:4]
        if not (stream == 0 or isinstance(stream, Stream)):
            raise TypeError(f"no stream: {stream!r}")
        return lambda *args: self.launch(three(grid), three(block), stream, shared, args)

    def launch(self, grid, block, stream, shared, args):
        values = [self.value(a) for a in args]
        address = stream.handle.value if stream else 0
        self.cuda.launches.append((grid, block, address, shared))
        for self.cuda.place in range(np.prod(grid) * np.prod(block)):
            self.py_func(*values)

    def value(self, arg):
        interface = getattr(arg, "__cuda_array_interface__", None)
        if interface is None:
            if not isinstance(arg, numbers.Number | np.generic):
                raise NotImplementedError(arg)
            return arg
        assert interface["version"] == 3
        if interface.get("stream") is not None:
            self.cuda.waits.append(interface["stream"])
        address, shape = interface["data"][0], interface["shape"]
        assert type(address) is int
        assert type(shape) is tuple
        dtype = np.dtype(interface["typestr"])
        if 0 in shape:
            return np.empty(shape, dtype)
        strides = interface.get("strides") or np.empty(shape, dtype).strides
        size = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + dtype.itemsize
        memory = (ctypes.c_char * size).from_address(address)
        return np.ndarray(shape, dtype, memory, 0, strides)


@pytest.fixture
def cuda(monkeypatch):
    import numba

    fake = Numba()
    monkeypatch.setitem(sys.modules, "numba.cuda", fake)
    monkeypatch.setattr(numba, "cuda", fake, raising=False)
    return fake


def blocks(*args):
    return -(-args[-1] // 32)


def kernels(cuda):
    """out = a x, by a plain function and by a jitted one."""

    def scale(x, out, a, n):
        i = cuda.grid(1)
        if i < n:
            out[i] = a * x[i]

    return [numba_kernel(k, grid=blocks, block=32, mutates_args=["out"])
            for k in (scale, cuda.jit(scale))]  # fmt: skip


@pytest.mark.parametrize("n", [0, 1, 32, 33])
@pytest.mark.parametrize("which", [0, 1])
def test_a_numba_kernel_runs_on_tensors(cuda, which, n):
    kernel = kernels(cuda)[which]
    x, out = gg.arange(float(n), device="cuda"), gg.zeros(n, device="cuda")
    version = out._version
    kernel(x, out, 3, n)
    assert out.tolist() == [3.0 * i for i in range(n)]
    assert cuda.launches == ([((blocks(n), 1, 1), (32, 1, 1), 0, 0)] if n else [])
    assert out._version == version + (n > 0)
    assert not cuda.waits


def test_strides_and_dtypes_arrive(cuda):
    kernel = kernels(cuda)[0]
    for dtype in (gg.float64, gg.float16, gg.int64, gg.uint8):
        x = gg.arange(6, device="cuda").reshape(2, 3).to(dtype)
        out = gg.zeros(2, dtype=dtype, device="cuda")
        kernel(x[:, 1], out, 2, 2)
        assert out.tolist() == [2, 8]


def test_it_is_launched_on_the_current_stream(cuda):
    kernel, stream = kernels(cuda)[0], gg.cuda.Stream()
    x, out = gg.ones(2, device="cuda"), gg.zeros(2, device="cuda")
    with gg.cuda.stream(stream):
        kernel(x, out, 2.0, 2)
    assert [launch[2] for launch in cuda.launches] == [stream.cuda_stream]
    assert not cuda.waits


def test_an_op_of_a_numba_kernel_has_a_gradient(cuda):
    kernel = kernels(cuda)[0]

    @custom_op("standin::scaled", mutates_args=(), device_types="cuda")
    def scaled(x: Tensor, a: float) -> Tensor:
        out = gg.empty_like(x)
        kernel(x, out, a, x.numel())
        return out

    def setup(ctx, inputs, output):
        ctx.a = inputs[1]

    try:
        scaled.register_kernel("cpu", lambda x, a: x * a)
        scaled.register_autograd(lambda ctx, g: (scaled(g.contiguous(), ctx.a), None),
                                 setup_context=setup, check=(gg.ones(3).double(), 2.5))  # fmt: skip
        x = gg.arange(3.0, device="cuda").requires_grad_()
        (g,) = gg.autograd.grad(scaled(x, 2.5).square().sum(), x, create_graph=True)
        (h,) = gg.autograd.grad(g.sum(), x)
        assert (g.tolist(), h.tolist()) == ([0.0, 12.5, 25.0], [12.5] * 3)
    finally:
        del names.registered["standin::scaled"]


def test_what_numba_says_is_passed_on(cuda):
    def wrong(x):
        raise ValueError("cannot determine the type of y")

    kernel = numba_kernel(wrong, grid=1, block=1, mutates_args=())
    with pytest.raises(KernelError, match=r"kernel wrong: Numba .*ValueError: cannot determine"):
        kernel(gg.ones(1, device="cuda"))
    with pytest.raises(AutogradError, match="a launch is not recorded"):
        kernel(gg.ones(1, device="cuda", requires_grad=True))
    with pytest.raises(ArgumentError, match="a block of"):
        numba_kernel(wrong, grid=1, block=2048, mutates_args=())(gg.ones(1, device="cuda"))


def test_where_numba_cuda_is_missing_the_command_is_named(cuda, monkeypatch):
    import numba

    monkeypatch.delattr(numba, "cuda")
    monkeypatch.setitem(sys.modules, "numba.cuda", None)
    with pytest.raises(DeviceError, match=r"pip install 'numba-cuda\[cu13\]'"):
        kernels(cuda)[0](gg.ones(1, device="cuda"), gg.ones(1, device="cuda"), 1, 1)


def test_the_fake_refuses_what_numba_refuses(cuda):
    kernel = cuda.jit(lambda x: None)
    for settings, error in (((1,), ValueError), ((1, 1, 7), TypeError), ((1.5, 1), TypeError),
                            (((1, 1, 1, 1), 1), ValueError)):  # fmt: skip
        with pytest.raises(error):
            kernel[settings](1)
    for value in (None, gg.ones(1), [1]):
        with pytest.raises(NotImplementedError):
            kernel[1, 1](value)
