"""What models promise beside agreeing with PyTorch: settings, errors, generation, checkpoints."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import io, models, nn
from gpugrad.nn import functional as F

TINY = {"vocab_size": 11, "n_positions": 8, "n_embd": 16, "n_layer": 2, "n_head": 2}


def tokens(*shape: int) -> gg.Tensor:
    return gg.tensor(np.random.default_rng(1).integers(0, 11, shape))


@pytest.fixture
def gpt() -> models.GPT2:
    """A tiny GPT-2 in evaluation mode whose scores differ clearly."""
    gg.manual_seed(0)
    model = models.gpt2(**TINY).eval()
    with gg.no_grad():
        for p in model.parameters():
            p.mul_(10)
    return model


# ---- GPT-2 --------------------------------------------------------------------------------------


def test_a_token_does_not_see_those_after_it(gpt: models.GPT2) -> None:
    text = tokens(2, 8)
    other = text.clone()
    other[:, 5:] = (other[:, 5:] + 1) % 11
    same = gg.isclose(gpt(text), gpt(other)).all(-1)
    assert same.tolist() == [[True] * 5 + [False] * 3] * 2


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_fused_attention_changes_no_value(dropout: float) -> None:
    """Scores and gradients are those of attention by parts, without dropout; with it, the size."""
    results = []
    for fused in (True, False):
        gg.manual_seed(3)
        model = models.gpt2(**TINY, dropout=dropout, fused_attention=fused).double()
        scores = model(tokens(2, 8))
        scores.square().sum().backward()
        results.append([scores, *(p.grad for p in model.parameters())])
    for a, b in zip(*results, strict=True):
        assert a.shape == b.shape
        if not dropout:
            np.testing.assert_allclose(a.detach(), b.detach(), rtol=1e-9, atol=1e-12)


def test_dropout_is_for_training_only() -> None:
    model, text = models.gpt2(**TINY, dropout=0.5), tokens(1, 8)
    assert not gg.equal(model(text), model(text))
    model.eval()
    assert gg.equal(model(text), model(text))


def test_first_weights_are_as_in_the_paper() -> None:
    """0.02, and what writes into the residual stream by 1 / sqrt(2 layers) less; no biases."""
    gg.manual_seed(0)
    model = models.gpt2("gpt2-tiny", n_layer=2)
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            assert not p.any(), name
        elif ".ln_" in name or name.startswith("ln_"):
            assert (p == 1).all(), name
        else:
            std = 0.02 / math.sqrt(4) if "c_proj" in name else 0.02
            assert p.std().item() == pytest.approx(std, rel=0.05), name


def test_temperature_0_takes_the_likeliest_token_each_time(gpt: models.GPT2) -> None:
    """Also when the text is longer than the model's positions: it reads the last ones."""
    text = tokens(2, 3)
    found = gpt.generate(text, 9, temperature=0)
    assert found.shape == (2, 12)
    assert gg.equal(found[:, :3], text)
    for end in range(3, 12):
        scores = gpt(found[:, max(end - 8, 0) : end])[:, -1]
        assert gg.equal(found[:, end], scores.argmax(-1)), end


def test_a_seed_decides_what_is_drawn(gpt: models.GPT2) -> None:
    def draw(seed: int, **settings: Any) -> Any:
        generator = gg.Generator().manual_seed(seed)
        return gpt.generate(tokens(4, 2), 6, generator=generator, **settings).tolist()

    assert draw(1, temperature=5.0) == draw(1, temperature=5.0)
    assert draw(1, temperature=5.0) != draw(2, temperature=5.0)
    assert draw(1, temperature=1e-4) == draw(2, temperature=0) == draw(3, top_k=1)


def test_top_k_leaves_the_likeliest_tokens() -> None:
    """With near-uniform draws, just the three of the highest scores come up."""
    from gpugrad.models.gpt import _draw

    scores = gg.tensor([[0.0, 3.0, 1.0, 2.0, -1.0]]).expand(300, -1)
    generator = gg.Generator().manual_seed(0)
    drawn = _draw(scores, 100.0, 3, generator)
    assert drawn.shape == (300, 1)
    assert sorted(set(drawn.flatten().tolist())) == [1, 2, 3]
    everything = _draw(scores, 100.0, 9, generator)
    assert sorted(set(everything.flatten().tolist())) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("training", [True, False])
def test_generating_leaves_the_model_as_it_was(gpt: models.GPT2, training: bool) -> None:
    """Its mode comes back, no gradient is recorded, and dropout is off meanwhile."""
    gpt.train(training)
    found = [gpt.generate(tokens(1, 2), 4, temperature=0) for _ in range(2)]
    assert gg.equal(*found)
    assert not found[0].requires_grad
    assert [m.training for m in gpt.modules()] == [training] * len(list(gpt.modules()))
    with pytest.raises(IndexError):
        gpt.generate(gg.tensor([[99]]), 1)
    assert gpt.training is training


