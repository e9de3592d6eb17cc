"""CUDA C++ runs on the host as the programming model says, and what it forbids is found."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpugrad.backends.nvidia.compile import compiled
from gpugrad.config import config
from gpugrad.errors import DeviceError, KernelError
from gpugrad.testing import cuda_host
from gpugrad.testing.cuda_host import COMPILER, HostModule

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to run CUDA C++ on the host with")

RNG = np.random.default_rng(5)
ORDERS = ("forward", "reverse", 1, 2)


def agreed(module: HostModule, name: str, grid: Any, block: Any, args: Any, out: Any,
           shared: int = 0) -> Any:  # fmt: skip
    """The result in ``out``, the same to the bit for every order of threads."""
    found = []
    for order in ORDERS:
        out[...] = 0
        module.launch(name, grid, block, args, shared, order=order, fenced=True)
        found.append(out.tobytes())
    assert len(set(found)) == 1
    return out


def run(text: str, *args: Any, block: Any = (64,), grid: Any = (1,), **options: Any) -> None:
    """Launch the kernel ``k`` of a text."""
    HostModule(text).launch("k", grid, block, args, **options)


# ---- what kernels do ---------------------------------------------------------------------------

SUMS = r"""
template <typename T> static __device__ __forceinline__ T warp_sum(T x) {
    for (int step = 16; step; step /= 2) x += __shfl_down_sync(0xffffffffu, x, step);
    return x;
}
template <typename T> static __device__ void sum_row(const T* x, T* y, int n) {
    __shared__ T parts[32];
    T sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[blockIdx.x * (long long)n + i];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        sum = warp_sum(threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : (T)0);
        if (threadIdx.x == 0) y[blockIdx.x] = sum;
    }
}
#define SUM(name, T) extern "C" __global__ void __launch_bounds__(1024) \
    name(const T* __restrict__ x, T* y, int n) { sum_row(x, y, n); }
