"""Launching kernels, over a fake of CuPy that takes what CuPy takes and refuses what it refuses.

What CuPy 14.2 does with arguments was read off the library: see ``Function`` below.  That kernels
run and give the right values, ``tests/cuda/test_kernels_launch.py`` shows where there is a GPU.
"""

import ctypes
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from gpugrad import backends
from gpugrad.backends.cupy import CupyBackend
from gpugrad.backends.nvidia import compile as compiling
from gpugrad.backends.nvidia import launch
from gpugrad.backends.nvidia.compile import Compiled, Usage
from gpugrad.config import Config, config
from gpugrad.errors import ArgumentError, KernelError

SOURCE = 'extern "C" __global__ void k(float* x, int n) {}'
USAGE = {"k": Usage(24, 0, 0, 0, 1024), "other": Usage(8, 0, 0, 0, 0)}
GRID, BLOCK = (2, 1, 1), (128, 1, 1)


class CUDADriverError(RuntimeError):
    """Named as CuPy's, whose handler tells by the name and the code."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


INVALID = CUDADriverError(1, "CUDA_ERROR_INVALID_VALUE: invalid argument")
ILLEGAL = CUDADriverError(700, "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access")


class Array:
    """As much of ``cupy.ndarray`` as a launch sees."""

    def __init__(self, *shape: int) -> None:
        self.shape, self.dtype = shape, np.dtype("float32")


class Pointer:
    """``CPointer``: where a value lies that is passed."""

    def __init__(self, ptr: int) -> None:
        self.ptr = ptr


class Function:
    """``cupy.cuda.function.Function``: refuses lists and unknown types, makes 1 block of none."""

    def __init__(self, cuda: "Cuda", name: str) -> None:
        self.cuda, self.name, self.ptr, self.allowed = cuda, name, 77, 48 * 1024

    def __call__(self, grid: Any, block: Any, args: Any, shared_mem: int = 0) -> None:
        assert type(grid) is type(block) is tuple
        for a in args:
            if isinstance(a, np.ndarray) and a.size != 1:
                raise TypeError("Only numpy.ndarrays of size one can be passed by value")
            known = Array | Pointer | np.generic | np.ndarray | int | float | bool | None
            if not isinstance(a, known):
                raise TypeError(f"Unsupported type {type(a)}")
        if shared_mem > self.allowed - USAGE[self.name].shared:
            raise INVALID
        if self.cuda.broken:
            raise self.cuda.broken
        raw = [ctypes.string_at(a.ptr, 4) if type(a) is Pointer else a for a in args]
        self.cuda.launched.append((self.name, grid, block, raw, shared_mem))
        self.cuda.late = self.cuda.fault


class Stream:
    """The current stream: waiting on it tells what failed."""

    ptr = 0

    def __init__(self, cuda: "Cuda") -> None:
        self._cuda = cuda

    def is_capturing(self) -> bool:
        return self._cuda.capturing

    def synchronize(self) -> None:
        assert not self._cuda.capturing, "a captured stream cannot be waited for"
        self._cuda.waited += 1
        if self._cuda.late:
            raise self._cuda.late


class Cuda:
    """A backend whose library has the parts of CuPy that launching needs."""

    def __init__(self) -> None:
        self.launched: list[Any] = []
        self.loaded: list[bytes] = []
        self.index = self.waited = 0
        self.capturing = False
        #: What a launch raises; what a kernel does once it runs; what waiting raises.
        self.broken: Exception | None = None
        self.fault: Exception | None = None
        self.late: Exception | None = None
        cuda = self

        class Module:
            def load(self, image: bytes) -> None:
                time.sleep(0.01)  # other threads come by meanwhile
                assert type(image) is bytes
                if not image.startswith(b"\x7fELF"):
                    raise CUDADriverError(200, "CUDA_ERROR_INVALID_IMAGE: image is invalid")
                cuda.loaded.append(image)

            def get_function(self, name: str) -> Function:
                if name not in USAGE:
                    raise CUDADriverError(500, "CUDA_ERROR_NOT_FOUND: named symbol not found")
                return Function(cuda, name)

        def set_attribute(pointer: int, attribute: int, value: int) -> None:
            assert (pointer, attribute) == (77, 8)
            if value > 227 * 1024 - 1024:
                raise INVALID
            kernels = [k for k in launch._kernels.values() if k._function.ptr == pointer]
            kernels[0]._function.allowed = value + 1024

        driver = types.SimpleNamespace(
            CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8, funcSetAttribute=set_attribute
        )
        self.library = types.SimpleNamespace(ndarray=Array, cuda=types.SimpleNamespace(
            function=types.SimpleNamespace(Module=Module, CPointer=Pointer), driver=driver,
            get_current_stream=lambda: Stream(self)))  # fmt: skip

    def current(self) -> int:
        return self.index

    def properties(self, index: int) -> Any:
        return types.SimpleNamespace(major=9 + index, minor=0)


@pytest.fixture
def cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cuda]:
    """The fake in place of CUDA, two devices, a compiler that is not there, nothing cached."""
    fake = Cuda()
    monkeypatch.setattr(config, "cache_dir", str(tmp_path))
    monkeypatch.setattr(config, "sync_debug", False)
    monkeypatch.setattr(backends, "cuda", lambda: fake)
    monkeypatch.setattr(backends, "several", True)
    for cache in ("_kernels", "_modules", "_archs"):
        monkeypatch.setattr(launch, cache, {})
    monkeypatch.setattr(compiling, "supported", lambda: [80, 90, 100])

    def compiled(source: str, arch: str, what: str = "") -> Compiled:
        return Compiled(b"\x7fELF" + arch.encode(), USAGE)

    monkeypatch.setattr(compiling, "compiled", compiled)
    return fake


# ---- looking up ----------------------------------------------------------------------------------


def test_a_kernel_is_made_once_per_device(cuda: Cuda) -> None:
    """Kernels of one text share a module; another device has its own, for its own architecture."""
    first = launch.kernel(SOURCE, "k")
    other = launch.kernel(SOURCE, "other")
    assert launch.kernel(SOURCE, "k") is first
    assert cuda.loaded == [b"\x7fELFsm_90"]
    assert (first.usage, other.usage) == (USAGE["k"], USAGE["other"])
    cuda.index = 1
    assert launch.kernel(SOURCE, "k") is not first
    assert cuda.loaded == [b"\x7fELFsm_90", b"\x7fELFsm_100"]
    cuda.index = 0
    assert launch.kernel(SOURCE, "k") is first


def test_threads_load_a_module_once(cuda: Cuda) -> None:
    """All get the same kernel."""
    gate, found = threading.Barrier(6), []

    def work() -> None:
        gate.wait()
        found.append(launch.kernel(SOURCE, "k"))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(set(map(id, found))) == 1
    assert len(found) == 6
    assert len(cuda.loaded) == 1


def test_a_name_that_is_not_in_the_text(cuda: Cuda) -> None:
    """The error says which are, and keeps the text; so it is with an image that does not load."""
    with pytest.raises(KernelError, match=r"^gelu: no kernel 'j' in its .*has k, other") as e:
        launch.kernel(SOURCE, "j", "gelu")
    assert Path(str(e.value).rsplit(" ", 1)[1]).read_text().startswith(SOURCE)


def test_an_image_that_does_not_load(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what it was for and the device."""
    monkeypatch.setattr(compiling, "compiled", lambda *a: Compiled(b"nonsense", USAGE))
    with pytest.raises(KernelError, match=r"^gelu: could not be loaded on cuda:0: CUDA_ERROR"):
        launch.kernel(SOURCE, "k", "gelu")


