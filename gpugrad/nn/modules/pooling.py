"""Pooling layers."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from gpugrad.errors import NotSupportedError
from gpugrad.nn.layer import Layer, sizes
from gpugrad.nn.module import Module


class _MaxPool(Layer, shows="kernel_size= stride= padding= dilation= ceil_mode="):
    kernel_size: Any
    stride: Any = None
    padding: Any = 0
    dilation: Any = 1
    return_indices: bool = False
    ceil_mode: bool = False

    def _complete(self) -> None:
        self.stride = self.kernel_size if self.stride is None else self.stride


class MaxPool1d(_MaxPool, function="max_pool1d"):
    """Largest values of windows of ``(N, C, L)``."""


class MaxPool2d(_MaxPool, function="max_pool2d"):
    """Largest values of windows of ``(N, C, H, W)``."""


class MaxPool3d(_MaxPool, function="max_pool3d"):
    """Largest values of windows of ``(N, C, D, H, W)``."""


class _MaxUnpool(Layer, shows="kernel_size= stride= padding="):
    _n: ClassVar[int] = 0
    kernel_size: Any
    stride: Any = None
    padding: Any = 0

    def _complete(self) -> None:
        stride = self.kernel_size if self.stride is None else self.stride
        self.kernel_size = sizes(self.kernel_size, self._n)
        self.stride, self.padding = sizes(stride, self._n), sizes(self.padding, self._n)


class MaxUnpool1d(_MaxUnpool, function="max_unpool1d"):
    """Undoes ``MaxPool1d``: values return to their places, all else is zero."""

    _n: ClassVar[int] = 1


class MaxUnpool2d(_MaxUnpool, function="max_unpool2d"):
    """Undoes ``MaxPool2d``: values return to their places, all else is zero."""

    _n: ClassVar[int] = 2


class MaxUnpool3d(_MaxUnpool, function="max_unpool3d"):
    """Undoes ``MaxPool3d``: values return to their places, all else is zero."""

    _n: ClassVar[int] = 3


class AvgPool1d(Layer, function="avg_pool1d", shows="kernel_size= stride= padding="):
    """Means of windows of ``(N, C, L)``."""

    kernel_size: Any
    stride: Any = None
    padding: Any = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def _complete(self) -> None:
        stride = self.kernel_size if self.stride is None else self.stride
        self.kernel_size = sizes(self.kernel_size, 1)
        self.stride, self.padding = sizes(stride, 1), sizes(self.padding, 1)


class AvgPool2d(Layer, function="avg_pool2d", shows="kernel_size= stride= padding="):
    """Means of windows of ``(N, C, H, W)``."""

    kernel_size: Any
    stride: Any = None
    padding: Any = 0
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None

    def _complete(self) -> None:
        self.stride = self.kernel_size if self.stride is None else self.stride


class AvgPool3d(AvgPool2d, function="avg_pool3d"):
    """Means of windows of ``(N, C, D, H, W)``."""


class AdaptiveAvgPool1d(Layer, function="adaptive_avg_pool1d", shows="output_size="):
    """Means of ``output_size`` equal parts of ``(N, C, L)``."""

    output_size: Any


class AdaptiveAvgPool2d(AdaptiveAvgPool1d, function="adaptive_avg_pool2d"):
    """Means of ``output_size`` equal parts of ``(N, C, H, W)``; None keeps a size."""


class AdaptiveAvgPool3d(AdaptiveAvgPool1d, function="adaptive_avg_pool3d"):
    """Means of ``output_size`` equal parts of ``(N, C, D, H, W)``; None keeps a size."""


class AdaptiveMaxPool1d(Layer, function="adaptive_max_pool1d", shows="output_size="):
    """Largest values of ``output_size`` equal parts of ``(N, C, L)``."""

    output_size: Any
    return_indices: bool = False


class AdaptiveMaxPool2d(AdaptiveMaxPool1d, function="adaptive_max_pool2d"):
    """Largest values of ``output_size`` equal parts of ``(N, C, H, W)``."""


class AdaptiveMaxPool3d(AdaptiveMaxPool1d, function="adaptive_max_pool3d"):
    """Largest values of ``output_size`` equal parts of ``(N, C, D, H, W)``."""


class LPPool1d(Layer, function="lp_pool1d", shows="norm_type= kernel_size= stride= ceil_mode="):
    """``norm_type``-norms of windows of ``(N, C, L)``."""

    norm_type: float
    kernel_size: Any
    stride: Any = None
    ceil_mode: bool = False


class LPPool2d(LPPool1d, function="lp_pool2d"):
    """``norm_type``-norms of windows of ``(N, C, H, W)``."""


class LPPool3d(LPPool1d, function="lp_pool3d"):
    """``norm_type``-norms of windows of ``(N, C, D, H, W)``."""


class FractionalMaxPool2d(Module):
    """Refused: windows of random size are not supported."""

    def __init__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotSupportedError(
            f"{type(self).__name__}: windows of random size are not supported; use "
            "AdaptiveMaxPool2d or AdaptiveMaxPool3d"
        )


class FractionalMaxPool3d(FractionalMaxPool2d):
    """Refused: windows of random size are not supported."""
