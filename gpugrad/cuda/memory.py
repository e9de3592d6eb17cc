"""Device memory: what is in use, what the pool holds, the highest of both, and who has it.

Every CUDA array lies in the pool of its device (``backends.memory``).  Memory that other libraries
take, and what a program gives to CuPy as an allocator of its own, is not seen here.
"""

from __future__ import annotations

from typing import Any

from gpugrad import backends
from gpugrad.backends.memory import Pool, report
from gpugrad.backends.memory.sizes import told
from gpugrad.cuda.devices import is_available, is_initialized, ordinal
from gpugrad.errors import OutOfMemoryError as OutOfMemoryError
from gpugrad.errors import SettingError
from gpugrad.holders import holder


def _pool(device: Any) -> Pool:
    cuda = backends.cuda()  # first of all: without CUDA, this says what is missing
    return cuda.pool(ordinal(device))


def memory_stats(device: Any = None) -> dict[str, int]:
    """Bytes and counts of a device's pool, by PyTorch's keys: see ``backends.memory.report``.

    Empty before CUDA is first used.
    """
    return report.statistics(_pool(device)) if is_initialized() else {}


def memory_snapshot(device: Any = None) -> list[dict[str, Any]]:
    """Every segment of a device's pool, and of each its blocks, whose sizes add up to its own.

    ``holder`` of a block is ``op at file:line`` where ``_record_memory_history`` was on.
    """
    return report.snapshot(_pool(device)) if is_initialized() else []


def _record_memory_history(enabled: str | None = "all") -> None:
    """Note who takes memory on every device from now on; None stops that and forgets.

    It makes an allocation several times as slow.

    Raises:
        SettingError: if ``enabled`` is neither None, ``"state"`` nor ``"all"``, which are the same.
    """
    if enabled not in (None, "state", "all"):
        raise SettingError(
            f"_record_memory_history: enabled is {enabled!r}; accepted: None, 'state', 'all'"
        )
    cuda = backends.cuda()
    for index in range(cuda.device_count()):
        cuda.pool(index).record_holders(None if enabled is None else holder)


def _statistic(key: str, device: Any) -> int:
    return memory_stats(device).get(key, 0)


def memory_allocated(device: Any = None) -> int:
    """Bytes in use by tensors on a device."""
    return _statistic("allocated_bytes.all.current", device)


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that were in use at once since the start or ``reset_peak_memory_stats``."""
    return _statistic("allocated_bytes.all.peak", device)


def memory_reserved(device: Any = None) -> int:
    """Bytes that the memory pool holds on a device, in use or cached."""
    return _statistic("reserved_bytes.all.current", device)


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that the pool held since the start or ``reset_peak_memory_stats``."""
    return _statistic("reserved_bytes.all.peak", device)


def reset_peak_memory_stats(device: Any = None) -> None:
    """Let both peaks begin anew at what is in use and held now."""
    _pool(device).reset_peaks()


def reset_max_memory_allocated(device: Any = None) -> None:
    """PyTorch's older name of ``reset_peak_memory_stats``."""
    reset_peak_memory_stats(device)


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Free and total bytes of a device, as the driver sees it."""
    return backends.cuda().free_and_total(ordinal(device))


def set_per_process_memory_fraction(fraction: float, device: Any = None) -> None:
    """Let the pool hold at most this share of a device's memory.

    Raises:
        SettingError: if ``fraction`` is not between 0 and 1.
    """
    if not 0 < fraction <= 1:
        raise SettingError(
            f"set_per_process_memory_fraction: fraction is {fraction!r}; accepted: above 0, up to 1"
        )
    pool = _pool(device)
    pool.limit = int(fraction * mem_get_info(device)[1])


def set_memory_limit(size: int | None, device: Any = None) -> None:
    """Let the pool hold at most ``size`` bytes of a device's memory; None for any number.

    Raises:
        SettingError: if ``size`` is negative.
    """
    if size is not None and size < 0:
        raise SettingError(f"set_memory_limit: size is {size}; accepted: 0 or more, or None")
    _pool(device).limit = size


def empty_cache() -> None:
    """Give cached, unused device memory back to the driver."""
    if is_available():
        backends.cuda().empty_cache()


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """A table of ``memory_stats``, the largest holders, and what the driver says of the device.

    Args:
        device: which one; the current one by default.
        abbreviated: only the table of bytes.
    """
    text = report.summary(_pool(device), abbreviated)
    if abbreviated:
        return text
    free, total = mem_get_info(device)
    return f"{text}\ndriver: {told(free)} free of {told(total)}"
