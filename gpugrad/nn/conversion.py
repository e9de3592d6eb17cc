"""Moving and casting a module: every tensor is replaced, every parameter stays itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from gpugrad import dtypes
from gpugrad.devices import Device
from gpugrad.dtypes import DType
from gpugrad.errors import ArgumentError, DTypeError
from gpugrad.functional_namespace import F
from gpugrad.modes import no_grad
from gpugrad.nn.tree import Tree
from gpugrad.tensor import Tensor


class Convertible(Tree):
    """The part of ``Module`` that changes what it has."""

    def apply(self, fn: Callable[[Any], Any]) -> Self:
        """Call ``fn`` with every module below and then with this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace every tensor by ``fn`` of it; parameters stay the objects they are."""
        if recurse:
            for module in self.children():
                module._apply(fn, recurse)
        for param in self._parameters.values():
            if param is not None:
                _swap(param, fn)
                if param.grad is not None:
                    _swap(param.grad, fn)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move and cast everything in place: ``to(device, dtype)``, ``to(dtype)``, ``to(tensor)``.

        A dtype is for floating tensors only; ``memory_format`` for those of 4 or 5 dimensions.
        """
        device, dtype, non_blocking, layout = _target(*args, **kwargs)
        if dtype is not None and not dtype.is_floating_point:
            raise DTypeError(
                f"to: a module takes floating dtypes only, got {dtype}; its integer tensors stay"
            )

        def move(t: Tensor) -> Tensor:
            wanted = dtype if t.is_floating_point() else None
            shaped = layout if t.ndim in (4, 5) else None
            return t.to(device=device, dtype=wanted, non_blocking=non_blocking,
                        memory_format=shaped)  # fmt: skip

        return self._apply(move)

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Move to a device without the values."""
        return self._apply(lambda t: F.empty_like(t, device=device), recurse)

    def cpu(self) -> Self:
        """Move to the CPU."""
        return self._apply(lambda t: t.cpu())

    def cuda(self, device: Any = None) -> Self:
        """Move to a CUDA device."""
        return self._apply(lambda t: t.cuda(device))

    def type(self, dst_type: Any) -> Self:
        """Cast every tensor to a dtype."""
        return self._apply(lambda t: t.type(dst_type))

    def float(self) -> Self:
        """Cast floating tensors to float32."""
        return self.to(dtypes.float32)

    def double(self) -> Self:
        """Cast floating tensors to float64."""
        return self.to(dtypes.float64)

    def half(self) -> Self:
        """Cast floating tensors to float16."""
        return self.to(dtypes.float16)

    def bfloat16(self) -> Self:
        """Cast floating tensors to bfloat16."""
        return self.to(dtypes.bfloat16)


def _swap(tensor: Tensor, fn: Callable[[Tensor], Tensor]) -> None:
    """Give a tensor the values of ``fn`` of it, in place."""
    with no_grad():
        new = fn(tensor)
    if new is not tensor:
        tensor.data = new


def _target(*args: Any, **kwargs: Any) -> tuple[Any, DType | None, bool, Any]:
    """Device, dtype, non_blocking and memory format that ``Module.to`` was given."""
    layout = kwargs.pop("memory_format", None)
    device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    tensor = kwargs.pop("tensor", None)
    non_blocking = kwargs.pop("non_blocking", False)
    rest = list(args)
    if rest and isinstance(rest[0], Tensor):
        tensor = rest.pop(0)
    elif rest and (rest[0] is None or isinstance(rest[0], str | int | Device)):
        device = rest.pop(0)
        if rest and not isinstance(rest[0], bool):
            dtype = rest.pop(0)
    elif rest:
        dtype = rest.pop(0)
    if rest and isinstance(rest[0], bool):
        non_blocking = rest.pop(0)
    if kwargs or rest:
        raise ArgumentError(
            f"to: cannot read the arguments {(*rest, *kwargs)}; it is to(device, dtype), to(dtype) "
            "or to(tensor), then non_blocking, and memory_format by name"
        )
    if tensor is not None:
        device, dtype = tensor.device, tensor.dtype
    return device, None if dtype is None else dtypes.as_dtype(dtype), non_blocking, layout
