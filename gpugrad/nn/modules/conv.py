"""Convolutions and transposed convolutions of one to three dimensions."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from gpugrad.errors import SettingError, ShapeError
from gpugrad.nn import functional
from gpugrad.nn.layer import fill_uniform, parameter, shown, sizes
from gpugrad.nn.module import Module
from gpugrad.signature import check_choice

_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """What all convolutions share: sizes, weight, bias, and how they are filled.

    Weight and bias are filled with uniform numbers up to ``1 / sqrt(fan_in)`` in size, where
    ``fan_in`` is how many elements of the weight one of its rows has.
    """

    _n: ClassVar[int] = 0
    _transposed: ClassVar[bool] = False

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any,
                 padding: Any, dilation: Any, output_padding: Any, groups: int, bias: bool,
                 padding_mode: str, device: Any, dtype: Any) -> None:  # fmt: skip
        super().__init__()
        name, n = type(self).__name__, self._n
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise SettingError(
                f"{name}: groups={groups} must be positive and divide in_channels={in_channels} "
                f"and out_channels={out_channels}"
            )
        check_choice(name, "padding_mode", padding_mode, _MODES[: 1 if self._transposed else 4])
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = sizes(kernel_size, n)
        self.stride = sizes(stride, n)
        self.padding = padding if isinstance(padding, str) else sizes(padding, n)
        self.dilation = sizes(dilation, n)
        self.transposed = self._transposed
        self.output_padding = sizes(output_padding, n)
        self.groups = groups
        self.padding_mode = padding_mode
        if isinstance(padding, str):
            check_choice(name, "padding", padding, ("same", "valid"))
            if padding == "same" and any(s != 1 for s in self.stride):
                raise SettingError(f"{name}: padding='same' needs stride 1, got {self.stride}")
        rows, columns = out_channels, in_channels
        if self.transposed:
            rows, columns = columns, rows
        factory = {"device": device, "dtype": dtype}
        self.weight = parameter(rows, columns // groups, *self.kernel_size, **factory)
        self.register_parameter("bias", parameter(out_channels, **factory) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        fill_uniform(math.prod(self.weight.shape[1:]), self.weight, self.bias)

    def extra_repr(self) -> str:
        """Sizes, and the settings that are not the default."""
        n = self._n
        text = shown(self, "in_channels out_channels kernel_size= stride=")
        text += f", padding={self.padding}" if self.padding != (0,) * n else ""
        text += f", dilation={self.dilation}" if self.dilation != (1,) * n else ""
        text += f", output_padding={self.output_padding}" if any(self.output_padding) else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        text += ", bias=False" if self.bias is None else ""
        return text + (
            f", padding_mode={self.padding_mode}" if self.padding_mode != "zeros" else ""
        )


class _Conv(_ConvNd):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
                 padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True,
                 padding_mode: str = "zeros", device: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, 0,
                         groups, bias, padding_mode, device, dtype)  # fmt: skip

    def _amounts(self) -> list[int]:
        """Padding before and after, for the last dimension first, as ``pad`` takes it."""
        if self.padding == "same":
            whole = [d * (k - 1) for k, d in zip(self.kernel_size, self.dilation, strict=True)]
            return [p for w in reversed(whole) for p in (w // 2, w - w // 2)]
        given: Any = sizes(0, self._n) if self.padding == "valid" else self.padding
        return [p for size in reversed(given) for p in (size, size)]

    def forward(self, input: Any) -> Any:
        """The convolution of ``(N, C, ...)`` or ``(C, ...)``."""
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input, padding = functional.pad(input, self._amounts(), self.padding_mode), 0
        convolve = getattr(functional, f"conv{self._n}d")
        return convolve(input, self.weight, self.bias, self.stride, padding, self.dilation,
                        self.groups)  # fmt: skip


class Conv1d(_Conv):
    """Convolution of ``(N, C, L)``.

    Args:
        padding: ints, ``"valid"`` for none, or ``"same"`` to keep the size (with stride 1).
        padding_mode: ``zeros``, ``reflect``, ``replicate`` or ``circular``.
    """

    _n: ClassVar[int] = 1


class Conv2d(_Conv):
    """Convolution of ``(N, C, H, W)``; arguments as for ``Conv1d``."""

    _n: ClassVar[int] = 2


class Conv3d(_Conv):
    """Convolution of ``(N, C, D, H, W)``; arguments as for ``Conv1d``."""

    _n: ClassVar[int] = 3


class _ConvTransposeNd(_ConvNd):
    _transposed: ClassVar[bool] = True

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
                 padding: Any = 0, output_padding: Any = 0, groups: int = 1, bias: bool = True,
                 dilation: Any = 1, padding_mode: str = "zeros", device: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        if isinstance(padding, str):
            raise SettingError(f"{type(self).__name__}: padding must be ints, got {padding!r}")
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation,
                         output_padding, groups, bias, padding_mode, device, dtype)  # fmt: skip

    def _extra(self, input: Any, wanted: Any) -> tuple[int, ...]:
        """The output padding that gives the wanted sizes."""
        name, n = type(self).__name__, self._n
        if input.ndim not in (n + 1, n + 2):
            raise ShapeError(
                f"{name}: input must have {n + 1} or {n + 2} dimensions, got {tuple(input.shape)}"
            )
        given = tuple(wanted)
        given = given[-n:] if len(given) == input.ndim else given
        settings = zip(input.shape[-n:], self.kernel_size, self.stride, self.padding, self.dilation,
                       strict=True)  # fmt: skip
        least = tuple((m - 1) * s - 2 * p + d * (k - 1) + 1 for m, k, s, p, d in settings)
        extra = tuple(w - m for w, m in zip(given, least, strict=False))
        if len(given) != n or not all(0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            most = tuple(m + s - 1 for m, s in zip(least, self.stride, strict=True))
            raise SettingError(
                f"{name}: output_size {tuple(wanted)} for an input of {tuple(input.shape)}; "
                f"accepted: {n} sizes from {least} to {most}"
            )
        return extra

    def forward(self, input: Any, output_size: Any = None) -> Any:
        """The transposed convolution of ``(N, C, ...)`` or ``(C, ...)``.

        Args:
            output_size: the wanted sizes, where ``stride`` leaves several.
        """
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        convolve = getattr(functional, f"conv_transpose{self._n}d")
        return convolve(input, self.weight, self.bias, self.stride, self.padding, extra,
                        self.groups, self.dilation)  # fmt: skip


class ConvTranspose1d(_ConvTransposeNd):
    """Transposed convolution of ``(N, C, L)``: it enlarges by ``stride``."""

    _n: ClassVar[int] = 1


class ConvTranspose2d(_ConvTransposeNd):
    """Transposed convolution of ``(N, C, H, W)``: it enlarges by ``stride``."""

    _n: ClassVar[int] = 2


class ConvTranspose3d(_ConvTransposeNd):
    """Transposed convolution of ``(N, C, D, H, W)``: it enlarges by ``stride``."""

    _n: ClassVar[int] = 3
