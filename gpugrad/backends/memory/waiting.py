"""Blocks that were given back while another stream than their own may still work on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from gpugrad.backends.memory.blocks import Block


class Events(NamedTuple):
    """How a pool learns that a stream is done with a block."""

    #: Put an event behind the work so far of a stream, and return it.
    record: Callable[[int], Any]
    #: Whether the stream has passed an event.
    done: Callable[[Any], bool]
    #: Wait until it has.
    wait: Callable[[Any], None]


class Waiting:
    """The queue of such blocks."""

    def __init__(self, events: Events | None) -> None:
        self.events = events
        self._new: list[Block] = []
        self._marked: list[tuple[Block, list[Any]]] = []

    def add(self, block: Block) -> None:
        """Queue a block; its streams get their events when somebody looks."""
        self._new.append(block)

    def mark(self) -> None:
        """Put an event behind the work that the streams of new blocks have so far."""
        assert self.events is not None
        while self._new:
            block = self._new.pop()
            self._marked.append((block, [self.events.record(s) for s in block.streams or ()]))

    def done(self, wait: bool) -> list[Block]:
        """Blocks that no other stream works on any more; with ``wait``, all of them, in time."""
        if self.events is None or not (self._new or self._marked):
            return []
        self.mark()
        marked, self._marked = self._marked, []
        found = []
        for block, marks in marked:
            if wait:
                for mark in marks:
                    self.events.wait(mark)
            if all(self.events.done(mark) for mark in marks):
                block.streams = None
                found.append(block)
            else:
                self._marked.append((block, marks))
        return found
