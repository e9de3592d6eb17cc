"""Records of normalisation over channels; ``nn.functional.batch_norm`` is made of them.

A channel of ``(n, c, *size)`` is its elements in all examples.  ``channel_norm`` takes the input's
own moments, ``channel_apply`` given ones; both have their gradient from one more record, so that
it, too, is differentiable.  The passes over memory are those of ``backends/additions/channels.py``.

``channel_norm_relu`` also adds a residual and rectifies while the result is written.  PyTorch has
no such function, so nothing public does; it is there for a graph that finds the three in a row.
"""

from __future__ import annotations

import math
from typing import Any

from gpugrad import dtypes
from gpugrad.errors import DTypeError, ShapeError
from gpugrad.op import Array, op
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec

# Operands keep their dtypes: 16-bit images go with float32 statistics.
_HIDDEN: dict[str, Any] = {"home": "_ops", "method": False, "torch": "", "accepts": "f",
                           "promotion": None, "half": "native"}  # fmt: skip
_X, _Y, _C, _V = A((2, 3, 4)), A((4, 3, 2, 2)), A((3,)), A((3,), 0.5, 2)


def check_per_channel(name: str, input: Any, **given: Any) -> None:
    """Raise a ShapeError unless each of ``given`` is None or has a value for each channel."""
    for key, v in given.items():
        if v is not None and tuple(v.shape) != (input.shape[1],):
            raise ShapeError(
                f"{name}: {key} must have shape ({input.shape[1]},), one per channel of the input "
                f"of shape {tuple(input.shape)}; got {tuple(v.shape)}"
            )


def _checked(name: str, input: Any, **per_channel: Any) -> tuple[Spec, Spec]:
    """Specs of the images and of a value per channel, after checks."""
    dtype = input.dtype if isinstance(input.dtype, dtypes.DType) else dtypes.from_numpy(input.dtype)
    if dtype not in (*dtypes.HALVES, dtypes.float32, dtypes.float64):
        raise DTypeError(f"{name}: takes floating dtypes of 16 bits or more, got {dtype.name}")
    check_per_channel(name, input, **per_channel)
    wide = dtypes.float64 if dtype is dtypes.float64 else dtypes.float32
    return Spec(input.shape, dtype), Spec((input.shape[1],), wide)


def _normed(input: Any, weight: Any = None, bias: Any = None, *, eps: float) -> Any:
    images, channels = _checked("channel_norm", input, weight=weight, bias=bias)
    return images, channels, channels


@op(**_HIDDEN, outputs=("out", "mean", "var"), result=_normed, samples=[
    Sample(_X, eps=1e-5), Sample(_Y, _C, _C, eps=0.1), Sample(A((4, 3)), None, _C, eps=0.1),
    Sample(A((0, 3)), eps=0.1),
])  # fmt: skip
def channel_norm(xp, input: Array, weight: Array | None = None, bias: Array | None = None, *,
                 eps: float) -> Array:  # fmt: skip
    """``(x - mean) / sqrt(var + eps) * weight + bias``, and both moments (``var`` over n)."""
    _normed(input, weight, bias, eps=eps)
    return xp.channel_norm(input, weight, bias, eps)


@channel_norm.vjp
def _(xp, g, input, weight, bias_shape, mean, var, eps):
    g_input, g_weight, g_bias = xp.channel_norm_grad(
        g[0], input, mean, var, weight, g[1], g[2], eps, True
    )
    return (
        g_input, None if weight is None else g_weight, None if bias_shape is None else g_bias,
    )  # fmt: skip


def _rectified(input: Any, weight: Any = None, bias: Any = None, residual: Any = None, *,
               eps: float) -> Any:  # fmt: skip
    images, channels = _checked("channel_norm_relu", input, weight=weight, bias=bias)
    if residual is not None and tuple(residual.shape) != images.shape:
        raise ShapeError(
            f"channel_norm_relu: residual {tuple(residual.shape)} must be of the input's shape "
            f"{images.shape}"
        )
    return images, channels, channels


@op(**_HIDDEN, outputs=("out", "mean", "var"), result=_rectified, samples=[
    Sample(_X, eps=1e-5), Sample(_Y, _C, _C, _Y, eps=0.1),
])  # fmt: skip
def channel_norm_relu(xp, input: Array, weight: Array | None = None, bias: Array | None = None,
                      residual: Array | None = None, *, eps: float) -> Array:  # fmt: skip
    """``relu(channel_norm(...) + residual)`` in the same passes."""
    _rectified(input, weight, bias, residual, eps=eps)
    return xp.channel_norm(input, weight, bias, eps, residual, True)


@channel_norm_relu.vjp
def _(xp, g, input, weight, bias_shape, residual_shape, out, mean, var, eps):
    passed = xp.where(out > 0, g[0], xp.zeros_like(g[0]))
    g_input, g_weight, g_bias = xp.channel_norm_grad(
        passed, input, mean, var, weight, g[1], g[2], eps, True
    )
    return (
        g_input, None if weight is None else g_weight, None if bias_shape is None else g_bias,
        None if residual_shape is None else passed,
    )  # fmt: skip


