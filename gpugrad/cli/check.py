"""``gpugrad check``: what a script needs of PyTorch, and whether gpugrad has it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from gpugrad.compat.survey import Name, Survey, survey

_SHOWN = 3  # places of a name; JSON has them all
_STYLES = {"yes": "", "missing": "red", "optional": "yellow"}


@click.command(short_help="List what a PyTorch script uses and gpugrad lacks.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every place.")
@click.option("--missing", "only_missing", is_flag=True, help="Leave out what gpugrad has.")
def check(paths: tuple[Path, ...], as_json: bool, only_missing: bool) -> int:
    """List the PyTorch names that PATHS (scripts, notebooks, folders) use, without running them.

    Exit status 1 if gpugrad lacks one that the script cannot do without, or a file is no Python.
    A missing name within try/except ImportError, or asked for by hasattr, is called optional.
    """
    found = survey(paths)
    if as_json:
        click.echo(json.dumps(_plain(found), indent=1))
    else:
        _show(found, only_missing)
    return 1 if found.missing or found.unreadable else 0


def _plain(found: Survey) -> dict[str, object]:
    tables = ("names", "attributes", "stars", "companions")
    lists = {t: [asdict(n) for n in _sorted(getattr(found, t))] for t in tables}
    return {"files": found.files, **lists, "unreadable": found.unreadable}


def _sorted(table: dict[str, Name]) -> list[Name]:
    """What is missing first."""
    return sorted(table.values(), key=lambda n: (not n.lacking, n.guarded, n.name))


def _show(found: Survey, only_missing: bool) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    names = [n for n in _sorted(found.names) if n.lacking or not only_missing]
    if names and console.is_terminal:
        console.print(_table(names))
    width = max((len(n.name) for n in names), default=0)
    for n in names if not console.is_terminal else ():
        click.echo(f"{_word(n):<8} {n.name:<{width}}  {_places(n)}")
    if names:
        console.print()
    for name in found.names.values():
        near = name.lacking.partition("; closest: ")[2]
        if near and not name.guarded:
            console.print(f"closest to {name.name}: {near}")
    for title, table in (
        ("perhaps missing, if these are tensors", found.attributes),
        ("names that cannot be told: import *", found.stars),
        ("packages made for PyTorch, which may need more of it", found.companions),
    ):
        if table:
            console.print(f"{title}:", style="bold")
            for name in _sorted(table):
                console.print(f"  {name.name}  {_places(name)}")
    for file, reason in found.unreadable.items():
        console.print(f"not read: {file}: {reason}", style="red")
    console.print(_summary(found))


def _table(names: list[Name]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("gpugrad", "name", "used in"):
        table.add_column(heading, overflow="fold")
    for n in names:
        word = _word(n)
        table.add_row(word, n.name, _places(n), style=_STYLES[word])
    return table


def _word(name: Name) -> str:
    return ("optional" if name.guarded else "missing") if name.lacking else "yes"


def _places(name: Name) -> str:
    more = len(name.places) - _SHOWN
    return ", ".join(name.places[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _summary(found: Survey) -> str:
    files = "1 file" if found.files == 1 else f"{found.files} files"
    if not found.names:
        return f"{files} read; nothing of PyTorch is used"
    lacking = len(found.missing)
    verdict = f"{lacking} missing" if lacking else "gpugrad has what is needed"
    return f"{files} read; {len(found.names)} of PyTorch's names used, {verdict}"
