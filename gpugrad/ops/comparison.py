"""Comparisons, tests of a value's kind, extremes and selection."""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.errors import ArgumentError, DTypeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, Mask, elementwise, function
from gpugrad.ops.rounding import floating_dtype
from gpugrad.samples import A, Sample


@elementwise(c="({0} == {1})", xp_name="equal", operator="__eq__", promotion="bool", inplace=True,
             differentiable=False)  # fmt: skip
def eq(xp, input: Array, other: Array) -> Array:
    """``input == other``; False for NaN."""
    return xp.equal(input, other)


@elementwise(c="({0} != {1})", xp_name="not_equal", operator="__ne__", promotion="bool",
             inplace=True, differentiable=False, aliases=("not_equal",))  # fmt: skip
def ne(xp, input: Array, other: Array) -> Array:
    """``input != other``; True for NaN."""
    return xp.not_equal(input, other)


@elementwise(c="({0} < {1})", xp_name="less", operator="__lt__", promotion="bool", inplace=True,
             differentiable=False, aliases=("less",))  # fmt: skip
def lt(xp, input: Array, other: Array) -> Array:
    """``input < other``."""
    return xp.less(input, other)


@elementwise(c="({0} <= {1})", xp_name="less_equal", operator="__le__", promotion="bool",
             inplace=True, differentiable=False, aliases=("less_equal",))  # fmt: skip
def le(xp, input: Array, other: Array) -> Array:
    """``input <= other``."""
    return xp.less_equal(input, other)


@elementwise(c="({0} > {1})", xp_name="greater", operator="__gt__", promotion="bool", inplace=True,
             differentiable=False, aliases=("greater",))  # fmt: skip
def gt(xp, input: Array, other: Array) -> Array:
    """``input > other``."""
    return xp.greater(input, other)


@elementwise(c="({0} >= {1})", xp_name="greater_equal", operator="__ge__", promotion="bool",
             inplace=True, differentiable=False, aliases=("greater_equal",))  # fmt: skip
def ge(xp, input: Array, other: Array) -> Array:
    """``input >= other``."""
    return xp.greater_equal(input, other)


@elementwise(c="({0} != {0})", promotion="bool", differentiable=False)
def isnan(xp, input: Array) -> Array:
    """Whether an element is NaN."""
    return xp.isnan(input)


@elementwise(c={"f": "(bool)isinf({0})", "i": "false", "b": "false"}, promotion="bool",
             differentiable=False)  # fmt: skip
def isinf(xp, input: Array) -> Array:
    """Whether an element is infinite."""
    return xp.isinf(input)


@elementwise(c={"f": "(bool)isfinite({0})", "i": "true", "b": "true"}, promotion="bool",
             differentiable=False)  # fmt: skip
def isfinite(xp, input: Array) -> Array:
    """Whether an element is neither NaN nor infinite."""
    return xp.isfinite(input)


@elementwise(c={"f": "(isinf({0}) && {0} > 0)", "i": "false", "b": "false"}, promotion="bool",
             differentiable=False)  # fmt: skip
def isposinf(xp, input: Array) -> Array:
    """Whether an element is +inf."""
    return xp.isposinf(input)


@elementwise(c={"f": "(isinf({0}) && {0} < 0)", "i": "false", "b": "false"}, promotion="bool",
             differentiable=False)  # fmt: skip
def isneginf(xp, input: Array) -> Array:
    """Whether an element is -inf."""
    return xp.isneginf(input)


@elementwise(c="true", promotion="bool", differentiable=False)
def isreal(xp, input: Array) -> Array:
    """True: every dtype there is holds real numbers."""
    return xp.isreal(input)


@elementwise(promotion="bool", differentiable=False, samples=[
    Sample(A((3, 4)), A((3, 4))), Sample(A((3, 4)), A((4,)), rtol=0.5),
    Sample(A(()), A((0, 2)), equal_nan=True), Sample(A((3, 1)), A((2,)), atol=1.0),
])  # fmt: skip
def isclose(xp, input: Array, other: Array, *, rtol: float = 1e-05, atol: float = 1e-08,
            equal_nan: bool = False) -> Array:  # fmt: skip
    """``|input - other| <= atol + rtol * |other|``; equal infinities are close."""
    x, y = input, other
    if floating_dtype(input) is None:  # a difference of integers could wrap
        x, y = xp.astype(input, dtypes.float64), xp.astype(other, dtypes.float64)
    gap = xp.abs(x - y)
    near = xp.logical_and(xp.isfinite(gap), gap <= atol + xp.abs(rtol * y))
    close = xp.logical_or(xp.equal(input, other), near)
    if not equal_nan:
        return close
    return xp.logical_or(close, xp.logical_and(xp.isnan(input), xp.isnan(other)))


@elementwise(c={"f": "gg_maximum({0}, {1})", "i": "gg_maximum({0}, {1})", "b": "({0} || {1})"})
def maximum(xp, input: Array, other: Array) -> Array:
    """The larger; NaN if either is.  Equal operands share the gradient."""
    return xp.maximum(input, other)


@maximum.vjp("input")
def _(xp, g, input, other):
    return xp.where(xp.equal(input, other), g * 0.5, xp.where(input < other, 0, g))


@maximum.vjp("other")
def _(xp, g, input, other):
    return xp.where(xp.equal(input, other), g * 0.5, xp.where(input > other, 0, g))


@elementwise(c={"f": "gg_minimum({0}, {1})", "i": "gg_minimum({0}, {1})", "b": "({0} && {1})"})
def minimum(xp, input: Array, other: Array) -> Array:
    """The smaller; NaN if either is.  Equal operands share the gradient."""
    return xp.minimum(input, other)


