"""Kernels from text on a device: values, what is passed, what fails and who is named for it."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from gpugrad import backends
from gpugrad.backends.nvidia import compile as compiling
from gpugrad.backends.nvidia import failures, launch
from gpugrad.config import config
from gpugrad.errors import KernelError

ROOT = Path(__file__).parents[2]
SOURCE = """
struct Pair { int shift; double factor; };
extern "C" __global__ void axpy(long long n, float a, const float* x, float* y) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] += a * x[i];
}
extern "C" __global__ void widths(signed char a, unsigned short h, unsigned short b, Pair p,
                                  bool flag, const float* none, double* out) {
    out[0] = a;
    out[1] = h;
    out[2] = b;
    out[3] = p.shift;
    out[4] = p.factor;
    out[5] = flag;
    out[6] = none == nullptr;
}
extern "C" __global__ void turn(const int* x, int* y, int n) {
    extern __shared__ int row[];
    for (int i = threadIdx.x; i < n; i += blockDim.x) row[i] = x[i];
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = row[n - 1 - i];
}
extern "C" __global__ void where(unsigned int* out) {
    if (threadIdx.x == 0) {
        atomicMax(out, blockIdx.x);
        atomicMax(out + 1, blockIdx.y);
        atomicMax(out + 2, blockIdx.z);
    }
}
extern "C" __global__ void __launch_bounds__(1024, 2) hungry(const float* x, float* y) {
    __shared__ float part[64];
    float a[128];
    #pragma unroll
    for (int i = 0; i < 128; i++) a[i] = x[i * 1024 + threadIdx.x];
    #pragma unroll 1
    for (int k = 0; k < 100; k++) {
        #pragma unroll
        for (int i = 0; i < 128; i++) a[i] = a[i] * a[(i * 7 + 3) % 128] + 1.f;
    }
    part[threadIdx.x % 64] = a[5];
    __syncthreads();
    #pragma unroll
    for (int i = 0; i < 128; i++) y[i * 1024 + threadIdx.x] = a[i] + part[i % 64];
}
"""
NAMES = ("axpy", "widths", "turn", "where", "hungry")


@pytest.fixture
def cupy():
    """The library that holds the arrays."""
    return backends.cuda().library


def test_values(cupy):
    """The last block is not full, a large grid has all its blocks, and the stream is in order."""
    k = launch.kernel(SOURCE, "axpy")
    for n in (1, 255, 256, 257, 1_000_003):
        x, y = np.arange(n, dtype=np.float32), np.full(n, 0.5, np.float32)
        held = cupy.asarray(y)
        for _ in range(2):
            k.launch((-(-n // 256), 1, 1), (256, 1, 1),
                     (np.int64(n), np.float32(2), cupy.asarray(x), held))  # fmt: skip
        np.testing.assert_array_equal(cupy.asnumpy(held), np.float32(4) * x + np.float32(0.5))


def test_grids_in_three_directions(cupy):
    """Each extent is its own."""
    out = cupy.zeros(3, "uint32")
    launch.kernel(SOURCE, "where").launch((70_000, 5, 3), (32, 1, 1), (out,))
    assert cupy.asnumpy(out).tolist() == [69_999, 4, 2]


@pytest.mark.parametrize("by", ["numpy", "ctypes"])
def test_what_is_passed_arrives_with_its_width(by, cupy):
    """Small integers, 16-bit floats, a structure, a flag and a null pointer, side by side."""

    class Pair(ctypes.Structure):
        _fields_ = (("shift", ctypes.c_int), ("factor", ctypes.c_double))

    out = cupy.full(7, -1.0)
    half, brain = np.float16(1.5), ml_dtypes.bfloat16(-2)
    if by == "numpy":
        pair = np.array((-7, 0.1), np.dtype([("shift", "i4"), ("factor", "f8")], align=True))[()]
        args = (np.int8(-3), half, brain, pair, np.bool_(True), None, out)
    else:
        bits = (ctypes.c_ushort(int(v.view(np.uint16))) for v in (half, brain))
        args = (
            ctypes.c_byte(-3),
            *bits,
            Pair(-7, 0.1),
            ctypes.c_bool(True),
            ctypes.c_void_p(),
            out,
        )
    launch.kernel(SOURCE, "widths").launch((1, 1, 1), (1, 1, 1), args)
    assert cupy.asnumpy(out).tolist() == [-3, 0x3E00, 0xC000, -7, 0.1, 1, 1]


@pytest.mark.parametrize("size", [1, 48 * 1024, 48 * 1024 + 4, 96 * 1024])
def test_shared_memory(size, cupy):
    """Up to 48 KiB as it is, above by asking the driver."""
    n = -(-size // 4)
    x, y = np.arange(n, dtype=np.int32), cupy.zeros(n, "int32")
    k = launch.kernel(SOURCE, "turn")
    k.launch((1, 1, 1), (128, 1, 1), (cupy.asarray(x), y, np.int32(n)), 4 * n)
    np.testing.assert_array_equal(cupy.asnumpy(y), x[::-1])


@pytest.mark.parametrize("name", NAMES)
def test_the_driver_counts_as_the_compiler_said(name):
    """Registers, static shared memory and the stack, by the driver's own account."""
    k = launch.kernel(SOURCE, name)
    driver, pointer = backends.cuda().library.cuda.driver, k._function.ptr
    assert driver.funcGetAttribute(driver.CU_FUNC_ATTRIBUTE_NUM_REGS, pointer) == k.usage.registers
    shared = driver.funcGetAttribute(driver.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, pointer)
    assert shared == k.usage.shared
    local = driver.funcGetAttribute(driver.CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, pointer)
    assert (local > 0) == (k.usage.stack > 0) == (name == "hungry")
    assert (k.usage.spill_stores > 0) == (name == "hungry")