def hugging_face(model: models.GPT2) -> dict[str, Any]:
    """A state dict as ``GPT2LMHeadModel`` once saved it, masks and tied head included."""
    state = {f"transformer.{name}": value for name, value in model.state_dict().items()}
    for i in range(2):
        state[f"transformer.h.{i}.attn.bias"] = gg.ones(1, 1, 8, 8, dtype=gg.uint8).tril()
        state[f"transformer.h.{i}.attn.masked_bias"] = gg.tensor(-1e4)
    return {**state, "lm_head.weight": model.wte.weight.detach().clone()}


def test_checkpoints_of_hugging_face_load(gpt: models.GPT2, tmp_path: Path) -> None:
    """With and without the prefix, strictly, also through a safetensors file."""
    io.save_file(hugging_face(gpt), tmp_path / "model.safetensors")
    prefixed = io.load_file(tmp_path / "model.safetensors")
    bare = {name.removeprefix("transformer."): value for name, value in prefixed.items()}
    for state in (prefixed, bare, gpt.state_dict()):
        other = models.gpt2(**TINY).eval()
        before = list(state)
        assert not any(other.load_state_dict(state))
        assert list(state) == before
        assert gg.equal(other(tokens(1, 8)), gpt(tokens(1, 8)))


def test_a_head_of_its_own_is_refused(gpt: models.GPT2) -> None:
    state = hugging_face(gpt)
    state["lm_head.weight"] += 1
    with pytest.raises(ValueError, match=r"lm_head.weight differs from wte.weight"):
        gpt.load_state_dict(state)


def test_what_gpt2_lacks_is_still_noticed(gpt: models.GPT2) -> None:
    state = hugging_face(gpt)
    del state["transformer.h.1.mlp.c_fc.bias"]
    state["extra"] = gg.zeros(1)
    with pytest.raises(RuntimeError, match=r"(?s)extra.*h\.1\.mlp\.c_fc\.bias"):
        gpt.load_state_dict(state)


def test_gpt2_inside_another_module_loads(gpt: models.GPT2) -> None:
    """Names are those below the outer module's prefix."""
    outer = nn.ModuleDict({"net": models.gpt2(**TINY)})
    outer.load_state_dict({f"net.{name}": value for name, value in hugging_face(gpt).items()})
    assert gg.equal(outer["net"].wte.weight, gpt.wte.weight)


BUILT = {
    "resnet18": lambda **kw: models.resnet18(num_classes=3, width=2, **kw),
    "vgg11_bn": lambda **kw: models.vgg11_bn(num_classes=3, width=2, hidden=4, **kw),
    "vit_b_16": lambda **kw: models.vit_b_16(
        num_layers=1, num_heads=2, hidden_dim=4, mlp_dim=4, num_classes=3, **kw
    ),
    "gpt2": lambda **kw: models.gpt2(**TINY, **kw),
}


