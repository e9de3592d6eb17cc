"""CUDA kernels over rows: reductions along them, sums over them, and both at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gpugrad.codegen import c
from gpugrad.codegen.cuda.spelling import Spelling, Variant, computed, memory_type
from gpugrad.codegen.levels import Layout
from gpugrad.codegen.trace import Trace
from gpugrad.dtypes import DType
from gpugrad.expr import Expr


class Rows(Spelling):
    """Prints kernels over rows."""

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
        parameters = [f"const {index} rows", f"const {index} columns", "const long long whole"]
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
        lines += ["    " + x for x in self._once("one")]
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
                     "const I from = live ? at_row % parts * part : 0;",
                     "const I to = from + part < columns ? from + part : columns;"]  # fmt: skip
        else:
            body += ["const I r = live ? at_row : 0;"]
        if layout.table:
            count = len(layout.held)
            body += ["const int columns = (int)lengths[r], base = 0;"]
            body += [f"const {kind}* const x{i} = x[(long long)r * {count} + {i}];"
                     for i in range(count)]  # fmt: skip
        else:
            body.append("const I base = r * columns;")
        body += self._once("row")
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
                  f"    const {self._at(variant)};", f"    if (live && at < {end}) {{",
                  *(f"        p{i}[p] = gg_read<{v}>(x{i} + base + at);" for i in full),
                  "    }", "}"]  # fmt: skip
        return lines

    def _at(self, variant: Variant) -> str:
        place = f"(p * {variant.threads} + t) * {variant.width}"
        return f"I at = from + {place}" if variant.split else f"int at = {place}"

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
                      f"    const {self._at(variant)};",
                      f"    if (!live || at >= {end}) continue;"]  # fmt: skip
        else:
            start = f"I at = from + t * {v}" if variant.split else f"int at = t * {v}"
            lines += [f"if (live) for ({start}; at < {end}; at += {t * v}) {{"]
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
            inner.insert(0, "const int j = (int)at + e;")
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
        return self.top == 1 and all(self.row_outputs)

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
