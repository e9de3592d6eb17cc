"""What failed on a device, and whose fault it was.

CUDA runs kernels later than it is asked to, so a fault such as an access outside memory is reported
by whatever call comes next.  ``config.sync_debug`` waits after each op and kernel: then the one
that is named is the one that failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gpugrad.config import config
from gpugrad.errors import KernelError

#: Codes of CUDA that work on the device reports late, and after which the process cannot use CUDA
#: any more: ECC, illegal address, timeout, assert, stack, instruction, alignment, address space,
#: program counter, launch failure, and their like.
LATE = frozenset({214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721})


def is_late(error: BaseException) -> bool:
    """Whether an exception of CuPy reports a fault of work that was given to a device before."""
    # Both classes, of the runtime's and the driver's errors, carry the code.
    return getattr(error, "status", None) in LATE and type(error).__name__.startswith("CUDA")


def late(error: BaseException, what: str, args: Iterable[Any] = ()) -> KernelError:
    """The error to raise for a late one, which came up as ``what`` was done with ``args``."""
    if config.sync_debug:
        told = f"{what}: failed on the device: {error}{given(args)}"
    else:
        told = (
            f"{what}: {error}{given(args)}; it, or work given to the device before it, failed: to "
            "learn which, run again with GPUGRAD_SYNC_DEBUG=1 (or gpugrad.config.sync_debug = True)"
        )
    return KernelError(f"{told}. This process cannot use CUDA any more")


def settle(cupy: Any) -> None:
    """Wait for the current stream, unless it is being captured; CuPy raises what failed."""
    stream = cupy.cuda.get_current_stream()
    if not stream.is_capturing():
        stream.synchronize()


def name_of(fn: Any) -> str:
    """What a function that a backend runs is called: an op, or the tape's plan for one."""
    # Compiled text has no name of its own, but that of the op in place of a file's.
    where = getattr(getattr(fn, "__code__", None), "co_filename", "")
    if where.startswith("<gpugrad "):
        return str(where[len("<gpugrad ") : -1])
    return str(getattr(fn, "__name__", type(fn).__name__)).rstrip("_")


def given(args: Iterable[Any]) -> str:
    """The arrays among arguments by dtype and shape, scalars by type and value, in parentheses."""
    found = [_one(a) for a in args if hasattr(a, "dtype") or hasattr(a, "value")]
    return f" (given {', '.join(found)})" if found else ""


def _one(a: Any) -> str:
    if getattr(a, "shape", ()):
        return f"{a.dtype}{list(a.shape)}"
    return f"{type(a).__name__}({getattr(a, 'value', a)})"
