"""Batches in page-locked memory, from which a GPU copies faster and without the host waiting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpugrad.devices import CPU
from gpugrad.tensor import Tensor
from gpugrad.utils.data._utils.collate import _mapping_like, _sequence_like


def pin_memory(data: Any, device: Any = None) -> Any:
    """A batch with every CPU tensor in it page-locked; objects with ``pin_memory()`` are asked.

    Raises:
        DeviceError: if there is no CUDA device.
    """
    if isinstance(data, Tensor):
        return data.pin_memory(device) if data.device is CPU else data
    if isinstance(data, str | bytes):
        return data
    if isinstance(data, Mapping):
        return _mapping_like(data, {key: pin_memory(data[key], device) for key in data})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(pin_memory(d, device) for d in data))
    if isinstance(data, tuple):
        return [pin_memory(d, device) for d in data]
    if isinstance(data, Sequence):
        return _sequence_like(data, [pin_memory(d, device) for d in data])
    pin = getattr(data, "pin_memory", None)
    return data if pin is None else pin()
