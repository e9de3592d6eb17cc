"""Streams and events of CUDA devices.

Work given to one stream is done in order; streams do not wait for each other unless told to, by an
event.  Memory freed on one stream is reused by work on that stream: tell it of other streams that
use a tensor by ``Tensor.record_stream``, or keep the tensor alive until they are done with it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from gpugrad import backends
from gpugrad.cuda.devices import current_device, ordinal
from gpugrad.devices import Device
from gpugrad.errors import ArgumentError, AutogradError, NotSupportedError


class Stream:
    """A queue of work on one device, not synchronised with the default stream.

    Args:
        device: where it is; the current one by default.
        priority: a lower number goes first; out of range means the nearest possible.

    Raises:
        DeviceError: without CUDA.
    """

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        backend = backends.cuda()
        index = ordinal(device)
        with backend.on(Device("cuda", index)):
            raw = backend.library.cuda.Stream(non_blocking=True, priority=priority)
        self._set(raw, index)

    def _set(self, raw: Any, index: int) -> None:
        self._raw, self.device = raw, Device("cuda", index)
        self._entered: list[StreamContext] = []

    @classmethod
    def _of(cls, raw: Any, index: int) -> Stream:
        made = object.__new__(cls)
        made._set(raw, index)
        return made

    @property
    def device_index(self) -> int:
        """Ordinal of the device."""
        index = self.device.index
        assert index is not None
        return index

    @property
    def cuda_stream(self) -> int:
        """Address of the ``cudaStream_t``; 0 for the default stream."""
        return int(self._raw.ptr)

    @property
    def priority(self) -> int:
        """Its priority as the driver has it."""
        return int(self._raw.priority)

    def query(self) -> bool:
        """Whether all its work is done."""
        return bool(self._raw.done)

    def synchronize(self) -> None:
        """Wait on the host until all its work is done."""
        self._raw.synchronize()

    def record_event(self, event: Event | None = None) -> Event:
        """Put an event (a new one by default) behind the work so far; return it."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Let work that is given from now on wait for an event."""
        event.wait(self)

    def wait_stream(self, stream: Stream) -> None:
        """Let work that is given from now on wait for another stream's work so far."""
        self.wait_event(stream.record_event())

    def __enter__(self) -> Self:
        self._entered.append(StreamContext(self))
        self._entered[-1].__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self._entered.pop().__exit__(kind, error, trace)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stream):
            return NotImplemented
        return (self.device, self.cuda_stream) == (other.device, other.cuda_stream)

    def __hash__(self) -> int:
        return hash((self.device, self.cuda_stream))

    def __repr__(self) -> str:
        return f"<gpugrad.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"


class Event:
    """A mark in a stream, to wait for and to measure time between.

    Args:
        enable_timing: whether ``elapsed_time`` may be asked for.
        blocking: ``synchronize`` sleeps instead of spinning.
        interprocess: not supported.
        external: not supported.

    Raises:
        DeviceError: without CUDA.
    """

    def __init__(self, enable_timing: bool = False, blocking: bool = False,
                 interprocess: bool = False, external: bool = False) -> None:  # fmt: skip
        if interprocess or external:
            name = "interprocess" if interprocess else "external"
            raise NotSupportedError(f"Event: {name}=True is not supported; leave it away")
        backends.cuda()
        self._timing, self._blocking = enable_timing, blocking
        #: Made when first recorded, as it belongs to one device.
        self._raw: Any = None

    def record(self, stream: Stream | None = None) -> None:
        """Put it behind the work that a stream (the current one by default) has so far."""
        stream = current_stream() if stream is None else stream
        backend = backends.cuda()
        with backend.on(stream.device):
            if self._raw is None:
                self._raw = backend.library.cuda.Event(
                    block=self._blocking, disable_timing=not self._timing
                )
            self._raw.record(stream._raw)

    def wait(self, stream: Stream | None = None) -> None:
        """Let a stream's future work wait for it; nothing happens if it was never recorded."""
        if self._raw is not None:
            (current_stream() if stream is None else stream)._raw.wait_event(self._raw)

    def query(self) -> bool:
        """Whether all work in front of it is done (True if it was never recorded)."""
        return self._raw is None or bool(self._raw.done)

    def synchronize(self) -> None:
        """Wait on the host until all work in front of it is done."""
        if self._raw is not None:
            self._raw.synchronize()

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to a later one, about half a microsecond exact.

        Raises:
            ArgumentError: if one was made without ``enable_timing=True``.
            AutogradError: if one was not recorded, or the device has not reached it yet.
        """
        if not (self._timing and end_event._timing):
            raise ArgumentError("elapsed_time: both events must be created with enable_timing=True")
        if self._raw is None or end_event._raw is None:
            raise AutogradError("elapsed_time: both events must be recorded first")
        if not (self.query() and end_event.query()):
            raise AutogradError(
                "elapsed_time: the device has not reached both events; synchronize() first"
            )
        return float(backends.cuda().library.cuda.get_elapsed_time(self._raw, end_event._raw))

    def __repr__(self) -> str:
        state = "not recorded" if self._raw is None else "recorded"
        return f"<gpugrad.cuda.Event {state}>"


class StreamContext:
    """Inside, work goes to a stream, and its device is current; None changes nothing."""

    def __init__(self, stream: Stream | None) -> None:
        if stream is not None and not isinstance(stream, Stream):
            raise ArgumentError(
                f"stream: must be a gpugrad.cuda.Stream or None, got {type(stream).__name__}"
            )
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            self._device = current_device()
            self._before = current_stream(self.stream.device)
            set_stream(self.stream)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        if self.stream is not None:
            set_stream(self._before)
            backends.cuda().make_current(self._device)


def stream(stream: Stream | None) -> StreamContext:
    """``with stream(s):`` gives work to ``s``."""
    return StreamContext(stream)


def set_stream(stream: Stream | None) -> None:
    """Make a stream, and its device, current for this thread; None changes nothing."""
    if stream is not None:
        backends.cuda().make_current(stream.device_index)
        stream._raw.use()


def current_stream(device: Any = None) -> Stream:
    """The stream that gets this thread's work on a device."""
    index = ordinal(device)
    return Stream._of(backends.cuda().library.cuda.get_current_stream(index), index)


def default_stream(device: Any = None) -> Stream:
    """The stream of a device that gets work if no other was chosen."""
    index = ordinal(device)
    return Stream._of(backends.cuda().library.cuda.Stream.null, index)
