"""What distributions share: broadcasting of parameters, and probabilities as log-odds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from gpugrad import dtypes
from gpugrad.config import config
from gpugrad.errors import ArgumentError
from gpugrad.functional_namespace import F
from gpugrad.modes import enable_grad
from gpugrad.ops.creation import tensor
from gpugrad.tensor import Tensor


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """Tensors and numbers brought to one shape; numbers get the dtype and device of the tensors.

    Raises:
        ArgumentError: if one is neither tensor nor number.
    """
    for v in values:
        if not isinstance(v, Tensor | int | float):
            raise ArgumentError(f"parameters must be tensors or numbers, got {type(v).__name__}")
    like = next((v for v in values if isinstance(v, Tensor)), None)
    dtype = config.default_dtype if like is None else like.dtype
    device = None if like is None else like.device
    found = [v if isinstance(v, Tensor) else tensor(v, dtype=dtype, device=device) for v in values]
    return tuple(F.broadcast_tensors(*found))


def uniform_like(shape: Any, like: Tensor) -> Tensor:
    """Uniform numbers from 0 up to 1, of the dtype and on the device of a parameter."""
    drawn: Tensor = F.rand(shape, dtype=like.dtype, device=like.device)
    return drawn


def normal_like(shape: Any, like: Tensor) -> Tensor:
    """Standard normal numbers, of the dtype and on the device of a parameter."""
    drawn: Tensor = F.randn(shape, dtype=like.dtype, device=like.device)
    return drawn


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities, moved off 0 and 1 by the dtype's epsilon so that their logarithms exist."""
    eps = dtypes.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """Logarithms of probabilities, or for a single event the log of its odds."""
    clamped = clamp_probs(probs)
    return clamped.log() - (-clamped).log1p() if is_binary else clamped.log()


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """The way back from ``probs_to_logits``; along the last dim they sum to 1."""
    return logits.sigmoid() if is_binary else F.softmax(logits, -1)


def sum_rightmost(value: Tensor, dim: int) -> Tensor:
    """Sum over the last ``dim`` dimensions."""
    if dim == 0:
        return value
    return value.reshape((*value.shape[: value.ndim - dim], -1)).sum(-1)


class lazy_property(cached_property[Any]):
    """An attribute worked out when first asked for, with its history also under ``no_grad``."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        super().__init__(enable_grad()(wrapped))