def test_ptx_for_a_device_that_the_compiler_does_not_know(cupy, monkeypatch, tmp_path):
    """The driver compiles it."""
    monkeypatch.setattr(config, "cache_dir", str(tmp_path))
    monkeypatch.setattr(launch, "_archs", {backends.cuda().current(): "compute_75"})
    k = launch.kernel(SOURCE + "// as PTX", "axpy")
    assert k.usage is None
    y = cupy.ones(300, "float32")
    k.launch((2, 1, 1), (256, 1, 1), (np.int64(300), np.float32(3), cupy.ones(300, "float32"), y))
    assert cupy.asnumpy(y).tolist() == [4.0] * 300


def test_the_current_stream_is_used(cupy):
    """Also one that does not wait for the default stream; captured, a launch is in the graph."""
    k = launch.kernel(SOURCE, "axpy")
    x, y = cupy.ones(64, "float32"), cupy.zeros(64, "float32")
    args = (np.int64(64), np.float32(1), x, y)
    cupy.cuda.Device().synchronize()
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        k.launch((1, 1, 1), (64, 1, 1), args)
        stream.synchronize()
    assert cupy.asnumpy(y).tolist() == [1.0] * 64
    with stream:
        stream.begin_capture()
        k.launch((1, 1, 1), (64, 1, 1), args)
        graph = stream.end_capture()
    stream.synchronize()
    assert cupy.asnumpy(y).tolist() == [1.0] * 64
    for _ in range(3):
        graph.launch(stream)
    stream.synchronize()
    assert cupy.asnumpy(y).tolist() == [4.0] * 64


def test_sync_debug_lets_a_capture_be(cupy, monkeypatch):
    """Waiting would break it."""
    monkeypatch.setattr(config, "sync_debug", True)
    k = launch.kernel(SOURCE, "axpy")
    x, y = cupy.ones(64, "float32"), cupy.zeros(64, "float32")
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        k.launch((1, 1, 1), (64, 1, 1), (np.int64(64), np.float32(1), x, y))
        graph = stream.end_capture()
        graph.launch(stream)
        stream.synchronize()
    assert cupy.asnumpy(y).tolist() == [1.0] * 64


