"""A memory pool over two callables: one takes memory from a driver, one gives it back.

The same class serves CUDA devices, page-locked host memory and big NumPy arrays, and is tested over
fakes.  Blocks of a size that was given back before are handed out without a search; see ``blocks``
for the rest.  ``docs/memory.md`` says what users see.

Python may run other code in the middle of an allocation: the cyclic collector calls finalisers,
and signal handlers run between bytecodes.  Such code may give back and take blocks of this pool.
So the lock may be taken twice by one thread, what happens to READY blocks happens in one step, and
an allocation inside the search of another gets a segment of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from gpugrad.backends.memory import report
from gpugrad.backends.memory.blocks import LIVE, READY, WAITING, Arena, Block, Segment
from gpugrad.backends.memory.private import PrivatePool
from gpugrad.backends.memory.sizes import block_size, kind_of, segment_size
from gpugrad.backends.memory.switches import Switches
from gpugrad.backends.memory.waiting import Events, Waiting
from gpugrad.errors import OutOfMemoryError, SettingError

#: Bytes that may lie idle where that saves time, however little a program needs.
_SLACK = 64 << 20


class Pool(Switches):
    """Blocks of memory for many requests, cut from few segments and kept for reuse.

    Args:
        get: takes so many bytes from the driver and returns an object with their address, a
            multiple of 512, as ``ptr``; raises MemoryError where there is no more.
        give_back: returns such an object to the driver, after all work on it is done.
        name: what messages call it.
        events: needed where ``record_stream`` is used.
        fill: writes bytes of 255 to (address, size, stream); needed for ``poison``.
        free: bytes that the driver has left, for messages.
        cached_limit: so many bytes are kept for reuse at most; None for any number.

    Attributes:
        allocated, reserved: bytes in live blocks, and in all segments, now.
        peak_allocated, peak_reserved: the most of both since the start or ``reset_peaks``.
        allocations, gets, returns, retries, failures: how often memory was asked for, taken from
            the driver, given back to it, taken on the second try, and refused.
        limit: ``reserved`` stays at or below it; None for no limit.
    """

    def __init__(self, get: Callable[[int], Any], give_back: Callable[[Any], None],
                 name: str = "memory", *, events: Events | None = None,
                 fill: Callable[[int, int, int], None] | None = None,
                 free: Callable[[], int] | None = None,
                 cached_limit: int | None = None) -> None:  # fmt: skip
        super().__init__(name, fill)
        self._get, self._give_back = get, give_back
        self.free_bytes = free
        self.limit: int | None = None
        self.cached_limit = cached_limit
        self._trim_at = float("inf") if cached_limit is None else cached_limit
        self.allocated = self.peak_allocated = self.reserved = self.peak_reserved = 0
        #: The most that was ever needed at once; unlike the peak it is never reset.
        self._needed = 0
        self.allocations = self.gets = self.returns = self.retries = self.failures = 0
        #: Arenas by owner (None, or a private pool) and stream; READY blocks of those without one.
        self.arenas: dict[tuple[PrivatePool | None, int], Arena] = {}
        self._ready: dict[int, dict[int, list[Block]]] = {}
        self._waiting = Waiting(events)

    # ---- taking and giving back ------------------------------------------------------------

    def malloc(self, size: int, stream: int = 0) -> Block:
        """A block of at least ``size`` bytes for work on ``stream``.

        Raises:
            OutOfMemoryError: if there is no memory even after the cache was given back.
        """
        with self.lock:
            sizes = self._ready.get(stream)
            if sizes and (ready := sizes.get(size)) and not self._watched:
                block = ready.pop()
            else:
                block = self._find(size, stream)
            block.state, block.requested = LIVE, size
            self.allocations += 1
            self.allocated = now = self.allocated + block.size
            if now > self.peak_allocated:
                self.peak_allocated = now
            return block

    def free(self, block: Block) -> None:
        """Take a block back.  Work that was queued on its stream may still use it.

        Raises:
            SettingError: if it was given back before.
        """
        with self.lock:
            if block.state is not LIVE:
                raise SettingError(f"free: the block at {block.ptr:#x} is not in use")
            self.allocated = now = self.allocated - block.size
            if block.streams is None and not self._watched:
                block.state = READY
                block.ready.append(block)
            else:
                self._free_watched(block)
            if self.reserved - now > self._trim_at:
                self._trim()

    def record_stream(self, block: Block, stream: int, keep: Any = None) -> None:
        """Note that work on ``stream`` uses a live block: when it is freed, that work is awaited.

        Args:
            block: of this pool.
            stream: its address.
            keep: what has to live for the stream to live.
        """
        if self._waiting.events is None:
            raise SettingError(f"record_stream: the pool of {self.name} knows no streams")
        with self.lock:
            if stream != block.segment.arena.stream:
                block.streams = {**(block.streams or {}), stream: keep}

    def _free_watched(self, block: Block) -> None:
        block.holder = None
        if block.streams is not None:
            block.state = WAITING
            self._waiting.add(block)
            if not self._private:  # an event would become part of the graph
                self._waiting.mark()
        else:
            self._cache(block)

    def _cache(self, block: Block) -> None:
        if self._poison:
            self._fill_block(block)
        block.state = READY
        block.ready.append(block)

    def _fill_block(self, block: Block) -> None:
        assert self._fill is not None
        self._fill(block.ptr, block.size, block.segment.arena.stream)

    # ---- finding a block -------------------------------------------------------------------

    def _arena(self, stream: int) -> Arena:
        owner = self._private.current()
        arena = self.arenas.get((owner, stream))
        if arena is None:
            arena = self.arenas[owner, stream] = Arena(stream, owner)
            if owner is None:
                self._ready[stream] = arena.ready
        return arena

    def _find(self, size: int, stream: int) -> Block:
        if self._fails_now():
            self._refuse(size, "fail_at wanted it so: ")
        arena = self._arena(stream)
        ready = arena.list_for(size)
        if not ready:
            self._look_at_events()
        block = ready.pop() if ready else self._search(arena, size)
        block.ready = ready
        block.holder = None if self._site is None else self._site()
        if self._poison:
            self._fill_block(block)
        return block

    def _search(self, arena: Arena, size: int) -> Block:
        wanted = block_size(size)
        if self._searching:
            try:
                return self._grow(arena, wanted, wanted)
            except MemoryError:
                self._refuse(size)
        self._searching = True
        try:
            block = arena.take(wanted)
            whole = segment_size(wanted)
            if block is None and not self._affords(wanted, whole):
                arena.merge_ready()
                block = arena.take(wanted)
            if block is not None:
                return block
            self._make_room(whole)
            try:
                return self._grow(arena, wanted, whole)
            except MemoryError:
                return self._grow_at_last(arena, wanted, size)
        finally:
            self._searching = False

    def _affords(self, wanted: int, segment: int) -> bool:
        """Whether another segment is cheap, so that READY blocks may stay as they are."""
        self._needed = max(self._needed, self.peak_allocated, self.allocated + wanted)
        room = self._needed + _SLACK
        return self.reserved + segment <= (room if self.limit is None else min(room, self.limit))

    def _make_room(self, segment: int) -> None:
        """Give back what lies idle before more is taken than twice what was ever needed.

        That bounds what sizes that never repeat can pile up.  A program that needs most of its
        memory for one thing and then for another still keeps both, and so asks the driver no more.
        """
        bound = 2 * self._needed + _SLACK
        if self.reserved + segment > bound:
            self._release(keep=max(0, bound - segment - self.allocated))

    def _grow_at_last(self, arena: Arena, wanted: int, size: int) -> Block:
        """Give the cache back and try once more, with what that freed and without reserve."""
        self.retries += 1
        self._release(wait=True)
        block = arena.take(wanted)
        if block is not None:
            return block
        try:
            return self._grow(arena, wanted, wanted)
        except MemoryError:
            self._refuse(size)

    def _grow(self, arena: Arena, wanted: int, size: int) -> Block:
        """A block from a new segment."""
        if self.limit is not None and self.reserved + size > self.limit:
            raise MemoryError
        segment = Segment(self._get(size), size, kind_of(wanted), arena)
        self.gets += 1
        self.reserved += size
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        arena.segments.add(segment)
        return arena.cut(segment.first, wanted)

    def _refuse(self, size: int, why: str = "") -> NoReturn:
        self.failures += 1
        raise OutOfMemoryError(why + report.refusal(self, size)) from None

    # ---- waiting and giving back to the driver ---------------------------------------------

    def _look_at_events(self, wait: bool = False) -> None:
        """Make blocks READY that no other stream works on; not while a graph is captured."""
        if not self._private:
            for block in self._waiting.done(wait):
                self._cache(block)

    def _release(self, wait: bool = False, keep: int = 0) -> int:
        """Give whole segments back until at most ``keep`` bytes are cached; return the bytes.

        Not while a graph is captured: the driver would have to wait for work in the middle of it.
        """
        if self._private:
            return 0
        self._look_at_events(wait)
        before = self.reserved
        for key, arena in list(self.arenas.items()):
            if arena.owner is not None and not arena.owner.released:
                continue
            arena.merge_ready()
            for segment in arena.whole():
                if self.reserved - self.allocated <= keep:
                    return before - self.reserved
                arena.drop(segment)
                self.reserved -= segment.size
                self.returns += 1
                memory, segment.memory = segment.memory, None  # a segment is part of a cycle
                self._give_back(memory)
            if arena.owner is not None and not arena.segments:
                del self.arenas[key]
        return before - self.reserved

    def _trim(self) -> None:
        """Keep no more than the limit; what lies between live blocks stays, and is not retried."""
        limit = self.cached_limit
        with self.undisturbed() as first:
            if first and limit is not None:
                self._release(keep=limit)
                self._trim_at = max(limit, self.reserved - self.allocated + limit // 8)

    def empty_cache(self) -> int:
        """Give all memory that is not in use back to the driver; return how many bytes."""
        with self.undisturbed() as first:
            return self._release(wait=True) if first else 0

    def reset_peaks(self) -> None:
        """Let both peaks begin anew at what is allocated and reserved now."""
        with self.lock:
            self._needed = max(self._needed, self.peak_allocated)
            self.peak_allocated, self.peak_reserved = self.allocated, self.reserved

    def blocks(self) -> list[Block]:
        """Every block there is."""
        with self.undisturbed():
            return [b for a in self.arenas.values() for s in list(a.segments) for b in s.blocks()]
