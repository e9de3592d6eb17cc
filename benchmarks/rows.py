"""Rows of a table, and how one is measured: the same for every device and engine.

A row is made by a function of an engine and a seed, which gives a ``Work``.  Every engine gets the
same numbers; the first results must agree.  What an engine cannot do is a cell that says why.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import timing
from benchmarks.engines import Engine, Jax

#: How far the results of engines may be apart, relative to the largest element.
AGREE = {"float32": 1e-3, "bfloat16": 3e-2}


@dataclass(frozen=True)
class Work:
    """What is timed.

    Attributes:
        call: does the work once; the result is compared.
        size: bytes of the inputs.  Copies of the work take turns until their inputs are twice the
            size of the cache; 0 for a training step, which has one set of weights.
    """

    call: Callable[[], Any]
    size: int = 0


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        what: its name.
        make: the work for an engine and a seed.
        jax: the same for JAX, where there is a form of it.
        moved: the least bytes to read and write, each pass counted once; 0 if memory is no limit.
        dtype: of the data; decides how close results must be.
    """

    what: str
    make: Callable[[Any, int], Work]
    jax: Callable[[Any, int], Work] | None = None
    moved: int = 0
    dtype: str = "float32"


def record(what: str, engine: str, value: float | None = None, **more: Any) -> dict[str, Any]:
    """A cell as it is written to JSON: a value, or why there is none."""
    return {"what": what, "engine": engine, "value": value, **more}


def why(error: BaseException) -> str:
    """An exception in one line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def works(row: Row, engine: Engine | Jax, cache: int) -> list[Work]:
    """The work, as often as it takes to be larger than the cache."""
    make = row.jax if isinstance(engine, Jax) else row.make
    assert make is not None
    first = make(engine, 0)
    copies = min(16, math.ceil(2 * cache / first.size)) if first.size else 1
    return [first, *(make(engine, seed) for seed in range(1, copies))]


def measure(row: Row, engines: Iterable[Engine | Jax], seconds: float, cache: int = 0,
            copied: float = 0.0) -> list[dict[str, Any]]:  # fmt: skip
    """The cells of a row, in ms.

    Args:
        row: what to measure.
        engines: gpugrad first.
        seconds: how long to measure, all engines together.
        cache: bytes; see ``Work.size``.
        copied: bytes per ms of a copy in the same run, for the column ``copy``.
    """
    what, cells = f"{row.what}: ms", []
    ready: dict[str, Callable[[], Any]] = {}
    samples: dict[str, np.ndarray[Any, Any]] = {}
    clocks: dict[str, timing.Clock] = {}
    for engine in engines:
        if isinstance(engine, Jax) and row.jax is None:
            cells.append(record(what, engine.name, missing="this row has no form in JAX"))
            continue
        try:
            made = works(row, engine, cache)
            samples[engine.name] = engine.sample(made[0].call())
        except Exception as error:  # one row of one engine; the table says so
            cells.append(record(what, engine.name, failed=why(error)))
            continue
        ready[engine.name] = timing.in_turn([w.call for w in made])
        clocks[engine.name] = engine.milliseconds
        device = engine.device
    for name, far in apart(samples).items():
        if far > AGREE[row.dtype]:
            text = f"results are {far:.2g} of the largest element away from those of the others"
            cells.append(record(what, name, failed=text))
            del ready[name]
    if ready:
        turn = timing.TURN if device == "cuda" else 0.0
        found = timing.median_ms(ready, seconds, clocks=clocks, turn=turn)
        cells += [record(what, name, ms) for name, ms in found.items()]
        if row.moved and copied:
            cells.append(record(what, "copy", row.moved / copied, roof=True, bytes=row.moved))
    del ready
    made = []
    gc.collect()
    for engine in engines:
        engine.forget()
    return cells


def apart(samples: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, float]:
    """How far each engine's result is from the median of all, relative to the largest element.

    With two engines both are equally far: then it is the first, ours, that is told.
    """
    if len(samples) < 2:
        return {}
    names = list(samples)
    middle = samples[names[1]] if len(names) == 2 else np.median(list(samples.values()), axis=0)
    scale = float(np.abs(middle).max()) or 1.0
    asked = names[:1] if len(names) == 2 else names
    far = {n: float(np.abs(samples[n] - middle).max()) / scale for n in asked}
    return {n: math.inf if math.isnan(f) else f for n, f in far.items()}