SUM(sum_float32, float) SUM(sum_float64, double) SUM(sum_int64, long long) SUM(sum_int32, int)
"""


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32"])
@pytest.mark.parametrize("threads", [32, 96, 1024])
def test_rows_are_summed(dtype: str, threads: int) -> None:
    """Shared memory and shuffles of 4 and 8 bytes; kernels made by a macro over a template."""
    x = (1000 * RNG.standard_normal((7, 1500))).astype(dtype)
    y = np.empty(7, dtype)
    agreed(HostModule(SUMS), f"sum_{dtype}", (7,), (threads,), (x, y, np.int32(1500)), y)
    allowed = {"float32": 0.1, "float64": 1e-9}.get(dtype, 0)  # sums of some 40,000
    np.testing.assert_allclose(y, x.sum(1, dtype="f8"), rtol=0, atol=allowed)


TURN = r"""
extern "C" __global__ void turn(const float* x, float* y, int rows, int columns) {
    __shared__ float tile[32][33];
    int i = blockIdx.y * 32 + threadIdx.y, j = blockIdx.x * 32 + threadIdx.x;
    for (int k = 0; k < 32; k += 8)
        if (i + k < rows && j < columns)
            tile[threadIdx.y + k][threadIdx.x] = x[(i + k) * columns + j];
    __syncthreads();
    i = blockIdx.y * 32 + threadIdx.x, j = blockIdx.x * 32 + threadIdx.y;
    for (int k = 0; k < 32; k += 8)
        if (i < rows && j + k < columns) y[(j + k) * rows + i] = tile[threadIdx.x][threadIdx.y + k];
}
"""


def test_a_matrix_is_turned_by_tiles() -> None:
    """Blocks and grids of two dims, with edges."""
    x = RNG.standard_normal((70, 45)).astype("f")
    y = np.empty((45, 70), "f")
    args = (x, y, np.int32(70), np.int32(45))
    np.testing.assert_array_equal(agreed(HostModule(TURN), "turn", (2, 3), (32, 8), args, y), x.T)


def test_without_its_barrier_the_order_shows() -> None:
    """Threads that run in another order read what is not there yet."""
    module = HostModule(TURN.replace("__syncthreads();", ""))
    x = RNG.standard_normal((64, 64)).astype("f")
    results = []
    for order in ("forward", "reverse"):
        y = np.zeros((64, 64), "f")
        module.launch("turn", (2, 2), (32, 8), (x, y, np.int32(64), np.int32(64)), order=order)
        results.append(y)
    assert np.isnan(results[0]).any()
    assert results[0].tobytes() != results[1].tobytes()


SCAN = r"""
extern "C" __global__ void scan(const int* x, int* y, int n) {
    extern __shared__ int parts[];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    int sum = i < n ? x[i] : 0;
    for (int step = 1; step < 32; step *= 2) {
        const int left = __shfl_up_sync(0xffffffffu, sum, step);
        if (lane >= step) sum += left;
    }
    if (lane == 31) parts[warp] = sum;
    __syncthreads();
    for (int w = 0; w < warp; ++w) sum += parts[w];
    if (i < n) y[i] = sum;
}
"""


def test_running_sums_of_blocks() -> None:
    """A scan of each block of 1024, the last of them cut off."""
    x = RNG.integers(-9, 9, 2500).astype(np.int32)
    y = np.empty_like(x)
    agreed(HostModule(SCAN), "scan", (3,), (1024,), (x, y, np.int32(2500)), y, shared=128)
    np.testing.assert_array_equal(
        y, np.concatenate([np.cumsum(p) for p in np.split(x, [1024, 2048])])
    )


def test_every_thread_runs_once() -> None:
    """Indices and sizes of three dims."""
    text = """extern "C" __global__ void k(unsigned* y) {
        unsigned b = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
        unsigned t = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
        y[b * (blockDim.x * blockDim.y * blockDim.z) + t] += b * 1000 + t + 1;
    }"""
    y = np.zeros((24, 105), np.uint32)
    run(text, y, grid=(4, 3, 2), block=(7, 5, 3), order=9)
    np.testing.assert_array_equal(y, np.arange(24)[:, None] * 1000 + np.arange(105) + 1)


def test_dynamic_shared_memory() -> None:
    """100 KiB, aligned, with two views of it."""
    text = """extern "C" __global__ void k(float* x, int n) {
        extern __shared__ __align__(16) unsigned char memory[];
        float4* four = reinterpret_cast<float4*>(memory);
        float* one = reinterpret_cast<float*>(memory);
        for (int i = threadIdx.x; i < n / 4; i += blockDim.x) four[i] = ((float4*)x)[i];
        __syncthreads();
        for (int i = threadIdx.x; i < n; i += blockDim.x) x[i] = one[n - 1 - i];
    }"""
    x = RNG.standard_normal(25600).astype("f")
    y = x.copy()
    run(text, y, np.int32(25600), shared=102400, fenced=True)
    np.testing.assert_array_equal(y, x[::-1])
    for less in (16, 8192):  # bytes beyond, in its last page and after it
        with pytest.raises(KernelError, match=r"block \(0, 0, 0\).*dynamic shared memory"):
            run(text, y, np.int32(25600), shared=102400 - less)


def test_structures_by_value() -> None:
    """As NumPy records and as ctypes structures; arrays in them, too."""
    text = """struct Shape { long long size[3]; float scale; unsigned char rank; };
    extern "C" __global__ void k(float* y, const Shape s) {
        y[0] = s.size[2] * s.scale + s.rank; }"""
    fields = [("size", "i8", 3), ("scale", "f4"), ("rank", "u1")]
    record = np.zeros((), np.dtype(fields, align=True))
    record["size"], record["scale"], record["rank"] = [1, 2, 2**33], 0.5, 3

    class Shape(ctypes.Structure):
        _fields_ = [("size", ctypes.c_longlong * 3), ("scale", ctypes.c_float),
                    ("rank", ctypes.c_ubyte)]  # fmt: skip

    for value in (record[()], Shape((1, 2, 2**33), 0.5, 3), record.tobytes()):
        y = np.zeros(1, "f")
        run(text, y, value, block=(1,))
        assert y[0] == np.float32(2.0**32 + 3)


def test_atomics_of_integers_count() -> None:
    """A histogram in shared memory, gathered over blocks; no atomics of floats."""
    text = """extern "C" __global__ void k(const int* x, unsigned long long* y, int* most, int n) {
        __shared__ unsigned counts[16];
        if (threadIdx.x < 16) counts[threadIdx.x] = 0;
        __syncthreads();
        int i = blockIdx.x * blockDim.x + threadIdx.x;
        if (i < n) { atomicAdd(&counts[x[i]], 1u); atomicMax(most, x[i]); }
        __syncthreads();
        if (threadIdx.x < 16) atomicAdd(y + threadIdx.x, (unsigned long long)counts[threadIdx.x]);
    }"""
    x = RNG.integers(0, 15, 1000).astype(np.int32)
    y, most = np.zeros(16, np.uint64), np.zeros(1, np.int32)
    run(text, x, y, most, np.int32(1000), grid=(8,), block=(128,), fenced=True)
    np.testing.assert_array_equal(y, np.bincount(x, minlength=16))
    assert most[0] == x.max()
    with pytest.raises(KernelError, match="deleted function"):
        HostModule('extern "C" __global__ void k(float* x) { atomicAdd(x, 1.0f); }')


def test_collectives_of_a_warp() -> None:
    """Votes, matches, reductions, segments of a warp, and two halves that go their own ways."""
    text = """extern "C" __global__ void k(unsigned* y) {
        const int lane = threadIdx.x;
        const unsigned all = 0xffffffffu;
        unsigned* mine = y + lane * 11;
        mine[0] = __ballot_sync(all, lane % 3 == 0);
        mine[1] = __any_sync(all, lane == 31) + 2 * __any_sync(all, lane > 31);
        mine[2] = __all_sync(all, lane < 32) + 2 * __all_sync(all, lane < 31);
        mine[3] = __match_any_sync(all, lane % 5);
        mine[4] = __reduce_add_sync(all, lane) + 1000 * (unsigned)__reduce_max_sync(all, lane - 40);
        mine[5] = __shfl_sync(all, lane, 3, 8);
        mine[6] = __shfl_down_sync(all, lane, 2, 4);
        mine[7] = __shfl_xor_sync(all, lane, 5);
        if (lane < 16) mine[8] = __shfl_up_sync(0x0000ffffu, lane, 1);
        else mine[8] = __shfl_xor_sync(0xffff0000u, lane, 16);
        __syncwarp();
        mine[9] = __syncthreads_count(lane & 1) + 100 * (__syncthreads_or(lane == 7) != 0)
            + 200 * (__syncthreads_and(lane == 7) != 0) + 400 * (__syncthreads_and(lane < 32) != 0);
        mine[10] = __shfl_up_sync(all, lane, 3, 8);
    }"""
    y = np.zeros((32, 11), np.uint32)
    run(text, y, block=(32,), order=3)
    lane = np.arange(32)
    bits = np.uint32(1) << lane.astype(np.uint32)
    assert set(y[:, 0]) == {bits[::3].sum()}
    assert set(y[:, 1]) == {1}
    assert set(y[:, 2]) == {1}
    np.testing.assert_array_equal(y[:, 3], [bits[lane % 5 == i % 5].sum() for i in lane])
    assert set(y[:, 4]) == {(496 - 9000) % 2**32}
    np.testing.assert_array_equal(y[:, 5], lane // 8 * 8 + 3)
    np.testing.assert_array_equal(y[:, 6], np.where(lane % 4 < 2, lane + 2, lane))
    np.testing.assert_array_equal(y[:, 7], lane ^ 5)
    np.testing.assert_array_equal(y[:16, 8], [0, *range(15)])
    assert set(y[16:, 8]) == {2**32 - 1}  # from lanes that take no part
    assert set(y[:, 9]) == {516}
    np.testing.assert_array_equal(y[:, 10], np.where(lane % 8 < 3, lane, lane - 3))


def test_lanes_that_are_done_are_not_waited_for() -> None:
    """As on a GPU; their values are none."""
    text = """extern "C" __global__ void k(float* y) {
        if (threadIdx.x >= 40) return;
        y[threadIdx.x] = __shfl_down_sync(0xffffffffu, (float)threadIdx.x, 1);
        __syncthreads();
        y[threadIdx.x] += 1;
    }"""
    y = np.zeros(64, "f")
    run(text, y)
    want = [*range(2, 33), 32, *range(34, 41), np.nan, *[0] * 24]
    np.testing.assert_array_equal(y, want)


def test_elements_take_little_time() -> None:
    """A million threads without a barrier: about 0.03 s."""
    text = """extern "C" __global__ void k(const float* x, float* y, long long n) {
        const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
        if (i < n) y[i] = 2 * x[i] + 1; }"""
    x = RNG.standard_normal(1 << 20).astype("f")
    y = np.empty_like(x)
    module = HostModule(text)
    start = time.perf_counter()
    module.launch("k", (4096,), (256,), (x, y, np.int64(x.size)))
    assert time.perf_counter() - start < 0.8
    np.testing.assert_array_equal(y, 2 * x + 1)


def test_threads_of_python_take_turns() -> None:
    """Launches from several threads do not meet in the scheduler."""
    module, wrong = HostModule(SUMS), []

    def work(seed: int) -> None:
        x = np.random.default_rng(seed).integers(0, 99, (20, 300))
        y = np.zeros(20, np.int64)
        for _ in range(20):
            module.launch("sum_int64", (20,), (64,), (x, y, np.int32(300)))
            if (y != x.sum(1)).any():
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


# ---- what is forbidden -------------------------------------------------------------------------

FAULTS = {
    "two barriers": (
        "if (threadIdx.x < 40) __syncthreads();\n else __syncthreads();",
        r"block \(2, 0, 0\), thread \(40, 0, 0\).*barrier of line 3.*thread \(0, 0, 0\).* line 2",
    ),
    "a barrier and a shuffle": (
        "if (threadIdx.x == 5) __syncthreads();\n else y[0] = __shfl_sync(~0u, y[0], 5);",
        r"thread \(0, 0, 0\): is at __shfl_sync of line 3 .* for lane 5, .* is at the barrier",
    ),
    "different masks": (
        "__ballot_sync(threadIdx.x % 32 < 16 ? ~0u : 0xffff0000u, 1);\n__syncthreads();",
        "a vote of line 2 with mask 0xffffffff, .* for lane 16, .* is at the barrier of line 3",
    ),
    "not in the mask": (
        "__ballot_sync(0xffff0000u, 1);", r"thread \(0, 0, 0\): line 2: the mask does not name",
    ),
    "a width of 12": ("__shfl_sync(~0u, 1, 0, 12);", "line 2: the width of a shuffle"),
    "read after the end": ("y[0] += y[64];", r"thread \(0, 0, 0\): access to address"),
    "write after the end": ("y[threadIdx.x + 1] = 0;", r"thread \(63, 0, 0\): access to address"),
    "write before the start": ("y[-1] = 3;", "wrote beside an array of 256 bytes"),
    "a null pointer": ("*(float*)(size_t)threadIdx.y = 0;", "access to address"),
    "misaligned": ("*(float4*)(y + 1) = make_float4(0, 0, 0, 0);", "alignment"),
    "misaligned words": ("*(unsigned long long*)(y + 1) = 0;", "alignment"),
    "division by zero": ("y[0] = 7 / (int)threadIdx.y;", "division of an integer by zero"),
    "no end": ("while (*(volatile float*)y == 0) {}", "still running when its time was over"),
    "recursion": ("y[0] = deep(1 << 20);", "its stack of 128 KiB is full"),
    "assert": ("assert(threadIdx.x < 63);", r"thread \(63, 0, 0\): line 2: assert"),
}  # fmt: skip
DEEP = """__device__ __noinline__ int deep(int n) { volatile int kept[64]; kept[0] = n;
    return n ? deep(n - 1) + kept[0] : 0; }"""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported(fault: str) -> None:
    """With the kernel, block and thread where there is one; the process goes on."""
    body, told = FAULTS[fault]
    text = f"""{DEEP}
        #line 1
        extern "C" __global__ void k(float* y) {{ if (blockIdx.x == 2)
        {{ {body} }} }}"""
    y = np.zeros(64, "f")
    with pytest.raises(KernelError, match=rf"kernel 'k'.*{told}"):
        run(text, y, grid=(3,), fenced=True, seconds=1)
    z = np.empty(3, np.int64)
    HostModule(SUMS).launch("sum_int64", (3,), (64,), (np.ones((3, 70), np.int64), z, np.int32(70)))
    assert z.tolist() == [70] * 3


RUBBISH = {
    "static shared memory": "__shared__ float s[64]; y[threadIdx.x] = s[threadIdx.x];"
    "if (blockIdx.x == 0) s[threadIdx.x] = 1;",
    "shared memory of a template": "y[threadIdx.x] = of<float>();",
    "dynamic shared memory": "extern __shared__ float s[]; y[threadIdx.x] = s[threadIdx.x];"
    "if (blockIdx.x == 0) s[threadIdx.x] = 1;",
}


@pytest.mark.parametrize("what", RUBBISH)
def test_what_was_not_written_is_not_a_number(what: str) -> None:
    """Also if an earlier block wrote there."""
    text = f"""template <class T> __device__ T of() {{ __shared__ T s[64]; T x = s[threadIdx.x];
        s[threadIdx.x] = 0; return x; }}
        extern "C" __global__ void k(float* y) {{ {RUBBISH[what]} }}"""
    y = np.zeros(64, "f")
    run(text, y, grid=(2,), shared=256)
    assert np.isnan(y).all()


ARGUMENTS = {
    "too few": ((np.zeros(4, "f"),), "has 2 parameters, got 1"),
    "a wide integer": ((np.zeros(4, "f"), np.int64(4)), "integer of 4 bytes, got an integer of 8"),
    "a float": ((np.zeros(4, "f"), np.float32(4)), "an integer of 4 bytes, got a float of 4"),
    "no width": ((np.zeros(4, "f"), 4), "argument 1: int has no fixed width"),
    "swapped": ((np.int32(4), np.zeros(4, "f")), "a pointer of 8 bytes, got an integer of 4"),
    "a double": ((np.zeros(4, "f"), ctypes.c_double(4)), "got a float of 8 bytes|a float of 8"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_must_fit(case: str) -> None:
    """Number, width and kind, as a GPU would read them in silence."""
    args, told = ARGUMENTS[case]
    with pytest.raises(KernelError, match=told):
        run('extern "C" __global__ void k(float* y, int n) {}', *args)


def test_a_launch_keeps_cudas_limits() -> None:
    """Threads of a block, also by the kernel's bounds; blocks; shared memory."""
    text = 'extern "C" __global__ void __launch_bounds__(4 * 32, 2) k() {}'
    run(text, block=(128,))
    for wrong, told in (
        ({"block": (129,)}, "129 threads in a block, it may have 128"),
        ({"block": (1, 1, 65)}, r"block \(1, 1, 65\) is beyond \(1024, 1024, 64\)"),
        ({"grid": (1, 65536)}, "grid .* is beyond"),
        ({"grid": (0,)}, "at least 1"),
        ({"shared": 232449}, "232449 bytes of shared memory, there are 232448"),
    ):
        with pytest.raises(KernelError, match=told):
            run(text, **wrong)


