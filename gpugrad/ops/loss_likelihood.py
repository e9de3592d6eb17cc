"""Losses that are minus the logarithm of a probability: Bernoulli, Poisson, normal; divergence."""

from __future__ import annotations

import math
from typing import Any

from gpugrad.errors import SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, elementwise, function
from gpugrad.ops.loss import HIDDEN, LOSS, alike, floating, reduced_by, reduction_of, reductions
from gpugrad.samples import A, Sample

_X, _Y = A((3, 4)), A((3, 4))


@elementwise(**HIDDEN, domain=(0.05, 0.95))
def bernoulli_nll(xp, input: Array, target: Array) -> Array:
    """``-log`` of the probability that ``input`` gives to ``target``; logarithms stop at -100."""
    hit, miss = xp.maximum(xp.log(input), -100), xp.maximum(xp.log1p(-input), -100)
    return -(target * hit + (1 - target) * miss)


@bernoulli_nll.vjp("input")
def _(xp, g, input, target):
    return g * (input - target) / xp.maximum(input * (1 - input), 1e-12)


@bernoulli_nll.vjp("target")
def _(xp, g, input):
    return g * (xp.maximum(xp.log1p(-input), -100) - xp.maximum(xp.log(input), -100))


@function(**LOSS, samples=[
    *reductions(A((3, 4), 0.05, 0.95), A((3, 4), 0, 1)),
    Sample(A((3, 4), 0.05, 0.95), A((3, 4), 0, 1), A((4,), 0.5, 1)),
])  # fmt: skip
def binary_cross_entropy(input: Any, target: Any, weight: Any = None, size_average: Any = None,
                         reduce: Any = None, reduction: str = "mean") -> Any:  # fmt: skip
    """Cross entropy of probabilities ``input`` in [0, 1] with ``target``.

    Raises:
        SettingError: if a probability lies outside (checked on the CPU only).
    """
    reduction = reduction_of("binary_cross_entropy", size_average, reduce, reduction)
    alike("binary_cross_entropy", input, target)
    for what, given in (("input", input), ("target", target)):
        if given.device.type == "cpu" and given.numel():
            low, high = F.min(given.detach()).item(), F.max(given.detach()).item()
            if not (low >= 0 and high <= 1):
                raise SettingError(
                    f"binary_cross_entropy: {what} must lie in [0, 1], it spans {low} to {high}; "
                    "for logits there is binary_cross_entropy_with_logits"
                )
    loss = F.bernoulli_nll(input, target)
    return reduced_by(loss if weight is None else loss * weight, reduction)


@elementwise(**HIDDEN, samples=[
    Sample(A((3, 4), -9, 9), A((3, 4), 0, 1)), Sample(A((3, 4)), A((3, 4), 0, 1), A((4,), 0.5, 2)),
])  # fmt: skip
def logit_nll(xp, input: Array, target: Array, pos_weight: Array | None = None) -> Array:
    """``bernoulli_nll`` of ``sigmoid(input)``, from the logit itself: nothing can overflow."""
    softplus = xp.log1p(xp.exp(-xp.abs(input))) + xp.maximum(-input, 0)
    scale = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
    return (1 - target) * input + scale * softplus


@logit_nll.vjp("input")
def _(xp, g, input, target, pos_weight):
    if pos_weight is None:
        return g * (xp.sigmoid(input) - target)
    scale = 1 + (pos_weight - 1) * target
    return g * (1 - target - scale * xp.sigmoid(-input))


@logit_nll.vjp("target")
def _(xp, g, input, pos_weight):
    softplus = xp.log1p(xp.exp(-xp.abs(input))) + xp.maximum(-input, 0)
    return -g * input if pos_weight is None else g * ((pos_weight - 1) * softplus - input)


@logit_nll.vjp("pos_weight")
def _(xp, g, input, target):
    return g * target * (xp.log1p(xp.exp(-xp.abs(input))) + xp.maximum(-input, 0))


@function(**LOSS, samples=[
    *reductions(A((3, 4), -9, 9), A((3, 4), 0, 1)),
    Sample(_X, A((3, 4), 0, 1), A((4,), 0.5, 1), pos_weight=A((4,), 0.5, 2)),
])  # fmt: skip
def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", pos_weight: Any = None,
) -> Any:  # fmt: skip
    """Cross entropy of ``sigmoid(input)`` with ``target``; ``pos_weight`` scales the positives."""
    name = "binary_cross_entropy_with_logits"
    reduction = reduction_of(name, size_average, reduce, reduction)
    alike(name, input, target)
    loss = F.logit_nll(input, target, pos_weight)
    return reduced_by(loss if weight is None else loss * weight, reduction)


