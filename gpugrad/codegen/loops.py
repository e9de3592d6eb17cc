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
from gpugrad.codegen.numbers import Number
from gpugrad.codegen.python import translate
from gpugrad.dtypes import DType
from gpugrad.errors import NotSupportedError
from gpugrad.expr import COLUMN, COUNT, Expr, schedule

BLOCK = 512
ROWS = 32
_KINDS = {dtypes.BOOL: "b", dtypes.INTEGER: "i", dtypes.FLOAT: "f"}
#: C's types as one word each, as ``codegen.python`` reads them.
_WORDS = {d: name.replace(" ", "") for d, name in c.TYPES.items()}
#: Loads and stores of what is held in another type than it computes in.
_HELD = {dtypes.float16: ("from_half({})", "to_half({})"),
         dtypes.bfloat16: ("from_bf16({})", "to_bf16({})"),
         dtypes.bool_: ("({} != 0)", "to_byte({})")}  # fmt: skip
#: Functions that hardware computes in an instruction: as cheap as arithmetic.
_CHEAP = {"sqrt", "fabs", "floor", "ceil", "trunc", "rint", "isinf", "isfinite", "fmax", "fmin",
          "gg_maximum", "gg_minimum"}  # fmt: skip
REDUCTIONS = ("sum", "amax")


@dataclass(frozen=True, slots=True)
class Layout:
    """How the arrays of a kernel lie: per input how it is read, what each array holds.

    Attributes:
        reads: per input ``"full"``, ``"column"``, ``"row"`` or ``"one"``.
        held: per input the dtype in memory.
        stored: per output the dtype in memory.
        into: per output the input whose memory it overwrites, or -1.
        summed: per output whether it is added up over rows: the array then has a row for every
            ``ROWS`` rows of work, zeros at first, and the caller adds those.
        table: whether each row lies in arrays of its own: ``x`` is a table of pointers, one line
            per row with one per input, and ``lengths`` says how long the row is.
    """

    reads: tuple[str, ...]
    held: tuple[DType, ...]
    stored: tuple[DType, ...]
    into: tuple[int, ...] = ()
    summed: tuple[bool, ...] = ()
    table: bool = False


@dataclass(frozen=True, slots=True)
class Printed:
    """A kernel's source and what it needs beside its arrays."""

    source: str
    called: tuple[str, ...]
    numbers: tuple[float, ...]
    scratch: int  # rows of float32 that a thread needs
    per_row: tuple[bool, ...]  # per output: one value per row
    cuttable: bool = False  # whether a row may be worked on in parts


def _baked(value: float) -> bool:
    """Whether a constant is printed as it is: those that formulas have, not a learning rate."""
    return value in (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0) or not abs(value) < 1e300


