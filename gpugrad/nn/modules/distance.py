"""Similarity and distance of vectors."""

from __future__ import annotations

from typing import Any

from gpugrad.nn import functional
from gpugrad.nn.layer import Layer
from gpugrad.nn.module import Module


class CosineSimilarity(Layer, function="cosine_similarity"):
    """The cosine of the angle between vectors along ``dim``."""

    dim: int = 1
    eps: float = 1e-8


class PairwiseDistance(Module):
    """The ``p``-norm of ``x1 - x2 + eps`` along the last dimension."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Any, x2: Any) -> Any:
        """Distances ``(N,)`` of rows ``(N, D)``."""
        return functional.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
