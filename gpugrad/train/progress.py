"""Showing how training goes: live on a terminal, as plain lines elsewhere, or not at all."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from gpugrad.train.digits import Row, Settings
from gpugrad.train.memory import memory_in_use

_HEAD = "epoch    loss  accuracy  held-out loss  held-out accuracy  samples/s     memory"


def _line(row: Row) -> str:
    return (
        f"{row.epoch:5d}  {row.loss:6.4f}  {row.accuracy:8.2%}  {row.held_out_loss:13.4f}  "
        f"{row.held_out_accuracy:17.2%}  {row.samples_per_second:9,.0f}  "
        f"{row.memory_bytes / 2**20:5.0f} MiB"
    )


class Silent:
    """Shows nothing."""

    def batch(self, epoch: int, share: float, loss: float, accuracy: float, speed: float) -> None:
        """Show nothing."""

    def epoch(self, row: Row) -> None:
        """Show nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        return None


class Plain(Silent):
    """A line per epoch, for files and pipes."""

    def __enter__(self) -> Self:
        print(_HEAD, flush=True)
        return self

    def epoch(self, row: Row) -> None:
        """Print the line."""
        print(_line(row), flush=True)


class Live(Silent):
    """A line per epoch above a bar that moves with every step."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self._settings = settings
        self._console = console
        self._progress = Progress(
            BarColumn(bar_width=None), TextColumn("{task.description}"), TimeRemainingColumn(),
            console=console, transient=True, expand=True,
        )  # fmt: skip
        self._task = self._progress.add_task("loading the images", total=settings.epochs)

    def __enter__(self) -> Self:
        self._console.print(f"[bold]{_HEAD}[/]")
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self._progress.stop()

    def batch(self, epoch: int, share: float, loss: float, accuracy: float, speed: float) -> None:
        """Move the bar."""
        memory = memory_in_use(self._settings.device) / 2**20
        text = (
            f"epoch {epoch}/{self._settings.epochs}  loss {loss:.4f}  accuracy {accuracy:.1%}  "
            f"{speed:,.0f} samples/s  {memory:,.0f} MiB"
        )
        self._progress.update(self._task, completed=epoch - 1 + share, description=text)

    def epoch(self, row: Row) -> None:
        """Print the epoch's line above the bar."""
        self._progress.console.print(_line(row), highlight=False)
