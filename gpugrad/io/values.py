"""Values from their description: each function takes what a description says and checks it.

They raise ValueError, TypeError or LookupError; ``rebuild`` names the file.
"""

from __future__ import annotations

import pathlib
import re
import struct
from binascii import a2b_base64
from collections.abc import Callable
from typing import Any

import numpy as np

from gpugrad import dtypes, factory
from gpugrad.devices import Device
from gpugrad.dtypes import DType
from gpugrad.io.describe import NUMPY_KINDS
from gpugrad.io.header import DTYPES
from gpugrad.io.source import shown
from gpugrad.tensor import Size

#: NumPy's spelling of a dtype with its byte order: "<c16", "|S3", "<M8[ns]".
_SPELT = re.compile(rf"[<>|][{NUMPY_KINDS}][1-9]\d*(\[\w+\])?")


def numpy_dtype(name: Any) -> np.dtype[Any]:
    """The NumPy dtype of a name of the safetensors format, or of NumPy's own."""
    if name in DTYPES:
        return DTYPES[name]
    if not _SPELT.fullmatch(name):
        raise ValueError(f"no dtype {shown(name)}")
    dtype: np.dtype[Any] = np.dtype(name)
    return dtype


#: Every dtype that a tensor may have.
STORED = (*dtypes.ALL, *dtypes.EIGHTS)


def dtype_named(name: Any) -> DType:
    """The DType of that name."""
    return {d.name: d for d in STORED}[name]


def _scalar(body: Any) -> Any:
    name, text = body
    return np.frombuffer(a2b_base64(text), numpy_dtype(name)).reshape(())[()]


def _whole(body: Any) -> int:
    if type(body) is dict:
        return int(body["int"], 16)
    if type(body) is not int:
        raise TypeError(f"{shown(body)} is no whole number")
    return body


def _real(body: Any) -> float:
    if type(body) is dict:
        data = bytes.fromhex(body["float"])
        if len(data) != 8:
            raise ValueError(f"a float of {len(data)} bytes")
        return float(struct.unpack("<d", data)[0])
    if type(body) is not float:
        raise TypeError(f"{shown(body)} is no float")
    return body


def _complex(body: Any) -> complex:
    real, imag = body
    return complex(_real(real), _real(imag))


def _named(*known: Any) -> Callable[[Any], Any]:
    names = {item.name: item for item in known}
    return lambda body: names[body]


def _text(kind: Callable[[str], Any]) -> Callable[[Any], Any]:
    def make(body: Any) -> Any:
        if type(body) is not str:
            raise TypeError(f"{shown(body)} is no text")
        return kind(body)

    return make


VALUES: dict[str, Callable[[Any], Any]] = {
    "int": lambda body: _whole({"int": body}),
    "float": lambda body: _real({"float": body}),
    "complex": _complex,
    "scalar": _scalar,
    "bytes": _text(a2b_base64),
    "range": lambda body: range(*map(_whole, body)),
    "Ellipsis": lambda body: ...,
    "dtype": dtype_named,
    "device": _text(Device),
    "Size": lambda body: Size(map(_whole, body)),
    "memory_format": _named(
        factory.contiguous_format, factory.preserve_format, factory.channels_last,
        factory.channels_last_3d,
    ),
    "layout": _named(factory.strided),
    "path": _text(pathlib.Path),
}  # fmt: skip
