"""Gradient descent, plain or with momentum."""

from __future__ import annotations

from typing import Any

from gpugrad.errors import SettingError
from gpugrad.optim.optimizer import Optimizer, check_hints, check_range


class SGD(Optimizer):
    """Gradient descent with PyTorch's arguments.

    Args:
        params: tensors, ``(name, tensor)`` pairs, or dicts of a group each.
        lr: step size.
        momentum: how much of the last direction to keep; 0 remembers nothing.
        dampening: how much of the gradient to leave out of the momentum.
        weight_decay: pull of every parameter towards zero.
        nesterov: look one momentum step ahead.
        maximize: climb instead of descending.
        foreach, fused: hints that choose among PyTorch's implementations; here there is one, and
            the result is the same.
        differentiable: not supported.

    Raises:
        SettingError: for a negative number, or ``nesterov`` without momentum or with dampening.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-3, momentum: float = 0, dampening: float = 0,
        weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False,
        foreach: bool | None = None, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        check_range("SGD", lr=lr, momentum=momentum, weight_decay=weight_decay)
        check_hints("SGD", foreach, fused, differentiable)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise SettingError(
                f"SGD: nesterov needs momentum > 0 and dampening == 0; got momentum {momentum} "
                f"and dampening {dampening}"
            )
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize,
        })  # fmt: skip

    def _update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        settings = {k: group[k] for k in ("lr", "weight_decay", "maximize")}
        if group["momentum"] == 0:
            self._run("sgd_step", param, grad, state, **settings)
            return
        first = "momentum_buffer" not in state
        self._run(
            "sgd_momentum_step", param, grad, state, "momentum_buffer", **settings,
            momentum=group["momentum"], nesterov=group["nesterov"],
            dampening=0.0 if first else group["dampening"],
        )  # fmt: skip
