"""Which arguments of a loader go together; all mistakes are named before anything runs."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from typing import Any

from gpugrad.errors import ArgumentError, SettingError
from gpugrad.utils.data.sampler import boolean, positive

_GROUP = "batch_size, shuffle, sampler, and drop_last"


def check_sampling(iterable: bool, batch_size: Any, shuffle: Any, sampler: Any,
                   batch_sampler: Any, drop_last: Any) -> None:  # fmt: skip
    """Raise unless the arguments say in one way what a batch is.

    Raises:
        SettingError: naming the two that exclude each other, or the value that cannot be.
    """
    if iterable:
        _check_stream(shuffle, sampler, batch_sampler)
    if sampler is not None and shuffle:
        raise SettingError("DataLoader: sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None:
        if batch_size != 1 or shuffle or sampler is not None or drop_last:
            raise SettingError(
                f"DataLoader: batch_sampler option is mutually exclusive with {_GROUP}"
            )
    elif batch_size is None:
        if drop_last:
            raise SettingError(
                "DataLoader: batch_size=None option disables auto-batching and is mutually "
                "exclusive with drop_last"
            )
    else:
        positive("DataLoader", "batch_size", batch_size)
        boolean("DataLoader", "drop_last", drop_last)


def _check_stream(shuffle: Any, sampler: Any, batch_sampler: Any) -> None:
    given = {"shuffle": shuffle or None, "sampler": sampler, "batch_sampler": batch_sampler}
    for name, value in given.items():
        if value is not None:
            raise SettingError(
                f"DataLoader with IterableDataset: expected unspecified {name} option, "
                f"but got {name}={value}"
            )


def check_workers(num_workers: Any, timeout: Any, prefetch_factor: Any,
                  persistent_workers: Any) -> None:  # fmt: skip
    """Raise unless the arguments about worker processes fit each other.

    Raises:
        ArgumentError: if ``num_workers`` is no int; SettingError: naming what does not fit.
    """
    if not isinstance(num_workers, int) or isinstance(num_workers, bool):
        raise ArgumentError(f"DataLoader: num_workers should be an int, but got {num_workers!r}")
    if num_workers < 0:
        raise SettingError(
            "DataLoader: num_workers option should be non-negative; use num_workers=0 to disable "
            f"multiprocessing, got {num_workers}"
        )
    if timeout < 0:
        raise SettingError(f"DataLoader: timeout option should be non-negative, got {timeout}")
    if num_workers == 0 and timeout:
        raise SettingError(
            "DataLoader: timeout needs num_workers > 0, because a process cannot time itself out; "
            f"got timeout={timeout}"
        )
    if prefetch_factor is not None and (num_workers == 0 or prefetch_factor < 0):
        raise SettingError(
            "DataLoader: prefetch_factor option should be non-negative and needs num_workers > 0; "
            f"got prefetch_factor={prefetch_factor}, num_workers={num_workers}"
        )
    if persistent_workers and num_workers == 0:
        raise SettingError("DataLoader: persistent_workers option needs num_workers > 0")
    cores = _cores()
    if num_workers > cores:
        warnings.warn(
            f"This DataLoader will create {num_workers} worker processes in total. Our suggested "
            f"max number of worker in current system is {cores}; more may make it slow.",
            stacklevel=3,
        )


def _cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def checked_context(context: Any, num_workers: int) -> Any:
    """A start method by name or as an object of ``multiprocessing``; None is its default.

    Raises:
        SettingError: without workers, or for an unknown name; ArgumentError: for anything else.
    """
    if context is None:
        return None
    if num_workers == 0:
        raise SettingError(
            "multiprocessing_context can only be used with multi-process loading "
            f"(num_workers > 0), but got num_workers={num_workers}"
        )
    if isinstance(context, str):
        known = multiprocessing.get_all_start_methods()
        if context not in known:
            raise SettingError(
                "multiprocessing_context option should specify a valid start method in "
                f"{known}, but got multiprocessing_context={context!r}"
            )
        return multiprocessing.get_context(context)
    if not isinstance(context, multiprocessing.context.BaseContext):
        raise ArgumentError(
            "multiprocessing_context option should be a valid context object or a string "
            f"specifying the start method, but got multiprocessing_context={context}"
        )
    return context
