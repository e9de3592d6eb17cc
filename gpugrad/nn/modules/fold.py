"""Patches of images as columns, and back."""

from __future__ import annotations

from typing import Any

from gpugrad.nn.layer import Layer


class Fold(Layer, function="fold", shows="output_size= kernel_size= dilation= padding= stride="):
    """Columns added up to images."""

    output_size: Any
    kernel_size: Any
    dilation: Any = 1
    padding: Any = 0
    stride: Any = 1


class Unfold(Layer, function="unfold", shows="kernel_size= dilation= padding= stride="):
    """Patches of images as columns."""

    kernel_size: Any
    dilation: Any = 1
    padding: Any = 0
    stride: Any = 1