# ---- texts -------------------------------------------------------------------------------------


def test_which_kernels_there_are() -> None:
    """Only ``extern "C"`` functions have a name that the driver knows."""
    text = """// extern "C" __global__ void commented(float* x) {}
    #if 0
    #define BY_MACRO extern "C" __global__ void never() {}
    #endif
    #define TWO(n, T) extern "C" __global__ void first_##n(T* x) { *x = 1; } \\
        extern "C" __global__ void second_##n(T* x) { *x = 2; }
    TWO(float, float)
    TWO(int, int)
    template <class T> __global__ void of_template(T* x) {}
    __global__ void mangled(float* x) {}
    """
    module = HostModule(text)
    assert [*module.names] == ["first_float", "second_float", "first_int", "second_int"]
    y = np.zeros(1, np.int32)
    module.launch("second_int", (1,), (1,), (y,))
    assert y[0] == 2
    for name in ("of_template", "mangled", "commented"):
        with pytest.raises(KernelError, match=f'no kernel {name!r}.* must be extern "C".*first_fl'):
            module.launch(name, (1,), (1,), (y,))
    assert [*HostModule('extern "C" {\n__global__ void k() {}\n}').names] == ["k"]


def test_refusals() -> None:
    """Errors name the line of the text; what cannot be run faithfully is refused."""
    with pytest.raises(KernelError, match=r"kernel\.cu:3:.*nowhere"):
        HostModule('\nextern "C" __global__ void k(int* x) {\n  *x = nowhere; }')
    with pytest.raises(KernelError, match="includes a file"):
        HostModule("#include <math.h>\n")
    with pytest.raises(KernelError, match="__device__ variable 'counter'"):
        HostModule("static __device__ unsigned int counter;")


