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
    """A kernel's inputs (what each is, and its dtype) and the expressions of its outputs."""

    names: tuple[str, ...]
    inputs: tuple[DType, ...]
    outputs: tuple[Expr, ...]


class _Inputs:
    """Hands out kernel inputs in order of first use."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.dtypes: list[DType] = []

    def new(self, name: str, dtype: DType) -> Expr:
        self.names.append(name)
        self.dtypes.append(dtype)
        return Expr(None, (), dtype, len(self.names) - 1)

    def trace(self, outputs: Sequence[Expr]) -> Trace:
        return Trace(tuple(self.names), tuple(self.dtypes), tuple(outputs))


def trace_forward(op: Op, operands: Sequence[Any], settings: dict[str, Any]) -> Trace:
    """Trace an elementwise op.

    Args:
        op: the record.
        operands: per array a dtype, or a Python number (a constant of the kernel) or None.
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


def _argument(name: str, operand: Any, made: _Inputs) -> Any:
    return made.new(name, operand) if isinstance(operand, DType) else operand


def _several(result: Any) -> Sequence[Any]:
    return result if isinstance(result, tuple | list) else (result,)


def _expression(value: Any, dtype: DType) -> Expr:
    """A bare number becomes a constant."""
    return value if isinstance(value, Expr) else constant(value, dtype)
