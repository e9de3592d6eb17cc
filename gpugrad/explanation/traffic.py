"""How many bytes a kernel moves between a device's memory and its processors, and at least must.

Counted is what a kernel asks of memory beyond what neighbouring threads share: an array that is
read once by every row (a bias) counts once, as it stays in the cache; a row that does not stay on
chip counts again for every pass over it, though the L2 cache may serve some of that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gpugrad.codegen.cuda import CudaWriter, Variant
from gpugrad.codegen.target import Program
from gpugrad.expr import Expr

#: The address of an array's first element.
Address = Callable[[Any], int]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes: those that are moved, and the least that would do."""

    moved: int
    minimum: int

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.moved + other.moved, self.minimum + other.minimum)


def extent(a: Any) -> int:
    """Bytes of the elements that an array has in memory: a repeated one counts once."""
    return int(math.prod(n for n, s in zip(a.shape, a.strides) if s or n == 0) * a.itemsize)


def distinct(arrays: Iterable[Any], address: Address) -> int:
    """Bytes of some arrays; memory that several of them look at counts once."""
    found: dict[int, int] = {}
    for a in arrays:
        root = address(root_of(a))
        found[root] = max(found.get(root, 0), extent(a))
    return sum(found.values())


def root_of(a: Any) -> Any:
    """The array whose memory an array looks into."""
    kind = type(a)
    while type(a.base) is kind:
        a = a.base
    return a


def passes(program: Program, variant: Variant) -> dict[int, int]:
    """Per input that is read, how often the kernel goes through it."""
    writer: CudaWriter = program.printed
    levels = range(writer.top + (0 if variant.split else 1))
    work = [[*writer.work(i, scratch=False)] for i in levels]
    used = {x.index for n in writer.order for x in (n, *n.args)
            if isinstance(x, Expr) and x.op is None and x.index >= 0}  # fmt: skip
    used |= {o.index for o in writer.outputs if o.op is None and o.index >= 0}
    if writer.kind != "rows" or variant.packs:
        return dict.fromkeys(sorted(used), 1)
    streamed = {i for i in used if writer.layout.reads[i] == "full"}
    return {i: sum(any(n.op is None and n.index == i for n in w) for w in work)
            if i in streamed else 1 for i in sorted(used)}  # fmt: skip


def of_table(program: Program, given: Sequence[Any]) -> Traffic:
    """The traffic of a kernel that works on arrays of a table.

    Args:
        program: of a layout with ``table``.
        given: the table and the elements of each row, in either order; then an output that is no
            array of the table.
    """
    layout = program.layout
    written = sum(a.nbytes for a in given[2:])
    (lengths,) = (a for a in given[:2] if a.ndim == 1)
    arrays = len(layout.into) + sum(
        layout.reads[i] == "full" for i in passes(program, Variant())
    )  # fmt: skip
    minimum = int(lengths.sum()) * layout.held[0].itemsize * arrays + written
    return Traffic(minimum + sum(int(a.nbytes) for a in given[:2]), minimum)


def of_kernel(program: Program, variant: Variant, rows: int, arrays: Sequence[Any],
              address: Address) -> Traffic:  # fmt: skip
    """The traffic of a generated kernel.

    Args:
        program: which.
        variant: as it was launched.
        rows: of its frame.
        arrays: its inputs, then its outputs; sums over rows as partial sums, one per line.
        address: where an array lies.
    """
    layout = program.layout
    inputs, outputs = arrays[: len(layout.held)], arrays[len(layout.held) :]
    moved: dict[int, int] = {}
    for i, times in passes(program, variant).items():
        place = address(inputs[i])
        moved[place] = max(moved.get(place, 0), times * extent(inputs[i]))
    minimum = distinct([inputs[i] for i in passes(program, variant)], address)
    written = 0
    for i, out in enumerate(outputs):
        if variant.split:  # one value per part of a row, instead of one per row
            written += out.nbytes
            minimum += out.nbytes // out.shape[1]
        elif layout.summed and layout.summed[i]:
            line = out.nbytes // out.shape[0]
            # Sums that do not stay on chip are made zero, then read and written for every row.
            written += out.nbytes if variant.packs else out.nbytes + 2 * rows * line
            minimum += line
        else:
            written += out.nbytes
            minimum += out.nbytes
    return Traffic(sum(moved.values()) + written, minimum)


def of_arrays(arrays: Iterable[Any], address: Address) -> Traffic:
    """The least that array code moves: each array once."""
    size = distinct(arrays, address)
    return Traffic(size, size)
