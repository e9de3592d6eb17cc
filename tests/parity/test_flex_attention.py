"""``flex_attention`` against PyTorch's eager one: values, gradients, masks, scores, heads."""

import warnings

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.nn.attention import flex_attention as ours

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.nn.attention import flex_attention as theirs

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's of being slow without its compiler
RNG = np.random.default_rng(0)
B, H, Q, KV, E = 2, 4, 5, 7, 3


def arrays(heads=H, batch=B):
    shapes = ((B, H, Q, E), (batch, heads, KV, E), (batch, heads, KV, 2))
    return [RNG.normal(size=s).astype(np.float32) for s in shapes]


class Dense:
    """The formula in PyTorch, for the gradients that its own function has no rule for on a CPU."""

    AuxRequest = theirs.AuxRequest
    and_masks, or_masks = staticmethod(theirs.and_masks), staticmethod(theirs.or_masks)
    noop_mask = staticmethod(lambda b, h, q, kv: b + h + q + kv >= 0)
    create_block_mask = staticmethod(lambda mod, *args, **kwargs: mod)

    @staticmethod
    def flex_attention(q, k, v, score_mod=None, block_mask=None, scale=E**-0.5, enable_gqa=False,
                       return_lse=False, return_aux=None):  # fmt: skip
        k, v = (x.repeat_interleave(H // x.shape[1], 1) for x in (k, v))
        scores = q @ k.mT * scale
        where = [torch.arange(n).reshape(n, *[1] * (3 - i)) for i, n in enumerate(scores.shape)]
        scores = (score_mod(scores, *where) if score_mod else scores).expand(scores.shape)
        if block_mask is not None:
            scores = scores.masked_fill(~block_mask(*where), -float("inf"))
        out = scores.softmax(-1).nan_to_num() @ v
        if return_lse:
            return out, scores.logsumexp(-1)
        if return_aux:
            return out, theirs.AuxOutput(scores.logsumexp(-1), scores.amax(-1))
        return out


def same(run, data, eager=True):
    """``run(lib, module, query, key, value)`` gives equal tensors and gradients."""
    found = []
    for lib, module in ((gg, ours), (torch, Dense)):
        leaves = [lib.tensor(a, requires_grad=True) for a in data]
        out = run(lib, module, *leaves)
        outs = out if isinstance(out, list) else [out]
        sum((o * o.detach().cos()).sum() for o in outs if o.isfinite().all()).backward()
        found.append([*outs, *(x.grad for x in leaves)])
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        if a is None:
            continue
        b = b.nan_to_num(nan=0.0, posinf=float("inf"), neginf=-float("inf"))
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), 2e-5, 2e-6)
    if not eager:
        return
    own = run(torch, theirs, *(torch.tensor(a) for a in data))
    for a, b in zip(found[0], own if isinstance(own, list) else [own], strict=False):
        np.testing.assert_allclose(a.detach().numpy(), b.numpy(), 2e-5, 2e-6)


def causal(b, h, q, kv):
    return q >= kv


def near(b, h, q, kv):
    return (q - kv).abs() <= 2


def by_head(b, h, q, kv):
    return (kv + h) % 2 == b % 2


SCORES = {
    "none": lambda lib: None,
    "relative": lambda lib: lambda s, b, h, q, kv: s + (q - kv),
    "alibi": lambda lib: lambda s, b, h, q, kv: s - (q - kv).abs() * lib.exp2(-(h + 1) * 1.0),
    "table": lambda lib: (lambda t: lambda s, b, h, q, kv: s * t[b, h])(
        lib.linspace(0.5, 2, B * H).reshape(B, H)),
    "soft cap": lambda lib: lambda s, b, h, q, kv: 2 * lib.tanh(s / 2),
    "where": lambda lib: lambda s, b, h, q, kv: lib.where(q >= kv, s, -float("inf")),
    "constant": lambda lib: lambda s, b, h, q, kv: (q * kv * 0.25),
}  # fmt: skip


