"""Attention and transformers against PyTorch in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.nn import functional as F
from gpugrad.nn.attention import SDPBackend, sdpa_kernel

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.torch,
    # PyTorch tells of masks of two kinds, and of when its fast path is off.
    pytest.mark.filterwarnings("ignore:Support for mismatched", "ignore:enable_nested_tensor"),
]

rng = np.random.default_rng(4)
CAUSAL = np.triu(np.full((5, 5), -np.inf), 1)
PADDED = np.array([[0, 0, 0, 0, 0], [0, 0, 0, 1, 1], [0, 1, 0, 0, 1]], bool)


def pair(name: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """A PyTorch module and ours with the same weights, in float64."""
    theirs = getattr(torch.nn, name)(*args, **kwargs).double()
    ours = getattr(nn, name)(*args, **kwargs).double()
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert repr(theirs) == repr(ours)
    ours.load_state_dict({k: gg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    return theirs, ours


def results(lib: Any, function: Any, arrays: list[Any], parameters: Any, masks: dict[str, Any],
            order: int) -> list[Any]:  # fmt: skip
    """Values and gradients of random projections, up to ``order`` times."""
    draw = np.random.default_rng(5)
    tensors = [lib.tensor(a, requires_grad=True) for a in arrays]
    named = {k: lib.tensor(v) if isinstance(v, np.ndarray) else v for k, v in masks.items()}
    out = function(*tensors, **named)
    last = [o for o in out if o is not None] if isinstance(out, tuple) else [out]
    found = list(last)
    for _ in range(order):
        total = sum((o * lib.tensor(draw.normal(size=tuple(o.shape)))).sum() for o in last)
        last = list(lib.autograd.grad(total, [*tensors, *parameters], create_graph=order > 1))
        found += last
    return [f.detach().numpy() for f in found]


def compare(theirs: Any, ours: Any, arrays: list[Any], order: int = 1, **masks: Any) -> None:
    """Both give the same."""
    modules = isinstance(ours, nn.Module)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = results(torch, theirs, arrays, theirs.parameters() if modules else (), masks,
                           order)  # fmt: skip
    got = results(gg, ours, arrays, ours.parameters() if modules else (), masks, order)
    assert len(expected) == len(got)
    for e, g in zip(expected, got, strict=True):
        np.testing.assert_allclose(g, e, atol=1e-10)


def same(a: Any, b: Any) -> bool:
    return bool(np.allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-6))


def qkv(*shapes: tuple[int, ...]) -> list[Any]:
    return [rng.normal(size=s) for s in shapes]


HEADS = ((2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 7))
NOTHING = rng.random((4, 6)) < 0.5
NOTHING[0] = False


@pytest.mark.parametrize(
    ("shapes", "kwargs"),
    [
        (HEADS, {}), (HEADS, {"is_causal": True}), (HEADS, {"scale": 0.3}),
        (HEADS, {"attn_mask": NOTHING}), (HEADS, {"attn_mask": rng.random((2, 1, 4, 6)) < 0.5}),
        (HEADS, {"attn_mask": rng.normal(size=(3, 4, 6))}), (((4, 5), (6, 5), (6, 5)), {}),
        (((2, 6, 4, 5), (2, 3, 6, 5), (2, 2, 6, 7)), {"enable_gqa": True}),
        (((2, 3, 4, 5), (1, 3, 6, 5), (3, 6, 5)), {}),
        (((2, 3, 4, 5), (2, 3, 0, 5), (2, 3, 0, 7)), {}),
        (((40, 3, 64, 5), (40, 3, 64, 5), (40, 3, 64, 7)), {"is_causal": True}),
        (((9, 2, 2, 64, 5),) * 3, {"attn_mask": rng.random((1, 2, 1, 64, 64)) < 0.5}),
    ],
)  # fmt: skip
def test_attention(shapes: Any, kwargs: dict[str, Any]) -> None:
    """Masks, scale, shared heads, broadcasting, and sizes that are worked on in blocks."""
    order = 1 if 0 in shapes[1] else 2  # PyTorch's second derivative has no history there
    compare(torch.nn.functional.scaled_dot_product_attention, F.scaled_dot_product_attention,
            qkv(*shapes), order, **kwargs)  # fmt: skip


def test_a_mask_may_have_a_gradient() -> None:
    """A learnt bias of the scores."""
    theirs = torch.nn.functional.scaled_dot_product_attention
    compare(theirs, F.scaled_dot_product_attention, [*qkv(*HEADS), rng.normal(size=(3, 4, 6))], 2)


def test_attention_keeps_no_scores() -> None:
    """What the tape holds grows with the length, not with its square."""
    q = gg.randn(1, 1, 512, 4, requires_grad=True)
    node = F.scaled_dot_product_attention(q, q, q).grad_fn
    kept = [s for s in node.saved if hasattr(s, "shape")]
    assert sum(int(np.prod(tuple(s.shape))) for s in kept) <= 5 * 512 * 4


def test_dropout_of_attention_weights() -> None:
    """Dropped at the rate given, others scaled up, and drawn anew."""
    gg.manual_seed(0)
    q, v = gg.zeros(200, 1, 4), gg.eye(50).expand(200, 50, 50)
    weights = F.scaled_dot_product_attention(q, gg.zeros(200, 50, 4), v, dropout_p=0.25)
    assert abs(float((weights == 0).float().mean()) - 0.25) < 0.02
    assert abs(float(weights.max()) - 1 / 50 / 0.75) < 1e-6


@pytest.mark.parametrize("masks", [
    {}, {"key_padding_mask": PADDED}, {"attn_mask": CAUSAL}, {"attn_mask": CAUSAL < 0},
    {"attn_mask": CAUSAL, "key_padding_mask": PADDED},
    {"attn_mask": rng.normal(size=(6, 5, 5)), "key_padding_mask": PADDED},
    {"attn_mask": CAUSAL < 0, "key_padding_mask": PADDED}, {"attn_mask": CAUSAL, "is_causal": True},
    {"key_padding_mask": np.where(PADDED, -1.5, 0)},
])  # fmt: skip
@pytest.mark.parametrize("kwargs", [
    {}, {"bias": False}, {"kdim": 3, "vdim": 2}, {"add_bias_kv": True, "add_zero_attn": True},
    {"batch_first": True, "kdim": 3},
])  # fmt: skip
def test_multihead(kwargs: dict[str, Any], masks: dict[str, Any]) -> None:
    """Weights averaged, per head, and not asked for."""
    theirs, ours = pair("MultiheadAttention", 4, 2, **kwargs)
    lead = (3, 5) if ours.batch_first else (5, 3)
    arrays = qkv((*lead, 4), (*lead, ours.kdim), (*lead, ours.vdim))
    for more in ({}, {"need_weights": False}, {"average_attn_weights": False}):
        extended = "add_bias_kv" in kwargs and masks.get("is_causal") and more
        if not extended:  # PyTorch then forgets that two more keys may be seen
            compare(theirs, ours, arrays, **masks, **more)
    if not masks and not ours.batch_first:
        compare(theirs, ours, [a[:, 0].copy() for a in arrays])


def test_self_attention_is_one_projection() -> None:
    """Query, key and value that are one tensor give what three equal ones do."""
    theirs, ours = pair("MultiheadAttention", 4, 2)
    compare(lambda x: theirs(x, x, x), lambda x: ours(x, x, x), qkv((5, 3, 4)), 2)
    compare(lambda x, y: theirs(x, y, y), lambda x, y: ours(x, y, y), qkv((5, 3, 4), (6, 3, 4)), 2)


LAYER_KINDS: list[dict[str, Any]] = [
    {}, {"norm_first": True, "activation": "gelu", "batch_first": True}, {"bias": False},
]  # fmt: skip


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("kwargs", LAYER_KINDS)
def test_encoder(kwargs: dict[str, Any], train: bool) -> None:
    """A layer, and a stack of copies with a norm at the end."""
    for masks in ({}, {"mask": CAUSAL}, {"src_key_padding_mask": PADDED},
                  {"mask": CAUSAL, "is_causal": True}):  # fmt: skip
        theirs, ours = pair("TransformerEncoderLayer", 4, 2, 8, dropout=0.0, **kwargs)
        x = qkv((3, 5, 4) if kwargs.get("batch_first") else (5, 3, 4))
        theirs.train(train)
        ours.train(train)
        compare(theirs, ours, x, **{k.replace("mask", "src_mask") if k == "mask" else k: v
                                    for k, v in masks.items()})  # fmt: skip
        stacks = [torch.nn.TransformerEncoder(theirs, 2, torch.nn.LayerNorm(4).double(),
                                              enable_nested_tensor=False),
                  nn.TransformerEncoder(ours, 2, nn.LayerNorm(4).double())]  # fmt: skip
        assert list(stacks[0].state_dict()) == list(stacks[1].state_dict())
        compare(*stacks, x, **masks)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("kwargs", LAYER_KINDS)
def test_transformer(kwargs: dict[str, Any], train: bool) -> None:
    """Encoder and decoder together, with all masks."""
    theirs, ours = pair("Transformer", 4, 2, 2, 2, 8, dropout=0.0, **kwargs)
    theirs.train(train)
    ours.train(train)
    lead = ((3, 5), (3, 6)) if kwargs.get("batch_first") else ((5, 3), (6, 3))
    arrays = qkv(*((*s, 4) for s in lead))
    later = np.triu(np.full((6, 6), -np.inf), 1)
    for masks in ({}, {"tgt_mask": later, "src_mask": CAUSAL}, {
        "src_key_padding_mask": PADDED, "memory_key_padding_mask": PADDED, "tgt_mask": later,
        "tgt_is_causal": True,
    }):  # fmt: skip
        compare(theirs, ours, arrays, **masks)


def test_dropout_and_an_activation_of_ones_own() -> None:
    """Dropout acts in training only; a module may be the activation."""
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5, activation=nn.SiLU())
    assert isinstance(layer.get_submodule("activation"), nn.SiLU)
    x = gg.randn(5, 3, 4)
    assert not same(layer(x), layer(x))
    assert same(layer.eval()(x), layer(x))


def test_the_causal_mask() -> None:
    """Zeros up to the diagonal."""
    expected = torch.nn.Transformer.generate_square_subsequent_mask(4).numpy()
    got = nn.Transformer.generate_square_subsequent_mask(4)
    np.testing.assert_array_equal(got.numpy(), expected)
    assert nn.Transformer.generate_square_subsequent_mask(2, dtype=gg.float64).dtype is gg.float64


def test_the_choice_of_kernels_has_no_effect() -> None:
    """PyTorch's switch is accepted, one or several; nonsense is not."""
    q = gg.randn(2, 3, 4)
    expected = F.scaled_dot_product_attention(q, q, q)
    for choice in (SDPBackend.MATH, [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
        with sdpa_kernel(choice):
            assert same(F.scaled_dot_product_attention(q, q, q), expected)
    with pytest.raises(gg.errors.ArgumentError, match="SDPBackend"), sdpa_kernel("flash"):
        pass


def _attend(*shapes: tuple[int, ...], **kwargs: Any) -> Any:
    return lambda: F.scaled_dot_product_attention(*(gg.zeros(s) for s in shapes), **kwargs)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (_attend((4,), (4, 4), (4, 4)), gg.errors.ShapeError, r"\(\.\.\., L, E\)"),
        (_attend((3, 4), (5, 3), (5, 4)), gg.errors.ShapeError, "last dimension"),
        (_attend((3, 4), (5, 4), (6, 4)), gg.errors.ShapeError, "same length"),
        (_attend((3, 4), (5, 4), (5, 4), attn_mask=gg.zeros(4, 5)), gg.errors.ShapeError,
         r"\(4, 5\)"),
        (_attend((3, 4), (5, 4), (5, 4), attn_mask=gg.zeros(3, 5), is_causal=True),
         gg.errors.SettingError, "exclude"),
        (_attend((3, 4), (5, 4), (5, 4), dropout_p=1.5), gg.errors.SettingError, r"1\.5"),
        (_attend((4, 3, 4), (3, 5, 4), (3, 5, 4), enable_gqa=True), gg.errors.ShapeError, "heads"),
        (lambda: nn.MultiheadAttention(5, 2), gg.errors.SettingError, "divisible"),
        (lambda: nn.MultiheadAttention(4, 2)(*[gg.zeros(3, 2, 5)] * 3), gg.errors.ShapeError,
         "must be 4"),
        (lambda: nn.MultiheadAttention(4, 2)(*[gg.zeros(3, 2, 4)] * 3, is_causal=True),
         gg.errors.ArgumentError, "attn_mask"),
        (lambda: nn.TransformerEncoderLayer(4, 2, activation="swish"), gg.errors.SettingError,
         "swish"),
        (lambda: nn.Transformer(4, 2, 1, 1, 8)(gg.zeros(3, 2, 4), gg.zeros(3, 1, 4)),
         gg.errors.ShapeError, "agree in N"),
    ],
)  # fmt: skip
def test_bad_input(call: Any, error: type[Exception], words: str) -> None:
    """One error that shows both sides."""
    with pytest.raises(error, match=words):
        call()
