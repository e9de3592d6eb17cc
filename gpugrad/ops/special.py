"""Special functions: errors, gamma, Bessel and normal distribution.

Derivatives are those of NIST's Digital Library of Mathematical Functions, chapters 5, 7, 10 and 25.
"""

from __future__ import annotations

import math
from typing import Any

from gpugrad.errors import NotSupportedError, SettingError
from gpugrad.op import Array, elementwise, function
from gpugrad.samples import A, Sample


@elementwise(c="erf{f}({0})", promotion="float", inplace=True, aliases=("special.erf",))
def erf(xp, input: Array) -> Array:
    """``2 / sqrt(pi)`` times the integral of ``exp(-t ** 2)`` from 0 to ``input``."""
    return xp.erf(input)


@erf.vjp
def _(xp, g, input):
    return g * (2 / math.sqrt(math.pi) * xp.exp(-(input * input)))


@elementwise(c="erfc{f}({0})", promotion="float", inplace=True, aliases=("special.erfc",))
def erfc(xp, input: Array) -> Array:
    """``1 - erf(input)`` without cancellation."""
    return xp.erfc(input)


@erfc.vjp
def _(xp, g, input):
    return g * (-2 / math.sqrt(math.pi) * xp.exp(-(input * input)))


@elementwise(c="gg_erfcx({0})", promotion="float", home="special", method=False)
def erfcx(xp, input: Array) -> Array:
    """``exp(input ** 2) * erfc(input)``."""
    return xp.erfcx(input)


@erfcx.vjp
def _(xp, g, input, out):
    return g * (2 * input * out - 2 / math.sqrt(math.pi))


@elementwise(c="gg_erfinv({0})", promotion="float", inplace=True, aliases=("special.erfinv",),
             domain=(-0.95, 0.95))  # fmt: skip
def erfinv(xp, input: Array) -> Array:
    """Inverse of ``erf``; infinite at -1 and 1, NaN outside."""
    return xp.erfinv(input)


@erfinv.vjp
def _(xp, g, out):
    return g * (math.sqrt(math.pi) / 2 * xp.exp(out * out))


@elementwise(promotion="float", home="special", method=False)
def ndtr(xp, input: Array) -> Array:
    """Distribution function of the standard normal."""
    return 0.5 * xp.erfc(input * -math.sqrt(0.5))


@ndtr.vjp
def _(xp, g, input):
    return g * (math.sqrt(0.5 / math.pi) * xp.exp(-0.5 * (input * input)))


@elementwise(c="gg_ndtri({0})", promotion="float", home="special", method=False,
             domain=(0.05, 0.95))  # fmt: skip
def ndtri(xp, input: Array) -> Array:
    """Quantile of the standard normal, the inverse of ``ndtr``; NaN outside [0, 1]."""
    return xp.ndtri(input)


@ndtri.vjp
def _(xp, g, out):
    return g * (math.sqrt(2 * math.pi) * xp.exp(0.5 * (out * out)))


@elementwise(promotion="float", home="special", method=False)
def log_ndtr(xp, input: Array) -> Array:
    """Logarithm of ``ndtr``, also where ``ndtr`` underflows."""
    low = xp.log(0.5 * xp.erfcx(input * -math.sqrt(0.5))) - 0.5 * (input * input)
    return xp.where(input < -1, low, xp.log1p(-0.5 * xp.erfc(input * math.sqrt(0.5))))


@log_ndtr.vjp
def _(xp, g, input):
    return g * (math.sqrt(2 / math.pi) / xp.erfcx(input * -math.sqrt(0.5)))


@elementwise(promotion="float", home="special", method=False, domain=(0.1, 3.0))
def entr(xp, input: Array) -> Array:
    """``-input * log(input)``: 0 at 0, -inf below."""
    inside = xp.where(xp.equal(input, 0), 0, -input * xp.log(input))
    return xp.where(input < 0, -math.inf, inside)


@entr.vjp
def _(xp, g, input):
    return g * (-xp.log(input) - 1)


@elementwise(promotion="float", home="special", method=False,
             domain=((-3.0, 3.0), (-0.9, 3.0)))  # fmt: skip
def xlog1py(xp, input: Array, other: Array) -> Array:
    """``input * log1p(other)``; 0 where ``input`` is 0, unless ``other`` is NaN."""
    empty = xp.logical_and(xp.equal(input, 0), xp.equal(other, other))
    return xp.where(empty, 0, input * xp.log1p(other))


@xlog1py.vjp("input")
def _(xp, g, input, other):
    return xp.where(xp.logical_and(xp.equal(input, 0), other <= -1), 0, xp.xlog1py(g, other))


@xlog1py.vjp("other")
def _(xp, g, input, other):
    return g * input / (other + 1)


@elementwise(promotion="float", inplace=True, aliases=("special.logit",), samples=[
    Sample(A((3, 4), 0.1, 0.9)), Sample(A((), 0.1, 0.9)), Sample(A((0, 2))),
    Sample(A((7,), 0.0, 1.0), eps=0.2), Sample(A((7,), 0.0, 1.0), 0.01),
])  # fmt: skip
def logit(xp, input: Array, *, eps: float | None = None) -> Array:
    """``log(p / (1 - p))``, ``p`` the input, brought into ``[eps, 1 - eps]`` if that is given."""
    p = input if eps is None else xp.minimum(xp.maximum(input, eps), 1 - eps)
    return xp.log(p / (1 - p))


