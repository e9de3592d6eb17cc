"""One step of the optimisers that keep a running mean of the gradient: Adam's relatives, and Lion.

Form and conventions are those of ``gpugrad.ops.update``.
"""

from __future__ import annotations

from gpugrad.op import Array, elementwise
from gpugrad.ops.update import decay, direction, moments, step_samples


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    outputs=("param", "exp_avg", "exp_inf"),
    samples=step_samples(
        2, {"lr": 0.1, "correction1": 0.1},
        {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1, "maximize": True},
    ),
)  # fmt: skip
def adamax_step(
    xp, param: Array, grad: Array, exp_avg: Array, exp_inf: Array, *, lr: float,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0,
    correction1: float = 1.0, maximize: bool = False,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Adam by the largest gradient so far (Kingma and Ba, 2015, section 7.1).

    ``exp_inf`` is that largest magnitude, fading by ``betas[1]`` a step.
    """
    d = direction(param, grad, weight_decay, maximize)
    m = exp_avg + (1 - betas[0]) * (d - exp_avg)
    top = xp.maximum(betas[1] * exp_inf, xp.abs(d) + eps)
    return param - (lr / correction1) * m / top, m, top


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    outputs=("param", "exp_avg", "exp_avg_sq"),
    samples=step_samples(
        2, {"lr": 0.1, "mu": 0.5, "mu_next": 0.6, "mu_product": 0.5, "correction2": 0.1},
        {"lr": 0.1, "mu": 0.5, "mu_next": 0.6, "mu_product": 0.5, "weight_decay": 0.1,
         "decoupled": True, "maximize": True},
    ),
)  # fmt: skip
def nadam_step(
    xp, param: Array, grad: Array, exp_avg: Array, exp_avg_sq: Array, *, lr: float, mu: float,
    mu_next: float, mu_product: float, betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8, weight_decay: float = 0.0, decoupled: bool = False,
    correction2: float = 1.0, maximize: bool = False,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Adam with Nesterov's look ahead (Dozat, 2016).

    ``mu`` and ``mu_next`` are the momenta of this step and the next; ``mu_product`` multiplies all
    of them up to this one.
    """
    p, d = decay(param, grad, lr, weight_decay, decoupled, maximize)
    m, v = moments(d, exp_avg, exp_avg_sq, betas)
    scale = xp.sqrt(v / correction2) + eps
    p = p - (lr * (1 - mu) / (1 - mu_product)) * (d / scale)
    return p - (lr * mu_next / (1 - mu_product * mu_next)) * (m / scale), m, v


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    outputs=("param", "exp_avg", "exp_avg_sq"),
    samples=step_samples(
        2, {"lr": 0.1, "correction1": 0.1},
        {"lr": 0.1, "rectification": 0.7, "correction2": 0.1, "weight_decay": 0.1},
        {"lr": 0.1, "rectification": 0.7, "weight_decay": 0.1, "decoupled": True,
         "maximize": True},
    ),
)  # fmt: skip
def radam_step(
    xp, param: Array, grad: Array, exp_avg: Array, exp_avg_sq: Array, *, lr: float,
    rectification: float = 0.0, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
    weight_decay: float = 0.0, decoupled: bool = False, correction1: float = 1.0,
    correction2: float = 1.0, maximize: bool = False,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Adam whose adaptive rate is rectified (Liu et al., 2020).

    ``rectification`` 0 says that too few steps were made to trust the second moment: then the
    step is plain momentum.
    """
    p, d = decay(param, grad, lr, weight_decay, decoupled, maximize)
    m, v = moments(d, exp_avg, exp_avg_sq, betas)
    move = (lr / correction1) * m
    if rectification:
        move = (rectification * correction2**0.5) * move / (xp.sqrt(v) + eps)
    return p - move, m, v


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    outputs=("param", "exp_avg"),
    samples=step_samples(
        1, {"lr": 0.1}, {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1, "maximize": True}
    ),
)  # fmt: skip
def lion_step(
    xp, param: Array, grad: Array, exp_avg: Array, *, lr: float,
    betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0, maximize: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """Lion (Chen et al., 2023, algorithm 2): a step of one size along the momentum's sign."""
    d = -grad if maximize else grad
    sign = xp.sign(betas[0] * exp_avg + (1 - betas[0]) * d)
    p = param * (1 - lr * weight_decay) if weight_decay else param
    return p - lr * sign, betas[1] * exp_avg + (1 - betas[1]) * d
