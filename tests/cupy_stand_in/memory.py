"""Devices and their memory: blocks in rounded sizes, counted while they live."""

from __future__ import annotations

import threading
import weakref
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


class CUDARuntimeError(RuntimeError):
    """As ``cupy.cuda.runtime.CUDARuntimeError``."""


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


class Block:
    """Memory of one device, full of rubbish."""

    def __init__(self, nbytes: int) -> None:
        self.size = max(_ROUND, -(-nbytes // _ROUND) * _ROUND)
        self.device = DEVICES.current
        self.bytes = np.full(self.size, 255, np.uint8)
        self.ptr = self.bytes.ctypes.data
        used[self.device] = used.get(self.device, 0) + self.size
        blocks[self.ptr] = self

    def __del__(self) -> None:
        used[self.device] -= self.size


class MemoryPointer:
    """A place in a block, moved by adding bytes."""

    def __init__(self, mem: Block, offset: int) -> None:
        self.mem, self._offset = mem, offset
        self.ptr = mem.ptr + offset
        self.device = Device(mem.device)

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self._offset + offset)

    def view(self, shape: Any, dtype: Any, strides: Any) -> np.ndarray[Any, Any]:
        """The hidden NumPy array."""
        if not self.mem.size or 0 in shape:
            return np.empty(shape, dtype)
        return np.ndarray(shape, dtype, self.mem.bytes, self._offset, strides)


class PinnedMemoryPointer(bytearray):
    """Page-locked memory of the host; here, any."""


class Flags:
    """Contiguity, and nothing else: CuPy's arrays have no ``writeable``."""

    def __init__(self, flags: Any) -> None:
        self.c_contiguous, self.f_contiguous = flags.c_contiguous, flags.f_contiguous
        self.forc, self.fnc = flags.forc, flags.fnc
        self.owndata = flags.owndata


class Pool:
    """The memory pool of the current device."""

    def used_bytes(self) -> int:
        return used.get(DEVICES.current, 0)

    def total_bytes(self) -> int:
        return self.used_bytes()

    def free_all_blocks(self, stream: Any = None) -> None:
        """There is nothing cached."""
