"""Expressions as Python that Numba compiles: a loop over rows, in it loops along the row.

One frame serves both shapes of work.  An elementwise kernel is one loop along one long row.  A
row-wise one has a loop for each dependent reduction: softmax is "largest", then "exponentials and
their sum", then "divide".  What a later loop needs again is computed again if that is cheap, else
kept in a scratch row, which stays in the cache.

    def kernel(first, last, columns, numbers, work, x0, x1, ..., y0, ...):

``x``/``y`` are pointers, ``numbers`` the constants of the call (float64), ``work`` the scratch.
An input is read in one of these ways: ``"full"`` ``(rows, columns)``, ``"column"`` one value per
column, ``"row"`` one per row, ``"one"`` a single value.

Sums add up to ``BLOCK`` float32 values in partial sums of a vector's lanes, and such blocks in
float64.  No row is split, so results do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpugrad import dtypes
from gpugrad.codegen import c
from gpugrad.codegen.levels import Layout, Levels
from gpugrad.codegen.numbers import Number
from gpugrad.codegen.python import translate
from gpugrad.dtypes import DType
from gpugrad.errors import NotSupportedError
from gpugrad.expr import COLUMN, COUNT, Expr

BLOCK = 512
ROWS = 32
_KINDS = {dtypes.BOOL: "b", dtypes.INTEGER: "i", dtypes.FLOAT: "f"}
#: C's types as one word each, as ``codegen.python`` reads them.
_WORDS = {d: name.replace(" ", "") for d, name in c.TYPES.items()}
#: Loads and stores of what is held in another type than it computes in.
_HELD = {dtypes.float16: ("from_half({})", "to_half({})"),
         dtypes.bfloat16: ("from_bf16({})", "to_bf16({})"),
         dtypes.bool_: ("({} != 0)", "to_byte({})")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Printed:
    """A kernel's source and what it needs beside its arrays."""

    source: str
    called: tuple[str, ...]
    numbers: tuple[float, ...]
    scratch: int  # rows of float32 that a thread needs
    per_row: tuple[bool, ...]  # per output: one value per row
    cuttable: bool = False  # whether a row may be worked on in parts


