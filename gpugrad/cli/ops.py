"""``gpugrad ops``: what ops and functions there are."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby

import click
from rich.console import Console
from rich.table import Table

from gpugrad.listing import Entry, entries


@click.command(short_help="List every public op and function.")
@click.argument("pattern", default="")
@click.option("--json", "as_json", is_flag=True, help="Print JSON with all that is known.")
def ops(pattern: str, as_json: bool) -> None:
    """List every public op and function, or those whose name has PATTERN in it.

    PATTERN may be a glob, such as 'nn.functional.*'.
    """
    found = entries(pattern)
    if as_json:
        click.echo(json.dumps([asdict(e) for e in found], indent=1))
        return
    if not found:
        raise click.ClickException(f"no op or function has {pattern!r} in its name")
    console = Console(highlight=False, markup=False)  # signatures have brackets
    if console.is_terminal:
        for home, group in groupby(found, key=lambda e: e.home):
            console.print(_table(f"gpugrad.{home}" if home else "gpugrad", list(group)))
        console.print(_summary(found), style="dim")
        return
    width = min(max(len(e.signature) for e in found), 60)
    for e in found:
        click.echo(f"{e.signature:<{width}}  {_plain(e.doc)}")


def _table(title: str, rows: list[Entry]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("call", style="cyan", ratio=5, overflow="fold")
    table.add_column("kind", style="dim")
    table.add_column("grad", justify="center")
    table.add_column("also", style="dim", ratio=2, overflow="fold")
    table.add_column("samples", justify="right", style="dim")
    table.add_column("what it is", ratio=6)
    for e in rows:
        bare = e.signature.removeprefix(f"{e.home}.")
        also = list(e.aliases)
        also += [f"{e.name.rpartition('.')[2]}_"] * e.inplace + [e.operator] * bool(e.operator)
        table.add_row(bare, e.kind, "yes" if e.differentiable else "-", " ".join(also),
                      str(e.samples), _plain(e.doc))  # fmt: skip
    return table


def _plain(doc: str) -> str:
    return doc.replace("``", "`")


def _summary(found: list[Entry]) -> str:
    smooth = sum(e.differentiable for e in found)
    return f"{len(found)} ops and functions, {smooth} of them differentiable"
