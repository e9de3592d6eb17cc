"""Embeddings: rows of a table by number, alone or reduced in bags."""

from __future__ import annotations

import numpy as np

from gpugrad import dtypes, signature
from gpugrad.errors import DTypeError, NotSupportedError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.modes import no_grad
from gpugrad.op import Array, Index, function, op
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor, from_data, wrap

_HOME = "nn.functional"


@op(promotion=None, half="native", method=False, torch="",
    result=lambda input, weight, *, padding_idx, scale_grad_by_freq: Spec(
        (*input.shape, *weight.shape[1:]), weight.dtype),
    samples=[Sample(A((2, 3), 0, 4, kind="int"), A((4, 2))),
             Sample(A((0,), 0, 3, kind="int"), A((3, 4)), 1, True)])  # fmt: skip
def rows(xp, input: Index, weight: Array, *, padding_idx: int | None = None,
         scale_grad_by_freq: bool = False) -> Array:  # fmt: skip
    """Rows of ``weight``; see ``nn.functional.embedding`` for the settings of the gradient."""
    return xp.index(weight, (input,), (0,), "embedding", False)


@rows.vjp("weight")
def _(xp, g, input, weight_shape, padding_idx, scale_grad_by_freq):
    size, *_ = weight_shape
    if scale_grad_by_freq:
        flat = xp.reshape(input, (-1,))
        ones = xp.astype(xp.equal(flat, flat), g.dtype)
        often = xp.index(xp.index_adjoint(ones, (flat,), (0,), (size,)), (input,), (0,))
        g = g / xp.expand_dims(often, -1)
    if padding_idx is not None:
        padding = xp.equal(input, xp.zeros_like(input) + padding_idx)
        g = xp.where(xp.expand_dims(padding, -1), xp.zeros_like(g), g)
    return xp.index_adjoint(g, (input,), (0,), weight_shape)


def _check(called: str, input: Tensor, weight: Tensor, padding_idx: int | None,
           sparse: bool) -> int | None:  # fmt: skip
    """Raise for what does not fit; return ``padding_idx`` without a negative."""
    if input.dtype.name not in ("int64", "int32"):
        raise DTypeError(f"{called}: input must be int64 or int32, got {input.dtype.name}")
    if weight.ndim != 2:
        raise ShapeError(f"{called}: weight must have 2 dims, got shape {tuple(weight.shape)}")
    if sparse:
        raise NotSupportedError(f"{called}: sparse gradients are not supported; use sparse=False")
    size = weight.shape[0]
    if padding_idx is None:
        return None
    if not -size <= padding_idx < size:
        raise SettingError(
            f"{called}: padding_idx {padding_idx} is out of range for {size} rows; "
            f"accepted: {-size} to {size - 1}"
        )
    return padding_idx + size if padding_idx < 0 else padding_idx


@no_grad()
def _renormalise(weight: Tensor, input: Tensor, max_norm: float, norm_type: float) -> None:
    """Scale the rows that will be read down to a norm of ``max_norm``, in place."""
    used = F.unique(input)
    table = F.index(weight, (used,), (0,), "embedding", False)
    norms = F.pow(F.sum(F.pow(F.abs(table), norm_type), 1, True), 1 / norm_type)
    if norm_type == float("inf"):
        norms = F.max(F.abs(table), axis=1, keepdims=True)
    scale = F.where(F.greater(norms, max_norm), max_norm / (norms + 1e-7), 1.0)
    weight.index_copy_(0, used, table * scale)


@function(home=_HOME, method=False, samples=[
    Sample(A((2, 3), 0, 4, kind="int"), A((4, 2))),
    Sample(A((), 0, 2, kind="int"), A((3, 4)), -1)])  # fmt: skip
def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None,
              max_norm: float | None = None, norm_type: float = 2.0,
              scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:  # fmt: skip
    """Rows of ``weight`` (number, size) that an int tensor names: (\\*input.shape, size).

    Args:
        padding_idx: a row that gets no gradient.
        max_norm: first scale the rows that are read down to this ``norm_type``-norm, in place.
        scale_grad_by_freq: divide a row's gradient by how often it is read here.
        sparse: not supported.
    """
    padding_idx = _check("embedding", input, weight, padding_idx, sparse)
    if max_norm is not None:
        _renormalise(weight, input, max_norm, norm_type)
    return rows.public(input, weight, padding_idx, scale_grad_by_freq)


