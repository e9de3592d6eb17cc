"""Classes and functions that the user has declared safe to meet in a ``torch.save`` file.

A file of gpugrad's own, or a safetensors file, holds data only and never asks for any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gpugrad.errors import ArgumentError

_trusted: dict[str, Any] = {}
Named = Callable[..., Any] | tuple[Callable[..., Any], str]


def add_safe_globals(safe_globals: Sequence[Named]) -> None:
    """Let ``load`` make and call these when a ``torch.save`` file names them.

    Args:
        safe_globals: classes and functions, or pairs of one and the full name that files have.

    Raises:
        ArgumentError: if one is neither.
    """
    _trusted.update(map(_named, safe_globals))


def clear_safe_globals() -> None:
    """Take back everything that was declared safe."""
    _trusted.clear()


def get_safe_globals() -> list[Named]:
    """What was declared safe; pairs where the name is not the object's own."""
    return [v if _full_name(v) == name else (v, name) for name, v in _trusted.items()]


class safe_globals:
    """In this context these are safe, as with ``add_safe_globals``; afterwards, as before."""

    def __init__(self, safe_globals: Sequence[Named]) -> None:
        self._added = dict(map(_named, safe_globals))
        self._before: dict[str, Any] = {}

    def __enter__(self) -> None:
        self._before = dict(_trusted)
        _trusted.update(self._added)

    def __exit__(self, *error: object) -> None:
        _trusted.clear()
        _trusted.update(self._before)


def trusted() -> dict[str, Any]:
    """What is safe, by full name."""
    return _trusted


def _named(entry: Any) -> tuple[str, Any]:
    value, name = entry if isinstance(entry, tuple) and len(entry) == 2 else (entry, None)
    if not callable(value) or not isinstance(name, str | None):
        raise ArgumentError(
            "add_safe_globals: takes classes and functions, or pairs of one and its full name; "
            f"got {entry!r:.80}"
        )
    return name or _full_name(value), value


def _full_name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


__all__ = [
    "add_safe_globals", "clear_safe_globals", "get_safe_globals", "safe_globals", "trusted",
]  # fmt: skip
