"""Which CUDA devices there are, and which one is current."""

from __future__ import annotations

import importlib.util
from types import TracebackType
from typing import Any

from gpugrad import backends
from gpugrad.devices import Device
from gpugrad.errors import ArgumentError, DeviceError
from gpugrad.tensor import Tensor


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


def init() -> None:
    """Load CuPy and the driver now instead of with the first CUDA tensor."""
    backends.cuda()


def is_initialized() -> bool:
    """Whether CUDA has been used or asked for in this process."""
    return backends.cuda_loaded()


def ordinal(device: Any) -> int:
    """The number of a CUDA device: of the current one for None and for ``"cuda"``.

    Raises:
        DeviceError: for a device of another type, or without CUDA.
    """
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
    backends.cuda().make_current(ordinal(device))


def synchronize(device: Any = None) -> None:
    """Wait until all work queued on a device is done."""
    backends.cuda().synchronize(Device("cuda", ordinal(device)))


def get_device_name(device: Any = None) -> str:
    """The device's product name."""
    return str(get_device_properties(device).name)


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The device's compute capability."""
    p = get_device_properties(device)
    return p.major, p.minor


def get_device_properties(device: Any = None) -> Any:
    """Name, compute capability, memory and number of multiprocessors of a device."""
    return backends.cuda().properties(ordinal(device))


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether a CUDA device answers that takes bfloat16.

    Args:
        including_emulation: count devices below compute capability 8.0, which cast to float32.
    """
    return is_available() and (including_emulation or get_device_capability()[0] >= 8)


def is_tf32_supported() -> bool:
    """Whether the current device multiplies in TF32 (compute capability 8.0 and up)."""
    return is_available() and get_device_capability()[0] >= 8


class device:
    """Make a device current inside a ``with`` block; None changes nothing."""

    def __init__(self, device: Any) -> None:
        self._wanted = None if device is None else ordinal(device)

    def __enter__(self) -> None:
        if self._wanted is not None:
            self._before = current_device()
            backends.cuda().make_current(self._wanted)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        if self._wanted is not None:
            backends.cuda().make_current(self._before)


class device_of(device):
    """Make the device of a tensor current inside; nothing changes for a tensor on the host."""

    def __init__(self, obj: Tensor) -> None:
        if not isinstance(obj, Tensor):
            raise ArgumentError(f"device_of: obj must be a Tensor, got {type(obj).__name__}")
        super().__init__(obj.device if obj.is_cuda else None)
