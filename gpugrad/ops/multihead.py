"""Multi-head attention (Vaswani et al., 2017): projections around scaled dot-product attention.

Inside, heads are ``(N, heads, length, width)``.  A mask is bool with True where a key may *not* be
seen, or is added to the scores.
"""

from __future__ import annotations

import math
from typing import Any

from gpugrad import dtypes
from gpugrad.errors import ArgumentError, DTypeError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import function

_NAME = "multi_head_attention_forward"


# ---- masks -------------------------------------------------------------------------------------


def _check_mask(what: str, mask: Any, dtype: Any, *shapes: tuple[int, ...]) -> None:
    if mask is None:
        return
    if mask.dtype not in (dtypes.bool_, dtypes.float32, dtype):
        raise DTypeError(
            f"{_NAME}: {what} must be bool, float32 or query's {dtype.name}, got {mask.dtype.name}"
        )
    if tuple(mask.shape) not in shapes:
        wanted = " or ".join(map(str, shapes))
        raise ShapeError(f"{_NAME}: {what} must have shape {wanted}, got {tuple(mask.shape)}")


def _added(mask: Any, dtype: Any) -> Any:
    """A mask as what to add to the scores."""
    if mask.dtype is dtypes.bool_:
        return F.where(mask, -math.inf, F.zeros((), dtype=dtype, device=mask.device))
    return mask if mask.dtype is dtype else F.astype(mask, dtype)


def _merged(attn_mask: Any, key_padding_mask: Any, query: Any) -> Any:
    """Both masks as one that broadcasts to ``(N, heads, L, S)``; bool if both are."""
    if attn_mask is not None and attn_mask.ndim == 3:
        n, heads = query.shape[:2]
        attn_mask = F.reshape(attn_mask, (n, heads, *attn_mask.shape[1:]))
    if key_padding_mask is None:
        return attn_mask
    n, s = key_padding_mask.shape
    padding = F.reshape(key_padding_mask, (n, 1, 1, s))
    if attn_mask is None:
        return padding
    if attn_mask.dtype is padding.dtype is dtypes.bool_:
        return F.logical_or(attn_mask, padding)
    return _added(attn_mask, query.dtype) + _added(padding, query.dtype)


# ---- projections -------------------------------------------------------------------------------


def _projected(query: Any, key: Any, value: Any, weights: Any, bias: Any) -> tuple[Any, ...]:
    """Query, key and value through their projections: one product where they are one tensor."""
    linear = F.linear
    if isinstance(weights, tuple):
        biases = (None,) * 3 if bias is None else F.chunk(bias, 3)
        return tuple(map(linear, (query, key, value), weights, biases))
    if query is key is value:
        return tuple(F.chunk(linear(query, weights, bias), 3, -1))
    e = weights.shape[1]
    b_q, b_kv = (None, None) if bias is None else (bias[:e], bias[e:])
    if key is value:
        both = F.chunk(linear(key, weights[e:], b_kv), 2, -1)
        return (linear(query, weights[:e], b_q), *both)
    b_k, b_v = (None, None) if b_kv is None else (b_kv[:e], b_kv[e:])
    return (linear(query, weights[:e], b_q), linear(key, weights[e : 2 * e], b_k),
            linear(value, weights[2 * e :], b_v))  # fmt: skip


