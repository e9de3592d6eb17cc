"""Normalisation over channels of CuPy arrays by the kernels of ``kernels/channels.cu``.

Floats of 16 bits or more, as planes or with channels last in memory; the result lies as the input
does.  ``additions/channels.py`` says what each function gives, and does what no kernel is for:
arrays without elements.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from gpugrad.backends.additions.channels import Laid, wide
from gpugrad.backends.nvidia import launch
from gpugrad.backends.nvidia.flat import bits_for, by_sixteen
from gpugrad.backends.nvidia.text import text

_THREADS = 256
_TYPES = {"float32": "float", "float64": "double", "float16": "gg_half", "bfloat16": "gg_bf16"}
#: ``GGPlaces`` of the kernels' text, by the bits of its numbers.
_PLACES = {
    bits: np.dtype([(n, f"i{bits // 8}") for n in ("outer", "channels", "inner")])
    for bits in (32, 64)
}
#: Channels of columns that a thread takes at most: with 8 it runs out of registers.
MOST_COLUMNS = 4
#: Elements that a thread should have before a channel is shared by more blocks, in accesses.
_LEAST = 8
#: Blocks that fill any device several times: for sums, whose parts are joined, and to write.
_SUMMING, _WRITING = 2048, 8192
_MOST_PARTS, _MOST_Y = 256, 65535


@cache
def source(dtype: str, bits: int, taken: int, columns: bool) -> str:
    """The kernels for elements of a dtype.

    Args:
        dtype: its name.
        bits: of an element's number.
        taken: how many elements a thread moves at once.
        columns: whether channels are last in memory.
    """
    layout = "true" if columns else "false"
    offset = "int" if bits == 32 else "long long"
    return f"{text('channels.cu')}\nGG_CHANNELS({_TYPES[dtype]}, {offset}, {taken}, {layout})\n"


def sources() -> list[str]:
    """The texts of all variants: every dtype, offset, access and layout."""
    widths = {"float64": 2, "float32": 4, "float16": 8, "bfloat16": 8}
    return [
        source(dtype, bits, taken, columns)
        for dtype, widest in widths.items() for bits in (32, 64) for columns in (False, True)
        for taken in {1, min(widest, MOST_COLUMNS) if columns else widest}
    ]  # fmt: skip


class Work:
    """How images go to kernels: which ones, what they are told, and blocks for both passes.

    Args:
        laid: how the images are seen.
        first: the images in that view.
        arrays: all that is read or written beside them.
    """

    def __init__(self, laid: Laid, first: Any, *arrays: Any) -> None:
        outer, channels, inner = (*first.shape, 1)[:3]
        row = channels if laid.columns else inner
        taken = by_sixteen(first.itemsize, row, first, *arrays)
        if laid.columns and taken > MOST_COLUMNS:
            taken = MOST_COLUMNS
        bits = bits_for(first.size)
        self._source = source(first.dtype.name, bits, taken, laid.columns)
        self._about = f"normalisation over channels of {first.dtype.name}"
        self.places = np.array((outer, channels, inner), _PLACES[bits])[()]
        lanes = 8 if laid.columns else _THREADS
        groups = -(-channels // (_THREADS // lanes * taken)) if laid.columns else channels
        shared = -(-(outer if laid.columns else outer * inner // taken) // (_LEAST * lanes))
        self.parts = min(shared, -(-_SUMMING // groups), _MOST_PARTS)
        self.summing = (groups, self.parts, 1)
        self.writing = (groups, min(shared, -(-_WRITING // groups), _MOST_Y), 1)

    def run(self, name: str, grid: tuple[int, int, int], *args: Any) -> None:
        """Queue one of the kernels."""
        found = launch.kernel(self._source, name, self._about)
        found.launch(grid, (_THREADS, 1, 1), (*args, self.places))


def over(lib: Any, plain: dict[str, Any]) -> dict[str, Any]:
    """Functions for arrays of ``lib`` (``cupy``); ``plain`` has the array code by name."""

    def vector(v: Any, dtype: Any) -> Any:
        return None if v is None else lib.ascontiguousarray(v, dtype)

    def normed(x: Any, mean: Any, var: Any, weight: Any, bias: Any, eps: float, residual: Any,
               relu: bool) -> Any:  # fmt: skip
        """The result, and the moments: measured if none are given."""
        laid, dtype, c = Laid(lib, x), wide(x.dtype), x.shape[1]
        flat, out, parts = laid.flat(x), laid.fresh(), None
        more = None if residual is None else laid.flat(residual.astype(x.dtype, copy=False))
        work = Work(laid, flat, out, *(() if more is None else (more,)))
        if mean is None:
            parts = lib.empty((work.parts, c, 3), dtype)
            work.run("channel_moments", work.summing, flat, parts)
            mean, var = lib.empty(c, dtype), lib.empty(c, dtype)
        mean, var, weight, bias = (vector(v, dtype) for v in (mean, var, weight, bias))
        work.run("channel_apply", work.writing, flat, more, out, parts, np.int32(work.parts), mean,
                 var, weight, bias, np.float64(eps), np.int32(relu))  # fmt: skip
        return out, mean, var

    def channel_norm(x: Any, weight: Any, bias: Any, eps: float, residual: Any = None,
                     relu: bool = False) -> Any:  # fmt: skip
        if not x.size:
            return plain["channel_norm"](x, weight, bias, eps, residual, relu)
        return normed(x, None, None, weight, bias, eps, residual, relu)

    def channel_apply(x: Any, mean: Any, var: Any, weight: Any, bias: Any, eps: float,
                      residual: Any = None, relu: bool = False) -> Any:  # fmt: skip
        if not x.size:
            return plain["channel_apply"](x, mean, var, weight, bias, eps, residual, relu)
        return normed(x, mean, var, weight, bias, eps, residual, relu)[0]

    def channel_norm_grad(g: Any, x: Any, mean: Any, var: Any, weight: Any, g_mean: Any,
                          g_var: Any, eps: float, training: bool) -> Any:  # fmt: skip
        if not x.size:
            return plain["channel_norm_grad"](
                g, x, mean, var, weight, g_mean, g_var, eps, training
            )  # fmt: skip
        laid, dtype, c = Laid(lib, x), wide(x.dtype), x.shape[1]
        xs, gs, out = laid.flat(x), laid.flat(g.astype(x.dtype, copy=False)), laid.fresh()
        mean, var, weight, g_mean, g_var = (
            vector(v, dtype) for v in (mean, var, weight, g_mean, g_var)
        )
        work = Work(laid, xs, gs, out)
        parts = lib.empty((work.parts, c, 2), dtype)
        work.run("channel_sums", work.summing, gs, xs, mean, parts)
        g_weight, g_bias = lib.empty(c, dtype), lib.empty(c, dtype)
        share = c / x.size if training else 0.0
        work.run("channel_gradient", work.writing, gs, xs, out, parts, np.int32(work.parts), mean,
                 var, weight, g_mean, g_var, g_weight, g_bias, np.float64(eps),
                 np.float64(share))  # fmt: skip
        return out, g_weight, g_bias

    return {
        "channel_norm": channel_norm, "channel_apply": channel_apply,
        "channel_norm_grad": channel_norm_grad,
    }  # fmt: skip
