"""``gpugrad.fuse``: one kernel forward and one backward out of a function of tensors."""

from __future__ import annotations

from gpugrad.fusion.decorator import fuse as fuse

__all__ = ["fuse"]
