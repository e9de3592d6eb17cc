"""Connectionist temporal classification: the loss of a sequence without its alignment."""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.errors import DTypeError, NotSupportedError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, Index, Ints, function, op
from gpugrad.ops.loss import HIDDEN, LOSS, floating, reduced_by, reduction_of, reductions
from gpugrad.ops.loss_classes import check_classes
from gpugrad.samples import A, Convention
from gpugrad.signature import int_tuple
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor

_LOGS = A((5, 2, 4), -3, 0)
_TARGETS = A((2, 2), 1, 4, kind="int64")


def _checked(log_probs: Any, targets: Any, steps: Any, labels: Any, blank: int) -> None:
    """Raise unless shapes, lengths and the blank fit each other."""
    if log_probs.ndim != 3 or targets.ndim != 2 or log_probs.shape[1] != targets.shape[0]:
        raise ShapeError(
            f"ctc_loss: log_probs {tuple(log_probs.shape)} and targets {tuple(targets.shape)} must "
            "be (T, N, C) and (N, S)"
        )
    t, n, classes = log_probs.shape
    if not 0 <= blank < classes:
        raise SettingError(f"ctc_loss: blank must be from 0 to {classes - 1}, got {blank}")
    for what, found, most in (("input", steps, t), ("target", labels, targets.shape[1])):
        if len(found) != n or any(not 0 <= v <= most for v in found):
            raise SettingError(
                f"ctc_loss: {what}_lengths must be {n} numbers from 0 to {most}, got {found}"
            )


def _per_row(log_probs: Spec, targets: Spec, *, steps: Any, labels: Any, blank: int) -> Spec:
    _checked(log_probs, targets, steps, labels, blank)
    return Spec(log_probs.shape[1:2], log_probs.dtype)


# Both are tested through ctc_loss: what cannot be differentiated twice fails a record's own checks.
@op(**HIDDEN, result=_per_row, samples=())
def ctc_nll(xp, log_probs: Array, targets: Index, *, steps: Ints, labels: Ints,
            blank: int) -> Array:  # fmt: skip
    """Minus the log probability of each row of targets: ``(T, N, C), (N, S) -> (N,)``."""
    _checked(log_probs, targets, steps, labels, blank)
    check_classes("ctc_loss", targets, log_probs.shape[2])
    return xp.ctc_nll(log_probs, targets, steps, labels, blank)


@ctc_nll.vjp("log_probs")
def _(xp, g, log_probs, targets, steps, labels, blank):
    share = xp.ctc_shares(log_probs, targets, steps, labels, blank)
    # Where no alignment fits, shares are NaN; what zero_infinity left out comes with g = 0.
    g = xp.expand_dims(g, -1)
    return xp.where(xp.equal(g, 0), 0.0, -g * share)


def _per_class(log_probs: Spec, targets: Spec, *, steps: Any, labels: Any, blank: int) -> Spec:
    _checked(log_probs, targets, steps, labels, blank)
    return log_probs


@op(**HIDDEN, result=_per_class, samples=())
def ctc_shares(xp, log_probs: Array, targets: Index, *, steps: Ints, labels: Ints,
             blank: int) -> Array:  # fmt: skip
    """The share of all fitting alignments that go through each class at each time."""
    _checked(log_probs, targets, steps, labels, blank)
    check_classes("ctc_loss", targets, log_probs.shape[2])
    return xp.ctc_shares(log_probs, targets, steps, labels, blank)


@ctc_shares.vjp("log_probs")
def _(xp, g):
    raise NotSupportedError("ctc_loss: it cannot be differentiated twice")


def _like_softmax(loss: Any, x: Any, steps: tuple[int, ...]) -> Any:
    """The same loss with ``exp(x)`` added to its gradient, as PyTorch has it.

    Through ``log_softmax`` it makes no difference; it is what comes out where ``x`` is a leaf.
    """
    ends = F.asarray(steps, dtype=dtypes.int64, device=x.device)
    counted = F.arange(x.shape[0], device=x.device).unsqueeze(1) < ends
    mass = F.sum(F.where(counted.unsqueeze(2), F.exp(x), 0.0), (0, 2))
    return loss + (mass - mass.detach())


