"""Run a benchmark suite side by side with its peers: ``python benchmarks/run.py --suite overhead``.

Prints one table and writes the numbers as JSON with device, versions, date and command.
"""

from __future__ import annotations

import datetime
import importlib
import json
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import click  # noqa: E402
from rich.console import Console  # noqa: E402

SUITES = ("overhead", "train", "ops", "kernels", "pool")
#: Suites that are lists of rows; the others measure in their own way.
ROWS = ("ops", "kernels")


def conditions(device: str) -> dict[str, str]:
    """What the numbers depend on."""
    versions = {}
    for name in ("gpugrad", "numpy", "numba", "cupy", "torch", "jax"):
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
            **_gpu(device), "cpu": f"{cpu}, {os.cpu_count()} cores",
            "command": "python " + " ".join(sys.argv), **versions, **told}  # fmt: skip


def _gpu(device: str) -> dict[str, str]:
    if device == "cpu":
        return {}
    runtime = importlib.import_module("cupy").cuda.runtime
    name = importlib.import_module("gpugrad").cuda.get_device_name()
    return {"gpu": name, "driver_cuda": str(runtime.driverGetVersion()),
            "cuda": str(runtime.runtimeGetVersion())}  # fmt: skip


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def set_threads(threads: int) -> None:
    """Say how many threads libraries may have, before any of them is imported and reads it."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    # Threads of one engine that spin while they wait would take the cores of the other.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")


def gather(names: list[str], device: str, threads: int, console: Console) -> list[Any]:
    """gpugrad and those peers that can take part; of the others it is said why not."""
    from benchmarks import engines

    try:
        found: list[Any] = [engines.gpugrad(device)]
    except importlib.import_module("gpugrad").errors.DeviceError as error:
        raise click.ClickException(str(error)) from None
    for name in names:
        try:
            found.append(engines.peer(name, device, threads))
        except engines.Missing as reason:
            console.print(f"{reason}; its column is left out", style="yellow", markup=False)
    return found


def measured(suite: str, engines: list[Any], repeats: int,
             threads: int) -> tuple[list[dict[str, Any]], dict[str, str]]:  # fmt: skip
    """All cells of a suite, and what else the run found out.

    For ``ROWS``, ``repeats`` is in tenths of a second per row and engine.
    """
    from benchmarks import engines as about
    from benchmarks import rows

    module = importlib.import_module(f"benchmarks.{suite}")
    if suite not in ROWS:
        return module.run(engines, repeats, threads), {}
    device, seconds = engines[0].device, repeats / 10
    cache, copied = about.cache_bytes(device), about.copied_per_ms(device, seconds)
    found = []
    for row in module.rows(device):
        found += rows.measure(row, engines, seconds * len(engines), cache, copied)
    return found, {"copy": f"{copied / 1e6:.4g} GB/s", "cache": f"{cache >> 20} MiB"}


def target(suite: str, facts: dict[str, str]) -> Path:
    """Where the numbers of a suite are kept: one file per suite and kind of GPU."""
    gpu = re.sub(r"[^a-z0-9]+", "_", facts.get("gpu", "").lower()).strip("_")
    return ROOT / "benchmarks" / "results" / f"{suite}{'_' if gpu else ''}{gpu}.json"


@click.command()
@click.option("--suite", type=click.Choice(SUITES), default="overhead", show_default=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--against", default="torch", show_default=True,
              help="Peers, separated by commas: torch, compile, jax.")  # fmt: skip
@click.option("--repeats", default=5, show_default=True, help="How long to measure: see the suite.")
@click.option("--threads", default=1, show_default=True, help="Threads of every engine.")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Where to write the numbers.")
@click.option("--chart", type=click.Path(path_type=Path), help="Draw the ratios: .png or .svg.")
def main(suite: str, device: str, against: str, repeats: int, threads: int, markdown: bool,
         path: Path | None, chart: Path | None) -> None:  # fmt: skip
    """Measure gpugrad and its peers in one run; fails if a row of gpugrad could not be measured."""
    console = Console() if sys.stdout.isatty() else Console(width=180)
    set_threads(threads)
    from benchmarks import table
    from benchmarks.engines import PEERS

    names = list(filter(None, against.split(",")))
    if unknown := [n for n in names if n not in PEERS]:
        raise click.BadParameter(f"{unknown[0]!r}; accepted: {', '.join(PEERS)}")
    engines = gather(names, device, threads, console)
    cells, found = measured(suite, engines, repeats, threads)
    table.show(cells, console, markdown)
    facts = {**conditions(device), "threads": str(threads), **found}
    console.print("  ".join(f"{k}: {v}" for k, v in facts.items()), style="dim", markup=False)
    path = path or target(suite, facts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"conditions": facts, "rows": cells}, indent=1) + "\n")
    console.print(f"written to {path}", style="dim")
    if chart is not None:
        table.draw(cells, chart)
        console.print(f"drawn in {chart}", style="dim")
    if any("failed" in c and c["engine"] == "gpugrad" for c in cells):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
