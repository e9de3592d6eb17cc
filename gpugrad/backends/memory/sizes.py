"""How large a block is for a request, and how much a pool takes at once.

Block sizes are multiples of 512 bytes, with 16 sizes from each power of two to the next but never
more than 2 MiB apart.  So a block is larger than its request by less than 512 bytes or 1/16 of it,
whichever is more, and by less than 2 MiB; and requests that differ a little share their blocks.

Memory is taken in segments of three kinds, so that a small block that lives long cannot hold up a
large one: up to 1 MiB blocks share segments of 2 MiB, up to 10 MiB they share segments of 20 MiB,
above that a segment is made to measure, in whole 2 MiB.
"""

from __future__ import annotations

ALIGNMENT = 512
MIB = 1 << 20
#: Largest block and the size of a segment, for the kinds of segments that blocks share.
SHARED = ((MIB, 2 * MIB), (10 * MIB, 20 * MIB))
KINDS = len(SHARED) + 1


def block_size(size: int) -> int:
    """Bytes of the block that serves a request of ``size`` bytes."""
    step = max(ALIGNMENT, min(1 << max(size - 1, 1).bit_length() >> 5, 2 * MIB))
    return -(-max(size, 1) // step) * step


def kind_of(size: int) -> int:
    """The kind of segment that a block of ``size`` bytes lies in."""
    return next((k for k, (largest, _) in enumerate(SHARED) if size <= largest), KINDS - 1)


def segment_size(size: int) -> int:
    """Bytes to take at once for a block of ``size`` bytes."""
    kind = kind_of(size)
    return SHARED[kind][1] if kind < len(SHARED) else -(-size // (2 * MIB)) * 2 * MIB


def told(size: int) -> str:
    """A number of bytes for people."""
    if size < 1024:
        return f"{size} bytes"
    for unit, worth in (("KiB", 1 << 10), ("MiB", MIB), ("GiB", 1 << 30)):
        if size < worth << 10 or unit == "GiB":
            break
    return f"{size / worth:.1f} {unit}"
