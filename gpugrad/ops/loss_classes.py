"""Losses over classes: cross entropy and what it is made of."""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.errors import DTypeError, IndexingError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, Dim, Index, function, op
from gpugrad.ops.loss import LOSS, floating, reduced_by, reduction_of, reductions
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec

_CLASSES = A((3,), 0, 4, kind="int")


def _result(input: Spec, target: Spec, *, dim: int, ignore_index: int) -> tuple[Spec, Spec]:
    rows = Spec(target.shape, input.dtype)
    return rows, rows


def check_classes(name: str, target: Any, classes: int) -> None:
    """Raise if an array of class indices leaves ``[0, classes)``."""
    if target.size and (int(target.min()) < 0 or int(target.max()) >= classes):
        raise IndexingError(
            f"{name}: target has class indices from {int(target.min())} to {int(target.max())}; "
            f"accepted: 0 to {classes - 1} (and ignore_index)"
        )


@op(home="_ops", method=False, torch="", accepts="f", outputs=("loss", "total"), result=_result,
    samples=[Sample(A((3, 4)), _CLASSES, 1), Sample(A((4,)), A((), 0, 4, kind="int"), 0),
             Sample(A((3, 4)), _CLASSES, 1, ignore_index=2),
             Sample(A((2, 3, 4), -90, 90), A((2, 4), 0, 3, kind="int"), 1)],
    )  # fmt: skip
def softmax_cross_entropy(xp, input: Array, target: Index, *, dim: Dim,
                          ignore_index: int = -100) -> Array:  # fmt: skip
    """``logsumexp(row) - row[target]`` of every row along ``dim``; and the logsumexp.

    The softmax is not kept: the gradient makes it again from the input and one number per row.
    Targets must have been checked (``check_classes``).
    """
    counted = xp.not_equal(target, ignore_index)
    safe = xp.where(counted, target, 0)
    largest = xp.max(input, axis=dim, keepdims=True)
    y = input - largest
    picked = xp.take_along_axis(y, xp.expand_dims(safe, dim), dim)
    y = xp.exp(y, out=y)
    total = xp.log(xp.sum(y, dim, True))
    loss = xp.where(counted, xp.squeeze(total - picked, dim), 0)
    return loss, xp.squeeze(total + largest, dim)


@softmax_cross_entropy.vjp("input")
def _(xp, g, input, target, total, dim, ignore_index):
    g_loss, g_total = g
    counted = xp.not_equal(target, ignore_index)
    g_loss = xp.expand_dims(xp.where(counted, g_loss, 0), dim)
    index = xp.expand_dims(xp.where(counted, target, 0), dim)
    e = xp.exp(input - xp.expand_dims(total, dim))
    # The total was rounded at its own size, so the rows of e do not quite sum to 1: divide.
    softmax = e * ((g_loss + xp.expand_dims(g_total, dim)) / xp.sum(e, dim, True))
    return xp.scatter_add(softmax, dim, index, -g_loss)


def _check(name: str, input: Any, target: Any, weight: Any) -> int:
    """The class dimension, after checks of a call with class indices."""
    if not input.ndim:
        raise ShapeError(f"{name}: input must be (C,), (N, C) or (N, C, ...), got shape ()")
    dim = 0 if input.ndim == 1 else 1
    rows = (*input.shape[:dim], *input.shape[dim + 1 :])
    if tuple(target.shape) != rows:
        raise ShapeError(
            f"{name}: target of class indices has shape {tuple(target.shape)}, input "
            f"{tuple(input.shape)}; the target must have shape {rows}"
        )
    if target.dtype.name not in ("int64", "uint8"):
        raise DTypeError(f"{name}: class indices must be int64 (or uint8), got {target.dtype.name}")
    _check_weight(name, weight, input.shape[dim])
    return dim


def _check_weight(name: str, weight: Any, classes: int) -> None:
    if weight is not None and tuple(weight.shape) != (classes,):
        raise ShapeError(
            f"{name}: weight must have shape ({classes},), one per class; got {tuple(weight.shape)}"
        )


def _counted(name: str, input: Any, target: Any, weight: Any, ignore_index: int,
             dim: int) -> tuple[Any, Any, Any]:  # fmt: skip
    """Which rows count, their class indices (0 for others), their weights (0; None without)."""
    counted = F.not_equal(target, ignore_index)
    safe = F.astype(F.where(counted, target, 0), dtypes.int64)
    if not safe.is_meta and safe.device.type == "cpu":
        check_classes(name, safe._array, input.shape[dim])
    if weight is None:
        return counted, safe, None
    picked = F.reshape(F.gather(weight, 0, F.reshape(safe, (-1,))), tuple(safe.shape))
    return counted, safe, F.where(counted, picked, 0)


def _average(loss: Any, share: Any, counted: Any, reduction: str) -> Any:
    """Reduce losses per row; a mean is over the weights of the rows that count."""
    if reduction != "mean":
        return reduced_by(loss, reduction)
    return F.sum(loss) / F.sum(counted if share is None else share)