# ---- arguments -----------------------------------------------------------------------------------


def test_what_is_passed(cuda: Cuda) -> None:
    """CuPy arrays and NumPy scalars go as they are, ctypes values by their address."""

    class Pair(ctypes.Structure):
        _fields_ = (("a", ctypes.c_short), ("b", ctypes.c_short))

    k, x = launch.kernel(SOURCE, "k"), Array(3, 4)
    pair = np.zeros((), np.dtype([("a", "i4"), ("b", "f8")]))
    plain = (x, None, np.int32(3), np.float16(1), ml_dtypes.bfloat16(1), pair[()], pair)
    given = (*plain, ctypes.c_int(-2), ctypes.c_float(1.5), Pair(1, 2))
    for _ in range(2):  # the second time by the plan for these types
        k.launch(GRID, BLOCK, given, 16)
        name, grid, block, raw, shared = cuda.launched.pop()
        assert (name, grid, block, shared) == ("k", GRID, BLOCK, 16)
        assert all(a is b for a, b in zip(raw, plain, strict=False))
        assert raw[len(plain) :] == [
            b"\xfe\xff\xff\xff", np.float32(1.5).tobytes(), b"\x01\0\x02\0"
        ]  # fmt: skip


@pytest.mark.parametrize("bad", [1, 1.5, True, [1], b"ab", (1,)])
def test_what_is_not_passed(bad: Any, cuda: Cuda) -> None:
    """Python's numbers have no width, so CuPy would choose one; nothing is launched."""
    k = launch.kernel(SOURCE, "k", "gelu")
    text = f"^gelu: kernel k: argument 1 is of type {type(bad).__name__}; accepted are"
    with pytest.raises(ArgumentError, match=text):
        k.launch(GRID, BLOCK, (Array(3), bad))
    assert not cuda.launched
    with pytest.raises(KernelError, match=r"could not be launched: Only numpy\.ndarrays of size"):
        k.launch(GRID, BLOCK, (np.zeros(3),))


