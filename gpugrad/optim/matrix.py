"""Muon and Adafactor, which treat a parameter as a matrix; SparseAdam, which is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gpugrad import dtypes
from gpugrad.errors import NotSupportedError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.optim.optimizer import Optimizer, check_betas, check_hints, check_range


class Muon(Optimizer):
    """Muon (Jordan, 2024) for matrices, with PyTorch's arguments.

    Give it the weights of hidden layers; biases, embeddings and the rest go to AdamW.

    Args:
        params, lr, weight_decay: as for ``AdamW``.
        momentum: how much of the running mean of gradients survives a step.
        nesterov: look one momentum step ahead.
        ns_coefficients, ns_steps: the polynomial that orthogonalises, and how often it is applied.
        eps: smallest norm to divide by.
        adjust_lr_fn: how the step depends on the shape (A, B): ``"original"`` (also None) times
            ``sqrt(max(1, A / B))``, ``"match_rms_adamw"`` times ``0.2 sqrt(max(A, B))``.

    Raises:
        ShapeError: for a parameter that is no matrix.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95,
        nesterov: bool = True, ns_coefficients: Sequence[float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7, ns_steps: int = 5, adjust_lr_fn: str | None = None,
    ) -> None:  # fmt: skip
        check_range("Muon", lr=lr, momentum=momentum, weight_decay=weight_decay)
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise SettingError(
                f'Muon: adjust_lr_fn must be "original", "match_rms_adamw" or None, '
                f"got {adjust_lr_fn!r}"
            )
        super().__init__(params, {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        })  # fmt: skip
        for p in (p for group in self.param_groups for p in group["params"]):
            if p.ndim != 2:
                raise ShapeError(
                    f"Muon: optimises matrices only, got a parameter of shape {tuple(p.shape)}; "
                    "give it to AdamW"
                )

    def _update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        rows, columns = param.shape
        if group["adjust_lr_fn"] == "match_rms_adamw":
            scale = 0.2 * math.sqrt(max(rows, columns))
        else:
            scale = math.sqrt(max(1, rows / columns)) if columns else 1.0
        settings = {k: v for k, v in group.items() if k in self.defaults and k != "adjust_lr_fn"}
        self._run("muon_step", param, grad, state, "momentum_buffer", scale=scale, **settings)


class Adafactor(Optimizer):
    """Adafactor (Shazeer and Stern, 2018) with PyTorch's arguments.

    Args:
        params, lr, weight_decay, maximize, foreach: as for ``AdamW``; ``lr`` is the largest
            relative step.
        beta2_decay: power of the step count by which new squares lose weight.
        eps: smallest square (None: the dtype's own eps) and smallest size of a parameter.
        d: largest root mean square of an update.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-2, beta2_decay: float = -0.8,
        eps: Sequence[Any] = (None, 1e-3), d: float = 1.0, weight_decay: float = 0.0, *,
        foreach: bool | None = None, maximize: bool = False,
    ) -> None:  # fmt: skip
        check_range("Adafactor", lr=lr, weight_decay=weight_decay, eps2=eps[1])
        check_range("Adafactor", eps1=eps[0] or 0.0)
        check_hints("Adafactor", foreach, None, False)
        if beta2_decay > 0 or d < 1:
            raise SettingError(
                f"Adafactor: needs beta2_decay <= 0 and d >= 1, got {beta2_decay} and {d}"
            )
        super().__init__(params, {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d,
            "weight_decay": weight_decay, "maximize": maximize,
        })  # fmt: skip

    def _update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        t = self._count(state)
        lr, (eps1, eps2) = float(group["lr"]), group["eps"]
        op, buffers = "adafactor_vector_step", ["variance"]
        if param.ndim > 1:
            op, buffers = "adafactor_matrix_step", ["row_var", "col_var"]
            if "row_var" not in state:
                state["row_var"] = F.zeros_like(param.detach()[..., :1])
                state["col_var"] = F.zeros_like(param.detach()[..., :1, :])
        self._run(
            op, param, grad, state, *buffers, lr=lr, rate=min(lr, t**-0.5),
            share=t ** group["beta2_decay"], eps2=eps2, d=group["d"],
            eps1=dtypes.finfo(param.dtype).eps if eps1 is None else eps1,
            weight_decay=group["weight_decay"], maximize=group["maximize"],
        )  # fmt: skip


class SparseAdam(Optimizer):
    """Adam for sparse gradients, which gpugrad does not have: making one raises.

    Raises:
        NotSupportedError: always; ``Adam`` is for dense gradients.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8, maximize: bool = False,
    ) -> None:  # fmt: skip
        check_betas("SparseAdam", betas)
        raise NotSupportedError("SparseAdam: there are no sparse gradients here; use Adam")
