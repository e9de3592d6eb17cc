"""What the tape keeps, seen and steered from outside."""

from __future__ import annotations

from typing import Any

from gpugrad.devices import CPU
from gpugrad.modes import saved_tensors_hooks
from gpugrad.tape import Node as Node
from gpugrad.tensor import Tensor


class save_on_cpu(saved_tensors_hooks):
    """Keep what the tape saves in host memory, and bring it back when backward needs it.

    Args:
        pin_memory: use page-locked host memory, which a device copies faster; needs a CUDA device.
        device_type: the device type whose tensors are moved; others stay where they are.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        def pack(tensor: Tensor) -> tuple[Any, Tensor]:
            device = tensor.device
            if device.type != device_type:
                return device, tensor.detach()
            host = tensor.detach().to(CPU)
            return device, host.pin_memory() if pin_memory else host

        def unpack(packed: tuple[Any, Tensor]) -> Tensor:
            device, tensor = packed
            return tensor if tensor.device == device else tensor.to(device, non_blocking=pin_memory)

        super().__init__(pack, unpack)


__all__ = ["Node", "save_on_cpu", "saved_tensors_hooks"]
