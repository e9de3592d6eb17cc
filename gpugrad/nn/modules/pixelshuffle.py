"""Channels as pixels, and back."""

from __future__ import annotations

from gpugrad.nn.layer import Layer


class PixelShuffle(Layer, function="pixel_shuffle", shows="upscale_factor="):
    """``(..., C r^2, H, W)`` to ``(..., C, H r, W r)``."""

    upscale_factor: int


class PixelUnshuffle(Layer, function="pixel_unshuffle", shows="downscale_factor="):
    """``(..., C, H r, W r)`` to ``(..., C r^2, H, W)``."""

    downscale_factor: int
