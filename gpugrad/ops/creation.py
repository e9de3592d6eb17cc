"""Making tensors: of given data, and of one value."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.config import config
from gpugrad.devices import default, place
from gpugrad.errors import ArgumentError
from gpugrad.factory import arranged, check_layout, format_name, made, sizes
from gpugrad.op import Array, elementwise, function
from gpugrad.samples import A, Sample, Undefined
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor, check_fits, from_data, wrap

# ---- as a rule or a kernel sees them -----------------------------------------------------------

_LIKE = [Sample(A((2, 3))), Sample(A(())), Sample(A((0, 3)))]


@elementwise(c="({T})0", xp_name="zeros_like", promotion=None, half="native", method=False,
             differentiable=False, torch="zeros_like", samples=_LIKE,
             result=lambda input: Spec(input.shape, input.dtype))  # fmt: skip
def zeros_of(xp, input: Array) -> Array:
    """Zeros in the shape, dtype and place of the input; ``zeros_like`` for rules and kernels."""
    return xp.zeros_like(input)


@elementwise(c="({T})1", xp_name="ones_like", promotion=None, half="native", method=False,
             differentiable=False, torch="ones_like", samples=_LIKE,
             result=lambda input: Spec(input.shape, input.dtype))  # fmt: skip
def ones_of(xp, input: Array) -> Array:
    """Ones in the shape, dtype and place of the input; ``ones_like`` for rules and kernels."""
    return xp.ones_like(input)


# ---- data --------------------------------------------------------------------------------------


@function(method=False, differentiable=False, samples=[
    Sample([[1, 2], [3, 4]]), Sample(2.5), Sample([True, False]), Sample([True, 2, 2.5]),
    Sample([], dtype=dtypes.float16), Sample([1.5], dtype=dtypes.int32),
])  # fmt: skip
def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
           pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A tensor with a copy of numbers, nested sequences, an array or a tensor.

    Args:
        dtype: default: bool, int64 or the default float for Python numbers; else the data's own.

    Raises:
        SettingError: if rows differ in length; ArgumentError: if it is no data at all.
    """
    if device is None and default.device is None and isinstance(data, Tensor):
        device = data.device
    t = wrap(from_data(data, None if dtype is None else dtypes.as_dtype(dtype), place(device)))
    if pin_memory:
        t = t.pin_memory()
    return t.requires_grad_() if requires_grad else t


