"""Elements in another order or repeated: copies, never views."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad.errors import ArgumentError, DimError, SettingError, ShapeError
from gpugrad.op import Array, Int, Ints, Shape, function, op
from gpugrad.samples import A, Sample
from gpugrad.signature import plain_int, wrap_dim, wrap_dims
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor, wrap


def _same(input: Spec, **settings: Any) -> Spec:
    return Spec(input.shape, input.dtype)


# ---- repeating ---------------------------------------------------------------------------------


def _tiled(input: Spec, *, dims: tuple[int, ...]) -> Spec:
    shape, counts = _aligned(input.shape, dims)
    return Spec(tuple(s * n for s, n in zip(shape, counts, strict=True)), input.dtype)


def _aligned(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[Any, Any]:
    if any(n < 0 for n in dims):
        raise SettingError(f"tile: counts cannot be negative, got {dims}")
    ndim = max(len(shape), len(dims))
    return (1,) * (ndim - len(shape)) + tuple(shape), (1,) * (ndim - len(dims)) + tuple(dims)


@op(promotion=None, half="native", result=_tiled,
    samples=[Sample(A((2, 3)), (2, 2)), Sample(A((2, 3)), (3, 1, 2)), Sample(A((2, 3)), (2,)),
             Sample(A(()), (3,)), Sample(A((2,)), (0,)), Sample(A((3,)), (1,))])  # fmt: skip
def tile(xp, input: Array, *, dims: Shape) -> Array:
    """The tensor repeated ``dims`` times; the shorter of shape and counts is filled with ones."""
    _aligned(input.shape, dims)
    return xp.tile(input, dims)


@tile.vjp
def _(xp, g, input_shape, dims):
    shape, counts = _aligned(input_shape, dims)
    pairs = tuple(n for pair in zip(counts, shape, strict=True) for n in pair)
    copies = tuple(range(0, len(pairs), 2))
    if not copies:
        return g
    return xp.reshape(xp.sum(xp.reshape(g, pairs), axis=copies), input_shape)


@function(home="Tensor", samples=[Sample(A((2, 3)), 2, 2), Sample(A((3,)), (4, 2, 1))])
def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """The tensor repeated along each dimension; there must be a count for every one."""
    counts = repeats[0] if len(repeats) == 1 and not hasattr(repeats[0], "__index__") else repeats
    if len(counts) < input.ndim:
        raise ShapeError(
            f"repeat: counts {tuple(counts)} for {input.ndim} dimensions; give at least as many"
        )
    return tile(input, counts)


@function(samples=[Sample(A((2, 3)), 2), Sample(A((2, 3)), 3, 1), Sample(A((3,)), 2, dim=0)])
def repeat_interleave(input: Any, repeats: Any = None, dim: int | None = None, *,
                      output_size: int | None = None) -> Tensor:  # fmt: skip
    """Every element (or slice of ``dim``) ``repeats`` times in a row.

    Args:
        repeats: a count, or an integer tensor of one per slice; ``repeat_interleave(repeats)``
            alone gives each index that many times.
        dim: default: the tensor is flattened.
        output_size: the resulting size, checked where given.
    """
    if repeats is None:
        counts = _counts(input, input.numel())
        return _gathered_places(counts, output_size, input)
    if dim is None:
        input, dim = input.reshape(-1), 0
    dim = wrap_dim("repeat_interleave", dim, input.ndim)
    size = input.shape[dim] if input.ndim else 1
    if isinstance(repeats, Tensor) and repeats.numel() > 1:
        places = _gathered_places(_counts(repeats, size), output_size, input)
        return input.index_select(dim, places)
    if isinstance(repeats, list | tuple) and len(repeats) == 1:
        repeats = repeats[0]
    count = plain_int("repeat_interleave", "repeats", repeats)
    if count < 0:
        raise SettingError(f"repeat_interleave: repeats cannot be negative, got {count}")
    _check_size(output_size, size * count)
    input = input.reshape(1) if input.ndim == 0 else input
    shape = input.shape
    wide = input.unsqueeze(dim + 1).expand(*shape[: dim + 1], count, *shape[dim + 1 :])
    result = wide.reshape(*shape[:dim], size * count, *shape[dim + 1 :])
    return result.clone() if result._storage is input._storage else result


def _counts(repeats: Tensor, size: int) -> Any:
    counts = repeats.numpy(force=True)
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise ArgumentError("repeat_interleave: repeats must be a 1-d integer tensor, none below 0")
    if counts.size != size:
        raise ShapeError(f"repeat_interleave: {counts.size} repeats for size {size}")
    return counts


def _check_size(given: int | None, actual: int) -> None:
    if given is not None and given != actual:
        raise SettingError(f"repeat_interleave: output_size is {given}, the result has {actual}")


def _gathered_places(counts: Any, output_size: int | None, like: Tensor) -> Tensor:
    places = np.repeat(np.arange(counts.size), counts)
    _check_size(output_size, places.size)
    return wrap(places).to(like.device)


# ---- turning -----------------------------------------------------------------------------------


def _shifts(name: str, ndim: int, shifts: Any, dims: Any) -> tuple[Any, Any]:
    if dims is None or dims == ():
        if len(shifts) != 1:
            raise ArgumentError(f"{name}: {len(shifts)} shifts without dims; give one dim for each")
        return shifts[0], None
    if len(shifts) != len(dims):
        raise ArgumentError(f"{name}: {len(shifts)} shifts for {len(dims)} dims")
    return shifts, tuple(wrap_dim(name, d, ndim) for d in dims)


@op(promotion=None, half="native", result=_same,
    samples=[Sample(A((3, 4)), 2), Sample(A((3, 4)), 1, 0), Sample(A((3, 4)), (1, -2), (0, 1)),
             Sample(A(()), 1), Sample(A((0, 3)), 1, 1)])  # fmt: skip
def roll(xp, input: Array, *, shifts: Ints, dims: Ints | None = None) -> Array:
    """Elements moved along dimensions, those that leave one end coming in at the other."""
    by, axes = _shifts("roll", input.ndim, shifts, dims)
    return xp.roll(input, by, axes) if input.ndim else xp.copy(input)


@roll.vjp
def _(xp, g, shifts, dims):
    back = tuple(-s for s in shifts)
    return xp.roll(g, back if dims else back[0], dims or None)


@op(promotion=None, half="native", result=_same,
    samples=[Sample(A((3, 4)), (0,)), Sample(A((3, 4)), (0, -1)), Sample(A(()), ()),
             Sample(A((0, 3)), (1,))])  # fmt: skip
def flip(xp, input: Array, *, dims: Shape) -> Array:
    """Elements in reverse order along the given dimensions: a copy."""
    axes = wrap_dims("flip", dims, input.ndim) if dims else ()
    return xp.copy(xp.flip(input, axes or ()))


@flip.vjp
def _(xp, g, dims):
    return xp.flip(g, tuple(dims)) if g.shape else g


@function(samples=[Sample(A((2, 3)))])
def fliplr(input: Tensor) -> Tensor:
    """Columns in reverse order: ``flip`` of dim 1."""
    if input.ndim < 2:
        raise DimError(f"fliplr: takes at least 2 dimensions, got {input.ndim}")
    return flip(input, (1,))


@function(samples=[Sample(A((2, 3))), Sample(A((3,)))])
def flipud(input: Tensor) -> Tensor:
    """Rows in reverse order: ``flip`` of dim 0."""
    if input.ndim < 1:
        raise DimError("flipud: takes at least 1 dimension, got 0")
    return flip(input, (0,))


@function(samples=[Sample(A((2, 3))), Sample(A((2, 3)), 2), Sample(A((2, 3, 2)), -1, (1, 2)),
                   Sample(A((2, 3)), 4)])  # fmt: skip
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """``k`` quarter turns from the first towards the second of two dimensions."""
    if not isinstance(dims, list | tuple) or len(dims) != 2:
        raise DimError(f"rot90: dims must be two dimensions, got {dims!r}")
    a, b = (wrap_dim("rot90", d, input.ndim) for d in dims)
    if a == b or input.ndim < 2:
        raise DimError(f"rot90: dims {tuple(dims)} must be two dimensions of {input.ndim}")
    k %= 4
    if k == 0:
        return input.clone()
    if k == 2:
        return flip(input, (a, b))
    return flip(input, (b if k == 1 else a,)).transpose(a, b)


# ---- triangles and diagonals -------------------------------------------------------------------


def _matrices(name: str) -> Any:
    def result(input: Spec, *, diagonal: int) -> Spec:
        if len(input.shape) < 2:
            raise DimError(f"{name}: takes at least 2 dimensions, got shape {tuple(input.shape)}")
        return Spec(input.shape, input.dtype)

    return result


def _check_matrix(name: str, input: Any) -> None:
    if input.ndim < 2:
        raise DimError(f"{name}: takes at least 2 dimensions, got shape {tuple(input.shape)}")


_TRIANGLES = [Sample(A((3, 4))), Sample(A((4, 3)), 1), Sample(A((2, 3, 3)), -1),
              Sample(A((0, 3))), Sample(A((3, 3)), diagonal=-7)]  # fmt: skip


@op(promotion=None, half="native", inplace=True, result=_matrices("tril"), samples=_TRIANGLES)
def tril(xp, input: Array, *, diagonal: Int = 0) -> Array:
    """Elements on and below a diagonal of the last two dimensions, zeros elsewhere."""
    _check_matrix("tril", input)
    return xp.tril(input, diagonal)


@tril.vjp
def _(xp, g, diagonal):
    return xp.tril(g, diagonal)


@op(promotion=None, half="native", inplace=True, result=_matrices("triu"), samples=_TRIANGLES)
def triu(xp, input: Array, *, diagonal: Int = 0) -> Array:
    """Elements on and above a diagonal of the last two dimensions, zeros elsewhere."""
    _check_matrix("triu", input)
    return xp.triu(input, diagonal)


@triu.vjp
def _(xp, g, diagonal):
    return xp.triu(g, diagonal)


def _embedded(input: Spec, *, offset: int, dim1: int, dim2: int) -> Spec:
    a, b = _new_dims(len(input.shape), dim1, dim2)
    size = input.shape[-1] + abs(offset)
    shape = list(input.shape[:-1])
    for d in sorted((a, b)):
        shape.insert(d, size)
    return Spec(tuple(shape), input.dtype)


def _new_dims(ndim: int, dim1: int, dim2: int) -> tuple[int, int]:
    if ndim == 0:
        raise DimError("diag_embed: takes at least 1 dimension, got a 0-d tensor")
    a, b = (wrap_dim("diag_embed", d, ndim + 1) for d in (dim1, dim2))
    if a == b:
        raise DimError(f"diag_embed: dim1 {dim1} and dim2 {dim2} are the same dimension")
    return a, b


@op(promotion=None, half="native", result=_embedded,
    samples=[Sample(A((3,))), Sample(A((2, 3)), 1), Sample(A((2, 3)), -1, 0, 2),
             Sample(A((2, 2)), 0, 2, 0)])  # fmt: skip
def diag_embed(xp, input: Array, *, offset: Int = 0, dim1: Int = -2, dim2: Int = -1) -> Array:
    """Zeros with the last dimension of the input on a diagonal of two new dimensions."""
    a, b = _new_dims(input.ndim, dim1, dim2)
    shape = _embedded(input, offset=offset, dim1=dim1, dim2=dim2).shape
    out = xp.zeros(shape, dtype=input.dtype)
    xp.diagonal(out, offset, a, b)[...] = input
    return out


@diag_embed.vjp
def _(xp, g, offset, dim1, dim2):
    ndim = len(g.shape)
    return xp.diagonal(g, offset, dim1 % ndim, dim2 % ndim)


@function(samples=[Sample(A((3,))), Sample(A((3, 4)), 1), Sample(A((3,)), -1)])
def diag(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """A matrix with the 1-d input on a diagonal, or the diagonal of a matrix (a copy)."""
    if input.ndim not in (1, 2):
        raise DimError(f"diag: takes 1 or 2 dimensions, got shape {tuple(input.shape)}")
    if input.ndim == 1:
        return diag_embed(input, diagonal, out=out)
    result = input.diagonal(diagonal).clone()
    return result if out is None else out.copy_(result)


@function(samples=[Sample(A((2, 2))), Sample(A((3,)), 1), Sample(A(()))])
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix with all elements of the input on a diagonal."""
    return diag_embed(input.reshape(-1), offset)
