"""Normalisation over channels of ``(n, channels, *size)``, in the fewest passes over memory.

    forward    read x for its moments, read it again and write the result
    backward   read g and x for two sums, read both again and write the gradient

Nothing is copied into another layout: channels last go through as they are, and so come out.
Statistics, and what is computed with them, are float32 for 16-bit and float32 arrays, else float64.

On the host the compiled loops of ``backends.channel_loops`` run from ``WORTH`` elements on, less
than other loops need: networks have layers of few pixels.  Below it NumPy computes the same
formulas.  Given the same statistics both write the same bits; sums, and so statistics, may differ
in the last.  On CUDA devices the kernels of ``nvidia.channels`` serve every size.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np

from gpugrad.backends import channel_loops as loops
from gpugrad.backends.additions.convolution import lies_last
from gpugrad.backends.memory.host import WORTH as POOLED
from gpugrad.backends.memory.host import empty

#: Elements from which compiled loops are used.
WORTH = 1 << 14


class Laid:
    """How ``(n, c, *size)`` is seen: ``(rows, channels)`` or ``(outer, channels, inner)``.

    Attributes:
        last: whether channels are last in memory.
        columns: whether neighbours in memory belong to different channels.
    """

    def __init__(self, lib: Any, x: Any) -> None:
        self._lib, self._like, self._shape = lib, x, x.shape
        self.last = lies_last(x)
        self.columns = self.last or math.prod(x.shape[2:]) == 1

    def flat(self, x: Any) -> Any:
        """An array of the images' shape in this view; a copy only where it lies otherwise."""
        if self.last:
            x = x.transpose(0, *range(2, x.ndim), 1)
        x, (n, c) = self._lib.ascontiguousarray(x), self._shape[:2]
        return x.reshape(-1, c) if self.columns else x.reshape(n, c, -1)

    def fresh(self) -> Any:
        """Images like these to write into.

        They look into the memory themselves and not into another array, which might have other
        users: so a gradient is handed on without a copy.
        """
        shape, dtype, host = self._shape, self._like.dtype, self._lib is np
        if not self.last:
            return (empty if host else self._lib.empty)(shape, dtype)
        images = self._lib.empty_like(self._like)
        if host and images.nbytes >= POOLED:
            lease = cast("Any", empty(shape, dtype).base)
            return np.ndarray(shape, dtype, lease, 0, images.strides)
        return images


