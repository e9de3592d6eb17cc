"""Tensors by name in a safetensors file: a JSON header, then the bytes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpugrad import backends, dtypes
from gpugrad.devices import CPU, Device
from gpugrad.errors import ArgumentError, NotSupportedError, SettingError
from gpugrad.io.files import named, replacing
from gpugrad.tensor import Tensor, wrap

_DTYPES = {
    "F64": dtypes.float64, "F32": dtypes.float32, "F16": dtypes.float16, "BF16": dtypes.bfloat16,
    "I64": dtypes.int64, "I32": dtypes.int32, "I16": dtypes.int16, "I8": dtypes.int8,
    "U8": dtypes.uint8, "BOOL": dtypes.bool_,
}  # fmt: skip


def save_file(
    tensors: Mapping[str, Any], filename: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Write tensors to a file; the same tensors give the same bytes.

    Args:
        tensors: by name, on any device.
        filename: replaced as a whole, or left as it was if anything goes wrong.
        metadata: text to keep in the header.  The library orders more than one entry at will.

    Raises:
        ArgumentError: for a value that is no tensor.
        OSError: if the file cannot be written.
    """
    from safetensors.numpy import save

    arrays: dict[str, Any] = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ArgumentError(
                f"save_file: takes Tensors by name, got {type(tensor).__name__} for {name!r}"
            )
        arrays[name] = np.ascontiguousarray(tensor.numpy(force=True)).reshape(tensor.shape)
    data = save(arrays, dict(metadata) if metadata else None)
    with replacing(filename) as temporary, named(Path(filename)):
        temporary.write_bytes(data)


def load_file(filename: str | os.PathLike[str], device: Any = "cpu") -> dict[str, Tensor]:
    """Read all tensors of a file, by name.

    Raises:
        OSError: if the file cannot be read.
        SettingError: if it is no safetensors file; NotSupportedError: for an unknown dtype.
    """
    import safetensors

    deserialize: Any = safetensors.deserialize  # untyped
    with open(filename, "rb") as file:
        data = file.read()
    try:
        entries = deserialize(data)
    except safetensors.SafetensorError as error:
        raise SettingError(
            f"load_file: {os.fspath(filename)} is not a safetensors file: {error}"
        ) from None
    place = Device(device)
    backend = backends.for_device(place)
    loaded = {}
    for name, entry in entries:
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise NotSupportedError(
                f"load_file: {name!r} has dtype {entry['dtype']}; known are {', '.join(_DTYPES)}"
            )
        array = np.frombuffer(bytearray(entry["data"]), dtype.np).reshape(entry["shape"])
        loaded[name] = wrap(array if place is CPU else backend.from_numpy(array, place))
    return loaded
