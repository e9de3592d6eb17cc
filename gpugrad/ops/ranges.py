"""Making tensors of even steps, and the matrices that are known by heart."""

from __future__ import annotations

import math
from typing import Any

from gpugrad import dtypes
from gpugrad.config import config
from gpugrad.dtypes import DType
from gpugrad.errors import DTypeError, SettingError, ShapeError
from gpugrad.factory import made, sizes
from gpugrad.op import function
from gpugrad.ops.creation import number
from gpugrad.samples import A, Sample
from gpugrad.tensor import Tensor

# ---- even steps --------------------------------------------------------------------------------


@function(method=False, differentiable=False, samples=[
    Sample(5), Sample(1, 7, 2), Sample(0.0, 1.0, 0.3), Sample(5, 0, -2), Sample(3, 3),
    Sample(1, 2.5, 0.25, dtype=dtypes.float64), Sample(2, 8.5, 1.5, dtype=dtypes.int64),
    Sample(0.5, 3),
])  # fmt: skip
def arange(start: Any = None, end: Any = None, step: Any = 1, *, out: Tensor | None = None,
           dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
           requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Numbers from ``start`` (0) up to, without, ``end``; int64 if all three are ints.

    Element ``i`` is ``start + i * step`` in float64 or int64, then cast.
    """
    if start is None or end is None:  # one bound given is the end
        start, end = 0, start if end is None else end
    start, end, step = (number("arange", x) for x in (start, end, step))
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
def range_(start: Any, end: Any, step: Any = 1, *, out: Tensor | None = None, dtype: Any = None,
           layout: Any = None, device: Any = None,
           requires_grad: bool = False) -> Tensor:  # fmt: skip
    """``arange`` that reaches ``end``; of the default float dtype (deprecated in PyTorch)."""
    start, end, step = (number("range", x) for x in (start, end, step))
    if step == 0 or (end - start) * step < 0:
        raise SettingError(f"range: a step of {step} does not lead from {start} to {end}")
    count = math.floor((end - start) / step) + 1

    def fill(xp: Any, d: Any) -> Any:
        return (start + xp.arange(count) * step).astype(d)

    return made("range", fill, (count,), dtype, device, requires_grad, out, layout)


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


def _line(name: str, start: Any, end: Any, steps: Any, dtype: Any, shape_as: Any, device: Any,
          requires_grad: bool, out: Any, layout: Any, pin_memory: bool) -> Tensor:  # fmt: skip
    if not isinstance(steps, int) or steps < 0:
        raise SettingError(f"{name}: steps must be an int >= 0, got {steps!r}")
    first, last = number(name, start), number(name, end)

    def fill(xp: Any, d: Any) -> Any:
        kind = d if d in (dtypes.float32.np, dtypes.float64.np) else dtypes.float64.np
        if d in [h.np for h in dtypes.HALVES]:
            kind = dtypes.float32.np
        return shape_as(xp, _even(xp, first, last, steps, kind)).astype(d)

    return made(name, fill, (steps,), dtype, device, requires_grad, out, layout, pin_memory)


@function(method=False, differentiable=False, samples=[
    Sample(0, 1, 5), Sample(-2.5, 7.25, 100), Sample(3, 3, 1), Sample(0, 1, 0),
    Sample(0, 10, 7, dtype=dtypes.int64), Sample(5, -5, 11, dtype=dtypes.float64),
    Sample(0, 1, 9, dtype=dtypes.float16),
])  # fmt: skip
def linspace(start: Any, end: Any, steps: int, *, out: Tensor | None = None, dtype: Any = None,
             layout: Any = None, device: Any = None, pin_memory: bool = False,
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """``steps`` evenly spaced numbers from ``start`` to ``end``, both included."""
    return _line("linspace", start, end, steps, dtype, lambda xp, x: x, device, requires_grad, out,
                 layout, pin_memory)  # fmt: skip


@function(method=False, differentiable=False, samples=[
    Sample(0, 2, 5), Sample(-1, 1, 4, 2.0), Sample(0, 3, 4, dtype=dtypes.int64),
    Sample(-10, 10, 5, dtype=dtypes.float64),
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
    Sample(A((3,), kind="int"), 4, True),
])  # fmt: skip
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """Rows of the powers of each element, highest first unless ``increasing``."""
    if x.ndim != 1:
        raise ShapeError(f"vander: takes a 1-d tensor, got shape {tuple(x.shape)}")
    n = x.shape[-1] if N is None else N
    powers = arange(n, device=x.device) if increasing else arange(n, device=x.device).flip(0)
    return x.unsqueeze(-1).pow(powers)
