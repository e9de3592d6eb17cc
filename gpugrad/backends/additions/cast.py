"""Casts."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad.dtypes import EIGHTS, DType, float8_e4m3fn
from gpugrad.errors import DTypeError

_LARGEST = 448.0  # of float8_e4m3fn
_HOST_ONLY = [d.np for d in EIGHTS]


def check_there(dtype: Any) -> None:
    """Refuse what CuPy has no arrays of.

    Raises:
        DTypeError: for an 8-bit float.
    """
    if dtype in _HOST_ONLY:
        raise DTypeError(f"{dtype} is not there on CUDA devices; cast with .to(dtype) first")


def build(lib: Any) -> dict[str, Any]:
    """``astype`` that takes a gpugrad dtype; an array of that dtype comes back as it is."""

    def astype(x: Any, dtype: Any) -> Any:
        np_dtype = dtype.np if isinstance(dtype, DType) else dtype
        if x.dtype == np_dtype:
            return x
        if lib is not np:
            check_there(np_dtype)
        if np_dtype == float8_e4m3fn.np and x.dtype != np.bool_:
            # It has no infinity: what is too large becomes the largest number, as in PyTorch.
            wide = x.astype(np.float32) if x.dtype.kind == "V" else x
            x = lib.asarray(lib.clip(wide, -_LARGEST, _LARGEST))
        return x.astype(np_dtype)

    return {"astype": astype}
