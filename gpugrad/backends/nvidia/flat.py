"""Launching hand-written kernels that have a thread per element of what they write."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad.backends.nvidia import launch
from gpugrad.backends.nvidia.text import text

#: Threads per block: none of these kernels shares anything between threads.
BLOCK = 256
#: Dtypes that kernels compute with, by name; 16-bit ones in float32.
FLOATS = ("float32", "float64", "float16", "bfloat16")
_Sizes = tuple[int, ...]
_Pairs = tuple[tuple[int, int], ...]
_SPATIAL = ("size", "out", "kernel", "stride", "before", "dilation")
#: ``GGWindows`` of ``kernels/windows.cuh``, by the bits of its numbers.
_WINDOWS = {
    bits: np.dtype([("inner", f"i{bits // 8}"), *((n, f"i{bits // 8}", 3) for n in _SPATIAL)])
    for bits in (32, 64)
}


def run(file: str, name: str, threads: int, args: tuple[Any, ...]) -> None:
    """Queue a kernel of so many threads; nothing for none.

    Args:
        file: of ``kernels/``, which has the kernel.
        name: the kernel's symbol.
        threads: how many take part; the rest of the last block has nothing to do.
        args: as ``launch.Kernel.launch`` takes them.
    """
    if threads:
        kernel = launch.kernel(text(file), name, file)
        kernel.launch((-(-threads // BLOCK), 1, 1), (BLOCK, 1, 1), args)


def bits_for(*counts: int) -> int:
    """Bits of a number that counts elements: 64 if one of the arrays has too many for 32."""
    return 32 if max(counts) < 2**31 - BLOCK else 64


def integer(bits: int, value: int) -> Any:
    """A number of 32 or 64 bits, as an argument."""
    return np.int32(value) if bits == 32 else np.int64(value)


def address(array: Any) -> int:
    """Where a CuPy array's first element is."""
    return int(array.data.ptr)


def by_sixteen(itemsize: int, count: int, *arrays: Any) -> int:
    """Elements that 16 bytes hold, if arrays can be moved so by rows of ``count``; else 1."""
    packed = 16 // itemsize
    return packed if not count % packed and all(address(a) % 16 == 0 for a in arrays) else 1


def windows(bits: int, inner: int, size: _Sizes, out: _Sizes, kernel: _Sizes, stride: _Sizes,
            padding: _Pairs, dilation: _Sizes) -> Any:  # fmt: skip
    """Windows over images of up to three dims, as kernels take them: always three."""

    def three(values: _Sizes, first: int) -> _Sizes:
        return (first,) * (3 - len(values)) + tuple(values)

    before = tuple(lo for lo, _ in padding)
    values = (inner, three(size, 1), three(out, 1), three(kernel, 1), three(stride, 1),
              three(before, 0), three(dilation, 1))  # fmt: skip
    return np.array(values, _WINDOWS[bits])[()]
