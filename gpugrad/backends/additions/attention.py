"""Attention as one operation of a library, for arrays that it takes.

Either function gives None where no library does it: ``ops.attention`` then composes it of products.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def build(lib: Any) -> dict[str, Any]:
    """Attention of arrays of ``lib``."""
    if lib is not np:
        from gpugrad.backends.nvidia import cudnn_attention

        return cudnn_attention.over(lib)

    def attended(query: Any, key: Any, value: Any, mask: Any, scale: float, causal: bool) -> Any:
        """``softmax(scale * Q K^T + mask) V``, and the bits of each row's ``lse`` as int32."""
        return None

    def attended_grad(g: Any, query: Any, key: Any, value: Any, mask: Any, out: Any, stats: Any,
                      scale: float, causal: bool) -> Any:  # fmt: skip
        """Gradients in query, key and value from what ``attended`` gave."""
        return None

    return {"attended": attended, "attended_grad": attended_grad}
