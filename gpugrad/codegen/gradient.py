"""The gradients of an op by a kernel: all wanted ones in one pass, added up where broadcast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gpugrad.codegen.levels import Layout
from gpugrad.codegen.shapes import by_rows, last_dims, row_read
from gpugrad.codegen.target import Frame, Program, Recipe, Target, distinct, traced
from gpugrad.codegen.trace import trace_rules
from gpugrad.dtypes import HALVES
from gpugrad.errors import NotSupportedError
from gpugrad.op import Op

_HALF = {d.np: d for d in HALVES}


def gradient(target: Target, op: Op, bits: tuple[bool, ...], g: Any, values: dict[str, Any],
             node: Any) -> Any:  # fmt: skip
    """The gradients of an op's operands by one kernel, or None where the array code is to run.

    Args:
        target: that of the arrays.
        op: the record.
        bits: per operand whether its gradient is wanted.
        g: gradient of the output, or a tuple of those of the outputs.
        values: what the rules read, by name.
        node: the node of the tape, for its settings and the shapes of its operands.
    """
    gs = g if type(g) is tuple else (g,)
    arrays, kind = [*gs, *values.values()], target.array_type
    names = [n for n, a in zip([*("" for _ in gs), *values], arrays) if type(a) is kind]
    whole = [a for a in arrays if type(a) is kind]
    if any(isinstance(v, tuple) for v in values.values()):
        return None
    shapes, halves = _targets(node, bits)
    again = None
    if op.elementwise:
        again = target.recipe_key((op, bits, shapes, halves), node.settings, arrays)
    recipe = target.recipes.get(again)
    if recipe is not None:
        made = iter(recipe.run(whole))
        return tuple([None if w is None else whole[w] if w >= 0 else next(made)
                      for w in recipe.where])  # fmt: skip
    like = max((a.shape for a in whole), key=math.prod)
    given = [target.compact(a, like) for a in whole]
    if op.elementwise:
        wanted = [s for s in shapes if s is not None and s != like]
        frame = target.frame(like, given, wanted)
    else:
        split = last_dims(node.settings["dim"], len(like))
        frame = _row_frame(target, op, names, given, like, split)
        wanted = [like[split:]]
    if frame is None:
        return None
    kinds = dict(zip(wanted, frame.wanted))
    summed = tuple([s is not None and kinds.get(s) == "column" for s in shapes])
    left = iter(frame.reads)
    operands = [target.operand_key(a, next(left) if type(a) is kind else "") for a in arrays]
    settings = node.settings if op.elementwise else by_rows(node.settings)
    key = (op, bits, summed, halves, *map(distinct, operands), *settings.items())
    program = target.program_of(key, f"{op.key} backward", lambda: _gradient_program(
        target, op, bits, operands[: len(gs)], dict(zip(values, operands[len(gs) :])), settings,
        summed, halves,
    ))  # fmt: skip
    if program is None or not target.ready(program):
        return None
    rows, columns, used = frame.rows, frame.columns, program.trace.used
    outs = [target.sums(program, rows, columns, d.np) if s else target.empty(frame.shape, d.np)
            for d, s in zip(program.layout.stored, program.layout.summed)]  # fmt: skip
    launch = target.run(program, rows, columns, [frame.arrays[i] for i in used], outs, frame.dims)
    if not launch:
        return None
    if again is not None and callable(launch) and frame.arrays is given:
        stored = tuple([d.np for d in program.layout.stored])
        recipe = Recipe(launch, used, target.empty, frame.shape, stored, program.trace.where)
        target.remember(again, recipe)
    made = iter(outs)
    result: list[Any] = []
    for where, shape, total in zip(program.trace.where, shapes, summed):
        out = None if where is None else whole[where] if where >= 0 else next(made)
        if total and out is not None:
            out = target.total(out, out.dtype).reshape(shape)
        elif where == -1 and out is not None and frame.back is not None:
            out = out.transpose(frame.back)
        result.append(out)
    return tuple(result)


def _targets(node: Any, bits: tuple[bool, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Of the operands whose gradient is wanted, the shapes, and the 16-bit floats among them.

    None for the other operands.
    """
    shapes: list[Any] = []
    halves: list[Any] = []
    for e, b, s in zip(node.edges, bits, node.slots or (0,) * len(bits)):
        if e is None or not b:
            shape, kind = None, None
        else:
            shape, kind = (e.shape, e.dtype) if e.outs is None else e.outs[s]
        shapes.append(shape)
        halves.append(_HALF.get(kind))
    return tuple(shapes), tuple(halves)


def _row_frame(target: Target, op: Op, names: Sequence[str], given: Sequence[Any],
               like: tuple[int, ...], split: int | None) -> Frame | None:  # fmt: skip
    """The frame of a gradient along the dimensions from ``split`` on."""
    if split is None or math.prod(like[split:]) < 2:
        return None
    by_column = {n for n in op.arrays if n not in op.indices}
    reads = tuple([row_read(a.shape, like, split, n not in by_column)
                   for n, a in zip(names, given)])  # fmt: skip
    arrays = target.as_rows(given) if all(reads) else None
    if arrays is None:
        return None
    rows, columns = math.prod(like[:split]), math.prod(like[split:])
    return Frame(rows, columns, reads, ("column",), arrays, like)


def _gradient_program(target: Target, op: Op, bits: tuple[bool, ...], gs: Sequence[Any],
                      values: dict[str, Any], settings: dict[str, Any],
                      summed: tuple[bool, ...], halves: tuple[Any, ...]) -> Program:  # fmt: skip
    trace = trace_rules(op, bits, [traced(x) for x in gs],
                        {n: traced(x) for n, x in values.items()}, settings, summed)  # fmt: skip
    held = [x[0] for x in (*gs, *values.values()) if type(x) is tuple]
    if not trace.outputs:
        raise NotSupportedError("nothing to compute")
    added = tuple([s for s, w in zip(summed, trace.where) if w == -1])
    # A 16-bit gradient is rounded here, unless it is added up first.
    narrow = [None if s else h for h, s, w in zip(halves, summed, trace.where) if w == -1]
    stored = [h or o.dtype for h, o in zip(narrow, trace.outputs)]
    layout = Layout(trace.reads, tuple([held[i] for i in trace.used]), tuple(stored), (), added)
    program = target.build(trace, layout)
    if any(program.per_row):
        raise NotSupportedError("a gradient that is the same along the row")
    return program
