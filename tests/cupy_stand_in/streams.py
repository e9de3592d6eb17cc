"""Streams and events: who is current, what was put in which queue, and rules about devices.

There is no queue of work, since everything is done at once: a stream's ``log`` is what tests read.
While ``STALLED`` is set, what is recorded counts as not reached until it is waited for.
"""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from typing import Any, Self

from cupy_stand_in.memory import DEVICES, CUDARuntimeError

_pointers = itertools.count(4096, 16)
STALLED: list[bool] = []
_streams: weakref.WeakValueDictionary[int, Stream] = weakref.WeakValueDictionary()


class _Current(threading.local):
    """The current stream of each device in each thread."""

    def __init__(self) -> None:
        self.streams: dict[int, Stream] = {}


class Event:
    """A mark in a stream, of the device that it was made on."""

    def __init__(self, block: bool = False, disable_timing: bool = False,
                 interprocess: bool = False) -> None:  # fmt: skip
        self._device, self._timing = DEVICES.current, not disable_timing
        self._time: float | None = None
        self._waiting = False

    def record(self, stream: Stream | None = None) -> None:
        stream = get_current_stream() if stream is None else stream
        if stream.device_id not in (-1, self._device):
            raise CUDARuntimeError("cudaErrorInvalidResourceHandle: event of another device")
        self._time, self._waiting = time.perf_counter(), bool(STALLED)
        stream.log.append(("record", self))

    @property
    def done(self) -> bool:
        return not self._waiting

    def synchronize(self) -> None:
        self._waiting = False


class Stream:
    """A stream of the device that is current when it is made."""

    null: Stream

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False,
                 priority: int | None = None) -> None:  # fmt: skip
        self.ptr = 0 if null else next(_pointers)
        self.device_id = -1 if null else DEVICES.current
        self.is_non_blocking, self.priority = non_blocking, max(-5, min(0, priority or 0))
        self.log: list[tuple[str, Any]] = []
        self.capturing = False
        _streams[self.ptr] = self

    def use(self) -> Self:
        if self.device_id not in (-1, DEVICES.current):
            raise RuntimeError("stream of another device than the current one")
        CURRENT.streams[DEVICES.current] = self
        return self

    def record(self, event: Event | None = None) -> Event:
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        self.log.append(("wait", event))

    def is_capturing(self) -> bool:
        """What a test set: nothing is recorded, calls that CUDA refuses meanwhile raise."""
        return self.capturing

    def synchronize(self) -> None:
        for _, event in self.log:
            event.synchronize()

    @property
    def done(self) -> bool:
        return all(event.done for kind, event in self.log if kind == "record")


CURRENT = _Current()
Stream.null = Stream(null=True)


def external_stream(ptr: int, device_id: int = -1) -> Stream:
    """The stream at an address."""
    return _streams[ptr]


def get_current_stream(device_id: int = -1) -> Stream:
    return CURRENT.streams.get(DEVICES.current if device_id == -1 else device_id, Stream.null)


def get_elapsed_time(start: Event, end: Event) -> float:
    if not (start._timing and end._timing) or start._time is None or end._time is None:
        raise CUDARuntimeError("cudaErrorInvalidResourceHandle: invalid resource handle")
    return (end._time - start._time) * 1000
