"""Suite ``overhead``: what the engine itself costs, on tensors too small to hide it.

- us per op, forward + backward + freeing, for chains ``y = y * x`` on 4 elements, 1K to 1M deep;
- bytes of host memory per node of such a chain;
- seconds of ``import``; size of the wheel.

Peers run the same loop in the same process.  A number is the median of the repeats; the chains of
all engines take turns, so that a slow minute of the machine hits each alike.  On a GPU the chains
end when the device is done, and the deepest is left out; the other rows do not depend on it.
"""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.engines import Engine, Jax
from benchmarks.rows import record

ROOT = Path(__file__).resolve().parent.parent
DEPTHS = (1_000, 100_000, 1_000_000)


def chain(engine: Engine, x: Any, one: Any, depth: int) -> tuple[float, float, float]:
    """Seconds of forward, backward and freeing of one chain."""
    start = time.perf_counter()
    y = x
    for _ in range(depth):
        y = y * x
    engine.wait()
    built = time.perf_counter()
    y.backward(one)
    engine.wait()
    done = time.perf_counter()
    del y
    freed = time.perf_counter()
    x.grad = None
    return built - start, done - built, freed - done


def per_op(engines: list[Engine], repeats: int) -> list[dict[str, Any]]:
    """us per op of every engine at every depth."""
    leaves = {}
    for engine in engines:
        x = engine.torch.ones(4, device=engine.device)
        leaves[engine.name] = (x.requires_grad_(), engine.torch.ones(4, device=engine.device))
    rows = []
    for depth in DEPTHS[:2] if engines[0].cuda else DEPTHS:
        times: dict[str, list[tuple[float, float, float]]] = {e.name: [] for e in engines}
        rounds = max(3, repeats * 20 if depth == 1_000 else repeats if depth < 1_000_000 else 3)
        for i in range(rounds + 1):
            for engine in engines:
                gc.collect()
                measured = chain(engine, *leaves[engine.name], depth)
                if i:  # the first round warms up
                    times[engine.name].append(measured)
        for name, found in times.items():
            for k, part in enumerate(("forward", "backward", "freeing")):
                us = statistics.median(t[k] for t in found) / depth * 1e6
                rows.append(record(f"us per op, {depth:,} deep: {part}", name, us))
            us = statistics.median(sum(t) for t in found) / depth * 1e6
            rows.append(record(f"us per op, {depth:,} deep: all", name, us))
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


def run(engines: list[Engine | Jax], repeats: int, threads: int) -> list[dict[str, Any]]:
    """All rows of the suite."""
    eager = [e for e in engines if isinstance(e, Engine) and e.name != "torch.compile"]
    rows = per_op(eager, repeats)
    left_out = [e.name for e in engines if e not in eager]
    rows += [
        record(rows[0]["what"], name, missing="it has no tape of single ops") for name in left_out
    ]
    if eager[0].cuda:
        return rows
    for engine in eager:
        rows.append(record("bytes per node", engine.name, bytes_per_node(engine.name)))
        rows.append(record("import seconds", engine.name, import_seconds(engine.name)))
    rows.append(record("wheel MB", "gpugrad", wheel_megabytes()))
    return rows
