"""Making tensors: of given data, of one value, and of even steps."""

from __future__ import annotations

import math
from typing import Any

from gpugrad import dtypes
from gpugrad.config import config
from gpugrad.dtypes import DType
from gpugrad.errors import ArgumentError, DTypeError, SettingError, ShapeError
from gpugrad.factory import arranged, check_layout, made, place, sizes
from gpugrad.op import Array, elementwise, function
from gpugrad.samples import A, Sample, Undefined
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor, from_data, wrap

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
    Sample([[1, 2], [3, 4]]), Sample(2.5), Sample([True, False]), Sample([], dtype=dtypes.float16), Sample([1.5], dtype=dtypes.int32), Sample([True, 2, 2.5]),
])  # fmt: skip
def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
           pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A tensor with a copy of numbers, nested sequences, an array or a tensor.

    Args:
        dtype: default: bool, int64 or the default float for Python numbers; else the data's own.

    Raises:
        SettingError: if rows differ in length; ArgumentError: if it is no data at all.
    """
    if device is None and isinstance(data, Tensor):
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
    return tensor(s, dtype=dtype or config.default_dtype, device=device,
                  requires_grad=requires_grad)  # fmt: skip


# ---- one value everywhere ----------------------------------------------------------------------


@function(method=False, differentiable=False, samples=[
    Sample(2, 3), Sample((2, 0)), Sample(()), Sample([2], dtype=dtypes.int8),
])  # fmt: skip
def zeros(*size: Any, out: Tensor | None = None, dtype: Any = None, layout: Any = None,
          device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Zeros; sizes one by one or as one sequence."""
    shape = sizes("zeros", size)
    return made("zeros", lambda xp, d: xp.zeros(shape, dtype=d), shape, dtype, device,
                requires_grad, out, layout, pin_memory)  # fmt: skip


