"""``gpugrad train``: training jobs that are ready to run, a file each."""

from __future__ import annotations

import click

from gpugrad.cli.train.chargpt import chargpt
from gpugrad.cli.train.digits import digits
from gpugrad.cli.train.mnist import mnist
from gpugrad.cli.train.running import Stopped as Stopped


@click.group(short_help="Train a network.")
def train() -> None:
    """Train a network."""


for _job in (digits, mnist, chargpt):
    train.add_command(_job)
