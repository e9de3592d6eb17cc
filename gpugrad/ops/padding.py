"""Padding, one-hot codes, and moving pixels between space and channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.errors import DTypeError, SettingError, ShapeError
from gpugrad.op import Array, Ints, function, op
from gpugrad.ops.ranges import arange
from gpugrad.samples import A, Sample
from gpugrad.signature import check_choice, int_tuple
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor, wrap

_F = "nn.functional"


def _amounts(name: str, ndim: int, pad: tuple[int, ...]) -> list[tuple[int, int]]:
    """Padding before and after, per dimension; ``pad`` lists pairs from the last one backwards."""
    if len(pad) % 2 or len(pad) > 2 * ndim:
        raise SettingError(
            f"{name}: pad {pad} must be pairs, at most one per dimension of {ndim}, last one first"
        )
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    return [(0, 0)] * (ndim - len(pairs)) + pairs[::-1]


def _padded(input: Spec, *, pad: tuple[int, ...], value: float) -> Spec:
    pairs = _amounts("pad", len(input.shape), pad)
    shape = tuple(s + a + b for s, (a, b) in zip(input.shape, pairs, strict=True))
    if any(s < 0 for s in shape):
        raise ShapeError(f"pad: {pad} takes more than there is of shape {tuple(input.shape)}")
    return Spec(shape, input.dtype)


@op(promotion=None, half="native", result=_padded, order=("input", "pad", "value"),
    samples=[Sample(A((2, 3)), (1, 2)), Sample(A((2, 3)), (1, 0, -1, 2), 1.5),
             Sample(A((4,)), (-1, -1)), Sample(A((0, 2)), (1, 1)),
             Sample(A((2, 2)), ())])  # fmt: skip
def constant_pad_nd(xp, input: Array, *, pad: Ints, value: float = 0) -> Array:
    """One number around the input; negative amounts cut off."""
    shape = _padded(input, pad=pad, value=value).shape
    pairs = _amounts("pad", input.ndim, pad)
    out = xp.full(shape, value, dtype=input.dtype)
    inside = tuple(slice(max(a, 0), n - max(b, 0)) for n, (a, b) in zip(shape, pairs, strict=True))
    kept = tuple(
        slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(input.shape, pairs, strict=True)
    )
    out[inside] = input[kept]
    return out


@constant_pad_nd.vjp
def _(xp, g, pad):
    return xp.constant_pad_nd(g, tuple(-p for p in pad))


def _places(name: str, mode: str, size: int, before: int, after: int) -> Any:
    """Which element of one dimension each place of the padded one shows."""
    limit = {"reflect": size - 1, "circular": size, "replicate": None}[mode]
    if limit is not None and max(before, after) > limit:
        raise ShapeError(
            f"{name}: {mode} padding of {before} and {after} for a dimension of size {size}; "
            f"accepted: at most {limit}"
        )
    if mode == "replicate" and size == 0:
        raise ShapeError(f"{name}: replicate padding needs a dimension of at least 1 element")
    i = np.arange(-before, size + after)
    if mode == "circular":
        return i % size
    if mode == "replicate":
        return i.clip(0, size - 1)
    return size - 1 - np.abs(size - 1 - np.abs(i))


_MODES = [Sample(A((2, 3, 4)), (1, 2), mode="circular")]
for _mode in ("reflect", "replicate"):  # PyTorch has them for floats only
    _MODES.append(Sample(A((2, 3, 4), kind="float64"), (1, 2), mode=_mode))
    _MODES.append(Sample(A((2, 3, 4, 4), kind="float32"), (1, 2, 0, 1), mode=_mode))


_CONSTANT = [Sample(A((2, 3)), (1, 2)), Sample(A((2, 3)), (1, -1), value=2.0)]


@function(home=_F, method=False, samples=[*_CONSTANT, *_MODES])
def pad(input: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """The input with more around it.

    Args:
        pad: amounts before and after, for the last dimension first; negative ones cut off.
        mode: ``constant``, or for the last 1 to 3 dimensions of a batch ``reflect`` (the border
            element is not repeated), ``replicate`` (it is) or ``circular``.
        value: the constant, default 0.
    """
    amounts = int_tuple("pad", "pad", pad)
    check_choice("pad", "mode", mode, ("constant", "reflect", "replicate", "circular"))
    if mode == "constant":
        return constant_pad_nd(input, amounts, value or 0)
    if value is not None and value != 0:
        raise SettingError(f"pad: mode {mode!r} takes no value, got {value}")
    spatial = len(amounts) // 2
    if len(amounts) % 2 or not 1 <= spatial <= 3 or input.ndim not in (spatial + 1, spatial + 2):
        raise ShapeError(
            f"pad: mode {mode!r} pads the last 1 to 3 dimensions of a tensor with 1 or 2 more; got "
            f"pad {amounts} for shape {tuple(input.shape)}"
        )
    for dim, (before, after) in enumerate(_amounts("pad", input.ndim, amounts)):
        if before or after:
            places = _places("pad", mode, input.shape[dim], before, after)
            input = input.index_select(dim, wrap(places).to(input.device))
    return input


@function(home=_F, method=False, samples=[Sample(A((3,), 0, 4, kind="int"), 5)],
          differentiable=False)  # fmt: skip
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 tensor with a new last dimension that is 1 at the given class and 0 elsewhere.

    Args:
        num_classes: default: one more than the largest class.
    """
    if tensor.dtype is not dtypes.int64:
        raise DTypeError(f"one_hot: classes must be int64, got {tensor.dtype.name}")
    if num_classes < 1 and num_classes != -1:
        raise SettingError(f"one_hot: num_classes must be positive, or -1; got {num_classes}")
    if tensor.numel() == 0 and num_classes <= 0:
        raise SettingError("one_hot: num_classes must be given for a tensor without elements")
    if tensor.numel() and not tensor.is_meta:
        low, high = int(tensor.min()), int(tensor.max())
        if low < 0 or (num_classes != -1 and high >= num_classes):
            raise SettingError(
                f"one_hot: classes {low} to {high} are not within 0 to {num_classes - 1}"
            )
        num_classes = high + 1 if num_classes == -1 else num_classes
    return (tensor.unsqueeze(-1) == arange(num_classes, device=tensor.device)).to(dtypes.int64)


@function(home=_F, method=False, aliases=("pixel_shuffle",),
          samples=[Sample(A((1, 8, 2, 3)), 2)])  # fmt: skip
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C r^2, H, W) to (..., C, H r, W r): channels become pixels."""
    r = upscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-3] % (r * r):
        raise ShapeError(
            f"pixel_shuffle: shape {tuple(input.shape)} needs at least 3 dimensions and a multiple "
            f"of {r * r} channels"
        )
    *batch, c, h, w = input.shape
    n = len(batch)
    x = input.reshape(*batch, c // (r * r), r, r, h, w)
    x = x.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return x.reshape(*batch, c // (r * r), h * r, w * r)


@function(home=_F, method=False, aliases=("pixel_unshuffle",),
          samples=[Sample(A((1, 2, 4, 6)), 2)])  # fmt: skip
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H r, W r) to (..., C r^2, H, W): pixels become channels."""
    r = downscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-1] % r or input.shape[-2] % r:
        raise ShapeError(
            f"pixel_unshuffle: shape {tuple(input.shape)} needs at least 3 dimensions and sizes "
            f"that {r} divides"
        )
    *batch, c, h, w = input.shape
    n = len(batch)
    x = input.reshape(*batch, c, h // r, r, w // r, r)
    x = x.permute(*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return x.reshape(*batch, c * r * r, h // r, w // r)
