"""Losses that ask a class's score to exceed others' by a margin, and triplets at any distance."""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.errors import DTypeError, NotSupportedError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import function
from gpugrad.ops.loss import LOSS, floating, reduced_by, reduction_of, reductions
from gpugrad.ops.loss_classes import check_classes
from gpugrad.ops.norm import pairwise_distance
from gpugrad.samples import A, Sample


def _rows(name: str, input: Any, target: Any, per_class: bool) -> tuple[Any, Any]:
    """Input as ``(N, C)`` and target as ``(N, C)`` or ``(N,)``, after checks."""
    floating(name, input)
    wanted = tuple(input.shape) if per_class else tuple(input.shape[:-1])
    shape = tuple(target.shape)
    one = input.ndim == 1 and not per_class and shape == (1,)  # PyTorch takes it for 0-d
    if input.ndim not in (1, 2) or not (shape == wanted or one):
        raise ShapeError(
            f"{name}: input must be (N, C) or (C,), and for its shape {tuple(input.shape)} the "
            f"target must be {wanted}; got {shape}"
        )
    if target.dtype is not dtypes.int64:
        raise DTypeError(f"{name}: target must be int64, got {target.dtype.name}")
    classes = input.shape[-1]
    return F.reshape(input, (-1, classes)), F.reshape(target, (-1, classes) if per_class else (-1,))


def _given(loss: Any, shape: tuple[int, ...], reduction: str) -> Any:
    return F.reshape(loss, shape) if reduction == "none" else reduced_by(loss, reduction)


def _above_zero(x: Any) -> Any:
    # not clamp: PyTorch lets a NaN go by as 0 here
    return F.where(x > 0, x, 0)


def _check_range(name: str, target: Any, classes: int) -> None:
    if not target.is_meta and target.device.type == "cpu":
        check_classes(name, target._array, classes)


_CLASSES = A((3,), 0, 4, kind="int64")


@function(**LOSS, samples=[
    *reductions(A((3, 4)), _CLASSES), Sample(A((3, 4)), _CLASSES, 2, 0.5, A((4,), 0.5, 2)),
    Sample(A((4,)), A((), 0, 4, kind="int64"), reduction="none"),
])  # fmt: skip
def multi_margin_loss(input: Any, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None,
                      size_average: Any = None, reduce: Any = None,
                      reduction: str = "mean") -> Any:  # fmt: skip
    """Mean over the classes of ``max(0, margin - x[target] + x[other]) ** p``, times a weight.

    Args:
        input: ``(N, C)`` or ``(C,)``.
        target: int64 class indices ``(N,)`` or 0-d.
        p: 1 or 2.
        weight: one per class ``(C,)``; the target's counts.
    """
    name = "multi_margin_loss"
    reduction = reduction_of(name, size_average, reduce, reduction)
    if p not in (1, 2):
        raise SettingError(f"{name}: p must be 1 or 2, got {p}")
    x, y = _rows(name, input, target, per_class=False)
    classes = x.shape[1]
    _check_range(name, y, classes)
    if weight is not None:
        if weight.dtype is not input.dtype:
            raise DTypeError(
                f"{name}: weight must have the input's dtype {input.dtype.name}, got "
                f"{weight.dtype.name}"
            )
        if weight.requires_grad:
            raise NotSupportedError(f"{name}: there is no gradient for weight; detach it")
        if tuple(weight.shape) != (classes,):
            raise ShapeError(f"{name}: weight must be ({classes},), got {tuple(weight.shape)}")
    index = F.expand_dims(y, 1)
    short = _above_zero(margin - F.gather(x, 1, index) + x)
    short = short if p == 1 else short * short
    if weight is not None:
        short = short * F.gather(weight, 0, y).unsqueeze(1)
    own = F.equal(F.arange(classes, device=x.device), index)
    return _given(F.sum(F.where(own, 0, short), 1) / classes, tuple(input.shape[:-1]), reduction)


@function(**LOSS, samples=[
    *reductions(A((3, 4)), A((3, 4), 0, 4, kind="int64")),
    Sample(A((3, 4)), A((3, 4), -1, 4, kind="int64")),
    Sample(A((4,)), A((4,), -1, 2, kind="int64"), reduction="none"),
])  # fmt: skip
def multilabel_margin_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None,
                           reduction: str = "mean") -> Any:  # fmt: skip
    """Mean over the classes of ``max(0, 1 - x[label] + x[other])``, summed over all labels.

    Args:
        input: ``(N, C)`` or ``(C,)``.
        target: int64, as input: a row's labels, ended by -1.
    """
    name = "multilabel_margin_loss"
    reduction = reduction_of(name, size_average, reduce, reduction)
    x, y = _rows(name, input, target, per_class=True)
    listed = F.equal(F.cumsum(F.astype(y < 0, dtypes.int64), 1), 0)
    labels = F.where(listed, y, 0)
    classes = x.shape[1]
    _check_range(name, F.where(F.equal(y, -1), 0, y), classes)
    row = F.arange(classes, device=x.device)
    is_label = F.any(F.logical_and(F.equal(labels.unsqueeze(-1), row), listed.unsqueeze(-1)), 1)
    short = _above_zero(1 - F.gather(x, 1, labels).unsqueeze(-1) + x.unsqueeze(1))
    counted = F.logical_and(listed.unsqueeze(-1), F.logical_not(is_label).unsqueeze(1))
    loss = F.sum(F.where(counted, short, 0), (1, 2)) / classes
    return _given(loss, tuple(input.shape[:-1]), reduction)


@function(**LOSS, samples=[
    *reductions(A((3, 4)), A((3, 4)), A((3, 4))),
    Sample(A((3, 4)), A((3, 4)), A((3, 4)), margin=0.5, swap=True),
])  # fmt: skip
def triplet_margin_with_distance_loss(anchor: Any, positive: Any, negative: Any, *,
                                      distance_function: Any = None, margin: float = 1.0,
                                      swap: bool = False,
                                      reduction: str = "mean") -> Any:  # fmt: skip
    """``triplet_margin_loss`` with any distance, by default the Euclidean one.

    Args:
        distance_function: ``f(x, y)`` of tensors.
        swap: take the negative's distance to anchor or positive, whichever is smaller.
    """
    name = "triplet_margin_with_distance_loss"
    reduction_of(name, None, None, reduction)
    floating(name, anchor, positive, negative)
    if margin <= 0:
        raise SettingError(f"{name}: margin must be positive, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(
            f"{name}: anchor, positive and negative must have as many dimensions, got shapes "
            f"{tuple(anchor.shape)}, {tuple(positive.shape)} and {tuple(negative.shape)}"
        )
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = F.minimum(far, distance(positive, negative))
    return reduced_by(F.clamp(margin + near - far, 0), reduction)