def test_device_variables_with_a_value() -> None:
    """Constants, also zeros, are not taken for shared memory."""
    text = """__constant__ const float table[2] = {3, 4};
    __device__ int zeros[4] = {0, 0, 0, 0};
    extern "C" __global__ void k(float* y) {
        static const double inner[] = {0.5};
        y[0] = table[1] + zeros[threadIdx.x + 2] + inner[0];
        zeros[threadIdx.x + 2] += 1; }"""
    y, module = np.zeros(1, "f"), HostModule(text)
    for times in range(2):  # they outlive a launch
        module.launch("k", (1,), (1,), (y,))
        assert y[0] == 4.5 + times


def test_a_library_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process reads it from disk; a damaged file is compiled anew."""
    monkeypatch.setattr(config, "cache_dir", str(tmp_path))
    calls = []
    real = cuda_host._run
    monkeypatch.setattr(cuda_host, "_run", lambda *a: (calls.append(1), real(*a))[1])
    text = 'extern "C" __global__ void k(int* x) { *x = 12321; }'
    for damage in (False, False, True):
        cuda_host._library.cache_clear()
        (file,) = [*(tmp_path / "host").glob("*.so")] or [None]
        if damage:
            file.write_bytes(file.read_bytes()[:-1] + b"!")
        y = np.zeros(1, np.int32)
        run(text, y)
        assert y[0] == 12321
    assert len(calls) == 2


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what is missing."""
    monkeypatch.setattr(cuda_host, "COMPILER", None)
    with pytest.raises(KernelError, match=r"needs Linux and g\+\+"):
        HostModule('extern "C" __global__ void k(int* x) { *x = 4711; }')


