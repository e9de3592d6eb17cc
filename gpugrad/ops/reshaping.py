"""Views by other names, made of ``reshape``, ``permute`` and the primitives of ``views``."""

from __future__ import annotations

import warnings
from typing import Any

from gpugrad import dtypes
from gpugrad.errors import ArgumentError, DimError, SettingError, ShapeError, ViewError
from gpugrad.factory import format_name, in_format
from gpugrad.op import function
from gpugrad.ops.layouts import restride, view_dtype
from gpugrad.ops.shape import clone, permute, reshape
from gpugrad.ops.views import view_scatter
from gpugrad.samples import A, Laid, Sample
from gpugrad.signature import int_tuple, wrap_dim
from gpugrad.tensor import Tensor, wrap

_ONE = [Sample(A((2, 3, 4))), Sample(A((3,))), Sample(A(()))]


def _ints(given: tuple[Any, ...]) -> Any:
    return given[0] if len(given) == 1 and not isinstance(given[0], int) else given


# ---- shapes ------------------------------------------------------------------------------------


@function(
    torch="Tensor.view",
    home="Tensor",
    samples=[Laid(A((2, 6)), 3, 4), Sample(A((2, 6)), (1, 2, -1))],
)
def view(input: Tensor, *shape: Any, dtype: Any = None, size: Any = None) -> Tensor:
    """The same memory in another shape, or as another dtype.

    Raises:
        ViewError: if the layout allows no such view; ``reshape`` copies then.
    """
    if (len(shape) > 0) + (size is not None) + (dtype is not None) > 1:
        raise ArgumentError("view: takes sizes, size= or a dtype; only one of them")
    given = _ints(shape) if shape else size
    if dtype is not None or isinstance(given, dtypes.DType):
        return view_dtype(input, dtype=given if dtype is None else dtype)
    result = reshape(input, given)
    if result._view is None and not input.is_meta and result.numel():
        raise ViewError(
            f"view: shape {tuple(result.shape)} is no view of shape {tuple(input.shape)} with "
            f"strides {input.stride()}; use reshape(), which copies where it must"
        )
    return result


@function(home="Tensor", samples=[Laid(A((2, 6)), A((3, 4)))])
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """``view`` in the shape of ``other``."""
    return input.view(other.shape)


@function(home="Tensor", samples=[Sample(A((2, 6)), A((3, 4)))])
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """``reshape`` to the shape of ``other``."""
    return reshape(input, other.shape)


@function(home="Tensor", samples=[Sample(A((3, 1)), A((3, 4)))])
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """``expand`` to the shape of ``other``."""
    return input.expand(other.shape)


@function(samples=[Sample(A((3, 1)), (2, 3, 4)), Sample(A((3,)), (2, -1))])
def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """``expand`` to ``size``."""
    return input.expand(tuple(size))


