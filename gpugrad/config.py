"""The few process-wide settings, in one place.

``default_dtype`` is what float literals and factory functions make; PyTorch has the same switch.
The environment is read once, here and nowhere else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from gpugrad import dtypes
from gpugrad.errors import DTypeError


@dataclass(slots=True)
class PrintOptions:
    """How ``repr`` shows a tensor: the meanings of ``torch.set_printoptions``."""

    precision: int = 4
    threshold: int = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


@dataclass(slots=True)
class Config:
    """Settings that live as long as the process."""

    default_dtype: dtypes.DType = dtypes.float32
    default_device: str = "cpu"
    printing: PrintOptions = field(default_factory=PrintOptions)
    #: Folder for caches on disk (compiled kernels).
    cache_dir: str = os.environ.get(
        "GPUGRAD_CACHE_DIR", os.path.join(os.path.expanduser("~"), ".cache", "gpugrad")
    )


config = Config()


def get_default_dtype() -> dtypes.DType:
    """Return the dtype that float literals get, ``float32`` unless it was changed."""
    return config.default_dtype


def set_default_dtype(dtype: dtypes.DType) -> None:
    """Set the dtype of float literals and of factories without a ``dtype``.

    Raises:
        DTypeError: if ``dtype`` is not a floating dtype.
    """
    chosen = dtypes.as_dtype(dtype)
    if not chosen.is_floating_point:
        raise DTypeError(f"set_default_dtype takes a floating dtype, got {dtype!r}")
    config.default_dtype = chosen
