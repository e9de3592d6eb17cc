"""The logarithm of the gamma function, its derivatives, and Hurwitz's zeta function.

Formulas are from NIST's Digital Library of Mathematical Functions (DLMF), chapters 5 and 25; how
the range is cut follows the habits of S. Moshier's Cephes.
"""

from __future__ import annotations

import math
from typing import Any

from gpugrad.backends.special_core import Array, elementwise, polynomial, rational, sin_pi, some

# log Gamma(2 + w) / w in w on [-0.5, 1], error 1e-18.
_NEAR_TWO = (
    (
        6.546169219546809e-06, 0.0005126144211989154, 0.010761708654598556, 0.09527665675843039,
        0.4172589188705117, 0.9416928598448896, 1.0322392924250592, 0.42278433509846713,
    ),
    (
        1.2994531242674538e-06, 0.0001674204154721995, 0.005046343841908332, 0.061244858012688135,
        0.36196916412627267, 1.1062047574607787, 1.678804534788733, 1.0,
    ),
)  # fmt: skip

# x times the remainder of Stirling's formula (DLMF 5.11.1) in x**-2, for x >= 3, error 6e-18.
_STIRLING = (
    (
        0.13367152784937786, 2.5590246849884033, 6.6878298247072125, 4.904304971159221,
        1.190372606351185, 0.08333333333333333,
    ),
    (
        2.223301837290134, 32.97225380732656, 82.10205390891409, 59.31939599804327,
        14.317804609547542, 1.0,
    ),
)  # fmt: skip

# The positive zero of digamma as a sum of two floats, and digamma(zero + w) / w for zero + w in
# [1, 2], error 8e-20.
_ZERO, _ZERO_REST = 1.4616321449683622, 9.549995429965697e-17
_DIGAMMA = (
    (
        4.5021150752717654e-07, 0.0002413862377406862, 0.008805673211219568, 0.10513599874917318,
        0.5358912022175543, 1.202728341748056, 0.9676722454476212,
    ),
    (
        4.9767097124776097e-05, 0.0026590106932300947, 0.043632349509565994, 0.31097860738421707,
        1.064713941391991, 1.700463683310959, 1.0,
    ),
)  # fmt: skip

# Bernoulli numbers: B[2j] / 2j highest first for digamma (DLMF 5.11.2), B[2j] / (2j)! from j = 1
# for zeta (DLMF 25.11.28).
_BERNOULLI_OVER_2J = (1 / 12, -691 / 32760, 1 / 132, -1 / 240, 1 / 252, -1 / 120, 1 / 12)
_BERNOULLI_OVER_FACTORIAL = (
    0.08333333333333333, -0.001388888888888889, 3.306878306878307e-05, -8.267195767195768e-07,
    2.08767569878681e-08, -5.284190138687493e-10, 1.3382536530684679e-11, -3.3896802963225827e-13,
    8.586062056277845e-15, -2.1748686985580617e-16, 5.50900282836023e-18, -1.3954464685812524e-19,
)  # fmt: skip
_ZETA_TERMS = 10  # summed one by one before the Euler-Maclaurin formula takes over


def lgamma(xp: Any, x: Array) -> Array:
    """``log |Gamma(x)|``: infinite at 0, the negative integers and both infinities."""
    return elementwise(xp, _lgamma, x)


def digamma(xp: Any, x: Array) -> Array:
    """Derivative of ``log Gamma``: -inf at 0, +inf at -0, NaN at negative integers and -inf."""
    return elementwise(xp, _digamma, x)


def polygamma(xp: Any, n: int, x: Array) -> Array:
    """Derivative of order ``n`` of digamma: ``(-1)**(n+1) n! zeta(n+1, x)`` (DLMF 25.11.12)."""
    if n < 0:
        raise ValueError(f"polygamma(n, x) is for n >= 0, got n={n}")
    if n == 0:
        return digamma(xp, x)
    # (-1)**(n+1) n!; from 171! on a float has no room for it.
    factor = (-1.0) ** (n + 1) * (math.inf if n > 170 else float(math.factorial(n)))
    return elementwise(xp, lambda xp, x: factor * _zeta(xp, xp.full_like(x, n + 1.0), x), x)


def zeta(xp: Any, s: Array, q: Array) -> Array:
    """Hurwitz zeta function: the sum of ``(q + k)**-s`` over ``k = 0, 1, ...``, broadcast.

    NaN for ``s < 1``, and for ``q < 0`` with ``s`` no integer; infinite at ``s = 1`` and where
    ``q`` is 0 or a negative integer.
    """
    return elementwise(xp, _zeta, s, q)


