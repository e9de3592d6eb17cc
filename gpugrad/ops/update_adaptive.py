"""One step of the optimisers that scale each element by the sizes, or signs, of its gradients.

Form and conventions are those of ``gpugrad.ops.update``.
"""

from __future__ import annotations

from gpugrad.op import Array, elementwise
from gpugrad.ops.update import direction, step_samples

_RMSPROP = ({"lr": 0.1}, {"lr": 0.1, "alpha": 0.9, "eps": 1e-2, "weight_decay": 0.1,
                          "maximize": True})  # fmt: skip


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    outputs=("param", "square_avg"), samples=step_samples(1, *_RMSPROP),
)  # fmt: skip
def rmsprop_step(
    xp, param: Array, grad: Array, square_avg: Array, *, lr: float, alpha: float = 0.99,
    eps: float = 1e-8, weight_decay: float = 0.0, maximize: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """RMSprop (Tieleman and Hinton, 2012): divide by the running root mean square."""
    d = direction(param, grad, weight_decay, maximize)
    v = alpha * square_avg + (1 - alpha) * (d * d)
    return param - lr * (d / (xp.sqrt(v) + eps)), v


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    outputs=("param", "square_avg", "momentum_buffer"),
    samples=step_samples(2, *_RMSPROP, {"lr": 0.1, "momentum": 0.5}),
)  # fmt: skip
def rmsprop_momentum_step(
    xp, param: Array, grad: Array, square_avg: Array, momentum_buffer: Array, *, lr: float,
    momentum: float = 0.9, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0.0,
    maximize: bool = False,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """RMSprop with momentum on the scaled gradient."""
    d = direction(param, grad, weight_decay, maximize)
    v = alpha * square_avg + (1 - alpha) * (d * d)
    buffer = momentum * momentum_buffer + d / (xp.sqrt(v) + eps)
    return param - lr * buffer, v, buffer


# A centred step's samples have a mean below the root mean square, as in use: 0.1 of 0.1 to 2.
_CENTERED = tuple({**s, "alpha": 0.001} for s in _RMSPROP)


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="", tolerance=100.0,
    outputs=("param", "square_avg", "grad_avg"), samples=step_samples(2, *_CENTERED),
)  # fmt: skip
def rmsprop_centered_step(
    xp, param: Array, grad: Array, square_avg: Array, grad_avg: Array, *, lr: float,
    alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0.0, maximize: bool = False,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """RMSprop by the running standard deviation (Graves, 2013)."""
    d = direction(param, grad, weight_decay, maximize)
    v = alpha * square_avg + (1 - alpha) * (d * d)
    mean = grad_avg + (1 - alpha) * (d - grad_avg)
    return param - lr * (d / (xp.sqrt(v - mean * mean) + eps)), v, mean


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="", tolerance=100.0,
    outputs=("param", "square_avg", "grad_avg", "momentum_buffer"),
    samples=step_samples(3, *_CENTERED),
)  # fmt: skip
def rmsprop_centered_momentum_step(
    xp, param: Array, grad: Array, square_avg: Array, grad_avg: Array, momentum_buffer: Array, *,
    lr: float, momentum: float = 0.9, alpha: float = 0.99, eps: float = 1e-8,
    weight_decay: float = 0.0, maximize: bool = False,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """RMSprop by the running standard deviation, with momentum on the scaled gradient."""
    d = direction(param, grad, weight_decay, maximize)
    v = alpha * square_avg + (1 - alpha) * (d * d)
    mean = grad_avg + (1 - alpha) * (d - grad_avg)
    buffer = momentum * momentum_buffer + d / (xp.sqrt(v - mean * mean) + eps)
    return param - lr * buffer, v, mean, buffer


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    outputs=("param", "sum"),
    samples=step_samples(
        1, {"lr": 0.1}, {"lr": 0.1, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}
    ),
)  # fmt: skip
def adagrad_step(
    xp, param: Array, grad: Array, state_sum: Array, *, lr: float, eps: float = 1e-10,
    weight_decay: float = 0.0, maximize: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """Adagrad (Duchi, Hazan and Singer, 2011): divide by the root of all squares so far."""
    d = direction(param, grad, weight_decay, maximize)
    total = state_sum + d * d
    return param - lr * d / (xp.sqrt(total) + eps), total


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    outputs=("param", "square_avg", "acc_delta"),
    samples=step_samples(
        2, {}, {"lr": 0.1, "rho": 0.5, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}
    ),
)  # fmt: skip
def adadelta_step(
    xp, param: Array, grad: Array, square_avg: Array, acc_delta: Array, *, lr: float = 1.0,
    rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0, maximize: bool = False,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Adadelta (Zeiler, 2012): a step in the units of the parameter, by its own past steps."""
    d = direction(param, grad, weight_decay, maximize)
    v = rho * square_avg + (1 - rho) * (d * d)
    move = d * (xp.sqrt(acc_delta + eps) / xp.sqrt(v + eps))
    return param - lr * move, v, rho * acc_delta + (1 - rho) * (move * move)


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    outputs=("param", "ax"),
    samples=step_samples(
        1, {"eta": 0.1, "mu": 0.5}, {"eta": 0.1, "weight_decay": 0.1, "maximize": True}
    ),
)  # fmt: skip
def asgd_step(
    xp, param: Array, grad: Array, ax: Array, *, eta: float, mu: float = 1.0,
    lambd: float = 1e-4, weight_decay: float = 0.0, maximize: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """Averaged gradient descent (Polyak and Juditsky, 1992): the parameter and its average.

    ``eta`` is the step size of the moment and ``mu`` the new parameter's share in the average.
    """
    d = direction(param, grad, weight_decay, maximize)
    p = param * (1 - lambd * eta) - eta * d
    return p, p + 0.0 if mu == 1 else ax + mu * (p - ax)


@elementwise(
    home="optim", method=False, accepts="f", differentiable=False, torch="",
    outputs=("param", "prev", "step_size"),
    samples=step_samples(2, {}, {"etas": (0.4, 1.5), "step_sizes": (0.2, 1.0), "maximize": True}),
)  # fmt: skip
def rprop_step(
    xp, param: Array, grad: Array, prev: Array, step_size: Array, *,
    etas: tuple[float, float] = (0.5, 1.2), step_sizes: tuple[float, float] = (1e-6, 50.0),
    maximize: bool = False,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Resilient descent (Riedmiller and Braun, 1993): only the signs of the gradients count.

    A step grows by ``etas[1]`` while the sign stays and shrinks by ``etas[0]`` when it turns, which
    also skips the move.
    """
    d = -grad if maximize else grad
    agree = d * prev
    turned = xp.less(agree, 0.0)
    factor = xp.where(turned, etas[0], agree * 0.0 + 1.0)
    factor = xp.where(xp.greater(agree, 0.0), etas[1], factor)
    size = xp.minimum(xp.maximum(step_size * factor, step_sizes[0]), step_sizes[1])
    d = xp.where(turned, 0.0, d)
    return param - xp.sign(d) * size, d, size
