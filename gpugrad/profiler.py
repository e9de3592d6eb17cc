"""``torch.profiler``: the profiler of ``autograd.profiler`` with a schedule over steps."""

from __future__ import annotations

import enum
import os
import socket
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from gpugrad.autograd import profiler
from gpugrad.autograd.profiler import record_function as record_function
from gpugrad.autograd.profiler_util import EventList
from gpugrad.errors import ArgumentError, AutogradError, SettingError

__all__ = ["ProfilerAction", "ProfilerActivity", "profile", "record_function", "schedule",
           "tensorboard_trace_handler"]  # fmt: skip


class ProfilerActivity(enum.Enum):
    """What to measure: only ``CPU`` is."""

    CPU = 0
    CUDA = 2


class ProfilerAction(enum.Enum):
    """What to do in a step.  ``WARMUP`` is as ``NONE``: there is nothing to warm up."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


def schedule(*, wait: int, warmup: int, active: int, repeat: int = 0,
             skip_first: int = 0,
             skip_first_wait: int = 0) -> Callable[[int], ProfilerAction]:  # fmt: skip
    """Cycles of steps: ``wait`` without, ``warmup``, then ``active`` recorded ones.

    Args:
        wait, warmup, active: steps of each kind.
        repeat: cycles; 0 means on and on.
        skip_first: steps before the first cycle.
        skip_first_wait: if not 0, the first cycle has no ``wait``.
    """
    if min(wait, warmup, repeat, skip_first) < 0 or active < 1:
        raise SettingError(
            "schedule: numbers of steps cannot be negative, and active is at least 1"
        )
    length = wait + warmup + active

    def action(step: int) -> ProfilerAction:
        step -= skip_first
        if skip_first_wait and step >= 0:
            step += wait
        if step < 0 or (repeat and step >= repeat * length):
            return ProfilerAction.NONE
        place = step % length
        if place < wait:
            return ProfilerAction.NONE
        if place < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if place < length - 1 else ProfilerAction.RECORD_AND_SAVE

    return action


def tensorboard_trace_handler(dir_name: str, worker_name: str | None = None,
                              use_gzip: bool = False) -> Callable[[profile], None]:  # fmt: skip
    """For ``on_trace_ready``: write a trace file per cycle into a folder.

    Raises:
        SettingError: for ``use_gzip``, which is not supported.
    """
    if use_gzip:
        raise SettingError("tensorboard_trace_handler: use_gzip=True is not supported")
    worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"

    def write(finished: profile) -> None:
        os.makedirs(dir_name, exist_ok=True)
        path = os.path.join(dir_name, f"{worker}.{time.time_ns()}.pt.trace.json")
        finished.export_chrome_trace(path)

    return write


class profile:
    """Measure what this thread computes, in every step or in those that a schedule chooses.

    Args:
        activities: ``ProfilerActivity``; all of the CPU's by default.
        schedule: says what to do in each step, counted by ``step()``; by default the whole
            block is recorded.
        on_trace_ready: called with the profile when a cycle, or the block, ends.
        record_shapes, profile_memory, with_stack, with_flops, with_modules: see
            ``autograd.profiler.profile``.
        use_cuda: PyTorch's older way to name ``ProfilerActivity.CUDA``.

    Raises:
        ArgumentError: if ``activities`` holds something else.
    """

    def __init__(self, *, activities: Iterable[ProfilerActivity] | None = None,
                 schedule: Callable[[int], ProfilerAction] | None = None,
                 on_trace_ready: Callable[[profile], Any] | None = None,
                 record_shapes: bool = False, profile_memory: bool = False,
                 with_stack: bool = False, with_flops: bool = False,
                 with_modules: bool = False, use_cuda: bool | None = None) -> None:  # fmt: skip
        chosen = [ProfilerActivity.CPU] if activities is None else list(activities)
        for activity in chosen:
            if not isinstance(activity, ProfilerActivity):
                raise ArgumentError(
                    f"profile: activities must be ProfilerActivity.CPU or .CUDA, got {activity!r}"
                )
        self._settings: dict[str, Any] = {
            "record_shapes": record_shapes, "profile_memory": profile_memory,
            "with_stack": with_stack, "with_flops": with_flops, "with_modules": with_modules,
        }  # fmt: skip
        cuda = ProfilerActivity.CUDA in chosen or bool(use_cuda)
        profiler.profile(use_cuda=cuda, **self._settings)  # says at once what it cannot do
        self._enabled = ProfilerActivity.CPU in chosen
        self._schedule, self._ready = schedule, on_trace_ready
        self.step_num = 0
        self._inner: profiler.profile | None = None
        self._on = False

    def _action(self) -> ProfilerAction:
        if self._schedule is None:
            return ProfilerAction.RECORD
        return self._schedule(self.step_num)

    def start(self) -> None:
        """Begin with the first step."""
        self._follow(self._action())

    def stop(self) -> None:
        """End, and hand over what was recorded since the last cycle."""
        self._close()

    def step(self) -> None:
        """Say that the next step begins."""
        done = self._action()
        if done is ProfilerAction.RECORD_AND_SAVE:
            self._close()
        self.step_num += 1
        self._follow(self._action())

    def _follow(self, action: ProfilerAction) -> None:
        wanted = action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
        if wanted and not self._on:
            self._inner = profiler.profile(self._enabled, **self._settings)
            self._inner.__enter__()
            self._on = True
        elif self._on and not wanted:
            self._close()

    def _close(self) -> None:
        if self._on and self._inner is not None:
            self._inner.__exit__(None, None, None)
            self._on = False
            if self._ready is not None:
                self._ready(self)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self.stop()

    def events(self) -> EventList:
        """Every event of the last recorded cycle.

        Raises:
            AutogradError: if nothing has been recorded.
        """
        if self._inner is None:
            raise AutogradError("profile: nothing was recorded; was a step active?")
        return self._inner.function_events

    def key_averages(self, group_by_input_shape: bool = False,
                     group_by_stack_n: int = 0) -> EventList:  # fmt: skip
        """One average per name (see ``autograd.profiler_util.EventList``)."""
        return self.events().key_averages(group_by_input_shape, group_by_stack_n)

    def export_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write the events for ``chrome://tracing`` and Perfetto."""
        self.events().export_chrome_trace(path)