def _lengths(what: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, Tensor) and value.dtype.is_floating_point:
        raise DTypeError(f"ctc_loss: {what} must be integers, got {value.dtype.name}")
    listed = value.reshape(-1).tolist() if isinstance(value, Tensor) else value
    return int_tuple("ctc_loss", what, listed)


def _padded(targets: Any, labels: tuple[int, ...], blank: int) -> Any:
    """Targets as ``(N, S)``, from rows or from one row after the other; blanks beyond their end."""
    most = max(0, *labels)
    places = F.arange(most, device=targets.device)
    counts = F.asarray(labels, dtype=dtypes.int64, device=targets.device)
    if targets.ndim == 2:
        if targets.shape[0] != len(labels) or targets.shape[1] < most:
            raise ShapeError(
                f"ctc_loss: targets {tuple(targets.shape)} do not fit target_lengths {labels}"
            )
        index = targets[:, :most]
    else:
        if targets.shape[0] != sum(labels):
            raise ShapeError(
                f"ctc_loss: {targets.shape[0]} targets in a row, target_lengths add up to "
                f"{sum(labels)}"
            )
        starts = F.cumsum(counts, 0) - counts
        spots = F.clamp(starts.unsqueeze(1) + places, 0, max(targets.shape[0] - 1, 0))
        index = targets[spots] if targets.shape[0] else spots
    return F.where(places < counts.unsqueeze(1), index, blank)


_SHORT = A((3,), 1, 4, kind="int64")


@function(**LOSS, samples=[
    *(Convention(*s.args, **s.kwargs) for s in reductions(_LOGS, _TARGETS, (5, 4), (2, 1))),
    Convention(_LOGS, _SHORT, (5, 4), (2, 1), 0, "sum"),
    Convention(_LOGS, A((2, 4), 0, 3, kind="int64"), (3, 5), (4, 2), 3, "sum", True),
    Convention(A((5, 4), -3, 0), A((2,), 1, 4, kind="int64"), (5,), (2,)),
])  # fmt: skip
def ctc_loss(log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0,
             reduction: str = "mean", zero_infinity: bool = False) -> Any:  # fmt: skip
    """Minus the log probability of target sequences over all alignments (Graves et al. 2006).

    Args:
        log_probs: ``(T, N, C)``, or ``(T, C)`` for one sequence; results of ``log_softmax``.
        targets: int labels ``(N, S)``, or all in a row ``(sum of target_lengths,)``.
        input_lengths, target_lengths: N ints each, how much of either counts.
        blank: the class between labels.
        reduction: ``"mean"`` divides by the target's length before the mean over N.
        zero_infinity: 0 instead of inf, with gradient 0, where a target cannot fit.

    Raises:
        NotSupportedError: when it is differentiated twice.
    """
    name = "ctc_loss"
    reduction_of(name, None, None, reduction)
    floating(name, log_probs)
    one = log_probs.ndim == 2
    if log_probs.ndim not in (2, 3) or targets.ndim not in (1, 2):
        raise ShapeError(
            f"{name}: log_probs must be (T, N, C) or (T, C) and targets (N, S) or in a row; got "
            f"shapes {tuple(log_probs.shape)} and {tuple(targets.shape)}"
        )
    if targets.dtype.is_floating_point or targets.dtype is dtypes.bool_:
        raise DTypeError(f"{name}: targets must be integers, got {targets.dtype.name}")
    x = F.expand_dims(log_probs, 1) if one else log_probs
    steps, labels = (
        _lengths("input_lengths", input_lengths),
        _lengths("target_lengths", target_lengths),
    )
    rows = F.astype(_padded(targets, labels, blank), dtypes.int64)
    loss = F.ctc_nll(x, rows, steps, labels, blank)
    if x.requires_grad:
        loss = _like_softmax(loss, x, steps)
    if zero_infinity:
        loss = F.where(F.isinf(loss), 0.0, loss)
    if reduction == "mean":
        counts = F.asarray(labels, dtype=loss.dtype, device=loss.device)
        loss = loss / F.clamp(counts, 1)
    loss = F.squeeze(loss, 0) if one and reduction == "none" else loss
    return reduced_by(loss, reduction)
