"""Casts."""

from __future__ import annotations

from typing import Any

from gpugrad.dtypes import DType


def build(lib: Any) -> dict[str, Any]:
    """``astype`` that takes a gpugrad dtype; an array of that dtype comes back as it is."""

    def astype(x: Any, dtype: Any) -> Any:
        np_dtype = dtype.np if isinstance(dtype, DType) else dtype
        return x if x.dtype == np_dtype else x.astype(np_dtype)

    return {"astype": astype}
