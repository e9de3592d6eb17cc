"""What all shapes of CUDA kernels share: types, variants, one node as C++, parameters, loads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from gpugrad import dtypes
from gpugrad.codegen import c
from gpugrad.codegen.levels import Layout, Levels
from gpugrad.dtypes import DType
from gpugrad.expr import COLUMN, COUNT, Expr

#: Files of ``kernels/`` that the printed text uses.
PRELUDE = ("elementwise.cuh", "memory.cuh")
#: Threads of a block of a ``flat`` or ``table`` kernel, and of short rows that share a block.
BLOCK, SHARED_BLOCK = 256, 128
_MEMORY = {dtypes.float16: "gg_half", dtypes.bfloat16: "gg_bf16"}
_CALLED = re.compile(r"\b([a-zA-Z_]\w*)\(")


def memory_type(dtype: DType) -> str:
    """The C++ type of what an array holds."""
    return _MEMORY.get(dtype) or c.type_name(dtype)


def computed(dtype: DType) -> DType:
    """The dtype that a kernel computes in."""
    return dtypes.float32 if dtype in dtypes.HALVES else dtype


class Variant(NamedTuple):
    """For which sizes and addresses a text is printed.

    Attributes:
        width: elements per access; more than 1 needs aligned addresses and whole rows.
        wide: whether offsets need 64 bits.
        threads: threads that share a row.
        packs: accesses of a thread to a row; 0 for a row that does not stay on chip.
        split: whether several blocks share a row, for reductions only.
        dims: dimensions of arrays that are read by strides.
    """

    width: int = 1
    wide: bool = False
    threads: int = 0
    packs: int = 0
    split: bool = False
    dims: int = 0

    @property
    def groups(self) -> int:
        """Rows that a block works on at a time."""
        return max(SHARED_BLOCK // self.threads, 1) if self.threads <= 32 else 1

    @property
    def block(self) -> int:
        """Threads per block."""
        return self.threads * self.groups if self.threads else BLOCK


class Spelling(Levels):
    """The nodes of a kernel as C++, and the parts that every shape of kernel has.

    Attributes:
        parameters: the numbers that the caller passes after the sizes: each a place in
            ``numbers`` and the dtype that it is passed in.
        counts: whether it asks for a column's place or for how many there are.
        row_outputs: per output whether it is one value per row.
    """

    def __init__(self, outputs: Sequence[Expr], layout: Layout) -> None:
        self.parameters: list[tuple[int, DType]] = []
        super().__init__(outputs, layout)
        words = {w for text in self.text.values() for w in re.findall(r"\w+", text)}
        self.counts = not words.isdisjoint({"j", "whole"})
        self.row_outputs = tuple([self.per_row(o) for o in self.outputs])
        for d in (*layout.held, *layout.stored):
            memory_type(d)

    # ---- one node --------------------------------------------------------------------------

    def name(self, x: Expr) -> str:
        """What a value is called."""
        if x.op is not None:
            return self.names[id(x)]
        if x.index == COLUMN:
            return "((int)j)"
        return "((long long)whole)" if x.index == COUNT else f"a{x.index}"

    def spell(self, node: Expr) -> tuple[str, tuple[str, ...]]:
        """A node as C++, and the functions that its spelling calls."""
        text = c.spell(node, self.name, self._literal)
        return text, tuple(_CALLED.findall(text))

    def _literal(self, value: Any, dtype: DType) -> str:
        at = self.number(value) if type(value) is not int and dtype.is_floating_point else None
        if at is None:
            return c.literal(value, dtype)
        if (at, dtype) not in self.parameters:
            self.parameters.append((at, dtype))
        return f"n{at}_{dtype.name}"

    def _assign(self, node: Expr) -> str:
        return f"const {c.type_name(node.dtype)} {self.names[id(node)]} = {self.text[id(node)]};"

    # ---- parts of a kernel -----------------------------------------------------------------

    def _numbers(self) -> list[str]:
        return [f"const {c.type_name(d)} n{i}_{d.name}" for i, d in self.parameters]

    def _pointers(self) -> list[str]:
        layout = self.layout
        inputs = [f"const {memory_type(d)}* __restrict__ x{i}" for i, d in enumerate(layout.held)]
        return inputs + [f"{memory_type(d)}* __restrict__ y{i}"
                         for i, d in enumerate(layout.stored)]  # fmt: skip

    def _head(self, name: str, variant: Variant, parameters: Sequence[str]) -> list[str]:
        return [
            f'extern "C" __global__ void __launch_bounds__({variant.block}) {name}('
            + ", ".join(parameters) + ") {",
            f"    typedef {'long long' if variant.wide else 'int'} I;",
        ]  # fmt: skip

    def _input(self, i: int, value: str) -> str:
        dtype = computed(self.layout.held[i])
        return f"const {c.type_name(dtype)} a{i} = gg_value({value});"

    def _once(self, reads: str) -> list[str]:
        """Loads of inputs that are one value for the kernel or the row."""
        at = {"one": "0", "row": "r"}[reads]
        return [self._input(i, f"x{i}[{at}]")
                for i, k in enumerate(self.layout.reads) if k == reads]  # fmt: skip
