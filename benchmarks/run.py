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


def show(rows: list[dict[str, Any]], console: Console) -> None:
    """A table with the ratio to the first peer."""
    table = Table(title="gpugrad side by side")
    columns = ("what", "engine", "forward us", "backward us", "free us", "us per op", "value")
    for column in columns:
        table.add_column(column, justify="left" if column in ("what", "engine") else "right")
    table.add_column("gpugrad / peer", justify="right")
    for row in rows:
        key = "us per op" if "us per op" in row else "value"
        mine = next(r for r in rows if r["what"] == row["what"] and r["engine"] == "gpugrad")
        ratio = "" if row["engine"] == "gpugrad" else f"{mine[key] / row[key]:.2f}"
        cells = [
            f"{row[c]:.3g}" if isinstance(row.get(c), float) else str(row.get(c, ""))
            for c in columns
        ]
        table.add_row(*cells, ratio)
    console.print(table)


@click.command()
@click.option("--suite", type=click.Choice(SUITES), default="overhead", show_default=True)
@click.option("--against", default="torch", show_default=True, help="Peers, separated by commas.")
@click.option("--repeats", default=5, show_default=True, help="Rounds per measurement.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Where to write the numbers.")
def main(suite: str, against: str, repeats: int, path: Path | None) -> None:
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
    show(rows, console)
    facts = conditions()
    console.print("  ".join(f"{k}: {v}" for k, v in facts.items()), style="dim")
    target = path or ROOT / "benchmarks" / "results" / f"{suite}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"conditions": facts, "rows": rows}, indent=1) + "\n")
    console.print(f"written to {target}", style="dim")


if __name__ == "__main__":
    main()
