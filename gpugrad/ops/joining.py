"""Joining tensors, and cutting them up by even rules."""

from __future__ import annotations

import itertools
from typing import Any

from gpugrad.errors import ArgumentError, DimError, SettingError, ShapeError
from gpugrad.op import Array, Int, NewDim, function, op
from gpugrad.samples import A, Sample
from gpugrad.signature import int_tuple, wrap_dim
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor

# ---- cat and stack -----------------------------------------------------------------------------


def _joined(name: str, shapes: list[tuple[int, ...]], dim: int) -> tuple[int, tuple[int, ...]]:
    """The dimension and shape of a concatenation; 1-d tensors without elements do not count."""
    counted = [s for s in shapes if tuple(s) != (0,)] or [shapes[0]]
    first = counted[0]
    if not first:
        raise DimError(f"{name}: 0-d tensors cannot be concatenated; stack() them")
    dim = wrap_dim(name, dim, len(first))
    total = 0
    for s in counted:
        if len(s) != len(first) or s[:dim] != first[:dim] or s[dim + 1 :] != first[dim + 1 :]:
            raise ShapeError(
                f"{name}: shapes {tuple(first)} and {tuple(s)} differ outside of dim {dim}; "
                "all others must be the same"
            )
        total += s[dim]
    return dim, (*first[:dim], total, *first[dim + 1 :])


def _concatenated(*tensors: Spec, dim: int) -> Spec:
    _, shape = _joined("cat", [t.shape for t in tensors], dim)
    return Spec(shape, tensors[0].dtype)


@op(half="native", xp_name="concat", method=False, aliases=("concat", "concatenate"),
    result=_concatenated,
    samples=[Sample([A((2, 3)), A((1, 3))]), Sample([A((2, 3)), A((2, 1))], 1),
             Sample([A((0,)), A((2, 3))], -1), Sample([A((2, 3))], dim=0),
             Sample([A((0, 3)), A((2, 3))])])  # fmt: skip
def cat(xp, *tensors: Array, dim: Int = 0) -> Array:
    """The tensors one after the other along ``dim``; their other sizes must agree."""
    dim, _ = _joined("cat", [t.shape for t in tensors], dim)
    ndim = max(t.ndim for t in tensors)
    parts = [t for t in tensors if t.shape != (0,) or ndim == 1]
    return xp.concat(parts or list(tensors[:1]), axis=dim)


@cat.vjp
def _(xp, g, tensors_shape, dim):
    shapes = list(tensors_shape)
    dim, _ = _joined("cat", shapes, dim)
    skipped = [tuple(s) == (0,) for s in shapes]
    sizes = tuple(0 if none else s[dim] for s, none in zip(shapes, skipped, strict=True))
    parts = xp.split_with_sizes(g, sizes, dim)
    return tuple(xp.reshape(p, (0,)) if none else p for p, none in zip(parts, skipped, strict=True))


def _stacked(*tensors: Spec, dim: int) -> Spec:
    first = tensors[0].shape
    for t in tensors:
        if t.shape != first:
            raise ShapeError(
                f"stack: shapes {tuple(first)} and {tuple(t.shape)} differ; all must be the same"
            )
    return Spec((*first[:dim], len(tensors), *first[dim:]), tensors[0].dtype)


@op(half="native", method=False, result=_stacked,
    samples=[Sample([A((2, 3)), A((2, 3))]), Sample([A((2, 3)), A((2, 3))], -1),
             Sample([A(()), A(()), A(())]), Sample([A((0, 2))], dim=1)])  # fmt: skip
def stack(xp, *tensors: Array, dim: NewDim = 0) -> Array:
    """The tensors side by side along a new dimension; all of one shape."""
    return xp.stack(tensors, axis=dim)


@stack.vjp
def _(xp, g, dim):
    return xp.unbind(g, dim)


def _at_least(n: int, tensors: tuple[Any, ...]) -> Any:
    """Tensors with at least ``n`` dimensions, where NumPy's ``atleast_nd`` puts the new ones."""
    if len(tensors) == 1 and isinstance(tensors[0], tuple | list):
        return tuple(_at_least(n, (t,)) for t in tensors[0])
    if len(tensors) != 1:
        return tuple(_at_least(n, (t,)) for t in tensors)
    t = tensors[0]
    if not isinstance(t, Tensor):
        raise ArgumentError(f"atleast_{n}d: takes tensors, got {type(t).__name__}")
    while t.ndim < n:
        t = t.unsqueeze(0 if t.ndim < 2 else -1)
    return t


@function(method=False, samples=[Sample(A(())), Sample(A((2, 3)))])
def atleast_1d(*tensors: Tensor) -> Any:
    """View with at least one dimension; a tuple for several tensors."""
    return _at_least(1, tensors)


@function(method=False, samples=[Sample(A(())), Sample(A((3,))), Sample(A((2, 3)))])
def atleast_2d(*tensors: Tensor) -> Any:
    """View with at least two dimensions; a tuple for several tensors."""
    return _at_least(2, tensors)


@function(method=False, samples=[Sample(A(())), Sample(A((3,))), Sample(A((2, 3)))])
def atleast_3d(*tensors: Tensor) -> Any:
    """View with at least three dimensions; a tuple for several tensors."""
    return _at_least(3, tensors)


_ROWS = [Sample([A((2, 3)), A((2, 3))]), Sample([A((3,)), A((3,))]), Sample([A(()), A(())])]


