"""Batch normalisation: layers with statistics that follow the data."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from gpugrad import dtypes
from gpugrad.errors import NotSupportedError, ShapeError
from gpugrad.modes import no_grad
from gpugrad.nn import functional
from gpugrad.nn.layer import shown
from gpugrad.nn.module import Module
from gpugrad.nn.modules.normalization import add_affine, reset_affine
from gpugrad.ops.creation import empty, tensor


class _NormBase(Module):
    """Channels, an affine map, and with ``track_running_stats`` three buffers.

    Args:
        momentum: how far the running statistics move towards a batch's; None: they are the plain
            mean over all batches.
    """

    #: Numbers of dimensions that an input may have, those without a batch first.
    _ndims: ClassVar[tuple[int, ...]] = ()

    def __init__(self, num_features: int, eps: float, momentum: float | None, affine: bool,
                 track_running_stats: bool, device: Any, dtype: Any,
                 bias: bool) -> None:  # fmt: skip
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        add_affine(self, (num_features,), affine, affine and bias, device, dtype)
        mean = var = count = None
        if track_running_stats:
            mean, var = (empty(num_features, device=device, dtype=dtype) for _ in range(2))
            count = tensor(0, device=device, dtype=dtypes.int64)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", var)
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Set the running mean to 0, the variance to 1 and the count to 0."""
        if self.track_running_stats:
            with no_grad():
                self.running_mean.zero_()
                self.running_var.fill_(1)
                self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Reset the statistics, set the weight to 1 and the bias to 0."""
        self.reset_running_stats()
        reset_affine(self)

    def _check_input_dim(self, input: Any) -> None:
        if input.ndim not in self._ndims:
            wanted = " or ".join(f"{n}D" for n in self._ndims)
            raise ShapeError(
                f"{type(self).__name__}: expected {wanted} input, got shape {tuple(input.shape)}"
            )

    def extra_repr(self) -> str:
        """Channels and settings."""
        text = shown(self, "num_features eps= momentum= affine=")
        return (
            f"{text}, bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_NormBase):
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
                 affine: bool = True, track_running_stats: bool = True, device: Any = None,
                 dtype: Any = None, *, bias: bool = True) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype,
                         bias)  # fmt: skip

    def forward(self, input: Any) -> Any:
        """The input standardised by the batch in training, else by the running statistics.

        In training these move; without them the batch's are taken always.
        """
        self._check_input_dim(input)
        follows = self.training and self.track_running_stats
        rate = 0.0 if self.momentum is None else self.momentum
        if follows and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                rate = 1.0 / float(self.num_batches_tracked)
        by_batch = self.training or (self.running_mean is None and self.running_var is None)
        known = follows or not self.training
        return functional.batch_norm(
            input,
            self.running_mean if known else None,
            self.running_var if known else None,
            self.weight,
            self.bias,
            by_batch,
            rate,
            self.eps,
        )


class BatchNorm1d(_BatchNorm):
    """Standardises each channel of ``(N, C)`` or ``(N, C, L)``, then scales and shifts it."""

    _ndims: ClassVar[tuple[int, ...]] = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Standardises each channel of ``(N, C, H, W)``, then scales and shifts it."""

    _ndims: ClassVar[tuple[int, ...]] = (4,)


class BatchNorm3d(_BatchNorm):
    """Standardises each channel of ``(N, C, D, H, W)``, then scales and shifts it."""

    _ndims: ClassVar[tuple[int, ...]] = (5,)


class SyncBatchNorm(Module):
    """Refused: statistics over several processes are not supported."""

    def __init__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotSupportedError(
            "SyncBatchNorm: statistics over several processes are not supported; use BatchNorm"
        )