def _applied(input: Any, mean: Any, var: Any, weight: Any = None, bias: Any = None, *,
             eps: float) -> Any:  # fmt: skip
    return _checked("channel_apply", input, mean=mean, var=var, weight=weight, bias=bias)[0]


@op(**_HIDDEN, result=_applied, samples=[
    Sample(_X, _C, _V, eps=1e-5), Sample(_Y, _C, _V, _C, _C, eps=0.1),
    Sample(A((0, 3)), _C, _V, None, _C, eps=0.1),
])  # fmt: skip
def channel_apply(xp, input: Array, mean: Array, var: Array, weight: Array | None = None,
                  bias: Array | None = None, *, eps: float) -> Array:  # fmt: skip
    """``(x - mean) / sqrt(var + eps) * weight + bias`` with a given mean and variance."""
    _applied(input, mean, var, weight, bias, eps=eps)
    return xp.channel_apply(input, mean, var, weight, bias, eps)


@channel_apply.vjp
def _(xp, g, input, mean, var, weight, bias_shape, eps):
    found = xp.channel_norm_grad(g, input, mean, var, weight, None, None, eps, False)
    g_input, g_weight, g_bias = found
    inverse = 1 / xp.sqrt(var + eps)
    scale = inverse if weight is None else inverse * weight
    return (
        g_input, -scale * g_bias, -0.5 * scale * inverse * g_weight,
        None if weight is None else g_weight, None if bias_shape is None else g_bias,
    )  # fmt: skip


def _graded(grad: Any, input: Any, mean: Any, var: Any, weight: Any = None, g_mean: Any = None,
            g_var: Any = None, *, eps: float, training: bool) -> Any:  # fmt: skip
    images, channels = _checked("channel_norm_grad", input, mean=mean, var=var, weight=weight)
    return images, channels, channels


@op(**_HIDDEN, outputs=("g_input", "g_weight", "g_bias"), result=_graded, samples=[
    Sample(_X, _X, _C, _V, eps=0.1, training=True),
    Sample(_Y, _Y, _C, _V, _C, _C, _C, eps=0.1, training=True),
    Sample(_Y, _Y, _C, _V, _C, eps=0.1, training=False),
    Sample(A((0, 3)), A((0, 3)), _C, _V, eps=0.1, training=True),
])  # fmt: skip
def channel_norm_grad(xp, grad: Array, input: Array, mean: Array, var: Array,
                      weight: Array | None = None, g_mean: Array | None = None,
                      g_var: Array | None = None, *, eps: float,
                      training: bool) -> Array:  # fmt: skip
    """Gradients of ``channel_norm`` or, if not ``training``, ``channel_apply``: see the rule."""
    _graded(grad, input, mean, var, weight, g_mean, g_var, eps=eps, training=training)
    return xp.channel_norm_grad(grad, input, mean, var, weight, g_mean, g_var, eps, training)


@channel_norm_grad.vjp
def _(xp, g, grad, input, mean, var, weight, g_mean, g_var, eps, training):
    # With d = x - mean, i = 1 / sqrt(var + eps), a = weight * i and sums S over a channel:
    #   g_input = a * grad + s * (d * (2 g_var - a i^2 S(grad d)) + g_mean - a S(grad))
    #   g_weight = i * S(grad d),  g_bias = S(grad),  s = 1 / n in training, else 0
    # mean and var count as inputs of their own.
    u, p, q = g
    over = (0, *range(2, len(input.shape)))
    n = math.prod(input.shape[i] for i in over)
    s = 1 / n if training and n else 0.0

    def along(v: Any) -> Any:
        return xp.reshape(v, (1, -1, *(1,) * (len(input.shape) - 2)))

    d = input - along(mean)
    i = 1 / xp.sqrt(var + eps)
    a = i if weight is None else i * weight
    grad_, u_ = xp.astype(grad, d.dtype), xp.astype(u, d.dtype)
    s_g, s_gd = xp.sum(grad_, over), xp.sum(grad_ * d, over)
    s_u, s_ud, s_ug = xp.sum(u_, over), xp.sum(u_ * d, over), xp.sum(u_ * grad_, over)
    slope = p * i - s * a * i * i * s_ud
    spread = s * (-a * i * i * s_gd if g_var is None else 2 * g_var - a * i * i * s_gd)
    to_grad = u_ * along(a) + d * along(slope) + along(q - s * a * s_u)
    to_input = u_ * along(spread) + grad_ * along(slope)
    direct = s_ug - s * s_g * s_u
    twice = s * i * i * s_gd * s_ud
    to_a = direct - twice
    to_i = (to_a if weight is None else to_a * weight) - 2 * a * i * s * s_gd * s_ud + p * s_gd
    return (
        to_grad, to_input, -(s_u * spread + s_g * slope), -0.5 * i * i * i * to_i,
        None if weight is None else i * to_a,
        None if g_mean is None else s * s_u, None if g_var is None else 2 * s * s_ud,
    )  # fmt: skip
