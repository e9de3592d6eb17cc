"""NumPy arrays in pooled memory, for results large enough to be worth it.

A fresh large NumPy array is memory that the kernel has to find, clear and map, page by page, while
it is filled: that takes about as long as the addition whose result it is, and often more.  Memory
that was used before has its pages.

An array looks into a ``Lease``, which is its ``base``; views keep the lease alive, and when the
last of them goes, the lease gives its block back.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gpugrad.backends.memory.blocks import Block
from gpugrad.backends.memory.pool import Pool
from gpugrad.backends.memory.sizes import ALIGNMENT

#: Arrays of fewer bytes come from NumPy, whose own cache and the C library's serve them well.
WORTH = 1 << 18


class Lease:
    """Base of the buffers that arrays look into: the block is given back when it is dropped."""

    #: Whether the memory is page-locked.
    pinned: bool
    _block: Block
    _free: Callable[[Block], None]

    def __del__(self) -> None:
        self._free(self._block)


class Arrays:
    """Makes arrays whose memory comes from a pool.

    Args:
        pool: its memory must be the host's.
        worth: arrays of fewer bytes are NumPy's own.
        pinned: whether that memory is page-locked.
    """

    def __init__(self, pool: Pool, worth: int = WORTH, pinned: bool = False) -> None:
        self.pool, self.worth, self.pinned = pool, worth, pinned
        #: One class of buffers for each size of blocks, of which there are few.
        self._classes: dict[int, Any] = {}

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """An uninitialised C-ordered array, aligned to at least 64 bytes where it is pooled.

        Raises:
            OutOfMemoryError: if there is no memory.
        """
        size = math.prod(shape) * dtype.itemsize
        if size < self.worth or not size:
            return np.empty(shape, dtype)
        block = self.pool.malloc(size)
        kind = self._classes.get(block.size) or self._class(block.size)
        lease = kind.from_address(block.ptr)
        lease._block = block
        return np.ndarray(shape, dtype, lease)

    def _class(self, size: int) -> Any:
        members = {"_free": staticmethod(self.pool.free), "pinned": self.pinned}
        made = self._classes[size] = type("Lease", (Lease, ctypes.c_char * size), members)
        return made


class HostMemory:
    """Memory of this process as NumPy allocates it, which asks for huge pages where it can.

    It is private to the process: a child of ``fork`` writes into its own copy.
    """

    def __init__(self, size: int) -> None:
        self._bytes = np.empty(size + ALIGNMENT, np.uint8)
        self.ptr = -(-self._bytes.ctypes.data // ALIGNMENT) * ALIGNMENT

    def close(self) -> None:
        """Give it back."""
        del self._bytes


def fill_host(ptr: int, size: int, stream: int) -> None:
    """Write bytes of 255, which are NaN in every floating dtype."""
    ctypes.memset(ptr, 255, size)


def memory_of_machine() -> int:
    """Bytes of memory that this process may use: the machine's, or its control group's share."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if _KNOWN else [8 << 30]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        path = Path("/sys/fs/cgroup") / name
        if path.exists() and (text := path.read_text().strip()).isdigit():
            found.append(int(text))
    return min(found)


_KNOWN = hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names
#: The process' pool of host memory; it keeps at most a quarter of the machine's for reuse.
POOL = Pool(HostMemory, HostMemory.close, "host memory", fill=fill_host,
            cached_limit=memory_of_machine() // 4)  # fmt: skip
ARRAYS = Arrays(POOL)
empty = ARRAYS.empty
