"""``torch.types``: names for annotations."""

from __future__ import annotations

import builtins
import os
from collections.abc import Sequence
from typing import IO, TypeAlias

from gpugrad.devices import Device as _device
from gpugrad.dtypes import DType as _dtype
from gpugrad.factory import Layout as _layout
from gpugrad.tensor import Size as Size
from gpugrad.tensor import Tensor as Tensor

_int, _float, _bool = builtins.int, builtins.float, builtins.bool
_size: TypeAlias = Size | list[int] | tuple[int, ...]  # noqa: PYI042 - PyTorch's name
_TensorOrTensors: TypeAlias = Tensor | Sequence[Tensor]
Number: TypeAlias = int | float | bool
#: There are no symbolic numbers, so these are the plain ones.
IntLikeType: TypeAlias = int
FloatLikeType: TypeAlias = float
BoolLikeType: TypeAlias = bool
#: What a ``device`` argument takes.
Device: TypeAlias = _device | str | int | None
FileLike: TypeAlias = str | os.PathLike[str] | IO[bytes]

__all__ = [
    "BoolLikeType", "Device", "FileLike", "FloatLikeType", "IntLikeType", "Number", "Size",
    "Tensor", "_bool", "_device", "_dtype", "_float", "_int", "_layout", "_size",
    "_TensorOrTensors",
]  # fmt: skip
