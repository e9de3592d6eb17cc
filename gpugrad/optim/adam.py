"""Adam, and AdamW, which differs in how weights decay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad.optim.optimizer import Optimizer, check_betas, check_hints, check_range


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015) with PyTorch's arguments.

    Args:
        params: tensors, ``(name, tensor)`` pairs, or dicts of a group each.
        lr: step size.
        betas: how much of the two running moments survives a step.
        eps: added to the denominator.
        weight_decay: pull of every parameter towards zero.
        amsgrad: divide by the largest second moment so far.
        maximize: climb instead of descending.
        decoupled_weight_decay: decay the parameter itself, as AdamW does, not the gradient.
        foreach, fused: hints that choose among PyTorch's implementations; here there is one, and
            the result is the same.
        capturable, differentiable: not supported.

    Raises:
        SettingError: for a negative number, or a beta outside ``[0, 1)``.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, amsgrad: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
        differentiable: bool = False, fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        check_range(name, lr=lr, eps=eps, weight_decay=weight_decay)
        check_hints(name, foreach, fused, differentiable, capturable)
        check_betas(name, betas)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "decoupled_weight_decay": decoupled_weight_decay,
        })  # fmt: skip

    def _update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        t = self._count(state)
        beta1, beta2 = (float(b) for b in group["betas"])
        buffers = ["exp_avg", "exp_avg_sq"]
        if group["amsgrad"]:
            buffers.append("max_exp_avg_sq")
        self._run(
            "amsgrad_step" if group["amsgrad"] else "adam_step", param, grad, state, *buffers,
            lr=group["lr"], betas=(beta1, beta2), eps=group["eps"], maximize=group["maximize"],
            weight_decay=group["weight_decay"], decoupled=group["decoupled_weight_decay"],
            correction1=1 - beta1**t, correction2=1 - beta2**t,
        )  # fmt: skip


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019); arguments as for ``Adam``."""

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 1e-2, amsgrad: bool = False, *,
        maximize: bool = False, foreach: bool | None = None, capturable: bool = False,
        differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
            capturable=capturable, differentiable=differentiable, fused=fused,
            decoupled_weight_decay=True,
        )  # fmt: skip