def wide(dtype: Any) -> Any:
    """The dtype of statistics: what an array of ``dtype`` is computed in."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def build(lib: Any) -> dict[str, Any]:
    """Normalisation over channels for arrays of ``lib``."""

    def compiles(x: Any) -> bool:
        return lib is np and x.size >= WORTH

    def vector(v: Any, channels: int, otherwise: float, dtype: Any) -> Any:
        """A value per channel, or the same one for all where there is none."""
        if v is None:
            return lib.full(channels, otherwise, dtype)
        return lib.ascontiguousarray(v, dtype)

    def along(v: Any, x: Any) -> Any:
        return v.reshape(-1, *(1,) * (x.ndim - 2))

    def over(x: Any) -> tuple[int, ...]:
        return (0, *range(2, x.ndim))

    def blocks(rows: int, channels: int) -> tuple[Any, int]:
        """Numbers of the blocks that columns are added in, and their rows: few, for float32."""
        step = min(max(4 * loops.BLOCK // channels, 32), 128)
        return np.arange(-(-rows // step)), step

    def moments(x: Any) -> tuple[Any, Any]:
        """Mean and variance per channel; of nothing, NaN."""
        c, dtype = x.shape[1], x.dtype
        n = x.size // max(c, 1)
        if not compiles(x):
            mean = x.sum(over(x), np.float64) / n
            d = x - along(mean, x)
            mean += d.sum(over(x)) / n  # nothing but for an infinity, which leaves NaN everywhere
            return mean.astype(dtype), ((d * d).sum(over(x)) / n).astype(dtype)
        laid = Laid(np, x)
        flat = laid.flat(x)
        if not laid.columns:
            mean, var = np.empty((2, c), dtype)
            loops.plane_moments(np.arange(c), mean, var, flat)
            return mean, var
        which, step = blocks(n, c)
        means, rests = np.empty((2, len(which), c))
        loops.column_moments(which, means, rests, flat, step)
        sizes = np.minimum(step, n - step * which)[:, None]
        mean = (means * sizes).sum(0) / n
        var = (rests + sizes * (means - mean) ** 2).sum(0) / n
        return mean.astype(dtype), var.astype(dtype)

    def sums(g: Any, x: Any, mean: Any) -> tuple[Any, Any]:
        """Sums of ``g`` and of ``g * (x - mean)`` per channel, in float64."""
        c = x.shape[1]
        if not compiles(x):
            product = (g * (x - along(mean, x))).sum(over(x), np.float64)
            return g.sum(over(x), np.float64), product
        laid = Laid(np, x)
        if not laid.columns:
            total, product = np.empty((2, c))
            loops.plane_sums(np.arange(c), mean, total, product, laid.flat(g), laid.flat(x))
            return total, product
        which, step = blocks(x.size // c, c)
        totals, products = np.empty((2, len(which), c))
        loops.column_sums(which, totals, products, laid.flat(g), laid.flat(x), mean, step)
        return totals.sum(0), products.sum(0)

    def applied(x: Any, mean: Any, scale: Any, shift: Any, residual: Any, relu: bool) -> Any:
        """``(x - mean) * scale + shift``, then the residual added, then nothing below 0."""
        if not compiles(x):
            out = (x - along(mean, x)) * along(scale, x)
            out += along(shift, x)
            out = out if residual is None else out + residual
            return lib.where(out <= 0, x.dtype.type(0), out) if relu else out
        laid = Laid(np, x)
        images = laid.fresh()
        flat, out = laid.flat(x), laid.flat(images)
        more = out if residual is None else laid.flat(residual)
        rest = (residual is not None, relu)
        if laid.columns:
            loops.column_apply(flat, out, more, mean, scale, shift, *rest)
        else:
            loops.plane_apply(np.arange(x.shape[1]), mean, scale, shift, flat, out, more, *rest)
        return images

    def combined(g: Any, x: Any, mean: Any, a: Any, b: Any, c: Any) -> Any:
        """``g * a + (x - mean) * b + c``."""
        if not compiles(x):
            out = g * along(a, x)
            out += (x - along(mean, x)) * along(b, x)
            out += along(c, x)
            return out
        laid = Laid(np, x)
        images = laid.fresh()
        gs, xs, out = map(laid.flat, (g, x, images))
        if laid.columns:
            loops.column_gradient(gs, xs, out, mean, a, b, c)
        else:
            loops.plane_gradient(np.arange(x.shape[1]), mean, a, b, c, gs, xs, out)
        return images

    def channel_apply(x: Any, mean: Any, var: Any, weight: Any, bias: Any, eps: float,
                      residual: Any = None, relu: bool = False) -> Any:  # fmt: skip
        """``(x - mean) / sqrt(var + eps) * weight + bias``, with a given mean and variance.

        Args:
            residual: what to add to that, of the shape of ``x``.
            relu: whether to write 0 for what is less after that.
        """
        half, c, dtype = x.dtype, x.shape[1], wide(x.dtype)
        x = x.astype(dtype, copy=False)
        residual = None if residual is None else residual.astype(dtype, copy=False)
        scale = vector(weight, c, 1, np.float64) / lib.sqrt(vector(var, c, 1, np.float64) + eps)
        mean, shift = vector(mean, c, 0, dtype), vector(bias, c, 0, dtype)
        out = applied(x, mean, scale.astype(dtype), shift, residual, relu)
        return out.astype(half, copy=False)

    def channel_norm(x: Any, weight: Any, bias: Any, eps: float, residual: Any = None,
                     relu: bool = False) -> Any:  # fmt: skip
        """``channel_apply`` with the moments of ``x`` itself; returns these, too."""
        mean, var = moments(x.astype(wide(x.dtype), copy=False))
        return channel_apply(x, mean, var, weight, bias, eps, residual, relu), mean, var

    def channel_norm_grad(g: Any, x: Any, mean: Any, var: Any, weight: Any, g_mean: Any,
                          g_var: Any, eps: float, training: bool) -> Any:  # fmt: skip
        """Gradients of ``channel_norm`` in ``x``, ``weight`` and ``bias``, the latter per channel.

        Args:
            g: gradient of the result.
            g_mean, g_var: of the moments, per channel.
            training: whether the moments are those of ``x``, rather than given numbers.
        """
        half, c, dtype = x.dtype, x.shape[1], wide(x.dtype)
        x, g = x.astype(dtype, copy=False), g.astype(dtype, copy=False)
        mean = vector(mean, c, 0, dtype)
        total, product = sums(g, x, mean)
        inverse = 1 / lib.sqrt(vector(var, c, 1, np.float64) + eps)
        a = vector(weight, c, 1, np.float64) * inverse
        if training:
            share = c / x.size if x.size else 0.0
            b = share * (2 * vector(g_var, c, 0, np.float64) - a * inverse * inverse * product)
            lift = share * (vector(g_mean, c, 0, np.float64) - a * total)
            out = combined(g, x, mean, *(v.astype(dtype) for v in (a, b, lift)))
        else:
            zero = vector(None, c, 0, dtype)
            out = applied(g, zero, a.astype(dtype), zero, None, False)
        g_weight, g_bias = (product * inverse).astype(dtype), total.astype(dtype)
        return out.astype(half, copy=False), g_weight, g_bias

    own = {
        "channel_norm": channel_norm, "channel_apply": channel_apply,
        "channel_norm_grad": channel_norm_grad,
    }  # fmt: skip
    if lib is not np:
        from gpugrad.backends.nvidia import channels

        own = {**own, **channels.over(lib, own)}
    return own
