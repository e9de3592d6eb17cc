"""Losses of values against targets; those of pairs and classes have files of their own.

Every loss takes PyTorch's ``reduction`` (``"mean"``, ``"sum"``, ``"none"``) and its older spelling
``size_average``/``reduce``.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from gpugrad.errors import SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, elementwise, function
from gpugrad.samples import A, Sample
from gpugrad.signature import broadcast_shapes, check_choice

LOSS: dict[str, Any] = {"home": "nn.functional", "method": False}
_HIDDEN: dict[str, Any] = {"home": "_ops", "method": False, "torch": "", "accepts": "f"}


def reduction_of(name: str, size_average: Any, reduce: Any, reduction: str,
                 more: tuple[str, ...] = ()) -> str:  # fmt: skip
    """The reduction to make, also where it is asked for in PyTorch's older way."""
    if size_average is not None or reduce is not None:
        reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
        warnings.warn(
            f"{name}: size_average and reduce are deprecated; pass reduction={reduction!r}",
            stacklevel=3,
        )
    check_choice(name, "reduction", reduction, ("mean", "sum", "none", *more))
    return reduction


def reduced_by(loss: Any, reduction: str) -> Any:
    """The loss of all elements, their sum, or their mean."""
    return loss if reduction == "none" else F.mean(loss) if reduction == "mean" else F.sum(loss)


def paired(name: str, input: Any, target: Any) -> None:
    """Warn where target and input only broadcast: often a forgotten dimension.

    Raises:
        ShapeError: if they do not even broadcast.
    """
    if input.shape != target.shape:
        broadcast_shapes(name, tuple(input.shape), tuple(target.shape))
        warnings.warn(
            f"{name}: target of shape {tuple(target.shape)} is broadcast against input of shape "
            f"{tuple(input.shape)}; make them the same if that is not meant",
            stacklevel=3,
        )


def alike(name: str, input: Any, target: Any, what: str = "target") -> None:
    """Raise unless input and target have the same shape."""
    if input.shape != target.shape:
        raise ShapeError(
            f"{name}: {what} has shape {tuple(target.shape)}, input {tuple(input.shape)}; they "
            "must be the same"
        )


def reductions(*arrays: Any, **kwargs: Any) -> list[Sample]:
    """One sample per reduction."""
    return [Sample(*arrays, **kwargs, reduction=r) for r in ("mean", "sum", "none")]


_X, _Y = A((3, 4)), A((3, 4))

# ---- distances ---------------------------------------------------------------------------------


def _difference(name: str, input: Any, target: Any) -> Any:
    paired(name, input, target)
    return input - target


def _weighted(name: str, loss: Any, weight: Any, reduction: str) -> Any:
    if weight is None:
        return reduced_by(loss, reduction)
    alike(name, loss, weight, "weight")
    total = reduced_by(loss * weight, "none" if reduction == "none" else "sum")
    return total / F.sum(weight) if reduction == "mean" else total


@function(**LOSS, samples=[*reductions(_X, _Y), Sample(_X, _Y, weight=A((3, 4), 0, 1))])
def mse_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None,
             reduction: str = "mean", weight: Any = None) -> Any:  # fmt: skip
    """Squared differences."""
    reduction = reduction_of("mse_loss", size_average, reduce, reduction)
    loss = F.square(_difference("mse_loss", input, target))
    return _weighted("mse_loss", loss, weight, reduction)


@function(**LOSS, samples=[*reductions(_X, _Y), Sample(_X, _Y, weight=A((3, 4), 0, 1))])
def l1_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None,
            reduction: str = "mean", weight: Any = None) -> Any:  # fmt: skip
    """Absolute differences."""
    reduction = reduction_of("l1_loss", size_average, reduce, reduction)
    loss = F.abs(_difference("l1_loss", input, target))
    return _weighted("l1_loss", loss, weight, reduction)


@elementwise(**_HIDDEN, samples=[Sample(A((3, 4)), delta=0.7), Sample(A(()), delta=2.0)])
def huber(xp, input: Array, *, delta: float) -> Array:
    """``x * x / 2`` up to ``delta``, from there on a line of that slope."""
    size = xp.abs(input)
    return xp.where(size <= delta, 0.5 * input * input, delta * (size - 0.5 * delta))


@huber.vjp
def _(xp, g, input, delta):
    return g * xp.clamp(input, -delta, delta)


@function(**LOSS, samples=[*reductions(_X, _Y), Sample(_X, _Y, beta=0.3), Sample(_X, _Y, beta=0.0)])
def smooth_l1_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None,
                   reduction: str = "mean", beta: float = 1.0) -> Any:  # fmt: skip
    """Absolute differences, rounded to ``d * d / (2 * beta)`` where they are below ``beta``."""
    reduction = reduction_of("smooth_l1_loss", size_average, reduce, reduction)
    if beta < 0:
        raise SettingError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    d = _difference("smooth_l1_loss", input, target)
    return reduced_by(F.huber(d, delta=beta) / beta if beta else F.abs(d), reduction)


@function(**LOSS, samples=[*reductions(_X, _Y), Sample(_X, _Y, delta=0.3),
                           Sample(_X, _Y, weight=A((3, 4), 0, 1))])  # fmt: skip
def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0,
               weight: Any = None) -> Any:  # fmt: skip
    """Half squared differences below ``delta``, from there on a line of that slope.

    Unlike that of ``mse_loss``, a weighted mean divides by the number of elements, as PyTorch's.
    """
    reduction_of("huber_loss", None, None, reduction)
    if delta <= 0:
        raise SettingError(f"huber_loss: delta must be positive, got {delta}")
    loss = F.huber(_difference("huber_loss", input, target), delta=delta)
    if weight is not None:
        alike("huber_loss", loss, weight, "weight")
        loss = loss * weight
    return reduced_by(loss, reduction)


# ---- probabilities -----------------------------------------------------------------------------


@elementwise(**_HIDDEN, domain=(0.05, 0.95))
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
    if input.device.type == "cpu" and input.numel():
        low, high = F.min(input.detach()).item(), F.max(input.detach()).item()
        if low < 0 or high > 1:
            raise SettingError(
                f"binary_cross_entropy: input must lie in [0, 1], it spans {low} to {high}; for "
                "logits there is binary_cross_entropy_with_logits"
            )
    loss = F.bernoulli_nll(input, target)
    return reduced_by(loss if weight is None else loss * weight, reduction)


@elementwise(**_HIDDEN, samples=[
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
    var = var + (F.clamp(fixed, eps) - fixed)
    loss = 0.5 * (F.log(var) + F.square(input - target) / var)
    return reduced_by(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)