def test_grids(cuda: Cuda) -> None:
    """No blocks, no launch (CuPy would launch one); too many are refused, not cut off."""
    k = launch.kernel(SOURCE, "k")
    for grid in ((0, 1, 1), (1, 0, 1), (3, 3, 0)):
        k.launch(grid, BLOCK, ())
    assert not cuda.launched
    k.launch((2**31 - 1, 65535, 65535), BLOCK, ())
    assert len(cuda.launched) == 1
    for grid in ((2**31, 1, 1), (1, 65536, 1), (1, 1, 65536), (-1, 1, 1), (0, -1, 1)):
        with pytest.raises(ArgumentError, match=r"are 0 to 2147483647 along x, 0 to 65535"):
            k.launch(grid, BLOCK, ())
    assert len(cuda.launched) == 1


def test_shared_memory_is_allowed_before_it_is_used(cuda: Cuda) -> None:
    """Static and dynamic together may have 48 KiB; for more, the driver is told, once."""
    k = launch.kernel(SOURCE, "k")
    told = []
    real = cuda.library.cuda.driver.funcSetAttribute
    cuda.library.cuda.driver.funcSetAttribute = lambda *a: (told.append(a[2]), real(*a))
    k.launch(GRID, BLOCK, (), 47 * 1024)
    assert not told
    for size in (47 * 1024 + 1, 100_000, 60_000, 100_000):
        k.launch(GRID, BLOCK, (), size)
    assert told == [47 * 1024 + 1, 100_000]
    assert len(cuda.launched) == 5
    with pytest.raises(KernelError, match=r"CUDA_ERROR_INVALID_VALUE.*300000 bytes of dynamic"):
        k.launch(GRID, BLOCK, (), 300_000)
    k.launch(GRID, BLOCK, (), 100_000)  # the failure changed nothing


