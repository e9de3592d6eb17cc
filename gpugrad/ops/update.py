"""One step of an optimiser for one parameter, as a record: what ``gpugrad.optim`` runs.

Each takes the parameter, its gradient and what the optimiser remembers, and returns the new ones;
it writes to none of them.  The formulas are those of PyTorch's optimisers, in the same order of
operations.
"""

from __future__ import annotations

from gpugrad.op import Array, elementwise
from gpugrad.samples import A, Sample


def _samples(remembered: int, *settings: dict[str, object]) -> list[Sample]:
    """Calls of a step: a gradient like the parameter, and non-negative remembered arrays."""
    shapes: list[tuple[int, ...]] = [(3, 4), (), (0, 3)]
    return [
        Sample(A(s), A(s), *[A(s, 0.1, 2.0)] * remembered, **kwargs)
        for kwargs in settings
        for s in (shapes if kwargs is settings[0] else shapes[:1])
    ]


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    samples=_samples(0, {"lr": 0.1}, {"lr": 0.1, "weight_decay": 0.01, "maximize": True}),
)  # fmt: skip
def sgd_step(
    xp, param: Array, grad: Array, *, lr: float, weight_decay: float = 0.0, maximize: bool = False
) -> Array:
    """Gradient descent: the new parameter."""
    return param - lr * _direction(param, grad, weight_decay, maximize)


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    outputs=("param", "momentum_buffer"),
    samples=_samples(
        1, {"lr": 0.1, "momentum": 0.9}, {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.01, "maximize": True},
    ),
)  # fmt: skip
def sgd_momentum_step(
    xp, param: Array, grad: Array, momentum_buffer: Array, *, lr: float, momentum: float,
    dampening: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False,
    maximize: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """Gradient descent with momentum: the new parameter and buffer.

    The first step has a buffer of zeros and no dampening, which makes the buffer the gradient.
    """
    d = _direction(param, grad, weight_decay, maximize)
    buffer = momentum * momentum_buffer + (1 - dampening) * d
    return param - lr * (d + momentum * buffer if nesterov else buffer), buffer


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    outputs=("param", "exp_avg", "exp_avg_sq"),
    samples=_samples(
        2, {"lr": 0.1, "correction1": 0.1, "correction2": 0.001},
        {"lr": 0.1, "weight_decay": 0.1, "maximize": True}, {"lr": 0.1, "betas": (0.8, 0.9)},
        {"lr": 0.1, "weight_decay": 0.1, "decoupled": True},
    ),
)  # fmt: skip
def adam_step(
    xp, param: Array, grad: Array, exp_avg: Array, exp_avg_sq: Array, *, lr: float,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0,
    decoupled: bool = False, correction1: float = 1.0, correction2: float = 1.0,
    maximize: bool = False,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Adam (Kingma and Ba, 2015): the new parameter and moments.

    ``correction1`` and ``correction2`` undo the bias of moments that began at zero: one minus
    ``beta ** t`` at step ``t``.  ``decoupled`` shrinks the parameter itself by ``lr *
    weight_decay`` (AdamW; Loshchilov and Hutter, 2019) instead of adding to the gradient.
    """
    p, m, v = _moments(param, grad, exp_avg, exp_avg_sq, lr, betas, weight_decay, decoupled,
                       maximize)  # fmt: skip
    return p - (lr / correction1) * m / (xp.sqrt(v) / correction2**0.5 + eps), m, v


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    outputs=("param", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    samples=_samples(
        3, {"lr": 0.1, "correction1": 0.1, "correction2": 0.001},
        {"lr": 0.1, "weight_decay": 0.1, "decoupled": True, "maximize": True},
    ),
)  # fmt: skip
def amsgrad_step(
    xp, param: Array, grad: Array, exp_avg: Array, exp_avg_sq: Array, max_exp_avg_sq: Array, *,
    lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
    weight_decay: float = 0.0, decoupled: bool = False, correction1: float = 1.0,
    correction2: float = 1.0, maximize: bool = False,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """Adam that divides by the largest second moment so far (Reddi, Kale and Kumar, 2018)."""
    p, m, v = _moments(param, grad, exp_avg, exp_avg_sq, lr, betas, weight_decay, decoupled,
                       maximize)  # fmt: skip
    top = xp.maximum(max_exp_avg_sq, v)
    return p - (lr / correction1) * m / (xp.sqrt(top) / correction2**0.5 + eps), m, v, top


def _direction(param: Array, grad: Array, weight_decay: float, maximize: bool) -> Array:
    """The gradient to descend: negated to climb, with the decay's pull towards zero added."""
    d = -grad if maximize else grad
    return d + weight_decay * param if weight_decay else d


def _moments(
    param: Array, grad: Array, exp_avg: Array, exp_avg_sq: Array, lr: float,
    betas: tuple[float, float], weight_decay: float, decoupled: bool, maximize: bool,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Adam's decayed parameter and its two running moments."""
    d = _direction(param, grad, 0.0 if decoupled else weight_decay, maximize)
    p = param * (1 - lr * weight_decay) if decoupled and weight_decay else param
    m = exp_avg + (1 - betas[0]) * (d - exp_avg)
    v = betas[1] * exp_avg_sq + (1 - betas[1]) * (d * d)
    return p, m, v
