"""Several schedulers of one optimiser: one after the other, or at once."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from gpugrad.errors import ArgumentError, SettingError
from gpugrad.optim.lr_scheduler.base import LRScheduler, put, rates
from gpugrad.optim.lr_scheduler.plateau import ReduceLROnPlateau
from gpugrad.optim.optimizer import Optimizer


class _Combined(LRScheduler):
    """Holds schedulers; its state is theirs and its own."""

    _schedulers: Sequence[LRScheduler]

    def _take(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None) -> None:
        name = type(self).__name__
        if not schedulers:
            raise SettingError(f"{name}: needs one scheduler or more, got none")
        for i, scheduler in enumerate(schedulers):
            if not isinstance(scheduler, LRScheduler):
                raise ArgumentError(
                    f"{name}: schedulers[{i}] must be a scheduler, got {type(scheduler).__name__}"
                )
            if isinstance(scheduler, ReduceLROnPlateau):
                raise SettingError(
                    f"{name}: schedulers[{i}] is a ReduceLROnPlateau, whose step needs a number; "
                    "step it by itself"
                )
            optimizer = scheduler.optimizer if optimizer is None else optimizer
            if scheduler.optimizer is not optimizer:
                raise SettingError(
                    f"{name}: all schedulers must be of one optimiser; schedulers[{i}] is of "
                    "another"
                )
        self._schedulers = schedulers
        self.optimizer = schedulers[0].optimizer

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser, with the schedulers' own states."""
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` gave."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_schedulers"})
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)


class SequentialLR(_Combined):
    """One scheduler after the other.

    Args:
        optimizer, last_epoch: as for ``LRScheduler``.
        schedulers: in order.
        milestones: the steps at which the second and following ones begin.
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: list[LRScheduler], milestones: list[int],
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        self._take(schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise SettingError(
                f"SequentialLR: {len(schedulers)} schedulers need one milestone less, got "
                f"{len(milestones)}"
            )
        self._milestones = milestones
        self.last_epoch = last_epoch + 1
        # Each scheduler set the first rate when it was made: go back, and let the first one do it.
        for group in optimizer.param_groups:
            put(group, group["initial_lr"])
        self.recursive_undo()
        first = self._schedulers[bisect_right(milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def _initial_step(self) -> None:
        """As the first one of another sequence; the schedulers within were stepped before."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            super()._initial_step()

    def recursive_undo(self, sched: Any = None) -> None:
        """Take the first step back, of schedulers of schedulers, too."""
        scheduler = self if sched is None else sched
        if isinstance(scheduler, _Combined):
            for inner in scheduler._schedulers:
                self.recursive_undo(inner)
        else:
            scheduler.last_epoch -= 1

    def step(self, epoch: Any = None) -> None:
        """Step the scheduler whose turn it is; one that begins starts from its own 0."""
        if epoch is not None:
            raise ArgumentError("SequentialLR: step takes no epoch")
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[i]
        if i > 0 and self._milestones[i - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


class ChainedScheduler(_Combined):
    """All schedulers at once, each on the rate that the one before left.

    Args:
        schedulers: in order.
        optimizer: theirs; needs not be given.
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        self._take(schedulers, optimizer)
        self._last_lr = rates(self.optimizer)

    def step(self, epoch: Any = None) -> None:
        """Step every scheduler."""
        if epoch is not None:
            raise ArgumentError("ChainedScheduler: step takes no epoch")
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = rates(self.optimizer)
