"""The frame of a safetensors file: eight bytes of length, a JSON header, then the bytes.

The safetensors library reads and writes whole files as one block of bytes, beside the arrays; here
arrays are written from and read into their own memory, so that a checkpoint needs no more memory
than the tensors in it.  What is accepted is what the library accepts.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from gpugrad import backends
from gpugrad.errors import SettingError
from gpugrad.io.source import Source, shown

#: The format's names of dtypes.
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64), "F32": np.dtype(np.float32), "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16), "I64": np.dtype(np.int64), "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16), "I8": np.dtype(np.int8), "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32), "U16": np.dtype(np.uint16), "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_), "C64": np.dtype(np.complex64),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn), "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
}  # fmt: skip
CODES = {dtype: code for code, dtype in DTYPES.items()}

#: The library takes no longer header.
_LONGEST = 100_000_000
_METADATA = "__metadata__"


#: What is written for one array: the dtype's name, the shape, and contiguous bytes, which
#: are fetched from their device when they are written.
Stored = tuple[str, tuple[int, ...], Any]


class Entry(NamedTuple):
    """One array of a file: dtype by its name, shape, and where its bytes are."""

    code: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


class Header(NamedTuple):
    """What a file holds, and the number of bytes that it fills."""

    entries: dict[str, Entry]
    metadata: dict[str, str]
    used: int


def write(file: Any, arrays: Mapping[str, Stored], metadata: Mapping[str, str]) -> None:
    """Write arrays, those with large elements first, so that every one is aligned.

    Raises:
        SettingError: if the header is longer than readers take.
    """
    order = sorted(arrays, key=lambda name: -DTYPES[arrays[name][0]].itemsize)
    header: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in order:
        code, shape, data = arrays[name]
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [end, end + data.size]}
        end += data.size
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _LONGEST:
        raise SettingError(
            f"save: the description of what is saved takes {len(text)} bytes, a file holds "
            f"{_LONGEST}; save long lists of numbers as tensors or arrays"
        )
    _put(file, len(text).to_bytes(8, "little") + text)
    for name in order:
        data = arrays[name][2]
        _put(file, backends.for_array(data).to_numpy(data))


def _put(file: Any, data: Any) -> None:
    left = memoryview(data)
    while left:  # an unbuffered file may take less than it is given
        taken = file.write(left)
        left = left[taken if taken is not None else len(left) :]


def read(source: Source) -> Header:
    """Read and check the header of a file.

    Raises:
        FileFormatError: naming the file and what is wrong with it.
    """
    if source.size < 8:
        source.refuse(f"it has {source.size} bytes; even an empty safetensors file has more")
    length = int.from_bytes(source.read(0, 8).tobytes(), "little")
    if length > min(_LONGEST, source.size - 8):
        source.refuse(
            f"is not a safetensors file or is cut short: its header should take {length} bytes, "
            f"the file has {source.size - 8} more (and {_LONGEST} are allowed)"
        )
    header = parse_json(source, source.read(8, length).tobytes())
    if type(header) is not dict:
        source.refuse(f"is not a safetensors file: its header is a {type(header).__name__}")
    metadata = header.pop(_METADATA, {})
    if type(metadata) is not dict or not all(type(v) is str for v in metadata.values()):
        source.refuse("its metadata must be texts by name")
    entries = {name: _entry(source, name, value) for name, value in header.items()}
    end = _check_places(source, entries)
    used = 8 + length + end
    if used > source.size or (source.whole and used != source.size):
        source.refuse(f"its tensors should end at byte {used}, the file ends at {source.size}")
    shifted = {n: e._replace(start=e.start + 8 + length) for n, e in entries.items()}
    return Header(shifted, metadata, used)


def _entry(source: Source, name: str, value: Any) -> Entry:
    if type(value) is not dict or value.keys() != {"dtype", "shape", "data_offsets"}:
        source.refuse(
            f"tensor {shown(name)} must have dtype, shape and data_offsets, and has {shown(value)}"
        )
    code, shape, places = value["dtype"], value["shape"], value["data_offsets"]
    if type(code) is not str or not sizes(shape) or not sizes(places) or len(places) != 2:
        source.refuse(f"tensor {shown(name)} is described by {shown(value)}")
    start, end = places
    dtype = DTYPES.get(code)
    if end < start or (dtype is not None and math.prod(shape) * dtype.itemsize != end - start):
        source.refuse(
            f"tensor {shown(name)} of shape {shown(shape)} and dtype {shown(code)} cannot lie in "
            f"bytes {start} to {end}"
        )
    return Entry(code, tuple(shape), start, end - start)


def _check_places(source: Source, entries: dict[str, Entry]) -> int:
    """Let entries follow each other without holes or overlap; the end of the last."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].nbytes)):
        if entry.start != end:
            source.refuse(
                f"tensor {shown(name)} begins at byte {entry.start}, the one before ends at {end}"
            )
        end += entry.nbytes
    return end


def sizes(value: Any) -> bool:
    """Whether a value is a list of sizes that an array may have."""
    return (
        type(value) is list
        and len(value) <= 64
        and all(type(n) is int and 0 <= n < 1 << 63 for n in value)
    )


def parse_json(source: Source, text: bytes | str) -> Any:
    """Read JSON in which no name comes twice and no number is NaN or infinite.

    Raises:
        FileFormatError: naming the file and what is wrong with it.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            raise ValueError(f"{shown(name)} comes twice")
        return found

    def constant(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=constant)
    except RecursionError:
        source.refuse("its header is nested too deeply")
    except ValueError as error:
        source.refuse(f"its header is damaged: {error!s:.200}")
