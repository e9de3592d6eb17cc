"""Adamax, NAdam, RAdam and Lion: other uses of the gradient's running moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad.optim.optimizer import Optimizer, check_betas, check_hints, check_range


class Adamax(Optimizer):
    """Adam by the largest gradient (Kingma and Ba, 2015, section 7.1) with PyTorch's arguments.

    Args:
        params, lr, betas, eps, weight_decay, maximize, foreach: as for ``Adam``.
        differentiable, capturable: not supported.
    """

    def __init__(
        self, params: Any, lr: Any = 2e-3, betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, foreach: bool | None = None, *,
        maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    ) -> None:  # fmt: skip
        check_range("Adamax", lr=lr, eps=eps, weight_decay=weight_decay)
        check_hints("Adamax", foreach, None, differentiable, capturable)
        check_betas("Adamax", betas)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize,
        })  # fmt: skip

    def _update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        t = self._count(state)
        settings = {k: group[k] for k in ("lr", "betas", "eps", "weight_decay", "maximize")}
        self._run(
            "adamax_step", param, grad, state, "exp_avg", "exp_inf", **settings,
            correction1=1 - float(group["betas"][0]) ** t,
        )  # fmt: skip


class NAdam(Optimizer):
    """Adam with Nesterov momentum (Dozat, 2016) with PyTorch's arguments.

    Args:
        params, lr, betas, eps, weight_decay, decoupled_weight_decay, maximize, foreach: as for
            ``Adam``.
        momentum_decay: how fast the momentum reaches ``betas[0]``.
        capturable, differentiable: not supported.
    """

    def __init__(
        self, params: Any, lr: Any = 2e-3, betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_range("NAdam", lr=lr, eps=eps, weight_decay=weight_decay,
                    momentum_decay=momentum_decay)  # fmt: skip
        check_hints("NAdam", foreach, None, differentiable, capturable)
        check_betas("NAdam", betas)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        })  # fmt: skip

    def _update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        t = self._count(state)
        beta1, beta2 = (float(b) for b in group["betas"])

        def momentum(step: int) -> float:
            return float(beta1 * (1 - 0.5 * 0.96 ** (step * group["momentum_decay"])))

        state["mu_product"] = float(state.get("mu_product", 1.0)) * momentum(t)
        self._run(
            "nadam_step", param, grad, state, "exp_avg", "exp_avg_sq", lr=group["lr"],
            mu=momentum(t), mu_next=momentum(t + 1), mu_product=state["mu_product"],
            betas=(beta1, beta2), eps=group["eps"], weight_decay=group["weight_decay"],
            decoupled=group["decoupled_weight_decay"], correction2=1 - beta2**t,
            maximize=group["maximize"],
        )  # fmt: skip


class RAdam(Optimizer):
    """Adam with a rectified rate (Liu et al., 2020) with PyTorch's arguments.

    Args:
        params, lr, betas, eps, weight_decay, decoupled_weight_decay, maximize, foreach: as for
            ``Adam``.
        capturable, differentiable: not supported.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, decoupled_weight_decay: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
        differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_range("RAdam", lr=lr, eps=eps, weight_decay=weight_decay)
        check_hints("RAdam", foreach, None, differentiable, capturable)
        check_betas("RAdam", betas)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize, "decoupled_weight_decay": decoupled_weight_decay,
        })  # fmt: skip

    def _update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        t = self._count(state)
        beta1, beta2 = (float(b) for b in group["betas"])
        correction2 = 1 - beta2**t
        # How many steps the second moment averages over, in the end and so far (section 3.3).
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * t * beta2**t / correction2
        rectification = 0.0
        if length > 5:
            part = (length - 4) * (length - 2) * longest
            rectification = (part / ((longest - 4) * (longest - 2) * length)) ** 0.5
        self._run(
            "radam_step", param, grad, state, "exp_avg", "exp_avg_sq", lr=group["lr"],
            rectification=rectification, betas=(beta1, beta2), eps=group["eps"],
            weight_decay=group["weight_decay"], decoupled=group["decoupled_weight_decay"],
            correction1=1 - beta1**t, correction2=correction2, maximize=group["maximize"],
        )  # fmt: skip


class Lion(Optimizer):
    """Lion (Chen et al., 2023): steps along the sign of the momentum; PyTorch has none.

    Args:
        params: as for ``Adam``.
        lr: size of every element's step; 3 to 10 times smaller than Adam's.
        betas: the old momentum's weight in the direction, and in the new momentum.
        weight_decay: decoupled, as AdamW's; 3 to 10 times larger than there.
        maximize, foreach, fused: as for ``Adam``.
        capturable, differentiable: not supported.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-4, betas: Sequence[float] = (0.9, 0.99),
        weight_decay: float = 0, *, foreach: bool | None = None, maximize: bool = False,
        capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        check_range("Lion", lr=lr, weight_decay=weight_decay)
        check_hints("Lion", foreach, fused, differentiable, capturable)
        check_betas("Lion", betas)
        super().__init__(
            params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
        )

    def _update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        settings = {k: group[k] for k in ("lr", "betas", "weight_decay", "maximize")}
        self._run("lion_step", param, grad, state, "exp_avg", **settings)
