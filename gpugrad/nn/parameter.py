"""Tensors that a module owns: ``Parameter`` is trained, ``Buffer`` is state that is not."""

from __future__ import annotations

from typing import Any

from gpugrad.errors import ArgumentError
from gpugrad.tensor import Tensor


class _Owned(Tensor):
    """A leaf of its own over the memory of another tensor."""

    __slots__ = ()

    def _take(self, data: Any) -> None:
        if data is None:
            data = Tensor()
        if not isinstance(data, Tensor):
            raise ArgumentError(
                f"{type(self).__name__}: data must be a Tensor, got {type(data).__name__}; "
                "use gpugrad.tensor(...)"
            )
        self._array, self._node, self._slot, self._view = data._array, None, 0, None
        self._storage = None if data.is_meta else data.storage_state()


class Parameter(_Owned):
    """A tensor that a module trains: assigned to an attribute of one, it becomes its parameter.

    Args:
        data: the values, shared and without history; an empty tensor if left out.
        requires_grad: whether it gathers a gradient.

    Raises:
        ArgumentError: if ``data`` is no tensor.
        DTypeError: if it should gather a gradient and is not floating.
    """

    __slots__ = ()

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        self._take(data)
        if requires_grad:
            self.requires_grad_()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) in memo:
            return memo[id(self)]  # type: ignore[no-any-return]
        grad, self.grad = self.grad, None  # a copied parameter starts without a gradient
        try:
            return super().__deepcopy__(memo)
        finally:
            self.grad = grad

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(_Owned):
    """A tensor that belongs to a module's state and is not trained.

    Args:
        data: the values, shared.
        persistent: whether it is part of the module's ``state_dict``.
    """

    __slots__ = ()

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        self._take(data)
        self.persistent = persistent


__all__ = ["Buffer", "Parameter"]
