"""Expression trees: the namespace that answers "what would a kernel compute?".

Running an elementwise op on ``EXPR`` unfolds it into leaves.  Nodes are interned per trace by
``(op, args)``, so a shared subexpression is one node and is printed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad import dtypes, signature
from gpugrad.dtypes import DType
from gpugrad.errors import ArgumentError, NotSupportedError
from gpugrad.op import Op, registry
from gpugrad.symbolic import Operators

#: Which input an expression is, for two that are no arrays: the place in the row (int32), and how
#: many columns a row has (int64).
COLUMN, COUNT = -2, -3


_ROWS = object()


class Expr(Operators):
    """One value of a kernel: a leaf op applied to expressions and constants.

    Attributes:
        op: the leaf's record; None for an input.
        args: expressions, or Python numbers (constants of the node's dtype).
        settings: the leaf's settings.
        dtype: dtype of the value.
        index: which input it is, for inputs; -1 otherwise.
    """

    __slots__ = ("args", "dtype", "index", "op", "settings")
    #: Every input of a kernel counts as a tensor with dimensions; a row-wise one sees rows.
    ndim = 2

    def __init__(self, op: Op | None, args: tuple[Any, ...], dtype: DType, index: int = -1,
                 settings: dict[str, Any] | None = None) -> None:  # fmt: skip
        self.op = op
        self.args = args
        self.dtype = dtype
        self.index = index
        self.settings = settings or {}

    def __repr__(self) -> str:
        if self.op is None:
            return f"in{self.index}"
        return f"{self.op.name}({', '.join(map(repr, self.args))})"

    def __bool__(self) -> bool:
        raise NotSupportedError("an expression has no value yet: it cannot decide what Python does")

    @classmethod
    def _apply(cls, name: str, *args: Any) -> Any:
        return getattr(EXPR, name)(*args)

    @property
    def shape(self) -> tuple[Any, Any]:
        """Rows, which nothing can be done with, and columns, which the kernel is told."""
        return (_ROWS, Expr(None, (), dtypes.int64, COUNT))


def inputs(types: Sequence[DType]) -> list[Expr]:
    """Make the inputs of a trace."""
    return [Expr(None, (), t, i) for i, t in enumerate(types)]


def cast(value: Any, dtype: DType) -> Any:
    """Cast an expression; a number stays a constant."""
    if not isinstance(value, Expr) or value.dtype is dtype:
        return value
    return Expr(registry["to"], (value,), dtype, settings={"dtype": dtype})


def constant(value: Any, dtype: DType) -> Expr:
    """A number of a dtype as an expression of its own."""
    return Expr(registry["to"], (value,), dtype, settings={"dtype": dtype})


def apply(op: Op, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    """Apply an elementwise op to expressions: a leaf becomes a node, a composite unfolds.

    Raises:
        ArgumentError: if the op is not elementwise and so has no place in such a kernel.
    """
    if not op.elementwise:
        if "dim" in op.settings:  # a reduction, or made of some
            return op.fn(EXPR, *args, **settings)
        raise ArgumentError(f"{op.name} is not elementwise: it cannot be part of an Expr")
    if op.name == "to":
        return cast(args[0], settings["dtype"])
    dtype = signature.compute_dtype(op, args)
    if dtype is not None:
        args = tuple(
            a if op.arrays[i] in op.indices else cast(a, dtype) for i, a in enumerate(args)
        )
    else:
        dtype = next(a.dtype for a in args if isinstance(a, Expr))
    if not op.leaf or not _spelt(op, settings):
        return op.fn(EXPR, *args, **settings)
    return Expr(op, args, dtypes.bool_ if op.promotion == "bool" else dtype, settings=settings)


def _spelt(op: Op, settings: dict[str, Any]) -> bool:
    """Whether a leaf's spelling covers these settings; where it names none, only the defaults."""
    return all(f"{{{k}}}" in str(op.c) or v == op.settings[k] for k, v in settings.items())


def _along_row(name: str, axis: Any) -> None:
    if axis not in (1, -1, (1,), (-1,)):
        raise NotSupportedError(f"{name} over {axis}: a kernel reduces the last dimension only")


def varies(x: Any) -> bool:
    """Whether an expression may differ from column to column."""
    stack, seen = [x], set()
    while stack:
        node = stack.pop()
        if not isinstance(node, Expr) or id(node) in seen:
            continue
        seen.add(id(node))
        whole = node.index >= 0 and node.settings.get("read") not in ("row", "one")
        if node.op is None and (whole or node.index == COLUMN):
            return True
        if node.op is None or node.op.elementwise:
            stack.extend(node.args)
    return False


def _one_per_row(name: str, x: Any) -> Any:
    """The expression, if it is the same along the row."""
    if varies(x):
        raise NotSupportedError(f"{name} of whole rows: a kernel keeps elements in place")
    return x


def _at(index: Expr) -> Expr:
    """Whether this is the column that ``index``, one per row, names."""
    _one_per_row("an index", index)
    return EXPR.equal(Expr(None, (), dtypes.int32, COLUMN), cast(index, dtypes.int32))  # type: ignore[no-any-return]


class _ExprNamespace:
    """``xp`` over expressions: every elementwise op by its array-API name."""

    inf = float("inf")

    def zeros_like(self, x: Expr) -> Expr:
        """A constant; a gradient rule's way to say that nothing flows."""
        return constant(0, x.dtype)

    def astype(self, x: Any, dtype: DType) -> Any:
        """A cast."""
        return cast(x, dtype)

    def asarray(self, x: Any) -> Any:
        """The expression itself."""
        return x

    # ---- along a row: reductions over the last axis, and values that are one per row -------

    def sum(self, x: Expr, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Expr:
        """The sum of a row."""
        _along_row("sum", axis)
        x = x if dtype is None else cast(x, dtype)
        if not x.dtype.is_floating_point:
            raise NotSupportedError("sum of integers: kernels sum floats")
        return Expr(registry["sum"], (x,), x.dtype)

    def max(self, x: Expr, axis: Any = None, keepdims: bool = False) -> Expr:
        """The largest of a row, NaN if there is one."""
        _along_row("max", axis)
        if x.dtype is not dtypes.float32:
            raise NotSupportedError(f"max of {x.dtype.name}: kernels compare float32")
        return Expr(registry["amax"], (x,), x.dtype)

    def take_along_axis(self, x: Expr, index: Expr, axis: Any) -> Expr:
        """The element of the row at ``index``, which is one per row."""
        _along_row("take_along_axis", axis)
        return self.sum(self.where(_at(index), x, 0), axis)

    def scatter_add(self, x: Expr, axis: Any, index: Expr, value: Expr) -> Expr:
        """``x`` with ``value`` added at ``index``, both one per row."""
        _along_row("scatter_add", axis)
        return self.add(x, self.where(_at(index), value, 0))  # type: ignore[no-any-return]

    def expand_dims(self, x: Any, axis: Any) -> Any:
        """One value per row stays that."""
        return _one_per_row("expand_dims", x)

    def squeeze(self, x: Any, axis: Any) -> Any:
        """One value per row stays that."""
        return _one_per_row("squeeze", x)

    def broadcast_to(self, x: Any, shape: Any) -> Any:
        """One value per row is one for each of its columns."""
        return x

    def reshape(self, x: Any, shape: Any) -> Any:
        """One value per row stays that."""
        return _one_per_row("reshape", x)

    def __getattr__(self, name: str) -> Any:
        record = registry.by_xp.get(name)
        if not isinstance(record, Op):
            raise AttributeError(f"no op is known to Expr as xp.{name}")

        def call(*args: Any, **kwargs: Any) -> Any:
            if record.result is not None:
                raise NotSupportedError(f"{record.name} has no expression: it needs whole arrays")
            kwargs.pop("out", None)  # the array code may write over what it no longer needs
            arrays, settings = signature.bind(record, args, kwargs)
            return apply(record, arrays, signature.normalise(record, 2, settings))

        setattr(self, name, call)
        return call


EXPR: Any = _ExprNamespace()


def schedule(outputs: Sequence[Expr]) -> tuple[list[Expr], list[Expr]]:
    """Order the work: every node that the outputs need, inputs left out, after its arguments.

    Structurally equal nodes are one node in the list, and in the second one, which holds the
    outputs.
    """
    order: list[Expr] = []
    numbers: dict[Any, int] = {}  # structure -> serial number
    nodes: list[Expr] = []  # by serial number
    number: dict[int, int] = {}  # id of a node -> serial number of its structure
    stack: list[tuple[Expr, bool]] = [(o, False) for o in reversed(outputs)]
    while stack:
        node, ready = stack.pop()
        if id(node) in number:
            continue
        if not ready:
            stack.append((node, True))
            stack.extend((a, False) for a in node.args if isinstance(a, Expr))
            continue
        serial = numbers.setdefault(_structure(node, number), len(nodes))
        if serial == len(nodes):
            nodes.append(node)
            if node.op is not None:
                order.append(node)
        number[id(node)] = serial
    for node in order:  # point arguments at the one representative of each structure
        node.args = tuple(nodes[number[id(a)]] if isinstance(a, Expr) else a for a in node.args)
    return order, [nodes[number[id(o)]] for o in outputs]


def _structure(node: Expr, number: dict[int, int]) -> Any:
    if node.op is None:
        return ("in", node.index)
    args = tuple(
        number[id(a)] if isinstance(a, Expr) else (type(a).__name__, repr(a)) for a in node.args
    )
    settings = tuple(sorted((k, repr(v)) for k, v in node.settings.items()))
    return (node.op.home, node.op.name, node.dtype.name, args, settings)
