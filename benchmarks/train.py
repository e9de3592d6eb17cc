"""Suite ``train``: whole training steps (forward, backward, update).

- ms a step: engines take turns in one process, with the same numbers and the same number of
  threads; medians, after a warm-up; the losses of all engines must agree.
- s to the first step: what making the model and one step took, with whatever the caches on disk
  held of compiled kernels (empty ``GPUGRAD_CACHE_DIR`` and ``TORCHINDUCTOR_CACHE_DIR`` for a cold
  start).
- The column "BLAS" is the roof: the matrix products of the step by NumPy's BLAS, or cuBLAS
  through CuPy, in the same run.  (PyTorch may go below it: its convolutions save multiplications.)
- peak MB: on the CPU how far the resident memory of a fresh process with one engine rises above
  what it was before the model was made, over five steps; the engine's libraries are loaded before
  that.  On a GPU the most that the engine's tensors held, over three steps.
"""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import timing
from benchmarks.engines import Engine, Jax
from benchmarks.rows import AGREE, apart, record, why
from benchmarks.workloads import GEMMS, WORKLOADS, Workload

ROOT = Path(__file__).resolve().parent.parent
PRODUCTS = "BLAS"

_PEAK = """
import sys
sys.path.insert(0, sys.argv[1])
from benchmarks import engines, workloads
engine = engines.Engine(sys.argv[2], "cpu")
if engine.name != "gpugrad":
    engine.torch.set_num_threads(int(sys.argv[4]))
else:
    import numba  # a library that gpugrad loads when it first needs it, PyTorch has all of its own
def memory(key):
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(key)) / 1024
engines.normal((1,), 0)  # the numbers that the data are taken from
before = memory("VmRSS:")
step = workloads.WORKLOADS[sys.argv[3]].make(engine)
for _ in range(5):
    step()
print(memory("VmHWM:") - before)
"""


def peak_megabytes(engine: str, workload: str, threads: int) -> float:
    """Rise of resident memory in a process of its own."""
    command = [sys.executable, "-c", _PEAK, str(ROOT), engine, workload, str(threads)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def products(workload: str, device: str) -> Callable[[], None]:
    """The matrix products of a step, and nothing else."""
    xp: Any = np if device == "cpu" else importlib.import_module("cupy")
    dtype = importlib.import_module("gpugrad").dtypes.as_dtype(WORKLOADS[workload].dtype).np
    random = np.random.default_rng(0)
    arrays: dict[tuple[int, ...], Any] = {}

    def array(*shape: int) -> Any:
        if shape not in arrays:
            arrays[shape] = xp.asarray(random.standard_normal(shape, np.float32)).astype(dtype)
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
                xp.matmul(a, b)

    return run


def _step(work: Workload, engine: Engine | Jax) -> Callable[[], Any]:
    if isinstance(engine, Jax):
        assert work.jax is not None
        call: Callable[[], Any] = work.jax(engine, 0).call
        return call
    return work.make(engine)


def row(name: str, engines: list[Engine | Jax], seconds: float) -> list[dict[str, Any]]:
    """The cells of one workload."""
    work, what = WORKLOADS[name], f"{name}: ms a step"
    cells: list[dict[str, Any]] = []
    steps: dict[str, Callable[[], Any]] = {}
    losses, firsts, peaks = {}, {}, {}
    for engine in engines:
        if isinstance(engine, Jax) and work.jax is None:
            cells.append(record(what, engine.name, missing="this row has no form in JAX"))
            continue
        on_gpu = isinstance(engine, Engine) and engine.cuda
        try:
            before = engine.held() if on_gpu else 0  # type: ignore[union-attr]
            start = time.perf_counter()
            step = _step(work, engine)
            found = [engine.sample(step())]
            firsts[engine.name] = time.perf_counter() - start
            found += [engine.sample(step()) for _ in range(2)]
            losses[engine.name] = np.concatenate(found)
            if on_gpu:
                peaks[engine.name] = (engine.peak() - before) / 1e6  # type: ignore[union-attr]
            steps[engine.name] = step
        except Exception as error:  # one row of one engine; the table says so
            cells.append(record(what, engine.name, failed=why(error)))
    for engine_name in disagreeing(losses, AGREE[work.dtype]):
        text = f"the losses {losses[engine_name]} are not those of the others"
        cells.append(record(what, engine_name, failed=text))
        del steps[engine_name]
    if steps:
        cells += _timed(name, engines, steps, seconds)
    cells += [record(f"{name}: s to the first step", k, v) for k, v in firsts.items()]
    cells += [record(f"{name}: peak MB", k, v) for k, v in peaks.items()]
    steps.clear()
    gc.collect()
    for engine in engines:
        engine.forget()
    return cells


def disagreeing(losses: dict[str, np.ndarray[Any, Any]], allowed: float) -> list[str]:
    """The engines whose first loss is off, or whose later ones are off by ten times as much.

    Roundings grow from step to step, in a net with batch norms a hundredfold.
    """
    first = apart({k: v[:1] for k, v in losses.items()})
    later = apart(losses)
    return [k for k in first if not (first[k] <= allowed and later[k] <= 10 * allowed)]


def _timed(name: str, engines: list[Engine | Jax], steps: dict[str, Callable[[], Any]],
           seconds: float) -> list[dict[str, Any]]:  # fmt: skip
    work, what, device = WORKLOADS[name], f"{name}: ms a step", engines[0].device
    calls = dict(steps)
    if name in GEMMS:
        calls[PRODUCTS] = products(name, device)
    clocks = {e.name: e.milliseconds for e in engines}
    clocks[PRODUCTS] = engines[0].milliseconds
    turn = timing.TURN if device == "cuda" else 0.0
    found = timing.median_ms(calls, seconds, clocks=clocks, turn=turn)
    count, unit = work.items
    cells = []
    for engine, ms in found.items():
        speed = {f"{unit}_per_second": count / ms * 1e3} if count else {}
        roof = {"roof": True} if engine == PRODUCTS else speed
        cells.append(record(what, engine, ms, **roof))
    return cells


def run(engines: list[Engine | Jax], repeats: int, threads: int) -> list[dict[str, Any]]:
    """All rows of the suite; ``repeats`` seconds per workload."""
    device = engines[0].device
    chosen = [name for name, work in WORKLOADS.items() if device in work.devices]
    cells: list[dict[str, Any]] = []
    for name in WORKLOADS:
        if name in chosen:
            cells += row(name, engines, repeats)
        else:
            text = "only on a GPU: a step would take minutes"
            cells.append(record(f"{name}: ms a step", "gpugrad", missing=text))
    if sys.platform == "linux" and device == "cpu":
        for name in chosen:
            for engine in engines:
                if engine.name in ("gpugrad", "torch"):
                    value = peak_megabytes(engine.name, name, threads)
                    cells.append(record(f"{name}: peak MB", engine.name, value))
    return cells
