"""Array libraries behind one face.

A ``Backend`` has a namespace ``xp`` (the array library plus what it lacks, under the names that op
records use) and the few things that are not array functions: moving data, running quietly,
synchronising.  Differences between NumPy and CuPy end on this floor; CuPy is imported when the
first CUDA tensor is asked for and never before.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

from gpugrad.backends import cudnn as cudnn
from gpugrad.backends import mps as mps
from gpugrad.backends.base import Backend, Namespace
from gpugrad.backends.numpy import NUMPY
from gpugrad.config import config
from gpugrad.devices import Device
from gpugrad.errors import ArgumentError, DeviceError, SettingError

if TYPE_CHECKING:
    from gpugrad.backends.cupy import CupyBackend

__all__ = ["ARRAY_TYPES", "NUMPY", "Backend", "Namespace", "cuda", "for_array", "for_device"]

_cuda: CupyBackend | None = None
#: Whether two arrays of one class may be on two devices.
several = False
#: Array classes in use and whose they are; CuPy's joins when it is loaded.
ARRAY_TYPES: dict[type, Backend] = {NUMPY.array_type: NUMPY}


MATMUL_PRECISIONS = ("highest", "high", "medium")


class Matmul:
    """``torch.backends.cuda.matmul``."""

    @property
    def allow_tf32(self) -> bool:
        """Whether float32 products may use TF32: ``set_float32_matmul_precision`` as a switch."""
        return config.float32_matmul_precision != "highest"

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        if not isinstance(allowed, bool):
            raise ArgumentError(f"allow_tf32: must be True or False, got {allowed!r}")
        set_float32_matmul_precision("high" if allowed else "highest")

    @property
    def autotune(self) -> bool:
        """Whether a product met for the first time is timed in several ways: ``GPUGRAD_AUTOTUNE``.

        The fastest is kept, also on disk.  PyTorch's switch for it is its environment's.
        """
        return config.autotune

    @autotune.setter
    def autotune(self, wanted: bool) -> None:
        if not isinstance(wanted, bool):
            raise ArgumentError(f"autotune: must be True or False, got {wanted!r}")
        config.autotune = wanted


class _Cuda:
    """``cuda()`` gives the CUDA backend; ``cuda.matmul`` holds PyTorch's switch for its products.

    PyTorch has its switches at ``torch.backends``, so they are here, too.
    """

    matmul = Matmul()

    def __call__(self) -> CupyBackend:
        """Return the CUDA backend, importing CuPy on the first call.

        Raises:
            DeviceError: if CuPy is not installed or no device answers; it says what mends it.
        """
        global _cuda, several
        if _cuda is None:
            from gpugrad.backends.cupy import load

            _cuda = load()
            several = _cuda.device_count() > 1
            ARRAY_TYPES[_cuda.array_type] = _cuda
        return _cuda

    def is_built(self) -> bool:
        """Whether CuPy is installed, with or without a device."""
        return importlib.util.find_spec("cupy") is not None


cuda = sys.modules["gpugrad.backends.cuda"] = _Cuda()  # type: ignore[assignment]


def cuda_loaded() -> bool:
    """Whether CUDA has been asked for, and answered."""
    return _cuda is not None


def set_float32_matmul_precision(precision: str) -> None:
    """Choose how exactly CUDA devices multiply float32 matrices.

    Args:
        precision: ``"highest"`` multiplies in float32; ``"high"`` and ``"medium"`` allow operands
            to be rounded to TF32 (10 bits of mantissa).  The CPU always multiplies in float32.

    Raises:
        SettingError: for any other word.
    """
    if precision not in MATMUL_PRECISIONS:
        raise SettingError(
            f"set_float32_matmul_precision: precision is {precision!r}; accepted: "
            + ", ".join(map(repr, MATMUL_PRECISIONS))
        )
    config.float32_matmul_precision = precision
    if _cuda is not None:
        _cuda.allow_tf32(precision != "highest")


def get_float32_matmul_precision() -> str:
    """What ``set_float32_matmul_precision`` chose; ``"highest"`` at first."""
    return config.float32_matmul_precision


def for_device(device: Device) -> Backend:
    """Return the backend that keeps arrays of ``device`` (``cpu`` or ``cuda``)."""
    if device.type == "cpu":
        return NUMPY
    if device.type == "cuda":
        return cuda()
    raise DeviceError(f"{device} holds no arrays")


def for_array(array: object) -> Backend:
    """Return the backend that an array belongs to."""
    return ARRAY_TYPES[type(array)]
