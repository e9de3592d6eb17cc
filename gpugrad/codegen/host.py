"""Kernels for NumPy arrays: when one is used, which one, and running it.

A kernel is used for arrays of at least ``LARGE`` elements, if everything its op does has a vector
form here; else the caller runs its array code.  The choice depends on the op, its settings, the
dtypes, shapes and layouts, and on nothing else, so runs repeat bit for bit.  One exception saves
compiling and shows in no bit: what consists of exactly rounded operations, which give the same
either way, is left to NumPy for the first calls.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.codegen import machine
from gpugrad.codegen.loops import ROWS, Layout, Printed, print_kernel
from gpugrad.codegen.shapes import elementwise_frame, last_dims, row_read
from gpugrad.codegen.trace import Trace, trace_forward, trace_rules
from gpugrad.codegen.workers import threads, workers
from gpugrad.dtypes import DType
from gpugrad.errors import NotSupportedError
from gpugrad.op import Op
from gpugrad.spec import Spec, result_of

#: Elements from which a kernel pays.
LARGE = 1 << 16
#: Elements of output from which the work is shared by threads.
SHARED = 1 << 17
#: Calls of an exactly rounded kernel before it is compiled.
PATIENCE = 3
_EXACT = {"sqrt", "sqrtf", "fabs", "fabsf", "floor", "floorf", "ceil", "ceilf", "trunc", "truncf"}
_NDARRAY = np.ndarray
_HALVES = dtypes.HALVES
_spare = (ctypes.c_int64 * 2)()
_SPARE = ctypes.addressof(_spare)  # where a kernel would tell of an exception


@dataclass(slots=True)
class Program:
    """A kernel bound to one choice of settings: what to pass to it and what comes out."""

    trace: Trace
    layout: Layout
    printed: Printed
    numbers: Any
    exact: bool
    calls: int = 0
    function: Any = None


_programs: dict[Any, Program | None] = {}
_ROOM = 1024


def _dtype(array: Any) -> DType:
    return dtypes.from_numpy(array.dtype)


def _program(key: Any, make: Any) -> Program | None:
    """The program of a key, made on first use; None if there can be none."""
    try:
        return _programs[key]
    except KeyError:
        pass
    except TypeError:  # a setting without a hash
        return None
    try:
        program: Program | None = make()
    except Exception:
        # A record's function that is not written for expressions may fail in any way on them.
        program = None
    if len(_programs) >= _ROOM:
        _programs.clear()
    _programs[key] = program
    return program


def build(trace: Trace, layout: Layout) -> Program:
    """Print the kernel of a trace.

    Raises:
        NotSupportedError: if it cannot be a kernel of this target.
    """
    printed = print_kernel("kernel", trace.outputs, layout)
    missing = set(printed.called) - machine.defined()
    if missing:
        raise NotSupportedError(f"no vector form of {', '.join(sorted(missing))}")
    exact = not printed.scratch and not any(printed.per_row) and set(printed.called) <= _EXACT
    exact = exact and "plus(" not in printed.source
    return Program(trace, layout, printed, np.array(printed.numbers or (0.0,)), exact)


def _ready(program: Program) -> bool:
    """Whether the program may run now; compiles it if so."""
    if program.function is None:
        if program.exact and program.calls < PATIENCE - 1:
            program.calls += 1
            return False
        program.function = machine.load(program.printed, program.layout)
    return True


# ---- running -----------------------------------------------------------------------------------


def run(program: Program, rows: int, columns: int, inputs: Sequence[Any],
        outputs: Sequence[Any]) -> None:  # fmt: skip
    """Run a kernel over contiguous arrays, in several threads if there is enough to do."""
    function, scratch = program.function, program.printed.scratch
    places = [a.ctypes.data for a in inputs] + [a.ctypes.data for a in outputs]
    numbers = program.numbers.ctypes.data
    count = min(threads(), rows * columns // (SHARED // 2)) if rows * columns >= SHARED else 1
    work = np.empty(max(count, 1) * scratch * columns, np.float32) if scratch else None
    room = work.ctypes.data if work is not None else 0

    def part(first: int, last: int, columns: int, number: int, at: list[int]) -> None:
        function(_SPARE, _SPARE, first, last, columns, numbers,
                 room + 4 * number * scratch * columns, *at)  # fmt: skip

    if count <= 1:
        part(0, rows, columns, 0, places)
        return
    if rows == 1:
        steps = [a.itemsize if k == "full" else 0 for a, k in zip(inputs, program.layout.reads)]
        steps += [a.itemsize for a in outputs]
        cuts = [columns * i // count // 64 * 64 for i in range(count)] + [columns]
        parts = [(0, 1, b - a, i, [p + a * s for p, s in zip(places, steps)])
                 for i, (a, b) in enumerate(zip(cuts, cuts[1:]))]  # fmt: skip
    else:
        step = ROWS if any(program.layout.summed) else 1
        cuts = [rows * i // count // step * step for i in range(count)] + [rows]
        parts = [(a, b, columns, i, places) for i, (a, b) in enumerate(zip(cuts, cuts[1:]))]
    workers.run(part, parts)


def _plain(arrays: Sequence[Any]) -> bool:
    """Whether a kernel can read these arrays as they lie."""
    return all(a.flags.c_contiguous and a.flags.aligned and a.dtype.isnative for a in arrays)


def _operand(a: Any, read: str) -> Any:
    """What stands for an operand in a key: dtype and read of an array, a number, or None."""
    if isinstance(a, _NDARRAY):
        return (_dtype(a), read)
    return a.item() if isinstance(a, np.generic) else a


def _traced(operand: Any) -> Any:
    """The operand as ``codegen.trace`` takes it: 16-bit floats compute in float32."""
    if type(operand) is not tuple:
        return operand
    return (dtypes.float32 if operand[0] in _HALVES else operand[0], operand[1])


def _layout(trace: Trace, held: Sequence[DType], stored: Sequence[DType]) -> Layout:
    return Layout(trace.reads, tuple(held), tuple(stored))


# ---- an op -------------------------------------------------------------------------------------


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
    if op.view or op.variadic or not _plain(given):
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
        return None
    rows, columns, reads = frame
    left = iter(reads)
    operands = tuple([_operand(a, next(left) if isinstance(a, _NDARRAY) else "") for a in arrays])
    key = (op, operands, half, *settings.items())
    program = _program(key, lambda: _forward_program(op, operands, settings, half))
    if program is None or not _ready(program):
        return None
    outs = [np.empty(shape, d.np) for d in program.layout.stored]
    run(program, rows, columns, given, outs)
    return outs[0] if len(outs) == 1 and not op.outputs else tuple(outs)


def _forward_program(op: Op, operands: Sequence[Any], settings: dict[str, Any],
                     half: DType | None) -> Program:  # fmt: skip
    trace = trace_forward(op, [_traced(o) for o in operands], settings)
    held = [o[0] for o in operands if type(o) is tuple]
    wanted = settings.get("dtype") or half
    stored = [wanted if half and o.dtype is dtypes.float32 else o.dtype for o in trace.outputs]
    return build(trace, _layout(trace, held, stored))


def overwrite(op: Op, arrays: Sequence[Any], targets: Sequence[int],
              settings: dict[str, Any]) -> bool:  # fmt: skip
    """Run an elementwise op whose results go into its operands; False if nothing was done.

    Args:
        op: the record.
        arrays: its operands, of one shape and dtype.
        targets: per output the operand that it overwrites.
        settings: all of its settings.
    """
    first = arrays[0]
    if first.size < LARGE or not _plain(arrays) or any(
        a.shape != first.shape or a.dtype is not first.dtype for a in arrays
    ) or not all(arrays[i].flags.writeable for i in targets):  # fmt: skip
        return False
    dtype = _dtype(first)
    key = (op, dtype, tuple(targets), *settings.items())
    program = _program(key, lambda: _overwriting(op, dtype, len(arrays), tuple(targets), settings))
    if program is None:
        return False
    if program.function is None:
        program.function = machine.load(program.printed, program.layout)
    run(program, 1, first.size, arrays, [arrays[i] for i in targets])
    return True


def _overwriting(op: Op, dtype: DType, count: int, targets: tuple[int, ...],
                 settings: dict[str, Any]) -> Program:  # fmt: skip
    if dtype in _HALVES:
        raise NotSupportedError("16-bit floats are rounded once, at the end")
    trace = trace_forward(op, [dtype] * count, settings)
    if any(o.dtype is not dtype for o in trace.outputs):
        raise NotSupportedError("a result of another dtype")
    return build(trace, Layout(trace.reads, (dtype,) * count, (dtype,) * len(targets), targets))


def _rowwise(op: Op, arrays: Sequence[Any], given: list[Any], settings: dict[str, Any],
             half: DType | None) -> Any:  # fmt: skip
    like = given[0].shape
    split = last_dims(settings["dim"], len(like))
    if split is None or math.prod(like[split:]) < 2:
        return None
    operands = tuple([
        _operand(a, row_read(a.shape, like, split, n in op.indices)
                 if isinstance(a, _NDARRAY) else "")
        for a, n in zip(arrays, op.arrays)
    ])  # fmt: skip
    if any(type(o) is tuple and not o[1] for o in operands):
        return None
    key = (op, operands, half, split, len(like), *settings.items())
    wide = [Spec(a.shape, dtypes.float32 if _dtype(a) in _HALVES and half else _dtype(a))
            if isinstance(a, _NDARRAY) else a for a in arrays]  # fmt: skip
    specs = result_of(op, tuple(wide), settings)
    specs = specs if isinstance(specs, tuple) else (specs,)
    wanted = settings.get("dtype") or half
    stored = tuple([wanted if half and s.dtype is dtypes.float32 else s.dtype for s in specs])
    program = _program(key, lambda: _row_program(op, operands, settings, stored))
    if program is None or not _ready(program):
        return None
    rows = math.prod(like[:split])
    for spec, per_row in zip(specs, program.printed.per_row):
        if math.prod(spec.shape) != (rows if per_row else given[0].size):
            return None
    outs = [np.empty(s.shape, d.np) for s, d in zip(specs, stored)]
    run(program, rows, math.prod(like[split:]), given, outs)
    return tuple(outs) if op.outputs else outs[0]


def by_rows(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the last dimensions as dimension 1 of rows and columns."""
    dim = settings["dim"]
    return settings | {"dim": 1 if isinstance(dim, int) else (1,)}


