"""One step of an optimiser for one parameter, as a record: what ``gpugrad.optim`` runs.

Each takes the parameter, its gradient and what the optimiser remembers, and returns the new ones;
it writes to none of them.  The formulas are those of PyTorch's optimisers, in the same order of
operations.
"""

from __future__ import annotations

from collections.abc import Mapping

from gpugrad.op import Array, elementwise
from gpugrad.samples import A, Sample


def step_samples(remembered: int, *settings: Mapping[str, object]) -> list[Sample]:
    """Calls of a step: a gradient like the parameter, and non-negative remembered arrays."""
    shapes: list[tuple[int, ...]] = [(3, 4), (), (0, 3)]
    return [
        Sample(A(s), A(s), *[A(s, 0.1, 2.0)] * remembered, **kwargs)
        for kwargs in settings
        for s in (shapes if kwargs is settings[0] else shapes[:1])
    ]


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    samples=step_samples(0, {"lr": 0.1}, {"lr": 0.1, "weight_decay": 0.01, "maximize": True}),
)  # fmt: skip
def sgd_step(
    xp, param: Array, grad: Array, *, lr: float, weight_decay: float = 0.0, maximize: bool = False
) -> Array:
    """Gradient descent: the new parameter."""
    return param - lr * direction(param, grad, weight_decay, maximize)


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    outputs=("param", "momentum_buffer"),
    samples=step_samples(
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
    d = direction(param, grad, weight_decay, maximize)
    buffer = momentum * momentum_buffer + (1 - dampening) * d
    return param - lr * (d + momentum * buffer if nesterov else buffer), buffer


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    outputs=("param", "exp_avg", "exp_avg_sq"),
    samples=step_samples(
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
    p, d = decay(param, grad, lr, weight_decay, decoupled, maximize)
    m, v = moments(d, exp_avg, exp_avg_sq, betas)
    return p - (lr / correction1) * m / (xp.sqrt(v) / correction2**0.5 + eps), m, v


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    outputs=("param", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    samples=step_samples(
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
    p, d = decay(param, grad, lr, weight_decay, decoupled, maximize)
    m, v = moments(d, exp_avg, exp_avg_sq, betas)
    top = xp.maximum(max_exp_avg_sq, v)
    return p - (lr / correction1) * m / (xp.sqrt(top) / correction2**0.5 + eps), m, v, top


def direction(param: Array, grad: Array, weight_decay: float, maximize: bool) -> Array:
    """The gradient to descend: negated to climb, with the decay's pull towards zero added."""
    d = -grad if maximize else grad
    return d + weight_decay * param if weight_decay else d


def moments(
    grad: Array, exp_avg: Array, exp_avg_sq: Array, betas: tuple[float, float]
) -> tuple[Array, Array]:
    """The running mean of a gradient and of its square, one step on."""
    m = exp_avg + (1 - betas[0]) * (grad - exp_avg)
    return m, betas[1] * exp_avg_sq + (1 - betas[1]) * (grad * grad)


def decay(
    param: Array, grad: Array, lr: float, weight_decay: float, decoupled: bool, maximize: bool
) -> tuple[Array, Array]:
    """The parameter and the direction after weight decay, which acts on one of them."""
    d = direction(param, grad, 0.0 if decoupled else weight_decay, maximize)
    return (param * (1 - lr * weight_decay) if decoupled and weight_decay else param), d
