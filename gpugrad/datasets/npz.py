"""NumPy's ``.npz``, a zip archive of arrays, read without pickles and without trusting sizes."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from gpugrad.datasets.files import check_claim, refuse
from gpugrad.io.files import named

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)


def read_npz(path: Path, choices: Sequence[Sequence[str]]) -> list[Any]:
    """Arrays of an archive by name.

    Args:
        choices: for each array the names it may have.

    Raises:
        FileFormatError: if one is not there, is no array of numbers, or is damaged.
        OSError: if the file cannot be read.
    """
    try:
        with named(path), zipfile.ZipFile(path) as archive:
            return [_array(path, archive, names) for names in choices]
    except _DAMAGED as error:
        refuse(path, f"damaged npz file: {error}")


def _array(path: Path, archive: zipfile.ZipFile, names: Sequence[str]) -> Any:
    there = {name.removesuffix(".npy"): name for name in archive.namelist()}
    name = next((n for n in names if n in there), None)
    if name is None:
        refuse(path, f"no array {' or '.join(names)} in it; it has {', '.join(there) or 'none'}")
    info = archive.getinfo(there[name])
    check_claim(path, name, info.file_size, info.compress_size)
    with archive.open(info) as stream:
        shape, columns_first, dtype = _header(stream)
        if dtype.kind not in "biuf":
            refuse(path, f"{name} has the dtype {dtype}; numbers are accepted")
        count = math.prod(shape)
        rest = info.file_size - stream.tell()
        if count * dtype.itemsize != rest:
            refuse(path, f"{name} claims shape {shape} of {dtype}, and {rest} bytes follow")
        data = stream.read()  # all of it, so that the archive's checksum is compared
    flat: Any = np.frombuffer(bytearray(data), dtype)
    return flat.reshape(shape, order="F" if columns_first else "C")


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(stream)
    if version == (1, 0):
        return npy.read_array_header_1_0(stream)
    if version == (2, 0):
        return npy.read_array_header_2_0(stream)
    raise ValueError(f"version {version} of the npy format; 1.0 and 2.0 are accepted")
