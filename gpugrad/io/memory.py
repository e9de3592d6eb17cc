"""Which arrays share memory, and what of it is written to a file.

Arrays whose ranges of memory overlap are windows on one block.  A block is written once; where one
of its arrays is all of it, as an entry of that array's dtype and shape, which any reader of
safetensors understands.  Every other array becomes a window: dtype, shape, strides and offset.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gpugrad import backends
from gpugrad.io.header import CODES, Stored


class Piece(NamedTuple):
    """An array to save, the name that suits it, and the description that will point at it."""

    array: Any
    name: str
    node: dict[str, Any]


class Block(NamedTuple):
    """Pieces whose memory overlaps, and the addresses from the first byte to behind the last."""

    pieces: list[Piece]
    low: int
    high: int


def store(pieces: list[Piece]) -> dict[str, Stored]:
    """Gather the memory of all pieces into entries of a file, and complete their descriptions.

    The first key of a description gets the entry's name; where the array is not simply all of the
    entry, ``dtype``, ``shape``, ``strides`` and ``offset`` (both in bytes) are added.
    """
    stored: dict[str, Stored] = {}
    for block in map(_compact, _blocks(pieces)):
        lead = next((p for p in block.pieces if _fills(p.array, block)), None)
        name = _free((lead or block.pieces[0]).name, stored)
        stored[name] = entry = _whole(lead.array) if lead else _raw(block)
        for array, _, node in block.pieces:
            node[next(iter(node))] = name
            if (CODES.get(array.dtype), array.shape) != entry[:2] or not _fills(array, block):
                node["dtype"] = CODES.get(array.dtype, array.dtype.str)
                node["shape"], node["strides"] = list(array.shape), list(array.strides)
                node["offset"] = _address(array) - block.low
    return stored


def _blocks(pieces: list[Piece]) -> list[Block]:
    """Unite pieces whose memory overlaps, in the order in which they were met."""
    groups: list[list[int]] = []  # numbers of pieces
    device, end = "", 0
    for place, low, high, i in sorted(
        (_device(p.array), *_span(p.array), i) for i, p in enumerate(pieces)
    ):
        if low == high:  # nothing in it
            groups.insert(0, [i])
        elif place == device and low < end:
            groups[-1].append(i)
            end = max(end, high)
        else:
            groups.append([i])
            device, end = place, high
    return [_block([pieces[i] for i in group]) for group in sorted(map(sorted, groups))]


def _block(pieces: list[Piece]) -> Block:
    spans = [_span(p.array) for p in pieces]
    return Block(pieces, min(low for low, _ in spans), max(high for _, high in spans))


def _compact(block: Block) -> Block:
    """Copy a lone array that has gaps: a column need not bring its matrix along."""
    (array, name, node), *others = block.pieces
    if others or block.high - block.low <= array.nbytes:
        return block
    return _block([Piece(array.copy(order="C"), name, node)])


def _span(array: Any) -> tuple[int, int]:
    """Addresses of the first byte of an array and of the one behind its last."""
    low = high = _address(array)
    if array.size == 0:
        return low, low
    for count, step in zip(array.shape, array.strides, strict=True):
        low, high = low + min(0, (count - 1) * step), high + max(0, (count - 1) * step)
    return low, high + array.itemsize


def _address(array: Any) -> int:
    if isinstance(array, np.ndarray):
        return int(array.__array_interface__["data"][0])
    return int(array.data.ptr)


def _device(array: Any) -> str:
    return str(backends.for_array(array).device_of(array))


def _fills(array: Any, block: Block) -> bool:
    return array.nbytes == block.high - block.low and bool(array.flags.c_contiguous)


def _whole(array: Any) -> Stored:
    """An entry of the array's own dtype and shape, or of bytes if the format lacks the dtype."""
    data = np.empty(0, np.uint8)
    if array.nbytes:
        data = array.reshape(-1).view(np.uint8)
    code = CODES.get(array.dtype)
    return (code, array.shape, data) if code else ("U8", (data.size,), data)


def _raw(block: Block) -> Stored:
    """A flat entry of everything in a block."""
    first = min(block.pieces, key=lambda p: _span(p.array)[0]).array
    backend = backends.for_array(first)
    corner = first[tuple(slice(None, None, -1 if s < 0 else 1) for s in first.strides)]
    start = corner[(slice(1),) * corner.ndim].reshape(1).view(np.uint8)
    tricks = backend.library.lib.stride_tricks
    data = tricks.as_strided(start, (block.high - block.low,), (1,))
    dtypes = {p.array.dtype for p in block.pieces}
    code = CODES.get(first.dtype) if len(dtypes) == 1 else None
    if code is None or data.size % first.itemsize:
        return "U8", (data.size,), data
    return code, (data.size // first.itemsize,), data


def _free(name: str, taken: dict[str, Stored]) -> str:
    """The name, numbered if an entry has it already; always text that UTF-8 can hold."""
    name = name.encode("utf-8", "backslashreplace").decode()
    if name not in taken and name != "__metadata__":
        return name
    number = 2
    while f"{name}#{number}" in taken:
        number += 1
    return f"{name}#{number}"
