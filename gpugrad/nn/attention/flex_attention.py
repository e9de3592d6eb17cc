"""Attention whose scores and mask are functions of positions, written by the user.

The functions are called once, with index tensors of shapes (B, 1, 1, 1), (H, 1, 1), (Q, 1) and
(KV,) that broadcast to all scores, so every score is computed: a mask saves no work here.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from gpugrad import dtypes
from gpugrad.errors import ArgumentError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.tensor import Tensor

MaskMod = Callable[..., Tensor]
ScoreMod = Callable[..., Tensor]


class AuxRequest(NamedTuple):
    """What ``flex_attention`` shall return besides: see ``AuxOutput``."""

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """Per query, the logarithm of the sum of exponentials of its scores, and the largest score."""

    lse: Tensor | None = None
    max_scores: Tensor | None = None


def noop_mask(batch: Tensor, head: Tensor, token_q: Tensor, token_kv: Tensor) -> Tensor:
    """Masks nothing."""
    return batch + head + token_q + token_kv >= 0


def and_masks(*mask_mods: MaskMod) -> MaskMod:
    """A mask that lets through what all masks let through."""
    return _joined("and_masks", mask_mods, lambda a, b: a & b, True)


def or_masks(*mask_mods: MaskMod) -> MaskMod:
    """A mask that lets through what any mask lets through."""
    return _joined("or_masks", mask_mods, lambda a, b: a | b, False)


def _joined(name: str, mods: tuple[MaskMod, ...], join: Any, start: bool) -> MaskMod:
    if not all(callable(m) for m in mods):
        raise ArgumentError(f"{name}: mask_mods must be functions, got {mods!r}")

    def mask(b: Tensor, h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        result = F.full((), start, dtype=dtypes.bool_, device=b.device)
        for mod in mods:
            result = join(result, mod(b, h, q, kv))
        return result  # type: ignore[no-any-return]

    return mask


def _places(sizes: tuple[int, int, int, int], device: Any) -> tuple[Tensor, ...]:
    """Index tensors of the four dims, each along its own."""
    return tuple(
        F.arange(n, device=device).reshape((n, *(1 for _ in range(3 - i))))
        for i, n in enumerate(sizes)
    )


def create_mask(mod_fn: Any, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int,
                device: Any = None) -> Tensor:  # fmt: skip
    """The mask (B, H, Q_LEN, KV_LEN), True where a query sees a key.

    Args:
        mod_fn: ``mask_mod(b, h, q, kv)``, or ``score_mod(score, b, h, q, kv)``, whose scores of
            minus infinity are masked.
        B, H: None is 1.
    """
    sizes = (B or 1, H or 1, Q_LEN, KV_LEN)
    places = _places(sizes, device)
    if len(inspect.signature(mod_fn).parameters) == 5:
        seen = mod_fn(F.zeros(sizes, device=device), *places) != -math.inf
    else:
        seen = mod_fn(*places)
    if not isinstance(seen, Tensor) or seen.dtype is not dtypes.bool_:
        raise ArgumentError("create_mask: a mask_mod must return a tensor of bools")
    return seen.expand(sizes)


class BlockMask:
    """A mask by its function, with the sizes that it is for.

    Attributes:
        mask_mod: the function.
        shape: (B, H, Q_LEN, KV_LEN).
        seq_lengths: the last two.
        BLOCK_SIZE: queries and keys of a block, by which ``to_dense`` and ``sparsity`` tell.
    """

    def __init__(self, mask_mod: MaskMod, shape: tuple[int, int, int, int],
                 BLOCK_SIZE: tuple[int, int], device: Any) -> None:  # fmt: skip
        self.mask_mod, self.shape, self.BLOCK_SIZE = mask_mod, shape, BLOCK_SIZE
        self.seq_lengths = shape[2:]
        self._blocks = _blocks(create_mask(mask_mod, *shape, device), BLOCK_SIZE)

    def to_dense(self) -> Tensor:
        """(B, H, blocks of queries, blocks of keys): 1 where any pair inside is seen, else 0."""
        return self._blocks

    def sparsity(self) -> float:
        """Per cent of the blocks in which nothing is seen."""
        seen: float = self._blocks.double().mean().item()
        return 100 * (1 - seen)

    def numel(self) -> int:
        """Pairs of a query and a key, over all batches and heads."""
        return math.prod(self.shape)

    def to(self, device: Any) -> BlockMask:
        """The same on another device."""
        return BlockMask(self.mask_mod, self.shape, self.BLOCK_SIZE, device)

    def __repr__(self) -> str:
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%)"


def _blocks(mask: Tensor, size: tuple[int, int]) -> Tensor:
    for dim, n in zip((2, 3), size, strict=True):
        starts = range(0, mask.shape[dim], n)
        parts = [mask.narrow(dim, i, min(n, mask.shape[dim] - i)) for i in starts]
        mask = F.stack([p.any(dim) for p in parts], dim)
    return mask.to(dtypes.int32)


def create_block_mask(mask_mod: MaskMod, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int,
                      device: Any = None, BLOCK_SIZE: int | tuple[int, int] = 128,
                      _compile: bool = False) -> BlockMask:  # fmt: skip
    """A mask for ``flex_attention``.

    Args:
        mask_mod: ``mask_mod(b, h, q, kv)``: whether a query sees a key, of index tensors.
        B, H: batches and heads; None is 1, for a mask that does not depend on them.
        Q_LEN, KV_LEN: queries and keys.
        device: where the index tensors are; the CPU by default.
        BLOCK_SIZE: see ``BlockMask``; one number, or two.
        _compile: taken because programs pass it; the mask is computed at once either way.
    """
    size = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else tuple(BLOCK_SIZE)
    if len(size) != 2 or min(size) < 1:
        raise SettingError(
            f"create_block_mask: BLOCK_SIZE is {BLOCK_SIZE!r}; accepted: one or two positive ints"
        )
    return BlockMask(mask_mod, (B or 1, H or 1, Q_LEN, KV_LEN), (size[0], size[1]), device)


def flex_attention(query: Tensor, key: Tensor, value: Tensor, score_mod: ScoreMod | None = None,
                   block_mask: BlockMask | None = None, scale: float | None = None,
                   enable_gqa: bool = False, return_lse: bool = False,
                   kernel_options: dict[str, Any] | None = None, *,
                   return_aux: AuxRequest | None = None) -> Any:  # fmt: skip
    """``softmax(score_mod(query key^T scale)) value`` over the keys that ``block_mask`` lets see.

    Args:
        query: (B, H, Q, E).
        key, value: (B or 1, heads, KV, E) and (B or 1, heads, KV, Ev).
        score_mod: ``score_mod(score, b, h, q, kv)`` gives the scores to use, of all scores and
            index tensors that broadcast with them.
        block_mask: from ``create_block_mask``; queries that see nothing give zeros.
        scale: ``1 / sqrt(E)`` by default.
        enable_gqa: whether ``key`` and ``value`` may have fewer heads, each for several of
            ``query``'s.
        return_lse: also return (B, H, Q) ``logsumexp`` of the scores in float32.
        kernel_options: how to tune PyTorch's kernels; a dict, of no effect here.
        return_aux: what to return besides, as an ``AuxOutput``.

    Raises:
        ShapeError: if shapes do not fit each other, or the mask.
    """
    key, value = _checked(query, key, value, enable_gqa, kernel_options)
    working = dtypes.float64 if query.dtype is dtypes.float64 else dtypes.float32
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query @ key.transpose(-2, -1)).to(working) * scale
    b, h, q, kv = tuple(scores.shape)
    places = _places((b, h, q, kv), scores.device)
    if score_mod is not None:
        changed = score_mod(scores, *places)
        if not isinstance(changed, Tensor):
            raise ArgumentError(
                f"flex_attention: score_mod must return a Tensor, got {type(changed).__name__}"
            )
        scores = changed.to(working).expand((b, h, q, kv))
    if block_mask is not None:
        _check_mask(block_mask, (b, h, q, kv))
        scores = scores.masked_fill(~block_mask.mask_mod(*places), -math.inf)
    nothing = (scores == -math.inf).all(-1, keepdim=True)
    weights = F.softmax(scores.masked_fill(nothing, 0.0), -1).masked_fill(nothing, 0.0)
    out = weights.to(query.dtype) @ value
    if not return_lse and return_aux is None:
        return out
    if return_lse and return_aux is not None:
        raise SettingError("flex_attention: either return_lse or return_aux can be given, not both")
    lse = F.logsumexp(scores, -1).to(dtypes.float32)
    if return_aux is None:
        return out, lse
    largest = scores.amax(-1).to(dtypes.float32) if return_aux.max_scores else None
    return out, AuxOutput(lse if return_aux.lse else None, largest)


def _checked(query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool,
             kernel_options: Any) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Check shapes; return key and value with as many heads as the query."""
    shown = f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
    if kernel_options is not None and not isinstance(kernel_options, dict):
        raise ArgumentError("flex_attention: kernel_options must be a dict")
    if (query.ndim, key.ndim, value.ndim) != (4, 4, 4):
        raise ShapeError(f"flex_attention: tensors must have 4 dims, got {shown}")
    if query.shape[-1] != key.shape[-1] or key.shape[:3] != value.shape[:3]:
        raise ShapeError(f"flex_attention: embeddings, heads or keys differ: {shown}")
    if key.shape[0] not in (1, query.shape[0]):
        raise ShapeError(f"flex_attention: batches differ: {shown}")
    if not query.dtype is key.dtype is value.dtype:
        raise ArgumentError(
            f"flex_attention: dtypes differ: {query.dtype}, {key.dtype} and {value.dtype}"
        )
    heads, given = query.shape[1], key.shape[1]
    if heads == given:
        return key, value
    if not enable_gqa or heads % given:
        raise ShapeError(
            f"flex_attention: {heads} heads of query and {given} of key; they must be equal, or "
            "with enable_gqa=True the first a multiple of the second"
        )
    each = heads // given
    return F.repeat_interleave(key, each, 1), F.repeat_interleave(value, each, 1)


def _check_mask(mask: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(mask, BlockMask):
        raise ArgumentError(
            f"flex_attention: block_mask must come from create_block_mask, got "
            f"{type(mask).__name__}"
        )
    fits = mask.shape[2:] == shape[2:] and all(
        m in (1, n) for m, n in zip(mask.shape[:2], shape[:2])
    )
    if not fits:
        raise ShapeError(
            f"flex_attention: block_mask is for {mask.shape}, the scores have shape {shape}"
        )


__all__ = [
    "AuxOutput", "AuxRequest", "BlockMask", "and_masks", "create_block_mask", "create_mask",
    "flex_attention", "noop_mask", "or_masks",
]  # fmt: skip
