"""Circular and hyperbolic functions and their inverses."""

from __future__ import annotations

import math
from typing import Any

from gpugrad.op import Array, elementwise


@elementwise(c="sin{f}({0})", promotion="float", inplace=True)
def sin(xp, input: Array) -> Array:
    """Sine of an angle in radians."""
    return xp.sin(input)


@sin.vjp
def _(xp, g, input):
    return g * xp.cos(input)


@elementwise(c="cos{f}({0})", promotion="float", inplace=True)
def cos(xp, input: Array) -> Array:
    """Cosine of an angle in radians."""
    return xp.cos(input)


@cos.vjp
def _(xp, g, input):
    return -g * xp.sin(input)


@elementwise(c="tan{f}({0})", promotion="float", inplace=True, domain=(-1.3, 1.3))
def tan(xp, input: Array) -> Array:
    """Tangent of an angle in radians."""
    return xp.tan(input)


@tan.vjp
def _(xp, g, out):
    return g * (1 + out * out)


@elementwise(c="asin{f}({0})", promotion="float", inplace=True, domain=(-0.9, 0.9),
             aliases=("arcsin",))  # fmt: skip
def asin(xp, input: Array) -> Array:
    """Angle in [-pi/2, pi/2] of a sine; NaN outside [-1, 1]."""
    return xp.asin(input)


@asin.vjp
def _(xp, g, input):
    return g * xp.rsqrt(1 - input * input)


@elementwise(c="acos{f}({0})", promotion="float", inplace=True, domain=(-0.9, 0.9),
             aliases=("arccos",))  # fmt: skip
def acos(xp, input: Array) -> Array:
    """Angle in [0, pi] of a cosine; NaN outside [-1, 1]."""
    return xp.acos(input)


@acos.vjp
def _(xp, g, input):
    return -g * xp.rsqrt(1 - input * input)


@elementwise(c="atan{f}({0})", promotion="float", inplace=True, aliases=("arctan",))
def atan(xp, input: Array) -> Array:
    """Angle in [-pi/2, pi/2] of a tangent."""
    return xp.atan(input)


@atan.vjp
def _(xp, g, input):
    return g / (input * input + 1)


@elementwise(c="atan2{f}({0}, {1})", promotion="float", inplace=True, aliases=("arctan2",),
             domain=(0.3, 3.0))  # fmt: skip
def atan2(xp, input: Array, other: Array) -> Array:
    """Angle in [-pi, pi] of the point with ordinate ``input`` and abscissa ``other``."""
    return xp.atan2(input, other)


@atan2.vjp("input")
def _(xp, g, input, other):
    return g * (other / _squares(xp, input, other))


@atan2.vjp("other")
def _(xp, g, input, other):
    return g * (-input / _squares(xp, input, other))


def _squares(xp: Any, x: Any, y: Any) -> Any:
    """``x ** 2 + y ** 2``, 1 where that is 0: at the origin the gradient is 0."""
    total = x * x + y * y
    return xp.where(xp.equal(total, 0), 1, total)


@elementwise(c="sinh{f}({0})", promotion="float", inplace=True)
def sinh(xp, input: Array) -> Array:
    """Hyperbolic sine."""
    return xp.sinh(input)


@sinh.vjp
def _(xp, g, input):
    return g * xp.cosh(input)


@elementwise(c="cosh{f}({0})", promotion="float", inplace=True)
def cosh(xp, input: Array) -> Array:
    """Hyperbolic cosine."""
    return xp.cosh(input)


@cosh.vjp
def _(xp, g, input):
    return g * xp.sinh(input)


@elementwise(c="tanh{f}({0})", promotion="float", inplace=True, aliases=("nn.functional.tanh",))
def tanh(xp, input: Array) -> Array:
    """Hyperbolic tangent."""
    return xp.tanh(input)


@tanh.vjp
def _(xp, g, out):
    return g * (1 - out * out)


@elementwise(c="asinh{f}({0})", promotion="float", inplace=True, aliases=("arcsinh",))
def asinh(xp, input: Array) -> Array:
    """Inverse of ``sinh``."""
    return xp.asinh(input)


@asinh.vjp
def _(xp, g, input):
    return g * xp.rsqrt(input * input + 1)


@elementwise(c="acosh{f}({0})", promotion="float", inplace=True, aliases=("arccosh",),
             domain=(1.2, 4.0))  # fmt: skip
def acosh(xp, input: Array) -> Array:
    """Inverse of ``cosh`` on [1, inf); NaN below."""
    return xp.acosh(input)


@acosh.vjp
def _(xp, g, input):
    return g * xp.rsqrt(input * input - 1)


@elementwise(c="atanh{f}({0})", promotion="float", inplace=True, aliases=("arctanh",),
             domain=(-0.9, 0.9))  # fmt: skip
def atanh(xp, input: Array) -> Array:
    """Inverse of ``tanh``; infinite at -1 and 1, NaN outside."""
    return xp.atanh(input)


@atanh.vjp
def _(xp, g, input):
    return g / (1 - input * input)


@elementwise(promotion="float", inplace=True, aliases=("special.sinc",), domain=(0.2, 3.0))
def sinc(xp, input: Array) -> Array:
    """``sin(pi x) / (pi x)``, 1 at 0."""
    x = math.pi * input
    return xp.where(xp.equal(input, 0), 1, xp.sin(x) / x)


@sinc.vjp
def _(xp, g, input):
    x = math.pi * xp.where(xp.equal(input, 0), 1, input)  # nothing infinite in the branch not taken
    slope = (x * xp.cos(x) - xp.sin(x)) / (x * x) * math.pi
    return xp.where(xp.equal(input, 0), 0, g * slope)


@elementwise(promotion="float", inplace=True)
def deg2rad(xp, input: Array) -> Array:
    """Degrees to radians."""
    return input * (math.pi / 180)


@deg2rad.vjp
def _(xp, g):
    return g * (math.pi / 180)


@elementwise(promotion="float", inplace=True)
def rad2deg(xp, input: Array) -> Array:
    """Radians to degrees."""
    return input * (180 / math.pi)


@rad2deg.vjp
def _(xp, g):
    return g * (180 / math.pi)