class _Printer:
    """Prints one kernel; see the module's docstring for the shape of it."""

    def __init__(self, outputs: Sequence[Expr], layout: Layout) -> None:
        self.order, self.outputs = schedule(outputs)
        self.layout = layout
        self.numbers: list[float] = []
        self.called: set[str] = set()
        self.names = {id(n): f"v{i}" for i, n in enumerate(self.order)}
        self.level: dict[int, int] = {}
        self.varies: dict[int, bool] = {}
        self.kept: dict[int, int] = {}  # node -> its scratch row
        self.text: dict[int, str] = {}
        self.costly: dict[int, bool] = {}
        for node in self.order:
            self._study(node)

    def _study(self, node: Expr) -> None:
        args = [a for a in node.args if isinstance(a, Expr)]
        level = max((self.level_of(a) for a in args), default=0)
        varies = any(self.varies_of(a) for a in args)
        if self.reduces(node):
            if not varies:
                raise NotSupportedError("a reduction of what is the same along the row")
            level, varies = level + 1, False
        else:
            self.text[id(node)], functions = self.spell(node)
            self.called.update(functions)
            self.costly[id(node)] = any(f.removesuffix("f") not in _CHEAP for f in functions)
        self.level[id(node)], self.varies[id(node)] = level, varies

    def reduces(self, node: Expr) -> bool:
        return node.op is not None and not node.op.elementwise

    def level_of(self, x: Expr) -> int:
        return self.level.get(id(x), 0)

    def varies_of(self, x: Expr) -> bool:
        if x.op is None:
            return x.index == COLUMN or (
                x.index >= 0 and self.layout.reads[x.index] in ("full", "column")
            )
        return self.varies[id(x)]

    def per_row(self, x: Expr) -> bool:
        """Whether there is one value per row; what is the same everywhere is one per element."""
        if self.varies_of(x):
            return False
        stack, seen = [x], set()
        while stack:
            node = stack.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if self.reduces(node) or (
                node.op is None and node.index >= 0 and self.layout.reads[node.index] == "row"
            ):
                return True
            stack.extend(a for a in node.args if isinstance(a, Expr))
        return False

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
        if type(value) is Number:
            at = next((i for i, n in enumerate(self.numbers) if n is value), len(self.numbers))
            if at == len(self.numbers):
                self.numbers.append(value)
            return f"n{at}_{word}"
        value = float(value)
        if not _baked(value):
            if value not in self.numbers:
                self.numbers.append(value)
            return f"n{self.numbers.index(value)}_{word}"
        special = {"inf": "INF", "-inf": "-INF", "nan": "NAN"}
        return f"to_{word}({special.get(repr(value), repr(value))})"

    # ---- the loops -------------------------------------------------------------------------

    def print(self, name: str) -> Printed:
        levels = max([*self.level.values(), 0])
        goals: list[list[Expr]] = [[] for _ in range(levels + 1)]
        reductions = [n for n in self.order if self.reduces(n)]
        for node in reductions:
            goals[self.level_of(node) - 1].append(node)
        stores: list[list[int]] = [[] for _ in range(levels + 1)]
        for i, out in enumerate(self.outputs):
            if not self.per_row(out):
                stores[self.level_of(out)].append(i)
        cones = [self._cone([*(n.args[0] for n in g), *(self.outputs[i] for i in s)])
                 for g, s in zip(goals, stores)]  # fmt: skip
        first = self._keep(cones)
        body: list[str] = []
        for level in range(levels + 1):
            body += [  # what is the same along the row and known by now
                f"{self.names[id(n)]} = {self.text[id(n)]}" for n in self.order
                if not self.varies[id(n)] and not self.reduces(n) and self.level_of(n) == level
            ]  # fmt: skip
            if goals[level] or stores[level]:
                body += self._loop(level, cones[level], goals[level], stores[level], first)
        for i, out in enumerate(self.outputs):
            if self.per_row(out):
                body.append(f"y{i}[r] = {self._store(i, self.name(out))}")
        per_row = tuple(self.per_row(o) for o in self.outputs)
        source = self._frame(name, body)
        # The frame's first line names its argument; any other place asks how long the row is.
        cuttable = not (reductions or any(self.layout.summed) or "to_int(j)" in source)
        cuttable = cuttable and "columns)" not in source.replace("range(columns)", "")
        return Printed(source, tuple(sorted(self.called)), tuple(self.numbers), len(self.kept),
                       per_row, cuttable)  # fmt: skip

    def _cone(self, goals: Sequence[Any]) -> list[Expr]:
        """What varies along the row and is needed for the goals, in order, inputs included."""
        seen: dict[int, Expr] = {}
        stack = [g for g in goals if isinstance(g, Expr)]
        while stack:
            node = stack.pop()
            if id(node) in seen or not self.varies_of(node):
                continue
            seen[id(node)] = node
            stack.extend(a for a in node.args if isinstance(a, Expr))
        inputs = [n for n in seen.values() if n.op is None]
        return inputs + [n for n in self.order if id(n) in seen]

    def _keep(self, cones: list[list[Expr]]) -> dict[int, int]:
        """Choose what goes to scratch rows; says in which loop each is made."""
        first: dict[int, int] = {}
        for level, cone in enumerate(cones):
            needed = {id(n) for n in self._pruned(cone, level, first)}
            for later in cones[level + 1 :]:
                again = {id(n) for n in later}
                for n in cone:
                    if (id(n) in needed & again and self.costly.get(id(n))
                            and n.dtype is dtypes.float32 and id(n) not in first):  # fmt: skip
                        first[id(n)] = level
                        self.kept[id(n)] = len(self.kept)
        return first

    def _pruned(self, cone: list[Expr], level: int, first: dict[int, int]) -> list[Expr]:
        """A loop's work without what an earlier loop left in scratch."""
        loaded = {i for i, made in first.items() if made < level}
        if not any(id(n) in loaded for n in cone):
            return cone
        keep: list[Expr] = []
        needed = set(self._roots(cone))
        for n in reversed(cone):
            if id(n) in needed:
                keep.append(n)
                if id(n) not in loaded:
                    needed.update(id(a) for a in n.args if isinstance(a, Expr))
        return keep[::-1]

    def _roots(self, cone: list[Expr]) -> list[int]:
        used = {id(a) for n in cone for a in n.args if isinstance(a, Expr)}
        goals = {id(o) for o in self.outputs}
        goals |= {id(n.args[0]) for n in self.order if self.reduces(n)}
        return [id(n) for n in cone if id(n) not in used or id(n) in goals]

    def _loop(self, level: int, cone: list[Expr], goals: list[Expr], stores: list[int],
              first: dict[int, int]) -> list[str]:  # fmt: skip
        lines: list[str] = []
        sums = [n for n in goals if n.op and n.op.name == "sum"]
        for n in goals:
            name = self.names[id(n)]
            lines.append(f"s{name} = 0.0" if n in sums else f"m{name} = to_int(LEAST)")
        inner: list[str] = []
        for n in self._pruned(cone, level, first):
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
            summed = self.layout.summed and self.layout.summed[i]
            inner.append(f"y{i}[block + j] += {value}" if summed
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
        lines += [f"    a{i} = {self._load(i)}" for i, k in enumerate(layout.reads) if k == "one"]
        lines += ["    for r in range(first, last):"]
        if layout.table:
            count = len(layout.reads)
            lines += [f"        x{i} = x[r * {count} + {i}]" for i in range(count)]
            lines += ["        base = 0", "        columns = lengths[r]"]
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
