"""An op by a kernel: which one fits its operands, if any, and the results from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.backends.memory.host import empty
from gpugrad.codegen import host
from gpugrad.codegen.host import (
    Program,
    build,
    dtype_of,
    known,
    operand_key,
    program_of,
    readable,
    ready,
    traced,
)  # fmt: skip
from gpugrad.codegen.levels import Layout
from gpugrad.codegen.shapes import by_rows, elementwise_frame, last_dims, row_read, spread
from gpugrad.codegen.trace import Trace, trace_forward
from gpugrad.dtypes import DType
from gpugrad.errors import GpugradError, NotSupportedError
from gpugrad.op import Op
from gpugrad.spec import Spec, result_of

_NDARRAY = np.ndarray
_HALVES = dtypes.HALVES


def _layout(trace: Trace, held: Sequence[DType], stored: Sequence[DType]) -> Layout:
    return Layout(trace.reads, tuple(held), tuple(stored))


def forward(op: Op, arrays: Sequence[Any], settings: dict[str, Any],
            half: DType | None = None) -> Any:  # fmt: skip
    """The results of an op by a kernel, or None where the array code is to run.

    Args:
        op: the record.
        arrays: its operands, promoted: arrays, numbers and None.
        settings: all of its settings.
        half: the 16-bit float to round results to, where operands are of that.
    """
    given = [a for a in arrays if isinstance(a, _NDARRAY)]
    if op.view or op.variadic or not readable(given):
        return None
    if op.elementwise:
        return _elementwise(op, arrays, given, settings, half)
    return _rowwise(op, arrays, given, settings, half) if "dim" in op.settings else None


def _elementwise(op: Op, arrays: Sequence[Any], given: list[Any], settings: dict[str, Any],
                 half: DType | None) -> Any:  # fmt: skip
    shapes = [a.shape for a in given]
    shape = shapes[0]
    if any(s != shape for s in shapes):
        try:
            shape = np.broadcast_shapes(*shapes)
        except ValueError:
            return None  # the array code knows what to say
    frame = elementwise_frame(shape, shapes)
    if frame is None:
        given = spread(shape, given)
        frame = elementwise_frame(shape, [a.shape for a in given])
    if frame is None:
        return None
    rows, columns, reads = frame
    left = iter(reads)
    operands = tuple(
        [operand_key(a, next(left) if isinstance(a, _NDARRAY) else "") for a in arrays]
    )
    key = (op, operands, half, *settings.items())
    program = program_of(key, lambda: _forward_program(op, operands, settings, half))
    if program is None or not ready(program):
        return None
    outs = [empty(shape, d.np) for d in program.layout.stored]
    host.run(program, rows, columns, given, outs)
    return outs[0] if len(outs) == 1 and not op.outputs else tuple(outs)


def _forward_program(op: Op, operands: Sequence[Any], settings: dict[str, Any],
                     half: DType | None) -> Program:  # fmt: skip
    trace = trace_forward(op, [traced(o) for o in operands], settings)
    held = [o[0] for o in operands if type(o) is tuple]
    if half is None and {*held} & {*_HALVES} and "dtype" not in settings:
        raise NotSupportedError("16-bit floats that are only moved stay what they are")
    wanted: Any = settings.get("dtype") or half
    stored = [wanted if half and o.dtype is dtypes.float32 else o.dtype for o in trace.outputs]
    return build(trace, _layout(trace, held, stored))


def _rowwise(op: Op, arrays: Sequence[Any], given: list[Any], settings: dict[str, Any],
             half: DType | None) -> Any:  # fmt: skip
    like = given[0].shape
    split = last_dims(settings["dim"], len(like))
    if split is None or math.prod(like[split:]) < 2:
        return None
    operands = tuple([
        operand_key(a, row_read(a.shape, like, split, n in op.indices)
                 if isinstance(a, _NDARRAY) else "")
        for a, n in zip(arrays, op.arrays)
    ])  # fmt: skip
    if any(type(o) is tuple and not o[1] for o in operands):
        return None
    key = (op, operands, half, split, tuple([a.ndim for a in given]), *settings.items())

    def specs() -> tuple[Spec, ...]:
        wide = [Spec(a.shape, dtypes.float32 if dtype_of(a) in _HALVES and half else dtype_of(a))
                if isinstance(a, _NDARRAY) else a for a in arrays]  # fmt: skip
        found = result_of(op, tuple(wide), settings)
        return found if isinstance(found, tuple) else (found,)

    def make() -> Program:
        wanted: Any = settings.get("dtype") or half
        stored = [wanted if half and s.dtype is dtypes.float32 else s.dtype for s in specs()]
        return _row_program(op, operands, settings, stored)

    if not known(key):
        try:
            specs()
        except GpugradError:
            return None  # the array code knows what to say; another call may be right
    program = program_of(key, make)
    if program is None or not ready(program):
        return None
    results = specs()
    rows = math.prod(like[:split])
    for spec, per_row in zip(results, program.printed.per_row):
        if math.prod(spec.shape) != (rows if per_row else given[0].size):
            return None
    outs = [empty(s.shape, d.np) for s, d in zip(results, program.layout.stored)]
    host.run(program, rows, math.prod(like[split:]), given, outs)
    return tuple(outs) if op.outputs else outs[0]


def _row_program(op: Op, operands: Sequence[Any], settings: dict[str, Any],
                 stored: Sequence[DType]) -> Program:  # fmt: skip
    trace = trace_forward(op, [traced(o) for o in operands], by_rows(settings))
    held = [o[0] for o in operands if type(o) is tuple]
    for out, dtype in zip(trace.outputs, stored, strict=True):
        if out.dtype is not dtype and not (out.dtype is dtypes.float32 and dtype in _HALVES):
            raise NotSupportedError("the expression has another dtype than the result")
    return build(trace, _layout(trace, held, stored))
