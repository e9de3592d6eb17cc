"""Options that several jobs take."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from gpugrad.devices import Device

F = TypeVar("F", bound=Callable[..., Any])
Option = Callable[[F], F]


def number(
    settings: type, flag: str, text: str, *, least: float, most: float | None = None,
    above: bool = False,
) -> Option[Any]:  # fmt: skip
    """An option that takes a number from ``least`` (or above it) to ``most``; whole if that is.

    Args:
        settings: the dataclass that has the default.
        flag: the option.
        text: what it means.
    """
    kind: Any = click.FloatRange(least, most, min_open=above)
    if isinstance(least, int):
        kind = click.IntRange(least)
    name = flag.removeprefix("--").replace("-", "_")
    (default,) = (f.default for f in fields(settings) if f.name == name)
    return click.option(
        flag, type=kind, default=default, show_default=default is not None, help=text,
        callback=lambda context, option, value: _finite(value),
    )  # fmt: skip


seed = click.option(
    "--seed",
    type=click.IntRange(0, 2**64 - 1),
    default=0,
    show_default=True,
    metavar="INTEGER",
    help="Decides the split, the first weights and every draw: same seed, same bits.",
)
quiet = click.option("--quiet", is_flag=True, help="Print nothing but errors.")
device = click.option(
    "--device",
    default="cpu",
    show_default=True,
    callback=lambda context, option, value: _device(value),
    help="cpu, cuda or cuda:N.",
)
threads = click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="CPU threads per operation; the bits depend on it.",
)


def out(job: str) -> Option[Any]:
    """The folder for results."""
    return click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        default=f"runs/{job}",
        show_default=True,
        help="Folder for the results; an earlier run's are replaced.",
    )


def target(what: str) -> Option[Any]:
    """The accuracy to reach."""
    return click.option(
        "--target",
        type=click.FloatRange(0, 100),
        metavar="PERCENT",
        help=f"Fail if fewer of the {what} images are read correctly in the end.",
    )


def resumable(function: F) -> F:
    """The options of a job with checkpoints."""
    for option in reversed(_RESUMABLE):
        function = option(function)
    return function


_RESUMABLE = (
    click.option(
        "--resume", is_flag=True,
        help="Go on from the checkpoint in --out, with its settings, as if never stopped.",
    ),
    click.option("--restart", is_flag=True, help="Begin anew though --out has an unfinished run."),
    click.option(
        "--checkpoint-every", type=click.IntRange(1), metavar="STEPS", default=250,
        show_default=True, help="Steps between two checkpoints.",
    ),
    click.option(
        "--checkpoint-minutes", type=click.FloatRange(0, min_open=True), metavar="MINUTES",
        default=2.0, show_default=True, help="The longest time between two checkpoints.",
    ),
    click.option(
        "--fail-on-nan/--no-fail-on-nan", default=True, show_default=True,
        help="Stop when the loss or a weight is no number, before it spoils the checkpoint.",
    ),
)  # fmt: skip


def _finite(value: float | None) -> float | None:
    """Refuse what no range can hold."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"takes a finite number, got {value}")
    return value


def _device(name: str) -> str:
    """Check that the name is that of a device with memory; whether it is here shows later."""
    if Device(name).type == "meta":
        raise click.BadParameter("'meta' holds no numbers; accepted: cpu, cuda, cuda:N")
    return name
