"""Normalisation layers: what they subtract and divide by, over which dimensions."""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.errors import SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.inplace import assign
from gpugrad.modes import no_grad
from gpugrad.op import Array, Dims, function, op
from gpugrad.ops.channel_norm import check_per_channel
from gpugrad.ops.loss import floating
from gpugrad.ops.reduction import extent, kept
from gpugrad.samples import A, Sample
from gpugrad.signature import int_tuple
from gpugrad.spec import Spec

_HIDDEN: dict[str, Any] = {"home": "_ops", "method": False, "torch": "", "accepts": "f"}
_LAYER: dict[str, Any] = {"home": "nn.functional", "method": False}
_SAMPLES = [
    Sample(A((3, 4)), 1, 1e-5), Sample(A((2, 3, 4)), (0, 2), 0.1), Sample(A((0, 3)), 1, 0.1),
]  # fmt: skip


def _with_moments(input: Spec, *, dim: Any, eps: float) -> tuple[Spec, Spec, Spec]:
    small = Spec(kept(input.shape, dim), input.dtype)
    return input, small, small


@op(**_HIDDEN, outputs=("out", "mean", "var"), result=_with_moments, samples=_SAMPLES)
def standardize(xp, input: Array, *, dim: Dims, eps: float) -> Array:
    """``(x - mean) / sqrt(var + eps)`` over ``dim``, with both moments (``var`` divides by n)."""
    n = extent(input.shape, dim)
    mean = xp.sum(input, dim, True) / n
    out = input - mean
    var = xp.sum(out * out, dim, True) / n
    out *= 1 / xp.sqrt(var + eps)
    return out, mean, var


@standardize.vjp
def _(xp, g, out, var, dim, eps):
    g_out, g_mean, g_var = g
    n = extent(out.shape, dim)
    root = xp.sqrt(var + eps)
    constant = (g_mean - xp.sum(g_out, dim, True) / root) / n
    slope = (2 * g_var * root - xp.sum(g_out * out, dim, True) / root) / n
    total = g_out * (1 / root)
    total += out * slope
    total += constant
    return total


def _with_scale(input: Spec, weight: Any, *, dim: Any, eps: float) -> tuple[Spec, Spec]:
    return input, Spec(kept(input.shape, dim), input.dtype)


@op(**_HIDDEN, outputs=("out", "scale"), result=_with_scale, samples=[
    Sample(A((3, 4)), dim=1, eps=1e-5), Sample(A((2, 3, 4)), A((3, 4)), dim=(1, 2), eps=0.1),
    Sample(A((2, 3, 4)), dim=(0, 2), eps=0.1), Sample(A((0, 3)), A((3,)), dim=1, eps=0.1),
])  # fmt: skip
def unit_rms(xp, input: Array, weight: Array | None = None, *, dim: Dims, eps: float) -> Array:
    """``x * scale * weight`` with ``scale = 1 / sqrt(mean(x * x) + eps)`` over ``dim``."""
    scale = 1 / xp.sqrt(xp.sum(input * input, dim, True) / extent(input.shape, dim) + eps)
    out = input * scale
    return out if weight is None else out * weight, scale


@unit_rms.vjp
def _(xp, g, input, weight, scale, dim):
    g_out, g_scale = g
    unit = input * scale
    weighed = g_out if weight is None else g_out * weight
    inner = (xp.sum(weighed * unit, dim, True) + g_scale * scale) / extent(input.shape, dim)
    return scale * (weighed - unit * inner), None if weight is None else g_out * unit


def _with_both(input: Spec, weight: Any, bias: Any, *, dim: Any,
               eps: float) -> tuple[Spec, Spec, Spec]:  # fmt: skip
    small = Spec(kept(input.shape, dim), input.dtype)
    return input, small, small


