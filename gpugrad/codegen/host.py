"""Kernels for NumPy arrays: when one is used, which one, and running it.

A kernel is used for arrays of at least ``LARGE`` elements, if everything its op does has a vector
form here; else the caller runs its array code.  The choice depends on the op, its settings, the
dtypes, shapes and layouts, and on nothing else, so runs repeat bit for bit.  One exception saves
compiling and shows in no bit: what consists of exactly rounded operations, which give the same
either way, is left to NumPy for the first calls.
"""

from __future__ import annotations

import ctypes
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from gpugrad.backends.memory.host import empty
from gpugrad.backends.workers import workers
from gpugrad.codegen.levels import Layout
from gpugrad.codegen.loops import ROWS, print_kernel
from gpugrad.codegen.numbers import plain
from gpugrad.codegen.shapes import framed, spread
from gpugrad.codegen.target import Frame, Program, Target
from gpugrad.codegen.trace import Trace
from gpugrad.config import config
from gpugrad.errors import NotSupportedError

#: Elements from which a kernel pays.
LARGE = 1 << 16
#: Elements of output from which the work is shared by threads.
SHARED = 1 << 17
#: Calls of an exactly rounded kernel before it is compiled.
PATIENCE = 3
_EXACT = {"sqrt", "sqrtf", "fabs", "fabsf", "floor", "floorf", "ceil", "ceilf", "trunc", "truncf"}
_spare = (ctypes.c_int64 * 2)()
_SPARE = ctypes.addressof(_spare)  # where a kernel would tell of an exception


def build(trace: Trace, layout: Layout) -> Program:
    """Print the kernel of a trace.

    Raises:
        NotSupportedError: if it cannot be a kernel of this target.
    """
    from gpugrad.codegen import machine  # most programs never need a kernel

    printed = print_kernel("kernel", trace.outputs, layout)
    missing = set(printed.called) - machine.defined()
    if missing:
        raise NotSupportedError(f"no vector form of {', '.join(sorted(missing))}")
    exact = not printed.scratch and not any(printed.per_row) and set(printed.called) <= _EXACT
    exact = exact and "plus(" not in printed.source
    numbers = np.array([plain(n) for n in printed.numbers] or [0.0])
    return Program(trace, layout, printed, printed.per_row, numbers, exact=exact)


def ready(program: Program, patience: int | None = None) -> bool:
    """Whether the program may run now; compiles it if so.

    Args:
        program: what is to run.
        patience: at which call to compile an exact one; ``PATIENCE`` by default.
    """
    if program.function is None:
        from gpugrad.codegen import machine

        program.calls += 1
        if program.exact and program.calls < (PATIENCE if patience is None else patience):
            return False
        try:
            program.function = machine.load(program.printed, program.layout)
        except ImportError as error:
            _without_compiler(str(error))
            return False
    return True


@cache
def _without_compiler(error: str) -> None:
    warnings.warn(
        f"CPU kernels are off, NumPy works in their place: Numba cannot be imported ({error}); "
        "pip install -U numba",
        stacklevel=2,
    )


# ---- running -----------------------------------------------------------------------------------


