"""Arithmetic of one or two operands."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.errors import DTypeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, elementwise, function
from gpugrad.samples import A, Sample
from gpugrad.signature import check_choice

_PAIR = (A((3, 4)), A((4,), 1.0, 3.0))


def typed(value: Any, *operands: Any) -> Any:
    """A setting as a number of the operands' dtype, so that it cannot change the result's."""
    found = next(x.dtype for x in operands if hasattr(x, "dtype"))
    if isinstance(found, dtypes.DType):
        return (bool, int, float)[found.category](value)
    return np.asarray(value).astype(found)[()]


def scale(name: str, setting: str, value: Any, *operands: Any) -> Any:
    """``typed`` for a multiplier, which must not have a fraction where the operands have none.

    Raises:
        DTypeError: if ``value`` is a float and the operands are integers or bools.
    """
    number = typed(value, *operands)
    if isinstance(value, float) and isinstance(number, int | np.integer | np.bool_):
        raise DTypeError(
            f"{name}: {setting}={value} is a float and the operands are integers or bools; "
            f"an integer {setting}, or floating operands, would be accepted"
        )
    return number


@elementwise(
    c="({0} + {1})", operator="__add__", inplace=True,
    samples=[Sample(*_PAIR), Sample(*_PAIR, alpha=2), Sample(A(()), A((0, 3))),
             Sample(A((2, 1)), A((3,)), alpha=-1)],
)  # fmt: skip
def add(xp, input: Array, other: Array, *, alpha: float = 1) -> Array:
    """Sum, with ``other`` scaled by ``alpha``."""
    if alpha == 1:
        return input + other
    return input + other * scale("add", "alpha", alpha, input, other)


@add.vjp("input")
def _(xp, g):
    return g


@add.vjp("other")
def _(xp, g, alpha):
    return g if alpha == 1 else g * alpha


@elementwise(
    c="({0} - {1})", xp_name="subtract", operator="__sub__", inplace=True, accepts="if",
    each=True,
    aliases=("subtract",),
    samples=[Sample(*_PAIR), Sample(*_PAIR, alpha=2), Sample(A(()), A((0, 3))),
             Sample(A((2, 1)), A((3,)), alpha=-1)],
)  # fmt: skip
def sub(xp, input: Array, other: Array, *, alpha: float = 1) -> Array:
    """Difference, with ``other`` scaled by ``alpha``."""
    if alpha == 1:
        return input - other
    return input - other * scale("sub", "alpha", alpha, input, other)


@sub.vjp("input")
def _(xp, g):
    return g


@sub.vjp("other")
def _(xp, g, alpha):
    return -g if alpha == 1 else g * -alpha


@function(samples=[Sample(*_PAIR), Sample(*_PAIR, alpha=2)], method=False)
def rsub(input: Any, other: Any, *, alpha: float = 1) -> Any:
    """``other - alpha * input``."""
    return F.subtract(other, input, alpha=alpha)


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


@elementwise(c="({0} / {1})", xp_name="divide", operator="__truediv__", promotion="float",
             inplace=True, domain=((-3.0, 3.0), (1.0, 3.0)))  # fmt: skip
def true_divide(xp, input: Array, other: Array) -> Array:
    """Quotient; integers give floats."""
    return input / other


@true_divide.vjp("input")
def _(xp, g, other):
    return g / other


@true_divide.vjp("other")
def _(xp, g, input, other):  # not `out`: a quotient is often written in place later
    return -g * (input / other / other)


@elementwise(c="gg_floor_divide({0}, {1})", operator="__floordiv__", accepts="if", inplace=True,
             domain=((-9.0, 9.0), (1.0, 4.0)))  # fmt: skip
def floor_divide(xp, input: Array, other: Array) -> Array:
    """Quotient rounded down, computed from the exact remainder as Python does.

    Raises:
        DivisionError: for an integer zero divisor (on the CPU; a GPU does not stop and gives 0).
    """
    return xp.floor_divide(input, other)


@floor_divide.vjp
def _(xp, g):
    return xp.zeros_like(g), xp.zeros_like(g)


@elementwise(c="gg_trunc_divide({0}, {1})", accepts="if", method=False, torch="",
             domain=((-9.0, 9.0), (1.0, 4.0)))  # fmt: skip
def trunc_divide(xp, input: Array, other: Array) -> Array:
    """Quotient rounded towards zero: ``div`` with ``rounding_mode="trunc"``."""
    return xp.trunc_divide(input, other)


@trunc_divide.vjp
def _(xp, g):
    return xp.zeros_like(g), xp.zeros_like(g)


@function(aliases=("divide",), inplace=True, samples=[
    Sample(*_PAIR), Sample(*_PAIR, rounding_mode="floor"), Sample(*_PAIR, rounding_mode="trunc"),
])  # fmt: skip
def div(input: Any, other: Any, *, rounding_mode: str | None = None, out: Any = None) -> Any:
    """Quotient; ``rounding_mode`` rounds it (``"floor"``, ``"trunc"``) and keeps integers integer.

    Raises:
        SettingError: for another rounding mode.
    """
    check_choice("div", "rounding_mode", rounding_mode, (None, "trunc", "floor"))
    if rounding_mode is None:
        return F.divide(input, other, out=out)
    return (F.floor_divide if rounding_mode == "floor" else F.trunc_divide)(input, other, out=out)


@elementwise(c="gg_remainder({0}, {1})", operator="__mod__", accepts="if", inplace=True,
             domain=((-9.0, 9.0), (1.0, 4.0)))  # fmt: skip
def remainder(xp, input: Array, other: Array) -> Array:
    """``input - floor(input / other) * other``: has the divisor's sign, as in Python.

    Raises:
        DivisionError: for an integer zero divisor (on the CPU).
    """
    return xp.remainder(input, other)


@remainder.vjp("input")
def _(xp, g):
    return g


@remainder.vjp("other")
def _(xp, g, input, other):
    return -g * xp.floor_divide(input, other)


@elementwise(c={"f": "fmod{f}({0}, {1})", "i": "gg_fmod({0}, {1})"}, accepts="if", inplace=True,
             domain=((-9.0, 9.0), (1.0, 4.0)))  # fmt: skip
def fmod(xp, input: Array, other: Array) -> Array:
    """``input - trunc(input / other) * other``: has the dividend's sign, as in C.

    Raises:
        DivisionError: for an integer zero divisor (on the CPU).
    """
    return xp.fmod(input, other)


@fmod.vjp("input")
def _(xp, g):
    return g


@fmod.vjp("other")
def _(xp, g, input, other):
    return -g * xp.trunc_divide(input, other)


@elementwise(c="(-{0})", xp_name="negative", operator="__neg__", accepts="if", inplace=True,
             aliases=("negative",))  # fmt: skip
def neg(xp, input: Array) -> Array:
    """Negative."""
    return -input


@neg.vjp
def _(xp, g):
    return -g


@elementwise(c="{0}", operator="__pos__", accepts="if")
def positive(xp, input: Array) -> Array:
    """The same values."""
    return xp.positive(input)


@positive.vjp
def _(xp, g):
    return g


@elementwise(c={"f": "fabs{f}({0})", "i": "({0} < 0 ? -{0} : {0})"}, operator="__abs__",
             accepts="if", inplace=True, aliases=("absolute",))  # fmt: skip
def abs_(xp, input: Array) -> Array:
    """Absolute value."""
    return xp.abs(input)


@abs_.vjp
def _(xp, g, input):
    return g * xp.sign(input)


@elementwise(c="(({T})({0} > 0) - ({T})({0} < 0))", inplace=True, aliases=("sgn",))
def sign(xp, input: Array) -> Array:
    """-1, 0 or 1; 0 for NaN."""
    return xp.sign(input)


@sign.vjp
def _(xp, g):
    return xp.zeros_like(g)


@function(inplace=True, samples=[Sample(A((3, 4))), Sample(A(())), Sample(A((0, 2)))])
def square(input: Any, *, out: Any = None) -> Any:
    """``input ** 2``."""
    return F.pow(input, 2, out=out)


@elementwise(promotion="float", inplace=True, domain=(0.5, 4.0))
def reciprocal(xp, input: Array) -> Array:
    """``1 / input``."""
    return 1 / input


@reciprocal.vjp
def _(xp, g, out):
    return -g * (out * out)
