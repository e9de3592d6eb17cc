"""Rates by a user's function of the step count."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

from gpugrad.errors import ArgumentError
from gpugrad.optim.lr_scheduler.base import LRScheduler, check_optimizer, per_group
from gpugrad.optim.optimizer import Optimizer

_Factor = Callable[[int], float]


def attributes(fn: Any) -> dict[str, Any] | None:
    """What of a user's callable is saved: the attributes of an object, nothing of a function."""
    return None if isinstance(fn, types.FunctionType) else dict(fn.__dict__)


class _Functions(LRScheduler):
    """Rates by a function for every group."""

    def __init__(
        self, optimizer: Optimizer, lr_lambda: _Factor | Sequence[_Factor], last_epoch: int = -1
    ) -> None:
        check_optimizer(self, optimizer)
        self.lr_lambdas = per_group(type(self).__name__, optimizer, lr_lambda)
        for fn in self.lr_lambdas:
            if not callable(fn):
                raise ArgumentError(
                    f"{type(self).__name__}: lr_lambda must be a function of the step count, got "
                    f"{type(fn).__name__}"
                )
        super().__init__(optimizer, last_epoch)

    def _factors(self) -> list[float]:
        return [fn(self.last_epoch) for fn in self.lr_lambdas]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser; functions are not saved, attributes of objects are."""
        return {**super().state_dict(), "lr_lambdas": [attributes(f) for f in self.lr_lambdas]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` gave, with the functions that are here."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "lr_lambdas"})
        for fn, saved in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=True):
            if saved is not None:
                fn.__dict__.update(saved)


class LambdaLR(_Functions):
    """The first rate times ``lr_lambda(step)``.

    Args:
        optimizer, last_epoch: as for ``LRScheduler``.
        lr_lambda: a function of the step count, or one for every group.
    """

    def get_lr(self) -> list[Any]:
        """The first rates times the factors."""
        self._warn_outside()
        return [base * factor for base, factor in zip(self.base_lrs, self._factors(), strict=True)]


class MultiplicativeLR(_Functions):
    """The rate before times ``lr_lambda(step)``.

    Args:
        optimizer, last_epoch: as for ``LRScheduler``.
        lr_lambda: a function of the step count, or one for every group.
    """

    def get_lr(self) -> list[Any]:
        """The rates times the factors; the first are as they are."""
        self._warn_outside()
        factors = [1] * len(self.lr_lambdas) if self._is_initial else self._factors()
        groups = self.optimizer.param_groups
        return [group["lr"] * factor for group, factor in zip(groups, factors, strict=True)]
