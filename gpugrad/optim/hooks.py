"""Hooks of optimisers: functions called before and after a step, a saving and a loading."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from gpugrad.errors import ArgumentError
from gpugrad.tape import Handle

_Hooks = dict[str, list[list[Callable[..., Any]]]]

#: Hooks of every optimiser.
_everywhere: _Hooks = {"step_pre": [], "step_post": []}


def _add(hooks: _Hooks, kind: str, hook: Callable[..., Any], prepend: bool = False) -> Handle:
    entry = [hook]  # an entry of its own, so that a hook given twice can be removed once
    hooks.setdefault(kind, []).insert(0 if prepend else len(hooks.get(kind, ())), entry)

    def remove() -> None:
        hooks[kind] = [e for e in hooks[kind] if e is not entry]

    return Handle(remove)


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> Handle:
    """Call ``hook(optimizer, args, kwargs)`` before every step of every optimiser."""
    return _add(_everywhere, "step_pre", hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> Handle:
    """Call ``hook(optimizer, args, kwargs)`` after every step of every optimiser."""
    return _add(_everywhere, "step_post", hook)


class Hooked:
    """What an optimiser has of hooks; its own ``step``, and a subclass's, run between them."""

    _hooks: _Hooks
    _stepping = False
    #: Whether a step was ever made: what schedulers look at.
    _opt_called = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            setattr(cls, "step", _between_hooks(cls.__dict__["step"]))  # noqa: B010

    def _calls(self, kind: str) -> list[Callable[..., Any]]:
        return [hook for (hook,) in self._hooks.get(kind, ())]

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(optimizer, args, kwargs)`` before ``step``; it may return others of both.

        As in PyTorch ``args`` begins with the optimiser itself.
        """
        return _add(self._hooks, "step_pre", hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(optimizer, args, kwargs)`` after ``step``."""
        return _add(self._hooks, "step_post", hook)

    def register_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """Call ``hook(optimizer)`` before ``state_dict``."""
        return _add(self._hooks, "save_pre", hook, prepend)

    def register_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """Call ``hook(optimizer, state_dict)`` after ``state_dict``; it may return another."""
        return _add(self._hooks, "save_post", hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """Call ``hook(optimizer, state_dict)`` before a loading; it may return another."""
        return _add(self._hooks, "load_pre", hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """Call ``hook(optimizer)`` after ``load_state_dict``."""
        return _add(self._hooks, "load_post", hook, prepend)


def _between_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """A ``step`` that runs the hooks; one that is called by a subclass's ``step`` does not."""

    @functools.wraps(step)
    def hooked(self: Hooked, *args: Any, **kwargs: Any) -> Any:
        self._opt_called = True
        if self._stepping:
            return step(self, *args, **kwargs)
        given: tuple[Any, ...] = (self, *args)
        for hook in [h for (h,) in _everywhere["step_pre"]] + self._calls("step_pre"):
            other = hook(self, given, kwargs)
            if other is None:
                continue
            if not isinstance(other, tuple) or len(other) != 2:
                raise ArgumentError(
                    f"{type(self).__name__}: a step pre-hook must return None or (args, kwargs), "
                    f"got {other!r}"
                )
            given, kwargs = other
        self._stepping = True
        try:
            result = step(*given, **kwargs)
        finally:
            self._stepping = False
        for hook in self._calls("step_post") + [h for (h,) in _everywhere["step_post"]]:
            hook(self, given, kwargs)
        return result

    return hooked
