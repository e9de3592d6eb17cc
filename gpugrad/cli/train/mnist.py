"""``gpugrad train mnist``: the digits that everybody has trained on."""

from __future__ import annotations

from typing import Any

import click

from gpugrad.cli.train import options, running
from gpugrad.cli.train.options import number
from gpugrad.train.settings import Mnist as Settings

_WHERE = (
    "mnist.npz (https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz), or a "
    "folder with the four idx files train-images-idx3-ubyte, train-labels-idx1-ubyte, "
    "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, packed (.gz) or not"
)


@click.command(short_help="A convolutional network that reads MNIST's digits.")
@click.option(
    "--data", type=click.Path(resolve_path=True), metavar="FILE_OR_FOLDER",
    help=f"{_WHERE[0].upper()}{_WHERE[1:]}. Nothing is downloaded.",
)  # fmt: skip
@number(Settings, "--epochs", "How often to go through the 60,000 training images.", least=1)
@number(Settings, "--batch-size", "Images per step.", least=1)
@number(Settings, "--lr", "Largest step size; it rises and falls again.", least=0.0, above=True)
@options.seed
@options.threads
@options.device
@options.out("mnist")
@options.target("test")
@options.resumable
@options.quiet
def mnist(target: float | None, **given: Any) -> int:
    """Train a convolutional network on MNIST: 60,000 digits to learn from, 10,000 to test on.

    The defaults read over 99 % of the test digits rightly after about a minute on one core.  Ctrl-C
    saves a checkpoint that --resume goes on from.
    """
    running.check_installed(matplotlib="matplotlib")
    from gpugrad.train.mnist import Mnist

    if given["data"] is None and not given["resume"]:
        raise click.UsageError(f"--data is missing; accepted: {_WHERE}")
    settings, plan = running.sorted_out(Settings, given)
    screen = running.console()
    run, names = running.conduct(Mnist, settings, plan, screen)
    if not plan.quiet:
        running.tell(screen, run, plan.out, names)
    running.check_target(run, target)
    return 0
