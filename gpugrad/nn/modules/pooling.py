"""Pooling layers."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from gpugrad.errors import NotSupportedError
from gpugrad.nn.layer import Layer, sizes
from gpugrad.nn.module import Module


class _MaxPoolNd(Layer, shows="kernel_size= stride= padding= dilation= ceil_mode="):
    kernel_size: Any
    stride: Any = None
    padding: Any = 0
    dilation: Any = 1
    return_indices: bool = False
    ceil_mode: bool = False

    def _complete(self) -> None:
        self.stride = self.kernel_size if self.stride is None else self.stride


class MaxPool1d(_MaxPoolNd, function="max_pool1d"):
    """Largest values of windows of ``(N, C, L)``."""


class MaxPool2d(_MaxPoolNd, function="max_pool2d"):
    """Largest values of windows of ``(N, C, H, W)``."""


class MaxPool3d(_MaxPoolNd, function="max_pool3d"):
    """Largest values of windows of ``(N, C, D, H, W)``."""


class _MaxUnpoolNd(Layer, shows="kernel_size= stride= padding="):
    _n: ClassVar[int] = 0
    kernel_size: Any
    stride: Any = None
    padding: Any = 0

    def _complete(self) -> None:
        stride = self.kernel_size if self.stride is None else self.stride
        self.kernel_size = sizes(self.kernel_size, self._n)
        self.stride, self.padding = sizes(stride, self._n), sizes(self.padding, self._n)


class MaxUnpool1d(_MaxUnpoolNd, function="max_unpool1d"):
    """Undoes ``MaxPool1d``: values return to their places, all else is zero."""

    _n: ClassVar[int] = 1


class MaxUnpool2d(_MaxUnpoolNd, function="max_unpool2d"):
    """Undoes ``MaxPool2d``: values return to their places, all else is zero."""

    _n: ClassVar[int] = 2


class MaxUnpool3d(_MaxUnpoolNd, function="max_unpool3d"):
    """Undoes ``MaxPool3d``: values return to their places, all else is zero."""

    _n: ClassVar[int] = 3


class _AvgPoolNd(Layer, shows="kernel_size= stride= padding="):
    kernel_size: Any
    stride: Any = None
    padding: Any = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def _complete(self) -> None:
        self.stride = self.kernel_size if self.stride is None else self.stride


class AvgPool1d(_AvgPoolNd, function="avg_pool1d"):
    """Means of windows of ``(N, C, L)``."""

    def _complete(self) -> None:
        super()._complete()
        self.kernel_size, self.stride, self.padding = (
            sizes(value, 1) for value in (self.kernel_size, self.stride, self.padding)
        )


class AvgPool2d(_AvgPoolNd, function="avg_pool2d"):
    """Means of windows of ``(N, C, H, W)``."""

    divisor_override: int | None = None


class AvgPool3d(_AvgPoolNd, function="avg_pool3d"):
    """Means of windows of ``(N, C, D, H, W)``."""

    divisor_override: int | None = None


class _AdaptiveAvgPoolNd(Layer, shows="output_size="):
    output_size: Any


class AdaptiveAvgPool1d(_AdaptiveAvgPoolNd, function="adaptive_avg_pool1d"):
    """Means of ``output_size`` equal parts of ``(N, C, L)``."""


class AdaptiveAvgPool2d(_AdaptiveAvgPoolNd, function="adaptive_avg_pool2d"):
    """Means of ``output_size`` equal parts of ``(N, C, H, W)``; None keeps a size."""


class AdaptiveAvgPool3d(_AdaptiveAvgPoolNd, function="adaptive_avg_pool3d"):
    """Means of ``output_size`` equal parts of ``(N, C, D, H, W)``; None keeps a size."""


class _AdaptiveMaxPoolNd(Layer, shows="output_size="):
    output_size: Any
    return_indices: bool = False


class AdaptiveMaxPool1d(_AdaptiveMaxPoolNd, function="adaptive_max_pool1d"):
    """Largest values of ``output_size`` equal parts of ``(N, C, L)``."""


class AdaptiveMaxPool2d(_AdaptiveMaxPoolNd, function="adaptive_max_pool2d"):
    """Largest values of ``output_size`` equal parts of ``(N, C, H, W)``."""


class AdaptiveMaxPool3d(_AdaptiveMaxPoolNd, function="adaptive_max_pool3d"):
    """Largest values of ``output_size`` equal parts of ``(N, C, D, H, W)``."""


class _LPPoolNd(Layer, shows="norm_type= kernel_size= stride= ceil_mode="):
    norm_type: float
    kernel_size: Any
    stride: Any = None
    ceil_mode: bool = False


class LPPool1d(_LPPoolNd, function="lp_pool1d"):
    """``norm_type``-norms of windows of ``(N, C, L)``."""


class LPPool2d(_LPPoolNd, function="lp_pool2d"):
    """``norm_type``-norms of windows of ``(N, C, H, W)``."""


class LPPool3d(_LPPoolNd, function="lp_pool3d"):
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
