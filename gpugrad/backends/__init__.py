"""Array libraries behind one face.

A ``Backend`` has a namespace ``xp`` (the array library plus what it lacks, under the names that op
records use) and the few things that are not array functions: moving data, running quietly,
synchronising.  Differences between NumPy and CuPy end on this floor; CuPy is imported when the
first CUDA tensor is asked for and never before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpugrad.backends.base import Backend, Namespace
from gpugrad.backends.numpy import NUMPY
from gpugrad.devices import Device
from gpugrad.errors import DeviceError

if TYPE_CHECKING:
    from gpugrad.backends.cupy import CupyBackend

__all__ = ["ARRAY_TYPES", "NUMPY", "Backend", "Namespace", "cuda", "for_array", "for_device"]

_cuda: CupyBackend | None = None
#: Whether two arrays of one class may be on two devices.
several = False
#: Array classes in use and whose they are; CuPy's joins when it is loaded.
ARRAY_TYPES: dict[type, Backend] = {NUMPY.array_type: NUMPY}


def cuda() -> CupyBackend:
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
