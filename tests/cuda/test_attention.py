"""Attention on a GPU is PyTorch's, fused for 16-bit floats: values, gradients, masks, layouts."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.errors import KernelError

pytestmark = pytest.mark.torch

#: Shapes of query, key and value, and settings.
CASES = {
    "plain": ((2, 4, 33, 16), (2, 4, 33, 16), (2, 4, 33, 16), {}),
    "causal": ((2, 4, 33, 16), (2, 4, 33, 16), (2, 4, 33, 16), {"is_causal": True}),
    "more keys": ((2, 4, 9, 16), (2, 4, 33, 16), (2, 4, 33, 8), {"scale": 0.3}),
    "more keys, causal": ((2, 4, 9, 16), (2, 4, 33, 16), (2, 4, 33, 8), {"is_causal": True}),
    "fewer keys, causal": ((2, 4, 33, 16), (2, 4, 9, 16), (2, 4, 9, 24), {"is_causal": True}),
    "shared heads": ((2, 6, 17, 16), (2, 2, 17, 16), (2, 2, 17, 16), {"enable_gqa": True}),
    "one position": ((2, 4, 1, 16), (2, 4, 9, 16), (2, 4, 9, 16), {}),
    "one of each": ((2, 4, 1, 16), (2, 4, 1, 16), (2, 4, 1, 16), {}),
    "not of 8": ((2, 4, 9, 12), (2, 4, 9, 12), (2, 4, 9, 12), {}),
    "three dims": ((4, 9, 16), (4, 9, 16), (4, 9, 16), {"is_causal": True}),
    "broadcast": ((2, 4, 9, 16), (1, 4, 17, 16), (2, 1, 17, 16), {}),
}
TOLERANCES = {"float64": 1e-12, "float32": 5e-6, "float16": 4e-3, "bfloat16": 3e-2}


def _draw(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s) for s in shapes]


def _ours(arrays, dtype, mask=None, made=None, **settings):
    """The result, the gradients of a weighted sum of it, and the result as it came."""
    leaves = [gg.tensor(a).to(getattr(gg, dtype)).cuda().requires_grad_() for a in arrays]
    mask = None if mask is None else gg.tensor(mask).cuda()
    mask = mask if mask is None or mask.dtype == gg.bool else mask.to(leaves[0].dtype)
    operands = leaves if made is None else made(*leaves)
    out = gg.nn.functional.scaled_dot_product_attention(*operands, mask, **settings)
    (out * out.detach()).sum().backward()
    found = [t.detach().to(gg.float64).cpu().numpy() for t in (out, *(t.grad for t in leaves))]
    return found, out


def _theirs(arrays, dtype, mask=None, made=None, **settings):
    import torch

    leaves = [torch.tensor(a).to(getattr(torch, dtype)).double() for a in arrays]
    leaves = [t.requires_grad_() for t in leaves]
    mask = None if mask is None else torch.tensor(mask)
    operands = leaves if made is None else made(*leaves)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        out = torch.nn.functional.scaled_dot_product_attention(*operands, mask, **settings)
    (out * out.detach()).sum().backward()
    return [t.detach().numpy() for t in (out, *(t.grad for t in leaves))]


def _compare(ours, theirs, dtype):
    for name, a, b in zip(("result", "query", "key", "value"), ours, theirs, strict=False):
        worst = np.abs(a - b).max() / max(np.abs(b).max(), 1)
        assert a.shape == b.shape
        assert worst < TOLERANCES[dtype], f"{name} is off by {worst:.2g}"


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", CASES)
def test_as_pytorch(name, dtype):
    """Result and gradients."""
    *shapes, settings = CASES[name]
    arrays = _draw(*shapes)
    _compare(_ours(arrays, dtype, **settings)[0], _theirs(arrays, dtype, **settings), dtype)


MASKS = {
    "of all": (17, 25), "of a batch": (2, 1, 17, 25), "of a head": (4, 17, 25),
    "of keys": (2, 1, 1, 25), "of rows": (17, 1),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["bool", "added", "added, some -inf"])
@pytest.mark.parametrize("name", MASKS)
def test_masks(name, kind, dtype):
    """Masks that select and masks that are added, broadcast; a row that sees nothing gives 0."""
    arrays = _draw((2, 4, 17, 16), (2, 4, 25, 16), (2, 4, 25, 16))
    rng = np.random.default_rng(1)
    seen = rng.random(MASKS[name]) < 0.6
    seen[..., 0] = True  # PyTorch's own way to mask makes NaN of an empty row
    mask = seen if kind == "bool" else rng.standard_normal(MASKS[name]).round(1)
    mask = np.where(seen, mask, -np.inf) if "inf" in kind else mask
    theirs = _theirs(arrays, dtype, mask)
    _compare(_ours(arrays, dtype, mask)[0], theirs, dtype)
    if mask.shape[-2] > 1:
        empty = mask.copy()
        empty[..., 3, :] = False if kind == "bool" else -np.inf
        found = _ours(arrays, dtype, empty)[0]
        assert all(np.isfinite(a).all() for a in found)
        assert not found[0][:, :, 3].any()
        assert not found[1][:, :, 3].any()
        rest = _ours(arrays, dtype, mask)[0][0]
        np.testing.assert_array_equal(np.delete(found[0], 3, 2), np.delete(rest, 3, 2))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_packed_and_transposed(dtype):
    """Queries, keys and values out of one array, as models make them; the heads merge again."""

    def made(qkv):
        b, n, w = qkv.shape
        parts = qkv.split(w // 3, 2) if hasattr(qkv, "split") else None
        return [p.reshape(b, n, 4, w // 12).transpose(1, 2) for p in parts]

    arrays = _draw((2, 21, 3 * 64))
    ours, out = _ours(arrays, dtype, made=made, is_causal=True)
    _compare(ours, _theirs(arrays, dtype, made=made, is_causal=True), dtype)
    if dtype == "bfloat16":
        assert out.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_addresses_and_strides_that_kernels_cannot_read(dtype):
    """Odd offsets, gaps between elements, reversed and expanded dims."""
    (base,) = _draw((2, 4, 20, 40))
    ways = (lambda t: t[..., 1:17], lambda t: t[..., ::2][..., :16], lambda t: t[:, :, 3:, :16],
            lambda t: t[..., :34][..., 2:34], lambda t: t[:1, :1, :, :16].expand(2, 4, 20, 16),
            lambda t: t.reshape(2, 4, 16, 50)[..., :16])  # fmt: skip
    for way in ways:
        ours = _ours([base], dtype, made=lambda t, way=way: [way(t)] * 3)[0]
        _compare(ours, _theirs([base], dtype, made=lambda t, way=way: [way(t)] * 3), dtype)


def test_second_derivatives():
    """The gradient of a gradient, from 16-bit floats in float32."""
    arrays = [a.astype(np.float32) for a in _draw((1, 2, 5, 8), (1, 2, 5, 8), (1, 2, 5, 8))]

    def penalty(dtype, device):
        q, k, v = (gg.tensor(a).to(dtype).to(device).requires_grad_() for a in arrays)
        out = gg.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        grads = gg.autograd.grad((out * out).sum(), [q, k, v], create_graph=True)
        sum((g * g).sum() for g in grads).backward()
        return [t.grad.float().cpu().numpy() for t in (q, k, v)]

    for a, b in zip(penalty(gg.bfloat16, "cuda"), penalty(gg.float64, "cpu"), strict=True):
        assert np.abs(a - b).max() < 0.05 * np.abs(b).max()


def test_twice_is_the_same():
    """The same bits again, also in the gradients, which atomics could shuffle."""
    arrays = _draw(*[(4, 8, 256, 64)] * 3)
    for dtype in ("float16", "bfloat16"):
        first, second = (_ours(arrays, dtype, is_causal=True)[0] for _ in range(2))
        assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


def test_without_the_library():
    """Our own way gives the same."""
    *shapes, settings = CASES["causal"]
    arrays = _draw(*shapes)
    with gg.backends.cudnn.flags(enabled=False):
        ours = _ours(arrays, "bfloat16", **settings)[0]
    _compare(ours, _theirs(arrays, "bfloat16", **settings), "bfloat16")


def test_capture_wants_a_plan():
    """Captured attention runs a plan that is there; a new shape says what to do."""
    import cupy

    from gpugrad.backends.memory.private import PrivatePool

    attend = gg.nn.functional.scaled_dot_product_attention
    q = gg.randn(2, 4, 64, 64, device="cuda", dtype=gg.bfloat16)
    out = attend(q, q, q)
    stream, private = cupy.cuda.Stream(non_blocking=True), PrivatePool()
    with stream:
        stream.begin_capture()
        with gg.backends.cuda().pool(0).private(private):
            again = attend(q, q, q)
            with pytest.raises(KernelError, match="before capturing"):
                attend(q[:1], q[:1], q[:1])
        graph = stream.end_capture()
        graph.launch(stream)
    stream.synchronize()
    assert float((again - out).abs().max()) == 0.0