@pytest.mark.parametrize("kind", ["safetensors", "pt"])
@pytest.mark.parametrize("name", BUILT)
def test_weights_come_from_a_file(name: str, kind: str, tmp_path: Path) -> None:
    """``weights=`` takes a safetensors file or what ``save`` wrote."""
    model, file = BUILT[name](), tmp_path / f"weights.{kind}"
    with gg.no_grad():
        for p in model.parameters():
            p.add_(gg.randn_like(p))
    (io.save_file if kind == "safetensors" else gg.save)(model.state_dict(), file)
    loaded = BUILT[name](weights=file).state_dict()
    for key, value in model.state_dict().items():
        assert gg.equal(loaded[key], value), key


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    """The error lists what is missing; a missing file is the system's own error."""
    gg.save(models.MLP(4, (), 2).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(RuntimeError, match=r"layers\.1\.weight.*\n.*conv1\.weight"):
        models.resnet18(weights=tmp_path / "weights.pt", width=2)
    with pytest.raises(FileNotFoundError):
        models.resnet18(weights=tmp_path / "absent.pt", width=2)


# ---- the others ---------------------------------------------------------------------------------


def test_a_language_model_goes_on_from_its_state() -> None:
    """A text in two pieces gives what it gives as a whole."""
    gg.manual_seed(0)
    model, text = models.LSTMLanguageModel(11, 6, 8, 2).eval(), tokens(3, 7)
    whole, (h, c) = model(text)
    first, state = model(text[:, :4])
    second, last = model(text[:, 4:], state)
    assert whole.shape == (3, 7, 11)
    np.testing.assert_allclose(gg.cat([first, second], 1).detach(), whole.detach(), atol=1e-6)
    np.testing.assert_allclose(last[0].detach(), h.detach(), atol=1e-6)
    np.testing.assert_allclose(last[1].detach(), c.detach(), atol=1e-6)


def test_tied_weights_are_one_parameter() -> None:
    tied = models.LSTMLanguageModel(11, 8, 8, tie_weights=True)
    apart = models.LSTMLanguageModel(11, 8, 8)
    assert tied.decoder.weight is tied.encoder.weight
    assert len(list(apart.parameters())) == len(list(tied.parameters())) + 1
    assert list(tied.state_dict()) == list(apart.state_dict())


def test_the_loss_of_a_vae_is_the_bound() -> None:
    """Cross-entropy plus the divergence of two normal distributions, in NumPy."""
    rng = np.random.default_rng(2)
    logits, x, mean, logvar = (rng.normal(size=s) for s in ((3, 4), (3, 4), (3, 2), (3, 2)))
    x = 1 / (1 + np.exp(-x))
    p = 1 / (1 + np.exp(-logits))
    error = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum()
    std = np.exp(logvar / 2)
    divergence = (np.log(1 / std) + (std**2 + mean**2) / 2 - 0.5).sum()
    found = models.vae_loss(*(gg.tensor(a) for a in (logits, x.reshape(3, 2, 2), mean, logvar)))
    assert found.item() == pytest.approx(error + divergence, rel=1e-12)


def test_a_vae_draws_its_code() -> None:
    """From the given generator for samples; noise of its own, or what is passed, for codes."""
    gg.manual_seed(0)
    vae, x = models.VAE(12, 8, 3), gg.rand(2, 3, 4)
    noise = gg.randn(2, 3)
    assert not gg.equal(vae(x)[0], vae(x)[0])
    logits, mean, logvar = vae(x, noise)
    assert gg.equal(logits, vae.decode(mean + noise * (logvar / 2).exp()))
    first, again = (vae.sample(4, gg.Generator().manual_seed(7)) for _ in range(2))
    assert first.shape == (4, 12)
    assert gg.equal(first, again)
    assert ((first > 0) & (first < 1)).all()
    assert vae.double().sample(1).dtype == gg.float64


@pytest.mark.parametrize("size", [8, 16, 64])
def test_both_networks_of_a_dcgan_take_the_size(size: int) -> None:
    gg.manual_seed(0)
    made = models.DCGANGenerator(5, 4, 2, size)(gg.randn(2, 5, 1, 1))
    assert made.shape == (2, 2, size, size)
    assert (made.abs() <= 1).all()
    assert models.DCGANDiscriminator(4, 2, size)(made).shape == (2,)


def test_first_weights_of_a_dcgan_are_as_in_the_paper() -> None:
    gg.manual_seed(0)
    for model in (models.DCGANGenerator(width=16), models.DCGANDiscriminator(width=16)):
        for name, p in model.named_parameters():
            if p.ndim == 4:
                assert p.std().item() == pytest.approx(0.02, rel=0.1), name
            elif name.endswith("weight"):
                assert p.mean().item() == pytest.approx(1, abs=0.03), name
                assert 0.01 < p.std().item() < 0.03, name


@pytest.mark.parametrize("size", [28, 96])
@pytest.mark.parametrize("net", [models.LeNet5, models.ConvNet, models.MLP])
def test_images_of_digits_are_what_the_small_nets_take(net: Any, size: int) -> None:
    """28 x 28; another size is an error that shows both sizes."""
    model, x = net(), gg.randn(2, 1, size, size)
    if size == 28:
        assert model(x).shape == (2, 10)
    else:
        with pytest.raises(RuntimeError, match=str(next(
            m.in_features for m in model.modules() if isinstance(m, nn.Linear)
        ))):  # fmt: skip
            model(x)


def test_an_mlp_is_what_it_is_told() -> None:
    model = models.MLP(6, (), 3)
    assert [type(m).__name__ for m in model.layers] == ["Flatten", "Linear"]
    model = models.MLP(6, (5, 4), 3, activation=nn.Tanh, dropout=0.25)
    assert [type(m).__name__ for m in model.layers] == [
        "Flatten", "Linear", "Tanh", "Dropout", "Linear", "Tanh", "Dropout", "Linear",
    ]  # fmt: skip
    assert model.layers[3].p == 0.25
    assert model(gg.randn(2, 3, 2)).shape == (2, 3)


def test_a_block_that_starts_at_zero_passes_its_input() -> None:
    """``zero_init_residual``: what the block adds is zero."""
    for make in (models.resnet18, models.resnet50):
        model = make(num_classes=3, width=4, zero_init_residual=True).eval()
        x = gg.rand(1, model.layer1[1].conv1.in_channels, 4, 4)
        assert gg.equal(model.layer1[1](x), x)


def test_first_weights_of_image_models() -> None:
    """He's scale for convolutions and a head of zeros for the vision transformer."""
    gg.manual_seed(0)
    conv = models.resnet18(num_classes=2, width=16).layer1[0].conv1.weight
    assert conv.std().item() == pytest.approx(math.sqrt(2 / (16 * 9)), rel=0.1)
    vgg = models.vgg11(num_classes=2, width=16, hidden=64)
    assert vgg.classifier[0].weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not vgg.features[0].bias.any()
    vit = models.VisionTransformer(16, 4, 1, 2, 32, 64, num_classes=3)
    assert not vit.heads.head.weight.any()
    assert vit.conv_proj.weight.std().item() == pytest.approx(math.sqrt(1 / 48), rel=0.1)
    assert vit.encoder.pos_embedding.std().item() == pytest.approx(0.02, rel=0.15)


def test_older_names_of_the_vision_transformer_load() -> None:
    """Torchvision's checkpoints call the layers of the MLP ``linear_1`` and ``linear_2``."""
    model = models.VisionTransformer(8, 4, 2, 2, 8, 12, num_classes=3)
    older = {
        name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value * 2
        for name, value in model.state_dict().items()
    }
    expected = {name: value * 2 for name, value in model.state_dict().items()}
    assert not any(model.load_state_dict(older))
    for name, value in model.state_dict().items():
        assert gg.equal(value, expected[name]), name


REFUSED = {
    "unknown size": (lambda: models.gpt2("gpt3"), "'gpt3'; accepted: gpt2, gpt2-medium"),
    "heads": (lambda: models.gpt2(n_embd=10, n_head=4), "n_embd=10 .* n_head=4"),
    "text too long": (lambda: models.gpt2(**TINY)(tokens(1, 9)), "9 tokens .* 8 positions"),
    "empty text": (lambda: models.gpt2(**TINY).generate(tokens(1, 0), 1), r"\(1, 0\)"),
    "temperature": (
        lambda: models.gpt2(**TINY).generate(tokens(1, 1), 1, temperature=-1), "temperature=-1"
    ),
    "top_k": (lambda: models.gpt2(**TINY).generate(tokens(1, 1), 1, top_k=0), "top_k=0"),
    "tied sizes": (
        lambda: models.LSTMLanguageModel(5, 3, 4, tie_weights=True), "embedding_dim=3 .*=4"
    ),
    "patches": (lambda: models.vit_b_16(image_size=100), "image_size=100 .* patch_size=16"),
    "image of another size": (
        lambda: models.VisionTransformer(8, 4, 1, 1, 4, 4)(gg.zeros(1, 3, 8, 12)),
        r"\(8, 12\).*\(8, 8\)",
    ),
    "generator's image": (lambda: models.DCGANGenerator(image_size=24), "image_size=24"),
    "discriminator's image": (lambda: models.DCGANDiscriminator(image_size=4), "image_size=4"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_do_not_fit_are_refused(name: str) -> None:
    """With an error that shows what was given and what would do."""
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_small_gpt_learns_a_pattern() -> None:
    """Counting up is learnt in a few steps, and continued."""
    gg.manual_seed(0)
    model = models.gpt2(**TINY, dropout=0.0)
    optimizer = gg.optim.AdamW(model.parameters(), lr=1e-2)
    text = (gg.arange(8) + gg.arange(11)[:, None]) % 11
    for _ in range(60):
        loss = F.cross_entropy(model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert model.generate(gg.tensor([[3, 4]]), 5, temperature=0).tolist() == [[3, 4, 5, 6, 7, 8, 9]]


def test_the_example_of_the_docs_runs() -> None:
    """And gives the shapes that it speaks of."""
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")
    code = re.search(r"<!-- example:.*?-->\n```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(compile(code[1], "models.md", "exec"), names)
    assert names["scores"].shape == (4, 10)
    assert names["text"].shape == (1, 23)
    assert names["vit"](gg.zeros(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize(
    ("model", "count"),
    [("MLP", 235_146), ("LeNet5", 61_706), ("ConvNet", 80_250), ("VAE", 652_824),
     ("DCGANGenerator", 3_576_704), ("DCGANDiscriminator", 2_765_568)],
)  # fmt: skip
def test_small_models_have_the_size_that_the_docs_say(model: str, count: int) -> None:
    assert sum(p.numel() for p in getattr(models, model)().parameters()) == count
