"""A rate that falls when a metric no longer gets better."""

from __future__ import annotations

import math
import warnings
from typing import Any

from gpugrad.errors import SettingError
from gpugrad.optim.lr_scheduler.base import LRScheduler, check_optimizer, per_group, put, rates
from gpugrad.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """Times ``factor`` when a metric has not got better for more than ``patience`` steps.

    Args:
        optimizer: as for ``LRScheduler``.
        mode: whether smaller (``"min"``) or larger (``"max"``) is better.
        factor: below 1.
        patience: how many steps without improvement to bear.
        threshold, threshold_mode: what counts as better: by a share of the best so far (``"rel"``)
            or by an amount (``"abs"``).
        cooldown: steps after a fall in which nothing is counted.
        min_lr: lowest rate, or one for every group.
        eps: a fall by less is not made.
    """

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10,
        threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0, min_lr: Any = 0,
        eps: float = 1e-8,
    ) -> None:  # fmt: skip
        check_optimizer(self, optimizer)
        if factor >= 1:
            raise SettingError(f"ReduceLROnPlateau: factor must be below 1, got {factor}")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise SettingError(
                "ReduceLROnPlateau: mode must be min or max and threshold_mode rel or abs, got "
                f"{mode!r} and {threshold_mode!r}"
            )
        self.optimizer = optimizer
        self.factor = factor
        self.default_min_lr = None if isinstance(min_lr, list | tuple) else min_lr
        self.min_lrs = per_group("ReduceLROnPlateau", optimizer, min_lr)
        self.patience = patience
        self.cooldown = cooldown
        self.eps = eps
        self.last_epoch = 0
        self.mode = mode
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self._last_lr = rates(optimizer)
        self._reset()

    def _reset(self) -> None:
        """Forget the metrics so far."""
        self.best = self.mode_worse
        self.cooldown_counter = 0
        self.num_bad_epochs = 0

    @property
    def in_cooldown(self) -> bool:
        """Whether nothing is counted just now."""
        return self.cooldown_counter > 0

    def is_better(self, a: float, best: float) -> bool:
        """Whether a metric is better than the best by more than the threshold."""
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            return sign * a > sign * best * (1 + sign * self.threshold)
        return sign * a > sign * best + self.threshold

    def step(self, metrics: Any, epoch: Any = None) -> None:  # type: ignore[override]
        """Look at a metric, a number or a tensor of one, and lower the rates if it is time."""
        if epoch is not None:
            warnings.warn(
                "The epoch parameter in `scheduler.step()` is deprecated; call it without.",
                UserWarning, stacklevel=2,
            )  # fmt: skip
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        current = float(metrics)
        if self.is_better(current, self.best):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = rates(self.optimizer)

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):  # groups were added since
            if self.default_min_lr is None:
                raise SettingError(
                    f"ReduceLROnPlateau: {len(self.min_lrs)} min_lrs for the optimiser's "
                    f"{len(groups)} groups; set scheduler.min_lrs for the added ones"
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, lowest in zip(groups, self.min_lrs, strict=True):
            old = float(group["lr"])
            new = max(old * self.factor, lowest)
            if old - new > self.eps:
                put(group, new)