@function(**LOSS, samples=[
    *reductions(A((3, 4), -3, 0), A((3, 4), 0.1, 1)), Sample(A((3, 4), -3, 0), A((3, 4), 0.1, 1),
    reduction="batchmean"), Sample(A((3, 4), -3, 0), A((3, 4), -3, 0), log_target=True),
])  # fmt: skip
def kl_div(input: Any, target: Any, size_average: Any = None, reduce: Any = None,
           reduction: str = "mean", log_target: bool = False) -> Any:  # fmt: skip
    """Divergence of ``target`` from the distribution whose logarithm is ``input``.

    Args:
        reduction: also ``"batchmean"``, the sum divided by the size of the first dimension, which
            is the divergence; ``"mean"`` divides by the number of elements.
        log_target: whether ``target`` is a logarithm, too.
    """
    reduction = reduction_of("kl_div", size_average, reduce, reduction, ("batchmean",))
    floating("kl_div", input, target)
    if log_target:
        loss = F.exp(target) * (target - input)
    else:
        loss = F.xlogy(target, target) - target * input
    if reduction == "batchmean":
        return F.sum(loss) / (input.shape[0] if input.ndim else 1)
    return reduced_by(loss, reduction)


@function(**LOSS, samples=[
    *reductions(_X, A((3, 4), 0, 5)), Sample(A((3, 4), 0.1, 3), A((3, 4), 0, 5), False, True),
])  # fmt: skip
def poisson_nll_loss(input: Any, target: Any, log_input: bool = True, full: bool = False,
                     size_average: Any = None, eps: float = 1e-8, reduce: Any = None,
                     reduction: str = "mean") -> Any:  # fmt: skip
    """``-log`` of the Poisson probability of ``target``, of rate ``exp(input)`` (or ``input``).

    Args:
        full: add Stirling's approximation of ``log(target!)`` for targets above 1.
    """
    reduction = reduction_of("poisson_nll_loss", size_average, reduce, reduction)
    floating("poisson_nll_loss", input)
    loss = F.exp(input) - target * input if log_input else input - target * F.log(input + eps)
    if full:
        t = F.where(target > 1, target, 1.0)
        stirling = t * F.log(t) - t + 0.5 * F.log(2 * math.pi * t)
        loss = loss + F.where(target > 1, stirling, 0.0)
    return reduced_by(loss, reduction)


@function(**LOSS, samples=[
    *reductions(_X, _Y, A((3, 4), 0.1, 2)), Sample(_X, _Y, A((3, 1), 0.1, 2), True),
    Sample(_X, _Y, A((3,), 0.1, 2)), Sample(_X, _Y, 0.5),
])  # fmt: skip
def gaussian_nll_loss(input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6,
                      reduction: str = "mean") -> Any:  # fmt: skip
    """``-log`` of the normal density of ``target``, of mean ``input`` and variance ``var``.

    Args:
        var: a number, of the input's shape, or that shape without or with 1 in the last dimension.
        full: add the constant ``log(2 * pi) / 2``.
        eps: smallest variance used; the gradient does not see it.
    """
    reduction_of("gaussian_nll_loss", None, None, reduction)
    floating("gaussian_nll_loss", input)
    if isinstance(var, int | float):
        var = F.ones_like(input.detach()) * float(var)
    shape = tuple(input.shape)
    if tuple(var.shape) != shape:
        if tuple(var.shape) == shape[:-1]:
            var = F.expand_dims(var, -1)
        elif tuple(var.shape) != (*shape[:-1], 1):
            raise ShapeError(
                f"gaussian_nll_loss: var has shape {tuple(var.shape)}, input {shape}; it must be "
                "the same, or lack or have size 1 in the last dimension"
            )
    fixed = var.detach()
    if bool(F.any(fixed < 0)):
        raise SettingError("gaussian_nll_loss: var must not be negative")
    var = F.where(fixed < eps, var - fixed + eps, var)
    loss = 0.5 * (F.log(var) + F.square(input - target) / var)
    return reduced_by(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)
