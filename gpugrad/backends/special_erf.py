"""The error function and its relatives.

All of them stand on two approximations: ``erf(x) / x`` for small ``x``, and the scaled complement
``erfcx(x) = exp(x**2) erfc(x)`` for every ``x >= 0`` in the variable ``(x - 3.75) / (x + 3.75)``,
as in M. Shepherd and J. Laframboise, Math. Comp. 36 (1981) 249.  The exponential is taken of a
square with no rounding error, as in W. J. Cody, Math. Comp. 23 (1969) 631.
"""

from __future__ import annotations

import math
from typing import Any

from gpugrad.backends.special_core import Array, elementwise, polynomial, rational, some

# erf(x) / x in x**2 on [0, 1], error 8e-18.
_ERF = (
    -7.795898827002142e-10, 1.3720064546777686e-08, -1.6208483801871705e-07,
    1.6447424703317362e-06, -1.492473690741966e-05, 0.00012055294904839707, -0.0008548325975389692,
    0.0052239776071164225, -0.02686617064323777, 0.11283791670945006, -0.37612638903183543,
    1.1283791670955126,
)  # fmt: skip

# (1 + 2 x) erfcx(x) in (x - 3.75) / (x + 3.75), error 1.5e-16.
_ERFCX = (
    -2.7293941332533855e-09, -1.952790162974837e-09, 3.256499083798513e-08, 1.8778501156468795e-08,
    -2.4996538037405243e-07, -5.0816911811698186e-08, 1.7438577411359181e-06, -9.79297529099823e-07,
    -1.143961526007595e-05, 2.238759272534769e-05, 5.164737123871838e-05, -0.0002901553656394713,
    0.00029371408777227685, 0.0017556261692276722, -0.00974657962081509, 0.028362277371370044,
    -0.058693398584491845, 0.09230432116435616, -0.10880393014193915, 0.08227673848999159,
    0.0035854154854663067, -0.14024059858554522, 1.2375126308378275,
)  # fmt: skip

# For float32: erf(x) / x in x**2 on [0, 1], error 1e-9, and log erfc(x) on [1, 4], error 2e-9.
# From 4 on erf is 1 in float32.
_ERF_SINGLE = (
    7.875874871388078e-05, -0.000801686430349946, 0.005189087241888046, -0.02685421146452427,
    0.11283594369888306, -0.3761262595653534, 1.1283791065216064,
)  # fmt: skip
_LOG_ERFC_SINGLE = (
    1.6371513993362896e-06, -4.605804133461788e-05, 0.0005968056502752006, -0.004759596195071936,
    0.026421135291457176, -0.11008008569478989, -0.6318260431289673, -1.1302334070205688,
    0.0003201380604878068,
)  # fmt: skip

# The quantile of the normal distribution: M. Wichura, algorithm AS 241 (PPND16), Applied Statistics
# 37 (1988) 477, error 1e-16.  Centre: x / q in 0.180625 - q**2; tails: x in sqrt(-log p) - 1.6 up
# to 5 and in the same - 5 beyond.
_CENTRE = (
    (
        2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
        13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.3871328727963666080,
    ),
    (
        5226.4952788528545610, 28729.085735721942674, 39307.895800092710610, 21213.794301586595867,
        5394.1960214247511077, 687.18700749205790830, 42.313330701600911252, 1.0,
    ),
)  # fmt: skip
_TAIL = (
    (
        7.74545014278341407640e-4, 0.0227238449892691845833, 0.241780725177450611770,
        1.27045825245236838258, 3.64784832476320460504, 5.76949722146069140550,
        4.63033784615654529590, 1.42343711074968357734,
    ),
    (
        1.05075007164441684324e-9, 5.47593808499534494600e-4, 0.0151986665636164571966,
        0.148103976427480074590, 0.689767334985100004550, 1.67638483018380384940,
        2.05319162663775882187, 1.0,
    ),
)  # fmt: skip
_FAR_TAIL = (
    (
        2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.00124266094738807843860,
        0.0265321895265761230930, 0.296560571828504891230, 1.78482653991729133580,
        5.46378491116411436990, 6.65790464350110377720,
    ),
    (
        2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
        7.86869131145613259100e-4, 0.0148753612908506148525, 0.136929880922735805310,
        0.599832206555887937690, 1.0,
    ),
)  # fmt: skip


def erf(xp: Any, x: Array) -> Array:
    """Error function ``2 / sqrt(pi) * integral of exp(-t**2) from 0 to x``."""
    return elementwise(xp, _erf, x, single=True)


def erfc(xp: Any, x: Array) -> Array:
    """Complement ``1 - erf(x)``, with full relative accuracy for large ``x``."""
    return elementwise(xp, _erfc, x)


def erfcx(xp: Any, x: Array) -> Array:
    """Scaled complement ``exp(x**2) erfc(x)``."""
    return elementwise(xp, _erfcx, x)