def _of_indices(logits: Any, target: Any, weight: Any, ignore_index: int, reduction: str,
                smoothing: float, dim: int) -> Any:  # fmt: skip
    if logits.dtype in dtypes.HALVES:  # rows are not rounded before they are summed
        wide = F.astype(logits, dtypes.float32)
        loss = _of_indices(wide, target, weight, ignore_index, reduction, smoothing, dim)
        return F.astype(loss, logits.dtype)
    counted, _, share = _counted("cross_entropy", logits, target, weight, ignore_index, dim)
    loss = F.softmax_cross_entropy(logits, target, dim, ignore_index).loss
    result = _average(loss if share is None else loss * share, share, counted, reduction)
    if smoothing == 0:
        return result
    spread = -F.log_softmax(logits, dim)
    if weight is not None:
        spread = spread * _per_class(weight, logits.ndim, dim)
    even = _average(F.where(counted, F.sum(spread, dim), 0), share, counted, reduction)
    return (1 - smoothing) * result + even * (smoothing / logits.shape[dim])


def _per_class(weight: Any, ndim: int, dim: int) -> Any:
    return F.reshape(weight, (-1, *(1,) * (ndim - 1 - dim)))


def _of_probabilities(logits: Any, target: Any, weight: Any, reduction: str, smoothing: float,
                      dim: int) -> Any:  # fmt: skip
    classes = logits.shape[dim]
    _check_weight("cross_entropy", weight, classes)
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    loss = F.log_softmax(logits, dim) * target
    loss = -F.sum(loss if weight is None else loss * _per_class(weight, logits.ndim, dim), dim)
    if reduction == "mean":
        return F.sum(loss) / (logits.numel() // max(classes, 1))
    return reduced_by(loss, reduction)


@function(**LOSS, samples=[
    *reductions(A((3, 4), -9, 9), _CLASSES), *reductions(A((3, 4)), _CLASSES, A((4,), 0.5, 2)),
    Sample(A((3, 4)), _CLASSES, ignore_index=1), Sample(A((4,)), A((), 0, 4, kind="int")),
    Sample(A((2, 3, 4)), A((2, 4), 0, 3, kind="int"), A((3,), 0.5, 2), label_smoothing=0.1),
    Sample(A((3, 4)), _CLASSES, None, ignore_index=2, label_smoothing=0.2, reduction="none"),
    Sample(A((3, 4)), A((3, 4), 0, 1), A((4,), 0.5, 2), label_smoothing=0.1),
    *reductions(A((2, 3, 4)), A((2, 3, 4), 0, 1)),
])  # fmt: skip
def cross_entropy(input: Any, target: Any, weight: Any = None, size_average: Any = None,
                  ignore_index: int = -100, reduce: Any = None, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Any:  # fmt: skip
    """Cross entropy of ``softmax(input)`` with the target, never overflowing.

    Args:
        input: logits ``(N, C)``, ``(N, C, ...)`` or ``(C,)``.
        target: class indices, of the input's shape without C; or probabilities, of its shape.
        weight: ``(C,)``, how much each class counts; a mean of indices is over the weights.
        ignore_index: a class index that does not count and has no gradient.
        label_smoothing: how much of the target is spread evenly over all classes.

    Raises:
        IndexingError: for a class index outside ``[0, C)`` that is not ``ignore_index``.
    """
    name = "cross_entropy"
    reduction = reduction_of(name, size_average, reduce, reduction)
    if not 0 <= label_smoothing <= 1:
        raise SettingError(f"{name}: label_smoothing must lie in [0, 1], got {label_smoothing}")
    if input.ndim and input.shape == target.shape and target.dtype.is_floating_point:
        dim = 0 if input.ndim == 1 else 1
        return _of_probabilities(input, target, weight, reduction, label_smoothing, dim)
    if input.ndim > 1 and input.shape == target.shape:
        raise DTypeError(
            f"{name}: a target of the input's shape {tuple(input.shape)} holds probabilities and "
            f"must be floating, got {target.dtype.name}"
        )
    dim = _check(name, input, target, weight)
    return _of_indices(input, target, weight, ignore_index, reduction, label_smoothing, dim)


@function(**LOSS, samples=[
    *reductions(A((3, 4), -3, 0), _CLASSES), Sample(A((3, 4)), _CLASSES, A((4,), 0.5, 2)),
    Sample(A((3, 4)), _CLASSES, ignore_index=1), Sample(A((4,)), A((), 0, 4, kind="int")),
    Sample(A((2, 3, 4)), A((2, 4), 0, 3, kind="int"), A((3,), 0.5, 2), reduction="none"),
])  # fmt: skip
def nll_loss(input: Any, target: Any, weight: Any = None, size_average: Any = None,
             ignore_index: int = -100, reduce: Any = None,
             reduction: str = "mean") -> Any:  # fmt: skip
    """Minus the log-probability (``input``, as from ``log_softmax``) of the target classes.

    Shapes, ``weight`` and ``ignore_index`` are as for ``cross_entropy``.

    Raises:
        IndexingError: for a class index outside ``[0, C)`` that is not ``ignore_index``.
    """
    reduction = reduction_of("nll_loss", size_average, reduce, reduction)
    floating("nll_loss", input)
    dim = _check("nll_loss", input, target, weight)
    counted, safe, share = _counted("nll_loss", input, target, weight, ignore_index, dim)
    picked = F.squeeze(F.gather(input, dim, F.expand_dims(safe, dim)), dim)
    loss = F.where(counted, -picked, 0)
    return _average(loss if share is None else loss * share, share, counted, reduction)
