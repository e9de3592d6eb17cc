"""Steps over all of a model's tensors that are no optimiser's: averages of weights, clipping."""

from __future__ import annotations

from gpugrad.op import Array, elementwise
from gpugrad.samples import A, Sample

_SHAPES: list[tuple[int, ...]] = [(3, 4), (), (0, 3)]


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    samples=[Sample(A(s), A(s), decay=0.9) for s in _SHAPES],
)  # fmt: skip
def ema_step(xp, averaged: Array, current: Array, *, decay: float) -> Array:
    """An average that moves by ``1 - decay`` of the way to what is current."""
    return decay * averaged + (1 - decay) * current


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    samples=[Sample(A(s), A(s), A((), 1, 9)) for s in _SHAPES],
)  # fmt: skip
def swa_step(xp, averaged: Array, current: Array, count: Array) -> Array:
    """The mean of ``count`` tensors, of which ``averaged`` is the mean, and one more."""
    return averaged + (current - averaged) / (count + 1)


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    samples=[Sample(A(s), A(())) for s in _SHAPES],
)  # fmt: skip
def scale_step(xp, grad: Array, factor: Array) -> Array:
    """A gradient times a factor."""
    return grad * factor