@pytest.mark.slow
def test_switching_without_assembly() -> None:
    """The form for processors other than x86-64 runs the same kernels."""
    here = Path(__file__)
    code = (
        "import sys, pytest; from gpugrad.testing import cuda_host\n"
        "cuda_host.FLAGS += ('-DGG_HOST_UCONTEXT',)\n"
        f"sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', {str(here)!r}, "
        "'-k', 'summed or turned or warp or fault']))"
    )
    paths = [str(here.parents[2]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run([sys.executable, "-c", code], cwd=here.parents[2], capture_output=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


# ---- what CUDA has built in --------------------------------------------------------------------

INT, UINT, FLOAT, DOUBLE, LONG = "int", "unsigned", "float", "double", "long long"
TYPES = {INT: np.int32, UINT: np.uint32, FLOAT: np.float32, DOUBLE: np.float64, LONG: np.int64}
INTEGERS = np.array([0, 1, -1, 7, -8, 2**31 - 1, -(2**31), 123456789], np.int32)
FLOATS = np.array([0.0, -0.0, 0.5, -1.5, 2.5, 3e9, -3e9, np.nan, np.inf, 1e-40, 7.0], np.float32)


def mapped(function: Callable[[int], int]) -> Callable[[Any], Any]:
    """A function of Python's integers over an array."""
    return lambda x: [function(v) for v in x.tolist()]


def whole(how: Callable[[Any], Any], least: int, most: int) -> Callable[[Any], Any]:
    """Floats to integers as CUDA converts them: cut off at the ends, NaN to 0."""
    return lambda x: np.clip(how(np.nan_to_num(x.astype("f8"), nan=0.0)), least, most)


#: An expression of x: the types of x and of the result, and the same by NumPy.
BUILT_IN: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "__float_as_uint(x)": (FLOAT, UINT, lambda x: x.view(np.uint32)),
    "__uint_as_float(x)": (UINT, FLOAT, lambda x: x.view(np.float32)),
    "__double_as_longlong((double)x)": (FLOAT, LONG, lambda x: x.astype("f8").view(np.int64)),
    "__hiloint2double(x, 5)": (
        INT, DOUBLE, lambda x: (x.astype(np.int64) << 32 | 5).view(np.float64)),
    "__popc(x)": (UINT, INT, np.bitwise_count),
    "__popcll(x * 0x100000001ull)": (UINT, INT, lambda x: 2 * np.bitwise_count(x)),
    "__clz(x)": (INT, INT, mapped(lambda v: 32 - (v & 2**32 - 1).bit_length())),
    "__clzll(x)": (UINT, INT, mapped(lambda v: 64 - v.bit_length())),
    "__ffs(x)": (INT, INT, mapped(lambda v: (v & -v).bit_length())),
    "__brev(x)": (UINT, UINT, mapped(lambda v: int(f"{v:032b}"[::-1], 2))),
    "__umulhi(x, 3000000000u)": (UINT, UINT, mapped(lambda v: v * 3000000000 >> 32)),
    "__mulhi(x, -1000000007)": (INT, INT, mapped(lambda v: v * -1000000007 >> 32)),
    "__umul64hi((unsigned long long)x << 31, 0x9E3779B97F4A7C15ull)": (
        UINT, LONG, mapped(lambda v: (v << 31) * 0x9E3779B97F4A7C15 >> 64)),
    "__funnelshift_l(x, 0x12345678u, 8)": (UINT, UINT, mapped(lambda v: 0x34567800 | v >> 24)),
    "__funnelshift_r(x, 0x12345678u, 8)": (UINT, UINT, mapped(lambda v: 0x78000000 | v >> 8)),
    "__byte_perm(x, 0xAABBCCDDu, 0x7531)": (
        UINT, UINT, mapped(lambda v: 0xAACC0000 | v >> 24 << 8 | v >> 8 & 255)),
    "__byte_perm(x, 0, 0x4b80)": (
        UINT, UINT, mapped(lambda v: v & 255 | (v >> 7 & 1) * 0xFF00 | (v >> 31) * 0xFF0000)),
    "min(x, 5)": (INT, INT, lambda x: np.minimum(x, 5)),
    "max(x, 5u)": (UINT, UINT, lambda x: np.maximum(x, 5)),
    "max(x, 1.0f)": (FLOAT, FLOAT, lambda x: np.fmax(x, 1)),
    "min(x, 1.0)": (FLOAT, DOUBLE, lambda x: np.fmin(x, 1.0)),
    "abs(x)": (INT, INT, np.abs),
    "fabsf(x)": (FLOAT, FLOAT, np.abs),
    "floor(x)": (FLOAT, FLOAT, np.floor),
    "rint(x)": (FLOAT, FLOAT, np.rint),
    "sqrt(x)": (FLOAT, FLOAT, np.sqrt),
    "rsqrtf(x)": (FLOAT, FLOAT, lambda x: 1 / np.sqrt(x.astype("f8"))),
    "fmaf(x, x, 1.0f)": (FLOAT, FLOAT, lambda x: x.astype("f8") ** 2 + 1),
    "__fdividef(x, 4.0f)": (FLOAT, FLOAT, lambda x: x / np.float32(4)),
    "__fdividef(x, 3e38f)": (FLOAT, FLOAT, lambda x: x * np.float32(0)),
    "__saturatef(x)": (FLOAT, FLOAT, lambda x: np.nan_to_num(np.clip(x, 0, 1), nan=0.0)),
    "isnan(x) + 2 * isinf(x) + 4 * isfinite(x) + 8 * (signbit(x) != 0)": (
        FLOAT, INT,
        lambda x: np.isnan(x) + 2 * np.isinf(x) + 4 * np.isfinite(x) + 8 * np.signbit(x)),
    "__float2int_rn(x)": (FLOAT, INT, whole(np.rint, -(2**31), 2**31 - 1)),
    "__float2int_rz(x)": (FLOAT, INT, whole(np.trunc, -(2**31), 2**31 - 1)),
    "__float2uint_rd(x)": (FLOAT, UINT, whole(np.floor, 0, 2**32 - 1)),
    "__int2float_rn(x)": (INT, FLOAT, lambda x: x.astype("f")),
    "__ldg(&x) * 2": (INT, INT, lambda x: x * np.int32(2)),
    "expf(x) + __expf(-1.0f)": (FLOAT, FLOAT, lambda x: np.exp(x) + np.exp(np.float32(-1))),
    "exp(2.0) + pow(2.0f, 3.0f) + x": (DOUBLE, DOUBLE, lambda x: np.exp(2.0) + 8 + x),
    "make_float4(1, x, 3, 4).y + make_ushort2(1, 2).x": (FLOAT, FLOAT, lambda x: x + 1),
}  # fmt: skip


def built_in() -> str:
    """A kernel for every expression."""
    return "".join(
        f'extern "C" __global__ void e{i}(const {x}* xs, {y}* ys) {{\n'
        f"    const {x} x = xs[threadIdx.x];\n    ys[threadIdx.x] = ({y})({text});\n}}\n"
        for i, (text, (x, y, _)) in enumerate(BUILT_IN.items())
    )


@pytest.mark.parametrize("text", BUILT_IN)
def test_what_is_built_in(text: str) -> None:
    """Functions of bits, conversions, extremes and some maths, compared with NumPy."""
    kind, result, want = BUILT_IN[text]
    xs = (FLOATS if kind in (FLOAT, DOUBLE) else INTEGERS).astype(TYPES[kind])
    ys = np.empty(len(xs), TYPES[result])
    HostModule(built_in()).launch(f"e{[*BUILT_IN].index(text)}", (1,), (len(xs),), (xs, ys))
    with np.errstate(all="ignore"):
        expected = np.asarray(want(xs)).astype(ys.dtype)
    if result in (FLOAT, DOUBLE):
        np.testing.assert_allclose(ys, expected, rtol=2e-7)
    else:
        np.testing.assert_array_equal(ys, expected)


@pytest.mark.parametrize("which", ["built in", "sums", "turn", "scan"])
def test_nvrtc_takes_the_same_text(which: str) -> None:
    """What runs here compiles for a GPU, so the header offers nothing that is not there."""
    text = {"built in": built_in(), "sums": SUMS, "turn": TURN, "scan": SCAN}[which]
    try:
        assert set(compiled(text, "sm_90").usage) == set(HostModule(text).names)
    except DeviceError as error:
        pytest.skip(str(error))
