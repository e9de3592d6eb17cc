"""Showing how training goes: live on a terminal, as plain lines elsewhere, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from gpugrad.train.callbacks import Callback
from gpugrad.train.memory import memory_in_use
from gpugrad.train.table import Column, Row, heading, line

if TYPE_CHECKING:
    from gpugrad.train.trainer import Trainer


class Silent(Callback):
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        return None


class Plain(Silent):
    """A line per evaluation, for files and pipes.

    Args:
        columns: what of a row is shown.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns

    def __enter__(self) -> Self:
        print(heading(self._columns), flush=True)
        return self

    def on_start(self, trainer: Trainer) -> None:
        """Print the lines of the run that goes on."""
        for row in trainer.rows:
            self.on_evaluation(trainer, row)

    def on_evaluation(self, trainer: Trainer, row: Row) -> None:
        """Print the line."""
        print(line(self._columns, row), flush=True)


class Live(Silent):
    """A line per evaluation above a bar that moves with every step.

    Args:
        columns: what of a row is shown.
        console: the terminal.
    """

    def __init__(self, columns: Sequence[Column], console: Console) -> None:
        self._columns = columns
        self._console = console
        self._progress = Progress(
            BarColumn(bar_width=None), TextColumn("{task.description}"), TimeRemainingColumn(),
            console=console, transient=True, expand=True,
        )  # fmt: skip
        self._task = self._progress.add_task("loading the data", total=1.0)

    def __enter__(self) -> Self:
        self._console.print(f"[bold]{heading(self._columns)}[/]")
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self._progress.stop()

    def on_start(self, trainer: Trainer) -> None:
        """Print the lines of the run that goes on, and move the bar to where it stands."""
        for row in trainer.rows:
            self.on_evaluation(trainer, row)
        self._progress.update(self._task, completed=trainer.share, description=trainer.status)

    def on_step(self, trainer: Trainer) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=trainer.share, description=_describe(trainer))

    def on_evaluation(self, trainer: Trainer, row: Row) -> None:
        """Print the line above the bar."""
        self._progress.console.print(line(self._columns, row), highlight=False)


def _describe(trainer: Trainer) -> str:
    """Where a run stands: averages since the last evaluation, speed and memory."""
    averages = trainer.tally.averages()
    shown = [f"{k} {v:.1%}" if k == "accuracy" else f"{k} {v:.4f}" for k, v in averages.items()]
    speed = f"{trainer.tally.speed:,.0f} {trainer.unit}/s"
    memory = f"{memory_in_use(trainer.device) / 2**20:,.0f} MiB"
    return "  ".join([trainer.status, *shown, speed, memory])
