"""Arithmetic of three operands in one op."""

from __future__ import annotations

from gpugrad.op import Array, elementwise
from gpugrad.ops.arithmetic import scale
from gpugrad.samples import A, Sample


@elementwise(accepts="if", inplace=True, samples=[
    Sample(A((3, 4)), A((3, 4)), A((4,))), Sample(A((2, 1)), A((3,)), A(()), value=3),
    Sample(A((0, 2)), A((1,)), A((2,))),
])  # fmt: skip
def addcmul(xp, input: Array, tensor1: Array, tensor2: Array, *, value: float = 1) -> Array:
    """``input + value * tensor1 * tensor2``."""
    if value == 1:
        return input + tensor1 * tensor2
    return input + scale("addcmul", "value", value, input, tensor1, tensor2) * tensor1 * tensor2


@elementwise(accepts="f", inplace=True, samples=[
    Sample(A((3, 4)), A((3, 4)), A((4,), 1.0, 3.0)),
    Sample(A((2, 1)), A((3,)), A((), 1.0, 3.0), value=0.5),
    Sample(A((0, 2)), A((1,)), A((2,), 1.0, 3.0)),
])  # fmt: skip
def addcdiv(xp, input: Array, tensor1: Array, tensor2: Array, *, value: float = 1) -> Array:
    """``input + value * tensor1 / tensor2``."""
    return input + (tensor1 if value == 1 else value * tensor1) / tensor2


@elementwise(accepts="f", promotion="same", inplace=True, samples=[
    Sample(A((3, 4)), A((3, 4)), 0.3), Sample(A((3, 4)), A((4,)), A((3, 1))),
    Sample(A(()), A((0, 2)), -0.5), Sample(A((2,)), A(()), 0.75),
])  # fmt: skip
def lerp(xp, input: Array, end: Array, weight: Array) -> Array:
    """``input + weight * (end - input)``, taken from the nearer end so that both ends are exact."""
    span = end - input
    return xp.where(xp.abs(weight) < 0.5, input + weight * span, end - span * (1 - weight))


@lerp.vjp("input")
def _(xp, g, weight):
    return g * (1 - weight)


@lerp.vjp("end")
def _(xp, g, weight):
    return g * weight


@lerp.vjp("weight")
def _(xp, g, input, end):
    return g * (end - input)
