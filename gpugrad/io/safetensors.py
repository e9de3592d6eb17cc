"""Tensors by name in a safetensors file: a JSON header, then the bytes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpugrad.devices import Device
from gpugrad.errors import ArgumentError, NotSupportedError
from gpugrad.io import header
from gpugrad.io.files import named, replacing
from gpugrad.io.header import CODES, DTYPES, Entry, Stored
from gpugrad.io.placing import placer
from gpugrad.io.source import Source, opened, shown
from gpugrad.io.values import STORED
from gpugrad.io.windows import Blocks, Window
from gpugrad.tensor import Tensor


def save_file(
    tensors: Mapping[str, Any], filename: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Write tensors to a file; the same tensors give the same bytes, in whatever order they come.

    Args:
        tensors: by name, on any device.
        filename: replaced as a whole, or left as it was if anything goes wrong.
        metadata: text to keep in the header.

    Raises:
        ArgumentError: for a value that is no tensor.
        OSError: if the file cannot be written.
    """
    stored: dict[str, Stored] = {}
    for name, tensor in sorted(tensors.items()):
        if not isinstance(tensor, Tensor):
            raise ArgumentError(
                f"save_file: takes Tensors by name, got {type(tensor).__name__} for {name!r}"
            )
        array = np.ascontiguousarray(tensor.numpy(force=True))
        data = array.reshape(-1).view(np.uint8)
        stored[name] = (CODES[array.dtype], tuple(tensor.shape), data)
    with replacing(filename) as temporary, named(Path(filename)), open(temporary, "wb") as file:
        header.write(file, stored, metadata or {})


def load_file(filename: str | os.PathLike[str], device: Any = "cpu") -> dict[str, Tensor]:
    """Read all tensors of a file, by name.

    Raises:
        OSError: if the file cannot be read.
        FileFormatError: if it is no safetensors file; NotSupportedError: for an unknown dtype.
    """
    with opened(filename) as source:
        entries = header.read(source).entries
        read = Blocks(source, lambda n: source.read(*entries[n][2:]), placer(Device(device)))
        return tensors_of(source, entries, read)


def tensors_of(source: Source, entries: Mapping[str, Entry], blocks: Blocks) -> dict[str, Tensor]:
    """Every entry of a file as a tensor.

    Raises:
        NotSupportedError: for a dtype that gpugrad does not have.
    """
    known = {CODES[d.np]: d for d in STORED}
    for name, entry in entries.items():
        if entry.code not in known:
            raise NotSupportedError(
                f"load: {source.name}: {shown(name)} has dtype {shown(entry.code)}; known are "
                f"{', '.join(known)}"
            )
    return {
        name: blocks.tensor(
            name, shown(name), known[entry.code], Window(DTYPES[entry.code], entry.shape), "cpu"
        )
        for name, entry in entries.items()
    }


__all__ = ["load_file", "save_file", "tensors_of"]
