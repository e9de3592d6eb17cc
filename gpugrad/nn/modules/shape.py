"""Layers that only rearrange: dimensions, channels and patches."""

from __future__ import annotations

from typing import Any

from gpugrad.errors import ArgumentError
from gpugrad.nn.layer import Layer


class Flatten(Layer, shows="start_dim= end_dim="):
    """Makes one dimension of ``start_dim`` to ``end_dim``; of all but the batch by default."""

    start_dim: int = 1
    end_dim: int = -1

    def forward(self, input: Any) -> Any:
        """The flattened input."""
        return input.flatten(self.start_dim, self.end_dim)


class Unflatten(Layer, shows="dim= unflattened_size="):
    """Makes several dimensions of ``dim``; one of the sizes may be -1."""

    dim: int
    unflattened_size: Any

    def _complete(self) -> None:
        given = self.unflattened_size
        listed = isinstance(given, tuple | list)
        if not listed or not all(isinstance(s, int) for s in (self.dim, *given)):
            raise ArgumentError(
                "Unflatten: dim must be an int and unflattened_size a tuple of ints, got "
                f"{self.dim!r} and {given!r}; named dimensions are not supported"
            )

    def forward(self, input: Any) -> Any:
        """The unflattened input."""
        return input.unflatten(self.dim, self.unflattened_size)


class PixelShuffle(Layer, function="pixel_shuffle", shows="upscale_factor="):
    """``(..., C r^2, H, W)`` to ``(..., C, H r, W r)``."""

    upscale_factor: int


class PixelUnshuffle(Layer, function="pixel_unshuffle", shows="downscale_factor="):
    """``(..., C, H r, W r)`` to ``(..., C r^2, H, W)``."""

    downscale_factor: int


class ChannelShuffle(Layer, function="channel_shuffle", shows="groups="):
    """Takes the channels of the groups by turns."""

    groups: int


class Unfold(Layer, function="unfold", shows="kernel_size= dilation= padding= stride="):
    """Patches of images as columns."""

    kernel_size: Any
    dilation: Any = 1
    padding: Any = 0
    stride: Any = 1


class Fold(Layer, function="fold", shows="output_size= kernel_size= dilation= padding= stride="):
    """Columns added up to images."""

    output_size: Any
    kernel_size: Any
    dilation: Any = 1
    padding: Any = 0
    stride: Any = 1
