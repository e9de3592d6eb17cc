"""Expressions as CUDA C++: a kernel for each shape of work, in variants for sizes and alignment.

- ``flat``: elementwise.  A thread takes ``width`` neighbouring elements by 16-byte accesses.
- ``rows``: reductions along rows, sums over rows, or both.  ``threads`` threads share a row, which
  stays in their registers, ``packs`` accesses each; a row too long for that is read again from
  memory (mostly from the L2 cache) by each level's loop (``packs`` 0).  Short rows share a block.
- ``table``: elementwise over many arrays by a table of pointers: an optimiser's step.  A reduction
  of each is a ``rows`` kernel with such a table.

The text includes no header and needs ``kernels/elementwise.cuh`` and ``kernels/memory.cuh`` before
it (``PRELUDE``).  16-bit floats are computed in float32; no result depends on the order in which
threads run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gpugrad import dtypes
from gpugrad.codegen import c
from gpugrad.codegen.levels import Layout, Levels
from gpugrad.codegen.trace import Trace
from gpugrad.dtypes import DType
from gpugrad.errors import NotSupportedError
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


@dataclass(frozen=True, slots=True)
class Variant:
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


class CudaWriter(Levels):
    """Prints one kernel in any of its variants.

    Attributes:
        parameters: the numbers that the caller passes after the sizes: each a place in
            ``numbers`` and the dtype that it is passed in.
        kind: ``"flat"``, ``"rows"`` or ``"table"``.
    """

    def __init__(self, outputs: Sequence[Expr], layout: Layout) -> None:
        self.parameters: list[tuple[int, DType]] = []
        super().__init__(outputs, layout)
        rows = self.reductions or any(layout.summed) or any(map(self.per_row, self.outputs))
        self.kind = "rows" if rows else "table" if layout.table else "flat"
        if self.kind != "flat" and "strided" in layout.reads:
            raise NotSupportedError("rows are read as they lie")
        #: Whether it asks for a column's place or for how many there are.
        self.counts = bool({"j", "whole"} & {w for t in self.text.values()
                                             for w in re.findall(r"\w+", t)})  # fmt: skip
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

    def _once(self, level: int, reads: str) -> list[str]:
        """Loads of inputs that are one value for the kernel or the row."""
        at = {"one": "0", "row": "r"}[reads]
        return [self._input(i, f"x{i}[{at}]")
                for i, k in enumerate(self.layout.reads) if k == reads]  # fmt: skip

    # ---- elementwise -----------------------------------------------------------------------

    def _element(self, name: str) -> tuple[list[str], Callable[[Sequence[str], str], str]]:
        """The work on one element as a function, and how it is called."""
        layout = self.layout
        inputs = [f"const {memory_type(d)} m{i}" for i, d in enumerate(layout.held)]
        outputs = [f"{memory_type(d)}& y{i}" for i, d in enumerate(layout.stored)]
        body = [self._assign(n) for n in self.order]
        places = self.counts
        extra = ["const long long j", "const long long whole"] if places else []
        lines = [f"static __device__ __forceinline__ void {name}_element("
                 + ", ".join([*extra, *self._numbers(), *inputs, *outputs]) + ") {"]  # fmt: skip
        lines += ["    " + self._input(i, f"m{i}") for i in range(len(inputs))]
        lines += ["    " + x for x in body]
        lines += [f"    gg_put(y{i}, {self.name(o)});" for i, o in enumerate(self.outputs)]
        numbers = [f"n{i}_{d.name}" for i, d in self.parameters]

        def call(arguments: Sequence[str], j: str) -> str:
            given = [j, "columns" if self.kind == "table" else "whole"] if places else []
            return f"{name}_element({', '.join([*given, *numbers, *arguments])});"

        return [*lines, "}"], call

    def flat(self, name: str, variant: Variant) -> str:
        """An elementwise kernel.

        Its parameters: ``I size, I columns, [I whole], [dims], numbers, inputs, outputs``.
        """
        layout, v = self.layout, variant.width
        element, call = self._element(name)
        strided = [i for i, k in enumerate(layout.reads) if k == "strided"]
        parameters = [f"const {'long long' if variant.wide else 'int'} {n}"
                      for n in ("size", "columns", "whole")[: 3 if self.counts else 2]]  # fmt: skip
        if strided:
            parameters.append(f"const {name}_dims dims")
        lines = self._head(name, variant, [*parameters, *self._numbers(), *self._pointers()])
        if strided:
            index = "long long" if variant.wide else "int"
            sizes = f"{index} size[{variant.dims}]"
            strides = f"{index} stride[{len(strided)}][{variant.dims}]"
            element = [f"struct {name}_dims {{ {sizes}; {strides}; }};", *element]
        lines.append(f"    const I i = ((I)blockIdx.x * {BLOCK} + threadIdx.x) * {v};")
        lines.append("    if (i >= size) return;")
        by_place = {"full": "i", "column": "i % columns", "row": "i / columns", "one": "0"}
        places = {i: by_place[k] for i, k in enumerate(layout.reads) if k in by_place}
        if strided:
            lines += self._strides(strided, variant.dims)
            places |= {i: f"o{i}" for i in strided}
        single = [f"x{i}[{places[i]}]" for i in range(len(layout.reads))]
        targets = [f"y{i}[i]" for i in range(len(layout.stored))]
        if v == 1:
            lines.append("    " + call([*single, *targets], "i % columns"))
            return "\n".join([*element, *lines, "}", ""])
        lines.append(f"    if (i + {v} <= size) {{")
        packed: list[str] = []
        for i, (k, d) in enumerate(zip(layout.reads, layout.held)):
            if k in ("full", "column"):
                lines.append(f"        const GGPack<{memory_type(d)}, {v}> p{i} = "
                             f"gg_read<{v}>(x{i} + {places[i]});")  # fmt: skip
                packed.append(f"p{i}.v[e]")
            else:
                lines.append(f"        const {memory_type(d)} p{i} = x{i}[{places[i]}];")
                packed.append(f"p{i}")
        outs = range(len(layout.stored))
        lines += [f"        GGPack<{memory_type(layout.stored[i])}, {v}> q{i};" for i in outs]
        lines += [
            "        #pragma unroll",
            f"        for (int e = 0; e < {v}; ++e)",
            "            " + call([*packed, *(f"q{i}.v[e]" for i in outs)], "i % columns + e"),
            *(f"        gg_write<{v}>(y{i} + i, q{i});" for i in outs),
            "        return;",
            "    }",
            "    for (I k = i; k < size; ++k)",
            "        " + call([re.sub(r"\bi\b", "k", x) for x in [*single, *targets]],
                              "k % columns"),
        ]  # fmt: skip
        return "\n".join([*element, *lines, "}", ""])

    def _strides(self, strided: Sequence[int], dims: int) -> list[str]:
        lines = [
            "    I rest = i;",
            f"    I {', '.join(f'o{i} = 0' for i in strided)};",
            "    #pragma unroll",
            f"    for (int d = {dims - 1}; d >= 0; --d) {{",
            "        const I next = rest / dims.size[d], at = rest - next * dims.size[d];",
        ]
        lines += [f"        o{i} += at * dims.stride[{k}][d];" for k, i in enumerate(strided)]
        return [*lines, "        rest = next;", "    }"]

    def table(self, name: str, variant: Variant) -> str:
        """Elementwise over arrays of their own: ``(numbers, table, lengths)``, a block per row."""
        layout, v = self.layout, variant.width
        element, call = self._element(name)
        (kind,) = {memory_type(d) for d in (*layout.held, *layout.stored)}
        count, outs = len(layout.reads), range(len(layout.stored))
        parameters = [*self._numbers(), f"{kind}* const* __restrict__ x",
                      "const long long* __restrict__ lengths"]  # fmt: skip
        lines = self._head(name, variant, parameters)
        lines += ["    const int columns = (int)lengths[blockIdx.x];"]
        lines += [f"    {kind}* const x{i} = x[(long long)blockIdx.x * {count} + {i}];"
                  for i in range(count)]  # fmt: skip
        target = [f"x{layout.into[i]}" for i in outs]
        lines += [f"    for (int i = threadIdx.x * {v}; i < columns; i += {BLOCK * v}) {{"]
        place = ["0" if k == "one" else "k" for k in layout.reads]
        single = [f"x{i}[{place[i]}]" for i in range(count)] + [f"q{i}" for i in outs]
        scalar = [*(f"{kind} q{i};" for i in outs), call(single, "k"),
                  *(f"{target[i]}[k] = q{i};" for i in outs)]  # fmt: skip
        if v > 1:
            whole = [i for i, k in enumerate(layout.reads) if k == "full"]
            packed = [f"p{i}.v[e]" if i in whole else f"x{i}[0]" for i in range(count)]
            packed += [f"q{i}.v[e]" for i in outs]
            lines += [
                f"        if (i + {v} <= columns) {{",
                *(f"            const GGPack<{kind}, {v}> p{i} = gg_read<{v}>((const {kind}*)x{i}"
                  " + i);" for i in whole),
                *(f"            GGPack<{kind}, {v}> q{i};" for i in outs),
                "            #pragma unroll",
                f"            for (int e = 0; e < {v}; ++e) {call(packed, 'i + e')}",
                *(f"            gg_write<{v}>({target[i]} + i, q{i});" for i in outs),
                "            continue;",
                "        }",
            ]  # fmt: skip
        lines += [f"        for (int k = i; k < i + {v} && k < columns; ++k) {{",
                  *("            " + x for x in scalar), "        }", "    }"]  # fmt: skip
        return "\n".join([*element, *lines, "}", ""])

    # ---- rows ------------------------------------------------------------------------------

    def words(self) -> float:
        """Registers that a column of a row on chip takes."""
        layout = self.layout
        held = sum([d.itemsize for d, k in zip(layout.held, layout.reads) if k == "full"])
        sums = [o.dtype.itemsize for i, o in enumerate(self.outputs) if self.summed(i)]
        return float(held + sum(sums)) / 4 + len(self.kept)

    def rows(self, name: str, variant: Variant) -> str:
        """A kernel over rows.

        Its parameters: ``I rows, int columns, long long whole, [int part, int parts], numbers,
        arrays``; ``whole`` is how many columns a row had before it was reduced in parts.  A
        summed output has a row for each group of threads in the grid.  With ``split`` the
        outputs are those of the reductions, one per part of a row.
        """
        layout, v, t, packs = self.layout, variant.width, variant.threads, variant.packs
        index = "long long" if variant.wide else "int"
        parameters = [f"const {index} rows", "const int columns", "const long long whole"]
        if layout.table:
            parameters = [f"const {index} rows", "const long long* __restrict__ lengths"]
        if variant.split:
            parameters += ["const int part", "const int parts"]
        pointers = self._pointers()
        if layout.table:
            (kind,) = {memory_type(d) for d in layout.held}
            pointers = [f"{kind}* const* __restrict__ x", *pointers[len(layout.held) :]]
        if variant.split:
            pointers = pointers[: len(layout.held)]
            pointers += [f"{c.type_name(n.dtype)}* __restrict__ y{i}"
                         for i, n in enumerate(self.reductions)]  # fmt: skip
        lines = self._head(name, variant, [*parameters, *self._numbers(), *pointers])
        if t > 32:
            lines += [f"    __shared__ {c.type_name(n.dtype)} slots_{self.names[id(n)]}[32];"
                      for n in self.reductions]  # fmt: skip
        lines.append(f"    const int t = threadIdx.x % {t};")
        lines += ["    " + x for x in self._once(0, "one")]
        summed = [i for i in range(len(self.outputs)) if self.summed(i)]
        if packs:
            lines += [f"    {c.type_name(self.outputs[i].dtype)} sum{i}[{packs}][{v}] = {{}};"
                      for i in summed]  # fmt: skip
        if summed:
            lines.append(f"    const I own = (I)blockIdx.x * {variant.groups} + threadIdx.x / {t};")
        step = f"(I)gridDim.x * {variant.groups}"
        total = "rows * parts" if variant.split else "rows"
        lines.append(f"    const I step = {step}, total = {total};")
        start = f"(I)blockIdx.x * {variant.groups}"
        lines.append(f"    for (I first = {start}; first < total; first += step) {{")
        body = [f"const I at_row = first + threadIdx.x / {t};", "const bool live = at_row < total;"]
        if variant.split:
            body += ["const I r = live ? at_row / parts : 0;",
                     "const int from = live ? (int)(at_row % parts) * part : 0;",
                     "const int to = from + part < columns ? from + part : columns;"]  # fmt: skip
        else:
            body += ["const I r = live ? at_row : 0;"]
        if layout.table:
            count = len(layout.held)
            body += ["const int columns = (int)lengths[r], base = 0;"]
            body += [f"const {kind}* const x{i} = x[(long long)r * {count} + {i}];"
                     for i in range(count)]  # fmt: skip
        else:
            body.append("const I base = r * columns;")
        body += self._once(0, "row")
        body += self._whole_row(variant)
        for level in range(self.top + (0 if variant.split else 1)):
            body += [self._assign(n) for n in self.known(level)]
            if self.goals[level] or self.stores[level]:
                body += self._loop(level, variant)
        if variant.split:
            body += [f"if (t == 0 && live) y{i}[at_row] = {self.names[id(n)]};"
                     for i, n in enumerate(self.reductions)]  # fmt: skip
        else:
            body += [f"if (t == 0 && live) gg_put(y{i}[r], {self.name(o)});"
                     for i, o in enumerate(self.outputs) if self.row_outputs[i]]  # fmt: skip
        if self.reductions and t > 32:
            body.append("__syncthreads();  // before the next row writes to the slots")
        lines += ["        " + x for x in body] + ["    }"]
        if packs and summed:
            lines += [
                "    #pragma unroll",
                f"    for (int p = 0; p < {packs}; ++p)",
                "        #pragma unroll",
                f"        for (int e = 0; e < {v}; ++e) {{",
                f"            const int j = (p * {t} + t) * {v} + e;",
            ]
            lines += [f"            if (j < columns) y{i}[own * columns + j] = sum{i}[p][e];"
                      for i in summed]  # fmt: skip
            lines.append("        }")
        return "\n".join([*lines, "}", ""])

    def _whole_row(self, variant: Variant) -> list[str]:
        """Loads of what stays on chip, and room for what levels keep."""
        layout, v, packs = self.layout, variant.width, variant.packs
        if not packs:
            return []
        full = [i for i, k in enumerate(layout.reads) if k == "full"]
        lines = [f"GGPack<{memory_type(layout.held[i])}, {v}> p{i}[{packs}];" for i in full]
        lines += [f"float w{k}[{packs}][{v}];" for k in range(len(self.kept))]
        end = "to" if variant.split else "columns"
        lines += ["#pragma unroll", f"for (int p = 0; p < {packs}; ++p) {{",
                  f"    const int at = {self._at(variant)};", f"    if (live && at < {end}) {{",
                  *(f"        p{i}[p] = gg_read<{v}>(x{i} + base + at);" for i in full),
                  "    }", "}"]  # fmt: skip
        return lines

    def _at(self, variant: Variant) -> str:
        place = f"(p * {variant.threads} + t) * {variant.width}"
        return f"from + {place}" if variant.split else place

    def _loop(self, level: int, variant: Variant) -> list[str]:
        """A level's pass over the row, and its reductions over the threads."""
        layout, v, t, packs = self.layout, variant.width, variant.threads, variant.packs
        goals, stores = self.goals[level], self.stores[level]
        lines: list[str] = []
        for n in goals:
            zero = "0" if self._sums(n) else "-GG_INF"
            lines.append(f"{c.type_name(n.dtype)} t{self.names[id(n)]} = {zero};")
        work = self.work(level, scratch=bool(packs))
        used = {n.index for n in work if n.op is None and n.index >= 0}
        end = "to" if variant.split else "columns"
        if packs:
            lines += ["#pragma unroll", f"for (int p = 0; p < {packs}; ++p) {{",
                      f"    const int at = {self._at(variant)};",
                      f"    if (!live || at >= {end}) continue;"]  # fmt: skip
        else:
            start = f"from + t * {v}" if variant.split else f"t * {v}"
            lines += [f"if (live) for (int at = {start}; at < {end}; at += {t * v}) {{"]
        for i in sorted(used):
            kind, held = layout.reads[i], memory_type(layout.held[i])
            if kind == "column" or (kind == "full" and not packs):
                place = "at" if kind == "column" else "base + at"
                lines.append(f"    const GGPack<{held}, {v}> c{i} = gg_read<{v}>(x{i} + {place});")
        direct = [i for i in stores if not self.summed(i)]
        lines += [f"    GGPack<{memory_type(layout.stored[i])}, {v}> q{i};" for i in direct]
        lines += ["    #pragma unroll", f"    for (int e = 0; e < {v}; ++e) {{"]
        inner = self._column(level, work, packs)
        for n in goals:
            name, value = self.names[id(n)], self.name(n.args[0])
            inner.append(f"t{name} += {value};" if self._sums(n)
                         else f"t{name} = gg_largest::of(t{name}, {value});")  # fmt: skip
        for i in stores:
            value = self.name(self.outputs[i])
            if i in direct:
                inner.append(f"gg_put(q{i}.v[e], {value});")
            else:
                inner.append(f"sum{i}[p][e] += {value};" if packs
                             else f"y{i}[own * columns + at + e] += {value};")  # fmt: skip
        if re.search(r"\bj\b", " ".join(inner)):
            inner.insert(0, "const int j = at + e;")
        lines += ["        " + x for x in inner] + ["    }"]
        lines += [f"    gg_write<{v}>(y{i} + base + at, q{i});" for i in direct] + ["}"]
        for n in goals:
            kind, name = c.type_name(n.dtype), self.names[id(n)]
            slots = f"slots_{name}" if t > 32 else f"({kind}*)0"
            how = "gg_add" if self._sums(n) else "gg_largest"
            lines.append(f"const {kind} {name} = gg_over<{t}, {how}>(t{name}, {slots});")
        return lines

    def _column(self, level: int, work: Sequence[Expr], packs: int) -> list[str]:
        """What a level's loop does for one column."""
        inner: list[str] = []
        for n in work:
            if n.op is None:
                if n.index >= 0:
                    full = self.layout.reads[n.index] == "full" and packs
                    pack = f"p{n.index}[p]" if full else f"c{n.index}"
                    inner.append(self._input(n.index, f"{pack}.v[e]"))
                continue
            row, name = self.kept.get(id(n)) if packs else None, self.names[id(n)]
            if row is not None and self.first[id(n)] < level:
                inner.append(f"const float {name} = w{row}[p][e];")
                continue
            inner.append(self._assign(n))
            if row is not None:
                inner.append(f"w{row}[p][e] = {name};")
        return inner

    def _sums(self, node: Expr) -> bool:
        return node.op is not None and node.op.name == "sum"

    @property
    def splits(self) -> bool:
        """Whether several blocks may share a row: there is one round of reductions, and no more."""
        return self.kind == "rows" and self.top == 1 and all(self.row_outputs)

    @property
    def folds(self) -> bool:
        """Whether it is sums of columns if its array is turned over: sums, then what follows."""
        return self.splits and len(self.layout.reads) == 1 and all(map(self._sums, self.reductions))

    def columns(self) -> tuple[Trace, Layout]:
        """What is added up over rows where rows and columns have changed places: for ``folds``."""
        outputs = tuple([n.args[0] for n in self.reductions])
        kinds = tuple([n.dtype for n in self.reductions])
        (held,) = self.layout.held
        trace = Trace(("x0",), (computed(held),), outputs, ("full",))
        return trace, Layout(("full",), (held,), kinds, (), (True,) * len(kinds))

    def joined(self, reduced: bool = False) -> tuple[Trace, Layout]:
        """What reduces the results of a row's parts and does what follows: for ``split``.

        Its inputs are those results, one per reduction, then what is read once or per row.

        Args:
            reduced: whether the results are whole already, one per element.
        """
        inputs: dict[int, Expr] = {}
        held: list[DType] = []
        reads: list[str] = []

        def new(dtype: DType, stored: DType, read: str) -> Expr:
            held.append(stored)
            reads.append(read)
            return Expr(None, (), dtype, len(held) - 1, {"read": read})

        made: dict[int, Expr] = {}
        for n in self.reductions:
            part = new(n.dtype, n.dtype, "full")
            made[id(n)] = part if reduced else Expr(n.op, (part,), n.dtype)
        for i, read in enumerate(self.layout.reads):
            if read in ("row", "one"):
                stored = self.layout.held[i]
                inputs[i] = new(computed(stored), stored, read)

        def again(x: Any) -> Any:
            if not isinstance(x, Expr):
                return x
            if x.op is None:
                return inputs[x.index] if x.index >= 0 else x
            if id(x) not in made:
                made[id(x)] = Expr(x.op, tuple(map(again, x.args)), x.dtype, settings=x.settings)
            return made[id(x)]

        for n in self.order:  # arguments come first, so that nothing recurses deeply
            if not self.varies_of(n):
                again(n)
        outputs = tuple(map(again, self.outputs))
        names = tuple([f"x{i}" for i in range(len(held))])
        trace = Trace(names, tuple(map(computed, held)), outputs, tuple(reads))
        return trace, Layout(tuple(reads), tuple(held), self.layout.stored)

    def print(self, name: str, variant: Variant) -> str:
        """The text of a kernel, without the prelude."""
        text: str = getattr(self, self.kind)(name, variant)
        return text
