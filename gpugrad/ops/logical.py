"""Logic on truth values, on bits, and the common divisors of integers."""

from __future__ import annotations

from gpugrad.op import Array, elementwise


@elementwise(c="({0} && {1})", promotion="bool", inplace=True, differentiable=False)
def logical_and(xp, input: Array, other: Array) -> Array:
    """Whether both are non-zero."""
    return xp.logical_and(input, other)


@elementwise(c="({0} || {1})", promotion="bool", inplace=True, differentiable=False)
def logical_or(xp, input: Array, other: Array) -> Array:
    """Whether either is non-zero."""
    return xp.logical_or(input, other)


@elementwise(c="(!{0} != !{1})", promotion="bool", inplace=True, differentiable=False)
def logical_xor(xp, input: Array, other: Array) -> Array:
    """Whether exactly one is non-zero."""
    return xp.logical_xor(input, other)


@elementwise(c="(!{0})", promotion="bool", inplace=True, differentiable=False)
def logical_not(xp, input: Array) -> Array:
    """Whether the element is zero."""
    return xp.logical_not(input)


@elementwise(c="({0} & {1})", operator="__and__", accepts="bi", inplace=True,
             differentiable=False)  # fmt: skip
def bitwise_and(xp, input: Array, other: Array) -> Array:
    """Bits set in both; of bools, whether both hold."""
    return xp.bitwise_and(input, other)


@elementwise(c="({0} | {1})", operator="__or__", accepts="bi", inplace=True, differentiable=False)
def bitwise_or(xp, input: Array, other: Array) -> Array:
    """Bits set in either; of bools, whether either holds."""
    return xp.bitwise_or(input, other)


@elementwise(c="({0} ^ {1})", operator="__xor__", accepts="bi", inplace=True,
             differentiable=False)  # fmt: skip
def bitwise_xor(xp, input: Array, other: Array) -> Array:
    """Bits set in exactly one; of bools, whether they differ."""
    return xp.bitwise_xor(input, other)


@elementwise(c={"i": "(~{0})", "b": "(!{0})"}, xp_name="bitwise_invert", operator="__invert__",
             accepts="bi", inplace=True, differentiable=False)  # fmt: skip
def bitwise_not(xp, input: Array) -> Array:
    """Every bit flipped; of bools, the negation."""
    return xp.bitwise_invert(input)


@elementwise(c="gg_left_shift({0}, {1})", operator="__lshift__", accepts="i", inplace=True,
             differentiable=False, domain=((-9.0, 9.0), (0.0, 5.0)))  # fmt: skip
def bitwise_left_shift(xp, input: Array, other: Array) -> Array:
    """Bits moved up by ``other`` places; 0 if that is negative or the whole width or more."""
    return xp.bitwise_left_shift(input, other)


@elementwise(c="gg_right_shift({0}, {1})", operator="__rshift__", accepts="i", inplace=True,
             differentiable=False, domain=((-90.0, 90.0), (0.0, 5.0)))  # fmt: skip
def bitwise_right_shift(xp, input: Array, other: Array) -> Array:
    """Bits moved down by ``other`` places, keeping the sign; out of range, only that is left."""
    return xp.bitwise_right_shift(input, other)


@elementwise(c="gg_gcd({0}, {1})", accepts="i", inplace=True, differentiable=False,
             domain=(-90.0, 90.0))  # fmt: skip
def gcd(xp, input: Array, other: Array) -> Array:
    """Greatest common divisor, not negative; 0 for two zeros."""
    return xp.gcd(input, other)


@elementwise(c="gg_lcm({0}, {1})", accepts="i", inplace=True, differentiable=False,
             domain=(-9.0, 9.0))  # fmt: skip
def lcm(xp, input: Array, other: Array) -> Array:
    """Least common multiple, not negative; 0 if either is 0."""
    return xp.lcm(input, other)