class _Printer(Levels):
    """Prints one kernel; see the module's docstring for the shape of it."""

    def name(self, x: Expr) -> str:
        if x.op is not None:
            return self.names[id(x)]
        return (
            "to_int(j)" if x.index == COLUMN else "columns" if x.index == COUNT else f"a{x.index}"
        )

    # ---- one node --------------------------------------------------------------------------

    def spell(self, node: Expr) -> tuple[str, tuple[str, ...]]:
        """A node as Python, and the functions of the maths library in it."""
        op = node.op
        assert op is not None
        computed = c.computed_in(node)
        if op.name == "to" and not op.home:
            return self._cast(node), ()
        kind = _KINDS[computed.category]
        form = op.c(node.args, kind) if callable(op.c) else op.c
        form = form[kind] if isinstance(form, dict) else form
        texts = [
            self.name(a) if isinstance(a, Expr)
            else self.literal(a, dtypes.bool_ if op.arrays[i] in op.indices else computed)
            for i, a in enumerate(node.args)
        ]  # fmt: skip
        settings = {k: self.literal(v, computed) for k, v in node.settings.items()
                    if f"{{{k}}}" in form}  # fmt: skip
        text = form.format(*texts, f="f" if computed is dtypes.float32 else "",
                           T=_WORDS[node.dtype], **settings)  # fmt: skip
        number = f"to_{_WORDS[computed]}({{}})" if computed is not dtypes.bool_ else "{}"
        python, functions = translate(text, number)
        return f"to_{_WORDS[node.dtype]}({python})", tuple(
            f for f in functions if not f.startswith("to_")
        )

    def _cast(self, node: Expr) -> str:
        (x,) = node.args
        if not isinstance(x, Expr):
            return self.literal(x, node.dtype)
        if x.dtype.is_floating_point and not node.dtype.is_floating_point:
            raise NotSupportedError("floats to integers: what does not fit is undefined")
        return f"to_{_WORDS[node.dtype]}({self.name(x)})"

    def literal(self, value: Any, dtype: DType) -> str:
        """A constant: printed, or a number that the caller passes."""
        if dtype is dtypes.bool_:
            return str(bool(value))
        word = _WORDS[dtype]
        if not dtype.is_floating_point:
            bits = 8 * dtype.itemsize
            wrapped = int(value) & (1 << bits) - 1
            wrapped -= (wrapped >> bits - 1 << bits) if dtype.is_signed else 0
            if wrapped != int(value):
                raise NotSupportedError(f"{value} does not fit {dtype.name}")
            return f"to_{word}(-{-wrapped})" if wrapped < 0 else f"to_{word}({wrapped})"
        value = value if type(value) is Number else float(value)
        at = self.number(value)
        if at is not None:
            return f"n{at}_{word}"
        special = {"inf": "INF", "-inf": "-INF", "nan": "NAN"}
        return f"to_{word}({special.get(repr(value), repr(value))})"

    # ---- the loops -------------------------------------------------------------------------

    def print(self, name: str) -> Printed:
        body: list[str] = []
        for level in range(self.top + 1):
            body += [f"{self.names[id(n)]} = {self.text[id(n)]}" for n in self.known(level)]
            if self.goals[level] or self.stores[level]:
                body += self._loop(level)
        for i, out in enumerate(self.outputs):
            if self.per_row(out):
                body.append(f"y{i}[r] = {self._store(i, self.name(out))}")
        per_row = tuple(self.per_row(o) for o in self.outputs)
        source = self._frame(name, body)
        # The frame's first line names its argument; any other place asks how long the row is.
        cuttable = not (self.reductions or any(self.layout.summed) or "to_int(j)" in source)
        cuttable = cuttable and "columns)" not in source.replace("range(columns)", "")
        return Printed(source, tuple(sorted(self.called)), tuple(self.numbers), len(self.kept),
                       per_row, cuttable)  # fmt: skip

    def _loop(self, level: int) -> list[str]:
        goals, stores, first = self.goals[level], self.stores[level], self.first
        lines: list[str] = []
        sums = [n for n in goals if n.op and n.op.name == "sum"]
        for n in goals:
            name = self.names[id(n)]
            lines.append(f"s{name} = 0.0" if n in sums else f"m{name} = to_int(LEAST)")
        inner: list[str] = []
        for n in self.work(level):
            if n.op is None:
                if n.index >= 0:
                    inner.append(f"a{n.index} = {self._load(n.index)}")
                continue
            row = self.kept.get(id(n))
            if row is not None and first[id(n)] < level:
                inner.append(f"{self.names[id(n)]} = work[{row} * columns + j]")
                continue
            inner.append(f"{self.names[id(n)]} = {self.text[id(n)]}")
            if row is not None:
                inner.append(f"work[{row} * columns + j] = {self.names[id(n)]}")
        for n in goals:
            name, value = self.names[id(n)], self.name(n.args[0])
            inner += [f"t{name} = plus(t{name}, {value})"] if n in sums else [
                f"k{name} = order_up({value})",
                f"m{name} = k{name} if k{name} > m{name} else m{name}",
            ]  # fmt: skip
        for i in stores:
            value = self._store(i, self.name(self.outputs[i]))
            inner.append(f"y{i}[block + j] += {value}" if self.summed(i)
                         else f"{self._target(i)}[base + j] = {value}")  # fmt: skip
        if not sums:
            lines += ["for j in range(columns):", *("    " + x for x in inner)]
        else:
            lines.append(f"for start in range(0, columns, {BLOCK}):")
            lines += [f"    t{self.names[id(n)]} = {self._zero(n)}" for n in sums]
            lines.append(f"    for j in range(start, min(start + {BLOCK}, columns)):")
            lines += ["        " + x for x in inner]
            lines += [f"    s{self.names[id(n)]} += t{self.names[id(n)]}" for n in sums]
        for n in goals:
            name = self.names[id(n)]
            lines.append(f"{name} = {self._total(n, name)}")
        return lines

    def _zero(self, n: Expr) -> str:
        return f"to_{_WORDS[n.dtype]}(0)"

    def _total(self, n: Expr, name: str) -> str:
        if n.op and n.op.name == "sum":
            return f"to_{_WORDS[n.dtype]}(s{name})"
        return f"from_order(m{name})"

    def _load(self, i: int) -> str:
        at = {"full": "base + j", "column": "j", "row": "r", "one": "0"}[self.layout.reads[i]]
        held = self.layout.held[i]
        return _HELD[held][0].format(f"x{i}[{at}]") if held in _HELD else f"x{i}[{at}]"

    def _store(self, i: int, value: str) -> str:
        held = self.layout.stored[i]
        return _HELD[held][1].format(value) if held in _HELD else value

    def _target(self, i: int) -> str:
        into = self.layout.into[i] if self.layout.into else -1
        return f"x{into}" if into >= 0 else f"y{i}"

    def _frame(self, name: str, body: list[str]) -> str:
        layout = self.layout
        arrays = [f"x{i}" for i in range(len(layout.reads))]
        arrays += [f"y{i}" for i in range(len(layout.stored))]
        if layout.table:
            arrays = ["x", "lengths"]
        lines = [f"def {name}(first, last, columns, numbers, work, {', '.join(arrays)}):"]
        joined = "\n".join(body)
        for i in range(len(self.numbers)):
            lines += [f"    n{i}_{w} = to_{w}(numbers[{i}])" for w in ("float", "double")
                      if f"n{i}_{w}" in joined]  # fmt: skip
        once = [f"    a{i} = {self._load(i)}" for i, k in enumerate(layout.reads) if k == "one"]
        lines += [] if layout.table else once
        lines += ["    for r in range(first, last):"]
        if layout.table:
            count = len(layout.reads)
            lines += [f"        x{i} = x[r * {count} + {i}]" for i in range(count)]
            lines += ["        base = 0", "        columns = lengths[r]"]
            lines += ["    " + x for x in once]
        else:
            lines += ["        base = r * columns"]
        if any(layout.summed):
            lines += [f"        block = r // {ROWS} * columns"]
        lines += [f"        a{i} = {self._load(i)}"
                  for i, k in enumerate(layout.reads) if k == "row"]  # fmt: skip
        return "\n".join([*lines, *("        " + x for x in body)]) + "\n"


def print_kernel(name: str, outputs: Sequence[Expr], layout: Layout) -> Printed:
    """Print a kernel of these outputs.

    Raises:
        NotSupportedError: if something in it has no spelling here.
    """
    return _Printer(outputs, layout).print(name)