def _lgamma(xp: Any, x: Array) -> Array:
    mirror = x < -0.5
    y = _lgamma_right(xp, xp.where(mirror, 1 - x, x))
    if some(xp, mirror):
        # Reflection, DLMF 5.5.3. A pole is named, as both terms may be infinite there.
        sine = sin_pi(xp, x)
        mirrored = xp.where(sine == 0, math.inf, math.log(math.pi) - xp.log(sine) - y)
        y = xp.where(mirror, mirrored, y)
    return xp.where(xp.isinf(x), math.inf, y)


def _lgamma_right(xp: Any, x: Array) -> Array:
    """For ``x >= -0.5``. The zeros 1 and 2 are factors; below, ``Gamma(x + 1) = x Gamma(x)``."""
    near_two, near_zero = x >= 1.5, x < 0.5
    w = xp.where(near_two, x - 2, xp.where(near_zero, x, x - 1))
    y = w * rational(*_NEAR_TWO, w)
    if some(xp, ~near_two):
        y = xp.where(near_two, y, y - xp.log1p(w))
    if some(xp, near_zero):
        y = xp.where(near_zero, y - xp.log(xp.abs(x)), y)
    large = x >= 3
    if some(xp, large):
        inverse = 1 / x
        stirling = (x - 0.5) * (xp.log(x) - 1) + (0.5 * math.log(2 * math.pi) - 0.5)
        stirling += inverse * rational(*_STIRLING, inverse * inverse)
        y = xp.where(large, stirling, y)
    return y


def _digamma(xp: Any, x: Array) -> Array:
    negative = x < 0
    y = _digamma_positive(xp, xp.where(negative, 1 - x, x))
    if some(xp, negative):
        # Reflection, DLMF 5.5.4. At a negative integer the tangent is 0: that is a pole with two
        # signs, so NaN.
        r = x - xp.rint(x)
        y = xp.where(negative, y - math.pi / xp.tan(math.pi * r), y)
        y = xp.where(negative & (r == 0), math.nan, y)
    return xp.where(x == 0, xp.copysign(math.inf, -x), y)


def _digamma_positive(xp: Any, x: Array) -> Array:
    """Asymptotic series (DLMF 5.11.2) from 10 on, below it of ``x + 10`` less ten reciprocals."""
    small = x < 10
    far = xp.where(small, x + 10, x)
    inverse = 1 / (far * far)
    y = xp.log(far) - 0.5 / far - inverse * polynomial(_BERNOULLI_OVER_2J, inverse)
    if some(xp, small):
        # 1/(x+k) + 1/(x+9-k) has the numerator 2 x + 9 for every k: five divisions instead of ten.
        product = x * (x + 9)
        total = 1 / product
        for k in range(1, 5):
            total += 1 / (product + float(k * (9 - k)))
        y = xp.where(small, y - (2 * x + 9) * total, y)
    by_zero = (x >= 1) & (x <= 2)
    if some(xp, by_zero):
        w = (x - _ZERO) - _ZERO_REST
        y = xp.where(by_zero, w * rational(*_DIGAMMA, w), y)
    return y


def _zeta(xp: Any, s: Array, q: Array) -> Array:
    negative = q < 0
    y = _zeta_positive(xp, s, xp.where(negative, q - xp.floor(q), q))
    if some(xp, negative):
        # The terms before the sign changes, q to f - 1 with f = q - floor(q), are two zeta
        # functions of the mirrored numbers 1 - f, 2 - f, ..., -q.
        before = _zeta_positive(xp, s, 1 - (q - xp.floor(q))) - _zeta_positive(xp, s, 1 - q)
        odd = xp.floor(0.5 * s) != 0.5 * s
        mirrored = y + xp.where(odd, -before, before)
        mirrored = xp.where(s == xp.floor(s), mirrored, math.nan)
        y = xp.where(negative, mirrored, y)
    y = xp.where((q <= 0) & (q == xp.floor(q)), math.inf, y)
    y = xp.where(s == 1, math.inf, xp.where(s < 1, math.nan, y))
    return xp.where(xp.isnan(q) | xp.isnan(s), math.nan, y)


def _zeta_positive(xp: Any, s: Array, q: Array) -> Array:
    """Euler-Maclaurin formula, DLMF 25.11.28 with ten terms summed first."""
    y = xp.power(q, -s)
    for k in range(1, _ZETA_TERMS):
        y += xp.power(q + k, -s)
    a = q + _ZETA_TERMS
    power = xp.power(a, -s)
    y += xp.power(a, 1 - s) / (s - 1) + 0.5 * power
    # The rest of the series diverges for s far above a, but is then nothing beside q**-s.
    term = power * s / a
    square = a * a
    rest = xp.zeros_like(y)
    for j, c in enumerate(_BERNOULLI_OVER_FACTORIAL):
        rest += c * term
        term *= (s + (2 * j + 1)) * (s + (2 * j + 2)) / square
    return y + xp.where(xp.isfinite(rest) & (power > 0), rest, 0)
