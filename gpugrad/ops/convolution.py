"""Convolutions of one to three dimensions.

Three records serve all: a convolution, its gradient in the input (which is a transposed
convolution) and its gradient in the weight.  The gradient of each is made of the other two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpugrad.backends.additions.convolution import Pairs, Sizes, out_sizes
from gpugrad.errors import SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, function, op
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec

_INNER = {"home": "_ops", "method": False, "torch": "", "promotion": "same", "accepts": "if",
          "half": "kernel"}  # fmt: skip


# ---- settings ----------------------------------------------------------------------------------


def spread(name: str, what: str, value: Any, n: int, least: int = 1) -> tuple[int, ...]:
    """One int per spatial dimension, from one int or as many.

    Raises:
        SettingError: if they are too many, too few, or too small.
    """
    sizes = tuple(value) if isinstance(value, list | tuple) else (value,)
    sizes = sizes * n if len(sizes) == 1 else sizes
    if len(sizes) != n or not all(isinstance(s, int) and s >= least for s in sizes):
        raise SettingError(f"{name}: {what} must be an int or {n} ints >= {least}, got {value!r}")
    return sizes


def pairs(sizes: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """The same padding before and after."""
    return tuple((s, s) for s in sizes)


def batched(name: str, x: Any, n: int, run: Callable[[Any], Any]) -> Any:
    """Run on ``(batch, channels, *size)``; an input without a batch gets one for the time."""
    if x.ndim == n + 2:
        return run(x)
    if x.ndim == n + 1:
        return F.squeeze(run(F.reshape(x, (1, *x.shape))), 0)
    raise ShapeError(
        f"{name}: input must have {n + 2} dimensions (batch, channels, {n} sizes), or {n + 1} "
        f"without a batch; got shape {tuple(x.shape)}"
    )


def _check(x: Spec, w: Spec, bias: Spec | None, groups: int) -> None:
    if w.ndim != x.ndim:
        raise ShapeError(f"convolution: input {x.shape} and weight {w.shape} differ in dimensions")
    if groups < 1 or w.shape[0] % groups:
        raise SettingError(
            f"convolution: groups={groups} must divide the {w.shape[0]} output channels"
        )
    if x.shape[1] != w.shape[1] * groups:
        raise ShapeError(
            f"convolution: input {x.shape} has {x.shape[1]} channels, weight {w.shape} with "
            f"groups={groups} takes {w.shape[1] * groups}"
        )
    if bias is not None and bias.shape != w.shape[:1]:
        raise ShapeError(f"convolution: bias must have shape {w.shape[:1]}, got {bias.shape}")


# ---- the three records -------------------------------------------------------------------------

_SETTINGS = {"stride": (2, 1), "padding": ((1, 1), (0, 1)), "dilation": (1, 2), "groups": 2}


def _convolved(input: Spec, weight: Spec, bias: Spec | None = None, *, stride: Any, padding: Any,
               dilation: Any, groups: int) -> Spec:  # fmt: skip
    _check(input, weight, bias, groups)
    out = out_sizes(input.shape[2:], weight.shape[2:], stride, padding, dilation)
    if any(s < 1 for s in out):
        raise ShapeError(
            f"convolution: the kernel {weight.shape[2:]} with dilation {dilation} is larger than "
            f"the input {input.shape[2:]} with padding {padding}"
        )
    return Spec((input.shape[0], weight.shape[0], *out), input.dtype)


@op(result=_convolved, samples=[
    Sample(A((2, 4, 5, 6)), A((6, 2, 2, 3)), A((6,)), **_SETTINGS),
    Sample(A((2, 3, 5)), A((2, 3, 1)), None, (1,), ((0, 0),), (1,), 1)], **_INNER)  # fmt: skip
def convolution(xp, input: Array, weight: Array, bias: Array | None = None, *,
                stride: Sizes = (1, 1), padding: Pairs = ((0, 0), (0, 0)),
                dilation: Sizes = (1, 1), groups: int = 1) -> Array:  # fmt: skip
    """Convolution of ``(n, c, *size)`` with ``(o, c / groups, *kernel)``, ``padding`` in pairs."""
    _convolved(
        input, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return xp.convolution(input, weight, bias, stride, padding, dilation, groups)


@convolution.vjp("input")
def _(xp, g, weight, input_shape, stride, padding, dilation, groups):
    return xp.conv_input_grad(g, weight, input_shape[2:], stride, padding, dilation, groups)


@convolution.vjp("weight")
def _(xp, g, input, weight_shape, stride, padding, dilation, groups):
    return xp.conv_weight_grad(g, input, weight_shape[2:], stride, padding, dilation, groups)


@convolution.vjp("bias")
def _(xp, g):
    return xp.sum(g, axis=(0, *range(2, len(g.shape))))


def _input_shaped(input: Spec, weight: Spec, *, size: Any, groups: int, **settings: Any) -> Spec:
    return Spec((input.shape[0], weight.shape[1] * groups, *size), input.dtype)


@op(result=_input_shaped, samples=[
    Sample(A((2, 6, 3, 3)), A((6, 2, 2, 3)), (5, 6), **_SETTINGS)], **_INNER)  # fmt: skip
def conv_input_grad(xp, input: Array, weight: Array, *, size: Sizes, stride: Sizes, padding: Pairs,
                    dilation: Sizes, groups: int) -> Array:  # fmt: skip
    """Gradient of a convolution in its input, given that of its result as ``input``."""
    return xp.conv_input_grad(input, weight, size, stride, padding, dilation, groups)


@conv_input_grad.vjp("input")
def _(xp, g, weight, stride, padding, dilation, groups):
    return xp.convolution(g, weight, None, stride, padding, dilation, groups)


@conv_input_grad.vjp("weight")
def _(xp, g, input, weight_shape, stride, padding, dilation, groups):
    return xp.conv_weight_grad(input, g, weight_shape[2:], stride, padding, dilation, groups)


def _weight_shaped(grad: Spec, input: Spec, *, kernel: Any, groups: int, **settings: Any) -> Spec:
    return Spec((grad.shape[1], input.shape[1] // groups, *kernel), grad.dtype)


@op(result=_weight_shaped, samples=[
    Sample(A((2, 6, 3, 3)), A((2, 4, 5, 6)), (2, 3), **_SETTINGS)], **_INNER)  # fmt: skip
def conv_weight_grad(xp, grad: Array, input: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs,
                     dilation: Sizes, groups: int) -> Array:  # fmt: skip
    """Gradient of a convolution of ``input`` in its weight, given that of its result."""
    return xp.conv_weight_grad(grad, input, kernel, stride, padding, dilation, groups)


@conv_weight_grad.vjp("grad")
def _(xp, g, input, stride, padding, dilation, groups):
    return xp.convolution(input, g, None, stride, padding, dilation, groups)


@conv_weight_grad.vjp("input")
def _(xp, g, grad, input_shape, stride, padding, dilation, groups):
    return xp.conv_input_grad(grad, g, input_shape[2:], stride, padding, dilation, groups)


# ---- convolutions as PyTorch calls them --------------------------------------------------------


def _padding(name: str, value: Any, kernel: tuple[int, ...], stride: tuple[int, ...],
             dilation: tuple[int, ...]) -> tuple[tuple[int, int], ...]:  # fmt: skip
    if value == "valid":
        return pairs((0,) * len(kernel))
    if value == "same":
        if any(s != 1 for s in stride):
            raise SettingError(f"{name}: padding='same' needs stride 1, got {stride}")
        whole = [d * (k - 1) for k, d in zip(kernel, dilation)]
        return tuple((p // 2, p - p // 2) for p in whole)
    if isinstance(value, str):
        raise SettingError(f"{name}: padding must be ints, 'same' or 'valid', got {value!r}")
    return pairs(spread(name, "padding", value, len(kernel), 0))


def _conv(n: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any,
          groups: int) -> Any:  # fmt: skip
    name = f"conv{n}d"
    if weight.ndim != n + 2:
        raise ShapeError(
            f"{name}: weight must have {n + 2} dimensions (out, in / groups, {n} sizes), got shape "
            f"{tuple(weight.shape)}"
        )
    stride = spread(name, "stride", stride, n)
    dilation = spread(name, "dilation", dilation, n)
    pads = _padding(name, padding, tuple(weight.shape[2:]), stride, dilation)
    return batched(
        name, input, n, lambda x: convolution(x, weight, bias, stride, pads, dilation, groups)
    )


@function(samples=[
    Sample(A((2, 3, 8)), A((4, 3, 3)), A((4,)), padding="same"),
    Sample(A((4, 8)), A((4, 1, 3)), groups=4),
    Sample(A((2, 3, 8)), A((4, 3, 3)), None, 2, 0, 2)], method=False,
    aliases=("nn.functional.conv1d",))  # fmt: skip
def conv1d(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
           dilation: Any = 1, groups: int = 1) -> Any:  # fmt: skip
    """Convolution of ``(batch, in, length)`` with ``weight (out, in / groups, kernel)``.

    Args:
        padding: ints, ``"valid"`` for none, or ``"same"`` to keep the size (with stride 1).
    """
    return _conv(1, input, weight, bias, stride, padding, dilation, groups)


@function(samples=[
    Sample(A((2, 3, 6, 5)), A((4, 3, 3, 2)), A((4,)), 2, (1, 0)),
    Sample(A((2, 4, 5, 5)), A((4, 2, 3, 3)), None, 1, "same", 2, 2),
    Sample(A((3, 5, 5)), A((2, 3, 1, 1)), A((2,))), Sample(A((0, 3, 5, 5)), A((2, 3, 3, 3)))],
    method=False, aliases=("nn.functional.conv2d",))  # fmt: skip
def conv2d(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
           dilation: Any = 1, groups: int = 1) -> Any:  # fmt: skip
    """Convolution of ``(batch, in, height, width)`` with ``weight (out, in / groups, kh, kw)``.

    Args:
        padding: ints, ``"valid"`` for none, or ``"same"`` to keep the size (with stride 1).
    """
    return _conv(2, input, weight, bias, stride, padding, dilation, groups)


@function(samples=[Sample(A((1, 2, 4, 3, 4)), A((2, 2, 2, 3, 2)), A((2,)), 1, 1)], method=False,
    aliases=("nn.functional.conv3d",))  # fmt: skip
def conv3d(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
           dilation: Any = 1, groups: int = 1) -> Any:  # fmt: skip
    """Convolution of ``(batch, in, depth, height, width)``; see ``conv2d``."""
    return _conv(3, input, weight, bias, stride, padding, dilation, groups)
