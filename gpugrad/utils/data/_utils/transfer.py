"""Moving Python objects between processes, with the memory of their arrays beside the pickle.

Pickle's protocol 5 hands out the arrays' buffers; they are laid, behind the pickle, into one block
of memory, in which the receiver's arrays then lie.  A batch's block goes through a pipe.  Against a
file in memory that both sides map (PyTorch's way), that took half to nine tenths of the time for
batches of 64 KB to 19 MB (docs/data.md), because fresh shared pages cost more than a copy; and
nothing can leak or run out.  Only a ``Parcel``, the dataset that all workers read, is such a file.
"""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
import weakref
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

#: Buffers begin at multiples of this many bytes in a block.
_ALIGNMENT = 64


class Message(NamedTuple):
    """An object ready to be sent: nothing that happens to the object changes it any more.

    Attributes:
        sizes: of the pickle and the buffers.
        block: their memory.
    """

    sizes: list[int]
    block: Any


def pack(thing: Any) -> list[Any]:
    """The pickle of an object, and the buffers of its arrays, which share their memory."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        payload = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
        return [payload, *(b.raw() for b in buffers)]
    except BufferError:  # an array whose memory is in no simple order
        return [pickle.dumps(thing, protocol=5)]


def _offsets(sizes: list[int]) -> tuple[list[int], int]:
    """Where parts of these sizes begin in one block, and the size of the block."""
    offsets, end = [], 0
    for size in sizes:
        offsets.append(end)
        end += -(-size // _ALIGNMENT) * _ALIGNMENT
    return offsets, end


def _lay(parts: list[Any], sizes: list[int], block: Any) -> None:
    """Copy parts to their places in a block of uint8."""
    for offset, size, part in zip(_offsets(sizes)[0], sizes, parts):
        if size:
            block[offset : offset + size] = np.frombuffer(part, np.uint8)


def _open(block: Any, sizes: list[int]) -> Any:
    """The object in a block."""
    view = memoryview(block)
    payload, *buffers = (view[o : o + size] for o, size in zip(_offsets(sizes)[0], sizes))
    return pickle.loads(payload, buffers=buffers)


def message(thing: Any) -> Message:
    """Pickle an object and copy its arrays; what cannot be pickled raises here."""
    parts = pack(thing)
    sizes = [memoryview(p).nbytes for p in parts]
    block = np.empty(_offsets(sizes)[1], np.uint8)
    _lay(parts, sizes, block)
    return Message(sizes, block)


def send(connection: Connection, ready: Message) -> None:
    """Send a message; waits while the pipe is full."""
    connection.send_bytes(pickle.dumps(ready.sizes))
    rest = memoryview(ready.block)
    while len(rest):
        rest = rest[os.write(connection.fileno(), rest) :]


def receive(connection: Connection) -> Any:
    """The object of the next message.

    Raises:
        EOFError, OSError: if the other side is gone.
    """
    sizes = pickle.loads(connection.recv_bytes())
    block: Any = np.empty(_offsets(sizes)[1], np.uint8)
    rest = memoryview(block)
    while len(rest):
        count = os.readv(connection.fileno(), [rest])
        if not count:
            raise EOFError("the pipe ended within a message")
        rest = rest[count:]
    return _open(block, sizes)


class Parcel:
    """An object for all workers, pickled once; its arrays are one block of memory for all of them.

    Travels as an argument of a process that is started by ``spawn`` or ``forkserver``.  The block
    is a file without a name: it is gone when the last process has closed it, however that ends.
    """

    def __init__(self, thing: Any) -> None:
        parts = pack(thing)
        self._sizes = [memoryview(p).nbytes for p in parts]
        self._fd = _file_without_name()
        weakref.finalize(self, os.close, self._fd)
        os.ftruncate(self._fd, _offsets(self._sizes)[1])
        with mmap.mmap(self._fd, 0) as memory:
            _lay(parts, self._sizes, np.frombuffer(memory, np.uint8))

    def __reduce__(self) -> Any:
        return _Received, (reduction.DupFd(self._fd), self._sizes)


def _file_without_name() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("gpugrad-dataset")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class _Received:
    """A parcel on the worker's side."""

    def __init__(self, fd: Any, sizes: list[int]) -> None:
        self._fd, self._sizes = fd, sizes

    def open(self) -> Any:
        """The object; a page of it is copied when this process first writes to it."""
        fd = self._fd.detach()
        try:
            memory = mmap.mmap(fd, 0, access=mmap.ACCESS_COPY)
        finally:
            os.close(fd)
        return _open(memory, self._sizes)
