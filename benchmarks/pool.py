"""Suite ``pool``: what memory costs, from the pool, from NumPy and from the peers.

- us to take a block and give it back, on the host, with nothing behind the pool;
- us to make a large array and drop it, unwritten, on the host's clock on a GPU, too;
- us of an addition among several whose results are all alive before they are dropped, as in a
  training step: fresh memory is found, cleared and mapped by the kernel page by page while it is
  written.  How often that is so depends on what the C library learnt from earlier frees; so these
  rows come first, small sizes first.

A number is the median of rounds in which all engines take turns.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.engines import Engine, Jax
from benchmarks.rows import record
from benchmarks.timing import TURN, median_ms
from gpugrad.backends.memory import Pool, host

F32 = np.dtype(np.float32)
MIB = 1 << 20
#: Blocks taken and given back in one timed call.
BATCH = 1000


class Nothing:
    """Stands for a driver's memory."""

    _next = itertools.count(1 << 20, 1 << 32)

    def __init__(self, size: int) -> None:
        self.ptr = next(self._next)


def taking(sizes: list[int]) -> Callable[[], None]:
    """Take and give back ``BATCH`` blocks of these sizes, one after the other."""
    pool = Pool(Nothing, lambda memory: None)
    malloc, free = pool.malloc, pool.free
    turns = (sizes * BATCH)[:BATCH]

    def run() -> None:
        for size in turns:
            free(malloc(size))

    return run


def added(elements: int, count: int, engines: list[Engine]) -> dict[str, Callable[[], Any]]:
    """Additions that are all kept until the last is done, by engine."""
    a = np.ones(elements, F32)

    def pooled() -> None:
        kept = [a]
        for _ in range(count):
            kept.append(np.add(kept[-1], a, out=host.empty((elements,), F32)))

    def fresh(x: Any) -> None:
        kept = [x]
        for _ in range(count):
            kept.append(kept[-1] + x)

    calls: dict[str, Callable[[], Any]] = {
        e.name: partial(fresh, e.torch.ones(elements, device=e.device)) for e in engines
    }
    # On the CPU, memory alone: NumPy's loop over memory of the pool, and over fresh memory.
    return calls if engines[0].cuda else {**calls, "gpugrad": pooled, "numpy": lambda: fresh(a)}


def run(engines: list[Engine | Jax], repeats: int, threads: int) -> list[dict[str, Any]]:
    """All rows; ``repeats`` is seconds per row."""
    rows = []
    eager = [e for e in engines if isinstance(e, Engine) and e.name != "torch.compile"]
    cuda = eager[0].cuda

    def row(what: str, calls: dict[str, Callable[[], Any]], scale: float = 1,
            clocks: Any = None) -> None:  # fmt: skip
        turn = TURN if clocks else 0.0
        for engine, ms in median_ms(calls, repeats, clocks=clocks, turn=turn).items():
            rows.append(record(what, engine, ms * scale))

    events = {e.name: e.milliseconds for e in eager} if cuda else None
    for size, count in ((0.25, 40), (1, 40), (4, 20), (16, 10), (64, 3)):
        calls = added(int(size * MIB) // 4, count, eager)
        row(f"us of {count} additions of {size} MiB", calls, 1000 / count, events)
    per_block = 1000 / BATCH
    row("us to take and give back: one size", {"gpugrad": taking([4096])}, per_block)
    many = [700 * n * n for n in range(1, 65)]
    row("us to take and give back: 64 sizes", {"gpugrad": taking(many)}, per_block)
    made: dict[str, Callable[[], Any]] = {
        e.name: partial(e.torch.empty, 4 * MIB, device=e.device) for e in eager
    }
    if not cuda:
        made["gpugrad"] = lambda: host.empty((4 * MIB,), F32)
        made["numpy"] = lambda: np.empty((4 * MIB,), F32)
    row("us for an empty array of 16 MiB", made, 1000)
    left_out = [e.name for e in engines if e not in eager]
    rows += [
        record(rows[0]["what"], name, missing="it takes no memory by itself") for name in left_out
    ]
    return rows