@pytest.mark.parametrize(
    ("block", "shared"), [((2048, 1, 1), 0), ((32, 1, 1), 1 << 20)], ids=["threads", "shared"]
)
def test_a_launch_that_fails(block, shared, cupy, monkeypatch, tmp_path):
    """It is named with its arrays, its text is kept, and the process goes on."""
    monkeypatch.setattr(config, "cache_dir", str(tmp_path))
    k = launch.kernel(SOURCE + "// flip", "turn", "flip")
    x, y = cupy.arange(32, dtype="int32"), cupy.zeros(32, "int32")
    with pytest.raises(KernelError, match=r"flip: kernel turn: could not be launched: CUDA_") as e:
        k.launch((1, 1, 1), block, (x, y, np.int32(32)), shared)
    assert "(given int32[32], int32[32], int32(32))" in str(e.value)
    (kept,) = (tmp_path / "cuda" / "failed").iterdir()
    assert kept.read_text().startswith(SOURCE)
    k.launch((1, 1, 1), (32, 1, 1), (x, y, np.int32(32)), 128)
    assert cupy.asnumpy(y).tolist() == list(range(32))[::-1]


def test_names_and_images_that_are_not_there(cupy, monkeypatch, tmp_path):
    """CuPy's own errors are told in our words."""
    monkeypatch.setattr(config, "cache_dir", str(tmp_path))
    with pytest.raises(KernelError, match=r"^flip: no kernel 'nothing' in its source: CUDA_"):
        launch.kernel(SOURCE, "nothing", "flip")
    bad = compiling.Compiled(b"\x7fELF nonsense" + bytes(64), {})
    monkeypatch.setattr(compiling, "compiled", lambda *a: bad)
    with pytest.raises(KernelError, match=r"flip: could not be loaded on cuda:\d+: CUDA_ERROR_"):
        launch.kernel("nonsense", "k", "flip")


def test_codes_of_late_errors(cupy):
    """Both of CuPy's classes carry the code that is looked at."""
    for kind in (cupy.cuda.driver.CUDADriverError, cupy.cuda.runtime.CUDARuntimeError):
        assert failures.is_late(kind(700))
        assert not failures.is_late(kind(1))


# A fault ends the use of CUDA in its process, hence a process of its own.
FAULTY = """
import numpy as np
import gpugrad as gg
from gpugrad import backends
from gpugrad.backends.nvidia import launch
from gpugrad.errors import KernelError
cupy = backends.cuda().library
good = 'extern "C" __global__ void good(float* x) { x[threadIdx.x] += 1.f; }'
bad = 'extern "C" __global__ void bad(float* x) { x[threadIdx.x] = 1.f; }'
x = gg.ones(64, device="cuda")
array = cupy.ones(64, "float32")
try:
    launch.kernel(good, "good", "fine").launch((1, 1, 1), (64, 1, 1), (array,))
    launch.kernel(bad, "bad", "faulty").launch((1, 1, 1), (64, 1, 1), (None,))
    print("launched")
    print(gg.tanh(x).sum().item())
except KernelError as error:
    print(error)
"""


@pytest.mark.parametrize("switch", ["GPUGRAD_SYNC_DEBUG", "CUDA_LAUNCH_BLOCKING", None])
def test_a_fault_is_attributed(switch):
    """With sync-debug the kernel at fault raises; without, what comes later says how to find it."""
    env = {k: v for k, v in os.environ.items() if "SYNC_DEBUG" not in k and "BLOCKING" not in k}
    env |= {"PYTHONPATH": str(ROOT)} | ({switch: "1"} if switch else {})
    done = subprocess.run([sys.executable, "-c", FAULTY], env=env, capture_output=True, text=True,
                          check=False, timeout=300)  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    if switch:
        assert lines[0].startswith("faulty: kernel bad: failed on the device: "), done.stdout
        assert len(lines) == 1
    else:
        assert lines[0] == "launched"
        assert "GPUGRAD_SYNC_DEBUG=1" in lines[1], done.stdout
        assert "bad" not in lines[1]
