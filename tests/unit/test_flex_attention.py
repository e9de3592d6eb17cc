"""``flex_attention`` where no second library is needed: precision, blocks, words of errors."""

import pytest

import gpugrad as gg
from gpugrad.errors import ArgumentError, SettingError, ShapeError
from gpugrad.nn.attention.flex_attention import (
    BlockMask,
    and_masks,
    create_block_mask,
    create_mask,
    flex_attention,
)


@pytest.fixture
def qkv():
    gg.manual_seed(0)
    return [gg.randn(2, 3, 5, 4) for _ in range(3)]


def causal(b, h, q, kv):
    return q >= kv


def test_it_is_attention(qkv) -> None:
    """Without functions, and with the causal mask, it is ``scaled_dot_product_attention``."""
    plain = gg.nn.functional.scaled_dot_product_attention
    mask = create_block_mask(causal, None, None, 5, 5)
    assert gg.allclose(flex_attention(*qkv), plain(*qkv), atol=1e-6)
    found = flex_attention(*qkv, block_mask=mask, kernel_options={"BLOCK_M": 64})
    assert gg.allclose(found, plain(*qkv, is_causal=True), atol=1e-6)


def test_16_bit_floats_are_scored_in_32(qkv) -> None:
    halves = [x.bfloat16() for x in qkv]
    seen = []
    out = flex_attention(*halves, lambda s, b, h, q, kv: seen.append(s.dtype) or s)
    assert (out.dtype, seen) == (gg.bfloat16, [gg.float32])


def test_gradients_reach_what_scores_use(qkv) -> None:
    table = gg.zeros(3, requires_grad=True)
    flex_attention(*qkv, lambda s, b, h, q, kv: s + table[h] * (q - kv)).sum().backward()
    assert table.grad.abs().min() > 0


def test_blocks() -> None:
    mask = create_block_mask(and_masks(causal, lambda b, h, q, kv: kv < 2), 1, 1, 6, 6,
                             BLOCK_SIZE=2)  # fmt: skip
    assert mask.to_dense()[0, 0].tolist() == [[1, 0, 0]] * 3
    assert mask.sparsity() == pytest.approx(100 * 2 / 3)
    assert (mask.shape, mask.seq_lengths, mask.numel()) == ((1, 1, 6, 6), (6, 6), 36)
    assert isinstance(mask.to("cpu"), BlockMask)


def test_words_of_errors(qkv) -> None:
    q, k, v = qkv
    with pytest.raises(ShapeError, match=r"block_mask is for \(1, 1, 4, 5\).*\(2, 3, 5, 5\)"):
        flex_attention(q, k, v, block_mask=create_block_mask(causal, None, None, 4, 5))
    with pytest.raises(ShapeError, match=r"3 heads of query and 2 of key.*enable_gqa=True"):
        flex_attention(q, k[:, :2], v[:, :2])
    with pytest.raises(ArgumentError, match="dtypes differ"):
        flex_attention(q, k, v.double())
    with pytest.raises(ArgumentError, match="must come from create_block_mask, got Tensor"):
        flex_attention(q, k, v, block_mask=gg.ones(5, 5))
    with pytest.raises(ArgumentError, match="score_mod must return a Tensor, got int"):
        flex_attention(q, k, v, lambda *_: 0)
    with pytest.raises(ArgumentError, match="tensor of bools"):
        create_mask(lambda b, h, q, kv: q + kv, None, None, 2, 2)
    with pytest.raises(SettingError, match="BLOCK_SIZE is 0"):
        create_block_mask(causal, None, None, 2, 2, BLOCK_SIZE=0)
    with pytest.raises(ArgumentError, match="mask_mods"):
        and_masks(causal, 3)
