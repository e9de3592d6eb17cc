"""Rounding, and ops on the representation of a float: sign bits, exponents, NaN and infinities."""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.errors import DTypeError
from gpugrad.op import Array, elementwise
from gpugrad.ops.arithmetic import typed
from gpugrad.samples import A, Sample


def floating_dtype(array: Any) -> dtypes.DType | None:
    """Floating dtype of an array of any namespace, None for a number or another dtype."""
    found = getattr(array, "dtype", None)
    if found is None:
        return None
    dtype = found if isinstance(found, dtypes.DType) else dtypes.from_numpy(found)
    return dtype if dtype.is_floating_point else None


@elementwise(c={"f": "floor{f}({0})", "i": "{0}"}, accepts="if", inplace=True)
def floor(xp, input: Array) -> Array:
    """Largest integer not above."""
    return xp.floor(input)


@floor.vjp
def _(xp, g):
    return xp.zeros_like(g)


@elementwise(c={"f": "ceil{f}({0})", "i": "{0}"}, accepts="if", inplace=True)
def ceil(xp, input: Array) -> Array:
    """Smallest integer not below."""
    return xp.ceil(input)


@ceil.vjp
def _(xp, g):
    return xp.zeros_like(g)


@elementwise(c={"f": "trunc{f}({0})", "i": "{0}"}, accepts="if", inplace=True, aliases=("fix",))
def trunc(xp, input: Array) -> Array:
    """The integer part."""
    return xp.trunc(input)


@trunc.vjp
def _(xp, g):
    return xp.zeros_like(g)


@elementwise(
    c={"f": "rint{f}({0})", "i": "{0}"}, accepts="if", inplace=True, aliases=("special.round",),
    samples=[Sample(A((3, 4))), Sample(A(())), Sample(A((0, 3))),
             Sample(A((5,), kind="float64"), decimals=2),
             Sample(A((5,), -200.0, 200.0, kind="float64"), decimals=-1)],
)  # fmt: skip
def round_(xp, input: Array, *, decimals: int = 0) -> Array:
    """Nearest integer, halves to even; with ``decimals``, to that many digits after the point.

    Raises:
        DTypeError: for ``decimals`` with an integer tensor.
    """
    if decimals == 0:
        return xp.round(input)
    if floating_dtype(input) is None:
        raise DTypeError(
            f"round: decimals={decimals} needs a floating tensor; for integers decimals must be 0"
        )
    scale = 10.0 ** abs(decimals)
    return xp.round(input * scale) / scale if decimals > 0 else xp.round(input / scale) * scale


@round_.vjp
def _(xp, g):
    return xp.zeros_like(g)


@elementwise(accepts="f", inplace=True)
def frac(xp, input: Array) -> Array:
    """The part after the point, with the sign of the input."""
    return input - xp.trunc(input)


@frac.vjp
def _(xp, g):
    return g


@elementwise(
    half="native", inplace=True,
    samples=[Sample(A((3, 4))), Sample(A(())), Sample(A((0, 3))),
             Sample(A((4,)), nan=1.0, posinf=2.0, neginf=-2.0)],
)  # fmt: skip
def nan_to_num(xp, input: Array, *, nan: float | None = 0.0, posinf: float | None = None,
               neginf: float | None = None) -> Array:  # fmt: skip
    """Replace NaN and the infinities; by default with 0 and the dtype's extreme finite numbers."""
    dtype = floating_dtype(input)
    if dtype is None:
        return input | input  # integers and bools: the same values in fresh memory
    info = dtypes.finfo(dtype)
    high = info.max if posinf is None else posinf
    low = info.min if neginf is None else neginf
    finite = xp.where(xp.isnan(input), typed(nan or 0.0, input), input)
    finite = xp.where(xp.isposinf(input), typed(high, input), finite)
    return xp.where(xp.isneginf(input), typed(low, input), finite)


@nan_to_num.vjp
def _(xp, g, input):
    return xp.where(xp.isfinite(input), g, 0)


@elementwise(c="copysign{f}({0}, {1})", promotion="float", inplace=True,
             domain=((0.5, 3.0), (-3.0, 3.0)))  # fmt: skip
def copysign(xp, input: Array, other: Array) -> Array:
    """Magnitude of ``input`` with the sign of ``other``, that of -0 and NaN included."""
    return xp.copysign(input, other)


@copysign.vjp("input")
def _(xp, g, input, out):
    return g * (xp.sign(input) * xp.sign(out))


@copysign.vjp("other")
def _(xp, g):
    return xp.zeros_like(g)


@elementwise(inplace=True, promotion="same", differentiable=False)
def heaviside(xp, input: Array, values: Array) -> Array:
    """0 below zero, 1 above it, ``values`` at it; 0 for NaN."""
    like = input if hasattr(input, "dtype") else values
    return xp.where(xp.equal(input, 0), values, xp.astype(input > 0, like.dtype))


@elementwise(promotion="float", inplace=True)
def ldexp(xp, input: Array, other: Array) -> Array:
    """``input * 2 ** other``."""
    return input * xp.exp2(other)


@elementwise(c="nextafter{f}({0}, {1})", accepts="f", inplace=True)
def nextafter(xp, input: Array, other: Array) -> Array:
    """The next number of the dtype from ``input`` towards ``other``."""
    return xp.nextafter(input, other)


@nextafter.vjp
def _(xp, g, input, other):
    same = xp.equal(input, other)  # then the result is `other`
    return xp.where(same, 0, g), xp.zeros_like(g)


@elementwise(c={"f": "(bool)signbit({0})", "i": "({0} < 0)", "b": "false"}, promotion="bool",
             differentiable=False)  # fmt: skip
def signbit(xp, input: Array) -> Array:
    """Whether the sign is minus, that of -0 and NaN included."""
    return xp.signbit(input)
