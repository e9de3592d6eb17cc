"""A profiler: which ops ran, forward and backward, how often, how long, and what they allocated.

It is a recorder of this thread's ops.  An op's time is that of computing its arrays and putting it
on the tape.  A hook on each node that is made tells when its rule runs backward, so every node of
the graph is seen twice: as an op, and as ``...Backward0``.
"""

from __future__ import annotations

import functools
import os
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from gpugrad import backends
from gpugrad.autograd.profiler_util import EventList, FunctionEvent, FunctionEventAvg
from gpugrad.errors import AutogradError, DeviceError, NotSupportedError
from gpugrad.modes import modes, recording
from gpugrad.storage import caller_site

__all__ = ["EventList", "FunctionEvent", "FunctionEventAvg", "profile", "record_function"]

_now = time.perf_counter_ns


class _Running(threading.local):
    """The profile that is on in this thread."""

    profile: profile | None = None


_running = _Running()


class profile(AbstractContextManager["profile"]):
    """Measure what this thread computes inside a ``with`` block.

    Args:
        enabled: False makes the block do nothing.
        use_cuda, use_device: device times are not measured: refused where there is a CUDA device,
            and a warning where there is none, as in PyTorch.
        record_shapes: note the shapes of every op's inputs.
        profile_memory: show what each op allocated in tables (it is always noted).
        with_stack: note the user's line of every op.
        with_flops, with_modules: not supported.

    Raises:
        NotSupportedError: for what is not supported.
        AutogradError: on entering while another profile is on in this thread.
    """

    def __init__(self, enabled: bool = True, *, use_cuda: bool = False,
                 use_device: str | None = None, record_shapes: bool = False,
                 with_flops: bool = False, profile_memory: bool = False, with_stack: bool = False,
                 with_modules: bool = False) -> None:  # fmt: skip
        for name, value in (("with_flops", with_flops), ("with_modules", with_modules)):
            if value:
                raise NotSupportedError(f"profile: {name}=True is not supported; leave it away")
        if enabled and (use_cuda or use_device):
            _check_device(use_device or "cuda")
        self._enabled = enabled
        self._shapes, self._memory, self._sites = record_shapes, profile_memory, with_stack
        #: Every event so far, in the order in which they began.
        self.function_events = EventList(memory=profile_memory)
        self._open: list[FunctionEvent] = []
        self._began = self._started = 0
        self._recording = recording(self)

    # ---- on and off ----------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._enabled:
            if _running.profile is not None:
                raise AutogradError("profile: another profile is on in this thread already")
            _running.profile = self
            self._recording.__enter__()
            modes.clock = self._clock
            self._began = self._began or _now()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        if self._enabled and _running.profile is self:
            modes.clock = None
            self._recording.__exit__(kind, error, trace)
            _running.profile = None
            while self._open:
                self._end(self._open[-1])

    # ---- events --------------------------------------------------------------------------------

    def _clock(self) -> None:
        self._started = _now()

    def _begin(self, name: str, category: str, start: int) -> FunctionEvent:
        event = FunctionEvent(name, category, start - self._began, thread=threading.get_ident())
        self.function_events.append(event)
        self._open.append(event)
        return event

    def _end(self, event: FunctionEvent) -> None:
        """Close an event, with whatever was left open inside by an exception."""
        if event not in self._open:
            return
        end = _now() - self._began
        while self._open:
            last = self._open.pop()
            last.end = end
            if self._open:
                self._open[-1].inside += last.end - last.start
                self._open[-1].memory_inside += last.cpu_memory_usage
            if last is event:
                return

    def record(self, op: Any, inputs: tuple[Any, ...], settings: dict[str, Any],
               outputs: tuple[Any, ...]) -> None:  # fmt: skip
        """Take note of one executed op (see ``modes.Recorder``)."""
        event = self._begin(op.name, "op", self._started)
        if not op.view:
            event.memory = sum(t.nbytes for t in outputs)
        if self._shapes:
            event.input_shapes = [list(getattr(a, "shape", ())) for a in inputs]
        if self._sites:
            event.site = caller_site()
        node = next((t._node for t in outputs if t._node is not None), None)
        if node is not None and hasattr(node, "register_prehook"):
            self._watch(node, event)
        self._end(event)

    def _watch(self, node: Any, forward: FunctionEvent) -> None:
        """Let a node tell when its rule runs."""
        name, rule = node.name(), []

        def before(g: Any) -> None:
            if _running.profile is self:
                event = self._begin(name, "backward", _now())
                event.site = forward.site
                if self._shapes:
                    event.input_shapes = [list(x.shape) for x in g if x is not None]
                rule.append(event)

        def after(made: Any, g: Any) -> None:
            if rule:
                event = rule.pop()
                if not event.memory_inside:  # else the ops inside have counted theirs
                    event.memory = sum(_fresh(x, g) for x in made if x is not None)
                self._end(event)

        node.register_prehook(before)
        node.register_hook(after)

    # ---- reports -------------------------------------------------------------------------------

    def key_averages(self, group_by_input_shape: bool = False,
                     group_by_stack_n: int = 0) -> EventList:  # fmt: skip
        """One average per name (see ``EventList``)."""
        return self.function_events.key_averages(group_by_input_shape, group_by_stack_n)

    def total_average(self) -> FunctionEventAvg:
        """All events in one."""
        return self.function_events.total_average()

    def table(self, *args: Any, **kwargs: Any) -> str:
        """Every event in a row (see ``EventList.table``)."""
        return self.function_events.table(*args, **kwargs)

    def export_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write the events for ``chrome://tracing`` and Perfetto."""
        self.function_events.export_chrome_trace(path)

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds in all events, each counted once."""
        return self.function_events.self_cpu_time_total

    def __repr__(self) -> str:
        return f"<gpugrad profile of {len(self.function_events)} events>"

    def __str__(self) -> str:
        return str(self.function_events)


def _fresh(made: Any, given: tuple[Any, ...]) -> int:
    """Bytes of a gradient, 0 if it lies in the memory of one that the rule was given."""
    array = made._array
    library = backends.for_array(array)
    old = (g._array for g in given if g is not None)
    return 0 if any(library.may_share_memory(array, g) for g in old) else int(made.nbytes)


def _check_device(device: str) -> None:
    """Warn that device times were asked for where there is no device; refuse where there is one."""
    try:
        backends.cuda()
    except DeviceError:
        text = f"{device.upper()} is not available, so only the CPU is profiled"
        warnings.warn(text, stacklevel=3)
    else:
        raise NotSupportedError(
            "profile: times on a device are not measured; measure them with cuda.Event, or "
            "profile the CPU alone"
        )


class record_function(AbstractContextManager["record_function"]):
    """Name a stretch of the program in profiles: ``with record_function("step"):``.

    Also a decorator.  Costs next to nothing while no profile is on.
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name, self.args = name, args
        self._events: list[tuple[profile, FunctionEvent] | None] = []

    def __enter__(self) -> Self:
        on = _running.profile
        shown = self.name if self.args is None else f"{self.name}({self.args})"
        self._events.append(None if on is None else (on, on._begin(shown, "user", _now())))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        opened = self._events.pop()
        if opened is not None:
            opened[0]._end(opened[1])

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name, self.args):
                return fn(*args, **kwargs)

        return inside
