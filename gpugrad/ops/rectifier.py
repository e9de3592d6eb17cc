"""Piecewise linear activations: rectifiers, shrinking and the "hard" approximations.

At a kink the gradient is PyTorch's: 0 at the corner of ``relu``, the outer slope at the ends of
``hardtanh`` and ``hardsigmoid``, 0 on the whole closed interval of the shrinkers.
"""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.errors import DTypeError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, elementwise, function
from gpugrad.ops.activation import check_floating
from gpugrad.ops.arithmetic import typed
from gpugrad.samples import A, Sample

_PLAIN = [Sample(A((3, 4))), Sample(A(())), Sample(A((0, 2)))]


def _fitted(name: str, input: Any, **settings: float) -> list[Any]:
    """Settings as numbers of the input's dtype.

    Raises:
        DTypeError: for a negative one where the input is unsigned.
    """
    for setting, value in settings.items():
        if value <= -1 and input.dtype in (dtypes.uint8, dtypes.uint8.np):
            raise DTypeError(
                f"{name}: the input's dtype uint8 has no {setting}={value}; a signed dtype, or a "
                f"{setting} of 0 or more, would be accepted"
            )
    return [typed(value, input) for value in settings.values()]


@elementwise(accepts="if", inplace=True, aliases=("nn.functional.relu",))
def relu(xp, input: Array) -> Array:
    """``max(input, 0)``; NaN stays."""
    return xp.maximum(0, input)  # of two zeros the libraries take the second: -0 stays, as in torch


@relu.vjp
def _(xp, g, out):
    return xp.where(out <= 0, 0, g)


@elementwise(accepts="if", home="nn.functional", method=False, inplace=True,
             samples=[*_PLAIN, Sample(A((5,), -9.0, 9.0))])  # fmt: skip
def relu6(xp, input: Array) -> Array:
    """``input`` brought into [0, 6]."""
    return xp.minimum(xp.maximum(0, input), 6)


@relu6.vjp
def _(xp, g, out):
    return xp.where(xp.logical_or(out <= 0, out >= 6), 0, g)


@elementwise(accepts="if", home="nn.functional", method=False, inplace=True,
             samples=[*_PLAIN, Sample(A((5,)), -0.5, 1.5)])  # fmt: skip