@function(method=False, samples=_ROWS)
def hstack(tensors: Any, *, out: Tensor | None = None) -> Tensor:
    """The tensors side by side: along dim 1, or dim 0 where they have one dimension."""
    many = _at_least(1, (list(tensors),))
    return cat(many, dim=0 if many and many[0].ndim == 1 else 1, out=out)


@function(method=False, aliases=("row_stack",), samples=_ROWS)
def vstack(tensors: Any, *, out: Tensor | None = None) -> Tensor:
    """The tensors as rows: along dim 0 of at least two dimensions."""
    return cat(_at_least(2, (list(tensors),)), dim=0, out=out)


@function(method=False, samples=_ROWS)
def dstack(tensors: Any, *, out: Tensor | None = None) -> Tensor:
    """The tensors behind each other: along dim 2 of at least three dimensions."""
    return cat(_at_least(3, (list(tensors),)), dim=2, out=out)


@function(method=False, samples=[*_ROWS, Sample([A((3,)), A((3, 2))])])
def column_stack(tensors: Any, *, out: Tensor | None = None) -> Tensor:
    """The tensors as columns of a matrix; 1-d tensors are one column each."""
    columns = [t if t.ndim > 1 else t.reshape(t.numel(), 1) for t in tensors]
    return cat(columns, dim=1, out=out)


# ---- cutting -----------------------------------------------------------------------------------


def _dim_of(name: str, input: Tensor, dim: int) -> int:
    if input.ndim == 0:
        raise DimError(f"{name}: a 0-d tensor has no dimension to split")
    return wrap_dim(name, dim, input.ndim)


@function(samples=[Sample(A((5, 2)), 2), Sample(A((2, 4)), [1, 3], 1), Sample(A((4,)), 4)])
def split(tensor: Tensor, split_size: Any = None, dim: int = 0, *,
          split_size_or_sections: Any = None) -> tuple[Tensor, ...]:  # fmt: skip
    """Views of consecutive pieces: of one size (the last may be smaller), or of a list of sizes."""
    given = split_size if split_size_or_sections is None else split_size_or_sections
    if isinstance(given, tuple | list):
        return tensor.split_with_sizes(given, dim)
    dim = _dim_of("split", tensor, dim)
    total = tensor.shape[dim]
    if not isinstance(given, int) or given < 0 or (given == 0 and total):
        raise SettingError(f"split: split_size must be a positive int or sizes, got {given!r}")
    whole, rest = divmod(total, given) if given else (0, 0)
    sizes = [given] * whole + ([rest] if rest or not whole else [])
    return tensor.split_with_sizes(sizes, dim)


@function(samples=[Sample(A((5, 2)), 2), Sample(A((2, 4)), 3, 1), Sample(A((3,)), 5)])
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` views of equal size along ``dim`` (the last may be smaller)."""
    dim = _dim_of("chunk", input, dim)
    if chunks <= 0:
        raise SettingError(f"chunk: chunks must be at least 1, got {chunks}")
    size = -(-input.shape[dim] // chunks)
    if size == 0:
        return input.split_with_sizes([0] * chunks, dim)
    return split(input, size, dim)


@function(samples=[Sample(A((5, 2)), 2), Sample(A((2, 7)), (1, 4), 1), Sample(A((3,)), 4)])
def tensor_split(input: Tensor, indices_or_sections: Any = None, dim: int = 0, *,
                 indices: Any = None, sections: Any = None) -> tuple[Tensor, ...]:  # fmt: skip
    """Views of as equal size as can be (for a number), or cut before the given places."""
    many = [x for x in (indices_or_sections, indices, sections) if x is not None]
    if len(many) != 1:
        raise ArgumentError(
            f"tensor_split: takes one of indices_or_sections, indices and sections, got {len(many)}"
        )
    given = many[0].tolist() if isinstance(many[0], Tensor) else many[0]
    if not isinstance(given, int):
        given = int_tuple("tensor_split", "indices_or_sections", given)
    dim = _dim_of("tensor_split", input, dim)
    total = input.shape[dim]
    if isinstance(given, int):
        if given <= 0:
            raise SettingError(f"tensor_split: sections must be at least 1, got {given}")
        small, larger = divmod(total, given)
        return input.split_with_sizes([small + (i < larger) for i in range(given)], dim)
    cuts = [0, *(slice(c).indices(total)[1] for c in given), total]
    return tuple(
        input.narrow(dim, min(a, total), max(b - a, 0)) for a, b in itertools.pairwise(cuts)
    )


def _split_along(name: str, input: Tensor, given: Any, dim: int, least: int) -> Any:
    if input.ndim < least:
        raise DimError(f"{name}: takes tensors of at least {least} dimensions, got {input.ndim}")
    if isinstance(given, int) and (given <= 0 or input.shape[dim] % given):
        raise SettingError(
            f"{name}: {given} sections do not divide size {input.shape[dim]} of dimension {dim}"
        )
    return tensor_split(input, given, dim)


@function(samples=[Sample(A((4, 6)), 2), Sample(A((6,)), (1, 3))])
def hsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """``tensor_split`` along dim 1 (dim 0 where there is one dimension)."""
    return _split_along("hsplit", input, indices_or_sections, min(input.ndim - 1, 1), 1)


@function(samples=[Sample(A((4, 6)), 2), Sample(A((4, 6)), (1, 3))])
def vsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """``tensor_split`` along dim 0 of at least two."""
    return _split_along("vsplit", input, indices_or_sections, 0, 2)


@function(samples=[Sample(A((2, 2, 4)), 2), Sample(A((2, 2, 4)), (1, 3))])
def dsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """``tensor_split`` along dim 2 of at least three."""
    return _split_along("dsplit", input, indices_or_sections, 2, 3)
