"""``gpugrad info``: where gpugrad would run, and what is missing."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from importlib import metadata
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import gpugrad
from gpugrad.cli import driver

#: What each extra of pyproject.toml is for; extras that are not named here are for developers.
EXTRAS = {"": "gpugrad", "demo": "gpugrad train", "cuda13": "GPUs", "cuda12": "GPUs"}


@click.command(short_help="Show devices, versions and what is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(as_json: bool) -> None:
    """Show devices, versions, what is missing and the command that installs it."""
    facts = gather()
    if as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        _show(facts)


def gather() -> dict[str, Any]:
    """Everything that the command shows, as plain data."""
    found = driver.find()
    extra = found.extra if found else "cuda13"
    packages = [_package(name, extra_) for name, extra_ in _requirements(extra)]
    gpu, reason = _gpu(found)
    lacking = {p["extra"] for p in packages if p["version"] is None}
    commands = {e: f"pip install '{'gpugrad' if not e else f'gpugrad[{e}]'}'" for e in lacking}
    return {
        "gpugrad": gpugrad.__version__,
        "folder": os.path.dirname(gpugrad.__file__),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "devices": ["cpu", *gpu],
        "no_cuda": reason,
        "driver_cuda": ".".join(map(str, found.cuda)) if found else None,
        "packages": packages,
        "install": commands,
        "default_dtype": gpugrad.get_default_dtype().name,
        "cache_folder": gpugrad.config.cache_dir,
    }


def _gpu(found: driver.Driver | None) -> tuple[list[str], str | None]:
    """CUDA devices as text, and why gpugrad cannot use them, if it cannot."""
    if found is None:
        return [], "no NVIDIA driver on this machine"
    seen = [
        f"cuda:{i} {name}, {size / 2**30:.0f} GiB" for i, (name, size) in enumerate(found.devices)
    ]
    if not seen:
        return [], "the NVIDIA driver finds no device"
    try:
        count = gpugrad.cuda.device_count()
    except Exception as error:  # a broken installation must not hide what else there is to say
        return [], f"{', '.join(seen)}: CuPy fails with {type(error).__name__}: {error}"
    if not count:
        return [], f"{', '.join(seen)} is here, but CuPy is missing or cannot use it"
    return seen[:count], None


def _requirements(cuda: str) -> list[tuple[str, str]]:
    """(package, extra) of gpugrad's own metadata, for one CUDA extra and no developer's."""
    try:
        lines = metadata.requires("gpugrad") or []
    except metadata.PackageNotFoundError:  # running from a checkout that is not installed
        lines = _from_checkout()
    wanted = ("", "demo", cuda)
    pairs = []
    for line in lines:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"""extra == ['"]([\w-]+)['"]""", line)
        found = extra.group(1) if extra else ""
        if name and found in wanted:
            pairs.append((name.group(), found))
    return sorted(pairs, key=lambda p: wanted.index(p[1]))


def _from_checkout() -> list[str]:
    import tomllib

    path = os.path.join(os.path.dirname(gpugrad.__file__), os.pardir, "pyproject.toml")
    if not os.path.exists(path):
        return []
    with open(path, "rb") as file:
        project = tomllib.load(file)["project"]
    extras = project["optional-dependencies"].items()
    more = [f"{line} ; extra == '{extra}'" for extra, lines in extras for line in lines]
    return [*project["dependencies"], *more]


def _package(name: str, extra: str) -> dict[str, Any]:
    try:
        version: str | None = metadata.version(name)
    except metadata.PackageNotFoundError:
        version = None
    return {"name": name, "version": version, "extra": extra, "for": EXTRAS[extra]}


def _show(facts: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("gpugrad", f"{facts['gpugrad']}  ({facts['folder']})")
    table.add_row("Python", f"{facts['python']}  ({sys.executable})")
    table.add_row("system", f"{facts['platform']}, {facts['cpus']} CPUs")
    table.add_row("devices", escape("\n".join(facts["devices"])))
    if facts["no_cuda"]:
        table.add_row("no GPU", escape(facts["no_cuda"]))
    if facts["driver_cuda"]:
        table.add_row("driver", f"runs CUDA up to {facts['driver_cuda']}")
    table.add_row("default dtype", facts["default_dtype"])
    table.add_row("cache folder", facts["cache_folder"])
    console.print(table)
    console.print()
    versions = Table(box=None, pad_edge=False)
    for heading in ("package", "version", "needed for"):
        versions.add_column(heading)
    for p in facts["packages"]:
        versions.add_row(p["name"], p["version"] or "[yellow]missing[/]", p["for"])
    console.print(versions)
    for extra, command in facts["install"].items():
        if extra.startswith("cuda") and facts["driver_cuda"] is None:
            note = f"for {EXTRAS[extra]} (none seen here)"
        else:
            note = f"for {EXTRAS[extra]}"
        console.print(f"\nTo install what is missing {note}:\n  {escape(command)}")
