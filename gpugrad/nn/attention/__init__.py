"""``torch.nn.attention``: switches among PyTorch's attention kernels, accepted for its programs.

gpugrad takes cuDNN's kernel for what it can do (``backends.cudnn.enabled``) and products for the
rest, so the choice has no effect.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gpugrad.errors import ArgumentError
from gpugrad.nn.attention import flex_attention as flex_attention


class SDPBackend(enum.IntEnum):
    """PyTorch's names of its kernels for ``scaled_dot_product_attention``."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextmanager
def sdpa_kernel(backends: SDPBackend | Sequence[SDPBackend],
                set_priority: bool = False) -> Iterator[None]:  # fmt: skip
    """Accept a choice of kernels for the block; it has no effect.

    Raises:
        ArgumentError: if ``backends`` is not a ``SDPBackend`` or a list of them.
    """
    chosen: Any = [backends] if isinstance(backends, SDPBackend) else backends
    if not isinstance(chosen, Sequence) or not all(isinstance(b, SDPBackend) for b in chosen):
        raise ArgumentError(
            f"sdpa_kernel: backends must be a SDPBackend or a list of them, got {backends!r}"
        )
    yield


__all__ = ["SDPBackend", "flex_attention", "sdpa_kernel"]
