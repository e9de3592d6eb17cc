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


class ReflectionPad1d(ZeroPad1d):
    """The input mirrored around its first and last elements."""

    _mode: ClassVar[str] = "reflect"


class ReflectionPad2d(ZeroPad2d):
    """The input mirrored around its border."""

    _mode: ClassVar[str] = "reflect"


class ReflectionPad3d(ZeroPad3d):
    """The input mirrored around its border."""

    _mode: ClassVar[str] = "reflect"


class ReplicationPad1d(ZeroPad1d):
    """The first and last elements repeated."""

    _mode: ClassVar[str] = "replicate"


class ReplicationPad2d(ZeroPad2d):
    """The border repeated."""

    _mode: ClassVar[str] = "replicate"


class ReplicationPad3d(ZeroPad3d):
    """The border repeated."""

    _mode: ClassVar[str] = "replicate"


class CircularPad1d(ZeroPad1d):
    """What is at the other end."""

    _mode: ClassVar[str] = "circular"


class CircularPad2d(ZeroPad2d):
    """What is at the other end."""

    _mode: ClassVar[str] = "circular"


class CircularPad3d(ZeroPad3d):
    """What is at the other end."""

    _mode: ClassVar[str] = "circular"


class _ConstantPad(Layer, shows="padding= value="):
    _n: ClassVar[int] = 0
    padding: Any
    value: float

    def _complete(self) -> None:
        self.padding = sizes(self.padding, 2 * self._n)

    def forward(self, input: Any) -> Any:
        """The input with ``padding`` before and after, for the last dimension first."""
        return functional.pad(input, self.padding, "constant", self.value)


class ConstantPad1d(_ConstantPad):
    """A number around ``(..., L)``."""

    _n: ClassVar[int] = 1


class ConstantPad2d(_ConstantPad):
    """A number around ``(..., H, W)``."""

    _n: ClassVar[int] = 2


class ConstantPad3d(_ConstantPad):
    """A number around ``(..., D, H, W)``."""

    _n: ClassVar[int] = 3
