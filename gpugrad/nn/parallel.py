"""``DataParallel`` for programs that wrap their model in it: with no or one device it runs it.

``DistributedDataParallel`` can be imported and asked for, not made: there are no process groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad import cuda
from gpugrad.cuda.devices import ordinal
from gpugrad.devices import Device
from gpugrad.errors import DeviceError, NotSupportedError
from gpugrad.nn.module import Module
from gpugrad.tensor import Tensor


class DataParallel(Module):
    """A module that would split its batches over devices; keys of its state begin with ``module.``.

    Without CUDA it calls the module.  With one device it moves the inputs there and calls the
    module, whose parameters must be there.

    Args:
        module: what to run.
        device_ids: CUDA devices; all by default.
        output_device: where results are; the first device by default.
        dim: the dimension of the batch.

    Raises:
        NotSupportedError: for several devices.
        DeviceError: in a call, if parameters are on another device.
    """

    def __init__(self, module: Module, device_ids: Sequence[Any] | None = None,
                 output_device: Any = None, dim: int = 0) -> None:  # fmt: skip
        super().__init__()
        self.module, self.dim = module, dim
        chosen = range(cuda.device_count()) if device_ids is None else device_ids
        self.device_ids = [ordinal(d) for d in chosen] if cuda.is_available() else []
        if len(self.device_ids) > 1:
            raise NotSupportedError(
                f"DataParallel: batches are not split over the devices {self.device_ids}; say "
                f"device_ids=[{self.device_ids[0]}] to use one"
            )
        self.output_device: int | None = None
        if self.device_ids:
            own = self.device_ids[0]
            self.output_device = own if output_device is None else ordinal(output_device)

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The module's result for the inputs."""
        if not self.device_ids:
            return self.module(*inputs, **kwargs)
        device = Device("cuda", self.device_ids[0])
        for t in (*self.module.parameters(), *self.module.buffers()):
            if t.device != device:
                raise DeviceError(
                    f"DataParallel: the module must have its parameters and buffers on {device}, "
                    f"found one on {t.device}"
                )
        result = self.module(*_moved(inputs, device), **_moved(kwargs, device))
        return _moved(result, Device("cuda", self.output_device))


def data_parallel(module: Module, inputs: Any, device_ids: Sequence[Any] | None = None,
                  output_device: Any = None, dim: int = 0,
                  module_kwargs: dict[str, Any] | None = None) -> Any:  # fmt: skip
    """``DataParallel(module, ...)`` called with the inputs, one or a tuple of them."""
    given = inputs if isinstance(inputs, tuple) else () if inputs is None else (inputs,)
    wrapped = DataParallel(module, device_ids, output_device, dim)
    return wrapped(*given, **(module_kwargs or {}))


class DistributedDataParallel(Module):
    """A module that would average its gradients over processes: a name for ``isinstance``.

    Raises:
        NotSupportedError: when made.
    """

    def __init__(self, module: Module, *args: Any, **kwargs: Any) -> None:
        raise NotSupportedError(
            "DistributedDataParallel: gpugrad trains in one process and has no process groups; "
            "use the module itself, or nn.DataParallel"
        )


def _moved(value: Any, device: Device) -> Any:
    """Tensors in nested containers, on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_moved(v, device) for v in value))
    if isinstance(value, tuple | list):
        return type(value)(_moved(v, device) for v in value)
    if isinstance(value, dict):
        return type(value)((k, _moved(v, device)) for k, v in value.items())
    return value


__all__ = ["DataParallel", "DistributedDataParallel", "data_parallel"]
