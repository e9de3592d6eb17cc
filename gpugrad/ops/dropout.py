"""Dropout of whole channels, the kind that keeps SELU's mean and variance, and Gumbel's softmax."""

from __future__ import annotations

import math
import warnings
from typing import Any

from gpugrad.errors import SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import function
from gpugrad.ops.random import drawn, uniforms
from gpugrad.tensor import Tensor, wrap

_NN: dict[str, Any] = {"home": "nn.functional", "method": False, "samples": (), "torch": ""}
#: What SELU tends to for large negative inputs: ``-scale * alpha``.
_LOWEST = -1.7580993408473766


def _off(name: str, p: float, training: bool) -> bool:
    """Whether there is nothing to do.

    Raises:
        SettingError: if ``p`` is no probability.
    """
    if not 0 <= p <= 1:
        raise SettingError(f"{name}: p must be in [0, 1], got {p}")
    return not training or p == 0


def _kept(name: str, input: Tensor, p: float, channels: bool) -> Tensor:
    """1 where to keep, 0 where to drop; with ``channels`` one number for each of ``(n, c)``."""
    if channels and input.ndim < 2:
        raise ShapeError(f"{name}: input must be (N, C, ...), got shape {tuple(input.shape)}")
    shape = (*input.shape[:2], *(1,) * (input.ndim - 2)) if channels else tuple(input.shape)
    like = F.zeros(shape, dtype=input.dtype, device=input.device)
    return F.astype(uniforms(like, None) >= p, input.dtype)


def _given(input: Tensor, result: Tensor, inplace: bool) -> Tensor:
    return input.copy_(result) if inplace else result


def _by_channel(name: str, input: Tensor, p: float, inplace: bool) -> Tensor:
    kept = _kept(name, input, p, channels=True)
    return _given(input, input * (kept / (1 - p) if p < 1 else kept), inplace)


def _one_example(name: str, n: int, input: Tensor, p: float, training: bool,
                 inplace: bool) -> Tensor:  # fmt: skip
    """Channel dropout of ``(N, C, *n sizes)`` or of one example without ``N``."""
    if input.ndim not in (n + 1, n + 2):
        raise ShapeError(
            f"{name}: input must have {n + 1} or {n + 2} dimensions, got {tuple(input.shape)}"
        )
    if _off(name, p, training):
        return input
    if input.ndim == n + 2:
        return _by_channel(name, input, p, inplace)
    result = F.squeeze(_by_channel(name, F.expand_dims(input, 0), p, False), 0)
    return _given(input, result, inplace)


@function(**_NN)
def dropout1d(input: Tensor, p: float = 0.5, training: bool = True,
              inplace: bool = False) -> Tensor:  # fmt: skip
    """Zero whole channels of ``(N, C, L)`` or ``(C, L)`` with probability ``p``."""
    return _one_example("dropout1d", 1, input, p, training, inplace)


@function(**_NN)
def dropout2d(input: Tensor, p: float = 0.5, training: bool = True,
              inplace: bool = False) -> Tensor:  # fmt: skip
    """Zero whole channels of ``(N, C, H, W)`` with probability ``p``.

    Three dimensions count as ``(N, C, L)``, as for PyTorch, which warns, too.
    """
    if _off("dropout2d", p, training):
        return input
    if input.ndim != 4:
        warnings.warn(
            f"dropout2d: input should be (N, C, H, W), got shape {tuple(input.shape)}; the first "
            "two dimensions are taken for N and C",
            stacklevel=2,
        )
    return _by_channel("dropout2d", input, p, inplace)


@function(**_NN)
def dropout3d(input: Tensor, p: float = 0.5, training: bool = True,
              inplace: bool = False) -> Tensor:  # fmt: skip
    """Zero whole channels of ``(N, C, D, H, W)`` or ``(C, D, H, W)`` with probability ``p``."""
    return _one_example("dropout3d", 3, input, p, training, inplace)


def _alpha(name: str, input: Tensor, p: float, channels: bool, inplace: bool) -> Tensor:
    """Klambauer et al. 2017: what is dropped takes SELU's lowest value, then mean and variance are
    put back."""
    kept = _kept(name, input, p, channels)
    if p == 1:
        return _given(input, input * kept, inplace)
    slope = 1 / math.sqrt((_LOWEST**2 * p + 1) * (1 - p))
    shift = (1 - p - kept) * (_LOWEST * slope)
    return _given(input, input * (kept * slope) + shift, inplace)


@function(**_NN)
def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False,
                  inplace: bool = False) -> Tensor:  # fmt: skip
    """Dropout that keeps mean 0 and variance 1 after SELU."""
    if _off("alpha_dropout", p, training):
        return input
    return _alpha("alpha_dropout", input, p, False, inplace)


@function(**_NN)
def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False,
                          inplace: bool = False) -> Tensor:  # fmt: skip
    """``alpha_dropout`` of whole channels of ``(N, C, ...)``."""
    if _off("feature_alpha_dropout", p, training):
        return input
    return _alpha("feature_alpha_dropout", input, p, True, inplace)


@function(**_NN)
def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10,
                   dim: int = -1) -> Tensor:  # fmt: skip
    """A draw from the Gumbel-softmax distribution (Jang et al. 2017) along ``dim``.

    Args:
        tau: temperature.
        hard: one-hot values, with the gradient of the soft ones.
        eps: only the default; it never had an effect in PyTorch either.
    """
    if eps != 1e-10:
        raise SettingError(f"gumbel_softmax: eps has no effect and must stay 1e-10, got {eps}")
    waiting = wrap(drawn("exponential", tuple(logits.shape), logits.dtype, logits.device, None))
    soft = F.softmax((logits - F.log(waiting)) / tau, dim)
    if not hard:
        return soft
    place = F.argmax(soft, dim, True)
    chosen = F.zeros_like(soft.detach()).scatter(dim, place, 1.0)
    return chosen - soft.detach() + soft
