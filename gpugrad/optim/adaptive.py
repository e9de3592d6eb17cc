"""RMSprop, Adagrad, Adadelta, ASGD and Rprop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad.errors import SettingError
from gpugrad.functional_namespace import F
from gpugrad.optim.optimizer import Optimizer, check_hints, check_range


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, 2012) with PyTorch's arguments.

    Args:
        params, lr, eps, weight_decay, maximize, foreach: as for ``Adam``.
        alpha: how much of the running mean of squares survives a step.
        momentum: how much of the last direction to keep.
        centered: divide by the standard deviation, not the root mean square.
        capturable, differentiable: not supported.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
        weight_decay: float = 0, momentum: float = 0, centered: bool = False,
        capturable: bool = False, foreach: bool | None = None, maximize: bool = False,
        differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_range("RMSprop", lr=lr, eps=eps, momentum=momentum, weight_decay=weight_decay,
                    alpha=alpha)  # fmt: skip
        check_hints("RMSprop", foreach, None, differentiable, capturable)
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "maximize": maximize,
        })  # fmt: skip

    def _update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        self._count(state)
        settings = {k: group[k] for k in ("lr", "alpha", "eps", "weight_decay", "maximize")}
        op, buffers = "rmsprop", ["square_avg"]
        if group["centered"]:
            op, buffers = f"{op}_centered", [*buffers, "grad_avg"]
        if group["momentum"] > 0:
            op, buffers = f"{op}_momentum", [*buffers, "momentum_buffer"]
            settings["momentum"] = group["momentum"]
        self._run(f"{op}_step", param, grad, state, *buffers, **settings)


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, 2011) with PyTorch's arguments.

    Args:
        params, lr, weight_decay, eps, maximize, foreach, fused: as for ``Adam``.
        lr_decay: the step size is divided by one plus this times the steps made.
        initial_accumulator_value: where the sum of squares begins.
        differentiable: not supported.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *,
        maximize: bool = False, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        check_range("Adagrad", lr=lr, lr_decay=lr_decay, weight_decay=weight_decay,
                    initial_accumulator_value=initial_accumulator_value, eps=eps)  # fmt: skip
        check_hints("Adagrad", foreach, fused, differentiable)
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "maximize": maximize,
        })  # fmt: skip

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As every optimiser's; the sums begin here, before the first step."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for p in group["params"]:
            start = F.full_like(p.detach(), group["initial_accumulator_value"])
            self.state[p] = {"step": 0, "sum": start}

    def _update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        t = self._count(state)
        settings = {k: group[k] for k in ("eps", "weight_decay", "maximize")}
        lr = group["lr"] / (1 + (t - 1) * group["lr_decay"])
        self._run("adagrad_step", param, grad, state, "sum", lr=lr, **settings)


class Adadelta(Optimizer):
    """Adadelta (Zeiler, 2012) with PyTorch's arguments.

    Args:
        params, lr, eps, weight_decay, maximize, foreach: as for ``Adam``.
        rho: how much of the running means of squares survives a step.
        capturable, differentiable: not supported.
    """

    def __init__(
        self, params: Any, lr: Any = 1.0, rho: float = 0.9, eps: float = 1e-6,
        weight_decay: float = 0, foreach: bool | None = None, *, capturable: bool = False,
        maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_range("Adadelta", lr=lr, eps=eps, weight_decay=weight_decay)
        check_hints("Adadelta", foreach, None, differentiable, capturable)
        if not 0 <= rho <= 1:
            raise SettingError(f"Adadelta: rho must be in [0, 1], got {rho}")
        super().__init__(params, {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
        })  # fmt: skip

    def _update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        self._count(state)
        settings = {k: group[k] for k in ("lr", "rho", "eps", "weight_decay", "maximize")}
        self._run("adadelta_step", param, grad, state, "square_avg", "acc_delta", **settings)


class ASGD(Optimizer):
    """Averaged gradient descent (Polyak and Juditsky, 1992) with PyTorch's arguments.

    The average is in ``optimizer.state[param]["ax"]``.

    Args:
        params, lr, weight_decay, maximize, foreach: as for ``Adam``.
        lambd: decay of the parameter, and of the step size.
        alpha: power of the step size's decay.
        t0: the step after which the average is more than the last parameter.
        differentiable, capturable: not supported.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-2, lambd: float = 1e-4, alpha: float = 0.75,
        t0: float = 1e6, weight_decay: float = 0, foreach: bool | None = None,
        maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    ) -> None:  # fmt: skip
        check_range("ASGD", lr=lr, weight_decay=weight_decay)
        check_hints("ASGD", foreach, None, differentiable, capturable)
        super().__init__(params, {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
            "maximize": maximize,
        })  # fmt: skip

    def _update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        t = self._count(state)
        lr, lambd = float(group["lr"]), group["lambd"]
        self._run(
            "asgd_step", param, grad, state, "ax", eta=float(state.get("eta", lr)),
            mu=float(state.get("mu", 1.0)), lambd=lambd, weight_decay=group["weight_decay"],
            maximize=group["maximize"],
        )  # fmt: skip
        state["eta"] = lr / (1 + lambd * lr * t) ** group["alpha"]
        state["mu"] = 1 / max(1, t - group["t0"])


class Rprop(Optimizer):
    """Resilient descent (Riedmiller and Braun, 1993) with PyTorch's arguments.

    Args:
        params, maximize, foreach: as for ``Adam``.
        lr: the first step size of every element.
        etas: what a step size is multiplied by when the gradient's sign turns, and when it stays.
        step_sizes: the smallest and the largest step size.
        capturable, differentiable: not supported.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-2, etas: Sequence[float] = (0.5, 1.2),
        step_sizes: Sequence[float] = (1e-6, 50), *, capturable: bool = False,
        foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_range("Rprop", lr=lr)
        check_hints("Rprop", foreach, None, differentiable, capturable)
        if not 0 < etas[0] < 1 < etas[1]:
            raise SettingError(f"Rprop: etas must be 0 < a < 1 < b, got {etas}")
        super().__init__(
            params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize}
        )

    def _update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        self._count(state)
        if "step_size" not in state:
            state["step_size"] = F.full_like(param.detach(), float(group["lr"]))
        settings = {k: group[k] for k in ("etas", "step_sizes", "maximize")}
        self._run("rprop_step", param, grad, state, "prev", "step_size", **settings)
