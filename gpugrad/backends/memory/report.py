"""What a pool tells: statistics, who holds what, a table, and why there is no more memory."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from gpugrad.backends.memory.blocks import FREE, LIVE, READY, WAITING, Block, Segment
from gpugrad.backends.memory.sizes import told

if TYPE_CHECKING:
    from gpugrad.backends.memory.pool import Pool

#: PyTorch's words for the states of blocks.
_STATES = {LIVE: "active_allocated", WAITING: "active_pending_free", READY: "inactive",
           FREE: "inactive"}  # fmt: skip


def statistics(pool: Pool) -> dict[str, int]:
    """Bytes and counts under PyTorch's keys, as far as the pool counts them.

    ``active`` is what is allocated and what waits for another stream; ``inactive_split`` is what
    lies free in segments that are partly in use.
    """
    with pool.undisturbed():
        return _counted(pool, pool.blocks())


def _counted(pool: Pool, blocks: list[Block]) -> dict[str, int]:
    live = [b for b in blocks if b.state is LIVE]
    active = [b for b in blocks if b.state in (LIVE, WAITING)]
    used = {id(b.segment) for b in active}
    split = [b for b in blocks if b.state in (READY, FREE) and id(b.segment) in used]
    return {
        "allocation.all.allocated": pool.allocations,
        "allocation.all.current": len(live),
        "allocation.all.freed": pool.allocations - len(live),
        "allocated_bytes.all.current": pool.allocated,
        "allocated_bytes.all.peak": pool.peak_allocated,
        "requested_bytes.all.current": sum(b.requested for b in live),
        "active.all.current": len(active),
        "active_bytes.all.current": sum(b.size for b in active),
        "inactive_split.all.current": len(split),
        "inactive_split_bytes.all.current": sum(b.size for b in split),
        "reserved_bytes.all.current": pool.reserved,
        "reserved_bytes.all.peak": pool.peak_reserved,
        "segment.all.allocated": pool.gets,
        "segment.all.current": pool.gets - pool.returns,
        "segment.all.freed": pool.returns,
        "num_device_alloc": pool.gets,
        "num_device_free": pool.returns,
        "num_alloc_retries": pool.retries,
        "num_ooms": pool.failures,
    }


def snapshot(pool: Pool) -> list[dict[str, Any]]:
    """Every segment and, in the order of addresses, its blocks; their sizes add up to its own.

    ``holder`` of a block is who took it, ``op at file:line``, where that was recorded.
    """
    with pool.undisturbed():
        found = [_described(s) for a in pool.arenas.values() for s in list(a.segments)]
    return sorted(found, key=lambda s: int(s["address"]))


def _described(segment: Segment) -> dict[str, Any]:
    blocks = list(segment.blocks())
    return {
        "address": segment.memory.ptr, "total_size": segment.size,
        "stream": segment.arena.stream, "private": segment.arena.owner is not None,
        "segment_type": "small" if segment.kind == 0 else "large",
        "allocated_size": sum(b.size for b in blocks if b.state is LIVE),
        "active_size": sum(b.size for b in blocks if b.state in (LIVE, WAITING)),
        "blocks": [
            {"address": b.ptr, "size": b.size, "state": _STATES[b.state], "holder": b.holder,
             "requested_size": b.requested if b.state is LIVE else 0}
            for b in blocks
        ],
    }  # fmt: skip


def holders(blocks: list[Block]) -> list[tuple[int, int, str]]:
    """Live blocks gathered by holder, or by size where that is unknown: bytes, how many, who."""
    gathered: dict[tuple[str, int], list[int]] = defaultdict(list)
    for b in blocks:
        if b.state is LIVE:
            gathered[b.holder or "", 0 if b.holder else b.size].append(b.size)
    found = [
        (sum(sizes), len(sizes), holder or f"taken as {told(size)} each, by whom is not recorded")
        for (holder, size), sizes in gathered.items()
    ]
    return sorted(found, reverse=True)


def _lines(found: list[tuple[int, int, str]]) -> list[str]:
    return [f"{told(size):>12} in {count} block{'s' * (count > 1)}: {who}"
            for size, count, who in found]  # fmt: skip


def refusal(pool: Pool, size: int) -> str:
    """Why a request failed: what was asked, free, cached, and the five largest holders."""
    blocks = pool.blocks()
    cached = pool.reserved - pool.allocated
    free = "" if pool.free_bytes is None else f"{told(pool.free_bytes())} free, "
    limit = "" if pool.limit is None else f", limit {told(pool.limit)}"
    text = (
        f"out of {pool.name}: asked for {told(size)}; {free}{told(pool.allocated)} in use, "
        f"{told(cached)} cached{limit}. "
        + ("Nothing is given back while a graph is captured." if pool.capturing else
           "What was idle was given back first, but for pieces of segments in use.")
    )  # fmt: skip
    largest = holders(blocks)[:5]
    return "\n".join([text, "Largest holders:", *_lines(largest)]) if largest else text


def summary(pool: Pool, abbreviated: bool = False) -> str:
    """A table of a pool's numbers, and its holders if they are recorded.

    Args:
        pool: which one.
        abbreviated: only the table of bytes.
    """
    found = statistics(pool)
    rows = [f"{pool.name:<20}{'now':>14}{'peak':>14}"]
    for title, name in (("allocated", "allocated_bytes"), ("requested", "requested_bytes"),
                        ("active", "active_bytes"), ("reserved", "reserved_bytes"),
                        ("split, not in use", "inactive_split_bytes")):  # fmt: skip
        peak = found.get(f"{name}.all.peak")
        now = told(found[f"{name}.all.current"])
        rows.append(f"{title:<20}{now:>14}{'' if peak is None else told(peak):>14}".rstrip())
    if abbreviated:
        return "\n".join(rows)
    for title, name in (("blocks in use", "allocation.all.current"),
                        ("allocations", "allocation.all.allocated"),
                        ("segments", "segment.all.current"), ("taken", "num_device_alloc"),
                        ("given back", "num_device_free"), ("second tries", "num_alloc_retries"),
                        ("refused", "num_ooms")):  # fmt: skip
        rows.append(f"{title:<20}{found[name]:>14,}")
    if pool.limit is not None:
        rows.append(f"{'limit':<20}{told(pool.limit):>14}")
    recorded = [row for row in holders(pool.blocks()) if "not recorded" not in row[2]]
    return "\n".join([*rows, *(["largest holders:"] if recorded else []), *_lines(recorded[:10])])
