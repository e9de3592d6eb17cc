"""Whether two tensors agree as a whole: questions whose answer is a Python bool."""

from __future__ import annotations

from gpugrad.errors import DeviceError, DTypeError
from gpugrad.op import function
from gpugrad.ops.comparison import eq, isclose
from gpugrad.tensor import Tensor


def _one_device(name: str, input: Tensor, other: Tensor) -> None:
    if input.device != other.device:
        raise DeviceError(
            f"{name}: operands are on {input.device} and {other.device}; move one with .to(...)"
        )


@function(samples=(), differentiable=False)
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements; NaN equals nothing.

    Raises:
        DeviceError: if they are on different devices.
    """
    _one_device("equal", input, other)
    return input.shape == other.shape and bool(eq(input, other).all())


@function(samples=(), differentiable=False)
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08,
             equal_nan: bool = False) -> bool:  # fmt: skip
    """Whether ``|input - other| <= atol + rtol * |other|`` holds for all elements, broadcast.

    Raises:
        DTypeError: if the dtypes differ; DeviceError: if the devices do.
    """
    _one_device("allclose", input, other)
    if input.dtype is not other.dtype:
        raise DTypeError(
            f"allclose: operands are {input.dtype.name} and {other.dtype.name}; "
            "they must have one dtype"
        )
    return bool(isclose(input, other, rtol=rtol, atol=atol, equal_nan=equal_nan).all())
