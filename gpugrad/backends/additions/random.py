"""Random draws as array functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad.backends import philox


def build(lib: Any) -> dict[str, Any]:
    """``philox_dropout`` for one library."""

    def philox_dropout(x: Any, p: float, seed: int, offset: int) -> Any:
        if p == 1.0:
            return lib.zeros_like(x)
        u = philox.uniform(lib, seed, offset, x.size, lib.float32).reshape(x.shape)
        scale = x.dtype.type(1.0 / (1.0 - p))
        # where, not a product: a dropped inf or nan is 0
        return lib.where(u >= lib.float32(p), x * scale, x.dtype.type(0))

    own = {"philox_dropout": philox_dropout}
    if lib is not np:
        from gpugrad.backends.nvidia import philox as kernels

        own = own | kernels.over(lib, own)
    return own
