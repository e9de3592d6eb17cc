"""CUDA devices under PyTorch's names.  Nothing here imports CuPy until a device is asked for."""

from __future__ import annotations

import importlib.util
from types import TracebackType
from typing import Any

from gpugrad import backends
from gpugrad.devices import Device
from gpugrad.errors import DeviceError
from gpugrad.random import Generator, generator_for


def is_available() -> bool:
    """Whether CuPy is installed and a CUDA device answers."""
    return device_count() > 0


def device_count() -> int:
    """Number of CUDA devices; 0 without CuPy, a driver or a device."""
    if importlib.util.find_spec("cupy") is None:
        return 0
    try:
        return backends.cuda().device_count()
    except DeviceError:
        return 0


def _index(device: Any) -> int:
    if device is None:
        return current_device()
    chosen = Device(device)
    if chosen.type != "cuda":
        raise DeviceError(f"not a CUDA device: {chosen}; accepted: 'cuda', 'cuda:0', 0, ...")
    return current_device() if chosen.index is None else chosen.index


def current_device() -> int:
    """Ordinal of the current device."""
    return backends.cuda().current()


def set_device(device: Any) -> None:
    """Make a device current for this thread."""
    backends.cuda().make_current(_index(device))


def synchronize(device: Any = None) -> None:
    """Wait until all work queued on a device is done."""
    backends.cuda().synchronize(Device("cuda", _index(device)))


def get_device_name(device: Any = None) -> str:
    """The device's product name."""
    return str(get_device_properties(device).name)


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The device's compute capability."""
    p = get_device_properties(device)
    return p.major, p.minor


def get_device_properties(device: Any = None) -> Any:
    """Name, compute capability, memory and number of multiprocessors of a device."""
    return backends.cuda().properties(_index(device))


def is_bf16_supported() -> bool:
    """Whether a CUDA device answers that computes in bfloat16 (compute capability 8.0 and up)."""
    return is_available() and get_device_capability()[0] >= 8


def manual_seed(seed: int) -> None:
    """Seed the current device's default generator."""
    default_generator(current_device()).manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Seed the default generator of every CUDA device; does nothing where there is none."""
    for i in range(device_count()):
        default_generator(i).manual_seed(seed)


def default_generator(index: int) -> Generator:
    """The default generator of one CUDA device."""
    return generator_for(Device("cuda", index))


def memory_allocated(device: Any = None) -> int:
    """Bytes in use by tensors on a device."""
    return backends.cuda().memory(_index(device))["allocated"]


def memory_reserved(device: Any = None) -> int:
    """Bytes that the memory pool holds on a device, in use or cached."""
    return backends.cuda().memory(_index(device))["reserved"]


def empty_cache() -> None:
    """Give cached, unused device memory back to the driver."""
    if is_available():
        backends.cuda().empty_cache()


class device:
    """Make a device current inside a ``with`` block."""

    def __init__(self, device: Any) -> None:
        self._wanted = _index(device)

    def __enter__(self) -> None:
        self._before = current_device()
        backends.cuda().make_current(self._wanted)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        backends.cuda().make_current(self._before)
