"""Reading Python index expressions, such as ``x[1, :, None, [0, 2], mask]``.

An expression is split in two.  Its *basic* part (ints, slices, ``None``, ``...``) is plain data and
always a view; its *advanced* part is a list of index tensors, each for one dim of that view.  Ints
are basic, also beside an index tensor, so the rule for where advanced dims land in the result (in
place if they stand next to each other, else in front) looks at index tensors only, as in PyTorch.
"""

from __future__ import annotations

import operator
import warnings
from typing import Any, NamedTuple

import numpy as np

from gpugrad import dtypes
from gpugrad.errors import ArgumentError, IndexingError, NotSupportedError
from gpugrad.tensor import Tensor, from_data, wrap

#: Plain data of one basic index: an int, a slice as (start, stop, step), or None for a new dim.
Basic = int | tuple[int, int, int] | None


class Parsed(NamedTuple):
    """An index expression, checked against one shape.

    Attributes:
        basic: one entry per dim of the input and per new dim.
        whole: whether ``basic`` selects everything as it is.
        dims: per index tensor, its (first) dim in the view that ``basic`` gives.
        tensors: the index tensors: int64, or a single bool mask over several dims.
    """

    basic: tuple[Basic, ...]
    whole: bool
    dims: tuple[int, ...]
    tensors: tuple[Tensor, ...]


def parse(called: str, input: Tensor, key: Any) -> Parsed:
    """Split an index expression for a tensor.

    Raises:
        IndexingError: for an index out of range, too many indices, a mask of another shape, or
            something that cannot index; ArgumentError: for a slice of something else than ints.
    """
    shape = input._array.shape
    if type(key) is int:  # the commonest of all
        if not shape:
            raise IndexingError(f"{called}: a 0-d tensor has no dims to index; use .item()")
        number = _int(called, key, 0, shape[0])
        return Parsed((number, *((0, n, 1) for n in shape[1:])), False, (), ())
    items = [_item(called, k, input) for k in (key if isinstance(key, tuple) else _list(key))]
    basic: list[Basic] = []
    masks: list[tuple[int, Tensor]] = []
    dim = place = 0  # where we are in the input, and in the view
    whole = True
    for item in _without_ellipsis(called, items, shape):
        if item is None or isinstance(item, bool):
            basic.append(None)
            whole = False
            if item is not None:
                masks.append((place, _ones(item, input)))
            place += 1
        elif isinstance(item, int):
            basic.append(_int(called, item, dim, shape[dim]))
            whole = False
            dim += 1
        elif isinstance(item, slice):
            basic.append(_slice(called, item, shape[dim]))
            whole = whole and basic[-1] == (0, shape[dim], 1)
            dim, place = dim + 1, place + 1
        else:
            n = _covers(item)
            if item.dtype is dtypes.bool_ and item._array.shape != shape[dim : dim + n]:
                raise IndexingError(
                    f"{called}: a mask of shape {tuple(item.shape)} for dims {dim} to "
                    f"{dim + n - 1} of shape {tuple(shape)}; it must have their sizes"
                )
            basic += [(0, size, 1) for size in shape[dim : dim + n]]
            masks.append((place, item))
            dim, place = dim + n, place + n
    return Parsed(tuple(basic), whole, *_advanced(called, masks))


def _list(key: Any) -> tuple[Any, ...]:
    if isinstance(key, list) and any(
        k is None or k is Ellipsis or isinstance(k, slice | Tensor | list | tuple | np.ndarray)
        for k in key
    ):
        raise IndexingError(
            "x[[...]]: a list that holds sequences, tensors, slices or None could be one index "
            "tensor or several indices; write x[tuple(seq)] or x[gpugrad.tensor(seq)]"
        )
    return (key,)


def _item(called: str, item: Any, input: Tensor) -> Any:
    """One index as None, Ellipsis, bool, int, slice, or a tensor with a dim or more."""
    if item is None or item is Ellipsis or isinstance(item, bool | int | slice):
        return item
    if isinstance(item, np.bool_ | np.integer):
        return item.item()
    if isinstance(item, list | tuple | range | np.ndarray):
        data = list(item) if isinstance(item, range) else item
        item = wrap(from_data(data, None, input.device))
        if not item.numel() and item.dtype.is_floating_point and not isinstance(data, np.ndarray):
            item = wrap(item._array.astype(np.int64))
    if not isinstance(item, Tensor):
        raise IndexingError(
            f"{called}: {type(item).__name__} cannot index; accepted: int, slice, None, ..., bool, "
            "and int or bool tensors, arrays or lists"
        )
    if item.dtype.is_floating_point:
        raise IndexingError(
            f"{called}: an index tensor must be int or bool, got {item.dtype.name}; use .long()"
        )
    if item.device != input.device:
        item = item.to(input.device)
    if item.dtype is dtypes.uint8:
        warnings.warn("a uint8 index is read as a mask; use a bool tensor", stacklevel=4)
        item = item.to(dtypes.bool_)
    if item.ndim == 0:
        return bool(item) if item.dtype is dtypes.bool_ else int(item)
    return item


