"""Attention and its gradient through cuDNN, for float16 and bfloat16; sums are in float32.

Operands are read where they lie, by their strides: heads first, sequence first, or queries, keys
and values side by side in one array; only a last dimension with gaps, or an address or stride that
is no multiple of 16 bytes, costs a copy.  A result is laid as what it belongs to: ``out`` and the
gradient of the queries as the queries, so heads merge again without a copy.

Forward keeps the logarithm of each row's sum of exponentials.  Backward adds up in a fixed order,
which on Hopper takes scratch memory of a score's 2 bytes per query and key of every head: 800 MB
for 32 x 12 heads of 1,024 positions.  Beyond ``_SCRATCH`` it goes batch by batch, or a few heads at
a time.

cuDNN's dropout draws other numbers than ours, so there is none here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpugrad.backends.nvidia.cudnn_plans import ALIGNMENT, DTYPES, Plan, plans_of

Sizes = tuple[int, ...]
#: Dims and strides, in elements.
Laid = tuple[Sizes, Sizes]
QUERY, KEY, VALUE, OUT, STATS, BIAS, GRAD, QUERY_GRAD, KEY_GRAD, VALUE_GRAD = range(1, 11)
#: Bytes of scratch memory that one gradient may take.
_SCRATCH = 4 << 30
_HALVES = ("float16", "bfloat16")
#: Elements of these that make ``ALIGNMENT`` bytes; a head must have whole multiples of it.
_WHOLE = ALIGNMENT // 2
#: The statistics of a row that sees no key, backward: every weight is exp(s - 1e30), which is 0.
_UNSEEN = 1e30


@dataclass(frozen=True)
class Attention:
    """Attention (``"sdpa"``) or its gradient (``"sdpa_backward"``).

    ``tensors`` has, by uid, how each of them is laid; all have 4 dims: batch, heads, positions and
    size of a head, with the bias's last two those of the scores.
    """

    kind: str
    dtype: str
    tensors: tuple[tuple[int, Laid], ...]
    scale: float
    causal: bool
    exact: bool = False

    def draw(self, cudnn: Any, graph: Any) -> None:
        """Put the operation into a graph."""
        held, single = getattr(cudnn.data_type, DTYPES[self.dtype]), cudnn.data_type.FLOAT
        laid = dict(self.tensors)

        def given(uid: int) -> Any:
            dim, stride = laid[uid]
            return graph.tensor(dim=list(dim), stride=list(stride), uid=uid,
                                data_type=single if uid == STATS else held)  # fmt: skip

        settings: dict[str, Any] = {"attn_scale": self.scale}
        if BIAS in laid:
            settings["bias"] = given(BIAS)
        if self.causal:  # a query sees the keys up to its own position, counted from the first
            settings.update(diagonal_alignment=cudnn.diagonal_alignment.TOP_LEFT,
                            diagonal_band_right_bound=0)  # fmt: skip
        if self.kind == "sdpa":
            uids: Sizes = (OUT, STATS)
            made = graph.sdpa(*map(given, (QUERY, KEY, VALUE)), generate_stats=True, **settings)
        else:
            uids = (QUERY_GRAD, KEY_GRAD, VALUE_GRAD)
            made = graph.sdpa_backward(
                *map(given, (QUERY, KEY, VALUE, OUT, GRAD, STATS)),
                use_deterministic_algorithm=True, **settings,
            )  # fmt: skip
        for uid, tensor in zip(uids, made, strict=True):
            dim, stride = laid[uid]
            tensor.set_output(True).set_uid(uid).set_dim(list(dim)).set_stride(list(stride))
            tensor.set_data_type(single if uid == STATS else held)


def laid(x: Any) -> Laid:
    """How an array lies, dims of size 1 as if they were in order."""
    found: list[int] = []
    step = 1
    for n, s in zip(reversed(x.shape), reversed(x.strides), strict=True):
        found.append(step if n == 1 else s // x.itemsize)
        step = max(step, n * found[-1])
    return x.shape, tuple(reversed(found))


def over(cupy: Any) -> dict[str, Callable[..., Any]]:
    """Attention of CuPy arrays: each function gives None for what cuDNN does not take.

    Args:
        cupy: the module ``cupy``.
    """
    plans = plans_of(cupy)

    def usable(x: Any) -> Any:
        """The array itself if cuDNN's kernels can read it where it lies, else a copy in order."""
        dim, stride = laid(x)
        fits = stride[-1] == 1 and all(
            s > 0 and s % _WHOLE == 0 for n, s in zip(dim[:-1], stride[:-1], strict=True) if n > 1
        )
        return x if fits and x.data.ptr % ALIGNMENT == 0 else x.copy()

    def made_like(x: Any, shape: Sizes) -> Any:
        """Memory for a result with the heads before or after the positions, as ``x`` has them."""
        b, h, n, d = shape
        if x.shape[1] > 1 and x.strides[1] < x.strides[2]:
            return cupy.empty((b, n, h, d), x.dtype).transpose(0, 2, 1, 3)
        return cupy.empty(shape, x.dtype)

    def found(kind: str, tensors: dict[int, Any], scale: float, causal: bool) -> Plan | None:
        how = tuple((uid, laid(x)) for uid, x in tensors.items())
        return plans.find(Attention(kind, str(tensors[QUERY].dtype), how, scale, causal))

    def taken(query: Any, key: Any, value: Any, mask: Any) -> bool:
        """Whether to ask cuDNN at all."""
        arrays = (query, key, value)
        return (
            str(query.dtype) in _HALVES
            and all(x.ndim == 4 and x.size and x.shape[3] % _WHOLE == 0 for x in arrays)
            and (mask is None or mask.ndim <= 4)
        )

    def biased(mask: Any, query: Any, key: Any) -> tuple[Any, Any]:
        """What to add to the scores, and a factor per row: 0 for one that may see no key.

        Such a row gets 0 to add, since the library would make NaN of nothing but ``-inf``.
        """
        mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
        nothing, everything = np.float32(0), np.float32(-np.inf)
        added = (cupy.where(mask, nothing, everything) if mask.dtype == np.bool_
                 else mask.astype(np.float32))  # fmt: skip
        seen = cupy.any(added != everything, axis=-1, keepdims=True)
        added = cupy.where(seen, added, nothing).astype(query.dtype)
        full = (*mask.shape[:2], query.shape[2], key.shape[2])
        return cupy.ascontiguousarray(cupy.broadcast_to(added, full)), seen

    def attended(query: Any, key: Any, value: Any, mask: Any, scale: float, causal: bool) -> Any:
        if not taken(query, key, value, mask):
            return None
        query, key, value = map(usable, (query, key, value))
        rows = query.shape[:3]
        tensors = {QUERY: query, KEY: key, VALUE: value,
                   OUT: made_like(query, (*rows, value.shape[3])),
                   STATS: cupy.empty((*rows, 1), np.float32)}  # fmt: skip
        seen = None
        if mask is not None:
            tensors[BIAS], seen = biased(mask, query, key)
        plan = found("sdpa", tensors, scale, causal)
        if plan is None:
            return None
        plans.run(plan, {uid: x.data.ptr for uid, x in tensors.items()})
        out, stats = tensors[OUT], tensors[STATS]
        if seen is not None:
            cupy.multiply(out, seen.astype(out.dtype), out)
        return out, stats.reshape(rows).view(np.int32)

    def attended_grad(g: Any, query: Any, key: Any, value: Any, mask: Any, out: Any, stats: Any,
                      scale: float, causal: bool) -> Any:  # fmt: skip
        if not taken(query, key, value, mask):
            return None
        stats = stats.view(np.float32)[..., None]
        operands = {QUERY: query, KEY: key, VALUE: value, OUT: out, GRAD: g}
        given = {uid: usable(x) for uid, x in operands.items()}
        if mask is not None:
            given[BIAS], seen = biased(mask, query, key)
            stats = cupy.where(seen, stats, np.float32(_UNSEEN))
        given[STATS] = cupy.ascontiguousarray(stats)
        made = {QUERY_GRAD: made_like(query, query.shape), KEY_GRAD: made_like(key, key.shape),
                VALUE_GRAD: made_like(value, value.shape)}  # fmt: skip
        return tuple(made.values()) if differentiated(given | made, scale, causal) else None

    def differentiated(tensors: dict[int, Any], scale: float, causal: bool) -> bool:
        """Write the gradients; False if cuDNN does not take these."""
        plan = found("sdpa_backward", tensors, scale, causal)
        if plan is None:
            return False
        axis = next((i for i in (0, 1) if tensors[KEY].shape[i] > 1), None)
        if plan.workspace <= _SCRATCH or axis is None:
            plans.run(plan, {uid: x.data.ptr for uid, x in tensors.items()})
            return True
        count = tensors[KEY].shape[axis]
        most = max(count * _SCRATCH // plan.workspace, 1)
        parts = next(p for p in range(2, count + 1) if count % p == 0 and count // p <= most)
        return all(
            differentiated({uid: part(x, axis, i, parts) for uid, x in tensors.items()}, scale,
                           causal)
            for i in range(parts)
        )  # fmt: skip

    def part(x: Any, axis: int, i: int, parts: int) -> Any:
        """One of equal parts along the batch or the heads; a bias of one for all stays whole."""
        if x.shape[axis] == 1:
            return x
        step = x.shape[axis] // parts
        place = slice(i * step, (i + 1) * step)
        cut = x[place] if axis == 0 else x[:, place]
        # Only what is read can be out of step: heads are of whole multiples of 16 bytes.
        return cut if cut.data.ptr % ALIGNMENT == 0 else cut.copy()

    return {"attended": attended, "attended_grad": attended_grad}
