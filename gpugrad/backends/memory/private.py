"""Memory kept apart for captured graphs, and which thread takes from it."""

from __future__ import annotations

import threading


class PrivatePool:
    """Memory that only a captured graph uses, kept apart from all other: see ``Pool.private``."""

    def __init__(self) -> None:
        self.released = False

    def release(self) -> None:
        """Allow ``empty_cache`` to give it back: the graph will not be replayed any more."""
        self.released = True


class Chosen:
    """The private pools that threads take from now; nested choices end in turn."""

    def __init__(self) -> None:
        self._stacks: dict[int, list[PrivatePool]] = {}

    def __bool__(self) -> bool:
        return bool(self._stacks)

    def current(self) -> PrivatePool | None:
        """The one that this thread takes from, if any."""
        stack = self._stacks.get(threading.get_ident()) if self._stacks else None
        return stack[-1] if stack else None

    def begin(self, pool: PrivatePool) -> None:
        """Take from ``pool`` in this thread, until ``end``."""
        self._stacks.setdefault(threading.get_ident(), []).append(pool)

    def end(self) -> None:
        """Take from where this thread took before."""
        stack = self._stacks[threading.get_ident()]
        stack.pop()
        if not stack:
            del self._stacks[threading.get_ident()]
