"""Losses by distance, and what all losses share; likelihoods, classes and pairs have own files.

Every loss takes PyTorch's ``reduction`` (``"mean"``, ``"sum"``, ``"none"``) and its older spelling
``size_average``/``reduce``.
"""

from __future__ import annotations

import warnings
from typing import Any

from gpugrad.errors import NotSupportedError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, elementwise, function
from gpugrad.samples import A, Sample
from gpugrad.signature import broadcast_shapes, check_choice

LOSS: dict[str, Any] = {"home": "nn.functional", "method": False}
HIDDEN: dict[str, Any] = {"home": "_ops", "method": False, "torch": "", "accepts": "f"}


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


def floating(name: str, *tensors: Any) -> None:
    """Raise unless all are floating."""
    for t in tensors:
        if not t.dtype.is_floating_point:
            raise NotSupportedError(f"{name}: takes floating dtypes, got {t.dtype.name}; cast it")


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
    difference = _difference("mse_loss", input, target)
    floating("mse_loss", difference)
    loss = F.square(difference)
    return _weighted("mse_loss", loss, weight, reduction)


@function(**LOSS, samples=[*reductions(_X, _Y), Sample(_X, _Y, weight=A((3, 4), 0, 1))])
def l1_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None,
            reduction: str = "mean", weight: Any = None) -> Any:  # fmt: skip
    """Absolute differences."""
    reduction = reduction_of("l1_loss", size_average, reduce, reduction)
    loss = F.abs(_difference("l1_loss", input, target))
    return _weighted("l1_loss", loss, weight, reduction)


@elementwise(**HIDDEN, samples=[Sample(A((3, 4)), delta=0.7), Sample(A(()), delta=2.0)])
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