def _heads(x: Any, heads: int, batch_first: bool) -> Any:
    """``(N, L, E)`` (or ``(L, N, E)``) as ``(N, heads, L, E / heads)``."""
    x = F.reshape(x, (*x.shape[:2], heads, x.shape[2] // heads))
    return F.permute_dims(x, (0, 2, 1, 3) if batch_first else (1, 2, 0, 3))


def _static(name: str, x: Any, n: int, heads: int, width: int) -> Any:
    if x.ndim != 3 or x.shape[0] != n * heads or x.shape[2] != width:
        raise ShapeError(f"{_NAME}: {name} must be ({n * heads}, S, {width}), got {tuple(x.shape)}")
    return F.reshape(x, (n, heads, *x.shape[1:]))


def _longer(k: Any, v: Any, masks: list[Any], bias_k: Any, bias_v: Any, zero: bool) -> Any:
    """Keys and values with one more position for the learnt bias, and one more of zeros."""
    n, heads, _, width = k.shape
    if bias_k is not None:
        more = (F.broadcast_to(F.reshape(b, (1, heads, 1, width)), (n, heads, 1, width))
                for b in (bias_k, bias_v))  # fmt: skip
        k, v = (F.concat([x, b], 2) for x, b in zip((k, v), more, strict=True))
    if zero:
        k, v = (F.concat([x, F.zeros_like(x[:, :, :1])], 2) for x in (k, v))
    extra = (bias_k is not None) + zero
    if extra:
        masks = [m if m is None else
                 F.concat([m, F.zeros_like(m[..., :1].expand(*m.shape[:-1], extra))], -1)
                 for m in masks]  # fmt: skip
    return k, v, masks


# ---- the whole ---------------------------------------------------------------------------------


def _check(query: Any, key: Any, value: Any, heads: int, embed_dim: int, separate: bool,
           batch_first: bool) -> None:  # fmt: skip
    shapes = f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
    order = "(N, L, E)" if batch_first else "(L, N, E)"
    if query.ndim not in (2, 3) or not query.ndim == key.ndim == value.ndim:
        raise ShapeError(f"{_NAME}: {shapes}; accepted: {order} for all three, or all without N")
    if query.shape[-1] != embed_dim:
        raise ShapeError(f"{_NAME}: {shapes}: query's last dimension must be {embed_dim}")
    if embed_dim % heads:
        raise SettingError(f"{_NAME}: embed_dim {embed_dim} is not divisible by {heads} heads")
    ends = -1 if separate else None
    batch = 0 if batch_first else 1
    if tuple(key.shape[:ends]) != tuple(value.shape[:ends]) or (
        query.ndim == 3 and query.shape[batch] != key.shape[batch]
    ):
        raise ShapeError(
            f"{_NAME}: {shapes}, as {order}: key and value must be of equal length, and all of "
            f"equal N{'' if separate else '; kdim= and vdim= allow other widths'}"
        )


def _check_weights(e: int, **weights: tuple[Any, tuple[int, ...]]) -> None:
    for what, (w, shape) in weights.items():
        if w is not None and tuple(w.shape) != shape:
            raise ShapeError(
                f"{_NAME}: {what} must have shape {shape} for embed_dim {e}, got {tuple(w.shape)}"
            )


def multihead(
    query: Any, key: Any, value: Any, heads: int, weights: Any, bias: Any, out_weight: Any,
    out_bias: Any, *, embed_dim: int, bias_k: Any = None, bias_v: Any = None,
    add_zero_attn: bool = False, dropout_p: float = 0.0, key_padding_mask: Any = None,
    need_weights: bool = True, attn_mask: Any = None, average: bool = True,
    is_causal: bool = False, static_k: Any = None, static_v: Any = None, batch_first: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Multi-head attention over ``(N, L, E)`` with ``batch_first``, else ``(L, N, E)``.

    Args:
        weights: one matrix of ``(3 * embed_dim, embed_dim)``, or a tuple of three.

    Returns:
        The output like ``query``, and the attention weights ``(N, L, S)``, or None.
    """
    _check(query, key, value, heads, embed_dim, isinstance(weights, tuple), batch_first)
    e = embed_dim
    packed = None if isinstance(weights, tuple) else weights
    _check_weights(
        e, in_proj_weight=(packed, (3 * e, e)), in_proj_bias=(bias, (3 * e,)),
        bias_k=(bias_k, (1, 1, e)), bias_v=(bias_v, (1, 1, e)),
        out_proj_weight=(out_weight, (e, e)), out_proj_bias=(out_bias, (e,)),
    )  # fmt: skip
    if is_causal and attn_mask is None:
        raise ArgumentError(f"{_NAME}: is_causal=True is a hint about attn_mask; pass that, too")
    batched, batch = query.ndim == 3, 0 if batch_first else 1
    if not batched:
        same = query is key, key is value
        query = F.expand_dims(query, batch)
        key = query if same[0] else F.expand_dims(key, batch)
        value = key if same[1] else F.expand_dims(value, batch)
        if key_padding_mask is not None and key_padding_mask.ndim == 1:
            key_padding_mask = F.expand_dims(key_padding_mask, 0)
    n, width = query.shape[batch], embed_dim // heads
    q, k, v = (_heads(x, heads, batch_first)
               for x in _projected(query, key, value, weights, bias))  # fmt: skip
    k = k if static_k is None else _static("static_k", static_k, n, heads, width)
    v = v if static_v is None else _static("static_v", static_v, n, heads, width)
    length, keys = q.shape[2], k.shape[2]
    _check_mask("attn_mask", attn_mask, q.dtype, (length, keys), (n * heads, length, keys))
    _check_mask("key_padding_mask", key_padding_mask, q.dtype, (n, keys))
    k, v, (attn_mask, key_padding_mask) = _longer(
        k, v, [attn_mask, key_padding_mask], bias_k, bias_v, add_zero_attn
    )
    if is_causal and key_padding_mask is None and not need_weights and k.shape[2] == keys:
        attn_mask = None
    else:
        is_causal = False
    mask = _merged(attn_mask, key_padding_mask, q)
    out, seen = _attended(q, k, v, mask, dropout_p, is_causal, need_weights)
    out = F.reshape(F.permute_dims(out, (0, 2, 1, 3) if batch_first else (2, 0, 1, 3)), query.shape)
    out = F.linear(out, out_weight, out_bias)
    if seen is not None and average:
        seen = F.mean(seen, 1)
    if batched:
        return out, seen
    return F.squeeze(out, batch), seen if seen is None else F.squeeze(seen, 0)


def _attended(q: Any, k: Any, v: Any, mask: Any, dropout_p: float, causal: bool,
              need_weights: bool) -> tuple[Any, Any]:  # fmt: skip
    """What the heads see, and with ``need_weights`` the weights by which they do."""
    if not need_weights:
        if mask is not None:
            mask = F.logical_not(mask) if mask.dtype is dtypes.bool_ else _added(mask, q.dtype)
        return F.scaled_dot_product_attention(q, k, v, mask, dropout_p, causal), None
    scores = F.matmul(q * (1 / math.sqrt(q.shape[-1])), F.swapaxes(k, -2, -1))
    if mask is not None:
        scores = scores + _added(mask, q.dtype)
    seen = F.dropout(F.softmax(scores, -1), dropout_p)
    return F.matmul(seen, v), seen


# Tested by hand: None is a value here for arguments that have no default.
@function(home="nn.functional", method=False, samples=())
def multi_head_attention_forward(
    query: Any, key: Any, value: Any, embed_dim_to_check: int, num_heads: int,
    in_proj_weight: Any, in_proj_bias: Any, bias_k: Any, bias_v: Any, add_zero_attn: bool,
    dropout_p: float, out_proj_weight: Any, out_proj_bias: Any, training: bool = True,
    key_padding_mask: Any = None, need_weights: bool = True, attn_mask: Any = None,
    use_separate_proj_weight: bool = False, q_proj_weight: Any = None, k_proj_weight: Any = None,
    v_proj_weight: Any = None, static_k: Any = None, static_v: Any = None,
    average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Multi-head attention over ``(L, N, E)`` with the weights as arguments.

    Arguments are those of ``nn.MultiheadAttention`` and its parameters; ``static_k`` and
    ``static_v`` of ``(N * num_heads, S, E / num_heads)`` stand for projected keys and values.

    Returns:
        The output, and the attention weights or None.
    """
    weights = in_proj_weight
    if use_separate_proj_weight:
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
    given = weights if isinstance(weights, tuple) else (weights,)
    if any(w is None for w in given) or (bias_k is None) != (bias_v is None):
        raise ArgumentError(
            f"{_NAME}: it needs in_proj_weight, or with use_separate_proj_weight=True the three "
            "others; and bias_k and bias_v both or neither"
        )
    return multihead(
        query, key, value, num_heads, weights, in_proj_bias, out_proj_weight, out_proj_bias,
        embed_dim=embed_dim_to_check, bias_k=bias_k, bias_v=bias_v, add_zero_attn=add_zero_attn,
        dropout_p=dropout_p if training else 0.0, key_padding_mask=key_padding_mask,
        need_weights=need_weights, attn_mask=attn_mask, average=average_attn_weights,
        is_causal=is_causal, static_k=static_k, static_v=static_v,
    )  # fmt: skip