@function(samples=[Sample(A((2, 3, 4)), 1), Sample(A((2, 3, 4)), 0, 1), Sample(A(()))])
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The dimensions from ``start_dim`` to ``end_dim`` as one; the input itself if they are one."""
    first, last = (wrap_dim("flatten", d, input.ndim) for d in (start_dim, end_dim))
    if first > last:
        raise DimError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    if input.ndim == 0:
        return reshape(input, (1,))
    if first == last:
        return input
    merged = 1
    for s in input.shape[first : last + 1]:
        merged *= s
    return reshape(input, (*input.shape[:first], merged, *input.shape[last + 1 :]))


@function(samples=[Sample(A((2, 12)), 1, (3, 4)), Sample(A((12,)), -1, (-1, 2))])
def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """View with one dimension cut into several, one of whose sizes may be -1."""
    dim = wrap_dim("unflatten", dim, input.ndim)
    sizes = int_tuple("unflatten", "sizes", sizes)
    if input.ndim == 0 or not sizes:
        raise SettingError("unflatten: takes a tensor with dimensions and at least one size")
    known = 1
    for s in sizes:
        known *= s if s != -1 else 1
    old = input.shape[dim]
    full = tuple(old // known if s == -1 and known else s for s in sizes)
    total = 1
    for s in full:
        total *= s
    if total != old:
        raise ShapeError(f"unflatten: sizes {tuple(sizes)} do not make up size {old} of dim {dim}")
    return input.view((*input.shape[:dim], *full, *input.shape[dim + 1 :]))


@function(samples=_ONE)
def ravel(input: Tensor) -> Tensor:
    """All elements in one dimension; a copy only where it must be."""
    return reshape(input, (-1,)).contiguous()


# ---- order of the dimensions -------------------------------------------------------------------


@function(samples=[Sample(A((2, 3))), Sample(A((3,))), Sample(A(()))])
def t(input: Tensor) -> Tensor:
    """Transposed view of a matrix; tensors of fewer dimensions are viewed as they are."""
    if input.ndim > 2:
        raise DimError(f"t: takes at most 2 dimensions, got {input.ndim}; use mT or permute")
    return permute(input, tuple(reversed(range(input.ndim))))


@function(home="Tensor", attribute=True, name="T", samples=[Sample(A((2, 3))), Sample(A(()))])
def transposed(input: Tensor) -> Tensor:
    """View with the dimensions reversed."""
    if input.ndim not in (0, 2):
        warnings.warn(
            "T on a tensor of other than 2 dimensions is deprecated in PyTorch; use mT or permute",
            UserWarning, stacklevel=2,
        )  # fmt: skip
    return permute(input, tuple(reversed(range(input.ndim))))


@function(aliases=("adjoint",), torch="adjoint", samples=[Sample(A((2, 3))), Sample(A((4, 2, 3)))])
def matrix_transpose(input: Tensor) -> Tensor:
    """View with the last two dimensions exchanged."""
    if input.ndim == 0:
        return permute(input, ())
    if input.ndim < 2:
        raise DimError(f"mT: takes at least 2 dimensions, got shape {tuple(input.shape)}")
    return input.transpose(-2, -1)


def _matrix(name: str) -> None:
    @function(
        home="Tensor", attribute=True, name=name, samples=[Sample(A((2, 3))), Sample(A((2, 3, 4)))]
    )
    def attribute(input: Tensor) -> Tensor:
        """View with the last two dimensions exchanged."""
        return matrix_transpose(input)


_matrix("mT")
_matrix("mH")


@function(home="Tensor", attribute=True, name="H", samples=[Sample(A((2, 3)))])
def hermitian(input: Tensor) -> Tensor:
    """Transposed view of a matrix (nothing is complex here)."""
    if input.ndim not in (0, 2):
        raise DimError(f"H: takes a matrix, got shape {tuple(input.shape)}; use mH")
    return t(input)


@function(aliases=("moveaxis",), samples=[Sample(A((2, 3, 4)), 0, -1),
                                          Sample(A((2, 3, 4)), (0, 1), (1, 2))])  # fmt: skip
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """View with some dimensions moved; the others keep their order."""
    sources = [source] if isinstance(source, int) else list(source)
    targets = [destination] if isinstance(destination, int) else list(destination)
    if len(sources) != len(targets):
        raise DimError(f"movedim: {len(sources)} sources for {len(targets)} destinations")
    if input.ndim == 0:
        for d in (*sources, *targets):
            wrap_dim("movedim", d, 0)
        return permute(input, ())
    sources = [wrap_dim("movedim", d, input.ndim) for d in sources]
    targets = [wrap_dim("movedim", d, input.ndim) for d in targets]
    if len(set(sources)) != len(sources) or len(set(targets)) != len(targets):
        raise DimError(f"movedim: {source} to {destination} names a dimension twice")
    order = [d for d in range(input.ndim) if d not in sources]
    for target, moved in sorted(zip(targets, sources, strict=True)):
        order.insert(target, moved)
    return permute(input, tuple(order))


# ---- layout ------------------------------------------------------------------------------------


@function(home="Tensor", samples=_ONE)
def contiguous(input: Tensor, memory_format: Any = "contiguous_format") -> Tensor:
    """The tensor itself if it lies in memory as asked, else a copy that does."""
    name = format_name("contiguous", memory_format, input.ndim)
    if name == "preserve_format":
        raise SettingError("contiguous: preserve_format names no layout; use contiguous_format")
    return input if in_format(input, name) else clone(input, memory_format=name)


@function(home="Tensor", differentiable=False, samples=[Laid(A((2, 3)))])
def storage_offset(input: Tensor) -> int:
    """Where the first element lies in the memory that the tensor's views share, in elements."""
    if input.is_meta:
        return 0
    array = input._array
    if not isinstance(array.base, type(array)) and input._view is not None:
        array = input._view.base._array  # a library's own view, which does not name its block
    root = array.base if isinstance(array.base, type(array)) else array
    return (input.data_ptr() - wrap(root).data_ptr()) // input.itemsize


@function(samples=[Laid(A((3, 4)), (2, 2), (4, 1), 1), Laid(A((6,)), (3, 2), (1, 1)),
                   Laid(A((3, 2)), (), ())])  # fmt: skip
def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """The memory of the tensor seen with any sizes and strides (in elements).

    Args:
        storage_offset: first element, counted from the start of the memory; default: the input's.
    """
    size, stride = int_tuple("as_strided", "size", size), int_tuple("as_strided", "stride", stride)
    if len(size) != len(stride) or any(s < 0 for s in (*size, *stride)):
        raise SettingError(
            f"as_strided: size {size} and stride {stride} must be of one length and not negative"
        )
    own = 0 if input.is_meta else input.storage_offset()
    offset = 0 if storage_offset is None else storage_offset - own
    layout = (1,) * input.ndim if input.is_meta else input.stride()
    return restride(input, size=size, stride=stride, offset=offset, layout=layout)


# ---- writing into a copy -----------------------------------------------------------------------


@function(samples=[Sample(A((4, 3)), A((2, 3)), 0, 1, 3), Sample(A((2, 5)), A((2, 3)), 1, 0, 5, 2)])
def slice_scatter(input: Tensor, src: Tensor, dim: int = 0, start: int | None = None,
                  end: int | None = None, step: int = 1) -> Tensor:  # fmt: skip
    """A copy of the input with ``src`` in the slice ``start:end:step`` of ``dim``."""
    dim = wrap_dim("slice_scatter", dim, input.ndim)
    if step < 1:
        raise SettingError(f"slice_scatter: step must be at least 1, got {step}")
    first, last, _ = slice(start, end, step).indices(input.shape[dim])
    whole = tuple((0, n, 1) for n in input.shape[:dim])
    chain = (("view_index", {"index": (*whole, (first, max(first, last), step))}, 0),)
    return view_scatter(input, src, chain=chain)


@function(samples=[Sample(A((4, 3)), A((3,)), 0, 1), Sample(A((4, 3)), A((4,)), 1, -1)])
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of the input with ``src`` at one place of ``dim``."""
    return view_scatter(input, src, chain=(("select", {"dim": dim, "index": index}, 0),))


@function(samples=[Sample(A((3, 4)), A((3,))), Sample(A((3, 4)), A((2,)), -1)])
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0,
                     dim2: int = 1) -> Tensor:  # fmt: skip
    """A copy of the input with ``src`` on a diagonal."""
    settings = {"offset": offset, "dim1": dim1, "dim2": dim2}
    return view_scatter(input, src, chain=(("diagonal", settings, 0),))
