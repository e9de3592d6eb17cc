"""``gpugrad train digits``: scikit-learn's handwritten digits."""

from __future__ import annotations

from pathlib import Path

import click

from gpugrad import io
from gpugrad.cli.train import options, running
from gpugrad.train.settings import Digits as Settings


@click.command(short_help="A small CNN that reads handwritten digits.")
@options.number(Settings, "--epochs", "How often to go through the training images.", least=1)
@options.number(Settings, "--batch-size", "Images per step.", least=1)
@options.number(
    Settings, "--lr", "Step size at the start; it falls to 0 along a cosine.", least=0.0, above=True
)
@options.seed
@options.device
@options.out("digits")
@options.target("held-out")
@options.quiet
def digits(
    epochs: int, batch_size: int, lr: float, seed: int, device: str, out: Path,
    target: float | None, quiet: bool,
) -> int:  # fmt: skip
    """Train a small CNN on scikit-learn's handwritten digits (1797 images of 8 x 8 pixels).

    A fifth of the images is held out to measure on.  Ctrl-C stops early and saves what was learnt.
    """
    running.check_installed(sklearn="scikit-learn", matplotlib="matplotlib")
    from gpugrad.train import digits as job
    from gpugrad.train import report
    from gpugrad.train.interrupt import Interruptible

    settings = Settings(epochs, batch_size, lr, seed, device)
    screen = running.console()
    # The folder first: one that cannot be written should not cost a training run.
    with Interruptible() as interruption, io.staged(out) as stage:
        with running.watcher(job.Digits, screen, quiet) as watcher:
            run = job.train(settings, watcher, interruption.stop)
        if not run.rows:
            raise running.Stopped(
                interruption.signal, "stopped before the first step; nothing to save"
            )
        names = report.write(run, stage, out)
    if run.interrupted:
        where = f"in epoch {run.epoch} at {run.accuracy:.2%} on held-out digits"
        raise running.Stopped(interruption.signal, f"stopped {where}; what was learnt is in {out}/")
    if not quiet:
        running.tell(screen, run, out, names)
    running.check_target(run, target)
    return 0
