"""Losses that compare two inputs, or an input with a label of 1 or -1."""

from __future__ import annotations

from typing import Any

from gpugrad.errors import SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import function
from gpugrad.ops.loss import LOSS, alike, floating, reduced_by, reduction_of, reductions
from gpugrad.ops.norm import pairwise_distance
from gpugrad.samples import A, Sample

_X, _Y = A((3, 4)), A((3, 4))
#: Labels; any number will do, those of PyTorch's contract are 1 and -1.
_SIGNS = A((3, 4), 1, 2, kind="int")
#: Added to squared norms, as PyTorch does.
_TINY = 1e-12


@function(**LOSS, samples=[*reductions(_X, _SIGNS), Sample(_X, A((3, 4), -1, 0, kind="int"), 0.5)])
def hinge_embedding_loss(input: Any, target: Any, margin: float = 1.0, size_average: Any = None,
                         reduce: Any = None, reduction: str = "mean") -> Any:  # fmt: skip
    """``input`` where the target is 1, what it lacks to ``margin`` where it is -1."""
    reduction = reduction_of("hinge_embedding_loss", size_average, reduce, reduction)
    floating("hinge_embedding_loss", input)
    apart = F.where(F.not_equal(target, 1), F.clamp(margin - input, 0), 0)
    return reduced_by(apart + F.where(F.not_equal(target, -1), input, 0), reduction)


@function(**LOSS, samples=[*reductions(_X, _Y, _SIGNS), Sample(_X, _Y, A((3, 4)), 0.5)])
def margin_ranking_loss(input1: Any, input2: Any, target: Any, margin: float = 0,
                        size_average: Any = None, reduce: Any = None,
                        reduction: str = "mean") -> Any:  # fmt: skip
    """What ``input1`` lacks to exceed ``input2`` by ``margin`` (target 1), or the reverse (-1)."""
    reduction = reduction_of("margin_ranking_loss", size_average, reduce, reduction)
    floating("margin_ranking_loss", input1, input2)
    if not input1.ndim == input2.ndim == target.ndim:
        raise ShapeError(
            "margin_ranking_loss: inputs and target must have as many dimensions, got shapes "
            f"{tuple(input1.shape)}, {tuple(input2.shape)} and {tuple(target.shape)}"
        )
    return reduced_by(F.clamp(float(margin) - target * (input1 - input2), 0), reduction)


@function(**LOSS, samples=[*reductions(_X, _SIGNS), Sample(_X, A((3, 4)))])
def soft_margin_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None,
                     reduction: str = "mean") -> Any:  # fmt: skip
    """``log(1 + exp(-target * input))``, without overflow."""
    reduction = reduction_of("soft_margin_loss", size_average, reduce, reduction)
    alike("soft_margin_loss", input, target)
    return reduced_by(-F.logsigmoid(target * input), reduction)


@function(**LOSS, samples=[
    *reductions(A((3, 4)), A((3, 4)), A((3,), 1, 2, kind="int")),
    Sample(A((3, 4)), A((3, 4)), A((3,), -1, 0, kind="int"), 0.1),
    Sample(A((4,)), A((4,)), A((), 1, 2, kind="int")),
])  # fmt: skip
def cosine_embedding_loss(input1: Any, input2: Any, target: Any, margin: float = 0,
                          size_average: Any = None, reduce: Any = None,
                          reduction: str = "mean") -> Any:  # fmt: skip
    """``1 - cos`` where the target is 1, ``max(0, cos - margin)`` where it is -1.

    Args:
        input1, input2: ``(N, D)`` with a target ``(N,)``, or ``(D,)`` with a 0-d target.
    """
    reduction = reduction_of("cosine_embedding_loss", size_average, reduce, reduction)
    if target.ndim > 1 or input1.ndim != target.ndim + 1 or input2.ndim != target.ndim + 1:
        raise ShapeError(
            "cosine_embedding_loss: inputs (N, D) need a target (N,), inputs (D,) a 0-d one; got "
            f"{tuple(input1.shape)}, {tuple(input2.shape)} and {tuple(target.shape)}"
        )
    squares = (F.sum(F.square(x), -1) + _TINY for x in (input1, input2))
    first, second = squares
    cos = F.sum(input1 * input2, -1) / F.sqrt(first * second)
    near = F.where(F.equal(target, 1), 1 - cos, 0)
    return reduced_by(near + F.where(F.equal(target, -1), F.clamp(cos - margin, 0), 0), reduction)


@function(**LOSS, samples=[
    *reductions(_X, _Y, A((3, 4))), Sample(_X, _Y, A((3, 4)), 0.5, 3, 1e-3, swap=True),
])  # fmt: skip
def triplet_margin_loss(anchor: Any, positive: Any, negative: Any, margin: float = 1.0,
                        p: float = 2, eps: float = 1e-6, swap: bool = False,
                        size_average: Any = None, reduce: Any = None,
                        reduction: str = "mean") -> Any:  # fmt: skip
    """How much the anchor is not nearer to the positive than to the negative by ``margin``.

    Args:
        swap: take the negative's distance to anchor or positive, whichever is smaller.
    """
    reduction = reduction_of("triplet_margin_loss", size_average, reduce, reduction)
    if margin <= 0:
        raise SettingError(f"triplet_margin_loss: margin must be positive, got {margin}")
    floating("triplet_margin_loss", anchor, positive, negative)
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(
            "triplet_margin_loss: anchor, positive and negative must have as many dimensions, got "
            f"shapes {tuple(anchor.shape)}, {tuple(positive.shape)} and {tuple(negative.shape)}"
        )
    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = F.minimum(far, pairwise_distance(positive, negative, p, eps))
    return reduced_by(F.clamp(margin + near - far, 0), reduction)


@function(**LOSS, samples=[
    *reductions(A((3, 4)), A((3, 4), 0, 1)), Sample(A((3, 4)), A((3, 4), 0, 1), A((4,), 0.5, 1)),
])  # fmt: skip
def multilabel_soft_margin_loss(input: Any, target: Any, weight: Any = None,
                                size_average: Any = None, reduce: Any = None,
                                reduction: str = "mean") -> Any:  # fmt: skip
    """Cross entropy of every class's ``sigmoid`` with its target, averaged over the classes."""
    reduction = reduction_of("multilabel_soft_margin_loss", size_average, reduce, reduction)
    alike("multilabel_soft_margin_loss", input, target)
    loss = -(target * F.logsigmoid(input) + (1 - target) * F.logsigmoid(-input))
    loss = loss if weight is None else loss * weight
    return reduced_by(F.mean(loss, -1), reduction)
