"""An elementwise op whose results go into its operands, for many sets of operands by one kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpugrad.codegen.levels import Layout
from gpugrad.codegen.numbers import Formula, Number, fixed, remembered
from gpugrad.codegen.target import Program, Target, dtype_of, traced
from gpugrad.codegen.trace import Trace, trace_forward
from gpugrad.dtypes import HALVES, DType
from gpugrad.errors import GpugradError, NotSupportedError
from gpugrad.expr import EXPR, Expr
from gpugrad.op import Op

#: A set's share in making the kernel's table pays as this many elements do.
_WORTH = 4096
#: Large arrays are rows of so many elements, which threads share.
_ROW = 1 << 16
#: Steps of small sets before a kernel is compiled; NumPy gives the same bits meanwhile.
_SMALL_PATIENCE = 20


def overwrite(target: Target, op: Op, sets: Sequence[Sequence[Any]], into: Sequence[int],
              settings: dict[str, Any]) -> bool:  # fmt: skip
    """Run an op over every set of its operands, into their memory; False if nothing was done.

    The bits are those of one set after the other.

    Args:
        target: that of all arrays.
        op: the record.
        sets: its operands, for each time that it is to run; in a set all have the shape of the
            first, but for those that are a single value in every set.
        into: per output the operand that it overwrites.
        settings: all of its settings.
    """
    sets = [s for s in sets if s[0].size]
    total = sum([s[0].size for s in sets])
    small = total < target.least
    if not sets or (small and total + _WORTH * len(sets) < target.least):
        return False
    if not _fitting(target, sets, into):
        return False
    dtype = dtype_of(sets[0][0])
    reads = tuple(["full" if a.shape == sets[0][0].shape else "one" for a in sets[0]])
    width = len(reads)
    if small and _small[op, dtype] < _SMALL_PATIENCE:
        _small[op, dtype] += 1
        return False
    program = _program_of(target, op, dtype, reads, tuple(into), settings)
    if program is None or (small and not program.exact):
        return False
    address = target.address
    table = np.fromiter((address(a) for s in sets for a in s), np.int64, width * len(sets))
    lengths = np.fromiter((s[0].size for s in sets), np.int64, len(sets))
    table = table.reshape(-1, width)
    sizes = np.outer(lengths, [r == "full" for r in reads]) * dtype.itemsize
    if _overlapping(table, sizes):
        return False
    return target.run_table(program, *_rows(table, lengths, sizes, dtype.itemsize))


def sums_of_squares(target: Target, arrays: Sequence[Any]) -> Any:
    """Partial sums of the squares of all elements, in one launch; None if the target has none.

    Args:
        target: that of the arrays.
        arrays: contiguous, of one dtype.

    Returns:
        A vector of float32, or float64 for that: one number for each ``_ROW`` elements or less.
    """
    sets = [[a] for a in arrays if a.size]
    if not target.reduces or not sets or not _fitting(target, sets, ()):
        return None
    dtype = dtype_of(arrays[0])
    if not dtype.is_floating_point:
        return None
    key = ("squares", dtype)
    program = target.program_of(key, "sums of squares", lambda: _squares(target, dtype))
    if program is None or not target.ready(program):
        return None
    table = np.array([[target.address(a)] for (a,) in sets], np.int64)
    lengths = np.array([a.size for (a,) in sets], np.int64)
    sizes = lengths[:, None] * dtype.itemsize
    return target.reduce_table(program, *_rows(table, lengths, sizes, dtype.itemsize))


def _squares(target: Target, dtype: DType) -> Program:
    kind = traced((dtype, "full"))[0]
    x = Expr(None, (), kind, 0, {"read": "full"})
    total = EXPR.sum(EXPR.multiply(x, x), 1)
    trace = Trace(("x",), (kind,), (total,), ("full",))
    return target.build(trace, Layout(("full",), (dtype,), (kind,), (), (), True))


#: How often a record was run over small sets of a dtype, whatever the settings.
_small: Counter[tuple[Op, DType]] = Counter()


def _fitting(target: Target, sets: Sequence[Sequence[Any]], into: Sequence[int]) -> bool:
    """Whether all lie as a kernel reads and writes them."""
    dtype, kind = sets[0][0].dtype, target.array_type
    single = [a.shape != sets[0][0].shape for a in sets[0]]
    for operands in sets:
        shape = operands[0].shape
        for i, a in enumerate(operands):
            if type(a) is not kind or a.dtype != dtype:
                return False
            if a.size != 1 or i in into if single[i] else a.shape != shape:
                return False
            if not target.direct(a):
                return False
        for i in into:
            if not target.writable(operands[i]):
                return False
    return True


def _overlapping(table: Any, sizes: Any) -> bool:
    """Whether operands share memory: then it matters which set comes first.

    Args:
        table: addresses per set.
        sizes: bytes there; 0 for a single value, which several sets may read.
    """
    starts = table.ravel()
    order = np.argsort(starts)
    ends = (table + sizes).ravel()
    return bool((ends[order][:-1] > starts[order][1:]).any())


def _rows(table: Any, lengths: Any, sizes: Any, itemsize: int) -> tuple[Any, Any]:
    """Cut long arrays into rows."""
    counts = -(-lengths // _ROW)
    if len(table) == (rows := int(counts.sum())):
        return table, lengths
    first = np.arange(rows) - np.repeat(np.cumsum(counts) - counts, counts)
    steps = np.repeat(sizes > 0, counts, axis=0) * (_ROW * itemsize)
    cut = np.repeat(table, counts, axis=0) + first[:, None] * steps
    return cut, np.minimum(np.repeat(lengths, counts) - first * _ROW, _ROW)


@dataclass(slots=True)
class _Known:
    """A kernel and when it may run: where the answers of ``asked`` are what they were."""

    program: Program | None
    asked: list[tuple[Formula, bool]]

    def fits(self, settings: dict[str, Any]) -> bool:
        return all(formula(settings) == answer for formula, answer in self.asked)


_known: dict[Any, list[_Known]] = {}
#: So many are kept, for settings that are another kernel every time.
_ROOM = 1024


def _program_of(target: Target, op: Op, dtype: DType, reads: tuple[str, ...],
                into: tuple[int, ...], settings: dict[str, Any]) -> Program | None:  # fmt: skip
    """The program with the numbers of these settings, ready to run; None if there is none."""
    kinds = _known.setdefault((target, op, dtype, reads, into, fixed(settings)), [])
    found = next((k for k in kinds if k.fits(settings)), None)
    if found is None:
        if len(_known) > _ROOM or len(kinds) > _ROOM:
            _known.clear()
        asked: list[tuple[Formula, bool]] = []
        with suppress(GpugradError, TypeError, ValueError, ArithmeticError):
            made = _program(target, op, dtype, reads, into, remembered(settings, asked))
            made.name = op.key
            kinds.append(found := _Known(made, asked))
        if found is None:
            kinds.append(found := _Known(None, []))
    program = found.program
    if program is None or not target.ready(program, patience=1):
        return None
    formulas = [n.formula if type(n) is Number else None for n in program.printed.numbers]
    numbers = [n if f is None else f(settings)
               for n, f in zip(program.printed.numbers, formulas)]  # fmt: skip
    return target.with_numbers(program, numbers)


def _program(target: Target, op: Op, dtype: DType, reads: tuple[str, ...], into: tuple[int, ...],
             settings: dict[str, Any]) -> Program:  # fmt: skip
    if dtype in HALVES and not target.halves:
        raise NotSupportedError("16-bit floats are rounded once, at the end")
    operands = [traced((dtype, read)) for read in reads]
    trace = trace_forward(op, operands, settings)
    if any(o.dtype is not operands[0][0] for o in trace.outputs):
        raise NotSupportedError("a result of another dtype")
    layout = Layout(trace.reads, (dtype,) * len(reads), (dtype,) * len(into), into, (), True)
    return target.build(trace, layout)
