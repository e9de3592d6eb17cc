"""A custom op on the tape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpugrad.autograd.function import Function
from gpugrad.errors import AutogradError
from gpugrad.library.values import Call, filled, flat, listed
from gpugrad.tensor import Tensor

if TYPE_CHECKING:
    from gpugrad.library.custom_op import CustomOpDef


class CustomFunction(Function):
    """A custom op on the tape: ``apply(call, *tensors)``, with lists of tensors flattened."""

    op: CustomOpDef

    @classmethod
    def forward(cls, call: Call, *tensors: Tensor) -> Any:
        cls.op.compute(call)
        return tuple(flat(listed(call.result)))

    @classmethod
    def setup_context(cls, ctx: Any, inputs: Any, output: Any) -> None:
        call: Call = inputs[0]
        if not call.recorded:
            return
        # Structure only: keeping the call would keep its tensors.
        ctx._args = filled(call.values, None)
        ctx._outs = filled(listed(call.result), None)
        needs = iter(ctx.needs_input_grad[1:])
        ctx.needs_input_grad = tuple(
            [next(needs) for _ in a] if isinstance(a, list) else next(needs) if a else False
            for a in ctx._args
        )
        if cls.op._setup is not None:
            more = {"keyword_only_inputs": call.named} if call.named else {}
            cls.op._setup(ctx=ctx, inputs=tuple(call.values), output=call.result, **more)

    @classmethod
    def backward(cls, ctx: Any, *grads: Any) -> Any:
        op = cls.op
        if op._backward is None:
            raise AutogradError(
                f"backward through {op.name}, which has no gradient; give it one with "
                "register_autograd(backward, setup_context=...)"
            )
        rest = iter(grads)
        shaped = [[next(rest) for _ in o] if isinstance(o, list) else next(rest)
                  for o in ctx._outs]  # fmt: skip
        found = op._backward(ctx, *shaped)
        found = found if isinstance(found, tuple) else (found,)
        args = [p.name for p in op.schema.parameters if not p.keyword_only]
        if len(found) < len(args) or any(g is not None for g in found[len(args) :]):
            raise AutogradError(
                f"{op.name}: backward returned {len(found)} gradients; it has the arguments "
                f"{args}, and there must be one (or None) for each"
            )
        flat: list[Any] = []
        for name, tensors, g in zip(args, ctx._args, found, strict=False):
            flat += _gradients(op.name, name, tensors, g)
        return (None, *flat)


def _gradients(op: str, name: str, tensors: Any, g: Any) -> list[Any]:
    """The gradients of an argument's tensors: of none (False), of one, or of a list."""
    if isinstance(tensors, list):
        if g is None:
            return [None] * len(tensors)
        if not isinstance(g, list | tuple) or len(g) != len(tensors):
            raise AutogradError(
                f"{op}: backward must return for {name!r} a list of {len(tensors)} gradients or "
                f"None, got {_kind(g)}"
            )
        return [x for one in g for x in _gradients(op, name, True, one)]
    if g is not None and (not tensors or not isinstance(g, Tensor)):
        what = "a Tensor or None" if tensors else "None, as it is no tensor"
        raise AutogradError(f"{op}: backward must return for {name!r} {what}, got {_kind(g)}")
    return [g] if tensors else []


def _kind(value: Any) -> str:
    many = f" of {len(value)}" if isinstance(value, list | tuple) else ""
    return f"{type(value).__name__}{many}"
