"""Who is told how training goes, and may end it by raising."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gpugrad.errors import SettingError

if TYPE_CHECKING:
    from gpugrad.train.table import Row
    from gpugrad.train.trainer import Trainer


class Callback:
    """Called by a ``Trainer`` at these moments; override what you want to know of."""

    def on_start(self, trainer: Trainer) -> None:
        """Before the first step of this process."""

    def on_loss(self, trainer: Trainer, loss: float) -> None:
        """After the forward pass of a step; nothing has been updated by it yet."""

    def on_step(self, trainer: Trainer) -> None:
        """After the update; ``trainer.step`` counts it."""

    def on_evaluation(self, trainer: Trainer, row: Row) -> None:
        """After an evaluation; ``row`` is the newest of ``trainer.rows``."""

    def on_checkpoint(self, trainer: Trainer) -> None:
        """Before a checkpoint is written; the one before still lies there."""

    def on_end(self, trainer: Trainer) -> None:
        """After the last step, or where it was interrupted; not after an error."""


class FailOnNan(Callback):
    """Ends a run whose loss or weights are no numbers any more.

    The loss is looked at before it can spoil the weights, and the weights before they are saved, so
    the last checkpoint is a good one.
    """

    def on_loss(self, trainer: Trainer, loss: float) -> None:
        """Raise SettingError unless it is finite."""
        if not math.isfinite(loss):
            raise SettingError(f"{self._found(trainer, f'the loss is {loss}')}")

    def on_checkpoint(self, trainer: Trainer) -> None:
        """Raise SettingError if a weight is not finite."""
        for name, weight in trainer.model.state_dict().items():
            if weight.is_floating_point() and not weight.isfinite().all().item():
                raise SettingError(self._found(trainer, f"{name} has values that are no numbers"))

    @staticmethod
    def _found(trainer: Trainer, what: str) -> str:
        group = trainer.optimizer.param_groups[0]
        lr = float(group.get("initial_lr", group["lr"]))
        kept = trainer.checkpoints.kept() if trainer.checkpoints else ""
        return (
            f"train {trainer.name}: {what} {trainer.moment}; "
            f"lr {lr:g} is too large, try {lr / 10:g}{kept}"
        )
