"""CuPy as a backend: arrays on CUDA devices.

CuPy is imported inside ``load``, so the package works where it is not installed.  What CuPy 14 gets
wrong or lacks is mended here: random numbers never come from ``cupy.random`` (see ``philox``), and
16-bit floats are computed in float32 by the dispatcher, which avoids CuPy's broken batched bfloat16
matmul.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np

from gpugrad.backends.additions import additions
from gpugrad.backends.base import Backend, Namespace
from gpugrad.backends.numpy import NUMPY
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


def load() -> Backend:
    """Import CuPy and make sure that a device answers.

    Raises:
        DeviceError: in one line, what is missing and the command that mends it.
    """
    try:
        import cupy
    except ImportError as error:
        raise DeviceError(
            f"CUDA needs CuPy, which is not importable ({error}); install it with "
            "pip install 'gpugrad[cuda13]' (or cuda12 for a CUDA 12 driver)"
        ) from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(f"no CUDA device answers: {error}; is the NVIDIA driver installed?") from None
    if count == 0:
        raise DeviceError("no CUDA device answers: the driver reports none")
    return CupyBackend(cupy, count)


class CupyBackend(Backend):
    """Arrays on CUDA devices; an array stays on the device that it was made on."""

    name = "cupy"

    def __init__(self, cupy: Any, count: int) -> None:
        self.library = cupy
        self.array_type = cupy.ndarray
        self._count = count
        spelt = {
            name: getattr(cupy, other)
            for name, other in _SPELLINGS.items()
            if not hasattr(cupy, name)
        }
        self.xp = Namespace(cupy, {**spelt, **additions(cupy)})

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

    def from_numpy(self, array: Any, device: Device) -> Any:
        with self._checked(device.index):
            return self.library.asarray(array)

    def to_numpy(self, array: Any) -> Any:
        return self.library.asnumpy(array)

    def run(self, fn: Callable[..., Any], *args: Any, **settings: Any) -> Any:
        first: Any = next((a for a in args if type(a) is self.array_type), None)
        if first is None or self._count == 1:
            return fn(*args, **settings)
        with first.device:
            return fn(*args, **settings)

    def synchronize(self, device: Device | None = None) -> None:
        self._checked(None if device is None else device.index).synchronize()

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

    def memory(self, index: int) -> dict[str, int]:
        """Bytes in use and held by the pool on one device."""
        with self._checked(index):
            pool = self.library.get_default_memory_pool()
            return {"allocated": int(pool.used_bytes()), "reserved": int(pool.total_bytes())}

    def empty_cache(self) -> None:
        """Give unused blocks back to the driver."""
        self.library.get_default_memory_pool().free_all_blocks()


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
