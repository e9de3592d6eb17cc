"""Ending a run between two steps when it is asked to, so that what was learnt can be saved."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interruptible:
    """Inside the ``with`` block Ctrl-C and SIGTERM are noted instead of raised.

    The loop asks ``stop()`` between steps.  Saving belongs inside the block, too: a second Ctrl-C
    then cannot tear it.

    Attributes:
        signal: number of the first signal that came, or 0.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    def stop(self) -> bool:
        """Whether it is time to stop."""
        return self.signal != 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        for number, handler in self._before.items():
            signal.signal(number, handler)
