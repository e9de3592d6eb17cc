"""Views: parts and other layouts of a tensor's memory, and the way back through them.

A view op of one part has no gradient formula of its own: its gradient is zeros into which ``g`` is
put through the same view (``view_adjoint``), and that of ``view_adjoint`` is the view again
(``view_chain``).  A *chain* is the plain data of one view after the other: (op name, settings,
which output).  In-place writes use the same three: see ``gpugrad.inplace``.
"""

from __future__ import annotations

import math
from typing import Any

from gpugrad import backends
from gpugrad.errors import DimError, IndexingError, ShapeError
from gpugrad.op import Array, Dim, Int, Ints, op, registry
from gpugrad.samples import A, Sample
from gpugrad.signature import wrap_dim
from gpugrad.spec import SPEC, Spec, result_of

Chain = tuple[tuple[str, dict[str, Any], int], ...]
#: Views in which one element of the input may appear more than once.
_REPEATING = frozenset({"expand", "unfold", "restride"})


def walk(xp: Any, array: Any, chain: Chain) -> Any:
    """Follow a chain of views from an array (or a spec)."""
    for name, settings, index in chain:
        record = registry[name]
        if isinstance(array, Spec):
            array = result_of(record, (array,), settings)
        else:
            array = record.fn(xp, array, **settings)
        if isinstance(array, tuple | list):
            array = array[index]
    return array


def _places(xp: Any, size: tuple[int, ...], chain: Chain) -> Any:
    """Where in an array of shape ``size`` each element of a view lies, counted from 1.

    0 stands for memory that is not the array's.
    """
    n = math.prod(size)
    return xp.reshape(walk(xp, xp.reshape(xp.arange(1, n + 1), size), chain), -1)


def _put(xp: Any, out: Any, value: Any, chain: Chain) -> Any:
    """The array ``out``, which may be written, with ``value`` where a chain of views leads."""
    region = walk(xp, out, chain)
    _same_shape("view_scatter", region, value)
    if backends.for_array(out).may_share_memory(region, out):
        region[...] = value
        return out
    # The chain was made for another order of strides; here a reshape in it had to copy.
    flat = xp.concat([xp.zeros(1, dtype=out.dtype), xp.reshape(out, -1)])
    flat[_places(xp, out.shape, chain)] = xp.reshape(value, -1)
    return xp.reshape(flat[1:], out.shape)


# ---- what views have in common -----------------------------------------------------------------


@op(view=True, promotion=None, half="native", method=False, torch="",
    result=lambda input, *, chain: walk(SPEC, input, chain),
    samples=[Sample(A((3, 4)), chain=(("select", {"dim": 0, "index": 1}, 0),))])  # fmt: skip
def view_chain(xp, input: Array, *, chain: Any) -> Array:
    """The view that a chain of view ops leads to."""
    return walk(xp, input, chain)


@view_chain.vjp
def _(xp, g, input_shape, chain):
    return xp.view_adjoint(g, input_shape, chain)


@op(promotion=None, half="native", method=False, torch="",
    result=lambda input, *, size, chain: Spec(size, input.dtype),
    samples=[Sample(A((4,)), size=(3, 4), chain=(("select", {"dim": 0, "index": 1}, 0),)),
             Sample(A((2, 3)), size=(4,),
                    chain=(("unfold", {"dimension": 0, "size": 3, "step": 1}, 0),))])  # fmt: skip
def view_adjoint(xp, input: Array, *, size: Ints, chain: Any) -> Array:
    """Zeros of shape ``size`` with ``input`` added through a chain of views."""
    if not any(name in _REPEATING for name, _, _ in chain):
        return _put(xp, xp.zeros(size, dtype=input.dtype), input, chain)
    places = _places(xp, size, chain)
    sums = xp.scatter_sum(xp.reshape(input, -1), places, math.prod(size) + 1)
    return xp.reshape(sums[1:], size)


@view_adjoint.vjp
def _(xp, g, chain):
    return xp.view_chain(g, chain)


def _same_shape(name: str, region: Spec, value: Spec) -> None:
    if tuple(region.shape) != tuple(value.shape):
        raise ShapeError(
            f"{name}: src of shape {tuple(value.shape)} does not fit the region of shape "
            f"{tuple(region.shape)}; they must be the same"
        )


def _scattered(base: Spec, value: Spec, *, chain: Chain) -> Spec:
    _same_shape("view_scatter", walk(SPEC, base, chain), value)
    return Spec(base.shape, base.dtype)


@op(promotion=None, half="native", method=False, torch="", result=_scattered,
    samples=[Sample(A((3, 4)), A((4,)), chain=(("select", {"dim": 0, "index": 1}, 0),)),
             Sample(A((3, 4)), A((2, 3)), chain=(("transpose", {"dim0": 0, "dim1": 1}, 0), (
                 "narrow", {"dim": 0, "start": 1, "length": 2}, 0)))])  # fmt: skip
def view_scatter(xp, base: Array, value: Array, *, chain: Any) -> Array:
    """A copy of ``base`` whose region that a chain of views leads to holds ``value``."""
    return _put(xp, xp.copy(base), value, chain)  # a copy in the same order of strides


@view_scatter.vjp("base")
def _(xp, g, chain):
    return xp.view_scatter(g, xp.zeros_like(xp.view_chain(g, chain)), chain)


@view_scatter.vjp("value")
def _(xp, g, chain):
    return xp.view_chain(g, chain)


def adjoint(xp: Any, g: Any, shape: tuple[int, ...], name: str, /, **settings: Any) -> Any:
    """The gradient of one view op."""
    return xp.view_adjoint(g, shape, ((name, settings, 0),))


# ---- parts -------------------------------------------------------------------------------------