def _bags(input: Tensor, offsets: Tensor | None, include_last: bool) -> tuple[Tensor, Tensor]:
    """Bags as a table with a row each: places in the flat input, and which of them count."""
    if input.ndim == 2 and offsets is None:
        places = np.arange(input.numel()).reshape(input.shape)
        there = np.ones(input.shape, bool)
    elif input.ndim == 1 and offsets is not None and offsets.ndim == 1:
        ends = offsets.tolist()
        ends = ends if include_last else [*ends, input.numel()]
        starts, ends = np.array(ends[:-1], np.int64), np.array(ends[1:], np.int64)
        if starts.size and (starts[0] or ends[-1] > input.numel() or (ends < starts).any()):
            raise SettingError(
                f"embedding_bag: offsets {offsets.tolist()} must begin with 0, not fall, and end "
                f"within the {input.numel()} elements"
            )
        steps = np.arange(max(ends - starts, default=0))
        there = steps < (ends - starts)[:, None]
        places = np.where(there, starts[:, None] + steps, 0)
    else:
        raise ShapeError(
            f"embedding_bag: input of shape {tuple(input.shape)} must be 2-d (a bag per row), or "
            "1-d with 1-d offsets"
        )
    device = input.device
    return (wrap(from_data(places, dtypes.int64, device)),
            wrap(from_data(there, dtypes.bool_, device)))  # fmt: skip


@function(home=_HOME, method=False, samples=[
    Sample(A((2, 3), 0, 4, kind="int"), A((4, 2)), mode=m)
    for m in ("sum", "mean", "max")])  # fmt: skip
def embedding_bag(input: Tensor, weight: Tensor, offsets: Tensor | None = None,
                  max_norm: float | None = None, norm_type: float = 2,
                  scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
                  per_sample_weights: Tensor | None = None, include_last_offset: bool = False,
                  padding_idx: int | None = None) -> Tensor:  # fmt: skip
    """The sum, mean or max of rows of ``weight``, bag by bag: (bags, size).

    Args:
        input: int tensor; 2-d: a bag per row; 1-d: bags begin at ``offsets``.
        per_sample_weights: factors of the rows, shaped as input (mode "sum" only).
        include_last_offset: whether offsets end with the number of elements.
        padding_idx: rows with this number count as not there.
        max_norm, norm_type, scale_grad_by_freq, sparse: as in ``embedding``.

    An empty bag gives zeros.
    """
    signature.check_choice("embedding_bag", "mode", mode, ("sum", "mean", "max"))
    if per_sample_weights is not None and (
        mode != "sum" or per_sample_weights.shape != input.shape
    ):
        raise SettingError(
            "embedding_bag: per_sample_weights need mode='sum' and the shape of input, got mode "
            f"{mode!r} and shape {tuple(per_sample_weights.shape)} for {tuple(input.shape)}"
        )
    padding_idx = _check("embedding_bag", input, weight, padding_idx, sparse)
    if not weight.dtype.is_floating_point:
        raise DTypeError(f"embedding_bag: weight must be floating, got {weight.dtype.name}")
    if max_norm is not None:
        _renormalise(weight, input, max_norm, norm_type)
    places, there = _bags(input, offsets, include_last_offset)
    flat = F.reshape(input, (-1,))
    found = rows.public(flat, weight, padding_idx, scale_grad_by_freq)
    if per_sample_weights is not None:
        found = F.multiply(found, F.reshape(per_sample_weights, (-1, 1)))
    if padding_idx is not None:
        there = F.logical_and(there, F.not_equal(F.index(flat, (places,), (0,)), padding_idx))
    there = F.expand_dims(there, -1)
    count = F.sum(there, 1)
    table = F.where(there, F.index(found, (places,), (0,)), float("-inf") if mode == "max" else 0.0)
    if mode == "max":
        if not table.shape[1]:
            return F.sum(table, 1)
        return F.where(F.equal(count, 0), 0.0, table.max(1).values)
    total = F.sum(table, 1)
    return total / F.maximum(count, 1) if mode == "mean" else total