def erfinv(xp: Any, x: Array) -> Array:
    """Inverse of erf: infinite at -1 and 1, NaN outside."""
    return elementwise(xp, _erfinv, x, single=True)


def ndtr(xp: Any, x: Array) -> Array:
    """Distribution function of the standard normal."""
    return elementwise(xp, _ndtr, x)


def ndtri(xp: Any, p: Array) -> Array:
    """Quantile of the standard normal, the inverse of ``ndtr``: NaN outside [0, 1]."""
    return elementwise(xp, _ndtri, p, single=True)


def log_ndtr(xp: Any, x: Array) -> Array:
    """Logarithm of ``ndtr``, also where ``ndtr`` underflows."""
    return elementwise(xp, _log_ndtr, x)


def _erf(xp: Any, x: Array) -> Array:
    single = x.dtype == xp.float32
    y = polynomial(_ERF_SINGLE if single else _ERF, x * x)
    y *= x
    size = xp.abs(x)
    large = ~(size < 1)  # NaN counts as large: the first polynomial may have met inf - inf
    if some(xp, large):
        if single:
            upper = xp.exp(polynomial(_LOG_ERFC_SINGLE, xp.minimum(size, 4.0)))
        else:
            upper = _upper(xp, size, 1.0)
        y = xp.where(large, xp.copysign(1 - upper, x), y)
    return y


def _erfc(xp: Any, x: Array) -> Array:
    y = _upper(xp, xp.abs(x), 1.0)
    y = xp.where(x < 0, 2 - y, y)
    small = xp.abs(x) < 0.25
    if some(xp, small):
        y = xp.where(small, 1 - x * polynomial(_ERF, x * x), y)
    return y


def _erfcx(xp: Any, x: Array) -> Array:
    y = _scaled(xp, xp.abs(x))
    negative = x < 0
    if some(xp, negative):
        y = xp.where(negative, 2 / _exp_minus_square(xp, x, 1.0) - y, y)
    return y


def _scaled(xp: Any, size: Array) -> Array:
    """erfcx for ``x >= 0``."""
    y = polynomial(_ERFCX, 1 - 7.5 / (size + 3.75))
    y *= 0.5
    y /= size + 0.5
    return y


def _exp_minus_square(xp: Any, x: Array, factor: float) -> Array:
    """``exp(-factor * x**2)``, ``factor`` 1 or 1/2: the square of ``near`` is exact."""
    x = xp.minimum(xp.abs(x), 40.0)  # beyond, the result is 0 and inf - inf looms
    near = xp.rint(16 * x) / 16
    y = xp.exp(-factor * near * near)
    y *= xp.exp(-factor * (x - near) * (x + near))
    return y


def _upper(xp: Any, size: Array, factor: float) -> Array:
    """``erfc(sqrt(factor) * size)`` for ``size >= 0``."""
    return _exp_minus_square(xp, size, factor) * _scaled(xp, math.sqrt(factor) * size)


def _ndtr(xp: Any, x: Array) -> Array:
    y = 0.5 * _upper(xp, xp.abs(x), 0.5)
    y = xp.where(x < 0, y, 1 - y)
    small = xp.abs(x) < 0.25
    if some(xp, small):
        y = xp.where(small, 0.5 + math.sqrt(0.125) * x * polynomial(_ERF, 0.5 * x * x), y)
    return y


def _log_ndtr(xp: Any, x: Array) -> Array:
    size = xp.abs(x)
    below = xp.log(0.5 * _scaled(xp, math.sqrt(0.5) * size)) - 0.5 * x * x
    return xp.where(x < 0, below, xp.log1p(-0.5 * _upper(xp, size, 0.5)))


def _erfinv(xp: Any, x: Array) -> Array:
    return _quantile(xp, x, 0.5, 0.5 * (1 - xp.abs(x)), math.sqrt(0.5))


def _ndtri(xp: Any, p: Array) -> Array:
    return _quantile(xp, p - 0.5, 1.0, xp.minimum(p, 1 - p), 1.0)


def _quantile(xp: Any, lead: Array, factor: float, tail: Array, scale: float) -> Array:
    """``scale`` times the quantile of ``0.5 + factor * lead``, whose smaller tail is ``tail``."""
    q = factor * lead
    y = lead * (rational(*_CENTRE, 0.180625 - q * q) * (factor * scale))
    outer = ~(xp.abs(q) <= 0.425)  # NaN counts as outside
    if some(xp, outer):
        r = xp.sqrt(-xp.log(tail))
        size = rational(*_TAIL, r - 1.6)
        far = r > 5
        if some(xp, far):
            size = xp.where(far, rational(*_FAR_TAIL, r - 5), size)
            size = xp.where(r == math.inf, math.inf, size)
        y = xp.where(outer, xp.copysign(size * scale, lead), y)
    return y
