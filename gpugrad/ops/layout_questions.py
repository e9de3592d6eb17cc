"""Questions that only sparse and quantised tensors answer: on others they say so, as in PyTorch."""

from __future__ import annotations

from typing import Any, NoReturn

from gpugrad.errors import NotSupportedError
from gpugrad.op import function
from gpugrad.tensor import Tensor

_SPARSE = ("values", "indices", "crow_indices", "col_indices", "ccol_indices", "row_indices",
           "coalesce", "is_coalesced")  # fmt: skip
_QUANTISED = ("q_scale", "q_zero_point", "q_per_channel_scales", "q_per_channel_zero_points",
              "q_per_channel_axis", "qscheme", "int_repr")  # fmt: skip


def _refused(name: str, kind: str) -> Any:
    def refuse(input: Tensor) -> NoReturn:
        raise NotSupportedError(
            f"{name}: only {kind} tensors have it; this one is dense, of shape "
            f"{tuple(input.shape)} and {input.dtype.name}, and gpugrad has no others"
        )

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = f"Refused: what PyTorch asks {kind} tensors, and gpugrad has none."
    return refuse


for _names, _kind in ((_SPARSE, "sparse"), (_QUANTISED, "quantised")):
    for _name in _names:
        function(home="Tensor", samples=(), differentiable=False)(_refused(_name, _kind))


@function(home="Tensor", samples=(), differentiable=False)
def sparse_dim(input: Tensor) -> int:
    """Number of sparse dimensions: 0, as the tensor is dense."""
    return 0


@function(home="Tensor", samples=(), differentiable=False)
def dense_dim(input: Tensor) -> int:
    """Number of dense dimensions: all, as the tensor is dense."""
    return input.ndim
