"""How many threads work on one op on the CPU.

Kernels that split their work read ``get_num_threads()``.  Matrix products are left to the BLAS
library that NumPy brings along, whose own number is set through threadpoolctl.
"""

from __future__ import annotations

from typing import Any

from gpugrad.config import config
from gpugrad.errors import ArgumentError, SettingError

_between = 1


def get_num_threads() -> int:
    """Threads that one op may use: at first ``OMP_NUM_THREADS``, or the cores of this process."""
    return config.num_threads


def set_num_threads(num: int) -> None:
    """Let one op use up to ``num`` threads, in kernels and in BLAS.

    Raises:
        ArgumentError: if it is no integer; SettingError: if it is not positive.
    """
    _check("set_num_threads", num)
    from threadpoolctl import threadpool_limits  # it looks at every loaded library: not at import

    threadpool_limits(num, user_api="blas")
    config.num_threads = num


def get_num_interop_threads() -> int:
    """The bound on ops that run at the same time; the engine runs one after the other."""
    return _between


def set_num_interop_threads(num: int) -> None:
    """Let up to ``num`` ops run at the same time; the engine runs one, which any bound allows."""
    global _between
    _check("set_num_interop_threads", num)
    _between = num


def _check(caller: str, num: Any) -> None:
    if not isinstance(num, int) or isinstance(num, bool):
        raise ArgumentError(f"{caller}: num must be an int, got {type(num).__name__}")
    if num < 1:
        raise SettingError(f"{caller}: num is {num}; accepted: 1, 2, ...")
