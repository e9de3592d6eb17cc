"""``gpugrad train chargpt``: a language model of characters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from gpugrad.cli.train import options, running
from gpugrad.cli.train.options import number
from gpugrad.train.settings import CharGPT as Settings

if TYPE_CHECKING:
    from gpugrad.train.chargpt import CharGPT


@click.command(short_help="A small GPT that continues a text, character by character.")
@click.option(
    "--text",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="A file in UTF-8; Python's own standard library, as found here, if not given.",
)
@number(Settings, "--layers", "Transformer blocks.", least=1)
@number(Settings, "--width", "Width of the model.", least=1)
@number(Settings, "--heads", "Attention heads; the width is a multiple.", least=1)
@number(Settings, "--context", "Characters that the model sees.", least=1)
@number(Settings, "--batch-size", "Stretches of text per step.", least=1)
@number(Settings, "--steps", "Updates.", least=1)
@number(
    Settings, "--minutes", "Train for so long instead; no two such runs are the same to the bit.",
    least=0.0, above=True,
)  # fmt: skip
@number(Settings, "--lr", "Largest step size.", least=0.0, above=True)
@number(Settings, "--warmup", "Steps until the step size is that large.", least=1)
@number(Settings, "--weight-decay", "How strongly matrices are kept small.", least=0.0)
@number(
    Settings, "--dropout", "Share dropped; for texts that are read many times.",
    least=0.0, most=0.95,
)  # fmt: skip
@number(Settings, "--evaluate-every", "Steps between two looks at the held-out end.", least=1)
@number(Settings, "--sample", "Characters to make up at the end.", least=0)
@options.seed
@options.threads
@options.device
@options.out("chargpt")
@options.resumable
@options.quiet
def chargpt(**given: Any) -> int:
    """Train a small GPT on a text, and let it make up some more.

    The end of the text, a tenth or 131,072 characters, is held out to measure on.  Without --text
    it is the source of Python's standard library.  The defaults take about five minutes on one
    core, and reach 1.7 nats a character on a megabyte of Shakespeare.  Ctrl-C saves a checkpoint
    that --resume goes on from.
    """
    running.check_installed(matplotlib="matplotlib")
    from gpugrad.train.chargpt import CharGPT

    if given["minutes"] is not None and running.said("steps"):
        raise click.UsageError("--steps and --minutes exclude each other")
    settings, plan = running.sorted_out(Settings, given)
    if settings.width % settings.heads:
        raise click.UsageError(
            f"--width {settings.width} is not a multiple of --heads {settings.heads}"
        )
    screen = running.console()
    run, names = running.conduct(CharGPT, settings, plan, screen)
    if not plan.quiet:
        tell(screen, run, plan.out, names)
    return 0


def tell(screen: Console, run: CharGPT, out: Path, names: list[str]) -> None:
    """Show the sample, the losses, and say where things are."""
    last = run.rows[-1]
    if run.sample:
        screen.print(f"\n{run.sample}\n", markup=False)
    screen.print(
        f"validation loss [bold]{last['validation_loss']:.3f}[/] nats a character after "
        f"{run.step:,} steps, {run.seen:,} characters and {last['seconds']:.0f} s"
    )
    screen.print(f"{out}/: {', '.join(names)}")
