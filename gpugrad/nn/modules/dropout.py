"""Dropout layers: they act in training only."""

from __future__ import annotations

from gpugrad.errors import SettingError
from gpugrad.nn.layer import Layer


class _DropoutNd(Layer, shows="p= inplace=", by_mode=True):
    p: float = 0.5
    inplace: bool = False

    def _complete(self) -> None:
        if not 0 <= self.p <= 1:
            raise SettingError(f"{type(self).__name__}: p must be in [0, 1], got {self.p}")


class Dropout(_DropoutNd, function="dropout"):
    """Zeroes each element with probability ``p``, and scales the rest by ``1 / (1 - p)``."""


class Dropout1d(_DropoutNd, function="dropout1d"):
    """Zeroes whole channels of ``(N, C, L)`` or ``(C, L)``."""


class Dropout2d(_DropoutNd, function="dropout2d"):
    """Zeroes whole channels of ``(N, C, H, W)``."""


class Dropout3d(_DropoutNd, function="dropout3d"):
    """Zeroes whole channels of ``(N, C, D, H, W)`` or ``(C, D, H, W)``."""


class AlphaDropout(_DropoutNd, function="alpha_dropout"):
    """Dropout that keeps mean 0 and variance 1 after SELU."""


class FeatureAlphaDropout(_DropoutNd, function="feature_alpha_dropout"):
    """``AlphaDropout`` of whole channels."""
