"""``torch.futures``: results that are there later, over ``concurrent.futures``."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from gpugrad.errors import ArgumentError, AutogradError, NotSupportedError

T = TypeVar("T")
S = TypeVar("S")


class Future(Generic[T]):
    """A result that somebody sets once; others wait for it or attach what shall follow.

    Args:
        devices: CUDA devices whose streams would be synchronised with: not supported.
    """

    def __init__(self, *, devices: Any = None) -> None:
        if devices:
            raise NotSupportedError(
                f"Future: devices={devices!r} is not supported; synchronize() before set_result()"
            )
        self._inner: concurrent.futures.Future[T] = concurrent.futures.Future()

    def done(self) -> bool:
        """Whether a result or an exception was set."""
        return self._inner.done()

    def wait(self) -> T:
        """The result, waited for; an exception that was set is raised."""
        return self._inner.result()

    def value(self) -> T:
        """The result of a future that is done.

        Raises:
            AutogradError: if it is not done.
        """
        if not self.done():
            raise AutogradError("value: the future is not done; use wait()")
        return self._inner.result()

    def set_result(self, result: T) -> None:
        """Set the result; what was attached runs now, in this thread.

        Raises:
            AutogradError: if it is done already.
        """
        self._check_open("set_result")
        self._inner.set_result(result)

    def set_exception(self, result: BaseException) -> None:
        """Set an exception, which ``wait`` and ``value`` raise."""
        if not isinstance(result, BaseException):
            raise ArgumentError(
                f"set_exception: result must be an exception, got {type(result).__name__}"
            )
        self._check_open("set_exception")
        self._inner.set_exception(result)

    def _check_open(self, caller: str) -> None:
        if self.done():
            raise AutogradError(f"{caller}: the future is done already; it can be set only once")

    def then(self, callback: Callable[[Future[T]], S]) -> Future[S]:
        """A future of ``callback(self)``, which runs when this one is done (at once if it is)."""
        following: Future[S] = Future()

        def run(_: Any) -> None:
            try:
                following.set_result(callback(self))
            except Exception as error:
                following.set_exception(error)

        self._inner.add_done_callback(run)
        return following

    def add_done_callback(self, callback: Callable[[Future[T]], None]) -> None:
        """Run ``callback(self)`` when this future is done (at once if it is).

        Callbacks run in the order in which they were added; what one raises is logged.
        """
        self._inner.add_done_callback(lambda _: callback(self))

    def __repr__(self) -> str:
        return f"<gpugrad.futures.Future {'done' if self.done() else 'pending'}>"


def collect_all(futures: list[Future[Any]]) -> Future[list[Future[Any]]]:
    """A future of the list itself, done when all in it are done."""
    together: Future[list[Future[Any]]] = Future()
    waiting = list(futures)
    if not waiting:
        together.set_result(waiting)
        return together
    left, lock = [len(waiting)], threading.Lock()

    def one(_: Any) -> None:
        with lock:
            left[0] -= 1
            last = not left[0]
        if last:
            together.set_result(waiting)

    for future in waiting:
        future.add_done_callback(one)
    return together


def wait_all(futures: list[Future[Any]]) -> list[Any]:
    """All results, waited for; the first exception is raised after all are done."""
    return [f.wait() for f in collect_all(futures).wait()]


__all__ = ["Future", "collect_all", "wait_all"]
