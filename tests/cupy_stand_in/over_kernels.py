"""Run by tests/unit/test_cuda_path.py: kernels are launched as on a device, and run on the host."""

import ctypes

import cupy
import numpy as np
import pytest

import gpugrad as gg
from cupy_stand_in.offered import API
from gpugrad.backends.nvidia import launch
from gpugrad.errors import KernelError

TEXT = """
struct Line { float slope; long long from; };
extern "C" __global__ void line(const float* x, float* y, const Line by, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x ? by.slope * x[i] + by.from : by.from;
}
extern "C" __global__ void backwards(float* x) {
    extern __shared__ float row[];
    row[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = row[blockDim.x - 1 - threadIdx.x];
}
extern "C" __global__ void wrong(float* x) { x[0] = __shfl_sync(1u << 31, x[0], 0); }
"""
LINE = np.dtype([("slope", "f4"), ("from", "i8")], align=True)


class Line(ctypes.Structure):
    _fields_ = [("slope", ctypes.c_float), ("from", ctypes.c_longlong)]


@pytest.mark.parametrize("how", ["record", "array", "ctypes"])
def test_arguments_arrive(how):
    """Arrays by the address of their data, also of views; structures by value; None is null."""
    x = gg.arange(10.0, device="cuda")[3:]
    y = gg.zeros(7, device="cuda")
    by = np.array((2, 5), LINE)
    given = {"record": by[()], "array": by, "ctypes": Line(2, 5)}[how]
    kernel = launch.kernel(TEXT, "line")
    kernel.launch((2, 1, 1), (4, 1, 1), (x._array, y._array, given, np.int32(7)))
    assert y.tolist() == [2 * i + 5 for i in range(3, 10)]
    kernel.launch((2, 1, 1), (4, 1, 1), (None, y._array, given, ctypes.c_int(6)))
    assert y.tolist() == [5] * 6 + [23]


def test_shared_memory_above_48_kib_is_asked_for():
    """The driver refuses it until the kernel's attribute allows it; ``launch`` does that."""
    x = cupy.arange(256, dtype="f")
    module = cupy.cuda.function.Module()
    module.load(TEXT.encode())
    function = module.get_function("backwards")
    driver = cupy.cuda.driver
    for _ in range(2):
        with pytest.raises(driver.CUDADriverError, match="INVALID_VALUE"):
            function((1,), (256,), (x,), 48 * 1024 + 1)
        with pytest.raises(driver.CUDADriverError, match="INVALID_VALUE"):
            driver.funcSetAttribute(
                function.ptr, driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 228 * 1024
            )
    launch.kernel(TEXT, "backwards").launch((1, 1, 1), (256, 1, 1), (x,), 100 * 1024)
    np.testing.assert_array_equal(x.get(), np.arange(256)[::-1])


def test_faults_come_with_the_launch():
    """Unknown names, arguments that do not fit, and what goes wrong inside."""
    x = cupy.zeros(1, "f")
    with pytest.raises(KernelError, match="NOT_FOUND"):
        launch.kernel(TEXT, "nowhere")
    with pytest.raises(KernelError, match="parameter is a pointer"):
        launch.kernel(TEXT, "wrong").launch((1, 1, 1), (32, 1, 1), (np.float32(1),))
    with pytest.raises(KernelError, match=r"thread \(0, 0, 0\): line 13: the mask does not name"):
        launch.kernel(TEXT, "wrong").launch((1, 1, 1), (32, 1, 1), (x,))
    with pytest.raises(KernelError, match="size one"):
        launch.kernel(TEXT, "wrong").launch((1, 1, 1), (32, 1, 1), (np.zeros(2),))


def test_the_stand_in_has_only_cupys_names():
    """Modules for kernels, as ``record.py`` found them."""
    for name in ("driver", "function"):
        own = {n for n in vars(getattr(cupy.cuda, name)) if not n.startswith("_")}
        assert own <= set(API[name].split())