@op(**_HIDDEN, outputs=("out", "mean", "scale"), result=_with_both, samples=[
    Sample(A((3, 4)), dim=1, eps=1e-5), Sample(A((2, 5)), A((5,)), dim=1, eps=0.1),
    Sample(A((2, 3, 4)), A((3, 4)), A((3, 4)), dim=(1, 2), eps=0.1),
    Sample(A((2, 3, 4)), None, A((4,)), dim=2, eps=0.1),
    Sample(A((0, 3)), A((3,)), A((3,)), dim=1, eps=0.1),
])  # fmt: skip
def scaled_standard(xp, input: Array, weight: Array | None = None, bias: Array | None = None, *,
                    dim: Dims, eps: float) -> Array:  # fmt: skip
    """``(x - mean) * scale * weight + bias`` with ``scale = 1 / sqrt(var + eps)`` over ``dim``."""
    n = extent(input.shape, dim)
    mean = xp.sum(input, dim, True) / n
    out = input - mean
    scale = 1 / xp.sqrt(xp.sum(out * out, dim, True) / n + eps)
    out *= scale
    if weight is not None:
        out *= weight
    if bias is not None:
        out += bias
    return out, mean, scale


@scaled_standard.vjp
def _(xp, g, input, weight, bias, mean, scale, dim):
    g_out, g_mean, g_scale = g
    n = extent(input.shape, dim)
    unit = (input - mean) * scale
    weighed = g_out if weight is None else g_out * weight
    inner = (xp.sum(weighed * unit, dim, True) + g_scale * scale) / n
    shift = g_mean / n - scale * (xp.sum(weighed, dim, True) / n)
    total = scale * (weighed - unit * inner) + shift
    return total, None if weight is None else g_out * unit, None if bias is None else g_out


# ---- helpers -----------------------------------------------------------------------------------


def _wide(input: Any) -> Any:
    """16-bit floats as float32, so that scale and shift round once at the end."""
    return F.astype(input, dtypes.float32) if input.dtype in dtypes.HALVES else input


def _affine(x: Any, weight: Any, bias: Any, shape: Any, dtype: Any) -> Any:
    """Scale and shift by parameters viewed as ``shape``, then return to ``dtype``."""
    if weight is not None:
        x = x * (weight if shape is None else F.reshape(weight, shape))
    if bias is not None:
        x = x + (bias if shape is None else F.reshape(bias, shape))
    if weight is None and bias is None and x.requires_grad:
        x = F.copy(x)  # the tape keeps ``x``, and an in-place activation may come next
    return x if x.dtype is dtype else F.astype(x, dtype)


def _like(parameter: Any, x: Any) -> Any:
    """A parameter in the dtype to compute in."""
    return parameter if parameter is None else F.astype(parameter, x.dtype)


def _narrow(out: Any, input: Any) -> Any:
    return out if out.dtype is input.dtype else F.astype(out, input.dtype)


def _last(name: str, input: Any, normalized_shape: Any, **parameters: Any) -> tuple[int, ...]:
    """The trailing dimensions that ``normalized_shape`` names, after checks."""
    shape = int_tuple(name, "normalized_shape", normalized_shape)
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise ShapeError(
            f"{name}: normalized_shape {shape} must be the last dimensions of the input, whose "
            f"shape is {tuple(input.shape)}"
        )
    for key, p in parameters.items():
        if p is not None and tuple(p.shape) != shape:
            raise ShapeError(f"{name}: {key} must have shape {shape}, got {tuple(p.shape)}")
    return tuple(range(input.ndim - len(shape), input.ndim))


def _channels(name: str, input: Any, **parameters: Any) -> tuple[int, ...]:
    """The shape in which a value per channel broadcasts over ``(N, C, ...)``, after checks."""
    if input.ndim < 2:
        raise ShapeError(f"{name}: input must be (N, C, ...), got shape {tuple(input.shape)}")
    check_per_channel(name, input, **parameters)
    return (1, -1, *(1,) * (input.ndim - 2))


# ---- over the features of one example ----------------------------------------------------------


