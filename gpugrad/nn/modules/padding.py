"""Padding layers: more around the last one to three dimensions."""

from __future__ import annotations

from typing import Any, ClassVar

from gpugrad.nn import functional
from gpugrad.nn.layer import Layer, sizes


class _Pad(Layer, shows="padding"):
    _n: ClassVar[int] = 0
    _mode: ClassVar[str] = "constant"
    padding: Any

    def _complete(self) -> None:
        self.padding = sizes(self.padding, 2 * self._n)

    def forward(self, input: Any) -> Any:
        """The input with ``padding`` before and after, for the last dimension first."""
        return functional.pad(input, self.padding, self._mode)


class ZeroPad1d(_Pad):
    """Zeros around ``(..., L)``."""

    _n: ClassVar[int] = 1


class ZeroPad2d(_Pad):
    """Zeros around ``(..., H, W)``."""

    _n: ClassVar[int] = 2


class ZeroPad3d(_Pad):
    """Zeros around ``(..., D, H, W)``."""

    _n: ClassVar[int] = 3


class _ReflectionPadNd(_Pad):
    _mode: ClassVar[str] = "reflect"


class ReflectionPad1d(_ReflectionPadNd):
    """The input mirrored around its first and last elements."""

    _n: ClassVar[int] = 1


class ReflectionPad2d(_ReflectionPadNd):
    """The input mirrored around its border."""

    _n: ClassVar[int] = 2


class ReflectionPad3d(_ReflectionPadNd):
    """The input mirrored around its border."""

    _n: ClassVar[int] = 3


class _ReplicationPadNd(_Pad):
    _mode: ClassVar[str] = "replicate"


class ReplicationPad1d(_ReplicationPadNd):
    """The first and last elements repeated."""

    _n: ClassVar[int] = 1


class ReplicationPad2d(_ReplicationPadNd):
    """The border repeated."""

    _n: ClassVar[int] = 2


class ReplicationPad3d(_ReplicationPadNd):
    """The border repeated."""

    _n: ClassVar[int] = 3


class _CircularPadNd(_Pad):
    _mode: ClassVar[str] = "circular"


class CircularPad1d(_CircularPadNd):
    """What is at the other end."""

    _n: ClassVar[int] = 1


class CircularPad2d(_CircularPadNd):
    """What is at the other end."""

    _n: ClassVar[int] = 2


class CircularPad3d(_CircularPadNd):
    """What is at the other end."""

    _n: ClassVar[int] = 3


class _ConstantPadNd(Layer, shows="padding= value="):
    _n: ClassVar[int] = 0
    padding: Any
    value: float

    def _complete(self) -> None:
        self.padding = sizes(self.padding, 2 * self._n)

    def forward(self, input: Any) -> Any:
        """The input with ``padding`` before and after, for the last dimension first."""
        return functional.pad(input, self.padding, "constant", self.value)


class ConstantPad1d(_ConstantPadNd):
    """A number around ``(..., L)``."""

    _n: ClassVar[int] = 1


class ConstantPad2d(_ConstantPadNd):
    """A number around ``(..., H, W)``."""

    _n: ClassVar[int] = 2


class ConstantPad3d(_ConstantPadNd):
    """A number around ``(..., D, H, W)``."""

    _n: ClassVar[int] = 3
