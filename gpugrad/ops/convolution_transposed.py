"""Transposed convolutions: the gradient of a convolution in its input, as an op of its own."""

from __future__ import annotations

from typing import Any

from gpugrad.errors import NotSupportedError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import function
from gpugrad.ops.convolution import batched, conv_input_grad, pairs, spread
from gpugrad.samples import A, Sample
from gpugrad.signature import same_dtype


def _checked(name: str, n: int, weight: Any, bias: Any, groups: int) -> None:
    if weight.ndim != n + 2 or groups < 1 or weight.shape[0] % groups:
        raise ShapeError(
            f"{name}: weight must have {n + 2} dimensions (in, out / groups, {n} sizes) and groups "
            f"({groups}) must divide the first; got shape {tuple(weight.shape)}"
        )
    out = weight.shape[1] * groups
    same_dtype(name, weight=weight, bias=bias)
    if bias is not None and tuple(bias.shape) != (out,):
        raise ShapeError(f"{name}: bias must have shape ({out},), got {tuple(bias.shape)}")


def _sizes(name: str, x: Any, weight: Any, stride: Any, pad: Any, extra: Any,
           dilation: Any) -> tuple[int, ...]:  # fmt: skip
    """Spatial sizes of the result."""
    if x.shape[1] != weight.shape[0]:
        raise ShapeError(
            f"{name}: input {tuple(x.shape)} has {x.shape[1]} channels, weight "
            f"{tuple(weight.shape)} takes {weight.shape[0]}"
        )
    given = zip(x.shape[2:], weight.shape[2:], stride, pad, dilation, extra)
    size = tuple((m - 1) * s - 2 * p + d * (k - 1) + e + 1 for m, k, s, p, d, e in given)
    if any(s < 1 for s in size):
        raise ShapeError(f"{name}: input {tuple(x.shape)} gives sizes {size}; they must be >= 1")
    return size


def _transposed(n: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any,
                output_padding: Any, groups: int, dilation: Any) -> Any:  # fmt: skip
    name = f"conv_transpose{n}d"
    _checked(name, n, weight, bias, groups)
    stride, dilation = spread(name, "stride", stride, n), spread(name, "dilation", dilation, n)
    pad = spread(name, "padding", padding, n, 0)
    extra = spread(name, "output_padding", output_padding, n, 0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation)):
        raise SettingError(
            f"{name}: output_padding {extra} must be smaller than stride {stride} or dilation "
            f"{dilation}"
        )
    if any(e >= s for e, s in zip(extra, stride)):
        raise NotSupportedError(
            f"{name}: output_padding {extra} must be smaller than stride {stride}; pad the result"
        )

    def run(x: Any) -> Any:
        size = _sizes(name, x, weight, stride, pad, extra, dilation)
        out = conv_input_grad(x, weight, size, stride, pairs(pad), dilation, groups)
        return out if bias is None else out + F.reshape(bias, (-1, *(1,) * n))

    return batched(name, input, n, run)


@function(samples=[Sample(A((2, 4, 5)), A((4, 3, 3)), A((3,)), 2, 1, 1)], method=False,
    aliases=("nn.functional.conv_transpose1d",))  # fmt: skip
def conv_transpose1d(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
                     output_padding: Any = 0, groups: int = 1,
                     dilation: Any = 1) -> Any:  # fmt: skip
    """Transposed convolution of ``(batch, in, length)``; see ``conv_transpose2d``."""
    return _transposed(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@function(samples=[
    Sample(A((2, 4, 3, 4)), A((4, 3, 3, 2)), A((6,)), (2, 1), (1, 0), (1, 0), 2),
    Sample(A((4, 3, 4)), A((4, 2, 2, 2)), None, 2),
    Sample(A((1, 2, 3, 3)), A((2, 2, 2, 2)), dilation=2)],
    method=False, aliases=("nn.functional.conv_transpose2d",))  # fmt: skip
def conv_transpose2d(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
                     output_padding: Any = 0, groups: int = 1,
                     dilation: Any = 1) -> Any:  # fmt: skip
    """Transposed convolution: ``(batch, in, h, w)`` with ``weight (in, out / groups, kh, kw)``.

    It enlarges by ``stride``; ``output_padding`` is added to one side of the result.
    """
    return _transposed(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@function(samples=[Sample(A((1, 2, 2, 3, 2)), A((2, 2, 2, 2, 2)), A((2,)), 2, 1, 1)], method=False,
    aliases=("nn.functional.conv_transpose3d",))  # fmt: skip
def conv_transpose3d(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
                     output_padding: Any = 0, groups: int = 1,
                     dilation: Any = 1) -> Any:  # fmt: skip
    """Transposed convolution of ``(batch, in, d, h, w)``; see ``conv_transpose2d``."""
    return _transposed(3, input, weight, bias, stride, padding, output_padding, groups, dilation)
