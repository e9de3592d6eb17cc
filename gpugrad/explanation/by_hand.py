"""A kernel over a table of pointers, computed by NumPy: what such a kernel would leave in memory.

Nothing else knows the arrays behind the table, so here the target itself does the kernel's work.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad import backends
from gpugrad.backends.numpy import quiet
from gpugrad.codegen.cuda import computed
from gpugrad.codegen.target import Program
from gpugrad.dtypes import bool_
from gpugrad.expr import Expr


def update(program: Program, table: Any, lengths: Any) -> None:
    """Overwrite the arrays of each row (see ``Target.run_table``)."""
    layout = program.layout
    for line, length in zip(table.tolist(), lengths.tolist(), strict=True):
        arrays = _arrays(program, line, length)
        made = [_value(program, o, arrays) for o in program.printed.outputs]
        for i, value in zip(layout.into, made, strict=True):
            arrays[i][...] = value


def reduce(program: Program, table: Any, lengths: Any, out: Any) -> None:
    """Write one value for each row (see ``Target.reduce_table``)."""
    (output,) = program.printed.outputs
    for row, (line, length) in enumerate(zip(table.tolist(), lengths.tolist(), strict=True)):
        out[row] = _value(program, output, _arrays(program, line, length))


def _arrays(program: Program, line: Sequence[int], length: int) -> list[Any]:
    """The arrays at some addresses."""
    found = []
    for place, read, dtype in zip(line, program.layout.reads, program.layout.held, strict=True):
        count = length if read == "full" else 1
        memory = (ctypes.c_char * (count * dtype.itemsize)).from_address(place)
        found.append(np.frombuffer(memory, dtype.np))
    return found


def _value(program: Program, output: Any, arrays: Sequence[Any]) -> Any:
    """An expression over arrays; 16-bit floats are computed in float32."""
    layout = program.layout
    wide = [a.astype(computed(d).np) for a, d in zip(arrays, layout.held, strict=True)]
    known: dict[int, Any] = {}

    def of(x: Any, dtype: Any) -> Any:
        if not isinstance(x, Expr):
            return dtype.np.type(_number(program, x))
        return wide[x.index] if x.op is None else known[id(x)]

    for node in program.printed.order:  # arguments come first
        kinds = (a.dtype for a in node.args if isinstance(a, Expr))
        kind = next(kinds, node.dtype) if node.dtype is bool_ else node.dtype  # of constants
        args = [of(a, kind) for a in node.args]
        known[id(node)] = quiet.run(_apply, node, args)
    return of(output, output.dtype)


def _apply(node: Expr, args: list[Any]) -> Any:
    assert node.op is not None
    if node.op.name == "to":
        return np.asarray(args[0]).astype(node.dtype.np)
    if not node.op.elementwise:
        return np.sum(args[0]) if node.op.name == "sum" else np.max(args[0])
    return node.op.fn(backends.NUMPY.xp, *args, **node.settings)


def _number(program: Program, value: Any) -> Any:
    """A constant: that of this call, where it is passed to the kernel."""
    if isinstance(value, float):
        at = program.printed.number(value)
        for (i, _), number in zip(program.printed.parameters, program.numbers, strict=True):
            if i == at:
                return number
    return value