def test_a_device_newer_than_the_compiler(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """PTX is loaded; nothing is known of registers, and shared memory is always asked for."""
    asked = []

    def compiled(source: str, arch: str, what: str = "") -> Compiled:
        asked.append(arch)
        return Compiled(b"\x7fELF as if", {})

    monkeypatch.setattr(compiling, "compiled", compiled)
    cuda.index = 4  # capability 13.0
    k = launch.kernel(SOURCE, "k")
    assert asked == ["compute_100"]
    assert k.usage is None
    k.launch(GRID, BLOCK, (), 4096)
    assert len(cuda.launched) == 1


# ---- failures ------------------------------------------------------------------------------------


def test_a_launch_that_fails(cuda: Cuda) -> None:
    """The error has the op, shapes, dtypes and how it was launched; the text is kept."""
    cuda.broken = INVALID
    k = launch.kernel(SOURCE, "k", "gelu")
    with pytest.raises(KernelError) as caught:
        k.launch(GRID, (2048, 1, 1), (Array(64, 256), np.int32(5), ctypes.c_float(2)), 32)
    said, kept = str(caught.value).split("\n")
    assert said == (
        "gelu: kernel k: could not be launched: CUDA_ERROR_INVALID_VALUE: invalid argument (given "
        "float32[64, 256], int32(5), c_float(2.0)); grid (2, 1, 1), block (2048, 1, 1), 32 bytes "
        "of dynamic shared memory, 24 registers a thread, 1024 bytes static shared"
    )
    path = Path(kept.removeprefix("The source is kept in "))
    assert path.read_text().startswith(SOURCE)
    assert said in path.read_text()
    cuda.broken = None
    k.launch(GRID, BLOCK, ())  # the process goes on
    assert len(cuda.launched) == 1


def test_a_late_failure_says_how_to_learn_more(cuda: Cuda) -> None:
    """A launch that reports another kernel's fault does not claim it, and waits for nothing."""
    k = launch.kernel(SOURCE, "k", "gelu")
    cuda.fault = ILLEGAL
    k.launch(GRID, BLOCK, (Array(3),))
    assert cuda.waited == 0
    cuda.broken = cuda.late
    with pytest.raises(KernelError) as caught:
        launch.kernel(SOURCE, "other", "tanh").launch(GRID, BLOCK, (Array(4),))
    said = str(caught.value)
    assert said.startswith("tanh: kernel other: CUDA_ERROR_ILLEGAL_ADDRESS: ")
    assert "access (given float32[4]); it, or work given" in said
    assert "before it, failed" in said
    assert "GPUGRAD_SYNC_DEBUG=1" in said
    assert "\n" not in said


def test_sync_debug_names_the_kernel(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every launch is waited for, and the first that fails raises by itself."""
    monkeypatch.setattr(config, "sync_debug", True)
    good, bad = launch.kernel(SOURCE, "other", "tanh"), launch.kernel(SOURCE, "k", "gelu")
    good.launch(GRID, BLOCK, (Array(4),))
    assert cuda.waited == 1
    cuda.fault = ILLEGAL
    with pytest.raises(KernelError) as caught:
        bad.launch(GRID, BLOCK, (Array(3), np.int32(1)))
    said = str(caught.value)
    assert said.startswith("gelu: kernel k: failed on the device: CUDA_ERROR_ILLEGAL_ADDRESS: ")
    assert "(given float32[3], int32(1))" in said
    assert "SYNC_DEBUG" not in said


def test_sync_debug_does_not_disturb_a_capture(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that is captured runs nothing, so there is nothing to wait for."""
    monkeypatch.setattr(config, "sync_debug", True)
    cuda.capturing = True
    launch.kernel(SOURCE, "k").launch(GRID, BLOCK, ())
    assert (len(cuda.launched), cuda.waited) == (1, 0)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [({}, False), ({"GPUGRAD_SYNC_DEBUG": "1"}, True), ({"CUDA_LAUNCH_BLOCKING": "1"}, True),
     ({"GPUGRAD_SYNC_DEBUG": "0", "CUDA_LAUNCH_BLOCKING": ""}, False)],
)  # fmt: skip
def test_how_sync_debug_is_asked_for(names: dict[str, str], wanted: bool,
                                     monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """By our variable or by CUDA's, which PyTorch's users know."""
    for name in ("GPUGRAD_SYNC_DEBUG", "CUDA_LAUNCH_BLOCKING"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert Config().sync_debug is wanted


# ---- ops on CuPy's own functions -----------------------------------------------------------------


@pytest.fixture
def backend(cuda: Cuda) -> CupyBackend:
    """The backend's way of running functions, over the fake."""
    made = object.__new__(CupyBackend)
    made.library, made.array_type, made._count = cuda.library, Array, 1
    return made


def sum_(x: Any, axis: int = 0) -> str:
    """Stands for an op; a trailing underscore is not part of an op's name."""
    return "result"


def test_ops_are_waited_for_under_sync_debug(
    cuda: Cuda, backend: CupyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The op that failed is named with its arrays; without sync-debug nobody waits."""
    assert backend.run(sum_, Array(2, 3), axis=1) == "result"
    assert cuda.waited == 0
    monkeypatch.setattr(config, "sync_debug", True)
    assert backend.run(sum_, Array(2, 3), axis=1) == "result"
    assert cuda.waited == 1
    cuda.late = ILLEGAL
    text = r"^sum: failed on the device: CUDA_.* \(given float32\[2, 3\]\)"
    with pytest.raises(KernelError, match=text):
        backend.run(sum_, Array(2, 3), axis=1)


def test_a_rule_is_named_by_its_op(cuda: Cuda, backend: CupyBackend,
                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """What the tape compiled has no name of its own; its op is in the name of its text."""
    monkeypatch.setattr(config, "sync_debug", True)
    scope: dict[str, Any] = {}
    exec(compile("def backward(g): return g", "<gpugrad plan of tanh>", "exec"), scope)
    cuda.late = ILLEGAL
    with pytest.raises(KernelError, match=r"^plan of tanh: failed on .*given float32\[2\]"):
        backend.run(scope["backward"], Array(2))


def test_what_an_op_raises_itself_is_left_alone(backend: CupyBackend) -> None:
    """Only what CUDA reports late is explained: not its other errors, nor anybody else's 700."""

    class OtherError(RuntimeError):
        status = 700

    def fail(error: Exception) -> None:
        raise error

    for error in (INVALID, OtherError("x"), ValueError("y"), RuntimeError("z")):
        with pytest.raises(type(error)) as caught:
            backend.run(fail, error)
        assert caught.value is error
    with pytest.raises(KernelError, match=r"^fail: CUDA_ERROR_ILLEGAL.*GPUGRAD_SYNC_DEBUG=1"):
        backend.run(fail, ILLEGAL)

    def asnumpy(array: Any) -> None:
        fail(ILLEGAL)

    backend.library.asnumpy = asnumpy
    with pytest.raises(KernelError, match=r"^asnumpy: .*GPUGRAD_SYNC_DEBUG=1"):
        backend.to_numpy(Array(3))
