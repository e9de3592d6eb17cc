"""Arithmetic of one or two operands."""

from __future__ import annotations

from gpugrad.op import Array, elementwise


@elementwise(c="({0} + {1})", xp_name="add", operator="__add__", inplace=True)
def add(xp, input: Array, other: Array, *, alpha: float = 1) -> Array:
    """Sum, with ``other`` scaled by ``alpha``."""
    return input + other if alpha == 1 else input + other * alpha


@add.vjp("input")
def _(xp, g):
    return g


@add.vjp("other")
def _(xp, g, alpha):
    return g if alpha == 1 else g * alpha


@elementwise(c="({0} * {1})", xp_name="multiply", operator="__mul__", inplace=True,
             aliases=("multiply",))  # fmt: skip
def mul(xp, input: Array, other: Array) -> Array:
    """Product."""
    return input * other


@mul.vjp("input")
def _(xp, g, other):
    return g * other


@mul.vjp("other")
def _(xp, g, input):
    return g * input


@elementwise(c="exp{f}({0})", promotion="float", inplace=True)
def exp(xp, input: Array) -> Array:
    """Exponential."""
    return xp.exp(input)


@exp.vjp
def _(xp, g, out):
    return g * out
