"""A call's arguments and results: values, and lists of values, with tensors among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gpugrad import backends
from gpugrad.devices import Device
from gpugrad.dtypes import DType, float64
from gpugrad.functional_namespace import F
from gpugrad.modes import modes
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor, wrap


class Call:
    """One call under way.

    Attributes:
        values, named: positional and keyword-only arguments.
        tensors: those among the values, and in lists among them.
        device: the kind of device.
        recorded: whether it goes on the tape.
        result: what it returned.
    """

    __slots__ = ("device", "named", "recorded", "result", "tensors", "values")

    def __init__(self, values: list[Any], named: dict[str, Any], device: str) -> None:
        self.values, self.named, self.device = values, named, device
        self.tensors = tuple(tensors_in(values))
        self.recorded = modes.grad and any(t._node is not None for t in self.tensors)
        self.result: Any = None


def listed(result: Any) -> list[Any]:
    """A result as a list of values."""
    return list(result) if isinstance(result, tuple) else [] if result is None else [result]


def flat(values: Iterable[Any]) -> Iterator[Any]:
    for v in values:
        if isinstance(v, list):
            yield from v
        else:
            yield v


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    return (t for t in flat(values) if isinstance(t, Tensor))


def filled(values: Sequence[Any], tensors: Iterator[Tensor] | None) -> list[Any]:
    """The values with other tensors in the places of theirs.

    With None for them the structure alone: True for a tensor, a list of that, False for the rest.
    """

    def fill(value: Any) -> Any:
        if isinstance(value, Tensor):
            return True if tensors is None else next(tensors)
        if type(value) is list and any(isinstance(v, Tensor) for v in value):
            return [fill(v) for v in value]
        return False if tensors is None else value

    return [fill(v) for v in values]


def without_history(t: Tensor) -> Tensor:
    """The same memory and versions, so that the function may ask for NumPy's array."""
    return t if t._node is None else wrap(t._array, None, 0, t.storage_state())


def cast_floats(values: Sequence[Any], device: str, dtype: DType) -> list[Any]:
    """The values with floating tensors of a device cast, but for float64."""

    def cast(t: Tensor) -> Tensor:
        fits = t.is_floating_point() and t.dtype is not float64 and t.device.type == device
        return F.astype(t, dtype) if fits and t.dtype is not dtype else t

    return filled(values, map(cast, tensors_in(values)))


def lead(call: Call) -> Any:
    """The CUDA device that a call works on: the first one among its arguments."""
    found = [t.device for t in call.tensors] + [*call.values, *call.named.values()]
    return next(d for d in found if isinstance(d, Device) and d.type == "cuda")


def shares(a: Tensor, b: Tensor) -> bool:
    x, y = a._array, b._array
    if x is y:
        return True
    if type(x) is not type(y) or type(x) is Spec:
        return False
    return bool(backends.for_array(x).may_share_memory(x, y))