@function(method=False, differentiable=False, samples=[
    Sample(3), Sample(2.5, dtype=dtypes.float64),
])  # fmt: skip
def scalar_tensor(s: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
                  requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A 0-d tensor of a number, of the default float dtype where none is given."""
    check_layout("scalar_tensor", layout)
    if not isinstance(s, int | float | complex | np.generic | Tensor):
        raise ArgumentError(f"scalar_tensor: s must be a number, got {s!r}")
    return tensor(s, dtype=dtype or config.default_dtype, device=device,
                  requires_grad=requires_grad)  # fmt: skip


# ---- one value everywhere ----------------------------------------------------------------------


@function(method=False, differentiable=False, samples=[
    Sample(2, 3), Sample((2, 0)), Sample(()), Sample([2], dtype=dtypes.int8),
])  # fmt: skip
def zeros(*given: Any, size: Any = None, out: Tensor | None = None, dtype: Any = None,
          layout: Any = None, device: Any = None, pin_memory: bool = False,
          requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Zeros; sizes one by one or as one sequence."""
    shape = sizes("zeros", given if size is None else (size,))
    return made("zeros", lambda xp, d: xp.zeros(shape, dtype=d), shape, dtype, device,
                requires_grad, out, layout, pin_memory)  # fmt: skip


@function(method=False, differentiable=False, samples=[
    Sample(2, 3), Sample((2, 0)), Sample(()), Sample([2], dtype=dtypes.bool_),
])  # fmt: skip
def ones(*given: Any, size: Any = None, out: Tensor | None = None, dtype: Any = None,
         layout: Any = None, device: Any = None, pin_memory: bool = False,
         requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Ones; sizes one by one or as one sequence."""
    shape = sizes("ones", given if size is None else (size,))
    return made("ones", lambda xp, d: xp.ones(shape, dtype=d), shape, dtype, device,
                requires_grad, out, layout, pin_memory)  # fmt: skip


@function(method=False, differentiable=False, samples=[
    Undefined(2, 3), Undefined((2, 0), dtype=dtypes.int16),
])  # fmt: skip
def empty(*given: Any, size: Any = None, out: Tensor | None = None, dtype: Any = None,
          layout: Any = None,
          device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
          memory_format: Any = None) -> Tensor:  # fmt: skip
    """Memory that is not set; sizes one by one or as one sequence."""
    shape = sizes("empty", given if size is None else (size,))

    def fill(xp: Any, d: Any) -> Any:
        x = xp.empty(shape, dtype=d)
        return x if memory_format is None else arranged(xp, "empty", x, memory_format)

    return made("empty", fill, shape, dtype, device, requires_grad, out, layout, pin_memory)


@function(method=False, differentiable=False, samples=[
    Sample((2, 3), 1.5), Sample((2,), 3), Sample((), True), Sample((2,), 2.5, dtype=dtypes.int32),
])  # fmt: skip
def full(size: Any, fill_value: Any, *, out: Tensor | None = None, dtype: Any = None,
         layout: Any = None, device: Any = None, pin_memory: bool = False,
         requires_grad: bool = False) -> Tensor:  # fmt: skip
    """One number everywhere; its kind (bool, int, float) is the dtype where none is given."""
    shape = sizes("full", (size,))
    value = number("full", fill_value)
    chosen = dtypes.of_scalar(value) if dtype is None else dtypes.as_dtype(dtype)
    check_fits("full", np.asarray(value), chosen)
    return made("full", _constant(shape, value), shape, chosen, device, requires_grad, out, layout,
                pin_memory)  # fmt: skip


def number(name: str, value: Any) -> Any:
    """A Python number of a number or a 0-d tensor."""
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, int | float):
        raise ArgumentError(f"{name}: fill_value must be a number, got {type(value).__name__}")
    return value


def _constant(shape: tuple[int, ...], value: Any) -> Any:
    # Through an array of the value's own kind: integers wrap and floats are cut as in a cast.
    return lambda xp, d: xp.full(shape, xp.asarray(value).astype(d), dtype=d)


def _given(input: Any) -> Any:
    if not isinstance(input, Tensor):
        raise ArgumentError(f"a tensor is needed to make one like it, got {type(input).__name__}")
    return input


def _like(name: str, input: Tensor, fill: Any, dtype: Any, layout: Any, device: Any,
          requires_grad: bool, memory_format: Any, pin_memory: bool = False) -> Tensor:  # fmt: skip
    shape = tuple(_given(input).shape)
    own_place = input.device if device is None else device
    wanted = input.dtype if dtype is None else dtype
    kept = format_name(name, memory_format, len(shape)) == "preserve_format"

    def laid_out(xp: Any, d: Any) -> Any:
        source = input._array
        if kept and type(source) is xp.ndarray:
            x = xp.empty_like(source, dtype=d)  # the input's order of strides
        else:
            x = arranged(xp, name, xp.empty(shape, dtype=d), memory_format)
        if fill is not None:
            x[...] = fill(xp, d)
        return x

    return made(name, laid_out, shape, wanted, own_place, requires_grad, None, layout, pin_memory)


@function(method=False, samples=_LIKE, differentiable=False)
def zeros_like(input: Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None,
               pin_memory: bool = False, requires_grad: bool = False,
               memory_format: Any = None) -> Tensor:  # fmt: skip
    """Zeros in the shape of the input, with its dtype and device where none are given."""
    return _like("zeros_like", input, _constant((), 0), dtype, layout, device, requires_grad,
                 memory_format, pin_memory)  # fmt: skip


@function(method=False, samples=_LIKE, differentiable=False)
def ones_like(input: Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None,
              pin_memory: bool = False, requires_grad: bool = False,
              memory_format: Any = None) -> Tensor:  # fmt: skip
    """Ones in the shape of the input, with its dtype and device where none are given."""
    return _like("ones_like", input, _constant((), 1), dtype, layout, device, requires_grad,
                 memory_format, pin_memory)  # fmt: skip


@function(method=False, differentiable=False, samples=[
    Undefined(A((2, 3))),
])  # fmt: skip
def empty_like(input: Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None,
               pin_memory: bool = False, requires_grad: bool = False,
               memory_format: Any = None) -> Tensor:  # fmt: skip
    """Memory that is not set, in the shape of the input."""
    return _like("empty_like", input, None, dtype, layout, device, requires_grad, memory_format,
                 pin_memory)  # fmt: skip


@function(method=False, samples=[Sample(A((2, 3)), 1.5), Sample(A(()), 2)], differentiable=False)
def full_like(input: Tensor, fill_value: Any, *, dtype: Any = None, layout: Any = None,
              device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
              memory_format: Any = None) -> Tensor:  # fmt: skip
    """One number everywhere, in the shape of the input and with its dtype."""
    value = number("full_like", fill_value)
    check_fits("full_like", np.asarray(value), dtypes.as_dtype(dtype or _given(input).dtype))
    return _like("full_like", input, _constant((), value), dtype, layout, device, requires_grad,
                 memory_format, pin_memory)  # fmt: skip
