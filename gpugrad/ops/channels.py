"""Channels dealt out anew, older names of ``interpolate``, and distances within one set of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad.errors import SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import function
from gpugrad.ops.resampling import interpolate
from gpugrad.samples import A, Sample
from gpugrad.tensor import Tensor, wrap

_NN: dict[str, Any] = {"home": "nn.functional", "method": False}


@function(method=False, aliases=(
    "nn.functional.channel_shuffle", "native_channel_shuffle",
    "nn.functional.native_channel_shuffle"),
          samples=[Sample(A((2, 6, 2)), 3), Sample(A((1, 4, 2, 3)), 2)])  # fmt: skip
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """(N, g * k, ...) to the same shape, with the channels of the groups taken by turns."""
    if input.ndim < 3 or groups < 1 or input.shape[1] % groups:
        raise ShapeError(
            f"channel_shuffle: shape {tuple(input.shape)} must be (N, C, ...) with a number of "
            f"channels that {groups} divides"
        )
    n, c, *size = input.shape
    dealt = input.reshape(n, groups, c // groups, *size).transpose(1, 2)
    return dealt.reshape(n, c, *size)


@function(method=False, aliases=("nn.functional.pdist",), samples=[
    Sample(A((4, 3))), Sample(A((4, 3)), 1.0), Sample(A((3, 2)), 3.0),
    Sample(A((3, 2)), float("inf"))])  # fmt: skip
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The ``p``-norms of the differences of all pairs of rows: ``(N, M) -> (N (N - 1) / 2,)``."""
    if input.ndim != 2:
        raise ShapeError(f"pdist: input must be (N, M), got shape {tuple(input.shape)}")
    if p < 0:
        raise SettingError(f"pdist: p must not be negative, got {p}")
    first, second = (wrap(i).to(input.device) for i in np.triu_indices(input.shape[0], 1))
    return F.vector_norm(input.index_select(0, first) - input.index_select(0, second), p, -1)


_PLANE = A((1, 2, 3, 4))


@function(**_NN, samples=[Sample(_PLANE, (5, 6), mode="bilinear", align_corners=True)])
def upsample(input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
             align_corners: bool | None = None) -> Any:  # fmt: skip
    """The older name of ``interpolate``."""
    return interpolate(input, size, scale_factor, mode, align_corners)


@function(**_NN, samples=[Sample(_PLANE, (5, 6))])
def upsample_nearest(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """``interpolate`` with ``mode="nearest"``."""
    return interpolate(input, size, scale_factor)


@function(**_NN, samples=[Sample(_PLANE, (5, 6))])
def upsample_bilinear(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """``interpolate`` with ``mode="bilinear"`` and ``align_corners=True``."""
    return interpolate(input, size, scale_factor, "bilinear", True)