def _row_program(op: Op, operands: Sequence[Any], settings: dict[str, Any],
                 stored: Sequence[DType]) -> Program:  # fmt: skip
    trace = trace_forward(op, [_traced(o) for o in operands], by_rows(settings))
    held = [o[0] for o in operands if type(o) is tuple]
    for out, dtype in zip(trace.outputs, stored, strict=True):
        if out.dtype is not dtype and not (out.dtype is dtypes.float32 and dtype in _HALVES):
            raise NotSupportedError("the expression has another dtype than the result")
    return build(trace, _layout(trace, held, stored))


# ---- its gradient ------------------------------------------------------------------------------


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
    if not _plain(given):
        return None
    targets = _targets(node, bits)
    frame = _gradient_frame(op, names, given, like, targets, node.settings)
    if frame is None:
        return None
    rows, columns, reads, summed = frame
    left = iter(reads)
    operands = [_operand(a, next(left) if isinstance(a, _NDARRAY) else "") for a in arrays]
    settings = node.settings if op.elementwise else by_rows(node.settings)
    key = (op, bits, summed, tuple(operands), *settings.items())
    program = _program(key, lambda: _gradient_program(
        op, bits, operands[: len(gs)], dict(zip(values, operands[len(gs) :])), settings, summed))  # fmt: skip
    if program is None or not _ready(program):
        return None
    blocks = (-(-rows // ROWS), columns)
    added = program.layout.summed
    outs = [np.zeros(blocks, d.np) if s else np.empty(like, d.np)
            for d, s in zip(program.layout.stored, added)]  # fmt: skip
    run(program, rows, columns, [given[i] for i in program.trace.used], outs)
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
    trace = trace_rules(op, bits, [_traced(x) for x in gs],
                        {n: _traced(x) for n, x in values.items()}, settings, summed)  # fmt: skip
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
