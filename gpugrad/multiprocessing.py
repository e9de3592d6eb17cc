"""``torch.multiprocessing``: Python's ``multiprocessing``, and ``spawn``.

A tensor that is sent to another process arrives as a copy: its values travel as bytes, with its
dtype, device, class and ``requires_grad``.  No memory is shared between processes, so what one
writes the other does not see.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable
from multiprocessing import *  # noqa: F403 - the module is Python's own, with more in it
from multiprocessing.connection import wait
from typing import Any

from gpugrad.errors import GpugradError, SettingError

_STRATEGIES = {"file_descriptor", "file_system"}
_strategy = "file_descriptor"


class ProcessException(GpugradError, RuntimeError):
    """A process that ``spawn`` started did not end well.

    Attributes:
        error_index: which one; error_pid: its id in the system.
    """

    def __init__(self, text: str, error_index: int, error_pid: int | None) -> None:
        super().__init__(text)
        self.error_index, self.error_pid = error_index, error_pid


class ProcessRaisedException(ProcessException):
    """The function raised; the message has its traceback."""


class ProcessExitedException(ProcessException):
    """The process ended by itself or by a signal.

    Attributes:
        exit_code: what it ended with; negative for a signal.
    """

    def __init__(self, text: str, error_index: int, error_pid: int | None, exit_code: int) -> None:
        super().__init__(text, error_index, error_pid)
        self.exit_code = exit_code


class ProcessContext:
    """The processes that ``spawn(..., join=False)`` started."""

    def __init__(self, processes: list[Any], reports: list[Any]) -> None:
        self.processes, self._reports = processes, reports
        self._running = dict(enumerate(processes))

    def pids(self) -> list[int]:
        """Ids of the processes."""
        return [p.pid for p in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Wait until all have ended; if one fails, end the others and raise.

        Args:
            timeout: seconds to wait at most for the next to end; None waits for all.
            grace_period: seconds that the others get to end by themselves before they are killed.

        Returns:
            Whether all have ended.

        Raises:
            ProcessRaisedException: if a function raised; ProcessExitedException: if one just ended.
        """
        while self._running:
            ended = wait([p.sentinel for p in self._running.values()], timeout)
            for index in [i for i, p in self._running.items() if p.sentinel in ended]:
                process = self._running.pop(index)
                process.join()
                if process.exitcode:
                    self._stop(grace_period)
                    self._blame(index, process)
            if timeout is not None:
                break
        return not self._running

    def _stop(self, grace_period: float | None) -> None:
        for process in self._running.values():
            process.terminate()
        latest = None if grace_period is None else time.monotonic() + grace_period
        for process in self._running.values():
            process.join(None if latest is None else max(0.0, latest - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def _blame(self, index: int, process: Any) -> None:
        try:
            said = self._reports[index].recv()
        except EOFError:  # its end was closed without a word
            pass
        else:
            text = f"spawn: process {index} raised:\n\n{said}"
            raise ProcessRaisedException(text, index, process.pid)
        code = process.exitcode
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        text = f"spawn: process {index} ended with {how}"
        raise ProcessExitedException(text, index, process.pid, code)


def spawn(fn: Callable[..., Any], args: tuple[Any, ...] = (), nprocs: int = 1, join: bool = True,
          daemon: bool = False, start_method: str = "spawn") -> ProcessContext | None:  # fmt: skip
    """Call ``fn(i, *args)`` in ``nprocs`` processes, ``i`` from 0.

    Args:
        fn: a function at the top level of a module.
        args: what follows the process's number; tensors arrive as copies.
        join: wait for all of them; otherwise return a context whose ``join`` does.
        daemon: whether they end with this process.
        start_method: how processes are made, as ``multiprocessing.get_context`` takes it.

    Raises:
        ProcessRaisedException: if a function raised; the others are ended.
    """
    context: Any = multiprocessing.get_context(start_method)
    processes, reports = [], []
    for index in range(nprocs):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(fn, index, args, sender), daemon=daemon)
        process.start()
        sender.close()  # the child's end is its own
        processes.append(process)
        reports.append(receiver)
    started = ProcessContext(processes, reports)
    if not join:
        return started
    started.join()
    return None


start_processes = spawn


def _run(fn: Callable[..., Any], index: int, args: tuple[Any, ...], report: Any) -> None:
    try:
        fn(index, *args)
    except KeyboardInterrupt:
        pass  # the parent was interrupted, too, and ends us
    except Exception:
        report.send(traceback.format_exc()[-30_000:])  # fits in the pipe, so nobody need read yet
        raise SystemExit(1) from None


def get_all_sharing_strategies() -> set[str]:
    """PyTorch's names for ways to share memory."""
    return set(_STRATEGIES)


def get_sharing_strategy() -> str:
    """What ``set_sharing_strategy`` was told."""
    return _strategy


def set_sharing_strategy(new_strategy: str) -> None:
    """Choose how memory would be shared: tensors are copied here, so either serves.

    Raises:
        SettingError: for an unknown name.
    """
    global _strategy
    if new_strategy not in _STRATEGIES:
        raise SettingError(
            f"set_sharing_strategy: new_strategy must be one of {sorted(_STRATEGIES)}, "
            f"got {new_strategy!r}"
        )
    _strategy = new_strategy
