"""Tensors laid out over a common grid: meshes, combinations, blocks, broadcasting."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from gpugrad import signature
from gpugrad.errors import ArgumentError, DeviceError, DimError, ShapeError
from gpugrad.op import function
from gpugrad.ops.creation import zeros
from gpugrad.ops.joining import cat, stack
from gpugrad.samples import A, Sample
from gpugrad.tensor import Size, Tensor, wrap


def _list_of(name: str, tensors: tuple[Any, ...]) -> list[Tensor]:
    listed = len(tensors) == 1 and isinstance(tensors[0], tuple | list)
    found = list(tensors[0] if listed else tensors)
    if not all(isinstance(t, Tensor) for t in found):
        wrong = next(type(t).__name__ for t in found if not isinstance(t, Tensor))
        raise ArgumentError(f"{name}: takes tensors, one of those given is of type {wrong}")
    if len(devices := {str(t.device): None for t in found}) > 1:
        raise DeviceError(
            f"{name}: tensors are on {' and '.join(devices)}; move them to one with .to(...)"
        )
    return found


@function(method=False, samples=[Sample(A((3,)), A((4,)), indexing="ij"),
                                 Sample(A((3,)), A((4,)), indexing="xy")])  # fmt: skip
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Views of 1-d tensors expanded over their common grid.

    Args:
        indexing: ``"ij"`` (default): dim ``i`` belongs to tensor ``i``; ``"xy"``: the first two
            are exchanged.
    """
    many = _list_of("meshgrid", tensors)
    signature.check_choice("meshgrid", "indexing", indexing or "ij", ("ij", "xy"))
    if not many:
        raise ArgumentError("meshgrid: takes at least one tensor")
    if any(t.ndim > 1 for t in many):
        shapes = " and ".join(str(tuple(t.shape)) for t in many)
        raise DimError(f"meshgrid: takes tensors of 0 or 1 dimensions, got shapes {shapes}")
    if any(t.dtype != many[0].dtype for t in many):
        names = " and ".join(dict.fromkeys(t.dtype.name for t in many))
        raise ArgumentError(f"meshgrid: tensors are of {names}; they must have one dtype")
    exchanged = indexing == "xy" and len(many) > 1
    if exchanged:
        many[:2] = many[1], many[0]
    shape = tuple(t.numel() for t in many)
    grids = [
        t.reshape((1,) * i + (-1,) + (1,) * (len(many) - i - 1)).expand(shape)
        for i, t in enumerate(many)
    ]
    if exchanged:
        grids[:2] = grids[1], grids[0]
    return tuple(grids)


@function(method=False, samples=[Sample(A((2,)), A((3,)))])
def cartesian_prod(*tensors: Any) -> Tensor:
    """Rows of all combinations of one element of each 1-d tensor."""
    many = _list_of("cartesian_prod", tensors)
    if any(t.ndim != 1 for t in many):
        raise DimError("cartesian_prod: takes 1-d tensors")
    if len(many) == 1:
        return many[0]
    return stack([g.reshape(-1) for g in meshgrid(*many)], dim=1)


@function(samples=[Sample(A((4,))), Sample(A((3,)), 3), Sample(A((3,)), 2, True)])
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """Rows of all combinations of ``r`` elements of a 1-d tensor."""
    if input.ndim != 1 or r < 0:
        raise DimError(f"combinations: takes a 1-d tensor and r >= 0, got {input.ndim}-d, r={r}")
    if r == 0:
        return input.new_empty(0)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(choose(range(input.shape[0]), r))
    places = np.array(rows, dtype=np.int64).reshape(-1)
    return input.index_select(0, wrap(places).to(input.device)).reshape(len(rows), r)


@function(method=False, samples=[Sample(A((2, 3)), A((1, 2))), Sample(A((2,)), A(()))])
def block_diag(*tensors: Tensor) -> Tensor:
    """A matrix with the given matrices along its diagonal and zeros elsewhere."""
    many = [t.reshape(1, -1) if t.ndim < 2 else t for t in _list_of("block_diag", tensors)]
    if any(t.ndim != 2 for t in many):
        raise DimError("block_diag: takes tensors of at most 2 dimensions")
    if not many:
        return zeros(1, 0)
    width = sum(t.shape[1] for t in many)
    rows, left = [], 0
    for t in many:
        height, own = t.shape
        parts = [t.new_zeros(height, left), t, t.new_zeros(height, width - left - own)]
        rows.append(cat(parts, dim=1))
        left += own
    return cat(rows, dim=0)


@function(method=False, samples=[Sample(A((3, 1)), A((4,)))])
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """The tensors expanded to their common shape."""
    many = _list_of("broadcast_tensors", tensors)
    shape = signature.broadcast_shapes("broadcast_tensors", *(t.shape for t in many))
    return tuple(t.expand(shape) for t in many)


@function(method=False, differentiable=False, samples=[Sample((3, 1), (4,)), Sample((), 5)])
def broadcast_shapes(*shapes: Any) -> Any:
    """The common shape of several, each an int or a sequence of ints."""
    read = [signature.int_tuple("broadcast_shapes", "shapes", s) for s in shapes]
    if any(n < 0 for shape in read for n in shape):
        raise ShapeError(f"broadcast_shapes: sizes cannot be negative, got {read}")
    return Size(signature.broadcast_shapes("broadcast_shapes", *read))