def hardtanh(xp, input: Array, *, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """``input`` brought into ``[min_val, max_val]``.

    Raises:
        SettingError: if the interval is empty.
    """
    if min_val > max_val:
        raise SettingError(
            f"hardtanh: min_val {min_val} is above max_val {max_val}; it must not be larger"
        )
    low, high = _fitted("hardtanh", input, min_val=min_val, max_val=max_val)
    return xp.minimum(xp.maximum(input, low), high)


@hardtanh.vjp
def _(xp, g, input, min_val, max_val):
    return xp.where(xp.logical_or(input <= min_val, input >= max_val), 0, g)


@elementwise(accepts="f", home="nn.functional", method=False, inplace=True,
             samples=[*_PLAIN, Sample(A((5,)), 0.3)])  # fmt: skip
def leaky_relu(xp, input: Array, *, negative_slope: float = 0.01) -> Array:
    """``input`` above 0, ``negative_slope * input`` below."""
    return xp.where(input > 0, input, input * negative_slope)


@leaky_relu.vjp
def _(xp, g, input, negative_slope):
    return xp.where(input > 0, g, g * negative_slope)


@function(aliases=("nn.functional.prelu",), samples=[
    Sample(A((2, 3)), A((3,))), Sample(A((2, 3, 2)), A((1,))), Sample(A((4,)), A(())),
])  # fmt: skip
def prelu(input: Any, weight: Any) -> Any:
    """``input`` above 0, ``weight * input`` below, with one weight or one per channel (dim 1).

    Raises:
        ShapeError: if ``weight`` has neither one element nor one per channel.
    """
    check_floating("prelu", input)
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.numel() not in (1, channels):
        raise ShapeError(
            f"prelu: weight has shape {tuple(weight.shape)} and input {tuple(input.shape)}; weight "
            f"must have shape (1,) or ({channels},), one value per channel"
        )
    if weight.ndim and input.ndim > 1:
        weight = F.reshape(weight, (-1, *(1,) * (input.ndim - 2)))
    elif weight.ndim and input.ndim == 0:
        weight = F.reshape(weight, ())
    return F.where(input > 0, input, weight * input)


@elementwise(accepts="f", home="nn.functional", method=False, inplace=True)
def hardsigmoid(xp, input: Array) -> Array:
    """``relu6(input + 3) / 6``."""
    return xp.minimum(xp.maximum(input + 3, 0), 6) / 6


@hardsigmoid.vjp
def _(xp, g, input):
    return xp.where(xp.logical_and(input > -3, input < 3), g / 6, 0)


@elementwise(accepts="f", home="nn.functional", method=False, inplace=True,
             samples=[*_PLAIN, Sample(A((9,), -5.0, 5.0))])  # fmt: skip
def hardswish(xp, input: Array) -> Array:
    """``input * relu6(input + 3) / 6``."""
    return input * xp.minimum(xp.maximum(input + 3, 0), 6) / 6


@hardswish.vjp
def _(xp, g, input):
    inner = xp.where(input < 3, g * (input / 3 + 0.5), g)
    return xp.where(input <= -3, 0, inner)


@elementwise(accepts="f", aliases=("nn.functional.hardshrink",),
             samples=[*_PLAIN, Sample(A((5,)), 1.2)])  # fmt: skip
def hardshrink(xp, input: Array, *, lambd: float = 0.5) -> Array:
    """0 on ``[-lambd, lambd]``, the input outside."""
    return xp.where(xp.logical_and(input >= -lambd, input <= lambd), 0, input)


@hardshrink.vjp
def _(xp, g, input, lambd):
    return xp.where(xp.logical_and(input >= -lambd, input <= lambd), 0, g)


@elementwise(accepts="f", home="nn.functional", method=False,
             samples=[*_PLAIN, Sample(A((5,)), 1.2)])  # fmt: skip
def softshrink(xp, input: Array, *, lambd: float = 0.5) -> Array:
    """The input moved towards 0 by ``lambd``, 0 where that would cross it.

    Raises:
        SettingError: for a negative ``lambd``.
    """
    if lambd < 0:
        raise SettingError(f"softshrink: lambd must be 0 or more, got {lambd}")
    outside = xp.where(input < 0, input + lambd, input - lambd)
    return xp.where(xp.abs(input) <= lambd, input * 0, outside)


@softshrink.vjp
def _(xp, g, input, lambd):
    return xp.where(xp.abs(input) <= lambd, 0, g)


@elementwise(accepts="if", method=False, inplace=True, order=("input", "threshold", "value"),
             aliases=("nn.functional.threshold",),
             samples=[Sample(A((3, 4)), 0.5, 7.0), Sample(A(()), 0.0, -1.0),
                      Sample(A((0, 2)), 0.0, 0.0)])  # fmt: skip
def threshold(xp, input: Array, *, threshold: float, value: float) -> Array:
    """``value`` where the input is not above ``threshold``; NaN stays."""
    bound, new = _fitted("threshold", input, threshold=threshold, value=value)
    return xp.where(input <= bound, new, input)


@threshold.vjp
def _(xp, g, input, threshold):
    return xp.where(input <= threshold, 0, g)


@function(method=False, inplace=True, aliases=("nn.functional.rrelu",), samples=[
    Sample(A((3, 4))), Sample(A((3, 4)), 0.1, 0.2),
])  # fmt: skip
def rrelu(input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
          inplace: bool = False) -> Any:  # fmt: skip
    """Leaky relu whose slope is drawn from ``[lower, upper)`` per element in training.

    Outside training the slope is the middle of the interval.

    Raises:
        SettingError: if ``lower`` is above ``upper``.
    """
    if lower > upper:
        raise SettingError(f"rrelu: lower {lower} is above upper {upper}; it must not be larger")
    check_floating("rrelu", input)
    slope: Any = (lower + upper) / 2
    if training:
        slope = F.rand_like(input.detach()) * (upper - lower) + lower
    result = F.where(input > 0, input, input * slope)
    return input.copy_(result) if inplace else result
