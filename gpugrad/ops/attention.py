"""Scaled dot-product attention, as a record that does not keep the scores.

With ``S = scale * Q K^T + mask`` and ``P = softmax(S)`` the output is ``O = P V``.  The gradient
needs ``P`` again; it comes from ``exp(S - lse)``, where ``lse`` is the logarithm of each row's sum
of exponentials (Dao et al., "FlashAttention", 2022).  So the tape keeps Q, K, V, O and ``lse``.

A library that does it all at once goes first (``xp.attended``); what it does not take is made of
products, 16-bit floats in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.errors import DTypeError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, Mask, function, op
from gpugrad.ops.matmul import column, mT
from gpugrad.samples import A, Sample
from gpugrad.signature import broadcast_shapes
from gpugrad.spec import Spec

_NAME = "scaled_dot_product_attention"
#: Scores that are worked on at once on the host, so that they stay in its cache.
_BLOCK = 1 << 16


def _listed(query: Any, key: Any, value: Any) -> str:
    return f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"


def _check_ends(name: str, query: Any, key: Any, value: Any) -> None:
    if min(len(x.shape) for x in (query, key, value)) < 2:
        raise ShapeError(
            f"{name}: {_listed(query, key, value)}; accepted: (..., L, E), (..., S, E) and "
            "(..., S, Ev)"
        )
    if query.shape[-1] != key.shape[-1]:
        raise ShapeError(
            f"{name}: {_listed(query, key, value)}: query and key must agree in the last dimension"
        )
    if key.shape[-2] != value.shape[-2]:
        raise ShapeError(
            f"{name}: {_listed(query, key, value)}: key and value must have the same length S"
        )


def _check_mask(name: str, mask: Any, scores: tuple[int, ...]) -> None:
    shape = tuple(mask.shape)
    if len(shape) < 2 or broadcast_shapes(name, shape, scores) != scores:
        raise ShapeError(
            f"{name}: the mask of shape {shape} does not expand to the scores' {scores}"
        )


def _sizes(query: Spec, key: Spec, value: Spec, mask: Spec | None = None, *, scale: float,
           causal: bool) -> tuple[Spec, Spec]:  # fmt: skip
    """Shapes of the results; leading dimensions do not broadcast, but heads may be shared."""
    _check_ends("attention", query, key, value)
    shared = query.ndim > 2 and query.shape[:-3] == key.shape[:-3] and _share(query, key)
    if key.shape[:-2] != value.shape[:-2] or not (query.shape[:-2] == key.shape[:-2] or shared):
        raise ShapeError(
            f"attention: {_listed(query, key, value)}: the leading dimensions must be the same"
        )
    if mask is not None:
        _check_mask("attention", mask, (*query.shape[:-1], key.shape[-2]))
    rows = query.shape[:-1]
    double = dtypes.as_dtype(query.dtype) is dtypes.float64
    stats = dtypes.int64 if double else dtypes.int32
    return Spec((*rows, value.shape[-1]), query.dtype), Spec(rows, stats)


def _share(query: Any, key: Any) -> int:
    """How many query heads (dimension -3) share each head of key and value; 0 if they do not."""
    heads, shared = query.shape[-3], key.shape[-3]
    return heads // shared if shared and heads % shared == 0 else 0


def _blocks(query: Any, key: Any) -> Iterator[Any]:
    """Indices of a few matrices at a time in NumPy; everything at once elsewhere."""
    batch, per = query.shape[:-2], query.shape[-2] * key.shape[-2]
    if type(query) is not np.ndarray or math.prod(batch) * per <= _BLOCK:
        return iter((...,))
    d = len(batch) - 1
    while d > 0 and per * batch[d] <= _BLOCK:
        per *= batch[d]
        d -= 1
    step = max(_BLOCK // per, 1)
    return (
        (*i, slice(j, j + step)) for i in np.ndindex(*batch[:d]) for j in range(0, batch[d], step)
    )


def _part(mask: Any, block: Any, ndim: int) -> Any:
    """The mask for a block of ``_blocks``; dimensions of size 1 serve every index."""
    if mask is None or block is ...:
        return mask
    mask = mask.reshape((1,) * (ndim - mask.ndim) + mask.shape)
    places = [
        (slice(None) if isinstance(b, slice) else 0) if n == 1 else b
        for b, n in zip(block, mask.shape, strict=False)
    ]
    return mask[tuple(places)]


def _added(xp: Any, query: Any, key: Any, mask: Any, causal: bool) -> Any:
    """What to add to the scores: the mask, or 0 where a key may be seen and -inf elsewhere."""
    first = (0,) * (len(query.shape) - 2)
    if causal:
        rows, columns = (xp.zeros_like(x[first][:, 0]) for x in (query, key))
        mask = xp.tril(column(xp, rows) + columns + 1) > 0
    if mask is None or dtypes.as_dtype(mask.dtype) is not dtypes.bool_:
        return mask
    return xp.where(mask, xp.zeros_like(query[(*first, 0, 0)]), -math.inf)


def _scores(xp: Any, query: Any, key: Any, added: Any, scale: float) -> Any:
    s = xp.matmul(query * scale, mT(xp, key))
    return s if added is None else s + added


def _spread(xp: Any, x: Any, query: Any) -> Any:
    """Keys or values with a head for each of the queries'."""
    n = 1 if min(len(x.shape), len(query.shape)) < 3 or 0 in x.shape else _share(query, x)
    if n <= 1:
        return x
    *lead, heads, rows, d = x.shape
    wide = xp.broadcast_to(xp.reshape(x, (*lead, heads, 1, rows, d)), (*lead, heads, n, rows, d))
    return xp.reshape(wide, (*lead, heads * n, rows, d))


