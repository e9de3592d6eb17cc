"""The parts of a pool: segments, the blocks that they are cut into, and the arena of a stream.

A block is in one of four states.  LIVE: somebody's.  WAITING: given back, but another stream may
still work on it.  READY: given back, and kept whole in a list of blocks of its size, from which the
next request of that size takes it.  FREE: merged with its free neighbours, and found by its size.
A READY block becomes FREE only when a request finds no block of its size; that is what makes giving
and taking cheap while sizes repeat, without keeping memory in pieces when they do not.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any

from gpugrad.backends.memory.sizes import KINDS, block_size, kind_of

LIVE, WAITING, READY, FREE = "live", "waiting", "ready", "free"
#: So many sizes of requests are remembered by an arena, before it begins anew.
_REMEMBERED = 4096


class Segment:
    """Memory as it was taken; its blocks are a chain from ``first``, in the order of addresses."""

    __slots__ = ("arena", "first", "kind", "memory", "size")

    def __init__(self, memory: Any, size: int, kind: int, arena: Arena) -> None:
        self.memory, self.size, self.kind, self.arena = memory, size, kind, arena
        self.first = Block(memory.ptr, size, self)

    def blocks(self) -> Iterator[Block]:
        """Its blocks, from the lowest address up."""
        block: Block | None = self.first
        while block is not None:
            yield block
            block = block.after


class Block:
    """A part of a segment.

    Attributes:
        ptr, size: where it is and how large, in bytes.
        requested: what was asked for; ``size`` is that, rounded up.
        streams: other streams than its arena's that work on it, and what keeps them alive.
        holder: who has it, when the pool records that.
    """

    __slots__ = (
        "after", "before", "holder", "ptr", "ready", "requested", "segment", "size", "state",
        "streams",
    )  # fmt: skip

    def __init__(self, ptr: int, size: int, segment: Segment) -> None:
        self.ptr, self.size, self.segment = ptr, size, segment
        self.before: Block | None = None
        self.after: Block | None = None
        self.state, self.requested = FREE, 0
        self.streams: dict[int, Any] | None = None
        self.holder: str | None = None
        #: The list that it goes to when given back; set when it is first taken.
        self.ready: list[Block] = []


class Arena:
    """Memory for the work of one stream: what it gives back, the same stream's work may reuse."""

    def __init__(self, stream: int, owner: Any) -> None:
        self.stream, self.owner = stream, owner
        self.segments: set[Segment] = set()
        #: READY blocks by size, and the same lists by every size that was asked for.
        self._by_size: dict[int, list[Block]] = {}
        self.ready: dict[int, list[Block]] = {}
        #: FREE blocks of each kind of segment, as (size, address, block) in order.
        self._free: tuple[list[tuple[int, int, Block]], ...] = tuple([] for _ in range(KINDS))

    def list_for(self, size: int) -> list[Block]:
        """The list of READY blocks that fit a request; remembered by the request."""
        if len(self.ready) >= _REMEMBERED:
            self.ready.clear()
        found = self.ready[size] = self._by_size.setdefault(block_size(size), [])
        return found

    def merge_ready(self) -> None:
        """Make every READY block FREE."""
        for blocks in list(self._by_size.values()):
            while blocks:
                self.add_free(blocks.pop())

    def add_free(self, block: Block) -> None:
        """Merge a block with its free neighbours and keep the result to be found by its size."""
        before, after = block.before, block.after
        if after is not None and after.state is FREE:
            self._remove(after)
            self._join(block, after)
        if before is not None and before.state is FREE:
            self._remove(before)
            self._join(before, block)
            block = before
        block.state = FREE
        insort(self._free[block.segment.kind], (block.size, block.ptr, block))

    def take(self, size: int) -> Block | None:
        """Cut a block of ``size`` bytes off the smallest free one that is large enough."""
        blocks = self._free[kind_of(size)]
        place = bisect_left(blocks, (size,))
        if place == len(blocks):
            return None
        return self.cut(blocks.pop(place)[2], size)

    def cut(self, block: Block, size: int) -> Block:
        """Keep ``size`` bytes of a block that is in no list; the rest becomes a free block."""
        block.state = LIVE  # at once: a neighbour that is freed now must not be merged with it
        if block.size > size:
            rest = Block(block.ptr + size, block.size - size, block.segment)
            rest.before, rest.after = block, block.after
            if rest.after is not None:
                rest.after.before = rest
            block.after, block.size = rest, size
            insort(self._free[block.segment.kind], (rest.size, rest.ptr, rest))
        return block

    def whole(self) -> list[Segment]:
        """Segments of which nothing is in use; largest first."""
        found = [s for s in list(self.segments) if s.first.state is FREE and s.first.after is None]
        return sorted(found, key=lambda s: s.size, reverse=True)

    def drop(self, segment: Segment) -> None:
        """Forget a segment of which nothing is in use."""
        self._remove(segment.first)
        self.segments.remove(segment)

    def _remove(self, block: Block) -> None:
        blocks = self._free[block.segment.kind]
        del blocks[bisect_left(blocks, (block.size, block.ptr))]

    @staticmethod
    def _join(block: Block, after: Block) -> None:
        block.size += after.size
        block.after = after.after
        if block.after is not None:
            block.after.before = block
