"""Kullback-Leibler divergences in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gpugrad.distributions.bernoulli import Bernoulli
from gpugrad.distributions.categorical import Categorical
from gpugrad.distributions.distribution import Distribution, no_closed_form
from gpugrad.distributions.exponential import Exponential
from gpugrad.distributions.independent import Independent
from gpugrad.distributions.laplace import Laplace
from gpugrad.distributions.multivariate_normal import MultivariateNormal, half_log_det
from gpugrad.distributions.normal import Normal
from gpugrad.distributions.uniform import Uniform
from gpugrad.distributions.utils import sum_rightmost
from gpugrad.errors import ArgumentError
from gpugrad.functional_namespace import F
from gpugrad.tensor import Tensor

Formula = Callable[[Any, Any], Tensor]
_formulas: dict[tuple[type, type], Formula] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Formula], Formula]:
    """``@register_kl(P, Q)`` gives ``kl_divergence`` a formula for ``P``, ``Q`` and subclasses.

    Raises:
        ArgumentError: if one is no subclass of Distribution.
    """
    for kind in (type_p, type_q):
        if not issubclass(kind, Distribution):
            raise ArgumentError(
                f"register_kl: types must be subclasses of Distribution, got {kind!r}"
            )

    def note(formula: Formula) -> Formula:
        _formulas[type_p, type_q] = formula
        return formula

    return note


def _formula(p: type, q: type) -> Formula | None:
    """The formula of the nearest classes: nearest to ``p``'s first."""
    return next(
        (_formulas[a, b] for a in p.__mro__ for b in q.__mro__ if (a, b) in _formulas), None
    )


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """``E_p[log p - log q]`` for each distribution of the batch.

    Raises:
        NotSupportedError: if no formula is known for the pair.
    """
    formula = _formula(type(p), type(q))
    if formula is None:
        raise no_closed_form("kl_divergence", p, q)
    return formula(p, q)


def _infinite_like(x: Tensor) -> Tensor:
    return F.full_like(x, math.inf)  # type: ignore[no-any-return]


@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> Tensor:
    ratio = (p.scale / q.scale) ** 2
    apart = ((p.loc - q.loc) / q.scale) ** 2
    return 0.5 * (ratio + apart - 1 - ratio.log())


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    # by softplus of the logits, so that no probability of 0 or 1 is taken the logarithm of
    one = p.probs * (F.softplus(-q.logits) - F.softplus(-p.logits))
    none = (1 - p.probs) * (F.softplus(q.logits) - F.softplus(p.logits))
    one = F.where(q.probs == 0, math.inf, one)
    none = F.where(q.probs == 1, math.inf, none)
    return F.where(p.probs == 0, 0.0, one) + F.where(p.probs == 1, 0.0, none)  # type: ignore[no-any-return]


@register_kl(Categorical, Categorical)
def _categorical(p: Categorical, q: Categorical) -> Tensor:
    t = p.probs * (p.logits - q.logits)
    t = F.where((q.probs == 0).expand_as(t), math.inf, t)
    return F.where((p.probs == 0).expand_as(t), 0.0, t).sum(-1)  # type: ignore[no-any-return]


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - 1 - ratio.log()


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Tensor:
    ratio = p.scale / q.scale
    apart = (p.loc - q.loc).abs()
    return -ratio.log() + apart / q.scale + ratio * (-apart / p.scale).exp() - 1


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Tensor:
    result = ((q.high - q.low) / (p.high - p.low)).log()
    return F.where((q.low > p.low) | (q.high < p.high), math.inf, result)  # type: ignore[no-any-return]


@register_kl(Laplace, Normal)
def _laplace_normal(p: Laplace, q: Normal) -> Tensor:
    variance = q.scale**2
    ratio = p.scale**2 / variance
    apart = 0.5 * (p.loc - q.loc) ** 2 / variance
    return -0.5 * (2 * ratio / math.pi).log() + ratio + apart - 1


@register_kl(Normal, Laplace)
def _normal_laplace(p: Normal, q: Laplace) -> Tensor:
    apart = p.loc - q.loc
    ratio, z = p.scale / q.scale, apart / p.scale
    folded = math.sqrt(2 / math.pi) * p.scale * (-0.5 * z**2).exp() + apart * (z / 2**0.5).erf()
    return -ratio.log() + folded / q.scale - 0.5 + 0.5 * math.log(2 / math.pi)


@register_kl(Uniform, Normal)
def _uniform_normal(p: Uniform, q: Normal) -> Tensor:
    width = p.high - p.low
    apart = ((p.high + p.low - 2 * q.loc) / 2) ** 2
    return (math.sqrt(2 * math.pi) * q.scale / width).log() + 0.5 * (
        width**2 / 12 + apart
    ) / q.scale**2


@register_kl(Exponential, Normal)
def _exponential_normal(p: Exponential, q: Normal) -> Tensor:
    rate = p.rate**2 * q.scale**2
    return (
        0.5 * (rate * 2 * math.pi).log() - 1 + 1 / rate - q.loc / (p.rate * q.scale**2)
        + 0.5 * (q.loc / q.scale) ** 2
    )  # fmt: skip


@register_kl(Uniform, Exponential)
def _uniform_exponential(p: Uniform, q: Exponential) -> Tensor:
    result = q.rate * (p.high + p.low) / 2 - ((p.high - p.low) * q.rate).log()
    return F.where(p.low < 0, math.inf, result)  # type: ignore[no-any-return]


@register_kl(Normal, Uniform)
@register_kl(Normal, Exponential)
@register_kl(Laplace, Uniform)
@register_kl(Laplace, Exponential)
def _wider(p: Any, q: Any) -> Tensor:
    """``p`` reaches where ``q`` cannot."""
    return _infinite_like(p.loc + (q.low if isinstance(q, Uniform) else q.rate))


@register_kl(Exponential, Uniform)
def _exponential_uniform(p: Exponential, q: Uniform) -> Tensor:
    return _infinite_like(p.rate + q.low)


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    n = p.event_shape[0]
    batch = F.broadcast_shapes(p.batch_shape, q.batch_shape)
    factor = q.scale_tril.expand((*batch, n, n))

    def whitened(x: Any) -> Any:
        return (F.solve_triangular(factor, x, upper=False) ** 2).sum((-2, -1))

    spread = whitened(p.scale_tril.expand((*batch, n, n)))
    apart = whitened((q.loc - p.loc).expand((*batch, n)).unsqueeze(-1))
    return half_log_det(q) - half_log_det(p) + 0.5 * (spread + apart - n)  # type: ignore[no-any-return]


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise no_closed_form("kl_divergence: with unlike reinterpreted_batch_ndims", p, q)
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)