@logit.vjp
def _(xp, g, input, eps):
    low, high, outside = (0.0, 1.0, math.nan) if eps is None else (eps, 1 - eps, 0.0)
    inside = xp.logical_and(input >= low, input <= high)
    p = xp.where(inside, input, 0.5)
    return xp.where(inside, g / xp.abs(p * (1 - p)), outside)  # -0 is as good as 0


@elementwise(c="lgamma{f}({0})", promotion="float", inplace=True, domain=(0.3, 5.0),
             aliases=("special.gammaln",))  # fmt: skip
def lgamma(xp, input: Array) -> Array:
    """Logarithm of the gamma function's absolute value."""
    return xp.lgamma(input)


@lgamma.vjp
def _(xp, g, input):
    return g * xp.digamma(input)


@elementwise(c="gg_digamma({0})", promotion="float", inplace=True, domain=(0.3, 5.0),
             aliases=("special.digamma", "special.psi"))  # fmt: skip
def digamma(xp, input: Array) -> Array:
    """Derivative of ``lgamma``; -inf at 0, inf at -0, NaN at the negative integers."""
    return xp.digamma(input)


@digamma.vjp
def _(xp, g, input):
    return g * xp.polygamma(1, input)


@elementwise(promotion="float", order=("n", "input"), aliases=("special.polygamma",),
             method=False, samples=[
                 Sample(1, A((3, 4), 0.3, 5.0)), Sample(0, A((2,), 0.3, 5.0)),
                 Sample(2, A((5,), 0.3, 5.0)), Sample(3, A((), 0.3, 5.0)), Sample(1, A((0, 2))),
             ])  # fmt: skip
def polygamma(xp, input: Array, *, n: int) -> Array:
    """The ``n``-th derivative of ``digamma``: ``(-1)**(n + 1) n! zeta(n + 1, x)`` (DLMF 5.15.1).

    Raises:
        SettingError: for a negative ``n``.
    """
    if n < 0:
        raise SettingError(f"polygamma: n must be 0 or more, got {n}")
    if n == 0:
        return xp.digamma(input)
    return xp.zeta(n + 1.0, input) * ((-1) ** (n + 1) * float(math.factorial(n)))


@polygamma.vjp
def _(xp, g, input, n):
    return g * xp.polygamma(n + 1, input)


@function(name="polygamma", home="Tensor", inplace=True, samples=[Sample(A((3,), 0.3, 5.0), 1)])
def _tensor_polygamma(self: Any, n: int) -> Any:
    """The ``n``-th derivative of ``digamma``."""
    return polygamma.public(n, self)


@elementwise(promotion="float", accepts="if", inplace=True, aliases=("special.multigammaln",),
             samples=[Sample(A((3, 4), 2.0, 5.0), 3), Sample(A((), 2.0, 5.0), 1),
                      Sample(A((0, 2)), 2)])  # fmt: skip
def mvlgamma(xp, input: Array, *, p: int) -> Array:
    """Logarithm of the ``p``-dimensional gamma function (DLMF 35.3.4).

    Raises:
        SettingError: for ``p`` below 1.
    """
    if p < 1:
        raise SettingError(f"mvlgamma: p must be 1 or more, got {p}")
    total = xp.lgamma(input) + p * (p - 1) / 4 * math.log(math.pi)
    for j in range(1, p):
        total = total + xp.lgamma(input - j / 2)
    return total


@elementwise(c="gg_zeta({0}, {1})", promotion="float", home="special", method=False,
             samples=[Sample(2.5, A((3, 4), 0.5, 4.0)), Sample(1.5, A((), 0.5, 4.0)),
                      Sample(4, A((0, 2))), Sample(3.5, A((7,), 0.5, 4.0))])  # fmt: skip
def zeta(xp, input: Array, other: Array) -> Array:
    """Hurwitz zeta function, the sum of ``(k + other) ** -input`` over k = 0, 1, ..."""
    return xp.zeta(input, other)


@zeta.vjp("input")
def _(xp, g):
    raise NotSupportedError(
        "zeta: there is no gradient for its first argument; detach() it, or differentiate by other"
    )


@zeta.vjp("other")
def _(xp, g, input, other):
    return g * (-input * xp.zeta(input + 1, other))


@elementwise(c="gg_i0({0})", promotion="float", inplace=True, aliases=("special.i0",))
def i0(xp, input: Array) -> Array:
    """Modified Bessel function of the first kind, order 0."""
    return xp.i0(input)


@i0.vjp
def _(xp, g, input):
    return g * xp.i1(input)


@elementwise(c="gg_i0e({0})", promotion="float", home="special", method=False)
def i0e(xp, input: Array) -> Array:
    """``exp(-|input|) * i0(input)``."""
    return xp.i0e(input)


@i0e.vjp
def _(xp, g, input, out):
    return g * (xp.i1e(input) - xp.sign(input) * out)


@elementwise(c="gg_i1({0})", promotion="float", home="special", method=False)
def i1(xp, input: Array) -> Array:
    """Modified Bessel function of the first kind, order 1."""
    return xp.i1(input)


@i1.vjp
def _(xp, g, input, out):
    zero = xp.equal(input, 0)  # where i1(x) / x is 1 / 2
    return g * (xp.i0(input) - xp.where(zero, 0.5, out / xp.where(zero, 1, input)))


@elementwise(c="gg_i1e({0})", promotion="float", home="special", method=False)
def i1e(xp, input: Array) -> Array:
    """``exp(-|input|) * i1(input)``."""
    return xp.i1e(input)


@i1e.vjp
def _(xp, g, input, out):
    zero = xp.equal(input, 0)
    part = xp.where(zero, 0.5, out / xp.where(zero, 1, input))
    return g * (xp.i0e(input) - part - xp.sign(input) * out)
