"""The gradients of an op by a kernel: all wanted ones in one pass, added up where broadcast."""

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
    operand_key,
    program_of,
    readable,
    ready,
    traced,
)  # fmt: skip
from gpugrad.codegen.levels import Layout
from gpugrad.codegen.loops import ROWS
from gpugrad.codegen.shapes import by_rows, elementwise_frame, last_dims, row_read, spread
from gpugrad.codegen.trace import trace_rules
from gpugrad.errors import NotSupportedError
from gpugrad.op import Op

_NDARRAY = np.ndarray
_HALVES = dtypes.HALVES


def gradient(op: Op, bits: tuple[bool, ...], g: Any, values: dict[str, Any], node: Any) -> Any:
    """The gradients of an op's operands by one kernel, or None where the array code is to run.

    Args:
        op: the record.
        bits: per operand whether its gradient is wanted.
        g: gradient of the output, or a tuple of those of the outputs.
        values: what the rules read, by name.
        node: the node of the tape, for its settings and the shapes of its operands.
    """
    gs = g if type(g) is tuple else (g,)
    arrays = [*gs, *values.values()]
    names = [n for n, a in zip([*("" for _ in gs), *values], arrays) if isinstance(a, _NDARRAY)]
    whole = [a for a in arrays if isinstance(a, _NDARRAY)]
    if any(isinstance(v, tuple) for v in values.values()):
        return None
    like = max((a.shape for a in whole), key=math.prod)
    given = [_compact(a, like) for a in whole]
    if not readable(given):
        return None
    targets = _targets(node, bits)
    frame = _gradient_frame(op, names, given, like, targets, node.settings)
    if frame is None and op.elementwise:
        given = spread(like, given)
        frame = _gradient_frame(op, names, given, like, targets, node.settings)
    if frame is None:
        return None
    rows, columns, reads, summed = frame
    left = iter(reads)
    operands = [operand_key(a, next(left) if isinstance(a, _NDARRAY) else "") for a in arrays]
    settings = node.settings if op.elementwise else by_rows(node.settings)
    key = (op, bits, summed, tuple(operands), *settings.items())
    program = program_of(key, lambda: _gradient_program(
        op, bits, operands[: len(gs)], dict(zip(values, operands[len(gs) :])), settings, summed,
    ))  # fmt: skip
    if program is None or not ready(program):
        return None
    blocks = (-(-rows // ROWS), columns)
    added = program.layout.summed
    outs = [np.zeros(blocks, d.np) if s else empty(like, d.np)
            for d, s in zip(program.layout.stored, added)]  # fmt: skip
    host.run(program, rows, columns, [given[i] for i in program.trace.used], outs)
    made = iter(outs)
    result: list[Any] = []
    for where, target, total in zip(program.trace.where, targets, summed):
        out = None if where is None else whole[where] if where >= 0 else next(made)
        if total and out is not None:
            out = np.sum(out, 0, np.float64).astype(out.dtype).reshape(target)
        result.append(out)
    return tuple(result)


def _compact(a: Any, like: tuple[int, ...]) -> Any:
    """An array as a kernel reads it: a repeated value once, small ones contiguous."""
    if a.flags.c_contiguous:
        return a
    if not any(a.strides):
        return np.asarray(a[(0,) * a.ndim])
    return np.ascontiguousarray(a) if 8 * a.size <= math.prod(like) else a


def _targets(node: Any, bits: tuple[bool, ...]) -> tuple[Any, ...]:
    """The shapes of the operands whose gradient is wanted; None for others."""
    edges, slots = node.edges, node.slots or (0,) * len(bits)
    return tuple([
        None if e is None or not b else e.shape if e.outs is None else e.outs[s][0]
        for e, b, s in zip(edges, bits, slots)
    ])  # fmt: skip


def _gradient_frame(op: Op, names: Sequence[str], given: Sequence[Any], like: tuple[int, ...],
                    targets: Sequence[Any], settings: dict[str, Any]) -> Any:  # fmt: skip
    """Rows, columns, how arrays are read, and which gradients are added up over rows."""
    shapes = [a.shape for a in given]
    if op.elementwise:
        wanted = [t for t in targets if t is not None and t != like]
        frame = elementwise_frame(like, shapes + wanted)
        if frame is None or "row" in frame[2][len(shapes) :]:
            frame, wanted = elementwise_frame(like, shapes), []
        if frame is None:
            return None
        rows, columns, reads = frame
        kinds = dict(zip(wanted, reads[len(shapes) :]))
        summed = tuple([kinds.get(t) == "column" for t in targets])
        return rows, columns, reads[: len(shapes)], summed
    split = last_dims(settings["dim"], len(like))
    if split is None or math.prod(like[split:]) < 2:
        return None
    by_column = {n for n in op.arrays if n not in op.indices}
    reads = tuple([row_read(s, like, split, n not in by_column) for n, s in zip(names, shapes)])
    if not all(reads):
        return None
    summed = tuple([t is not None and t == like[split:] for t in targets])
    return math.prod(like[:split]), math.prod(like[split:]), reads, summed


def _gradient_program(op: Op, bits: tuple[bool, ...], gs: Sequence[Any], values: dict[str, Any],
                      settings: dict[str, Any], summed: tuple[bool, ...]) -> Program:  # fmt: skip
    trace = trace_rules(op, bits, [traced(x) for x in gs],
                        {n: traced(x) for n, x in values.items()}, settings, summed)  # fmt: skip
    held = [x[0] for x in (*gs, *values.values()) if type(x) is tuple]
    if not trace.outputs:
        raise NotSupportedError("nothing to compute")
    added = tuple([s for s, w in zip(summed, trace.where) if w == -1])
    layout = Layout(trace.reads, tuple([held[i] for i in trace.used]),
                    tuple([o.dtype for o in trace.outputs]), (), added)  # fmt: skip
    program = build(trace, layout)
    if any(program.printed.per_row):
        raise NotSupportedError("a gradient that is the same along the row")
    return program
