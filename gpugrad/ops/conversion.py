"""From one dtype or device to another."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import backends, dtypes
from gpugrad.backends.memory import Lease
from gpugrad.devices import CPU, Device
from gpugrad.dtypes import DType
from gpugrad.errors import ArgumentError, DeviceError
from gpugrad.factory import format_name
from gpugrad.op import function, registry
from gpugrad.ops.copying import move
from gpugrad.ops.shape import clone
from gpugrad.samples import A, Sample
from gpugrad.tensor import Tensor, wrap

# ---- Tensor.to and its shorthands --------------------------------------------------------------


@function(home="Tensor", samples=[Sample(A((2, 3)), dtypes.float64), Sample(A((2, 3)), "cpu")])
def to(input: Tensor, *args: Any, dtype: Any = None, device: Any = None, other: Any = None,
       non_blocking: bool = False, copy: bool = False,
       memory_format: Any = None) -> Tensor:  # fmt: skip
    """The tensor with a dtype and on a device, differentiably; itself if nothing changes.

    Called as ``to(dtype)``, ``to(device, dtype=None)`` or ``to(other)``, each followed by
    ``non_blocking=False, copy=False``.

    Args:
        copy: make a copy even if nothing changes.
        non_blocking: asks for what happens anyway: the host waits only where it reads.
    """
    rest = list(args)
    if rest and isinstance(rest[0], Tensor):
        other = rest.pop(0)
    elif rest and _names_dtype(rest[0]) and dtype is None:
        dtype = rest.pop(0)
    elif rest and not isinstance(rest[0], bool):
        device = rest.pop(0) if device is None else device
        if rest and not isinstance(rest[0], bool) and dtype is None:
            dtype = rest.pop(0)
    if len(rest) > 2 or not all(isinstance(r, bool) for r in rest):
        raise ArgumentError(
            f"to: cannot read the arguments {args}; it is to(dtype), to(device, dtype) or "
            "to(other), then non_blocking, copy"
        )
    copy = rest[1] if len(rest) > 1 else copy
    if other is not None:
        if not isinstance(other, Tensor):
            raise ArgumentError(f"to: other must be a Tensor, got {other!r}")
        if device is not None or dtype is not None:
            raise ArgumentError("to: takes other, or a device and a dtype; not both")
        device, dtype = other.device, other.dtype
    result = input if device is None else move(input, device)
    if dtype is not None and dtypes.as_dtype(dtype) is not result.dtype:
        result = registry["to"].public(result, dtypes.as_dtype(dtype))
    if memory_format is not None:
        name = format_name("to", memory_format, input.ndim)
        if name != "preserve_format":
            result = result.contiguous(memory_format=name)
    return clone(result) if copy and result is input else result


def _names_dtype(value: Any) -> bool:
    if isinstance(value, DType) or value in (float, int, bool):
        return True
    return isinstance(value, type | np.dtype)


def _shorthand(name: str, dtype: DType) -> None:
    @function(home="Tensor", name=name, samples=[Sample(A((2, 3), 0.0, 9.0))])
    def cast(input: Tensor, memory_format: Any = None) -> Tensor:
        """The tensor as another dtype; itself if it has that."""
        return input.to(dtype, memory_format=memory_format)

    cast.fn.__name__ = cast.fn.__qualname__ = name


for _name in ("float", "double", "half", "bfloat16", "long", "int", "short", "bool"):
    _shorthand(_name, dtypes.as_dtype(_name))
_shorthand("byte", dtypes.uint8)
_shorthand("char", dtypes.int8)


@function(home="Tensor", samples=[Sample(A((2, 3)), A((1,)))])
def type_as(input: Tensor, other: Tensor) -> Tensor:
    """The tensor with the dtype and on the device of another."""
    return input.to(other)


@function(home="Tensor", samples=[Sample(A((2, 3)))])
def cpu(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor on the CPU; itself if it is there."""
    return input.to(CPU, memory_format=memory_format)


@function(home="Tensor", samples=())
def cuda(input: Tensor, device: Any = None, non_blocking: bool = False,
         memory_format: Any = None) -> Tensor:  # fmt: skip
    """The tensor on a CUDA device (the current one by default)."""
    target = Device("cuda" if device is None else device)
    if target.type != "cuda":
        raise DeviceError(f"cuda: device must be a CUDA device, got {target}")
    return input.to(target, non_blocking=non_blocking, memory_format=memory_format)


@function(home="Tensor", samples=(), differentiable=False)
def pin_memory(input: Tensor, device: Any = None) -> Tensor:
    """A CPU tensor in page-locked memory, from which a GPU copies faster.

    Raises:
        DeviceError: if the tensor is not on the CPU, or no GPU answers.
    """
    if input.device is not CPU:
        raise DeviceError(f"pin_memory: takes a tensor on cpu, got one on {input.device}")
    pinned = backends.cuda().pin(input._array)
    return wrap(pinned)


@function(home="Tensor", samples=(), differentiable=False)
def is_pinned(input: Tensor, device: Any = None) -> bool:
    """Whether the tensor lies in page-locked memory."""
    base = input._array
    while type(base) is np.ndarray:
        base = base.base
    return isinstance(base, Lease) and base.pinned


@function(home="Tensor", samples=(), differentiable=False)
def record_stream(input: Tensor, stream: Any) -> None:
    """Say that work on ``stream`` uses a CUDA tensor that was made on another stream.

    When the tensor is dropped, its memory is not used again before that work is done.

    Raises:
        DeviceError: for a tensor that is not on a CUDA device.
        ArgumentError: if ``stream`` is no ``gpugrad.cuda.Stream``.
    """
    if input.device.type != "cuda":
        raise DeviceError(f"record_stream: takes a tensor on cuda, got one on {input.device}")
    raw = getattr(stream, "_raw", None)
    if not hasattr(raw, "ptr"):
        raise ArgumentError(
            f"record_stream: stream must be a gpugrad.cuda.Stream, got {type(stream).__name__}"
        )
    backends.cuda().record_stream(input._array, raw)


#: PyTorch's names of tensor classes, one per dtype.
TYPE_NAMES = {
    dtypes.float64: "DoubleTensor", dtypes.float32: "FloatTensor", dtypes.float16: "HalfTensor",
    dtypes.bfloat16: "BFloat16Tensor", dtypes.int64: "LongTensor", dtypes.int32: "IntTensor",
    dtypes.int16: "ShortTensor", dtypes.int8: "CharTensor", dtypes.uint8: "ByteTensor",
    dtypes.bool_: "BoolTensor",
}  # fmt: skip
_BY_TYPE_NAME = {v: k for k, v in TYPE_NAMES.items()}


@function(home="Tensor", name="type", samples=())
def type_(input: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """PyTorch's name of the tensor's type (``"torch.FloatTensor"``), or the tensor as a dtype.

    ``dtype`` may be a dtype, such a name, or a class like ``gpugrad.FloatTensor``.
    """
    if dtype is None:
        place = "cuda." if input.is_cuda else ""
        return f"torch.{place}{TYPE_NAMES[input.dtype]}"
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", "")
    parts = name.split(".")
    if parts[-1] in _BY_TYPE_NAME:
        result = input.to(_BY_TYPE_NAME[parts[-1]])
        if isinstance(dtype, str):
            result = move(result, "cuda" if "cuda" in parts else "cpu")
        return result
    return input.to(dtypes.as_dtype(dtype))
