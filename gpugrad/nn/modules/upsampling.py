"""Layers that resize images."""

from __future__ import annotations

from typing import Any

from gpugrad.nn.layer import Layer, shown


class Upsample(Layer, function="interpolate"):
    """Resizes ``(N, C, ...)`` to ``size``, or by ``scale_factor``; see ``interpolate``."""

    size: Any = None
    scale_factor: Any = None
    mode: str = "nearest"
    align_corners: bool | None = None
    recompute_scale_factor: bool | None = None

    def _complete(self) -> None:
        factor = self.scale_factor
        if isinstance(factor, tuple | list):
            self.scale_factor = tuple(float(f) for f in factor)
        else:
            self.scale_factor = float(factor) if factor else None

    def extra_repr(self) -> str:
        """The target and the mode."""
        target = "size=" if self.scale_factor is None else "scale_factor="
        return shown(self, f"{target} mode=")


class UpsamplingNearest2d(Upsample):
    """Resizes ``(N, C, H, W)`` to the nearest elements."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Resizes ``(N, C, H, W)`` linearly; the corners keep their place."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)
