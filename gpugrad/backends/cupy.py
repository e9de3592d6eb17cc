"""CuPy as a backend: arrays on CUDA devices.

CuPy is imported inside ``load``, so the package works where it is not installed.  What CuPy 14 gets
wrong or lacks is mended here: random numbers never come from ``cupy.random`` (see ``philox``), and
products go to cuBLASLt (``nvidia/products.py``), since CuPy's batched bfloat16 matmul is broken and
none of its products can be captured.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.backends.additions import additions
from gpugrad.backends.additions.cast import check_there
from gpugrad.backends.base import Backend, Namespace
from gpugrad.backends.memory.device import DevicePools
from gpugrad.backends.memory.pool import Pool
from gpugrad.backends.numpy import NUMPY
from gpugrad.backends.nvidia import INSTALL, failures, philox
from gpugrad.backends.nvidia.products import Products
from gpugrad.config import config
from gpugrad.devices import Device
from gpugrad.errors import DeviceError

#: Array API names that CuPy spells otherwise, tried where the name itself is missing.
_SPELLINGS = {
    "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan",
    "atan2": "arctan2", "atanh": "arctanh", "bitwise_invert": "invert", "concat": "concatenate",
    "bitwise_left_shift": "left_shift", "bitwise_right_shift": "right_shift",
    "permute_dims": "transpose", "pow": "power", "cumulative_sum": "cumsum",
    "cumulative_prod": "cumprod",
}  # fmt: skip
#: ``cudaStreamPerThread``
_PER_THREAD = 2


def load() -> CupyBackend:
    """Import CuPy and make sure that a device answers.

    Raises:
        DeviceError: in one line, what is missing and the command that mends it.
    """
    try:
        import cupy
    except ImportError as error:
        raise DeviceError(
            f"CUDA needs CuPy, which is not importable ({error}); install it with {INSTALL}"
        ) from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(
            f"no CUDA device answers: {error}; is the NVIDIA driver installed?"
        ) from None
    if count == 0:
        raise DeviceError("no CUDA device answers: the driver reports none")
    if cupy.cuda.get_current_stream().ptr == _PER_THREAD:
        # All threads' default streams have this one address, and the pool tells streams by it.
        raise DeviceError(
            "a default stream per thread is not supported: unset "
            "CUPY_CUDA_PER_THREAD_DEFAULT_STREAM, and give threads streams of their own"
        )
    return CupyBackend(cupy, count)


class CupyBackend(Backend):
    """Arrays on CUDA devices; an array stays on the device that it was made on."""

    name = "cupy"
    draws = philox
    has_kernels = True

    def __init__(self, cupy: Any, count: int) -> None:
        self.library = cupy
        self.array_type = cupy.ndarray
        self._count = count
        spelt = {
            name: getattr(cupy, other)
            for name, other in _SPELLINGS.items()
            if not hasattr(cupy, name)
        }
        self.pools = DevicePools(cupy, count)
        found = additions(cupy)
        self.products = Products(cupy, self._private_pool, found)
        found.update(self.products.functions())
        self.xp = Namespace(cupy, {**spelt, **_mended(cupy), **found})
        cupy.cuda.set_allocator(self.pools.malloc)
        if config.float32_matmul_precision != "highest":
            self.allow_tf32(True)

    @property
    def multiplies_halves(self) -> bool:  # type: ignore[override]
        """Whether products take 16-bit floats as they are, and sum in float32: with cuBLASLt."""
        return self.products.ready

    def _private_pool(self, device: int) -> Any:
        return self.pools.of(device).private_pool

    def device_count(self) -> int:
        """Number of CUDA devices."""
        return self._count

    def current(self) -> int:
        """Ordinal of this thread's current device."""
        return int(self.library.cuda.Device().id)

    def make_current(self, index: int) -> None:
        """Make a device current for this thread."""
        self._checked(index).use()

    def _checked(self, index: int | None) -> Any:
        if index is not None and not 0 <= index < self._count:
            raise DeviceError(f"no device cuda:{index}; there are {self._count}")
        return self.library.cuda.Device(index)

    def device_of(self, array: Any) -> Device:
        return Device("cuda", int(array.device.id))

    def on(self, device: Device) -> Any:
        return self._checked(device.index)

    def from_numpy(self, array: Any, device: Device) -> Any:
        check_there(array.dtype)
        with self._checked(device.index):
            return self._run(self.library.asarray, (array,), {})

    def to_numpy(self, array: Any) -> Any:
        return self._run(self.library.asnumpy, (array,), {})

    def run(self, fn: Callable[..., Any], *args: Any, **settings: Any) -> Any:
        first = None if self._count == 1 else self._first(args)
        if first is None:
            return self._run(fn, args, settings)
        with first.device:
            return self._run(fn, args, settings)

    def _run(self, fn: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        try:
            out = fn(*args, **settings)
            if config.sync_debug:
                failures.settle(self.library)
            return out
        except RuntimeError as error:
            if failures.is_late(error):
                raise failures.late(error, failures.name_of(fn), args) from error
            raise

    def _first(self, args: Any) -> Any:
        """The first array among arguments, also inside tuples: its device is where work is done."""
        for a in args:
            found = self._first(a) if isinstance(a, tuple | list) else a
            if type(found) is self.array_type:
                return found
        return None

    def pin(self, array: Any) -> Any:
        """A copy of a NumPy array in page-locked memory."""
        pinned = self.pools.pinned.empty(array.shape, array.dtype)
        pinned[...] = array
        return pinned

    def synchronize(self, device: Device | None = None) -> None:
        self._run(self._checked(None if device is None else device.index).synchronize, (), {})

    def may_share_memory(self, a: Any, b: Any) -> bool:
        return bool(a.size and b.size and NUMPY.may_share_memory(_outline(a), _outline(b)))

    def shares_memory(self, a: Any, b: Any) -> bool:
        # CuPy's own makes an address per element on the device, sorts them and waits.
        return bool(a.size and b.size and NUMPY.shares_memory(_outline(a), _outline(b)))

    def properties(self, index: int) -> Any:
        """Facts about one device, under PyTorch's names."""
        raw = self.library.cuda.runtime.getDeviceProperties(self._checked(index).id)
        return types.SimpleNamespace(
            name=raw["name"].decode(), major=raw["major"], minor=raw["minor"],
            total_memory=raw["totalGlobalMem"], multi_processor_count=raw["multiProcessorCount"],
        )  # fmt: skip

    def pool(self, index: int) -> Pool:
        """The memory pool of one device."""
        return self.pools.of(self._checked(index).id)

    def record_stream(self, array: Any, stream: Any) -> None:
        """Let an array's memory wait, once it is dropped, for the work of a stream so far."""
        self.pools.record_stream(array, stream)

    def free_and_total(self, index: int) -> tuple[int, int]:
        """Bytes of one device as the driver sees it."""
        with self._checked(index):
            free, total = self.library.cuda.runtime.memGetInfo()
            return int(free), int(total)

    def empty_cache(self) -> None:
        """Give memory that is not in use back to the driver."""
        self.products.forget()
        for pool in self.pools.all():
            pool.empty_cache()

    def allow_tf32(self, allowed: bool) -> None:
        """Choose whether products of float32 matrices may round their operands to TF32."""
        products = self.library._core._routines_linalg
        wanted = "COMPUTE_TYPE_TF32" if allowed else "COMPUTE_TYPE_DEFAULT"
        kinds = (k for k in range(32) if products.compute_type_to_str(k) == wanted)
        products.set_compute_type(np.dtype(np.float32), next(kinds))


def _mended(cupy: Any) -> dict[str, Any]:
    """Functions of CuPy that give another result than NumPy's, or lack a setting."""
    half = dtypes.bfloat16.np

    def narrow(out: Any, *operands: Any) -> Any:
        # These have no loop for bfloat16 and take float32's: exact, but of the wrong dtype.
        found = [a.dtype for a in operands if hasattr(a, "dtype")]
        return out.astype(half) if half in found and np.float32 not in found else out

    def where(condition: Any, x: Any, y: Any) -> Any:
        return narrow(cupy.where(condition, x, y), x, y)

    def tril(x: Any, k: int = 0) -> Any:
        return where(cupy.tri(*x.shape[-2:], k=k, dtype=bool), x, False)

    def triu(x: Any, k: int = 0) -> Any:
        return where(cupy.tri(*x.shape[-2:], k=k - 1, dtype=bool), False, x)

    def argsort(x: Any, axis: int = -1, kind: Any = None, stable: Any = None) -> Any:
        return cupy.argsort(x, axis=axis)  # always stable

    def partition(x: Any, kth: int, axis: int = -1) -> Any:
        return cupy.sort(x, axis=axis)  # its partition compares with <, which loses NaN

    return {
        "where": where, "tril": tril, "triu": triu, "argsort": argsort, "partition": partition,
    }  # fmt: skip


class _Outline:
    """Address, shape and strides of device memory, told as if it were the host's."""

    def __init__(self, array: Any) -> None:
        self.__array_interface__ = {
            "data": (array.data.ptr, True), "shape": array.shape, "strides": array.strides,
            "typestr": f"|V{array.itemsize}", "version": 3,
        }  # fmt: skip


def _outline(array: Any) -> Any:
    """An array for NumPy's questions about overlap, which read no element; nobody may read one."""
    return np.asarray(_Outline(array))
