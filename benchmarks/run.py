"""Run a benchmark suite side by side with its peers: ``python benchmarks/run.py --suite overhead``.

Prints one table and writes the numbers as JSON with device, versions, date and command.
"""

from __future__ import annotations

import datetime
import importlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

# One thread, set before any library reads it: these machines are shared, and overhead is serial.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import click  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

SUITES = ("overhead",)


def conditions() -> dict[str, str]:
    """What the numbers depend on."""
    versions = {}
    for name in ("gpugrad", "numpy", "torch"):
        module = sys.modules.get(name)
        if module is not None:
            versions[name] = str(module.__version__)
    cpu = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.processor(),
    )
    return {"date": datetime.date.today().isoformat(), "python": platform.python_version(),
            "cpu": f"{cpu}, {os.cpu_count()} cores",
            "command": "python " + " ".join(sys.argv), **versions}  # fmt: skip


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def lines(rows: list[dict[str, Any]]) -> list[list[str]]:
    """One line per measured thing: gpugrad and each peer beside each other, then the ratios."""
    peers = list(dict.fromkeys(r["engine"] for r in rows if r["engine"] != "gpugrad"))
    table = [["what", "gpugrad", *peers, *(f"gpugrad / {p}" for p in peers)]]
    for what in dict.fromkeys(r["what"] for r in rows):
        values = {r["engine"]: r["value"] for r in rows if r["what"] == what}
        mine = values["gpugrad"]
        cells = [f"{values[e]:.3g}" if e in values else "" for e in ("gpugrad", *peers)]
        ratios = [f"{mine / values[p]:.2f}" if p in values else "" for p in peers]
        table.append([what, *cells, *ratios])
    return table


def show(table: list[list[str]], console: Console, markdown: bool) -> None:
    """Print a table for a terminal, or one to paste into a page."""
    if markdown:
        rule = ["---", *["---:"] * (len(table[0]) - 1)]
        for row in (table[0], rule, *table[1:]):
            print("| " + " | ".join(row) + " |")
        return
    shown = Table(title="gpugrad side by side")
    for i, name in enumerate(table[0]):
        shown.add_column(name, justify="right" if i else "left", no_wrap=True)
    for row in table[1:]:
        shown.add_row(*row)
    console.print(shown)


@click.command()
@click.option("--suite", type=click.Choice(SUITES), default="overhead", show_default=True)
@click.option("--against", default="torch", show_default=True, help="Peers, separated by commas.")
@click.option("--repeats", default=5, show_default=True, help="Rounds per measurement.")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Where to write the numbers.")
def main(suite: str, against: str, repeats: int, markdown: bool, path: Path | None) -> None:
    """Measure gpugrad and its peers in one run."""
    console = Console()
    peers = []
    for name in filter(None, against.split(",")):
        try:
            module = importlib.import_module(name)
        except ImportError:
            console.print(f"{name} is not installed: its column is left out", style="yellow")
            continue
        if name == "torch":
            module.set_num_threads(1)
        peers.append(name)
    rows = importlib.import_module(f"benchmarks.{suite}").run(peers, repeats)
    show(lines(rows), console, markdown)
    facts = conditions()
    console.print("  ".join(f"{k}: {v}" for k, v in facts.items()), style="dim")
    target = path or ROOT / "benchmarks" / "results" / f"{suite}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"conditions": facts, "rows": rows}, indent=1) + "\n")
    console.print(f"written to {target}", style="dim")


if __name__ == "__main__":
    main()