def _covers(item: Any) -> int:
    """How many dims of the input an index takes."""
    if item is None or item is Ellipsis or isinstance(item, bool):
        return 0
    return item.ndim if isinstance(item, Tensor) and item.dtype is dtypes.bool_ else 1


def _without_ellipsis(called: str, items: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Replace ``...`` (or nothing, at the end) by as many full slices as dims are left."""
    taken = sum(_covers(i) for i in items)
    if taken > len(shape):
        raise IndexingError(
            f"{called}: {taken} indices are too many for {len(shape)} dims of shape {tuple(shape)}"
        )
    at = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(at) > 1:
        raise IndexingError(f"{called}: '...' may come once, it comes {len(at)} times")
    left = [slice(None)] * (len(shape) - taken)
    return items[: at[0]] + left + items[at[0] + 1 :] if at else items + left


def _int(called: str, index: int, dim: int, size: int) -> int:
    if not -size <= index < size:
        raise IndexingError(out_of_range(called, index, dim, size))
    return index + size if index < 0 else index


def out_of_range(called: str, index: int, dim: int, size: int, low: int | None = None) -> str:
    """Words for an index that is not there."""
    low = -size if low is None else low
    accepted = f"accepted: {low} to {size - 1}" if size else "the dim is empty"
    return f"{called}: index {index} is out of range for dim {dim} of size {size}; {accepted}"


def _slice(called: str, item: slice, size: int) -> tuple[int, int, int]:
    try:
        step = 1 if item.step is None else operator.index(item.step)
        if step <= 0:
            raise IndexingError(
                f"{called}: a slice's step must be positive, got {step}; use flip for reverse order"
            )
        start, stop, _ = item.indices(size)
    except TypeError:
        raise ArgumentError(
            f"{called}: a slice is made of ints or None, got "
            f"{item.start!r}:{item.stop!r}:{item.step!r}"
        ) from None
    return start, max(start, stop), step


def _ones(value: bool, input: Tensor) -> Tensor:
    """The index tensor of a bool scalar on its new dim of size 1."""
    return wrap(from_data([0] if value else [], dtypes.int64, input.device))


def _advanced(
    called: str, found: list[tuple[int, Tensor]]
) -> tuple[tuple[int, ...], tuple[Tensor, ...]]:
    """Masks beside other index tensors become the places of their True elements."""
    if len(found) == 1:
        place, index = found[0]
        return (place,), (index,)
    dims: list[int] = []
    tensors: list[Tensor] = []
    for place, index in found:
        if index.dtype is dtypes.bool_:
            if index.is_meta:
                raise NotSupportedError(
                    f"{called}: a mask beside other indices on the meta device has no data to find "
                    "its elements"
                )
            parts = index.nonzero(as_tuple=True)
            dims += range(place, place + len(parts))
            tensors += parts
        else:
            dims.append(place)
            tensors.append(index)
    return tuple(dims), tuple(tensors)


def joint_shape(called: str, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Common shape of index tensors.

    Raises:
        IndexingError: if they do not broadcast.
    """
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        listed = " and ".join(str(tuple(s)) for s in shapes)
        raise IndexingError(
            f"{called}: index tensors of shapes {listed} do not broadcast; sizes must be equal or 1"
        ) from None


def selected_shape(called: str, shape: tuple[int, ...], indices: tuple[Any, ...],
                   dims: tuple[int, ...]) -> tuple[int, ...]:  # fmt: skip
    """Shape of ``input[indices]``: advanced dims in place if adjacent, else in front.

    Raises:
        NotSupportedError: for a mask, whose count only data tells.
    """
    if any(i.dtype is dtypes.bool_ for i in indices):
        raise NotSupportedError(
            f"{called}: a mask's number of True elements is unknown without data (meta device)"
        )
    joint = joint_shape(called, [i.shape for i in indices])
    rest = [s for d, s in enumerate(shape) if d not in dims]
    first = dims[0] if dims == tuple(range(dims[0], dims[0] + len(dims))) else 0
    return (*rest[:first], *joint, *rest[first:])
