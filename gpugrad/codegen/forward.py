"""An op by a kernel: which one fits its operands, if any, and the results from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.codegen.levels import Layout
from gpugrad.codegen.shapes import by_rows, first_dims, last_dims, row_read
from gpugrad.codegen.target import Program, Recipe, Target, distinct, dtype_of, traced
from gpugrad.codegen.trace import Trace, trace_forward
from gpugrad.dtypes import DType
from gpugrad.errors import GpugradError, NotSupportedError
from gpugrad.op import Op
from gpugrad.spec import Spec, result_of

_HALVES = dtypes.HALVES


def _layout(trace: Trace, held: Sequence[DType], stored: Sequence[DType]) -> Layout:
    return Layout(trace.reads, tuple(held), tuple(stored))


def forward(target: Target, op: Op, arrays: Sequence[Any], settings: dict[str, Any],
            half: DType | None = None) -> Any:  # fmt: skip
    """The results of an op by a kernel, or None where the array code is to run.

    Args:
        target: that of the arrays.
        op: the record.
        arrays: its operands, promoted: arrays, numbers and None.
        settings: all of its settings.
        half: the 16-bit float to round results to, where operands are of that.
    """
    given = [a for a in arrays if type(a) is target.array_type]
    if op.view or op.variadic:
        return None
    if op.elementwise:
        return _elementwise(target, op, arrays, given, settings, half)
    if "dim" in op.settings:
        return _rowwise(target, op, arrays, given, settings, half)
    return None


def _elementwise(target: Target, op: Op, arrays: Sequence[Any], given: list[Any],
                 settings: dict[str, Any], half: DType | None) -> Any:  # fmt: skip
    again = target.recipe_key((op, half), settings, arrays)
    recipe = target.recipes.get(again)
    if recipe is not None:
        return _results(op, recipe.run(given))
    shapes = [a.shape for a in given]
    shape = shapes[0]
    if any(s != shape for s in shapes):
        try:
            shape = np.broadcast_shapes(*shapes)
        except ValueError:
            return None  # the array code knows what to say
    frame = target.frame(shape, given)
    if frame is None:
        return None
    left, kind, key_of = iter(frame.reads), target.array_type, target.operand_key
    operands = tuple([key_of(a, next(left) if type(a) is kind else "") for a in arrays])
    key = (op, *map(distinct, operands), half, *settings.items())
    program = target.program_of(
        key, op.key, lambda: _forward_program(target, op, operands, settings, half)
    )
    if program is None or not target.ready(program):
        return None
    outs = [target.empty(frame.shape, d.np) for d in program.layout.stored]
    launch = target.run(program, frame.rows, frame.columns, frame.arrays, outs, frame.dims)
    if not launch:
        return None
    if again is not None and callable(launch) and frame.arrays is given:
        kinds = tuple([d.np for d in program.layout.stored])
        made = Recipe(launch, tuple(range(len(given))), target.empty, shape, kinds)
        target.remember(again, made)
    if frame.back is not None:
        outs = [o.transpose(frame.back) for o in outs]
    return _results(op, outs)


def _results(op: Op, outs: Sequence[Any]) -> Any:
    return outs[0] if len(outs) == 1 and not op.outputs else tuple(outs)


def _forward_program(target: Target, op: Op, operands: Sequence[Any], settings: dict[str, Any],
                     half: DType | None) -> Program:  # fmt: skip
    trace = trace_forward(op, [traced(o) for o in operands], settings)
    held = [o[0] for o in operands if type(o) is tuple]
    if half is None and {*held} & {*_HALVES} and "dtype" not in settings:
        raise NotSupportedError("16-bit floats that are only moved stay what they are")
    wanted: Any = settings.get("dtype") or half
    stored = [wanted if half and o.dtype is dtypes.float32 else o.dtype for o in trace.outputs]
    return target.build(trace, _layout(trace, held, stored))


def _rowwise(target: Target, op: Op, arrays: Sequence[Any], given: Sequence[Any],
             settings: dict[str, Any], half: DType | None) -> Any:  # fmt: skip
    like, kind = given[0].shape, target.array_type
    split, lead = last_dims(settings["dim"], len(like)), 0
    if split is None and target.reduces and len(given) == 1:
        lead = first_dims(settings["dim"], len(like))
        # The leading dimensions are reduced: columns are.  All of them: there is one row.
        split = lead if 0 < lead < len(like) else 0 if lead else None
    if split is None or math.prod(like[split:]) < 2:
        return None
    operands = tuple([
        target.operand_key(a, row_read(a.shape, like, split, n in op.indices)
                           if type(a) is kind else "")
        for a, n in zip(arrays, op.arrays)
    ])  # fmt: skip
    if any(type(o) is tuple and not o[1] for o in operands):
        return None
    contiguous = target.as_rows(given)
    if contiguous is None:
        return None
    dims = tuple([a.ndim for a in given])
    key = (op, *map(distinct, operands), half, split, lead, dims, *settings.items())

    def specs() -> tuple[Spec, ...]:
        wide = [Spec(a.shape, dtypes.float32 if dtype_of(a) in _HALVES and half else dtype_of(a))
                if type(a) is kind else a for a in arrays]  # fmt: skip
        found = result_of(op, tuple(wide), settings)
        return found if isinstance(found, tuple) else (found,)

    def make() -> Program:
        wanted: Any = settings.get("dtype") or half
        stored = [wanted if half and s.dtype is dtypes.float32 else s.dtype for s in specs()]
        return _row_program(target, op, operands, settings, stored)

    if not target.known(key):
        try:
            specs()
        except GpugradError:
            return None  # the array code knows what to say; another call may be right
    program = target.program_of(key, op.key, make)
    if program is None or not target.ready(program):
        return None
    results = specs()
    rows, columns = math.prod(like[:split]), math.prod(like[split:])
    turned = 0 < lead < len(like)
    for spec, per_row in zip(results, program.per_row):
        kept = columns if turned else rows
        if math.prod(spec.shape) != (kept if per_row else given[0].size):
            return None
    outs = [target.empty(s.shape, d.np) for s, d in zip(results, program.layout.stored)]
    if turned:
        done = target.columns(program, rows, columns, contiguous[0], outs)
    else:
        done = target.run(program, rows, columns, contiguous, outs)
    if not done:
        return None
    return tuple(outs) if op.outputs else outs[0]


def _row_program(target: Target, op: Op, operands: Sequence[Any], settings: dict[str, Any],
                 stored: Sequence[DType]) -> Program:  # fmt: skip
    trace = trace_forward(op, [traced(o) for o in operands], by_rows(settings))
    held = [o[0] for o in operands if type(o) is tuple]
    for out, dtype in zip(trace.outputs, stored, strict=True):
        if out.dtype is not dtype and not (out.dtype is dtypes.float32 and dtype in _HALVES):
            raise NotSupportedError("the expression has another dtype than the result")
    return target.build(trace, _layout(trace, held, stored))