def _part(x: Any, dim: int, where: Any) -> Any:
    return x[(slice(None),) * dim + (where,)]


def _checked_range(shape: tuple[int, ...], dim: int, start: int, length: int) -> int:
    size = shape[dim]
    if not -size <= start <= size:
        raise IndexingError(
            f"narrow: start {start} is out of range for size {size} of dimension {dim}; accepted: "
            f"{-size} to {size}"
        )
    start = start + size if start < 0 else start
    if length < 0 or start + length > size:
        raise ShapeError(
            f"narrow: start {start} and length {length} exceed size {size} of dimension {dim}"
        )
    return start


def _narrowed(input: Spec, *, dim: int, start: int, length: int) -> Spec:
    if not input.shape:
        raise DimError("narrow: a 0-d tensor has no dimension to narrow")
    _checked_range(input.shape, dim, start, length)
    return Spec((*input.shape[:dim], length, *input.shape[dim + 1 :]), input.dtype)


@op(view=True, promotion=None, half="native", result=_narrowed,
    samples=[Sample(A((3, 4)), 1, 1, 2), Sample(A((3, 4)), -2, -1, 1), Sample(A((0, 3)), 1, 3, 0),
             Sample(A((5,)), 0, 0, 5)])  # fmt: skip
def narrow(xp, input: Array, *, dim: Dim, start: Int, length: Int) -> Array:
    """View of ``length`` places of one dimension from ``start``."""
    start = _checked_range(input.shape, dim, start, length)
    return _part(input, dim, slice(start, start + length))


@narrow.vjp
def _(xp, g, input_shape, dim, start, length):
    return adjoint(xp, g, input_shape, "narrow", dim=dim, start=start, length=length)


def _place(shape: tuple[int, ...], dim: int, index: int) -> tuple[int, int]:
    if not shape:
        raise DimError("select: a 0-d tensor has no dimension to select from; use item()")
    dim = wrap_dim("select", dim, len(shape))
    if not -shape[dim] <= index < shape[dim]:
        raise IndexingError(
            f"select: index {index} is out of range for size {shape[dim]} of dimension {dim}"
        )
    return dim, index % shape[dim]


def _selected(input: Spec, *, dim: int, index: int) -> Spec:
    dim, _ = _place(input.shape, dim, index)
    return Spec((*input.shape[:dim], *input.shape[dim + 1 :]), input.dtype)


@op(view=True, promotion=None, half="native", result=_selected,
    samples=[Sample(A((3, 4)), 0, 1), Sample(A((3, 4)), -1, -1), Sample(A((5,)), 0, 2),
             Sample(A((2, 0)), 0, 1)])  # fmt: skip
def select(xp, input: Array, *, dim: Int, index: Int) -> Array:
    """View at one place of a dimension, which goes away."""
    dim, index = _place(input.shape, dim, index)
    return input[(slice(None),) * dim + (index, ...)]


@select.vjp
def _(xp, g, input_shape, dim, index):
    return adjoint(xp, g, input_shape, "select", dim=dim, index=index)


def _starts(shape: tuple[int, ...], split_sizes: tuple[int, ...], dim: int) -> list[int]:
    if any(s < 0 for s in split_sizes) or sum(split_sizes) != shape[dim]:
        raise ShapeError(
            f"split_with_sizes: sizes {split_sizes} must be >= 0 and sum to size {shape[dim]} of "
            f"dimension {dim}"
        )
    return [sum(split_sizes[:i]) for i in range(len(split_sizes))]


def _pieces(input: Spec, *, split_sizes: tuple[int, ...], dim: int) -> tuple[Spec, ...]:
    if not input.shape:
        raise DimError("split: a 0-d tensor has no dimension to split")
    _starts(input.shape, split_sizes, dim)
    head, tail = input.shape[:dim], input.shape[dim + 1 :]
    return tuple(Spec((*head, n, *tail), input.dtype) for n in split_sizes)


@op(view=True, promotion=None, half="native", result=_pieces,
    samples=[Sample(A((5, 2)), (2, 3)), Sample(A((2, 4)), (1, 0, 3), 1), Sample(A((3,)), (3,)),
             Sample(A((2, 4)), (1, 3), dim=-1)])  # fmt: skip
def split_with_sizes(xp, input: Array, *, split_sizes: Ints, dim: Dim = 0) -> tuple[Array, ...]:
    """Views of consecutive pieces of one dimension, of the given sizes."""
    starts = _starts(input.shape, split_sizes, dim)
    return tuple(
        _part(input, dim, slice(s, s + n)) for s, n in zip(starts, split_sizes, strict=True)
    )


@split_with_sizes.vjp
def _(xp, g, dim):
    return xp.concat(g, axis=dim)


def _rows(input: Spec, *, dim: int) -> tuple[Spec, ...]:
    if not input.shape:
        raise DimError("unbind: a 0-d tensor has no dimension to unbind")
    dim = wrap_dim("unbind", dim, len(input.shape))
    row = Spec((*input.shape[:dim], *input.shape[dim + 1 :]), input.dtype)
    return (row,) * input.shape[dim]


@op(view=True, promotion=None, half="native", result=_rows,
    samples=[Sample(A((3, 2))), Sample(A((2, 3)), 1), Sample(A((1,)), -1)])  # fmt: skip
def unbind(xp, input: Array, *, dim: Int = 0) -> tuple[Array, ...]:
    """Views at each place of a dimension, which goes away."""
    if not input.shape:
        raise DimError("unbind: a 0-d tensor has no dimension to unbind")
    d = wrap_dim("unbind", dim, input.ndim)
    return tuple(input[(slice(None),) * d + (i, ...)] for i in range(input.shape[d]))


@unbind.vjp
def _(xp, g, dim):
    return xp.stack(g, axis=dim)
