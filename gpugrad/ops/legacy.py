"""PyTorch's older ways to make a tensor: ``x.new_zeros(...)`` and ``FloatTensor(...)``."""

from __future__ import annotations

from typing import Any

from gpugrad.devices import Device
from gpugrad.dtypes import DType
from gpugrad.factory import check_layout
from gpugrad.op import function
from gpugrad.ops.conversion import TYPE_NAMES
from gpugrad.ops.creation import empty, full, ones, tensor, zeros
from gpugrad.publish import homes
from gpugrad.samples import A, Sample, Undefined
from gpugrad.tensor import Tensor

# ---- new tensors of the kind of another --------------------------------------------------------


def _kind(input: Tensor, dtype: Any, device: Any) -> dict[str, Any]:
    return {
        "dtype": input.dtype if dtype is None else dtype,
        "device": input.device if device is None else device,
    }


@function(home="Tensor", samples=[Sample(A((2,)), 2, 3), Sample(A((2,)), (3,))],
          differentiable=False)  # fmt: skip
def new_zeros(input: Tensor, *size: Any, dtype: Any = None, device: Any = None,
              requires_grad: bool = False, layout: Any = None,
              pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Zeros with the tensor's dtype and device."""
    return zeros(*size, **_kind(input, dtype, device), requires_grad=requires_grad, layout=layout,
                 pin_memory=pin_memory)  # fmt: skip


@function(home="Tensor", samples=[Sample(A((2,)), 2, 3), Sample(A((2,)), (3,))],
          differentiable=False)  # fmt: skip
def new_ones(input: Tensor, *size: Any, dtype: Any = None, device: Any = None,
             requires_grad: bool = False, layout: Any = None,
             pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Ones with the tensor's dtype and device."""
    return ones(*size, **_kind(input, dtype, device), requires_grad=requires_grad, layout=layout,
                pin_memory=pin_memory)  # fmt: skip


@function(home="Tensor", samples=[Undefined(A((2,)), 2, 3)], differentiable=False)
def new_empty(input: Tensor, *size: Any, dtype: Any = None, device: Any = None,
              requires_grad: bool = False, layout: Any = None,
              pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Memory that is not set, with the tensor's dtype and device."""
    return empty(*size, **_kind(input, dtype, device), requires_grad=requires_grad, layout=layout,
                 pin_memory=pin_memory)  # fmt: skip


@function(home="Tensor", samples=[Sample(A((2,)), (2, 3), 1.5)], differentiable=False)
def new_full(input: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None,
             requires_grad: bool = False, layout: Any = None,
             pin_memory: bool = False) -> Tensor:  # fmt: skip
    """One number everywhere, with the tensor's dtype and device."""
    return full(size, fill_value, **_kind(input, dtype, device), requires_grad=requires_grad,
                layout=layout, pin_memory=pin_memory)  # fmt: skip


@function(home="Tensor", samples=[Sample(A((2,)), [[1, 2], [3, 4]])], differentiable=False)
def new_tensor(input: Tensor, data: Any, *, dtype: Any = None, device: Any = None,
               requires_grad: bool = False, layout: Any = None,
               pin_memory: bool = False) -> Tensor:  # fmt: skip
    """``tensor(data)`` with the tensor's dtype and device."""
    check_layout("new_tensor", layout)
    return tensor(data, **_kind(input, dtype, device), requires_grad=requires_grad,
                  pin_memory=pin_memory)  # fmt: skip


@function(home="Tensor", samples=[Sample(A((2,)), [1, 2])], differentiable=False)
def new(input: Tensor, *args: Any) -> Tensor:
    """PyTorch's legacy constructor with the tensor's dtype and device: sizes, or data."""
    return _legacy(input.dtype, input.device, args)


# ---- FloatTensor and its like ------------------------------------------------------------------


def _legacy(dtype: DType, device: Device, args: tuple[Any, ...]) -> Tensor:
    if not args:
        return empty(0, dtype=dtype, device=device)
    if len(args) == 1 and not isinstance(args[0], int):
        data = args[0]
        if type(data).__name__ == "Size":
            return empty(data, dtype=dtype, device=device)
        return tensor(data, dtype=dtype, device=device)
    return empty(*args, dtype=dtype, device=device)


class _TensorType(type):
    """A class that makes tensors of one dtype and recognises them."""

    dtype: DType
    place: str

    def __call__(cls, *args: Any) -> Tensor:
        return _legacy(cls.dtype, Device(cls.place), args)

    def __instancecheck__(cls, value: Any) -> bool:
        return (
            isinstance(value, Tensor) and value.dtype is cls.dtype
            and value.device.type == cls.place
        )  # fmt: skip


for _dtype, _name in TYPE_NAMES.items():
    for _place, _home in (("cpu", ""), ("cuda", "cuda")):
        _doc = f"Make a {_dtype.name} tensor on {_place}: of sizes (unset memory), or of data."
        homes.setdefault(_home, {})[_name] = _TensorType(
            _name, (), {"dtype": _dtype, "place": _place, "__doc__": _doc}
        )
