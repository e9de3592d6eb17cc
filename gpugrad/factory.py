"""What functions that make tensors share: memory formats, dtypes, devices, sizes, ``out=``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpugrad import backends, dtypes
from gpugrad.config import config
from gpugrad.devices import Device, place
from gpugrad.dtypes import DType
from gpugrad.errors import NotSupportedError, SettingError, ShapeError
from gpugrad.inplace import assign, check_writable
from gpugrad.signature import int_tuple
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor, wrap


class MemoryFormat:
    """How the elements of a fresh tensor are laid out."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"gpugrad.{self.name}"

    def __reduce__(self) -> str:
        return self.name


contiguous_format = MemoryFormat("contiguous_format")
preserve_format = MemoryFormat("preserve_format")
channels_last = MemoryFormat("channels_last")
channels_last_3d = MemoryFormat("channels_last_3d")

#: Formats with an order of their own: the dimensions they are for, and the order in memory.
_CHANNELS = {
    "channels_last": (4, (0, 2, 3, 1), (0, 3, 1, 2)),
    "channels_last_3d": (5, (0, 2, 3, 4, 1), (0, 4, 1, 2, 3)),
}


class Layout:
    """PyTorch's word for the kind of storage; only ``strided`` exists here."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"gpugrad.{self.name}"

    def __reduce__(self) -> str:
        return self.name


strided = Layout("strided")


def format_name(op_name: str, memory_format: Any, ndim: int) -> str:
    """Name of a memory format.

    Raises:
        SettingError: if it is none, or is for another number of dimensions.
    """
    name = getattr(memory_format, "name", memory_format) or "preserve_format"
    if name not in ("contiguous_format", "preserve_format", *_CHANNELS):
        raise SettingError(
            f"{op_name}: memory_format must be contiguous_format, preserve_format, channels_last "
            f"or channels_last_3d; got {memory_format!r}"
        )
    if name in _CHANNELS and _CHANNELS[name][0] != ndim:
        raise SettingError(
            f"{op_name}: {name} is for {_CHANNELS[name][0]} dimensions, the tensor has {ndim}"
        )
    return str(name)


def arranged(xp: Any, op_name: str, array: Any, memory_format: Any) -> Any:
    """Copy an array into a memory format."""
    name = format_name(op_name, memory_format, array.ndim)
    if name == "preserve_format" and 0 not in array.strides:
        return xp.copy(array)
    if name in ("preserve_format", "contiguous_format"):  # an expanded array has no order to keep
        return xp.dense(array)
    _, inner, outer = _CHANNELS[name]
    return xp.permute_dims(xp.dense(xp.permute_dims(array, inner)), outer)


def in_format(tensor: Tensor, name: str) -> bool:
    """Whether a tensor lies in memory as a format (by its checked name) asks."""
    array = tensor._array
    if name == "preserve_format" or type(array) is Spec:
        return True
    if name in _CHANNELS:
        return bool(array.transpose(_CHANNELS[name][1]).flags.c_contiguous)
    return bool(array.flags.c_contiguous)


def sizes(op_name: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    """Read sizes given one by one or as one sequence.

    Raises:
        ShapeError: if one is negative; ArgumentError: if they are no ints.
    """
    one = len(size) == 1 and isinstance(size[0], tuple | list)
    shape = int_tuple(op_name, "size", size[0] if one else size)
    if any(s < 0 for s in shape):
        raise ShapeError(f"{op_name}: sizes cannot be negative, got {shape}")
    return shape


def check_layout(op_name: str, layout: Any) -> None:
    """Raise unless the layout is the dense one."""
    if layout is not None and layout is not strided:
        raise NotSupportedError(f"{op_name}: only the strided layout exists, got {layout!r}")


def made(op_name: str, fill: Callable[[Any, Any], Any], shape: tuple[int, ...], dtype: Any = None,
         device: Any = None, requires_grad: bool = False, out: Tensor | None = None,
         layout: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Finish a factory call: ``fill(xp, numpy_dtype)`` makes the array on the right device.

    ``pin_memory`` asks for page-locked memory, as ``Tensor.pin_memory`` gives it.
    """
    check_layout(op_name, layout)
    if out is not None:
        return _into(op_name, fill, shape, out)
    chosen = config.default_dtype if dtype is None else dtypes.as_dtype(dtype)
    t = wrap(array_of(fill, shape, chosen, place(device)))
    t = t.pin_memory() if pin_memory else t
    return t.requires_grad_() if requires_grad else t


def array_of(fill: Callable[[Any, Any], Any], shape: tuple[int, ...], dtype: DType,
             device: Device) -> Any:  # fmt: skip
    """Run a maker on a device's library; a ``Spec`` on ``meta``."""
    if device.type == "meta":
        return Spec(shape, dtype)
    backend = backends.for_device(device)
    with backend.on(device):
        return backend.run(fill, backend.xp, dtype.np)


def _into(op_name: str, fill: Callable[[Any, Any], Any], shape: tuple[int, ...],
          out: Tensor) -> Tensor:  # fmt: skip
    check_writable(op_name, out)
    result = wrap(array_of(fill, shape, out.dtype, out.device))
    if out.numel() == 0 and tuple(out.shape) != shape:
        out._array = result._array
        out.storage_state().bump()
        return out
    return assign(op_name, out, result)