def run(program: Program, rows: int, columns: int, inputs: Sequence[Any],
        outputs: Sequence[Any]) -> None:  # fmt: skip
    """Run a kernel over contiguous arrays, in several threads if there is enough to do."""
    function, scratch = program.function, program.printed.scratch
    places = [a.ctypes.data for a in inputs] + [a.ctypes.data for a in outputs]
    numbers = program.numbers.ctypes.data
    size = rows * columns
    count = min(config.num_threads, size // (SHARED // 2)) if size >= SHARED else 1
    # More parts than threads: where the machine is busy, one thread may be slower.
    cut = count * (4 if size >= 8 * SHARED else 1)
    work = np.empty(max(cut, 1) * scratch * columns, np.float32) if scratch else None
    room = work.ctypes.data if work is not None else 0

    def part(first: int, last: int, columns: int, number: int, at: list[int]) -> None:
        function(_SPARE, _SPARE, first, last, columns, numbers,
                 room + 4 * number * scratch * columns, *at)  # fmt: skip

    if count <= 1 or (rows == 1 and not program.printed.cuttable):
        part(0, rows, columns, 0, places)
        return
    if rows == 1:
        along = [k in ("full", "column") for k in program.layout.reads]
        steps = [a.itemsize if k else 0 for a, k in zip(inputs, along)]
        steps += [a.itemsize for a in outputs]
        cuts = [columns * i // cut // 64 * 64 for i in range(cut)] + [columns]
        parts = [(0, 1, b - a, i, [p + a * s for p, s in zip(places, steps)])
                 for i, (a, b) in enumerate(pairwise(cuts))]  # fmt: skip
    else:
        step = ROWS if any(program.layout.summed) else 1
        cuts = [rows * i // cut // step * step for i in range(cut)] + [rows]
        parts = [(a, b, columns, i, places) for i, (a, b) in enumerate(pairwise(cuts))]
    workers.run(part, parts, count)


def address(array: Any) -> int:
    """Where the first element of an array lies."""
    # NumPy's C interface promises this place; array.ctypes.data takes five times as long.
    return ctypes.c_void_p.from_address(id(array) + _HEAD).value or 0


_HEAD = object.__basicsize__
_probe = np.zeros(1)
if sys.implementation.name != "cpython" or address(_probe) != _probe.ctypes.data:

    def address(array: Any) -> int:
        """Where the first element of an array lies."""
        return int(array.ctypes.data)


def run_table(program: Program, table: Any, lengths: Any) -> None:
    """Run a kernel over rows that lie in arrays of their own, in several threads if it pays.

    Args:
        program: of a layout with ``table``.
        table: int64 ``(rows, inputs)``, where each row of each input lies.
        lengths: int64 ``(rows,)``, elements of each row.
    """
    function, numbers = program.function, program.numbers.ctypes.data
    at = (table.ctypes.data, lengths.ctypes.data)
    ends = np.cumsum(lengths)
    size, rows = int(ends[-1]), len(lengths)
    count = min(config.num_threads, size // (SHARED // 2), rows) if size >= SHARED else 1

    def part(first: int, last: int) -> None:
        function(_SPARE, _SPARE, first, last, 0, numbers, 0, *at)

    if count <= 1:
        part(0, rows)
        return
    cut = count * (4 if size >= 8 * SHARED else 1)
    cuts = [0, *np.searchsorted(ends, [size * i // cut for i in range(1, cut)]).tolist(), rows]
    workers.run(part, [(a, b) for a, b in pairwise(cuts) if a < b], count)


def readable(arrays: Sequence[Any]) -> bool:
    """Whether a kernel can read these arrays as they lie."""
    for a in arrays:
        flags = a.flags
        if not (flags.c_contiguous and flags.aligned and a.dtype.isnative):
            return False
    return True


class HostTarget(Target):
    """NumPy arrays: Numba compiles, threads of ``backends.workers`` share the rows."""

    array_type = np.ndarray
    least = LARGE

    def build(self, trace: Trace, layout: Layout) -> Program:
        return build(trace, layout)

    def ready(self, program: Program, patience: int | None = None) -> bool:
        return ready(program, patience)

    def frame(self, shape: tuple[int, ...], arrays: Sequence[Any],
              wanted: Sequence[tuple[int, ...]] = ()) -> Frame | None:  # fmt: skip
        if not readable(arrays):
            return None
        found = framed(shape, arrays, wanted)
        return framed(shape, spread(shape, arrays), wanted) if found is None else found

    def as_rows(self, arrays: Sequence[Any]) -> Sequence[Any] | None:
        return arrays if readable(arrays) else None

    def run(self, program: Program, rows: int, columns: int, inputs: Sequence[Any],
            outputs: Sequence[Any], dims: Any = None) -> Any:  # fmt: skip
        run(program, rows, columns, inputs, outputs)
        return True

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return empty(shape, dtype)

    def sums(self, program: Program, rows: int, columns: int, dtype: Any) -> Any:
        return np.zeros((-(-rows // ROWS), columns), dtype)

    def total(self, sums: Any, dtype: Any) -> Any:
        return np.sum(sums, 0, np.float64).astype(dtype)

    def direct(self, array: Any) -> bool:
        return readable((array,))

    def writable(self, array: Any) -> bool:
        return bool(array.flags.writeable)

    def address(self, array: Any) -> int:
        return address(array)

    def with_numbers(self, program: Program, numbers: Sequence[float]) -> Program:
        return replace(program, numbers=np.array(numbers or [0.0], np.float64))

    def run_table(self, program: Program, table: Any, lengths: Any) -> bool:
        run_table(program, table, lengths)
        return True