def _gathered(xp: Any, g: Any, x: Any) -> Any:
    """The gradient of ``x`` from that of ``_spread``'s."""
    if g.shape == x.shape:
        return g
    *lead, heads, rows, d = x.shape
    return xp.sum(xp.reshape(g, (*lead, heads, -1, rows, d)), axis=-3)


def _wide(xp: Any, *arrays: Any) -> tuple[Any, ...]:
    """Arrays in the dtype that attention is computed in."""
    return tuple(
        xp.astype(x, dtypes.float32) if dtypes.as_dtype(x.dtype) in dtypes.HALVES else x
        for x in arrays
    )


@op(home="_ops", method=False, torch="", accepts="f", promotion="same", half="kernel",
    result=_sizes, outputs=("out", "stats"), samples=())  # fmt: skip
def attention(xp, query: Array, key: Array, value: Array, mask: Mask | None = None, *,
              scale: float, causal: bool = False) -> Array:  # fmt: skip
    """``softmax(scale * Q K^T + mask) V`` and the ``lse`` of each row.

    A row that may attend to nothing is 0, and so is its ``lse``.  That comes as the bits of its
    floats, an integer: so it is rounded with no result, and has no gradient.
    """
    _sizes(query, key, value, mask, scale=scale, causal=causal)
    found = xp.attended(query, key, value, mask, scale, causal)
    if found is not None:
        return found
    dtype = query.dtype
    query, key, value = _wide(xp, query, key, value)
    key, value = _spread(xp, key, query), _spread(xp, value, query)
    rows = query.shape[:-1]
    bits = np.int64 if dtype == np.float64 else np.int32
    if 0 in rows or not key.shape[-2]:
        return xp.zeros((*rows, value.shape[-1]), dtype), xp.zeros(rows, bits)
    out = xp.empty((*rows, value.shape[-1]), query.dtype)
    lse = xp.empty(rows, query.dtype)
    added = _added(xp, query, key, mask, causal)
    for b in _blocks(query, key):
        s = _scores(xp, query[b], key[b], _part(added, b, query.ndim), scale)
        top = xp.max(s, axis=-1, keepdims=True)
        top[xp.equal(top, -math.inf)] = 0
        s -= top
        xp.exp(s, out=s)
        total = xp.sum(s, axis=-1, keepdims=True)
        total[xp.equal(total, 0)] = 1
        out[b] = xp.matmul(s, value[b]) / total
        lse[b] = (top + xp.log(total))[..., 0]
    return xp.astype(out, dtype), lse.view(bits)


