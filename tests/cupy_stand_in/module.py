"""The modules themselves."""

from __future__ import annotations

import importlib.machinery
import types
from typing import Any

import numpy as np

from cupy_stand_in import linalg as linalg_functions
from cupy_stand_in.array import ndarray
from cupy_stand_in.functions import as_strided
from cupy_stand_in.memory import (
    DEVICES,
    CUDARuntimeError,
    Device,
    Devices,
    PinnedMemoryPointer,
    Pool,
)
from cupy_stand_in.offered import API
from cupy_stand_in.ufuncs import ufunc

_TYPES = (
    "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16",
    "float32", "float64", "intp", "inf", "nan", "pi", "e", "newaxis", "dtype", "iinfo", "finfo",
)  # fmt: skip


def _module(name: str, **values: Any) -> types.ModuleType:
    made = types.ModuleType(name, "A stand-in that runs on NumPy; see tests/cupy_stand_in.")
    made.__spec__ = importlib.machinery.ModuleSpec(name, None)
    made.__dict__.update(values)
    return made


def _properties(index: int) -> dict[str, Any]:
    return {"name": b"stand-in (no GPU)", "major": 9, "minor": 0, "totalGlobalMem": 1 << 30,
            "multiProcessorCount": 1}  # fmt: skip


def build(devices: int, functions: dict[str, Any], linear: dict[str, Any]) -> dict[str, Any]:
    """All modules by name."""
    Devices.count = devices
    pool = Pool()
    runtime = _module(
        "cupy.cuda.runtime", getDeviceCount=lambda: devices, CUDARuntimeError=CUDARuntimeError,
        getDeviceProperties=_properties, getDevice=lambda: DEVICES.current,
    )  # fmt: skip
    cuda = _module("cupy.cuda", runtime=runtime, Device=Device, is_available=lambda: True,
                   alloc_pinned_memory=PinnedMemoryPointer)  # fmt: skip
    tricks = _module("cupy.lib.stride_tricks", as_strided=as_strided)
    lib = _module("cupy.lib", stride_tricks=tricks)
    linalg = _module("cupy.linalg", **linear)
    own = {
        "__version__": API["version"], "ndarray": ndarray, "ufunc": ufunc, "cuda": cuda, "lib": lib,
        "linalg": linalg, "get_default_memory_pool": lambda: pool, "bool": np.bool_,
    }  # fmt: skip
    types_ = {name: getattr(np, name) for name in _TYPES}
    cupy = _module("cupy", **functions | types_ | own)
    cupyx = _module("cupyx", errstate=linalg_functions.errstate)
    found = (cupy, cuda, runtime, lib, tricks, linalg, cupyx)
    return {m.__name__: m for m in found}
