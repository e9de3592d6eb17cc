"""Initial values of parameters: each function fills a tensor in place, unrecorded, and returns it.

The two families that scale with the size of a layer follow Glorot and Bengio (2010, ``xavier``)
and He et al. (2015, ``kaiming``); ``orthogonal_`` follows Saxe et al. (2013), ``sparse_`` Martens
(2010).
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

from gpugrad.errors import SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.modes import no_grad
from gpugrad.random import Generator
from gpugrad.tensor import Tensor

_NO_GAIN = ("linear", "sigmoid", *(f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)))


def calculate_gain(nonlinearity: str, param: Any = None) -> float:
    """The factor by which a nonlinearity shrinks the standard deviation, to be undone.

    Args:
        nonlinearity: its name in ``nn.functional``.
        param: the negative slope of ``leaky_relu`` (0.01).
    """
    if nonlinearity in _NO_GAIN:
        return 1.0
    if nonlinearity == "leaky_relu":
        if isinstance(param, bool) or not isinstance(param, int | float | None):
            raise SettingError(f"calculate_gain: negative_slope {param!r} is not a number")
        slope = 0.01 if param is None else param
        return math.sqrt(2.0 / (1 + slope**2))
    gains = {"tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 3.0 / 4}
    if nonlinearity not in gains:
        accepted = ", ".join((*_NO_GAIN, "leaky_relu", *gains))
        raise SettingError(
            f"calculate_gain: unsupported nonlinearity {nonlinearity!r}; accepted: {accepted}"
        )
    return gains[nonlinearity]


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """How many inputs one output sums over, and how many outputs one input goes to.

    Weights are ``(out, in, *kernel)``.
    """
    if tensor.ndim < 2:
        raise ShapeError(
            "init: fan in and fan out need a weight of at least 2 dimensions, got shape "
            f"{tuple(tensor.shape)}"
        )
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    modes = ("fan_in", "fan_out")
    if mode.lower() not in modes:
        raise SettingError(f"init: mode {mode!r} is not supported; use one of {modes}")
    return _calculate_fan_in_and_fan_out(tensor)[modes.index(mode.lower())]


@no_grad()
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0,
             generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Fill with uniform draws on [a, b)."""
    return tensor.uniform_(a, b, generator=generator)


@no_grad()
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0,
            generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Fill with normal draws."""
    return tensor.normal_(mean, std, generator=generator)


@no_grad()
def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0,
                  b: float = 2.0, generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Fill with normal draws, those outside [a, b] left out (the bounds are not in units of std).

    Uniform draws between the bounds' quantiles go through the inverse distribution function.
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "trunc_normal_: mean is more than 2 std from [a, b]; the draws may be off",
            stacklevel=2,
        )
    low, high = (math.erf((x - mean) / (std * math.sqrt(2.0))) for x in (a, b))
    tensor.uniform_(low, high, generator=generator)
    tensor.erfinv_().mul_(std * math.sqrt(2.0)).add_(mean)
    return tensor.clamp_(min=a, max=b)


@no_grad()
def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value."""
    return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones."""
    return constant_(tensor, 1.0)  # type: ignore[no-any-return]


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros."""
    return constant_(tensor, 0.0)  # type: ignore[no-any-return]


@no_grad()
def eye_(tensor: Tensor) -> Tensor:
    """Make a matrix the identity: as much of the input as fits goes through."""
    if tensor.ndim != 2:
        raise ShapeError(f"eye_: only a matrix can be, got shape {tuple(tensor.shape)}")
    return tensor.copy_(F.eye(*tensor.shape, dtype=tensor.dtype, device=tensor.device))


@no_grad()
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Make the weight of a convolution one that passes its input channels on, in each group."""
    if tensor.ndim not in (3, 4, 5):
        raise ShapeError(f"dirac_: takes 3 to 5 dimensions, got shape {tuple(tensor.shape)}")
    outs, ins = tensor.shape[:2]
    if outs % groups:
        raise SettingError(f"dirac_: {outs} output channels do not divide by {groups} groups")
    tensor.zero_()
    centre = tuple(n // 2 for n in tensor.shape[2:])
    per_group = outs // groups
    for g in range(groups):
        for i in range(min(per_group, ins)):
            tensor[(g * per_group + i, i, *centre)] = 1
    return tensor


def xavier_uniform_(tensor: Tensor, gain: float = 1.0,
                    generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Fill with uniform draws of variance ``gain**2 * 2 / (fan_in + fan_out)``."""
    bound = gain * math.sqrt(6.0 / sum(_calculate_fan_in_and_fan_out(tensor)))
    return uniform_(tensor, -bound, bound, generator)  # type: ignore[no-any-return]