@minimum.vjp("input")
def _(xp, g, input, other):
    return xp.where(xp.equal(input, other), g * 0.5, xp.where(input > other, 0, g))


@minimum.vjp("other")
def _(xp, g, input, other):
    return xp.where(xp.equal(input, other), g * 0.5, xp.where(input < other, 0, g))


@elementwise(c={"f": "fmax{f}({0}, {1})", "i": "gg_maximum({0}, {1})", "b": "({0} || {1})"})
def fmax(xp, input: Array, other: Array) -> Array:
    """The larger; the other one if one is NaN."""
    return xp.fmax(input, other)


@fmax.vjp("input")
def _(xp, g, input, other):
    return xp.where(xp.logical_or(input >= other, xp.isnan(other)), g, 0)


@fmax.vjp("other")
def _(xp, g, input, other):
    return xp.where(xp.logical_or(input >= other, xp.isnan(other)), 0, g)


@elementwise(c={"f": "fmin{f}({0}, {1})", "i": "gg_minimum({0}, {1})", "b": "({0} && {1})"})
def fmin(xp, input: Array, other: Array) -> Array:
    """The smaller; the other one if one is NaN."""
    return xp.fmin(input, other)


@fmin.vjp("input")
def _(xp, g, input, other):
    return xp.where(xp.logical_or(input <= other, xp.isnan(other)), g, 0)


@fmin.vjp("other")
def _(xp, g, input, other):
    return xp.where(xp.logical_or(input <= other, xp.isnan(other)), 0, g)


@elementwise(inplace=True, aliases=("clip",), samples=[
    Sample(A((3, 4)), -1.0, 1.0), Sample(A((3, 4)), min=0.5), Sample(A((3, 4)), max=0.5),
    Sample(A((3, 4)), A((4,), -2.0, 0.0), A((3, 1), 0.0, 2.0)), Sample(A(()), 0.0, A((2,))),
    Sample(A((0, 2)), -1.0, 1.0),
])  # fmt: skip
def clamp(xp, input: Array, min: Array | None = None, max: Array | None = None) -> Array:
    """Bring every element into ``[min, max]``; ``max`` wins where they cross, NaN stays.

    Raises:
        ArgumentError: if neither bound is given.
    """
    if min is None and max is None:
        raise ArgumentError("clamp: at least one of min and max must be given, got None for both")
    out = input if min is None else xp.maximum(input, min)
    return out if max is None else xp.minimum(out, max)


@clamp.vjp("input")
def _(xp, g, input, min, max):
    g = g if min is None else xp.where(input >= min, g, 0)
    return g if max is None else xp.where(input <= max, g, 0)


@clamp.vjp("min")
def _(xp, g, input, min, max):
    g = xp.where(input < min, g, 0)
    return g if max is None else xp.where(min < max, g, 0)


@clamp.vjp("max")
def _(xp, g, input, min, max):
    over = input > max
    return xp.where(over if min is None else xp.logical_or(over, max < min), g, 0)


@function(inplace=True, samples=[Sample(A((3, 4)), 0.5), Sample(A((3, 4)), A((4,)))])
def clamp_min(input: Any, min: Any, *, out: Any = None) -> Any:
    """``clamp`` from below only."""
    return F.clamp(input, min, out=out)


@function(inplace=True, samples=[Sample(A((3, 4)), 0.5), Sample(A((3, 4)), A((4,)))])
def clamp_max(input: Any, max: Any, *, out: Any = None) -> Any:
    """``clamp`` from above only."""
    return F.clamp(input, None, max, out=out)


@elementwise(c="({0} ? {1} : {2})", xp_name="where", half="native", method=False, torch="where",
             samples=[Sample(A((3, 4), kind="bool"), A((3, 4)), A((3, 4))),
                      Sample(A((3, 1), kind="bool"), A((4,)), A(())),
                      Sample(A((), kind="bool"), A((0, 2)), 1.5),
                      Sample(A((5,), kind="bool"), 0.5, A((5,)))])  # fmt: skip
def where_select(xp, condition: Mask, input: Array, other: Array) -> Array:
    """The elementwise form of ``where``: what is not selected has no influence, NaN included."""
    return xp.where(condition, input, other)


@where_select.vjp("input")
def _(xp, g, condition):
    return xp.where(condition, g, 0)


@where_select.vjp("other")
def _(xp, g, condition):
    return xp.where(condition, 0, g)


@function(method=False, samples=[
    Sample(A((3, 4), kind="bool"), A((3, 4)), A((4,))), Sample(A((3, 4), kind="bool"), 1.0, 0.0),
    Sample(A((3, 4), kind="bool"), A((3, 4)), 0.0),
])  # fmt: skip
def where(condition: Any, input: Any = None, other: Any = None, *, out: Any = None) -> Any:
    """``input`` where ``condition`` holds, else ``other``; alone, the indices of what is True.

    Raises:
        DTypeError: if the condition is not a bool tensor.
        ArgumentError: if one of ``input`` and ``other`` is given without the other.
    """
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    if input is None or other is None:
        raise ArgumentError("where: give both input and other, or neither")
    dtype = getattr(condition, "dtype", None)
    if dtype is not dtypes.bool_:
        found = type(condition).__name__ if dtype is None else dtype.name
        raise DTypeError(f"where: condition must be a bool tensor, got {found}")
    return F.where(condition, input, other, out=out)


@function(name="where", home="Tensor", samples=[Sample(A((3, 4)), A((3, 4), kind="bool"), 0.0)])
def _tensor_where(self: Any, condition: Any, other: Any) -> Any:
    """The tensor where ``condition`` holds, else ``other``."""
    return where.public(condition, self, other)
