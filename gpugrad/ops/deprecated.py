"""Names that PyTorch keeps for old programs."""

from __future__ import annotations

import math
import warnings
from typing import Any

from gpugrad.errors import ShapeError
from gpugrad.factory import sizes as read
from gpugrad.op import function
from gpugrad.tensor import Tensor


@function(home="Tensor", samples=())
def resize(input: Tensor, *sizes: Any) -> Tensor:
    """``reshape`` under an older name; warns that it is one, as PyTorch does.

    Raises:
        ShapeError: if the number of elements would change.
    """
    shape = read("resize", sizes)
    warnings.warn("non-inplace resize is deprecated; use reshape", stacklevel=3)
    if math.prod(shape) != input.numel():
        raise ShapeError(
            f"resize: shape {tuple(input.shape)} to {tuple(shape)} changes the number of elements; "
            "only resize_ does that"
        )
    return input.reshape(shape)
