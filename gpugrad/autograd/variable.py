"""``Variable``, what tensors with a gradient were called before PyTorch 0.4."""

from __future__ import annotations

import warnings
from typing import Any

from gpugrad.errors import ArgumentError
from gpugrad.tensor import Tensor


class _TensorsAreInstances(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor)


class Variable(metaclass=_TensorsAreInstances):
    """A tensor over the same memory, without history; ``isinstance`` is true of every tensor.

    Args:
        data: the tensor; an empty one where not given.
        requires_grad: whether operations on it are recorded.
        volatile: has no effect; use ``no_grad``.

    Raises:
        ArgumentError: ``data`` is no tensor.
    """

    def __new__(cls, data: Any = None, requires_grad: bool = False, volatile: Any = None) -> Any:
        if volatile:
            warnings.warn("Variable: volatile has no effect; use no_grad", stacklevel=2)
        if data is None:
            data = Tensor()
        if not isinstance(data, Tensor):
            raise ArgumentError(f"Variable: data must be a tensor, got {type(data).__name__}")
        return data.detach().requires_grad_(requires_grad)
