"""Patches of CuPy arrays by the kernels of ``kernels/patches.cu``.

Images in one to three dimensions and any layout; ``additions/convolution.py`` says what each
function gives, and does what no kernel is for.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gpugrad.backends.additions.convolution import Pairs, Sizes, out_sizes
from gpugrad.backends.nvidia.flat import FLOATS, bits_for, integer, run, windows

_FILE = "patches.cu"
#: ``GGSteps`` of the kernels' text.
_STEPS = {
    bits: np.dtype([*((n, f"i{bits // 8}") for n in ("channels", "image", "channel")),
                    ("dim", f"i{bits // 8}", 3)])
    for bits in (32, 64)
}  # fmt: skip


def over(lib: Any, plain: dict[str, Any]) -> dict[str, Any]:
    """Patches for arrays of ``lib`` (``cupy``); ``plain`` has the array code by name."""

    def im2col(x: Any, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes) -> Any:
        if len(kernel) > 3 or x.itemsize > 8 or min(x.strides, default=0) < 0:
            return plain["im2col"](x, kernel, stride, padding, dilation)
        n, c, *size = x.shape
        out = out_sizes(tuple(size), kernel, stride, padding, dilation)
        places = math.prod(out)
        columns = lib.empty((n, c * math.prod(kernel), places), x.dtype)
        steps = [s // x.itemsize for s in x.strides]
        reach = sum(s * (m - 1) for s, m in zip(steps, x.shape, strict=True))
        bits, threads = bits_for(columns.size, reach + 1), n * c * places
        dims = (0,) * (3 - len(size)) + tuple(steps[2:])
        laid = np.array((c, steps[0], steps[1], dims), _STEPS[bits])[()]
        over = windows(bits, 1, tuple(size), out, kernel, stride, padding, dilation)
        run(_FILE, f"im2col_{x.itemsize}_{bits}", threads,
            (x, columns, integer(bits, threads), laid, over))  # fmt: skip
        return columns

    def col2im(columns: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs,
               dilation: Sizes) -> Any:  # fmt: skip
        if len(kernel) > 3 or columns.dtype.name not in FLOATS:
            return plain["col2im"](columns, size, kernel, stride, padding, dilation)
        columns = lib.ascontiguousarray(columns)
        c = columns.shape[1] // math.prod(kernel)
        out = out_sizes(size, kernel, stride, padding, dilation)
        x = lib.empty((columns.shape[0], c, *size), columns.dtype)
        bits = bits_for(columns.size, x.size)
        over = windows(bits, 1, size, out, kernel, stride, padding, dilation)
        run(_FILE, f"col2im_{x.dtype.name}_{bits}", x.size,
            (columns, x, integer(bits, x.size), over))  # fmt: skip
        return x

    return {"im2col": im2col, "col2im": col2im}