@pytest.mark.parametrize("name", SCORES)
def test_scores(name):
    same(lambda lib, m, q, k, v: m.flex_attention(q, k, v, SCORES[name](lib)), arrays())


MASKS = {
    "causal": lambda m: causal,
    "and": lambda m: m.and_masks(causal, near),
    "or": lambda m: m.or_masks(causal, near, by_head),
    "noop": lambda m: m.noop_mask,
    "rows that see nothing": lambda m: lambda b, h, q, kv: (q > 1) & (kv < 3),
    "by head and batch": lambda m: by_head,
}


@pytest.mark.parametrize("name", MASKS)
def test_masks(name):
    def run(lib, m, q, k, v):
        mask = m.create_block_mask(MASKS[name](m), B, H, Q, KV, device="cpu")
        return m.flex_attention(q, k, v, block_mask=mask, scale=0.3)

    same(run, arrays())


def test_fewer_heads_of_keys():
    same(lambda lib, m, q, k, v: m.flex_attention(q, k, v, enable_gqa=True), arrays(heads=2))


def test_what_is_returned_besides():
    def run(lib, m, q, k, v):
        mask = m.create_block_mask(lambda b, h, i, j: i >= j + 1, None, None, Q, KV, device="cpu")
        return list(m.flex_attention(q, k, v, block_mask=mask, return_lse=True))

    same(run, arrays())

    def more(lib, m, q, k, v):
        aux = m.AuxRequest(lse=True, max_scores=True)
        out, found = m.flex_attention(q, k, v, return_aux=aux)
        return [out, found.lse, found.max_scores.detach()]

    same(more, arrays(), eager=False)  # which gives no largest scores on a CPU


@pytest.mark.parametrize("mod", [causal, near, by_head])
@pytest.mark.parametrize("block", [2, 128, (2, 3)])
def test_dense_masks_and_blocks(mod, block):
    for B_, H_ in ((None, None), (B, H)):
        args = (B_, H_, 6, 12)
        a = ours.create_mask(mod, *args, device="cpu")
        b = theirs.create_mask(mod, *args, device="cpu")
        assert a.tolist() == b.tolist()
        m = ours.create_block_mask(mod, *args, device="cpu", BLOCK_SIZE=block)
        n = theirs.create_block_mask(mod, *args, device="cpu", BLOCK_SIZE=block)
        assert m.to_dense().tolist() == n.to_dense().tolist()
        assert m.shape == tuple(n.shape)
        if block != 128:  # PyTorch counts the part of a block that is past the end
            covered = n.sparsity()
            assert m.sparsity() == pytest.approx(covered)


def test_a_score_makes_a_mask_too():
    def score(s, b, h, q, kv):
        return s.masked_fill(q < kv, -float("inf"))

    for m in (ours, theirs):
        assert m.create_mask(score, None, None, 3, 3, device="cpu").sum().item() == 6


REFUSED = {
    "dims": lambda t, m: m.flex_attention(t.ones(2, 3, 4), t.ones(2, 3, 4), t.ones(2, 3, 4)),
    "embedding": lambda t, m: m.flex_attention(
        t.ones(1, 1, 2, 3), t.ones(1, 1, 2, 4), t.ones(1, 1, 2, 4)),
    "heads": lambda t, m: m.flex_attention(
        t.ones(1, 4, 2, 3), t.ones(1, 2, 2, 3), t.ones(1, 2, 2, 3)),
    "mask": lambda t, m: m.flex_attention(
        t.ones(1, 1, 2, 3), t.ones(1, 1, 2, 3), t.ones(1, 1, 2, 3),
        block_mask=m.create_block_mask(causal, None, None, 200, 300, device="cpu")),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    for lib, m in ((gg, ours), (torch, theirs)):
        with pytest.raises((RuntimeError, ValueError, NotImplementedError)):
            REFUSED[name](lib, m)
