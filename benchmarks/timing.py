"""Measuring engines side by side: they take turns, so that a slow minute hits each alike."""

from __future__ import annotations

import gc
import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: ``clock(call, times)`` is the milliseconds of one call among ``times`` in a row.
Clock = Callable[[Callable[[], Any], int], float]
#: A GPU's turn lasts at least this many milliseconds, so that its queue does not run dry.
TURN = 10.0


def once(call: Callable[[], Any], times: int) -> float:
    """The host's clock."""
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) * 1e3 / times


def median_ms(calls: Mapping[str, Callable[[], Any]], seconds: float, warm_up: int = 3,
              clocks: Mapping[str, Clock] | None = None,
              turn: float = 0.0) -> dict[str, float]:  # fmt: skip
    """Median milliseconds of each call, over as many rounds as fit into ``seconds`` (at least 7).

    A round is one turn of every call: as many calls in a row as take ``turn`` milliseconds, at
    least one.  ``clocks`` are by the names of the calls, the host's where there is none.  Python's
    cyclic collector runs between rounds and not within them.
    """
    clock = dict.fromkeys(calls, once) | {k: v for k, v in (clocks or {}).items() if k in calls}
    times = dict.fromkeys(calls, 1)
    for name, call in calls.items():
        for _ in range(warm_up):
            taken = clock[name](call, 1)
            times[name] = max(1, min(1000, math.ceil(turn / max(taken, 1e-6))))
    found: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    gc.disable()
    try:
        while time.perf_counter() < end or len(next(iter(found.values()))) < 7:
            for name, call in calls.items():
                found[name].append(clock[name](call, times[name]))
            gc.collect(0)
    finally:
        gc.enable()
    return {name: statistics.median(t) for name, t in found.items()}


def in_turn(calls: Sequence[Callable[[], Any]]) -> Callable[[], Any]:
    """The next of several equal calls each time, so that none finds its data in a cache."""
    if len(calls) == 1:
        return calls[0]
    turns = itertools.cycle(calls)
    return lambda: next(turns)()
