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


def _threads_at_start() -> int:
    """``OMP_NUM_THREADS`` if it says so (as "4", or "4,2" by level), else the cores given to us."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    cores = getattr(os, "sched_getaffinity", None)
    return len(cores(0)) if cores else os.cpu_count() or 1


def _sync_debug_at_start() -> bool:
    """``GPUGRAD_SYNC_DEBUG=1``, or CUDA's own ``CUDA_LAUNCH_BLOCKING=1``."""
    names = ("GPUGRAD_SYNC_DEBUG", "CUDA_LAUNCH_BLOCKING")
    return any(os.environ.get(name, "0").strip() not in ("", "0") for name in names)


@dataclass(slots=True)
class Config:
    """Settings that live as long as the process."""

    default_dtype: dtypes.DType = dtypes.float32
    #: How exactly CUDA multiplies float32 matrices: see ``backends.set_float32_matmul_precision``.
    float32_matmul_precision: str = "highest"
    #: Whether the program demanded results that are the same bits every time.
    deterministic: bool = False
    #: Threads that one op on the CPU may use: see ``gpugrad.threads``.
    num_threads: int = field(default_factory=_threads_at_start)
    #: Whether to wait after each op and kernel on CUDA, so that a fault names the one at fault.
    sync_debug: bool = field(default_factory=_sync_debug_at_start)
    #: Whether libraries' ways to compute a thing are timed when it is first met, and the fastest is
    #: taken and kept on disk.  Results then depend on which was the fastest, in their last digits.
    autotune: bool = os.environ.get("GPUGRAD_AUTOTUNE", "0").strip() not in ("", "0")
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
    if not chosen.is_floating_point or chosen in dtypes.EIGHTS:
        raise DTypeError(
            f"set_default_dtype takes a floating dtype that is computed in, got {dtype!r}"
        )
    config.default_dtype = chosen
