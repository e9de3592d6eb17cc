"""What tensors that share memory have in common: a version, the last writer, the live views.

A tensor gets its ``Storage`` when something first needs one (a view, a write, a kept output); a
tensor that was only computed and read never pays for it.
"""

from __future__ import annotations

import os
import sys
import weakref
from typing import Any

from gpugrad.errors import AutogradError

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
#: Which files of code have been met, and whether they are gpugrad's own.
_own_files: dict[str, bool] = {}


def caller_site() -> str:
    """``file:line`` of the nearest frame outside gpugrad: the user's line."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        own = _own_files.get(name)
        if own is None:
            own = _own_files[name] = name.startswith((_PACKAGE, "<gpugrad"))
        if not own:
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "<unknown>:0"


class Storage:
    """Shared state of one block of memory."""

    __slots__ = ("__weakref__", "_views", "_views_limit", "last_write", "version")

    def __init__(self) -> None:
        self.version = 0
        self.last_write: str | None = None
        self._views: list[weakref.ref[Any]] | None = None
        self._views_limit = 8

    def bump(self, site: str | None = None) -> None:
        """Count one write and remember the user's line that made it (``site``, where known)."""
        self.version += 1
        self.last_write = caller_site() if site is None else site

    def add_view(self, tensor: Any) -> None:
        """Remember a view, so that a write can renew its history.

        Dead references are swept when the list has doubled, which keeps a long-lived parameter
        that is viewed at every step from growing a list for ever.
        """
        if self._views is None:
            self._views = []
        elif len(self._views) >= self._views_limit:
            self._views = [r for r in self._views if r() is not None]
            self._views_limit = max(8, 2 * len(self._views))
        self._views.append(weakref.ref(tensor))

    def views(self) -> list[Any]:
        """Live views of this memory that were made while recording."""
        return [t for r in self._views or () if (t := r()) is not None]


class InferenceStorage(Storage):
    """Memory of a tensor made in ``inference_mode``: it has no version, so it cannot be kept.

    Whoever keeps a tensor for a gradient reads its version, and that is where this raises.
    """

    __slots__ = ()

    @property
    def version(self) -> int:
        """Always raises."""
        raise AutogradError(
            "a tensor made in inference_mode has no version and cannot be kept for a gradient; "
            "clone() it outside, or use no_grad instead"
        )

    @version.setter
    def version(self, value: int) -> None:
        pass

    def bump(self, site: str | None = None) -> None:
        """Writes are not counted."""
