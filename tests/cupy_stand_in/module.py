"""The modules themselves."""

from __future__ import annotations

import importlib.machinery
import types
from typing import Any

import numpy as np

from cupy_stand_in import kernels
from cupy_stand_in import linalg as linalg_functions
from cupy_stand_in.array import ndarray
from cupy_stand_in.functions import as_strided
from cupy_stand_in.memory import (
    DEVICES,
    TOTAL,
    BaseMemory,
    CUDARuntimeError,
    Device,
    Devices,
    Memory,
    MemoryPointer,
    PinnedMemory,
    fill_async,
    get_allocator,
    set_allocator,
    used,
)
from cupy_stand_in.offered import API
from cupy_stand_in.streams import (
    Event,
    Stream,
    external_stream,
    get_current_stream,
    get_elapsed_time,
)
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
    return {"name": b"stand-in (no GPU)", "major": 9, "minor": 0, "totalGlobalMem": TOTAL,
            "multiProcessorCount": 1}  # fmt: skip


def _product_kinds() -> dict[str, Any]:
    """How products are computed, by dtype; a choice is only noted."""
    names = ("TBD", "DEFAULT", "PEDANTIC", "FP16", "FP32", "FP64", "BF16", "TF32")
    chosen: dict[Any, int] = {}
    return {
        "compute_type_to_str": lambda n: f"COMPUTE_TYPE_{names[n]}" if n < len(names) else "",
        "set_compute_type": chosen.__setitem__, "get_compute_type": lambda d: chosen.get(d, 0),
    }  # fmt: skip


def build(devices: int, functions: dict[str, Any], linear: dict[str, Any]) -> dict[str, Any]:
    """All modules by name."""
    Devices.count = devices
    runtime = _module(
        "cupy.cuda.runtime", getDeviceCount=lambda: devices, CUDARuntimeError=CUDARuntimeError,
        getDeviceProperties=_properties, getDevice=lambda: DEVICES.current,
        memGetInfo=lambda: (TOTAL - used.get(DEVICES.current, 0), TOTAL), memsetAsync=fill_async,
        runtimeGetVersion=lambda: 12090,
    )  # fmt: skip
    function = _module(
        "cupy.cuda.function", Module=kernels.Module, Function=kernels.Function,
        CPointer=kernels.CPointer,
    )  # fmt: skip
    driver = _module(
        "cupy_backends.cuda.api.driver", CUDADriverError=kernels.CUDADriverError,
        funcSetAttribute=kernels.set_attribute,
        CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=kernels.MAX_DYNAMIC_SHARED_SIZE_BYTES,
    )  # fmt: skip
    cuda = _module(
        "cupy.cuda", runtime=runtime, function=function, driver=driver, Device=Device, Event=Event,
        is_available=lambda: True, BaseMemory=BaseMemory, Memory=Memory,
        MemoryPointer=MemoryPointer, Stream=Stream, PinnedMemory=PinnedMemory,
        get_allocator=get_allocator, set_allocator=set_allocator, ExternalStream=external_stream,
        get_current_stream=get_current_stream, get_elapsed_time=get_elapsed_time,
    )  # fmt: skip
    products = _module("cupy._core._routines_linalg", **_product_kinds())
    core = _module("cupy._core", _routines_linalg=products)
    tricks = _module("cupy.lib.stride_tricks", as_strided=as_strided)
    lib = _module("cupy.lib", stride_tricks=tricks)
    linalg = _module("cupy.linalg", **linear)
    own = {
        "__version__": API["version"], "ndarray": ndarray, "ufunc": ufunc, "cuda": cuda, "lib": lib,
        "_core": core,
        "linalg": linalg, "bool": np.bool_,
    }  # fmt: skip
    types_ = {name: getattr(np, name) for name in _TYPES}
    cupy = _module("cupy", **functions | types_ | own)
    cupyx = _module("cupyx", errstate=linalg_functions.errstate)
    found = (cupy, cuda, function, driver, runtime, core, products, lib, tricks, linalg, cupyx)
    return {m.__name__: m for m in found}
