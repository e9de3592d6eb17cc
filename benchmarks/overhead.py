"""Suite ``overhead``: what the engine itself costs, on tensors too small to hide it.

- us per op, forward + backward + freeing, for chains ``y = y * x`` on 4 elements, 1K to 1M deep;
- bytes of host memory per node of such a chain;
- seconds of ``import``; size of the wheel.

Peers run the same loop in the same process.  A number is the median of the repeats; the chains of
all engines take turns, so that a slow minute of the machine hits each alike.
"""

from __future__ import annotations

import gc
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DEPTHS = (1_000, 100_000, 1_000_000)


def chain(engine: Any, x: Any, one: Any, depth: int) -> tuple[float, float, float]:
    """Seconds of forward, backward and freeing of one chain."""
    start = time.perf_counter()
    y = x
    for _ in range(depth):
        y = y * x
    built = time.perf_counter()
    y.backward(one)
    done = time.perf_counter()
    del y
    freed = time.perf_counter()
    x.grad = None
    return built - start, done - built, freed - done


def per_op(names: list[str], repeats: int) -> list[dict[str, Any]]:
    """us per op of every engine at every depth."""
    engines = {}
    for name in names:
        engine = importlib.import_module(name)
        x = engine.ones(4)
        x.requires_grad_()
        engines[name] = (engine, x, engine.ones(4))
    rows = []
    for depth in DEPTHS:
        times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
        rounds = max(3, repeats * 20 if depth == 1_000 else repeats if depth < 1_000_000 else 3)
        for i in range(rounds + 1):
            for name, (engine, x, one) in engines.items():
                gc.collect()
                measured = chain(engine, x, one, depth)
                if i:  # the first round warms up
                    times[name].append(measured)
        for name in names:
            for k, part in enumerate(("forward", "backward", "freeing")):
                us = statistics.median(t[k] for t in times[name]) / depth * 1e6
                rows.append({"what": f"us per op, {depth:,} deep: {part}", "engine": name,
                             "value": us})  # fmt: skip
            us = statistics.median(sum(t) for t in times[name]) / depth * 1e6
            rows.append({"what": f"us per op, {depth:,} deep: all", "engine": name, "value": us})
    return rows


_BYTES = """
import importlib, sys
engine = importlib.import_module(sys.argv[1])
def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096
x = engine.ones(4); x.requires_grad_()
y = x
for _ in range(1000): y = y * x
before = resident()
for _ in range(200_000): y = y * x
print((resident() - before) / 200_000)
"""


def bytes_per_node(name: str) -> float:
    """Growth of resident memory per op of a chain that is kept, in a fresh process."""
    out = subprocess.run([sys.executable, "-c", _BYTES, name], capture_output=True, text=True,
                         check=True, cwd=ROOT, env=_env())  # fmt: skip
    return float(out.stdout)


def import_seconds(name: str, repeats: int = 7) -> float:
    """Median seconds that ``import name`` adds to a bare interpreter, caches warm."""
    code = f"import time; t = time.perf_counter(); import {name}; print(time.perf_counter() - t)"
    runs = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                             check=True, cwd=ROOT, env=_env()).stdout)
        for _ in range(repeats)
    ]  # fmt: skip
    return statistics.median(runs[1:])


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def wheel_megabytes() -> float:
    """Size of the wheel that this checkout builds."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", folder,
                        str(ROOT)], check=True, capture_output=True)  # fmt: skip
        return next(Path(folder).glob("*.whl")).stat().st_size / 1e6


def run(against: list[str], repeats: int, threads: int) -> list[dict[str, Any]]:
    """All rows of the suite; the first engine is gpugrad, and ratios are against the first peer."""
    names = ["gpugrad", *against]
    rows = per_op(names, repeats)
    for name in names:
        rows.append({"what": "bytes per node", "engine": name, "value": bytes_per_node(name)})
        rows.append({"what": "import seconds", "engine": name, "value": import_seconds(name)})
    rows.append({"what": "wheel MB", "engine": "gpugrad", "value": wheel_megabytes()})
    return rows
