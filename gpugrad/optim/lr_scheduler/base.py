"""What schedulers share: the count of steps, writing the rates, saving and loading.

A scheduler says in ``_next`` how a group's rate follows from the one before, so that several
schedulers of one optimiser multiply; ``_closed`` gives it from the first rate and the count alone,
where there is such a formula.  One that was written for PyTorch overrides ``get_lr``.
"""

from __future__ import annotations

import warnings
from typing import Any

from gpugrad.errors import ArgumentError, NotSupportedError, SettingError
from gpugrad.optim.optimizer import Optimizer
from gpugrad.tensor import Tensor


def put(group: dict[str, Any], value: Any) -> None:
    """Set a group's rate; one that is a tensor is written in place."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(float(value))
    else:
        group["lr"] = value


def rates(optimizer: Optimizer, key: str = "lr") -> list[Any]:
    """The rate of every group, tensors copied."""
    found = (group[key] for group in optimizer.param_groups)
    return [v.detach().clone() if isinstance(v, Tensor) else v for v in found]


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """A setting for every group: the same, or one each of a list."""
    count = len(optimizer.param_groups)
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        raise SettingError(
            f"{name}: {len(value)} values for the optimiser's {count} groups; give one each"
        )
    return list(value)


def check_optimizer(scheduler: Any, optimizer: Any) -> None:
    """Refuse anything but an optimiser."""
    if not isinstance(optimizer, Optimizer):
        raise ArgumentError(
            f"{type(scheduler).__name__}: needs an Optimizer, got {type(optimizer).__name__}"
        )


class LRScheduler:
    """Base of the schedulers; making one sets the first rate.

    Args:
        optimizer: whose groups' ``"lr"`` is set.
        last_epoch: how many steps were made before; -1 for none.
    """

    _is_initial = False
    _get_lr_called_within_step = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(self, optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                first = group["lr"]
                group.setdefault(
                    "initial_lr", first.detach().clone() if isinstance(first, Tensor) else first
                )
            elif "initial_lr" not in group:
                raise SettingError(
                    f"{type(self).__name__}: to resume at last_epoch {last_epoch}, group {i} of "
                    "the optimiser must have its 'initial_lr'; load the optimiser's state first"
                )
        self.base_lrs = rates(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self) -> None:
        """Set the rate of the first step."""
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` gave."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[Any]:
        """The rate of every group, as last set."""
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The next rate of every group; for use by ``step``."""
        self._warn_outside()
        return [
            self._next(group["lr"], base)
            for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True)
        ]

    def _warn_outside(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use "
                "`get_last_lr()`.", UserWarning, stacklevel=3,
            )  # fmt: skip

    def _next(self, lr: Any, base: Any) -> Any:
        """A group's rate after ``lr``; ``base`` is its first one."""
        raise NotSupportedError(f"{type(self).__name__} has neither get_lr() nor _next()")

    def _closed(self, base: Any) -> Any:
        """A group's rate by its first one and ``last_epoch``; None if there is no such formula."""
        return None

    def step(self, epoch: Any = None) -> None:
        """Set the rates of the next step; call it after ``optimizer.step()``.

        Args:
            epoch: go to this count instead of the next; deprecated in PyTorch.
        """
        if self._step_count == 1 and not self.optimizer._opt_called:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. Call them in "
                "the opposite order, or the first value of the schedule is skipped.",
                UserWarning, stacklevel=2,
            )  # fmt: skip
        self._step_count += 1
        if epoch is not None:
            warnings.warn(
                "The epoch parameter in `scheduler.step()` is deprecated; call it without.",
                UserWarning, stacklevel=2,
            )  # fmt: skip
        self._update_lr(epoch)

    def _update_lr(self, epoch: Any = None) -> None:
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        closed = [] if epoch is None else [self._closed(base) for base in self.base_lrs]
        self._put(self._wanted() if not closed or None in closed else closed)

    def _wanted(self) -> list[Any]:
        self._get_lr_called_within_step = True
        try:
            return self.get_lr()
        finally:
            self._get_lr_called_within_step = False

    def _put(self, values: list[Any]) -> None:
        for group, lr in zip(self.optimizer.param_groups, values, strict=True):
            put(group, lr)
        self._last_lr = rates(self.optimizer)


class _LRScheduler(LRScheduler):
    """The base's name before PyTorch 2.0."""