def xavier_normal_(tensor: Tensor, gain: float = 1.0,
                   generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Fill with normal draws of variance ``gain**2 * 2 / (fan_in + fan_out)``."""
    std = gain * math.sqrt(2.0 / sum(_calculate_fan_in_and_fan_out(tensor)))
    return normal_(tensor, 0.0, std, generator)  # type: ignore[no-any-return]


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float | None:
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return None
    return calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))


def kaiming_uniform_(tensor: Tensor, a: float = 0, mode: str = "fan_in",
                     nonlinearity: str = "leaky_relu",
                     generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Fill with uniform draws of variance ``gain**2 / fan``.

    Args:
        tensor: a weight ``(out, in, *kernel)``.
        a: the negative slope, for ``leaky_relu``.
        mode: ``fan_in`` keeps the variance going forward, ``fan_out`` that of gradients.
        nonlinearity: what follows the layer (see ``calculate_gain``).
        generator: where the draws come from.
    """
    std = _kaiming_std(tensor, a, mode, nonlinearity)
    if std is None:
        return tensor
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)  # type: ignore[no-any-return]


def kaiming_normal_(tensor: Tensor, a: float = 0, mode: str = "fan_in",
                    nonlinearity: str = "leaky_relu",
                    generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Fill with normal draws of variance ``gain**2 / fan``; arguments as ``kaiming_uniform_``."""
    std = _kaiming_std(tensor, a, mode, nonlinearity)
    return tensor if std is None else normal_(tensor, 0.0, std, generator)


@no_grad()
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """Fill with ``gain`` times a (semi-)orthogonal matrix, all but the first dimension flattened.

    The signs of QR's diagonal are taken out, which makes the draw uniform over such matrices.
    """
    if tensor.ndim < 2:
        raise ShapeError(
            f"orthogonal_: needs at least 2 dimensions, got shape {tuple(tensor.shape)}"
        )
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    cols = tensor.numel() // rows
    draws = tensor.new_empty((max(rows, cols), min(rows, cols))).normal_(generator=generator)
    q, r = F.qr(draws)
    q = q * r.diagonal().sign()
    if rows < cols:
        q = q.mT
    return tensor.copy_(q.reshape(tensor.shape)).mul_(gain)


@no_grad()
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01,
            generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Fill a matrix with normal draws, a share of ``sparsity`` of each column set to zero."""
    if tensor.ndim != 2:
        raise ShapeError(f"sparse_: only a matrix can be, got shape {tuple(tensor.shape)}")
    rows, cols = tensor.shape
    tensor.normal_(0, std, generator=generator)
    for col in range(cols):
        order = F.randperm(rows, generator=generator, device=tensor.device)
        tensor[order[: math.ceil(sparsity * rows)], col] = 0
    return tensor


def _older(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The name without underscore, which says that it is deprecated."""
    new = function.__name__

    @functools.wraps(function)
    def older(*args: Any, **kwargs: Any) -> Tensor:
        warnings.warn(
            f"nn.init.{new[:-1]} is deprecated in favor of nn.init.{new}", FutureWarning,
            stacklevel=2,
        )  # fmt: skip
        return function(*args, **kwargs)

    older.__name__ = new[:-1]
    return older


uniform = _older(uniform_)
normal = _older(normal_)
constant = _older(constant_)
eye = _older(eye_)
dirac = _older(dirac_)
xavier_uniform = _older(xavier_uniform_)
xavier_normal = _older(xavier_normal_)
kaiming_uniform = _older(kaiming_uniform_)
kaiming_normal = _older(kaiming_normal_)
orthogonal = _older(orthogonal_)
sparse = _older(sparse_)
