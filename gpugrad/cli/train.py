"""``gpugrad train``: training jobs that are ready to run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from gpugrad import io
from gpugrad.devices import Device

if TYPE_CHECKING:
    from gpugrad.train.digits import Run

_NEEDED = {"sklearn": "scikit-learn", "matplotlib": "matplotlib", "safetensors": "safetensors"}


@click.group(short_help="Train a network.")
def train() -> None:
    """Train a network."""


@train.command(short_help="A small CNN that reads handwritten digits.")
@click.option(
    "--epochs",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="How often to go through the training images.",
)
@click.option(
    "--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Images per step."
)
@click.option(
    "--lr",
    type=click.FloatRange(0, min_open=True),
    default=5e-3,
    show_default=True,
    help="Step size at the start; it falls to 0 along a cosine.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**64 - 1),
    default=0,
    show_default=True,
    metavar="INTEGER",
    help="Decides the split, the first weights and every draw: same seed, same bits.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    callback=lambda context, option, value: _device(value),
    help="cpu, cuda or cuda:N.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="runs/digits",
    show_default=True,
    help="Folder for the results; an earlier run's are replaced.",
)
@click.option(
    "--target",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Fail if fewer of the held-out images are read correctly in the end.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")  # fmt: skip
def digits(
    epochs: int, batch_size: int, lr: float, seed: int, device: str, out: Path,
    target: float | None, quiet: bool,
) -> int:  # fmt: skip
    """Train a small CNN on scikit-learn's handwritten digits (1797 images of 8 x 8 pixels).

    A fifth of the images is held out to measure on.  Ctrl-C stops early and saves what was learnt.
    """
    _check_installed()
    from gpugrad.train import digits as job
    from gpugrad.train import progress, report
    from gpugrad.train.interrupt import Interruptible

    settings = job.Settings(epochs, batch_size, lr, seed, device)
    console = Console(highlight=False, soft_wrap=True)
    watcher: progress.Silent
    if quiet:
        watcher = progress.Silent()
    else:
        watcher = progress.Live(settings, console) if console.is_terminal else progress.Plain()
    # The folder first: one that cannot be written should not cost a training run.
    with Interruptible() as interruption, io.staged(out) as stage:
        with watcher:
            run = job.train(settings, watcher, interruption.stop)
        if not run.rows:
            raise Stopped(interruption.signal, "stopped before the first step; nothing to save")
        names = report.write(run, stage, out)
    if run.interrupted:
        raise Stopped(interruption.signal, f"stopped {_when(run)}; what was learnt is in {out}/")
    if not quiet:
        _tell(console, run, out, names)
    if target is not None and 100 * run.accuracy < target:
        raise click.ClickException(
            f"{100 * run.accuracy:.2f} % of the held-out digits read correctly, "
            f"fewer than the target of {target:g} %"
        )
    return 0


class Stopped(click.ClickException):
    """Training was asked to stop; the exit status is a shell's for that signal."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.status = 128 + number


def _device(name: str) -> str:
    """Check that the name is that of a device with memory; whether it is here shows later."""
    if Device(name).type == "meta":
        raise click.BadParameter("'meta' holds no numbers; accepted: cpu, cuda, cuda:N")
    return name


def _check_installed() -> None:
    missing = [name for module, name in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise click.ClickException(
            f"training needs {' and '.join(missing)}, not installed: pip install 'gpugrad[demo]'"
        )


def _when(run: Run) -> str:
    done = run.rows[-1]
    return f"in epoch {done.epoch} at {done.held_out_accuracy:.2%} on held-out digits"


def _tell(console: Console, run: Run, out: Path, names: list[str]) -> None:
    from gpugrad.train.report import misread

    last = run.rows[-1]
    console.print(
        f"\n[bold]{last.held_out_accuracy:.2%}[/] of {len(run.probabilities)} held-out digits read "
        f"correctly ({misread(run)} misread) after {last.seconds:.1f} s"
    )
    console.print(f"{out}/: {', '.join(names)}")
