"""What a kernel is to compute: an op, or one of its gradient rules, run on ``Expr``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpugrad.dtypes import DType
from gpugrad.errors import NotSupportedError
from gpugrad.expr import EXPR, Expr, apply, constant
from gpugrad.op import Op


@dataclass(frozen=True, slots=True)
class Trace:
    """A kernel's inputs (what each is, and its dtype) and the expressions of its outputs.

    Attributes:
        reads: per input how it lies in rows and columns: ``"full"``, ``"column"``, ``"row"``,
            ``"one"`` (see ``codegen.loops``).
        used: which of the arrays that could be read are inputs.
        where: of gradients, per operand: None for none, -1 for the next output, else which of
            those arrays it is, unchanged.
    """

    names: tuple[str, ...]
    inputs: tuple[DType, ...]
    outputs: tuple[Expr, ...]
    reads: tuple[str, ...] = ()
    used: tuple[int, ...] = ()
    where: tuple[int | None, ...] = ()


class _Inputs:
    """Hands out kernel inputs in order of first use."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.dtypes: list[DType] = []
        self.reads: list[str] = []

    def new(self, name: str, operand: Any) -> Expr:
        dtype, read = operand if type(operand) is tuple else (operand, "full")
        self.names.append(name)
        self.dtypes.append(dtype)
        self.reads.append(read)
        return Expr(None, (), dtype, len(self.names) - 1, {"read": read})

    def trace(self, outputs: Sequence[Expr]) -> Trace:
        return Trace(tuple(self.names), tuple(self.dtypes), tuple(outputs), tuple(self.reads))


def trace_forward(op: Op, operands: Sequence[Any], settings: dict[str, Any]) -> Trace:
    """Trace an elementwise op.

    Args:
        op: the record.
        operands: per array a dtype (or a pair of it and how the array is read), or a Python number
            (a constant of the kernel) or None.
        settings: all settings by name, as the op gets them.

    Raises:
        DTypeError: if the op does not take these dtypes.
    """
    made = _Inputs()
    args = tuple(_argument(n, x, made) for n, x in zip(op.arrays, operands, strict=True))
    return made.trace(_several(apply(op, args, settings)))


def trace_gradient(op: Op, target: str | None, operands: Sequence[Any],
                   settings: dict[str, Any]) -> Trace:  # fmt: skip
    """Trace the gradient rule of an elementwise op for one array (``None``: the rule for all).

    The inputs are ``g`` and what the rule reads, named so; operands are those of the op in the
    dtype that it computes in.

    Raises:
        NotSupportedError: if the rule reads a shape, which no element of a kernel has, or the op's
            results have no gradient.
    """
    rule, known = op.rules[target], dict(zip(op.arrays, operands, strict=True))
    if target is not None and not isinstance(known[target], DType):
        raise NotSupportedError(f"{op.name}: {target} is {known[target]!r}, which has no gradient")
    shapes = [r for r in rule.reads if r.endswith("_shape") and r not in op.arrays]
    if shapes:
        raise NotSupportedError(f"{op.name}: its gradient reads {shapes[0]}, a kernel has elements")
    outs = trace_forward(op, operands, settings).outputs
    known |= dict(zip(op.outputs or ("out",), (o.dtype for o in outs), strict=True))
    made = _Inputs()
    g = [made.new("g", o.dtype) for o in outs if o.dtype.is_floating_point]
    if not g:
        raise NotSupportedError(f"{op.name}: no gradient flows through {outs[0].dtype.name}")
    reads = {n: _argument(n, known[n], made) for n in rule.reads}
    found = rule.fn(EXPR, g[0] if len(g) == 1 else tuple(g), **reads,
                    **{s: settings[s] for s in rule.settings})  # fmt: skip
    return made.trace([_expression(x, g[0].dtype) for x in _several(found) if x is not None])


def trace_rules(op: Op, bits: Sequence[bool], gs: Sequence[Any], values: dict[str, Any],
                settings: dict[str, Any], summed: Sequence[bool] = ()) -> Trace:  # fmt: skip
    """Trace the rules of an op for all operands that want a gradient, as one kernel.

    Args:
        op: the record.
        bits: per operand whether its gradient is wanted.
        gs: per output with a gradient its dtype, or a pair of that and how it is read.
        values: the same of what the rules read; or a number, or None.
        settings: all settings by name.
        summed: per operand whether its gradient is to be added up, so that it must be an output.

    Raises:
        NotSupportedError: if a rule reads a shape.
    """
    made = _Inputs()
    g = [made.new("g", x) for x in gs]
    read = {n: _argument(n, x, made) for n, x in values.items()}
    first = g[0] if len(g) == 1 else tuple(g)

    def run(target: str | None) -> Any:
        rule = op.rules[target]
        if not all(n in read for n in rule.reads):
            raise NotSupportedError(f"{op.name}: its gradient reads a shape, a kernel has elements")
        return rule.fn(EXPR, first, **{n: read[n] for n in rule.reads},
                       **{s: settings[s] for s in rule.settings})  # fmt: skip

    if None in op.rules:
        found = list(_several(run(None)))
        found = [x if wanted else None for x, wanted in zip(found, bits, strict=True)]
    else:
        found = [run(n) if wanted and n in op.rules else None for n, wanted in zip(op.arrays, bits)]
    where: list[int | None] = []
    outputs: list[Expr] = []
    for i, x in enumerate(found):
        if x is None:
            where.append(None)
        elif isinstance(x, Expr) and x.op is None and not (summed and summed[i]):
            where.append(x.index)
        else:
            where.append(-1)
            outputs.append(_expression(x, g[0].dtype))
    possible = list(zip(made.names, made.dtypes, made.reads))
    return only_used(possible, outputs, tuple(where))


def only_used(possible: Sequence[tuple[str, DType, str]], outputs: Sequence[Expr],
              where: tuple[int | None, ...] = ()) -> Trace:  # fmt: skip
    """The trace of outputs with the inputs that they need, renumbered.

    Args:
        possible: name, dtype and read of every input that the expressions may have.
        outputs: the expressions; their inputs get new numbers.
        where: see ``Trace``.
    """
    inputs: dict[int, list[Expr]] = {}
    seen: set[int] = set()
    stack = list(outputs)
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.op is None and node.index >= 0:
            inputs.setdefault(node.index, []).append(node)
        stack.extend(a for a in node.args if isinstance(a, Expr))
    used = tuple(sorted(inputs))
    for place, index in enumerate(used):
        for node in inputs[index]:
            node.index = place
    names = tuple([possible[i][0] for i in used])
    types = tuple([possible[i][1] for i in used])
    reads = tuple([possible[i][2] for i in used])
    return Trace(names, types, tuple(outputs), reads, used, where)


def _argument(name: str, operand: Any, made: _Inputs) -> Any:
    given = isinstance(operand, DType | tuple)
    return made.new(name, operand) if given else operand


def _several(result: Any) -> Sequence[Any]:
    return result if isinstance(result, tuple | list) else (result,)


def _expression(value: Any, dtype: DType) -> Expr:
    """A bare number becomes a constant."""
    return value if isinstance(value, Expr) else constant(value, dtype)
