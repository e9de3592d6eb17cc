"""Powers, roots, exponentials and logarithms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.functional_namespace import F
from gpugrad.op import Array, elementwise, function
from gpugrad.samples import A, Sample

_NUMBERS: Any = (int, float, np.generic)

#: Constant exponents that are products or roots; ``xp.pow`` of arrays computes them so, too.
_SIMPLE_POWERS: dict[float, str] = {1: "{0}", 2: "({0} * {0})", 3: "({0} * {0} * {0})"}
_SIMPLE_FLOAT_POWERS = {
    0.5: "sqrt{f}({0})", -0.5: "(1 / sqrt{f}({0}))", -1.0: "(1 / {0})", -2.0: "(1 / ({0} * {0}))",
}  # fmt: skip


def _spell_pow(args: Sequence[Any], kind: str) -> str:
    exponent = args[1] if isinstance(args[1], int | float) else math.nan
    if kind != "f":
        return _SIMPLE_POWERS.get(exponent, "gg_pow({0}, {1})")
    return (_SIMPLE_POWERS | _SIMPLE_FLOAT_POWERS).get(exponent, "pow{f}({0}, {1})")


@elementwise(c=_spell_pow, operator="__pow__", accepts="if", inplace=True, samples=[
    Sample(A((3, 4), 0.5, 3.0), A((3, 4), 0.0, 3.0)), Sample(A((3, 4)), 2), Sample(A((3,)), 3),
    Sample(A((3, 1), 0.5, 3.0), A((4,), 0.0, 3.0)), Sample(A((), 1.0, 4.0), 1.5),
    Sample(A((5,), 1.0, 4.0), 0.5), Sample(2.0, A((5,), 0.0, 3.0)), Sample(A((0, 3)), A((3,))),
])  # fmt: skip
def pow_(xp, input: Array, other: Array) -> Array:
    """``input`` to the power of ``other``, either of which may be a number.

    Raises:
        SettingError: for integers to a negative number (an exponent tensor gives the truncated
            value, 0 or +-1, instead).
    """
    return xp.pow(input, other)


@pow_.vjp("input")
def _(xp, g, input, other):
    # At exponent 0 the gradient is 0 even where input ** -1 is infinite.
    if isinstance(other, _NUMBERS):
        return xp.zeros_like(g) if other == 0 else g * (other * xp.pow(input, other - 1))
    return xp.where(xp.equal(other, 0), 0, g * (other * xp.pow(input, other - 1)))


@pow_.vjp("other")
def _(xp, g, input, other, out):
    base = input + xp.zeros_like(out) if isinstance(input, _NUMBERS) else input
    # 0 ** other is flat for other >= 0; log(1) = 0 keeps that branch free of infinities.
    flat = xp.logical_and(xp.equal(base, 0), other >= 0)
    return g * (out * xp.log(xp.where(flat, 1, base)))


@function(inplace=True, samples=[
    Sample(A((3, 4), 0.5, 3.0), A((4,), 0.0, 3.0)), Sample(A((3,)), 2), Sample(2, A((3,))),
])  # fmt: skip
def float_power(input: Any, exponent: Any) -> Any:
    """``input ** exponent`` in float64, whatever the dtypes of the operands."""

    def widened(x: Any) -> Any:
        return float(x) if isinstance(x, int | float) else F.astype(x, dtypes.float64)

    return F.pow(widened(input), widened(exponent))


@elementwise(c="sqrt{f}({0})", promotion="float", inplace=True, domain=(0.1, 4.0))
def sqrt(xp, input: Array) -> Array:
    """Square root; the gradient at 0 is infinite."""
    return xp.sqrt(input)


@sqrt.vjp
def _(xp, g, out):
    return g / (2 * out)


@elementwise(promotion="float", inplace=True, domain=(0.1, 4.0))
def rsqrt(xp, input: Array) -> Array:
    """``1 / sqrt(input)``."""
    return 1 / xp.sqrt(input)


@rsqrt.vjp
def _(xp, g, out):
    return -0.5 * g * (out * out * out)


@elementwise(c="exp{f}({0})", promotion="float", inplace=True)
def exp(xp, input: Array) -> Array:
    """Exponential."""
    return xp.exp(input)


@exp.vjp
def _(xp, g, out):
    return g * out


@elementwise(c="exp2{f}({0})", promotion="float", inplace=True, aliases=("special.exp2",))
def exp2(xp, input: Array) -> Array:
    """``2 ** input``."""
    return xp.exp2(input)


@exp2.vjp
def _(xp, g, out):
    return g * (out * math.log(2))


@elementwise(c="expm1{f}({0})", promotion="float", inplace=True, aliases=("special.expm1",))
def expm1(xp, input: Array) -> Array:
    """``exp(input) - 1`` without cancellation near 0."""
    return xp.expm1(input)


@expm1.vjp
def _(xp, g, out):
    return g * (out + 1)


@elementwise(c="log{f}({0})", promotion="float", inplace=True, domain=(0.1, 4.0))
def log(xp, input: Array) -> Array:
    """Natural logarithm."""
    return xp.log(input)


@log.vjp
def _(xp, g, input):
    return g / input


@elementwise(c="log2{f}({0})", promotion="float", inplace=True, domain=(0.1, 4.0))
def log2(xp, input: Array) -> Array:
    """Logarithm to base 2."""
    return xp.log2(input)


@log2.vjp
def _(xp, g, input):
    return g / (input * math.log(2))


@elementwise(c="log10{f}({0})", promotion="float", inplace=True, domain=(0.1, 4.0))
def log10(xp, input: Array) -> Array:
    """Logarithm to base 10."""
    return xp.log10(input)


@log10.vjp
def _(xp, g, input):
    return g / (input * math.log(10))


@elementwise(c="log1p{f}({0})", promotion="float", inplace=True, domain=(-0.9, 3.0),
             aliases=("special.log1p",))  # fmt: skip
def log1p(xp, input: Array) -> Array:
    """``log(1 + input)`` without cancellation near 0."""
    return xp.log1p(input)


@log1p.vjp
def _(xp, g, input):
    return g / (input + 1)


@elementwise(accepts="f")
def logaddexp(xp, input: Array, other: Array) -> Array:
    """``log(exp(input) + exp(other))`` without overflow."""
    high, gap = xp.maximum(input, other), xp.abs(input - other)
    # Two equal infinities have no gap to speak of.
    return high + xp.log1p(xp.exp(-xp.where(xp.equal(input, other), 0, gap)))


@logaddexp.vjp("input")
def _(xp, g, input, other):
    return g * xp.sigmoid(input - other)


@logaddexp.vjp("other")
def _(xp, g, input, other):
    return g * xp.sigmoid(other - input)


@elementwise(accepts="f")
def logaddexp2(xp, input: Array, other: Array) -> Array:
    """``log2(2 ** input + 2 ** other)`` without overflow."""
    high, gap = xp.maximum(input, other), xp.abs(input - other)
    return high + xp.log1p(xp.exp2(-xp.where(xp.equal(input, other), 0, gap))) / math.log(2)


@logaddexp2.vjp("input")
def _(xp, g, input, other):
    return g * xp.sigmoid((input - other) * math.log(2))


@logaddexp2.vjp("other")
def _(xp, g, input, other):
    return g * xp.sigmoid((other - input) * math.log(2))


@elementwise(promotion="float", inplace=True, aliases=("special.xlogy",),
             domain=((-3.0, 3.0), (0.1, 4.0)))  # fmt: skip
def xlogy(xp, input: Array, other: Array) -> Array:
    """``input * log(other)``; 0 where ``input`` is 0, unless ``other`` is NaN."""
    empty = xp.logical_and(xp.equal(input, 0), xp.equal(other, other))
    return xp.where(empty, 0, input * xp.log(other))


@xlogy.vjp("input")
def _(xp, g, input, other):
    return xp.where(xp.logical_and(xp.equal(input, 0), other <= 0), 0, xp.xlogy(g, other))


@xlogy.vjp("other")
def _(xp, g, input, other):
    return g * input / other


@elementwise(c="hypot{f}({0}, {1})", accepts="f", inplace=True, domain=(0.5, 3.0))
def hypot(xp, input: Array, other: Array) -> Array:
    """``sqrt(input ** 2 + other ** 2)`` without overflow."""
    return xp.hypot(input, other)


@hypot.vjp("input")
def _(xp, g, input, out):
    return g * (input / out)


@hypot.vjp("other")
def _(xp, g, other, out):
    return g * (other / out)
