"""Suite ``train``: whole training steps (forward, backward, update) of four models.

- ms a step: engines take turns in one process, with the same numbers and the same number of
  threads; medians, after a warm-up; the losses of all engines must agree.
- The column "BLAS" is the roof: the matrix products of the step by NumPy's BLAS, in the
  same run.  (PyTorch may go below it: its convolutions save multiplications.)
- peak MB: how far the resident memory of a fresh process with one engine rises above what it was
  before the model was made, over five steps.  The engine's libraries are loaded before that.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import median_ms
from benchmarks.workloads import GEMMS, WORKLOADS

ROOT = Path(__file__).resolve().parent.parent
PRODUCTS = "BLAS"

_PEAK = """
import sys, importlib
sys.path.insert(0, sys.argv[1])
engine = importlib.import_module(sys.argv[2])
if engine.__name__ == "torch":
    engine.set_num_threads(int(sys.argv[4]))
else:
    import numba  # a library that gpugrad loads when it first needs it, PyTorch has all of its own
from benchmarks.workloads import WORKLOADS
def memory(key):
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(key)) / 1024
before = memory("VmRSS:")
step = WORKLOADS[sys.argv[3]](engine)
for _ in range(5):
    step()
print(memory("VmHWM:") - before)
"""


def peak_megabytes(engine: str, workload: str, threads: int) -> float:
    """Rise of resident memory in a process of its own."""
    command = [sys.executable, "-c", _PEAK, str(ROOT), engine, workload, str(threads)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def products(workload: str) -> Callable[[], None]:
    """The matrix products of a step, and nothing else."""
    random = np.random.default_rng(0)
    arrays: dict[tuple[int, int], Any] = {}

    def array(*shape: int) -> Any:
        if shape not in arrays:
            arrays[shape] = random.standard_normal(shape).astype(np.float32)
        return arrays[shape]

    work = []
    for m, k, n, times, wanted in GEMMS[workload]:
        left, right, out = array(m, k), array(k, n), array(m, n)
        work.append((left, right, times))
        if "l" in wanted:
            work.append((out, right.T, times))
        if "r" in wanted:
            work.append((left.T, out, times))

    def run() -> None:
        for a, b, times in work:
            for _ in range(times):
                np.matmul(a, b)

    return run


def _agree(workload: str, steps: dict[str, Callable[[], Any]]) -> None:
    losses = {name: [float(step().detach()) for _ in range(3)] for name, step in steps.items()}
    first = next(iter(losses.values()))
    for name, found in losses.items():
        if not np.allclose(first, found, rtol=1e-3):
            raise RuntimeError(f"{workload}: {name} has the losses {found}, gpugrad {first}")


def run(against: list[str], repeats: int, threads: int) -> list[dict[str, Any]]:
    """All rows of the suite; ``repeats`` seconds per workload."""
    names = ["gpugrad", *against]
    rows: list[dict[str, Any]] = []
    for workload, make in WORKLOADS.items():
        steps = {name: make(importlib.import_module(name)) for name in names}
        _agree(workload, steps)
        found = median_ms({**steps, PRODUCTS: products(workload)}, repeats)
        what = f"{workload}: ms a step"
        rows += [{"what": what, "engine": name, "value": ms} for name, ms in found.items()]
    if sys.platform == "linux":
        for workload in WORKLOADS:
            for name in names:
                value = peak_megabytes(name, workload, threads)
                rows.append({"what": f"{workload}: peak MB", "engine": name, "value": value})
    return rows