@function(method=False, differentiable=False, samples=[
    Sample(2, 3), Sample((2, 0)), Sample(()), Sample([2], dtype=dtypes.bool_),
])  # fmt: skip
def ones(*size: Any, out: Tensor | None = None, dtype: Any = None, layout: Any = None,
         device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Ones; sizes one by one or as one sequence."""
    shape = sizes("ones", size)
    return made("ones", lambda xp, d: xp.ones(shape, dtype=d), shape, dtype, device,
                requires_grad, out, layout, pin_memory)  # fmt: skip


@function(method=False, differentiable=False, samples=[
    Undefined(2, 3), Undefined((2, 0), dtype=dtypes.int16),
])  # fmt: skip
def empty(*size: Any, out: Tensor | None = None, dtype: Any = None, layout: Any = None,
          device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
          memory_format: Any = None) -> Tensor:  # fmt: skip
    """Memory that is not set; sizes one by one or as one sequence."""
    shape = sizes("empty", size)

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
    value = _number("full", fill_value)
    chosen = dtypes.of_scalar(value) if dtype is None else dtype
    return made("full", _constant(shape, value), shape, chosen, device, requires_grad, out, layout,
                pin_memory)  # fmt: skip


def _number(name: str, value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, int | float):
        raise ArgumentError(f"{name}: fill_value must be a number, got {type(value).__name__}")
    return value


def _constant(shape: tuple[int, ...], value: Any) -> Any:
    # Through an array of the value's own kind: integers wrap and floats are cut as in a cast.
    return lambda xp, d: xp.full(shape, xp.asarray(value).astype(d), dtype=d)


def _like(name: str, input: Tensor, fill: Any, dtype: Any, layout: Any, device: Any,
          requires_grad: bool, memory_format: Any, pin_memory: bool = False) -> Tensor:  # fmt: skip
    shape = tuple(input.shape)
    own_place = input.device if device is None else device
    wanted = input.dtype if dtype is None else dtype

    def laid_out(xp: Any, d: Any) -> Any:
        source = input._array
        if memory_format is None and type(source) is xp.ndarray:
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
    value = _number("full_like", fill_value)
    return _like("full_like", input, _constant((), value), dtype, layout, device, requires_grad,
                 memory_format, pin_memory)  # fmt: skip


# ---- even steps --------------------------------------------------------------------------------


@function(method=False, differentiable=False, samples=[
    Sample(5), Sample(1, 7, 2), Sample(0.0, 1.0, 0.3), Sample(5, 0, -2), Sample(3, 3), Sample(1, 2.5, 0.25, dtype=dtypes.float64), Sample(2, 8.5, 1.5, dtype=dtypes.int64), Sample(0.5, 3),
])  # fmt: skip
def arange(start: Any, end: Any = None, step: Any = 1, *, out: Tensor | None = None,
           dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
           requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Numbers from ``start`` (0) up to, without, ``end``; int64 if all three are ints.

    Element ``i`` is ``start + i * step`` in float64 or int64, then cast.
    """
    if end is None:
        start, end = 0, start
    start, end, step = (_number("arange", x) for x in (start, end, step))
    whole = all(isinstance(x, int) for x in (start, end, step))
    chosen: DType = (
        dtypes.as_dtype(dtype) if dtype is not None
        else dtypes.int64 if whole else config.default_dtype
    )  # fmt: skip
    if step == 0 or (end - start) * step < 0:
        raise SettingError(f"arange: a step of {step} does not lead from {start} to {end}")
    if not all(math.isfinite(x) for x in (start, end, step)):
        raise SettingError(f"arange: bounds must be finite, got {start}, {end} and step {step}")
    if chosen.category == dtypes.INTEGER and not whole:
        start, end, step = int(start), int(end), int(step)
    count = -((start - end) // step) if isinstance(step, int) and whole else math.ceil(
        (end - start) / step)  # fmt: skip

    def fill(xp: Any, d: Any) -> Any:
        return (start + xp.arange(count) * step).astype(d)

    return made("arange", fill, (count,), chosen, device, requires_grad, out, layout, pin_memory)


@function(method=False, differentiable=False, samples=[
    Sample(0, 4), Sample(1, 2.5, 0.5),
])  # fmt: skip
def range_(start: Any = 0, end: Any = None, step: Any = 1, **options: Any) -> Tensor:
    """``arange`` that reaches ``end``; of the default float dtype (deprecated in PyTorch)."""
    options.setdefault("dtype", config.default_dtype)
    count = math.floor((end - start) / step) + 1
    return arange(count, dtype=dtypes.float64).mul(step).add(start).to(options["dtype"])


def _even(xp: Any, start: Any, end: Any, steps: int, kind: Any) -> Any:
    """``steps`` numbers of the computing dtype from start to end, exact at both ends."""
    if steps <= 1:
        return xp.full((steps,), start, dtype=kind)
    i = xp.arange(steps)
    first, last = xp.asarray(start, dtype=kind), xp.asarray(end, dtype=kind)
    step = (last - first) / xp.asarray(steps - 1, dtype=kind)
    up = first + step * i.astype(kind)
    down = last - step * (steps - 1 - i).astype(kind)
    return xp.where(i < steps // 2, up, down)


def _line(name: str, start: Any, end: Any, steps: int, dtype: Any, shape_as: Any, device: Any,
          requires_grad: bool, out: Any, layout: Any, pin_memory: bool) -> Tensor:  # fmt: skip
    if not isinstance(steps, int) or steps < 0:
        raise SettingError(f"{name}: steps must be an int >= 0, got {steps!r}")
    first, last = _number(name, start), _number(name, end)

    def fill(xp: Any, d: Any) -> Any:
        kind = d if d in (dtypes.float32.np, dtypes.float64.np) else dtypes.float64.np
        if d in [h.np for h in dtypes.HALVES]:
            kind = dtypes.float32.np
        return shape_as(xp, _even(xp, first, last, steps, kind)).astype(d)

    return made(name, fill, (steps,), dtype, device, requires_grad, out, layout, pin_memory)


@function(method=False, differentiable=False, samples=[
    Sample(0, 1, 5), Sample(-2.5, 7.25, 100), Sample(3, 3, 1), Sample(0, 1, 0), Sample(0, 10, 7, dtype=dtypes.int64), Sample(5, -5, 11, dtype=dtypes.float64), Sample(0, 1, 9, dtype=dtypes.float16),
])  # fmt: skip
def linspace(start: Any, end: Any, steps: int, *, out: Tensor | None = None, dtype: Any = None,
             layout: Any = None, device: Any = None, pin_memory: bool = False,
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """``steps`` evenly spaced numbers from ``start`` to ``end``, both included."""
    return _line("linspace", start, end, steps, dtype, lambda xp, x: x, device, requires_grad, out,
                 layout, pin_memory)  # fmt: skip


@function(method=False, differentiable=False, samples=[
    Sample(0, 2, 5), Sample(-1, 1, 4, 2.0), Sample(0, 3, 4, dtype=dtypes.int64), Sample(-10, 10, 5, dtype=dtypes.float64),
])  # fmt: skip
def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, out: Tensor | None = None,
             dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """``base`` to the power of ``linspace(start, end, steps)``."""

    def power(xp: Any, x: Any) -> Any:
        return xp.asarray(base, dtype=x.dtype) ** x

    return _line("logspace", start, end, steps, dtype, power, device, requires_grad, out, layout,
                 pin_memory)  # fmt: skip


# ---- matrices ----------------------------------------------------------------------------------


@function(method=False, differentiable=False, samples=[
    Sample(3), Sample(2, 4), Sample(3, 0), Sample(2, dtype=dtypes.int64),
])  # fmt: skip
def eye(n: int, m: int | None = None, *, out: Tensor | None = None, dtype: Any = None,
        layout: Any = None, device: Any = None, pin_memory: bool = False,
        requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Ones on the diagonal of an ``n`` by ``m`` (default ``n``) matrix of zeros."""
    shape = sizes("eye", (n, n if m is None else m))
    return made("eye", lambda xp, d: xp.eye(*shape, dtype=d), shape, dtype, device, requires_grad,
                out, layout, pin_memory)  # fmt: skip


def _triangle(name: str, row: int, col: int, offset: int, dtype: Any, device: Any,
              layout: Any) -> Tensor:  # fmt: skip
    """Row and column numbers of a triangle, row by row."""
    if row < 0 or col < 0:
        raise ShapeError(f"{name}: row and col cannot be negative, got {row} and {col}")
    chosen = dtypes.int64 if dtype is None else dtypes.as_dtype(dtype)
    if chosen.category != dtypes.INTEGER:
        raise DTypeError(f"{name}: indices need an integer dtype, got {chosen.name}")
    lower = name == "tril_indices"
    ends = [min(max(i + offset + lower, 0), col) for i in range(row)]
    count = sum(ends) if lower else sum(col - e for e in ends)

    def fill(xp: Any, d: Any) -> Any:
        mask = xp.tri(row, col, offset if lower else offset - 1, dtype=bool)
        return xp.stack(xp.nonzero(mask if lower else ~mask)).astype(d)

    return made(name, fill, (2, count), chosen, device, False, None, layout)


@function(method=False, differentiable=False, samples=[
    Sample(3, 4), Sample(4, 3, 1), Sample(3, 3, -2), Sample(0, 3), Sample(3, 2, 5),
])  # fmt: skip
def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
                 layout: Any = None) -> Tensor:  # fmt: skip
    """Places on and below a diagonal of a ``row`` by ``col`` matrix: 2 x n, row by row."""
    return _triangle("tril_indices", row, col, offset, dtype, device, layout)


@function(method=False, differentiable=False, samples=[
    Sample(3, 4), Sample(4, 3, 1), Sample(3, 3, -2), Sample(0, 3), Sample(3, 2, 5),
])  # fmt: skip
def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
                 layout: Any = None) -> Tensor:  # fmt: skip
    """Places on and above a diagonal of a ``row`` by ``col`` matrix: 2 x n, row by row."""
    return _triangle("triu_indices", row, col, offset, dtype, device, layout)


@function(method=False, samples=[
    # integers, as PyTorch's own gradient of this function raises
    Sample(A((3,), kind="int")), Sample(A((3,), kind="int"), 2),
    Sample(A((2, 3), kind="int"), 4, True),
])  # fmt: skip
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:  # noqa: N803
    """Powers of the elements of the last dimension, highest first unless ``increasing``."""
    if x.ndim < 1:
        raise ShapeError("vander: takes at least 1 dimension, got a 0-d tensor")
    n = x.shape[-1] if N is None else N
    powers = arange(n, device=x.device) if increasing else arange(n, device=x.device).flip(0)
    return x.unsqueeze(-1).pow(powers)
