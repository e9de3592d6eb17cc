"""Measuring engines side by side: they take turns, so that a slow minute hits each alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any


def median_ms(calls: dict[str, Callable[[], Any]], seconds: float,
              warm_up: int = 3) -> dict[str, float]:  # fmt: skip
    """Median milliseconds of each call, over as many rounds as fit into ``seconds`` (at least 7).

    Python's cyclic collector runs between rounds and not within them.
    """
    for call in calls.values():
        for _ in range(warm_up):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    gc.disable()
    try:
        while time.perf_counter() < end or len(next(iter(times.values()))) < 7:
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
            gc.collect(0)
    finally:
        gc.enable()
    return {name: statistics.median(t) * 1e3 for name, t in times.items()}
