"""What failed on a device, and whose fault it was.

CUDA runs kernels later than it is asked to, so a fault such as an access outside memory is reported
by whatever call comes next.  ``config.sync_debug`` waits after each op and kernel: then the one
that is named is the one that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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


def late(error: BaseException, what: str) -> KernelError:
    """The error to raise for a late one, where ``what`` was done as it came up."""
    if config.sync_debug:
        told = f"{what}: failed on the device: {error}"
    else:
        told = (
            f"{what}: {error}; it, or work given to the device before it, failed: to learn which, "
            "run again with GPUGRAD_SYNC_DEBUG=1 (or gpugrad.config.sync_debug = True)"
        )
    return KernelError(f"{told}. This process cannot use CUDA any more")


def settle(cupy: Any, what: Callable[[], str]) -> None:
    """Wait for the current stream, unless it is being captured, and raise what failed.

    Raises:
        KernelError: if work on the device failed; it begins with ``what()``.
    """
    stream = cupy.cuda.get_current_stream()
    try:
        if not stream.is_capturing():
            stream.synchronize()
    except Exception as error:
        if is_late(error):
            raise late(error, what()) from error
        raise


def called(fn: Any, args: Iterable[Any]) -> str:
    """A call in words: the function and what arrays it was given."""
    code = getattr(fn, "__code__", None)
    name = getattr(fn, "__name__", type(fn).__name__).rstrip("_")
    # A plan of the tape has the op in the name of its "file".
    where = getattr(code, "co_filename", "")
    of = where[len("<gpugrad ") : -1] if where.startswith("<gpugrad ") else ""
    return " ".join(filter(None, [of or name, shown(args)]))


def shown(args: Iterable[Any]) -> str:
    """The arrays among arguments by dtype and shape, scalars by dtype and value."""
    found = [_one(a) for a in args if hasattr(a, "dtype") or hasattr(a, "value")]
    return f"({', '.join(found)})" if found else ""


def _one(a: Any) -> str:
    if getattr(a, "shape", ()):
        return f"{a.dtype}{list(a.shape)}"
    return f"{type(a).__name__}({getattr(a, 'value', a)})"