@attention.vjp
def _(xp, g, query, key, value, mask, out, stats, scale, causal):
    if 0 in query.shape[:-1] or not key.shape[-2]:
        return xp.zeros_like(query), xp.zeros_like(key), xp.zeros_like(value), None
    found = None
    if xp is not F:
        found = xp.attended_grad(g, query, key, value, mask, out, stats, scale, causal)
    return (*(found or _composed(xp, g, query, key, value, mask, out, stats, scale, causal)), None)


def _composed(xp: Any, g: Any, query: Any, key: Any, value: Any, mask: Any, out: Any, stats: Any,
              scale: float, causal: bool) -> tuple[Any, ...]:  # fmt: skip
    """The gradients, made of products; on tensors they depend on nothing but the operands."""
    given = (query, key, value)
    g, query, key, value, out = _wide(xp, g, query, key, value, out)
    key, value = _spread(xp, key, query), _spread(xp, value, query)
    added = _added(xp, query, key, mask, causal)
    if xp is F:
        p = _weights(query, key, added, scale)
        mean = column(F, F.sum(g * F.matmul(p, value), axis=-1))
        grads: tuple[Any, ...] = _part_grads(F, g, query, key, value, p, mean, scale)
    else:
        # The gradient of a row's softmax takes off their mean, weighed by P: the row's (g, out).
        mean = column(xp, xp.sum(g * out, axis=-1))
        lse = column(xp, stats.view(query.dtype))
        grads = ()
        for b in _blocks(query, key):
            s = _scores(xp, query[b], key[b], _part(added, b, len(query.shape)), scale)
            s -= lse[b]
            part = _part_grads(xp, g[b], query[b], key[b], value[b], xp.exp(s), mean[b], scale)
            if b is ...:
                grads = part
                break
            grads = grads or tuple(xp.empty_like(x) for x in (query, key, value))
            for whole, piece in zip(grads, part, strict=True):
                whole[b] = piece
    return tuple(_gathered(xp, d, x) for d, x in zip(grads, given, strict=True))


def _part_grads(xp: Any, g: Any, query: Any, key: Any, value: Any, p: Any, mean: Any,
                scale: float) -> tuple[Any, Any, Any]:  # fmt: skip
    ds = xp.matmul(g, mT(xp, value))
    ds -= mean
    ds = ds * p
    return (xp.matmul(ds, key) * scale, xp.matmul(mT(xp, ds), query) * scale,
            xp.matmul(mT(xp, p), g))  # fmt: skip


def _weights(query: Any, key: Any, added: Any, scale: float) -> Any:
    """``P`` as a tensor; a row that may attend to nothing is 0."""
    s = _scores(F, query, key, added, scale)
    if not key.shape[-2]:
        return s
    empty = F.equal(F.logsumexp(s.detach(), -1, keepdim=True), -math.inf)
    # Twice, since the gradients of a softmax of nothing but -inf would be NaN.
    return F.where(empty, 0, F.softmax(F.where(empty, 0, s), -1))


def _check(query: Any, key: Any, value: Any, is_causal: bool, mask: Any) -> None:
    _check_ends(_NAME, query, key, value)
    if is_causal and mask is not None:
        raise SettingError(f"{_NAME}: attn_mask and is_causal=True exclude each other; pass one")
    if mask is not None and mask.dtype not in (dtypes.bool_, dtypes.float32, query.dtype):
        raise DTypeError(
            f"{_NAME}: attn_mask must be bool, float32 or query's {query.dtype.name}, got "
            f"{mask.dtype.name}"
        )


