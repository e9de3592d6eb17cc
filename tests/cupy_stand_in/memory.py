"""Devices and their memory, counted while it lives; arrays get it from an allocator."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable
from typing import Any, Self

import numpy as np

_ROUND = 512
#: Live blocks by address, so that an address from outside finds its memory.
blocks: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


class Devices(threading.local):
    """The current device of each thread."""

    current = 0
    count = 1


DEVICES = Devices()
used: dict[int, int] = {}
#: Bytes of a device, and what was ever taken of them, piece by piece.
TOTAL = 1 << 30
taken: list[int] = []


class CUDARuntimeError(RuntimeError):
    """As ``cupy.cuda.runtime.CUDARuntimeError``."""

    status = 1


class NoMemory(CUDARuntimeError):
    """What CUDA says when a device is full."""

    status = 2


class Device:
    """A device by number; ``with`` makes it current."""

    def __init__(self, device: Any = None) -> None:
        self.id = DEVICES.current if device is None else int(device)
        self._before: list[int] = []

    def use(self) -> None:
        if not 0 <= self.id < type(DEVICES).count:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        DEVICES.current = self.id

    def __enter__(self) -> Self:
        self._before.append(DEVICES.current)
        self.use()
        return self

    def __exit__(self, *error: object) -> None:
        DEVICES.current = self._before.pop()

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return self.id

    def synchronize(self) -> None:
        with self:
            pass

    @property
    def compute_capability(self) -> str:
        return "90"


class BaseMemory:
    """What owns bytes of a device; subclasses say which, and what becomes of them."""

    ptr = size = device_id = 0

    @property
    def device(self) -> Device:
        return Device(self.device_id)


class Memory(BaseMemory):
    """Memory of one device as the driver gives it, full of rubbish."""

    def __init__(self, nbytes: int) -> None:
        self.size = max(_ROUND, -(-nbytes // _ROUND) * _ROUND)
        self.device_id = DEVICES.current
        if used.get(self.device_id, 0) + self.size > TOTAL:
            raise NoMemory("cudaErrorMemoryAllocation: out of memory")
        self._bytes = np.full(self.size + _ROUND, 255, np.uint8)
        self.ptr = -(-self._bytes.ctypes.data // _ROUND) * _ROUND
        used[self.device_id] = used.get(self.device_id, 0) + self.size
        blocks[self.ptr] = self
        taken.append(self.size)

    def __del__(self) -> None:
        if hasattr(self, "_bytes"):
            used[self.device_id] -= self.size


class UnownedMemory(BaseMemory):
    """Memory at an address; another object keeps it alive."""

    def __init__(self, ptr: int, owner: Any) -> None:
        self.ptr, self._owner, self.device_id = ptr, owner, DEVICES.current
        found = [b for p, b in blocks.items() if p <= ptr < p + b.size]
        if found:
            self.device_id, self.size = found[0].device_id, found[0].ptr + found[0].size - ptr


class MemoryPointer:
    """A place in memory, moved by adding bytes."""

    def __init__(self, mem: BaseMemory, offset: int) -> None:
        self.mem, self._offset = mem, offset
        self.ptr = mem.ptr + offset
        self.device_id = mem.device_id
        self.device = Device(mem.device_id)

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self._offset + offset)

    def view(self, shape: Any, dtype: Any, strides: Any) -> np.ndarray[Any, Any]:
        """The hidden NumPy array; who holds it holds ``mem``, too."""
        if not self.mem.size or 0 in shape:
            return np.empty(shape, dtype)
        # all of the memory, as negative strides reach back before the place
        window = (ctypes.c_char * self.mem.size).from_address(self.mem.ptr)
        return np.ndarray(shape, dtype, window, self._offset, strides)


class PinnedMemory:
    """Page-locked memory of the host; here, any."""

    def __init__(self, size: int) -> None:
        self._bytes = np.full(size + _ROUND, 255, np.uint8)
        self.ptr = -(-self._bytes.ctypes.data // _ROUND) * _ROUND


def fill_async(ptr: int, value: int, size: int, stream: int) -> None:
    """As ``runtime.memsetAsync``."""
    ctypes.memset(ptr, value, size)


class Flags:
    """Contiguity, and nothing else: CuPy's arrays have no ``writeable``."""

    def __init__(self, flags: Any) -> None:
        self.c_contiguous, self.f_contiguous = flags.c_contiguous, flags.f_contiguous
        self.forc, self.fnc = flags.forc, flags.fnc
        self.owndata = flags.owndata


def malloc(size: int) -> MemoryPointer:
    """The allocator until another is set: every array has memory of its own."""
    return MemoryPointer(Memory(size), 0)


_allocator: list[Callable[[int], MemoryPointer]] = [malloc]


def get_allocator() -> Callable[[int], MemoryPointer]:
    return _allocator[0]


def set_allocator(allocator: Callable[[int], MemoryPointer] | None = None) -> None:
    _allocator[0] = allocator or malloc


def allocate(size: int) -> MemoryPointer:
    """Memory as arrays get it."""
    return _allocator[0](size)
