"""What is switched on in this thread: gradients, inference, recorders, saved-tensor hooks."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol

from gpugrad.errors import ArgumentError


class Recorder(Protocol):
    """Something that watches ops go by: capture, anomaly mode, a profiler, a viewer.

    One with ``sees_kernels = True`` does without the ops of an update that is one kernel.
    """

    def record(self, op: Any, inputs: tuple[Any, ...], settings: dict[str, Any],
               outputs: tuple[Any, ...]) -> None:  # fmt: skip
        """Take note of one executed op; ``outputs`` carry their tape nodes already."""


class _Modes(threading.local):
    """Per thread.  ``plain`` is derived: no recorder, hooks, inference or autocast: lanes apply."""

    grad = True
    inference = False
    recorders: tuple[Recorder, ...] = ()
    saved_hooks: tuple[tuple[Callable[..., Any], Callable[..., Any]], ...] = ()
    plain = True
    anomaly = False
    #: A profiler's: told that the arrays of an op are about to be computed.
    clock: Callable[[], None] | None = None
    #: ``autocast(record, args, kwargs)`` gives the operands cast, or None to leave them alone.
    autocast: Callable[[Any, Any, Any], tuple[Any, Any] | None] | None = None

    @property
    def whole(self) -> bool:
        """Whether one kernel may do the work of many ops: nobody has to see each (``Recorder``)."""
        unseen = self.saved_hooks or self.inference or self.autocast is not None
        return not unseen and all(getattr(r, "sees_kernels", False) for r in self.recorders)

    def settle(self) -> None:
        """Recompute ``plain`` after a switch was moved."""
        self.plain = not (
            self.recorders or self.saved_hooks or self.inference or self.autocast is not None
        )


modes = _Modes()


class _Switch:
    """A context manager and decorator that sets modes and puts them back."""

    def __init__(self, **wanted: Any) -> None:
        self._wanted = wanted
        self._before: list[dict[str, Any]] = []

    def __enter__(self) -> None:
        self._before.append({k: getattr(modes, k) for k in self._wanted})
        self._set(self._wanted)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self._set(self._before.pop())

    @staticmethod
    def _set(values: dict[str, Any]) -> None:
        for k, v in values.items():
            setattr(modes, k, v)
        modes.settle()

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        import inspect

        if inspect.isgeneratorfunction(fn):
            return self._generator(fn)
        wanted = self._wanted

        @functools.wraps(fn)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with _Switch(**wanted):
                return fn(*args, **kwargs)

        return inside

    def _generator(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        # The switch must be off while the consumer runs between two items.
        wanted = self._wanted

        @functools.wraps(fn)
        def inside(*args: Any, **kwargs: Any) -> Any:
            items = fn(*args, **kwargs)
            while True:
                with _Switch(**wanted):
                    try:
                        item = next(items)
                    except StopIteration as stop:
                        return stop.value
                yield item

        return inside


def _decorates(switch: type[_Switch], fn: Any) -> Any:
    return switch()(fn) if callable(fn) else None


class no_grad(_Switch):
    """Record nothing inside: ``with no_grad():`` or ``@no_grad()`` or ``@no_grad``."""

    def __new__(cls, fn: Any = None) -> Any:
        return _decorates(cls, fn) or object.__new__(cls)

    def __init__(self, fn: Any = None) -> None:
        super().__init__(grad=False)


class enable_grad(_Switch):
    """Record inside, also within ``no_grad``."""

    def __new__(cls, fn: Any = None) -> Any:
        return _decorates(cls, fn) or object.__new__(cls)

    def __init__(self, fn: Any = None) -> None:
        super().__init__(grad=True, inference=False)


class set_grad_enabled(_Switch):
    """Switch recording on or off: takes effect at once, and undone when used in ``with``."""

    def __init__(self, mode: bool) -> None:
        if not isinstance(mode, bool):
            raise ArgumentError(f"set_grad_enabled: mode must be a bool, got {mode!r}")
        super().__init__(grad=bool(mode))
        self._outer = modes.grad
        modes.grad = bool(mode)

    def __enter__(self) -> None:
        self._before.append({"grad": self._outer})
        modes.grad = self._wanted["grad"]

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        modes.grad = self._outer  # a decorator must not act before its function is called
        return super().__call__(fn)


class casting(_Switch):
    """Inside, calls ask ``autocast`` for their operands (see ``_Modes``), or take them as given."""

    def __init__(self, autocast: Callable[..., Any] | None = None) -> None:
        super().__init__(autocast=autocast)


class inference_mode(_Switch):
    """As ``no_grad``, and results cannot take part in recording later."""

    def __new__(cls, mode: Any = True) -> Any:
        if callable(mode):
            return cls()(mode)
        return object.__new__(cls)

    def __init__(self, mode: bool = True) -> None:
        super().__init__(**({"grad": False, "inference": True} if mode else {"inference": False}))


def is_grad_enabled() -> bool:
    """Whether ops on this thread are recorded."""
    return modes.grad


def is_inference_mode_enabled() -> bool:
    """Whether this thread is inside ``inference_mode``."""
    return modes.inference


class recording(AbstractContextManager[None]):
    """Push a recorder on this thread's stack for the length of a ``with`` block."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __enter__(self) -> None:
        modes.recorders = (*modes.recorders, self._recorder)
        modes.settle()

    def __exit__(self, *exc: object) -> None:
        kept = list(modes.recorders)
        kept.remove(self._recorder)
        modes.recorders = tuple(kept)
        modes.settle()


class saved_tensors_hooks(AbstractContextManager[None]):
    """Pass every tensor the tape keeps through ``pack_hook``, and back through ``unpack_hook``.

    The innermost pair is used.  ``pack_hook(tensor) -> anything``; ``unpack_hook(anything) ->
    tensor`` of the same shape, dtype and device.
    """

    def __init__(self, pack_hook: Callable[[Any], Any], unpack_hook: Callable[[Any], Any]) -> None:
        self._pair = (pack_hook, unpack_hook)

    def __enter__(self) -> None:
        modes.saved_hooks = (*modes.saved_hooks, self._pair)
        modes.settle()

    def __exit__(self, *exc: object) -> None:
        modes.saved_hooks = modes.saved_hooks[:-1]
        modes.settle()
