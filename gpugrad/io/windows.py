"""Arrays and tensors made again from blocks of bytes, which they share where they did before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gpugrad import backends
from gpugrad.dtypes import DType
from gpugrad.io.placing import Place
from gpugrad.io.source import Bytes, Source
from gpugrad.spec import Spec
from gpugrad.storage import Storage
from gpugrad.tensor import Tensor, wrap


class Window(NamedTuple):
    """How an array looks at a block: strides and offset in bytes; no strides for row-major."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    offset: int = 0


class Blocks:
    """The blocks of one file, each read and moved once.

    Args:
        read: gives the bytes of a block by its key.
        place: moves them to their device.
    """

    def __init__(self, source: Source, read: Callable[[Any], Bytes], place: Place) -> None:
        self._source, self._read, self._place = source, read, place
        self._host: dict[Any, Bytes] = {}
        self._placed: dict[tuple[Any, str], Any] = {}
        self._storages: dict[tuple[Any, str], Storage] = {}

    def tensor(self, key: Any, name: str, dtype: DType, window: Window, location: str) -> Tensor:
        """A tensor over a block, on the device that the location leads to."""
        block = (key, location)
        if block not in self._placed:
            data = self._host.get(key)
            data = self._read(key) if data is None else data
            self._placed[block] = placed = self._place(data, location)
            if placed is data:  # otherwise the host's copy may go
                self._host[key] = data
            self._storages[block] = Storage()
        memory = self._placed[block]
        if memory is None:
            return wrap(Spec(window.shape, dtype))
        return wrap(self._look(memory, window, name), None, 0, self._storages[block])

    def array(self, key: Any, name: str, window: Window) -> Any:
        """A NumPy array over a block."""
        return self._look(self._bytes(key), window, name)

    def _bytes(self, key: Any) -> Bytes:
        if key not in self._host:
            self._host[key] = self._read(key)
        return self._host[key]

    def _look(self, memory: Any, window: Window, name: str) -> Any:
        dtype, shape, strides, offset = window
        backend = backends.for_array(memory)
        plain = _row_major(shape, dtype.itemsize)
        strides = plain if strides is None else strides
        if len(strides) != len(shape):
            self._source.refuse(f"{name} has {len(shape)} dimensions and {len(strides)} strides")
        low, high = _reach(shape, strides, dtype.itemsize, offset)
        if low < 0 or high > memory.size:
            self._source.refuse(
                f"{name} of shape {shape!r:.80} reaches over bytes {low} to {high} of a block of "
                f"{memory.size}"
            )
        aligned = not any(n % max(dtype.itemsize, 1) for n in (offset, *strides))
        if not aligned and backend is not backends.NUMPY:
            self._source.refuse(f"{name} is not aligned to its elements of {dtype.itemsize} bytes")
        try:
            if low == high:
                with backend.on(backend.device_of(memory)):
                    return backend.library.empty(shape, dtype)
            if strides == plain:
                return memory[low:high].view(dtype).reshape(shape)
            start = memory[offset : offset + dtype.itemsize].view(dtype)
            return backend.xp.strided(start, shape, strides, 0)
        except (ValueError, OverflowError) as error:
            self._source.refuse(f"{name} of shape {shape!r:.80} cannot be: {error}")


def _row_major(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    strides = [itemsize]
    for n in shape[:0:-1]:
        strides.append(strides[-1] * n)
    return tuple(reversed(strides))[: len(shape)]


def _reach(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int,
           offset: int) -> tuple[int, int]:  # fmt: skip
    """The first byte of a window and the one behind its last."""
    if 0 in shape or itemsize == 0:
        return max(offset, 0), max(offset, 0)
    low = high = offset
    for n, step in zip(shape, strides, strict=True):
        low, high = low + min(0, (n - 1) * step), high + max(0, (n - 1) * step)
    return low, high + itemsize
