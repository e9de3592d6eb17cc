"""A batch norm that only scales and shifts, folded into the layer before it."""

from __future__ import annotations

import copy
from typing import Any

from gpugrad.errors import SettingError, ShapeError
from gpugrad.modes import no_grad
from gpugrad.nn.module import Module
from gpugrad.nn.parameter import Parameter
from gpugrad.tensor import Tensor


@no_grad()
def _fused(
    weight: Tensor,
    bias: Tensor | None,
    mean: Tensor,
    var: Tensor,
    eps: float,
    gamma: Tensor | None,
    beta: Tensor | None,
    dim: int,
) -> tuple[Parameter, Parameter]:
    """Weight times scale along ``dim``, and ``(bias - mean) * scale + beta``."""
    scale = (var + eps).rsqrt()
    if gamma is not None:
        scale = scale * gamma
    along = [1] * weight.ndim
    along[dim] = -1
    shift = -mean * scale if bias is None else (bias - mean) * scale
    if beta is not None:
        shift = shift + beta
    kind = weight.dtype if bias is None else bias.dtype
    return (
        Parameter(weight * scale.reshape(along).to(weight.dtype), weight.requires_grad),
        Parameter(shift.to(kind), weight.requires_grad if bias is None else bias.requires_grad),
    )


def fuse_conv_bn_weights(conv_w: Tensor, conv_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor,
                         bn_eps: float, bn_w: Tensor | None, bn_b: Tensor | None,
                         transpose: bool = False) -> tuple[Parameter, Parameter]:  # fmt: skip
    """Weight and bias of a convolution that does what it and a batch norm did.

    Args:
        conv_w, conv_b: of the convolution.
        bn_rm, bn_rv, bn_eps: running mean, running variance and epsilon.
        bn_w, bn_b: of the batch norm.
        transpose: the convolution is a transposed one, with its outputs in dimension 1.
    """
    return _fused(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 1 if transpose else 0)  # type: ignore[no-any-return]


def fuse_linear_bn_weights(linear_w: Tensor, linear_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor,
                           bn_eps: float, bn_w: Tensor | None,
                           bn_b: Tensor | None) -> tuple[Parameter, Parameter]:  # fmt: skip
    """Weight and bias of a linear layer that does what it and a batch norm did."""
    return _fused(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 0)  # type: ignore[no-any-return]


def _check(name: str, layer: Module, bn: Any) -> None:
    if layer.training or bn.training:
        raise SettingError(f"{name}: works for evaluation only; call eval() on both modules")
    if bn.running_mean is None or bn.running_var is None:
        raise SettingError(f"{name}: the batch norm keeps no running statistics")


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A copy of a convolution that does what it and the batch norm after it do."""
    _check("fuse_conv_bn_eval", conv, bn)
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias,
        transpose,
    )  # fmt: skip
    return fused


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A copy of a linear layer that does what it and the batch norm after it do."""
    _check("fuse_linear_bn_eval", linear, bn)
    if bn.num_features not in (1, linear.out_features):
        raise ShapeError(
            f"fuse_linear_bn_eval: the layer has {linear.out_features} outputs, the batch norm "
            f"{bn.num_features} features; they must be equal, or those one"
        )
    fused = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        linear.weight, linear.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused
