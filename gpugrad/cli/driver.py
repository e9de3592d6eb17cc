"""What the NVIDIA driver says, asked directly, so that it can be told without CuPy."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver: the newest CUDA version that it runs, and its devices as (name, bytes)."""

    cuda: tuple[int, int]
    devices: list[tuple[str, int]] = field(default_factory=list)

    @property
    def extra(self) -> str:
        """Which extra of gpugrad this driver runs."""
        return "cuda13" if self.cuda >= (13, 0) else "cuda12"


def find() -> Driver | None:
    """Ask the driver; None where there is none."""
    try:
        lib = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    version, count = ctypes.c_int(), ctypes.c_int()
    if lib.cuDriverGetVersion(ctypes.byref(version)):
        return None
    cuda = version.value // 1000, version.value % 1000 // 10
    if lib.cuInit(0) or lib.cuDeviceGetCount(ctypes.byref(count)):
        return Driver(cuda)
    return Driver(cuda, [_device(lib, i) for i in range(count.value)])


def _device(lib: ctypes.CDLL, ordinal: int) -> tuple[str, int]:
    handle, size, name = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(100)
    lib.cuDeviceGet(ctypes.byref(handle), ordinal)
    lib.cuDeviceGetName(name, len(name), handle)
    lib.cuDeviceTotalMem_v2(ctypes.byref(size), handle)
    return name.value.decode(), size.value
