"""From a list of samples to a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any, TypeAlias

import numpy as np

from gpugrad import dtypes
from gpugrad.errors import ArgumentError, ShapeError
from gpugrad.ops.creation import tensor
from gpugrad.ops.interop import as_tensor, from_numpy
from gpugrad.ops.joining import stack
from gpugrad.tensor import Tensor, wrap
from gpugrad.utils.data.dataset import Rows

#: For a class of samples (or several), what makes a batch of a list of them.
CollateMap: TypeAlias = dict[Any, Callable[..., Any]]


def default_convert(data: Any) -> Any:
    """One sample with its NumPy arrays and scalars as tensors; anything else stays as it is."""
    if isinstance(data, Tensor | str | bytes):
        return data
    if isinstance(data, np.ndarray | np.generic):
        return data if data.dtype.kind in "SUO" else as_tensor(data)
    if isinstance(data, Mapping):
        return _mapping_like(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple) and hasattr(data, "_fields"):  # a named tuple
        return type(data)(*(default_convert(d) for d in data))
    if isinstance(data, tuple):
        return [default_convert(d) for d in data]
    if isinstance(data, Sequence):
        return _sequence_like(data, [default_convert(d) for d in data])
    return data


def default_collate(batch: Any) -> Any:
    """A batch of a list of samples of one structure.

    Tensors and arrays are stacked along a new first dimension; numbers become a tensor (floats of
    float64, as they are doubles in Python); strings stay a list; mappings, sequences and named
    tuples are collated field by field and keep their class; tuples become lists.

    Raises:
        ArgumentError: for samples of another class; ShapeError: if sequences differ in length.
    """
    if type(batch) is Rows:
        return list(batch.columns)
    return collate(batch, collate_fn_map=default_collate_fn_map)


def collate(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """As ``default_collate``, with functions of one's own for classes of samples.

    Args:
        batch: the samples.
        collate_fn_map: by class or tuple of classes, ``function(batch, *, collate_fn_map)``; the
            class itself is looked for first, then the first entry it is a subclass of.
    """
    first = batch[0]
    own = _function_for(first, collate_fn_map or {})
    if own is not None:
        return own(batch, collate_fn_map=collate_fn_map)
    if isinstance(first, Mapping):
        fields = {
            key: collate([d[key] for d in batch], collate_fn_map=collate_fn_map) for key in first
        }
        return _mapping_like(first, fields)
    if isinstance(first, Sequence) and not isinstance(first, str | bytes):
        return _collate_sequences(batch, collate_fn_map)
    raise ArgumentError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {type(first)}"
    )


def _function_for(sample: Any, functions: CollateMap) -> Callable[..., Any] | None:
    found = functions.get(type(sample))
    if found is None:
        found = next((f for cls, f in functions.items() if isinstance(sample, cls)), None)
    return found


def _collate_sequences(batch: Any, functions: CollateMap | None) -> Any:
    first = batch[0]
    lengths = {len(sample) for sample in batch}
    if len(lengths) > 1:
        raise ShapeError(
            "default_collate: each element in list of batch should be of equal size; "
            f"found lengths {sorted(lengths)}"
        )
    columns = [collate(c, collate_fn_map=functions) for c in zip(*batch)]
    if isinstance(first, tuple):
        return type(first)(*columns) if hasattr(first, "_fields") else columns
    return _sequence_like(first, columns)


def _mapping_like(sample: Any, fields: dict[Any, Any]) -> Any:
    """The fields in a mapping of the sample's class; a dict where that cannot be made."""
    try:
        if isinstance(sample, MutableMapping):
            result = copy.copy(sample)  # keeps what a subclass carries, like a default factory
            result.update(fields)
            return result
        return type(sample)(fields)
    except TypeError:
        return fields


def _sequence_like(sample: Any, items: list[Any]) -> Any:
    """The items in a sequence of the sample's class; a list where that cannot be made."""
    try:
        if isinstance(sample, MutableSequence) and type(sample) is not list:
            result = copy.copy(sample)
            for i, item in enumerate(items):
                result[i] = item
            return result
        return items if type(sample) is list else type(sample)(items)
    except TypeError:
        return items


def collate_tensor_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Tensors of one shape, stacked."""
    arrays = [t._array for t in batch]
    if _alike(arrays) and not [t for t in batch if t._node is not None]:
        return wrap(np.array(arrays))  # a third of the time of a recorded stack
    return stack(batch, 0)


def _alike(arrays: list[Any]) -> bool:
    """Whether all are NumPy arrays of one shape and dtype."""
    shape, dtype = arrays[0].shape, arrays[0].dtype
    odd = [
        a for a in arrays if type(a) is not np.ndarray or a.shape != shape or a.dtype is not dtype
    ]
    return not odd


def collate_numpy_array_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Arrays of one shape, stacked."""
    if batch[0].dtype.kind in "SUO":
        raise ArgumentError(
            "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
            f"found an array of {batch[0].dtype}"
        )
    return from_numpy(np.array(batch)) if _alike(batch) else stack([as_tensor(a) for a in batch])


def collate_numpy_scalar_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """NumPy's numbers, as a tensor of their dtype."""
    return from_numpy(np.array(batch))


def collate_float_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Python floats, as float64."""
    return tensor(batch, dtype=dtypes.float64)


def collate_int_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Python ints or bools."""
    return tensor(batch)


def collate_str_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Strings stay a list."""
    return batch


default_collate_fn_map: CollateMap = {
    Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}
