"""Times on a CUDA device, by its own clock."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

#: Launches of which the median is the time of a kernel.
REPEATS = 11


def median(cupy: Any, launch: Callable[..., None], args: tuple[Any, ...], times: int = 0) -> float:
    """Seconds that a launch takes on the device, the median of several (``REPEATS``)."""
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    found: list[float] = []
    for _ in range(times or REPEATS):
        start.record()
        launch(*args)
        end.record()
        end.synchronize()
        found.append(float(cupy.cuda.get_elapsed_time(start, end)) / 1e3)
    return statistics.median(found)


def copy_bandwidth(cupy: Any) -> float:
    """Bytes per second of a copy on the current device, those read and those written."""
    free, _ = cupy.cuda.runtime.memGetInfo()
    size = min(1 << 29, max(int(free) // 4, 1 << 20))
    source = cupy.zeros(size, np.uint8)
    target = cupy.zeros(size, np.uint8)
    return 2 * size / median(cupy, cupy.copyto, (target, source))
