"""Kernels for arrays on CUDA devices: which variant fits, its grid, its arguments.

Every op with a kernel uses it, whatever the size: a launch costs the same as CuPy's, and several
operations become one.  Variants are chosen by shapes, dtypes and addresses alone, grids by shapes
alone, so that results repeat bit for bit, also on another device.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from gpugrad import backends, dtypes
from gpugrad.backends.nvidia.launch import Kernel, kernel
from gpugrad.backends.nvidia.text import text
from gpugrad.codegen.cuda import BLOCK, PRELUDE, CudaWriter, Variant
from gpugrad.codegen.levels import Layout
from gpugrad.codegen.numbers import plain
from gpugrad.codegen.shapes import aligned, dense_order, framed, strides_of, unrepeated
from gpugrad.codegen.target import Frame, Program, Target, distinct
from gpugrad.codegen.trace import Trace
from gpugrad.dtypes import DType

#: Largest access of a thread in bytes, and most elements per access.
_ACCESS, _WIDEST = 16, 8
#: Offsets from which 64 bits are needed; less than 2^31 by what the last block may overshoot.
_FAR = 2**31 - 2**16
#: Longest row that one block works on: it counts columns by 32 bits.
_LONGEST = _FAR
#: Registers of a thread that a row on chip may take: while many threads fit, and at most.
_ROOMY, _TIGHT = 48, 80
_MOST_THREADS = 512
#: Columns of a row that a thread takes at most: the work on each is printed for itself.
_LIGHT, _HEAVY = 64, 8
#: Blocks of a kernel with sums over rows: each leaves partial sums, so there are not too many.
_SUMMING = 512
#: Rows of fewer blocks than this are split, in parts of so many columns, if only reductions remain.
_FEW, _PART = 256, 1 << 14
_MOST_PARTS = 1024


def prelude() -> str:
    """The helper functions before every generated kernel."""
    return "".join(text(name) for name in PRELUDE)


@cache
def _slow() -> frozenset[str]:
    """The helper functions that are called, not inlined."""
    return frozenset(re.findall(r"^GG_SLOW \w+ (\w+)\(", prelude(), re.MULTILINE))


def widest(writer: CudaWriter) -> int:
    """Elements per access at which the narrowest array is read by 16 bytes.

    One where that saves nothing: calls of long functions, float64.
    """
    layout = writer.layout
    if dtypes.float64 in (*layout.held, *layout.stored) or writer.called & _slow():
        return 1
    held = [d for d, k in zip(layout.held, layout.reads) if k in ("full", "column")]
    sizes = [d.itemsize for d in (*held, *layout.stored)]
    return min(_ACCESS // min(sizes, default=1), _WIDEST)


def row_variant(writer: CudaWriter, columns: int, width: int, wide: bool, split: bool) -> Variant:
    """How a row is shared by threads.

    Args:
        writer: the kernel.
        columns: of the row, or of the part of it that a block works on.
        width: elements per access.
        wide: whether offsets need 64 bits.
        split: whether rows are worked on in parts.
    """
    words, most = max(writer.words(), 0.5), _HEAVY if writer.heavy else _LIGHT
    accesses = -(-columns // width)
    threads = 4
    while threads < _MOST_THREADS:
        packs = -(-accesses // threads)
        if packs == 1 or (threads >= 32 and packs * width <= min(_ROOMY / words, most)):
            break
        threads *= 2
    packs = -(-accesses // threads)
    if packs * width > max(min(_TIGHT / words, most), width):
        return Variant(width, wide, _MOST_THREADS * (1 if writer.heavy else 2), 0, split)
    return Variant(width, wide, threads, packs, split)


@dataclass(slots=True)
class Sums:
    """An output that is added up over rows: its partial sums, made when the grid is known."""

    columns: int
    dtype: Any
    parts: Any = None


class DeviceTarget(Target):
    """Arrays of CUDA devices: NVRTC compiles, CuPy's current stream runs."""

    least = 1
    reduces = True
    halves = True

    def __init__(self, backend: Any) -> None:
        super().__init__()
        self.backend, self.array_type = backend, backend.array_type
        self._empty = backend.library.empty
        self._tables: dict[tuple[int, bytes], tuple[Any, Any]] = {}

    # ---- programs --------------------------------------------------------------------------

    def build(self, trace: Trace, layout: Layout) -> Program:
        writer = CudaWriter(trace.outputs, layout)
        writer.widest = widest(writer)
        made = Program(trace, layout, writer, writer.row_outputs, (), function={})
        return self.with_numbers(made, [plain(n) for n in writer.numbers])

    def with_numbers(self, program: Program, numbers: Sequence[float]) -> Program:
        typed = tuple([d.np.type(numbers[i]) for i, d in program.printed.parameters])
        return replace(program, numbers=typed)

    def ready(self, program: Program, patience: int | None = None) -> bool:
        return True

    def kernel_of(self, program: Program, variant: Variant) -> Kernel:
        """The compiled kernel of a variant for the current device."""
        key = (variant, self._device())
        found: Kernel | None = program.function.get(key)
        if found is None:
            writer: CudaWriter = program.printed
            source = prelude() + writer.print("kernel", variant)
            found = program.function[key] = self.kernel(source, "kernel", describe(program))
        return found

    def _device(self) -> int:
        return self.backend.current() if backends.several else 0

    def kernel(self, source: str, name: str, what: str) -> Kernel:
        """A compiled kernel of a text for the current device."""
        return kernel(source, name, what)

    def recipe_key(self, about: tuple[Any, ...], settings: dict[str, Any],
                   arrays: Sequence[Any]) -> Any:  # fmt: skip
        kind, address = self.array_type, self.address
        key = [self._device(), *about, *settings.items()]
        for a in arrays:
            if type(a) is not kind:
                key += (type(a), distinct(a))
            elif not a.flags.c_contiguous:
                return None
            else:
                key += (a.shape, a.dtype, address(a) % _ACCESS)
        return tuple(key)

    # ---- arrays ----------------------------------------------------------------------------

    def frame(self, shape: tuple[int, ...], arrays: Sequence[Any],
              wanted: Sequence[tuple[int, ...]] = ()) -> Frame | None:  # fmt: skip
        plain = whole = True
        for a in arrays:
            if not a.size:
                return None
            plain = plain and a.flags.c_contiguous
            whole = whole and a.shape == shape
        if plain and whole and not wanted:
            return Frame(1, math.prod(shape), ("full",) * len(arrays), (), arrays, shape)
        if not plain:
            arrays = [a if a.flags.c_contiguous else unrepeated(a) for a in arrays]
            plain = all(a.flags.c_contiguous for a in arrays)
        if not plain:
            wanted = ()
            order = dense_order(shape, arrays)
            if order is None:
                return strides_of(shape, arrays)
            arrays = [a if a.size == 1 else aligned(a, len(order)).transpose(order) for a in arrays]
            shape = tuple([shape[i] for i in order])
            found = framed(shape, arrays) or strides_of(shape, arrays)
            if found is not None:
                found.back = tuple([order.index(i) for i in range(len(order))])
            return found
        return framed(shape, arrays, wanted) or strides_of(shape, arrays)

    def as_rows(self, arrays: Sequence[Any]) -> Sequence[Any] | None:
        return [a if a.flags.c_contiguous else a.copy(order="C") for a in arrays]

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self._empty(shape, dtype)

    def writable(self, array: Any) -> bool:
        return True

    def address(self, array: Any) -> int:
        return int(array.data.ptr)

    # ---- running ---------------------------------------------------------------------------

    def run(self, program: Program, rows: int, columns: int, inputs: Sequence[Any],
            outputs: Sequence[Any], dims: Any = None) -> Any:  # fmt: skip
        if program.printed.kind == "flat":
            return self._flat(program, rows, columns, inputs, outputs, dims)
        if columns > _LONGEST and not program.printed.splits:
            return False
        self._rows(program, rows, columns, inputs, outputs)
        return True

    def columns(self, program: Program, rows: int, columns: int, array: Any,
                outputs: Sequence[Any]) -> bool:  # fmt: skip
        writer: CudaWriter = program.printed
        if not writer.folds:
            return False
        if "fold" not in program.function:
            stored = program.layout.stored
            bare = all(o in writer.reductions and o.dtype is d
                       for o, d in zip(writer.outputs, stored))  # fmt: skip
            after = None if bare else self.build(*writer.joined(reduced=True))
            first = self.build(*writer.columns())
            first.name = f"{program.name} of columns"
            if after is not None:
                after.name = f"{program.name} from its sums"
            program.function["fold"] = first, after
        first, after = program.function["fold"]
        sums = [Sums(columns, n.dtype.np) for n in writer.reductions]
        self._rows(first, rows, columns, [array], sums)
        if after is None:
            for o, out in zip(writer.outputs, outputs):
                self._total(sums[writer.reductions.index(o)].parts, out)
            return True
        totals = [self.total(s, s.dtype) for s in sums]
        self._flat(after, 1, columns, totals, outputs, None, rows)
        return True

    def _flat(self, program: Program, rows: int, columns: int, inputs: Sequence[Any],
              outputs: Sequence[Any], dims: Any, whole: int = 0) -> Any:  # fmt: skip
        layout, size = program.layout, rows * columns
        wide = size > _FAR or (dims is not None and dims.reach > _FAR)
        count = len(dims.sizes) if dims is not None else 0
        width = 1 if count else self._width(program, inputs, outputs)
        if width > 1 and columns % width and {"column", "row"} & {*layout.reads}:
            width = 1
        found = self.kernel_of(program, Variant(width, wide, dims=count))
        index: Any = np.int64 if wide else np.int32
        sizes: tuple[Any, ...] = (index(size), index(columns))
        if program.printed.counts:
            sizes += (index(whole or columns),)
        if count:
            sizes += (dims.packed(index),)
        grid, block = (-(-size // (BLOCK * width)), 1, 1), (BLOCK, 1, 1)
        head = (*sizes, *program.numbers)
        queue = found.launch
        queue(grid, block, (*head, *inputs, *outputs))
        return lambda inputs, outputs: queue(grid, block, (*head, *inputs, *outputs))

    def _width(self, program: Program, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        """Elements per access that all addresses allow: the widest or one."""
        width: int = program.printed.widest
        if width > 1:
            reads, address = program.layout.reads, self.address
            for a, read in zip(inputs, reads):
                # Narrower arrays need less than this; memory from the pool has more.
                if address(a) % _ACCESS and read in ("full", "column"):
                    return 1
            for o in outputs:
                if type(o) is not Sums and address(o) % _ACCESS:
                    return 1
        return width

    def variant_of_rows(self, program: Program, rows: int, columns: int, inputs: Sequence[Any],
                        outputs: Sequence[Any]) -> tuple[Variant, int, int]:  # fmt: skip
        """The variant for these arrays, the columns of a part of a row, and how many parts."""
        writer, layout = program.printed, program.layout
        width = 1 if columns % writer.widest else self._width(program, inputs, outputs)
        parts = 1
        if writer.splits and rows < _FEW:
            parts = min(-(-columns // _PART), _MOST_PARTS)
        part = columns if parts == 1 else -(-columns // (parts * width)) * width
        wide = max(rows * columns, rows * parts) > _FAR or any(layout.summed)
        return row_variant(writer, part, width, wide, parts > 1), part, parts

    def _rows(self, program: Program, rows: int, columns: int, inputs: Sequence[Any],
              outputs: Sequence[Any], whole: int = 0) -> None:  # fmt: skip
        writer = program.printed
        variant, part, parts = self.variant_of_rows(program, rows, columns, inputs, outputs)
        found = self.kernel_of(program, variant)
        index: Any = np.int64 if variant.wide else np.int32
        sizes: tuple[Any, ...] = (index(rows), index(columns), np.int64(whole or columns))
        blocks = -(-rows * parts // variant.groups)
        if any(program.layout.summed):
            blocks = _summing_blocks(rows, variant)
            make = self._empty if variant.packs else self.backend.library.zeros
            for o in outputs:
                if type(o) is Sums:
                    o.parts = make((blocks * variant.groups, o.columns), o.dtype)
        made = [o.parts if type(o) is Sums else o for o in outputs]
        if parts > 1:
            sizes += (np.int32(part), np.int32(parts))
            made = [self._empty((rows, parts), n.dtype.np) for n in writer.reductions]
        found.launch((blocks, 1, 1), (variant.block, 1, 1),
                     (*sizes, *program.numbers, *inputs, *made))  # fmt: skip
        if parts > 1:
            self._join(program, rows, columns, parts, inputs, made, outputs)

    def _join(self, program: Program, rows: int, columns: int, parts: int, inputs: Sequence[Any],
              made: Sequence[Any], outputs: Sequence[Any]) -> None:  # fmt: skip
        """Reduce what the parts of each row left, and do what follows."""
        joining = program.function.get("join")
        if joining is None:
            joining = program.function["join"] = self.build(*program.printed.joined())
            joining.name = f"{program.name} of its parts"
        again = [a for a, k in zip(inputs, program.layout.reads) if k in ("row", "one")]
        self._rows(joining, rows, parts, [*made, *again], outputs, columns)

    def sums(self, program: Program, rows: int, columns: int, dtype: Any) -> Any:
        return Sums(columns, dtype)

    def total(self, sums: Any, dtype: Any) -> Any:
        out = self._empty((sums.columns,), sums.dtype)
        self._total(sums.parts, out)
        return out if out.dtype == dtype else out.astype(dtype)

    def _total(self, parts: Any, out: Any) -> None:
        rows, columns = parts.shape
        name = "gg_fold_double" if parts.dtype == np.float64 else "gg_fold_float"
        folding = self.kernel(text("fold.cu"), name, "a sum over rows")
        folding.launch((-(-columns // 32), 1, 1), (512, 1, 1),
                       (parts, np.int64(rows), np.int64(columns), out))  # fmt: skip

    def run_table(self, program: Program, table: Any, lengths: Any) -> bool:
        dtype: DType = program.layout.held[0]
        width = _ACCESS // dtype.itemsize
        whole = [k == "full" for k in program.layout.reads]
        if (table[:, whole] % _ACCESS).any():
            width = 1
        found = self.kernel_of(program, Variant(width))
        placed = self._placed(table, lengths)
        found.launch((len(lengths), 1, 1), (BLOCK, 1, 1), (*program.numbers, *placed))
        return True

    def reduce_table(self, program: Program, table: Any, lengths: Any) -> Any:
        variant = Variant(threads=_MOST_THREADS)
        out = self._empty((len(lengths),), program.layout.stored[0].np)
        pointers, sizes = self._placed(table, lengths)
        self.kernel_of(program, variant).launch(
            (len(lengths), 1, 1), (variant.block, 1, 1),
            (np.int32(len(lengths)), sizes, *program.numbers, pointers, out),
        )  # fmt: skip
        return out

    def _placed(self, table: Any, lengths: Any) -> tuple[Any, Any]:
        """The table on the device; it seldom changes from step to step."""
        key = (self._device(), table.tobytes() + lengths.tobytes())
        placed = self._tables.get(key)
        if placed is None:
            if len(self._tables) >= 64:
                self._tables.clear()
            upload = self.backend.library.asarray
            placed = self._tables[key] = upload(table), upload(lengths)
        return placed


def _summing_blocks(rows: int, variant: Variant) -> int:
    return min(-(-rows // variant.groups), _SUMMING)


def describe(program: Program) -> str:
    """What a program computes, for errors."""
    trace, layout = program.trace, program.layout
    read = [f"{n} {d.name} ({k})" for n, d, k in zip(trace.names, layout.held, layout.reads)]
    stored = ", ".join(d.name for d in layout.stored)
    return f"{program.name} of {', '.join(read)} -> {stored}"
