"""What takes a pool off its shortest way: private pools, and switches for tests and finding out."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gpugrad.backends.memory.private import Chosen, PrivatePool
from gpugrad.errors import SettingError

if TYPE_CHECKING:
    from gpugrad.backends.memory.blocks import Block


class Switches:
    """The part of a ``Pool`` that knows what is switched on."""

    def __init__(self, name: str, fill: Callable[[int, int, int], None] | None) -> None:
        self.name, self._fill = name, fill
        self._private = Chosen()
        self._poison = False
        self._fail_in: int | None = None
        self._site: Callable[[], str] | None = None
        #: Whether any is on.
        self._watched = False
        #: Whether a search for a block goes on, or other work that must not be disturbed.
        self._searching = False
        self.lock = threading.RLock()
        _pools.add(self)

    def blocks(self) -> list[Block]:
        """Every block there is."""
        raise NotImplementedError

    @property
    def capturing(self) -> bool:
        """Whether some thread takes from a private pool."""
        return bool(self._private)

    @property
    def private_pool(self) -> PrivatePool | None:
        """The private pool that this thread takes from now, if any."""
        return self._private.current()

    def _watch(self) -> None:
        self._watched = bool(
            self._poison or self._private or self._fail_in is not None or self._site is not None
        )

    @contextmanager
    def undisturbed(self) -> Iterator[bool]:
        """Inside, nothing is merged or cut by others, not even by finalisers of this thread.

        Yields whether the thread was not in the middle of such work already.
        """
        with self.lock:
            before, self._searching = self._searching, True
            try:
                yield not before
            finally:
                self._searching = before

    @contextmanager
    def private(self, pool: PrivatePool) -> Iterator[PrivatePool]:
        """Inside, what this thread takes comes from a private pool, on whatever stream.

        What is freed there is reused only inside the same private pool, so that a graph captured
        meanwhile can be replayed while other work goes on.  Nothing is given back to the driver
        meanwhile, and no events are recorded or asked for.
        """
        with self.lock:
            self._private.begin(pool)
            self._watch()
        try:
            yield pool
        finally:
            with self.lock:
                self._private.end()
                self._watch()

    def poison(self, on: bool = True) -> None:
        """Fill blocks with NaN (bytes of 255) when they are handed out and when they come back."""
        if self._fill is None:
            raise SettingError(f"poison: the pool of {self.name} cannot fill its memory")
        self._poison = on
        self._watch()

    def fail_at(self, nth: int | None) -> None:
        """Let the ``nth`` allocation from now raise OutOfMemoryError, once; None calls it off."""
        if nth is not None and nth < 1:
            raise SettingError(f"fail_at: nth is {nth}; accepted: 1, 2, ..., None")
        self._fail_in = nth
        self._watch()

    def _fails_now(self) -> bool:
        if self._fail_in is None:
            return False
        self._fail_in -= 1
        if self._fail_in:
            return False
        self.fail_at(None)
        return True

    def record_holders(self, site: Callable[[], str] | None) -> None:
        """Ask ``site()`` who takes each block from now on; None stops that and forgets."""
        with self.lock:
            self._site = site
            self._watch()
            if site is None:
                for block in self.blocks():
                    block.holder = None


_pools: weakref.WeakSet[Switches] = weakref.WeakSet()


def _renew_locks() -> None:
    """In a child of ``fork``: another thread of the parent may have been in the middle of a pool.

    Then what it was about to enter may be lost to the child; what is entered is whole.
    """
    for pool in _pools:
        pool.lock = threading.RLock()
        pool._searching = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
