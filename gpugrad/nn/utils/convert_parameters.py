"""Many tensors as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from gpugrad.errors import ArgumentError, DeviceError
from gpugrad.functional_namespace import F
from gpugrad.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements behind one another, differentiably."""
    given = list(parameters)
    places = {p.device for p in given}
    if len(places) > 1:
        shown = " and ".join(sorted(map(str, places)))
        raise DeviceError(f"parameters_to_vector: parameters are on {shown}; move them to one")
    return F.concat([p.reshape(-1) for p in given])  # type: ignore[no-any-return]


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Give each tensor its part of the vector (as its ``data``: memory is shared)."""
    if not isinstance(vec, Tensor):
        raise ArgumentError(f"vector_to_parameters: vec must be a Tensor, got {type(vec).__name__}")
    start = 0
    for p in parameters:
        end = start + p.numel()
        p.data = vec[start:end].reshape(p.shape).detach()
        start = end
