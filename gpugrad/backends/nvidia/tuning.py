"""Timing ways to do one thing on a device, and remembering on disk which was the fastest.

What is remembered holds for one version of a library on one kind of device, and both are part of
the name under which it is kept: another version finds nothing and times anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from gpugrad.backends.kept import Store

_STORE = Store("products", ".json")
#: Runs that are timed, after one that is not.
_RUNS = 5


class Choices:
    """Answers by key, each in a file of its own, so that processes never overwrite each other's.

    Args:
        library: name and version of the library.
        device: name of the kind of device.
    """

    def __init__(self, library: str, device: str) -> None:
        self._head = {"library": library, "device": device}

    def _name(self, key: str) -> str:
        text = json.dumps({**self._head, "key": key}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def get(self, key: str) -> str | None:
        """What was kept under a key, or None."""
        raw = _STORE.read(self._name(key))
        if raw is None:
            return None
        try:
            value = json.loads(raw)["answer"]
        except (ValueError, KeyError, TypeError):
            return None
        return value if isinstance(value, str) else None

    def put(self, key: str, answer: str) -> None:
        """Keep an answer, if the folder and the disk let us."""
        text = json.dumps({**self._head, "key": key, "answer": answer}, sort_keys=True, indent=1)
        _STORE.write(self._name(key), text.encode())


def timed(cupy: Any, run: Callable[[], object]) -> float:
    """Milliseconds of the fastest of a few runs on the current stream, after one for warmth."""
    run()
    marks = []
    for _ in range(_RUNS):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        run()
        end.record()
        marks.append((start, end))
    marks[-1][1].synchronize()
    return float(min(cupy.cuda.get_elapsed_time(*pair) for pair in marks))
