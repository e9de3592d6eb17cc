"""``x[...]`` and ``x[...] = v``: a view for the basic part of an index, a copy for index tensors.

Reading and its adjoint (writing into zeros, adding where elements are hit several times) are each
other's gradient, so both are differentiable any number of times.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gpugrad import backends, dtypes
from gpugrad.errors import ArgumentError, DTypeError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.indexing import Parsed, parse, selected_shape
from gpugrad.inplace import assign, check_writable, family_node
from gpugrad.modes import modes
from gpugrad.op import Array, Index, function, op
from gpugrad.refusals import brief
from gpugrad.samples import A, Sample, Writing
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor, from_data, wrap

Plain = tuple[Any, ...]


def as_value(called: str, value: Any, like: Tensor) -> Tensor:
    """A number as a 0-d tensor of the dtype and device of ``like``; a tensor as it is.

    Raises:
        SettingError: if the dtype cannot hold the number; ArgumentError: for anything else.
    """
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, int | float):
        raise ArgumentError(
            f"{called}: the value must be a number or a Tensor, got {type(value).__name__}"
        )
    dtype = like.dtype
    if dtype.category == dtypes.INTEGER:
        low, high = dtypes.iinfo(dtype).min, dtypes.iinfo(dtype).max
        if not math.isfinite(value) or not low <= int(value) <= high:
            raise SettingError(
                f"{called}: {value} does not fit in {dtype.name}; accepted: {low} to {high}"
            )
        value = int(value)
    elif dtype.is_floating_point and math.isfinite(value) and abs(value) > dtypes.finfo(dtype).max:
        raise SettingError(
            f"{called}: {value} does not fit in {dtype.name}, whose largest value is "
            f"{dtypes.finfo(dtype).max}"
        )
    return wrap(from_data(value, dtype, like.device))


def same_dtype(called: str, input: Any, other: Any, name: str) -> None:
    """Raise unless values that are moved into ``input`` have its dtype (numbers are cast)."""
    theirs = getattr(other, "dtype", input.dtype)
    if theirs != input.dtype:
        raise DTypeError(
            f"{called}: {name} is {_name(theirs)}, input {_name(input.dtype)}; they must be the "
            f"same: use {name}.to(input.dtype)"
        )


def _name(dtype: Any) -> str:
    return str(dtype.name)


# ---- basic ---------------------------------------------------------------------------------------


def _view_result(input: Any, *, index: Plain) -> Any:
    sizes = iter(input.shape)
    shape: list[int] = []
    for item in index:
        if item is None:
            shape.append(1)
            continue
        next(sizes)
        if not isinstance(item, int):
            start, stop, step = item
            shape.append(len(range(start, stop, step)))
    return Spec((*shape, *sizes), input.dtype)


@op(view=True, promotion=None, half="native", result=_view_result, method=False, torch="",
    samples=[Sample(A((3, 4)), index=(1,)), Sample(A((3, 4)), index=(None, (0, 3, 2), 1)),
             Sample(A((2, 3, 4)), index=((0, 2, 1), 2, (3, 3, 1))),
             Sample(A(()), index=(None,))])  # fmt: skip
def view_index(xp, input: Array, *, index: Plain) -> Array:
    """View of a basic index, given as plain data: ints, slices as (start, stop, step), None."""
    return xp.view_index(input, index)


@op(promotion=None, half="native", method=False, torch="",
    result=lambda input, *, index, shape: Spec(shape, input.dtype),
    samples=[Sample(A((2, 4)), index=((0, 3, 2),), shape=(3, 4)),
             Sample(A((4,)), index=(1,), shape=(3, 4))])  # fmt: skip
def view_index_adjoint(xp, input: Array, *, index: Plain, shape: Plain) -> Array:
    """Zeros of a shape with ``input`` at a basic index."""
    return xp.view_index_adjoint(input, index, shape)


@view_index.vjp("input")
def _(xp, g, input_shape, index):
    return xp.view_index_adjoint(g, index, input_shape)


@view_index_adjoint.vjp("input")
def _(xp, g, index):
    return xp.view_index(g, index)


# ---- index tensors -------------------------------------------------------------------------------


def _index_result(input: Any, *indices: Any, dims: Plain, called: str, negative: bool) -> Any:
    return Spec(selected_shape(called, input.shape, indices, dims), input.dtype)


_INDICES = [A((5,), 0, 3, kind="int"), A((2, 1), 0, 4, kind="int"), A((3,), -4, 4, kind="int")]


@op(promotion=None, half="native", result=_index_result, method=False, torch="",
    samples=[Sample(A((3, 4)), [_INDICES[0]], (0,)), Sample(A((2, 3, 4)), [_INDICES[0]], (1,)),
             Sample(A((4, 3, 4)), _INDICES[1:], (0, 2)), Sample(A((4, 4, 2)), _INDICES[1:], (0, 1)),
             Sample(A((3, 4)), [A((3, 4), kind="bool")], (0,)),
             Sample(A((0, 4)), [A((0,), 0, 1, kind="int")], (0,))])  # fmt: skip
def index(xp, input: Array, *indices: Index, dims: Plain, called: str = "index",
          negative: bool = True) -> Array:  # fmt: skip
    """Elements at index tensors, each for one dim of ``dims`` (ascending), or at one bool mask.

    Args:
        called: the public function that asks, for error messages.
        negative: whether negative indices count from the end; else they are out of range.
    """
    return xp.index(input, indices, dims, called, negative)


@op(promotion=None, half="native", method=False, torch="",
    result=lambda input, *indices, dims, shape: Spec(shape, input.dtype),
    samples=[Sample(A((5, 4)), [_INDICES[0]], (0,), (3, 4)),
             Sample(A((2, 3, 5)), _INDICES[1:], (0, 2), (4, 5, 4))])  # fmt: skip
def index_adjoint(xp, input: Array, *indices: Index, dims: Plain, shape: Plain) -> Array:
    """Zeros of a shape with ``input`` added at index tensors."""
    return xp.index_adjoint(input, indices, dims, shape)


@index.vjp("input")
def _(xp, g, indices, input_shape, dims):
    return xp.index_adjoint(g, indices, dims, input_shape)


@index_adjoint.vjp("input")
def _(xp, g, indices, dims):
    return xp.index(g, indices, dims)


def _write_result(input: Any, values: Any, *indices: Any, dims: Plain, accumulate: bool,
                  called: str, negative: bool) -> Any:  # fmt: skip
    same_dtype(called, input, values, "values")
    if not any(i.dtype is dtypes.bool_ for i in indices):
        there = selected_shape(called, input.shape, indices, dims)
        have = getattr(values, "shape", ())
        if len(have) > len(there) or any(
            a not in (1, b) for a, b in zip(reversed(have), reversed(there), strict=False)
        ):
            raise ShapeError(
                f"{called}: values of shape {tuple(have)} do not fit the {tuple(there)} that the "
                "index selects; they must broadcast to it"
            )
    return Spec(input.shape, input.dtype)


@op(promotion=None, half="native", result=_write_result, method=False, torch="",
    samples=[Sample(A((3, 4)), A((2, 4)), [A((2,), 0, 1, kind="int")], (0,), True),
             Sample(A((2, 3, 4)), A(()), [A((1,), 0, 3, kind="int")], (1,)),
             Sample(A((3, 4)), A((4,)), [A((3,), kind="bool")], (0,)),
             Sample(A((4, 3, 4)), A((3,)), _INDICES[1:], (0, 2), True)])  # fmt: skip
def index_write(xp, input: Array, values: Array, *indices: Index, dims: Plain,
                accumulate: bool = False, called: str = "index_put",
                negative: bool = True) -> Array:  # fmt: skip
    """A copy of ``input`` with ``values`` (broadcast) put or added at index tensors."""
    same_dtype(called, input, values, "values")
    return xp.index_write(input, values, indices, dims, accumulate, called, negative)


@index_write.vjp("input")
def _(xp, g, indices, dims, accumulate):
    return g if accumulate else xp.index_write(g, 0, indices, dims)


@index_write.vjp("values")
def _(xp, g, indices, dims):
    return xp.index(g, indices, dims)


# ---- public --------------------------------------------------------------------------------------


@function(operator="__getitem__", method=False, torch="",
          samples=[Sample(A((3, 4)), 1), Sample(A((3, 4)), (slice(None, None, 2), None, -1)),
                   Sample(A((3, 4, 2)), (Ellipsis, [1, 0])),
                   Sample(A((3, 4)), A((3, 4), kind="bool"))])  # fmt: skip
def getitem(input: Tensor, key: Any) -> Tensor:
    """``input[key]``: a view for ints, slices, None and ``...``; a copy for index tensors.

    Raises:
        IndexingError: see ``gpugrad.indexing.parse``.
    """
    parsed = parse("x[...]", input, key)
    view = input
    if not parsed.whole or not parsed.tensors:
        view = view_index.public(input, parsed.basic)
    if not parsed.tensors:
        return view
    return index.public(view, parsed.tensors, parsed.dims, "x[...]")


@function(operator="__setitem__", method=False, torch="Tensor.__setitem__", samples=[
    Writing(A((3, 4)), 1, 2.5), Writing(A((3, 4)), (slice(None), 2), A((3,))),
    Writing(A((3, 4)), A((3, 4), kind="bool"), 0.5), Writing(A((2, 0)), 0, A((0,))),
    Writing(A((4, 3)), A((2,), 0, 4, kind="int", values="distinct"), A((2, 3))),
    Writing(A(()), ..., A(())), Writing(A((2, 3, 4)), (..., slice(1, 4, 2)), A((3, 1))),
])  # fmt: skip
def setitem(input: Tensor, key: Any, value: Any) -> None:
    """``input[key] = value``: write a number or a tensor (broadcast) into part of a tensor.

    Raises:
        IndexingError: for a bad key; ShapeError: if the value does not broadcast to the part;
        DTypeError: if index tensors are used and the value has another dtype.
    """
    called = "x[...] = v"
    check_writable(called, input)
    parsed = parse(called, input, key)
    value = as_value(called, value, input)
    view = input if parsed.whole else view_index.public(input, parsed.basic)
    if not parsed.tensors:
        view.copy_(_without_leading_ones(value, view.ndim))
        return
    # The dims of what is selected; surplus sizes of 1 in front of a value are PyTorch's courtesy.
    mask = parsed.tensors[0].dtype is dtypes.bool_
    joint = 1 if mask else max(i.ndim for i in parsed.tensors)
    covered = parsed.tensors[0].ndim if mask else len(parsed.dims)
    value = _without_leading_ones(value, view.ndim - covered + joint)
    if not _put_directly(called, view, value, parsed):
        written = index_write.public(view, value, parsed.tensors, parsed.dims, False, called)
        assign(called, view, written)


def _put_directly(called: str, view: Tensor, value: Tensor, parsed: Parsed) -> bool:
    """Write without a copy of the whole, if nobody records; False if that cannot be done."""
    recorded = modes.grad and (value._node is not None or family_node(view) is not None)
    if recorded or modes.recorders or view.is_meta or view.dtype is not value.dtype:
        return False
    array, backend = view._array, backends.for_array(view._array)
    if value.device != view.device or backend.shares_memory(array, value._array):
        return False
    places = tuple(i._array for i in parsed.tensors)
    try:
        backend.run(backend.xp.index_write, array, value._array, places, parsed.dims, False, called,
                    True, array)  # fmt: skip
    except (ValueError, TypeError, IndexError):  # nothing written: the op has the better words
        return False
    view.storage_state().bump()
    return True


def _without_leading_ones(value: Tensor, ndim: int) -> Tensor:
    surplus = value.ndim - ndim
    if surplus <= 0 or any(s != 1 for s in value.shape[:surplus]):
        return value
    return F.reshape(value, tuple(value.shape[surplus:]))


@function(inplace=True, samples=[
    Sample(A((3, 4)), (A((2,), 0, 3, kind="int"),), A((2, 4)), True),
    Sample(A((3, 4)), (A((3, 4), kind="bool"),), A(()))])  # fmt: skip
def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of ``input`` with ``values`` put (or added) at a tuple of index tensors.

    ``indices`` are int tensors (negative ones count from the end) or bool masks, for the leading
    dims; ``None`` stands for a whole dim.  Values broadcast.
    """
    if isinstance(indices, Tensor) or not hasattr(indices, "__iter__"):
        raise ArgumentError(
            f"index_put: indices must be a tuple of tensors, got {type(indices).__name__}"
        )
    wrong = [i for i in indices if not (i is None or isinstance(i, Tensor))]
    if wrong:
        raise ArgumentError(f"index_put: indices must be tensors or None, got {brief(wrong[0])}")
    key = tuple(
        slice(None) if i is None else F.reshape(i, (1,)) if isinstance(i, Tensor) and not i.ndim
        else i for i in indices
    )  # fmt: skip
    parsed = parse("index_put", input, key)
    values = as_value("index_put", values, input)
    return index_write.public(input, values, parsed.tensors, parsed.dims, accumulate)
