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

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import click  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

SUITES = ("overhead", "train", "ops", "kernels", "pool")


def conditions() -> dict[str, str]:
    """What the numbers depend on."""
    versions = {}
    for name in ("gpugrad", "numpy", "numba", "torch"):
        module = sys.modules.get(name)
        if module is not None:
            versions[name] = str(module.__version__)
    cpu = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.processor(),
    )
    # A BLAS that was told to take another processor's kernels is another BLAS.
    told = {k: v for k, v in os.environ.items() if k in ("OPENBLAS_CORETYPE", "MKL_CBWR")}
    return {"date": datetime.date.today().isoformat(), "python": platform.python_version(),
            "cpu": f"{cpu}, {os.cpu_count()} cores",
            "command": "python " + " ".join(sys.argv), **versions, **told}  # fmt: skip


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


def set_threads(threads: int) -> None:
    """Say how many threads libraries may have, before any of them is imported and reads it."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    # Threads of one engine that spin while they wait would take the cores of the other.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """A bar per measured thing and peer: gpugrad's number over the peer's; shorter is better."""
    pyplot = importlib.import_module("matplotlib.pyplot")
    table = lines(rows)
    head, body = table[0], table[:0:-1]
    places = [i for i, name in enumerate(head) if name.startswith("gpugrad / ")]
    body = [row for row in body if any(row[i] for i in places)]
    figure, axes = pyplot.subplots(figsize=(9, 0.6 + 0.3 * len(body)), layout="constrained")
    thickness = 0.8 / len(places)
    for nth, i in enumerate(places):
        at = [y - nth * thickness for y in range(len(body))]
        bars = axes.barh(at, [float(row[i] or 0) for row in body], thickness, label=head[i])
        axes.bar_label(bars, [row[i] for row in body], padding=3, fontsize=8)
    axes.set_yticks([y - 0.4 + thickness / 2 for y in range(len(body))], [row[0] for row in body])
    axes.axvline(1, color="black", linewidth=0.8)
    axes.legend(loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


@click.command()
@click.option("--suite", type=click.Choice(SUITES), default="overhead", show_default=True)
@click.option("--against", default="torch", show_default=True, help="Peers, separated by commas.")
@click.option("--repeats", default=5, show_default=True, help="How long to measure: see the suite.")
@click.option("--threads", default=1, show_default=True, help="Threads of every engine.")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Where to write the numbers.")
@click.option("--chart", type=click.Path(path_type=Path), help="Draw the ratios: .png or .svg.")
def main(suite: str, against: str, repeats: int, threads: int, markdown: bool, path: Path | None,
         chart: Path | None) -> None:  # fmt: skip
    """Measure gpugrad and its peers in one run."""
    console = Console()
    set_threads(threads)
    peers = []
    for name in filter(None, against.split(",")):
        try:
            module = importlib.import_module(name)
        except ImportError:
            console.print(f"{name} is not installed: its column is left out", style="yellow")
            continue
        if name == "torch":
            module.set_num_threads(threads)
        peers.append(name)
    rows = importlib.import_module(f"benchmarks.{suite}").run(peers, repeats, threads)
    show(lines(rows), console, markdown)
    facts = {**conditions(), "threads": str(threads)}
    console.print("  ".join(f"{k}: {v}" for k, v in facts.items()), style="dim")
    target = path or ROOT / "benchmarks" / "results" / f"{suite}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"conditions": facts, "rows": rows}, indent=1) + "\n")
    console.print(f"written to {target}", style="dim")
    if chart is not None:
        draw(rows, chart)
        console.print(f"drawn in {chart}", style="dim")


if __name__ == "__main__":
    main()
