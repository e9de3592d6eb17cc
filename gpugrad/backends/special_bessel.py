"""Modified Bessel functions of the first kind, orders 0 and 1.

For ``|x| <= 8`` the power series (DLMF 10.25.2) economised, beyond it the scaled function times
``sqrt(x)`` in ``8 / x``: the division of the range is that of C. Clenshaw's tables (1962), which
Cephes uses too.
"""

from __future__ import annotations

import math
from typing import Any

from gpugrad.backends.special_core import Array, elementwise, polynomial, some

# I0(x) in (x / 2)**2 on [0, 16], error 3e-17; exp(-x) sqrt(x) I0(x) in 8 / x, error 7e-18.
_I0_SMALL = (
    9.604864662681523e-25, 1.0805568728893e-22, 2.6638168379729013e-20, 4.338239454264185e-18,
    6.279425816382418e-16, 7.5936581264081e-14, 7.594093461237802e-12, 6.151185080653331e-10,
    3.9367599937651325e-08, 1.9290123422052142e-06, 6.944444445240514e-05, 0.0017361111110991466,
    0.027777777777788643, 0.2499999999999948, 1.0000000000000009, 1.0,
)  # fmt: skip
_I0_LARGE = (
    -0.0011859710830350223, 0.01407045109850318, -0.0778047210067278, 0.26625428220608377,
    -0.6315257426083565, 1.102175595696986, -1.4669542170657468, 1.5233891830580202,
    -1.2529399670015462, 0.8240587907298232, -0.43586620432913853, 0.1858455431612519,
    -0.06384115205404386, 0.017606206452690155, -0.003871991245048551, 0.0006721850550433317,
    -9.059055340794059e-05, 9.662505089490398e-06, 1.5997989030747754e-07, 2.803580131430507e-06,
    1.0921983591388685e-05, 5.706918267114255e-05, 0.0004382910791627048, 0.006233473131274204,
    0.3989422804014327,
)  # fmt: skip

# I1(x) / x in (x / 2)**2 on [0, 16], error 2e-18; exp(-x) sqrt(x) I1(x) in 8 / x, error 7e-18.
_I1_SMALL = (
    2.916825666594092e-26, 3.706605520277272e-24, 9.455144020393155e-22, 1.6705022348546468e-19,
    2.6159960799896376e-17, 3.451729636836005e-15, 3.797039283580161e-13, 3.4173256472461263e-11,
    2.460474960769327e-09, 1.3778659602015222e-07, 5.78703703726566e-06, 0.00017361111111076753,
    0.0034722222222225343, 0.04166666666666652, 0.25000000000000006, 0.5,
)  # fmt: skip
_I1_LARGE = (
    0.0012327885636134986, -0.014646641170475589, 0.08111395162055325, -0.2780304140374893,
    0.66060442951592, -1.1550643572244064, 1.540380965906939, -1.6029870692468409,
    1.3213185371640241, -0.8710480215351347, 0.46183704064016656, -0.19741451252287015,
    0.06799095186072494, -0.018800162033206894, 0.004145567806762413, -0.0007215837117112409,
    9.749011030042899e-05, -1.0449532995814464e-05, -2.6051388149549764e-07,
    -3.4212471047225815e-06, -1.4042832370394263e-05, -7.989684582110704e-05,
    -0.0007304851321576334, -0.018700419393819136, 0.3989422804014327,
)  # fmt: skip


def i0(xp: Any, x: Array) -> Array:
    """Modified Bessel function of order 0."""
    return elementwise(xp, lambda xp, x: _plain(xp, x, _I0_SMALL, _I0_LARGE), x)


def i0e(xp: Any, x: Array) -> Array:
    """``exp(-|x|) i0(x)``."""
    return elementwise(xp, lambda xp, x: _scaled(xp, x, _I0_SMALL, _I0_LARGE), x)


def i1(xp: Any, x: Array) -> Array:
    """Modified Bessel function of order 1."""
    return elementwise(xp, lambda xp, x: _odd(xp, x, _plain), x)


def i1e(xp: Any, x: Array) -> Array:
    """``exp(-|x|) i1(x)``."""
    return elementwise(xp, lambda xp, x: _odd(xp, x, _scaled), x)


def _odd(xp: Any, x: Array, even: Any) -> Array:
    """Order 1 from the two tables, the small one of which is divided by ``x``."""
    y = even(xp, x, _I1_SMALL, _I1_LARGE)
    return xp.where(xp.abs(x) <= 8, x, xp.copysign(1.0, x)) * y


def _plain(xp: Any, x: Array, small: tuple[float, ...], large: tuple[float, ...]) -> Array:
    size = xp.abs(x)
    y = polynomial(small, 0.25 * x * x)
    beyond = size > 8
    if some(xp, beyond):
        # exp(x) alone would overflow before the function does.
        half = xp.exp(0.5 * size)
        y = xp.where(beyond, half * (_asymptotic(xp, size, large) * half), y)
        y = xp.where(size == math.inf, math.inf, y)
    return y


def _scaled(xp: Any, x: Array, small: tuple[float, ...], large: tuple[float, ...]) -> Array:
    size = xp.abs(x)
    y = polynomial(small, 0.25 * x * x)
    y *= xp.exp(-size)
    beyond = size > 8
    return xp.where(beyond, _asymptotic(xp, size, large), y) if some(xp, beyond) else y


def _asymptotic(xp: Any, size: Array, large: tuple[float, ...]) -> Array:
    return polynomial(large, 8 / size) / xp.sqrt(size)