def _grouped(query: Any, key: Any, value: Any) -> tuple[Any, Any]:
    """Keys and values as many heads as they share: as they are, or repeated if they differ."""
    heads = [x.shape[-3] if x.ndim > 2 else 0 for x in (query, key, value)]
    if not all(heads) or heads[0] % heads[1] or heads[0] % heads[2]:
        raise ShapeError(
            f"{_NAME}: enable_gqa=True needs heads at dimension -3, those of query a multiple of "
            f"those of key and value; got {heads[0]}, {heads[1]} and {heads[2]}"
        )
    if heads[1] == heads[2]:
        return key, value
    return _spread(F, key, query), _spread(F, value, query)


_Q, _K, _V = A((2, 4, 3, 5)), A((2, 4, 6, 5)), A((2, 4, 6, 2))


@function(home="nn.functional", method=False, samples=[
    Sample(_Q, _K, _V), Sample(_Q, _K, _V, is_causal=True), Sample(_Q, _K, _V, scale=0.3),
    Sample(_Q, _K, _V, A((3, 6), kind="bool")), Sample(_Q, _K, _V, A((2, 1, 3, 6))),
    Sample(_Q, A((2, 2, 6, 5)), A((2, 2, 6, 5)), enable_gqa=True),
    Sample(A((3, 5)), A((6, 5)), A((6, 2))), Sample(_Q, A((1, 4, 6, 5)), A((4, 6, 2))),
])  # fmt: skip
def scaled_dot_product_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """``softmax(scale * query @ key.mT + mask) @ value``; the result is ``(..., L, Ev)``.

    Args:
        query: ``(..., L, E)``.
        key: ``(..., S, E)``.
        value: ``(..., S, Ev)``; leading dimensions of the three broadcast.
        attn_mask: broadcasts to ``(..., L, S)``: bool (True may be attended to), or added to the
            scores.  A row that may attend to nothing gives 0.
        dropout_p: share of the attention weights that are dropped, always.
        is_causal: position ``i`` attends to keys ``0..i``.
        scale: factor of the scores, ``1 / sqrt(E)`` by default.
        enable_gqa: let groups of query heads (dimension -3) share a head of key and value.

    Raises:
        ShapeError: for sizes that do not fit.
        SettingError: for a mask with ``is_causal``, or ``dropout_p`` outside [0, 1].
    """
    _check(query, key, value, is_causal, attn_mask)
    if enable_gqa:
        key, value = _grouped(query, key, value)
    scale = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else float(scale)
    heads = tuple(query.shape[-3:-2])
    leads = [tuple(x.shape[:-2]) for x in (query, key, value)]
    if enable_gqa:
        leads[1:] = [(*lead[:-1], *heads) for lead in leads[1:]]
    batch = broadcast_shapes(_NAME, *leads)
    full = (*batch, query.shape[-2], key.shape[-2])
    if attn_mask is not None:
        if attn_mask.dtype not in (dtypes.bool_, query.dtype):
            attn_mask = F.astype(attn_mask, query.dtype)
        _check_mask(_NAME, attn_mask, full)
    if dropout_p or (attn_mask is not None and attn_mask.requires_grad):
        return _by_parts(query, key, value, attn_mask, dropout_p, is_causal, scale)
    query, key, value = (
        _expanded(x, (*batch[:-1], x.shape[-3]) if enable_gqa else batch)
        for x in (query, key, value)
    )
    return F.attention(query, key, value, attn_mask, scale=scale, causal=is_causal).out


def _expanded(x: Any, batch: tuple[int, ...]) -> Any:
    return x if tuple(x.shape[:-2]) == batch else F.broadcast_to(x, (*batch, *x.shape[-2:]))


def _by_parts(query: Any, key: Any, value: Any, mask: Any, dropout_p: float, causal: bool,
              scale: float) -> Any:  # fmt: skip
    """The same with the weights as a tensor: to drop some, or for the gradient of the mask."""
    key, value = _spread(F, key, query), _spread(F, value, query)
    p = _weights(query, key, _added(F, query, key, mask, causal), scale)
    return F.matmul(F.dropout(p, float(dropout_p)), value)
