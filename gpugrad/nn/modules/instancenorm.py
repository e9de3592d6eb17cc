"""Instance normalisation: each channel of each example by itself."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

from gpugrad.errors import ShapeError
from gpugrad.functional_namespace import F
from gpugrad.nn import functional
from gpugrad.nn.modules.batchnorm import _NormBase


class _InstanceNorm(_NormBase):
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1,
                 affine: bool = False, track_running_stats: bool = False, device: Any = None,
                 dtype: Any = None, *, bias: bool = True) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype,
                         bias)  # fmt: skip

    def forward(self, input: Any) -> Any:
        """The input standardised by itself, or out of training by running statistics if kept."""
        self._check_input_dim(input)
        batched = input.ndim == self._ndims[-1]
        channels = input.shape[1 if batched else 0]
        if channels != self.num_features:
            text = (
                f"{type(self).__name__}: input of shape {tuple(input.shape)} has {channels} "
                f"channels, num_features is {self.num_features}"
            )
            if self.affine:
                raise ShapeError(text)
            warnings.warn(f"{text}; without affine it is not used", stacklevel=2)
        out = functional.instance_norm(
            input if batched else F.expand_dims(input, 0),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return out if batched else F.squeeze(out, 0)


class InstanceNorm1d(_InstanceNorm):
    """Standardises each channel of each example of ``(N, C, L)`` or ``(C, L)``."""

    _ndims: ClassVar[tuple[int, ...]] = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Standardises each channel of each example of ``(N, C, H, W)`` or ``(C, H, W)``."""

    _ndims: ClassVar[tuple[int, ...]] = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Standardises each channel of each example of ``(N, C, D, H, W)`` or ``(C, D, H, W)``."""

    _ndims: ClassVar[tuple[int, ...]] = (4, 5)
