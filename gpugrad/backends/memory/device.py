"""CuPy's arrays in pooled memory: a pool per device, installed as CuPy's allocator.

What CuPy gets is a pointer to a ``BaseMemory``: every array and view over it holds that, and it
gives its block back when the last of them is dropped.
"""

from __future__ import annotations

from typing import Any

from gpugrad.backends.memory.host import Arrays
from gpugrad.backends.memory.pool import Pool
from gpugrad.backends.memory.waiting import Events

#: ``cudaErrorMemoryAllocation``
_NO_MEMORY = 2


class DevicePools:
    """The pools of all devices, and one for page-locked memory of the host.

    Args:
        cupy: the library.
        count: how many devices there are.
    """

    def __init__(self, cupy: Any, count: int) -> None:
        self._cuda, self._one = cupy.cuda, count == 1
        self._pools: dict[int, Pool] = {}
        self._pointer, self._memory = cupy.cuda.MemoryPointer, _memory_class(cupy.cuda.BaseMemory)
        self._stream, self._current = cupy.cuda.get_current_stream, cupy.cuda.runtime.getDevice
        locked = Pool(self._taker(cupy.cuda.PinnedMemory), _drop, "page-locked memory")
        self.pinned = Arrays(locked, worth=0, pinned=True)

    def malloc(self, size: int) -> Any:
        """Memory of the current device for work on the current stream, as CuPy wants it."""
        device = 0 if self._one else self._current()
        if not size:
            return self._pointer(self._memory(None, None, device), 0)
        pool = self._pools.get(device) or self.of(device)
        block = pool.malloc(size, self._stream().ptr)
        return self._pointer(self._memory(block, pool.free, device), 0)

    def of(self, device: int) -> Pool:
        """The pool of a device."""
        found = self._pools.get(device)
        if found is None:
            found = self._pools.setdefault(device, self._made(device))
        return found

    def all(self) -> list[Pool]:
        """The pools that there are."""
        return [*self._pools.values(), self.pinned.pool]

    def record_stream(self, array: Any, stream: Any) -> None:
        """Note that work on a stream of CuPy uses an array; memory of others takes care itself."""
        memory = array.data.mem
        if isinstance(memory, self._memory) and memory.block is not None:
            self.of(memory.device_id).record_stream(memory.block, int(stream.ptr), stream)

    def _made(self, device: int) -> Pool:
        cuda, runtime = self._cuda, self._cuda.runtime

        def record(stream: int) -> Any:
            with cuda.Device(device):
                event = cuda.Event(disable_timing=True)
                cuda.ExternalStream(stream).record(event)
            return event

        def fill(ptr: int, size: int, stream: int) -> None:
            with cuda.Device(device):
                runtime.memsetAsync(ptr, 255, size, stream)

        def free() -> int:
            with cuda.Device(device):
                return int(runtime.memGetInfo()[0])

        events = Events(record, lambda event: event.done, lambda event: event.synchronize())
        return Pool(self._taker(cuda.Memory), _drop, f"memory of cuda:{device}",
                    events=events, fill=fill, free=free)  # fmt: skip

    def _taker(self, kind: Any) -> Any:
        """Takes memory of one of CuPy's kinds, which goes back when it is dropped."""
        failure = self._cuda.runtime.CUDARuntimeError

        def get(size: int) -> Any:
            try:
                return kind(size)
            except failure as error:
                if error.status != _NO_MEMORY:
                    raise
            raise MemoryError

        return get


def _drop(memory: Any) -> None:
    """CuPy's memory is given back when nothing refers to it; CUDA waits for work on it first."""


def _memory_class(base: Any) -> Any:
    class BlockMemory(base):  # type: ignore[misc]
        """A block of a pool as CuPy knows memory; None stands for no bytes."""

        __slots__ = ("_free", "block")

        def __init__(self, block: Any, free: Any, device: int) -> None:
            self.block, self._free = block, free
            memory: Any = self  # what follows are the base's, of which types say nothing
            memory.device_id = device
            if block is not None:  # else both are 0
                memory.ptr, memory.size = block.ptr, block.size

        def __del__(self) -> None:
            if self.block is not None:
                self._free(self.block)

    return BlockMemory
