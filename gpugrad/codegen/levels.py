"""What a kernel over rows computes when: the plan that every target's printer follows.

Elementwise work is one level.  Each reduction along the row that depends on another adds one:
softmax is "largest", then "exponentials and their sum", then "divide".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpugrad import dtypes
from gpugrad.codegen.numbers import Number
from gpugrad.dtypes import DType
from gpugrad.errors import NotSupportedError
from gpugrad.expr import COLUMN, Expr, schedule

#: Functions that hardware computes in an instruction: as cheap as arithmetic.
_CHEAP = {"sqrt", "fabs", "floor", "ceil", "trunc", "rint", "isinf", "isfinite", "fmax", "fmin",
          "gg_maximum", "gg_minimum"}  # fmt: skip
#: The constants that formulas have.  Others, such as a learning rate, are passed to the kernel.
_PRINTED = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the arrays of a kernel lie: per input how it is read, what each array holds.

    Attributes:
        reads: per input ``"full"``: ``(rows, columns)``, ``"column"``: one value per column,
            ``"row"``: one per row, ``"one"``: a single value; on CUDA devices also ``"strided"``:
            any strides.
        held: per input the dtype in memory.
        stored: per output the dtype in memory.
        into: per output the input whose memory it overwrites, or -1.
        summed: per output whether it is added up over rows: the array then has a row for every
            block of rows of work, and the caller adds those.
        table: whether each row lies in arrays of its own: ``x`` is a table of pointers, one line
            per row with one per input, and ``lengths`` says how long the row is.
    """

    reads: tuple[str, ...]
    held: tuple[DType, ...]
    stored: tuple[DType, ...]
    into: tuple[int, ...] = ()
    summed: tuple[bool, ...] = ()
    table: bool = False


class Levels:
    """The nodes of a kernel in the order of their levels.

    Attributes:
        order: every node after its arguments.
        outputs: the expressions of the outputs.
        numbers: constants that are passed to the kernel, in the order of their numbers.
        top: the last level.
        goals: per level the reductions that its loop over the row makes.
        stores: per level the outputs that it writes, by number.
        cones: per level what varies along the row and is needed for those, inputs first.
        kept: node -> number of the scratch row that holds it for later levels.
        first: node -> level that fills its scratch row.

    Raises:
        NotSupportedError: for a reduction of what is the same along the row.
    """

    def __init__(self, outputs: Sequence[Expr], layout: Layout) -> None:
        self.order, self.outputs = schedule(outputs)
        self.layout = layout
        self.numbers: list[float] = []
        self.called: set[str] = set()
        self.names = {id(n): f"v{i}" for i, n in enumerate(self.order)}
        self.level: dict[int, int] = {}
        self.varies: dict[int, bool] = {}
        self.text: dict[int, str] = {}
        self.costly: dict[int, bool] = {}
        for node in self.order:
            self._study(node)
        self.top = max([*self.level.values(), 0])
        self.reductions = [n for n in self.order if self.reduces(n)]
        self.goals: list[list[Expr]] = [[] for _ in range(self.top + 1)]
        for node in self.reductions:
            self.goals[self.level_of(node) - 1].append(node)
        self.stores: list[list[int]] = [[] for _ in range(self.top + 1)]
        for i, out in enumerate(self.outputs):
            if not self.per_row(out):
                self.stores[self.level_of(out)].append(i)
        self.cones = [self._cone([*(n.args[0] for n in g), *(self.outputs[i] for i in s)])
                      for g, s in zip(self.goals, self.stores)]  # fmt: skip
        self.kept: dict[int, int] = {}
        self.first: dict[int, int] = {}
        self._keep()

    def spell(self, node: Expr) -> tuple[str, tuple[str, ...]]:
        """A node in the target's language, and the functions in it."""
        raise NotImplementedError

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
        """Whether a node is a reduction along the row."""
        return node.op is not None and not node.op.elementwise

    def level_of(self, x: Expr) -> int:
        """The level in which a value is known."""
        return self.level.get(id(x), 0)

    def varies_of(self, x: Expr) -> bool:
        """Whether a value may differ from column to column."""
        if x.op is None:
            return x.index == COLUMN or (
                x.index >= 0 and self.layout.reads[x.index] in ("full", "column", "strided")
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

    def summed(self, i: int) -> bool:
        """Whether output ``i`` is added up over rows."""
        return bool(self.layout.summed) and self.layout.summed[i]

    def known(self, level: int) -> list[Expr]:
        """What is the same along the row and can be computed before a level's loop."""
        there = [n for n in self.order if self.level_of(n) == level and not self.reduces(n)]
        return [n for n in there if not self.varies[id(n)]]

    def number(self, value: float) -> int | None:
        """The place of a constant among the ``numbers``; None for one to be printed."""
        if type(value) is not Number and (value in _PRINTED or not abs(value) < 1e300):
            return None
        for i, n in enumerate(self.numbers):
            # A formula is itself only: two that are equal now may differ at the next call.
            if n is value or (type(value) is not Number and n == value):
                return i
        self.numbers.append(value)
        return len(self.numbers) - 1

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

    def _keep(self) -> None:
        """Choose what goes to scratch rows, and in which level each is made."""
        for level, cone in enumerate(self.cones):
            needed = {id(n) for n in self.work(level)}
            for later in self.cones[level + 1 :]:
                again = {id(n) for n in later}
                for n in cone:
                    if (id(n) in needed & again and self.costly.get(id(n))
                            and n.dtype is dtypes.float32 and id(n) not in self.first):  # fmt: skip
                        self.first[id(n)] = level
                        self.kept[id(n)] = len(self.kept)

    def work(self, level: int, scratch: bool = True) -> list[Expr]:
        """What a level's loop does for each column, in order.

        Args:
            level: which.
            scratch: whether what an earlier level left in scratch rows need not be made again.
        """
        cone = self.cones[level]
        loaded = {i for i, made in self.first.items() if made < level} if scratch else set()
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