@function(**_LAYER, samples=[
    Sample(A((3, 4)), (4,)), Sample(A((2, 3, 4)), [3, 4], A((3, 4)), A((3, 4)), 1e-3),
    Sample(A((2, 5)), (5,), A((5,))), Sample(A((2, 5)), (5,), A((5,)), A((5,))),
])  # fmt: skip
def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None,
               eps: float = 1e-5) -> Any:  # fmt: skip
    """Standardise over the last dimensions, then scale and shift per element of them.

    Raises:
        ShapeError: if ``normalized_shape`` is not how the input's shape ends.
    """
    dims = _last("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    x = _wide(input)
    return _narrow(F.scaled_standard(x, _like(weight, x), _like(bias, x), dims, eps).out, input)


@function(**_LAYER, aliases=("rms_norm",), samples=[
    Sample(A((3, 4)), (4,)), Sample(A((2, 3, 4)), (3, 4), A((3, 4)), 1e-3),
])  # fmt: skip
def rms_norm(input: Any, normalized_shape: Any, weight: Any = None,
             eps: float | None = None) -> Any:  # fmt: skip
    """Divide by the root of the mean square over the last dimensions, then scale.

    Args:
        eps: added to the mean square; the smallest step of the input's dtype by default.
    """
    dims = _last("rms_norm", input, normalized_shape, weight=weight)
    least = dtypes.finfo(input.dtype).eps if eps is None else eps
    x = _wide(input)
    return _narrow(F.unit_rms(x, _like(weight, x), dims, least).out, input)


@function(**_LAYER, samples=[
    Sample(A((2, 4, 3)), 2), Sample(A((2, 6, 3)), 3, A((6,)), A((6,))), Sample(A((2, 4, 3, 2)), 1),
])  # fmt: skip
def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None,
               eps: float = 1e-5) -> Any:  # fmt: skip
    """Standardise each group of channels of each example, then scale and shift per channel."""
    shape = _channels("group_norm", input, weight=weight, bias=bias)
    n, c = input.shape[:2]
    if num_groups < 1 or c % num_groups:
        raise ShapeError(f"group_norm: {c} channels do not divide into {num_groups} groups")
    grouped = F.reshape(_wide(input), (n, num_groups, input.numel() // max(n * num_groups, 1)))
    out = F.reshape(F.standardize(grouped, 2, eps).out, tuple(input.shape))
    return _affine(out, weight, bias, shape, input.dtype)


# ---- over a batch ------------------------------------------------------------------------------


def _follow(name: str, running: Any, value: Any, momentum: float, factor: float = 1.0) -> None:
    """Move a running statistic towards ``value * factor``, in place and unrecorded."""
    if running is not None:
        with no_grad():
            held = running.detach()
            moved = F.add(held * (1 - momentum), value, alpha=momentum * factor)
            assign(name, held, _narrow(moved, held))


_C3 = A((3,))
_V3 = A((3,), 0.5, 2)


@function(**_LAYER, samples=[
    Sample(A((4, 3)), None, None, training=True), Sample(A((2, 3, 4)), _C3, _V3, _C3, _C3),
    Sample(A((2, 3, 4, 2)), None, None, _C3, _C3, True, 0.3, 1e-3),
])  # fmt: skip
def batch_norm(input: Any, running_mean: Any, running_var: Any, weight: Any = None,
               bias: Any = None, training: bool = False, momentum: float = 0.1,
               eps: float = 1e-5) -> Any:  # fmt: skip
    """Standardise each channel of ``(N, C, ...)``, then scale and shift it.

    Args:
        running_mean, running_var: statistics to use, or with ``training`` to move towards the
            batch's by ``momentum``, in place (the variance's with n - 1).

    Raises:
        ShapeError: in training, if there is but one value per channel.
    """
    _channels("batch_norm", input, running_mean=running_mean, running_var=running_var,
              weight=weight, bias=bias)  # fmt: skip
    floating("batch_norm", input)
    if not training:
        if running_mean is None or running_var is None:
            raise SettingError("batch_norm: without training it needs running_mean and running_var")
        return F.channel_apply(input, running_mean, running_var, weight, bias, eps)
    n = input.numel() // max(input.shape[1], 1)
    if n == 1:
        raise ShapeError(
            "batch_norm: training needs more than one value per channel, got input of shape "
            f"{tuple(input.shape)}"
        )
    out, mean, var = F.channel_norm(input, weight, bias, eps)
    _follow("batch_norm", running_mean, mean, momentum)
    _follow("batch_norm", running_var, var, momentum, n / max(n - 1, 1))
    return out


@function(**_LAYER, samples=[
    Sample(A((2, 3, 4))), Sample(A((2, 3, 4, 2)), None, None, _C3, _C3, True, 0.3, 1e-3),
    Sample(A((2, 3, 4)), _C3, _V3, use_input_stats=False),
])  # fmt: skip
def instance_norm(input: Any, running_mean: Any = None, running_var: Any = None,
                  weight: Any = None, bias: Any = None, use_input_stats: bool = True,
                  momentum: float = 0.1, eps: float = 1e-5) -> Any:  # fmt: skip
    """Standardise each channel of each example of ``(N, C, ...)``, then scale and shift it.

    Args:
        running_mean, running_var: as for ``batch_norm``; they follow the mean over the examples.
    """
    _channels("instance_norm", input, running_mean=running_mean, running_var=running_var,
              weight=weight, bias=bias)  # fmt: skip
    floating("instance_norm", input)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise SettingError(
                "instance_norm: without use_input_stats it needs running_mean and running_var"
            )
        return F.channel_apply(input, running_mean, running_var, weight, bias, eps)
    batch, channels = input.shape[:2]
    n = extent(input.shape, tuple(range(2, input.ndim)))
    if n == 1:
        raise ShapeError(
            "instance_norm: needs more than one element per channel and example, got input of "
            f"shape {tuple(input.shape)}"
        )
    # The channels of all examples are as many channels of one.
    one = F.reshape(input, (1, batch * channels, *input.shape[2:]))
    weight, bias = (
        p if p is None else F.reshape(F.broadcast_to(p, (batch, channels)), (batch * channels,))
        for p in (weight, bias)
    )
    out, *moments = F.channel_norm(one, weight, bias, eps)
    if running_mean is not None or running_var is not None:
        mean, var = (F.mean(F.reshape(m.detach(), (batch, channels)), 0) for m in moments)
        _follow("instance_norm", running_mean, mean, momentum)
        _follow("instance_norm", running_var, var, momentum, n / max(n - 1, 1))
    return F.reshape(out, tuple(input.shape))


@function(**_LAYER, samples=[
    Sample(A((2, 5, 3)), 3), Sample(A((2, 4, 3, 2)), 2, 0.1, 0.5, 2.0), Sample(A((2, 3, 2)), 7),
])  # fmt: skip
def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75,
                        k: float = 1.0) -> Any:  # fmt: skip
    """Divide by ``(k + alpha * mean) ** beta``, the mean square of ``size`` channels around."""
    if input.ndim < 3:
        raise ShapeError(
            f"local_response_norm: input must have 3 dimensions or more, got {tuple(input.shape)}"
        )
    floating("local_response_norm", input)
    x = _wide(input)
    squares = x * x
    channels = x.shape[1]
    edges = (size // 2, (size - 1) // 2)
    pads = [F.broadcast_to(F.zeros_like(squares[:, :1]), (x.shape[0], e, *x.shape[2:]))
            for e in edges]  # fmt: skip
    padded = F.concat([pads[0], squares, pads[1]], 1)
    total = padded[:, :channels]
    for i in range(1, size):
        total = total + padded[:, i : i + channels]
    return F.astype(x / (total * (alpha / size) + k) ** beta, input.dtype)
