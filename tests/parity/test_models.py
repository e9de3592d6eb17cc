"""Models against the same models in PyTorch: names, sizes, losses, gradients, trained weights.

A model's file uses gpugrad's public names only, so with ``torch`` written for ``gpugrad`` it is the
PyTorch model: its twin.  That the twins have the right architecture is shown apart: by the names
and shapes of torchvision's and Hugging Face's models, and by PyTorch's own transformer layer.
"""

from __future__ import annotations

import functools
import hashlib
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import models

torch = pytest.importorskip("torch")

FOLDER = Path(models.__file__).parent
#: Largest difference, as a share of a tensor's largest value.  Measured: 1e-4 and 7e-13, which is
#: what PyTorch itself gives when its weights are changed by a unit in the last place.
TOLERANCES = {"float32": 1e-3, "float64": 1e-11}


@functools.cache
def twin(file: str) -> Any:
    """A model file as a PyTorch user would have written it."""
    source = re.sub(r"\bgpugrad\b", "torch", (FOLDER / f"{file}.py").read_text("utf-8"))
    module = types.ModuleType(f"twin_{file}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(source, f"{file}.py", "exec"), module.__dict__)
    return module


class Case(NamedTuple):
    """How to make a small model, a batch for it, and its loss."""

    file: str
    make: Callable[[Any], Any]  # of the file as a module
    batch: Callable[[np.random.Generator], list[Any]]
    loss: Callable[[Any, Any, Any, list[Any]], Any]  # library, file, model, batch


def images(size: int, channels: int = 3, count: int = 4) -> Callable[..., list[Any]]:
    """Images with labels 0 to 4."""
    shape = (count, channels, size, size)
    return lambda rng: [rng.normal(size=shape), rng.integers(0, 5, count)]


def texts(vocabulary: int, length: int, count: int = 3) -> Callable[..., list[Any]]:
    """Texts of tokens."""
    return lambda rng: [rng.integers(0, vocabulary, (count, length))]


def classified(lib: Any, file: Any, model: Any, batch: list[Any]) -> Any:
    return lib.nn.functional.cross_entropy(model(batch[0]), batch[1])


def next_token(lib: Any, file: Any, model: Any, batch: list[Any]) -> Any:
    (tokens,) = batch
    scores = model(tokens[:, :-1])
    scores = scores[0] if isinstance(scores, tuple) else scores
    return lib.nn.functional.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten())


def bound(lib: Any, file: Any, model: Any, batch: list[Any]) -> Any:
    x, noise = batch
    logits, mean, log_variance = model(x, noise)
    return file.vae_loss(logits, x, mean, log_variance)


def called_real(lib: Any, file: Any, model: Any, batch: list[Any]) -> Any:
    logits = model(batch[0])
    return lib.nn.functional.binary_cross_entropy_with_logits(logits, lib.ones_like(logits))


def distance(lib: Any, file: Any, model: Any, batch: list[Any]) -> Any:
    return lib.nn.functional.mse_loss(model(batch[0]), batch[1])


TINY_GPT = {"vocab_size": 17, "n_positions": 12, "n_embd": 16, "n_layer": 2, "n_head": 2,
            "dropout": 0.0}  # fmt: skip
# The deep residual networks start with blocks that add next to nothing.  Otherwise, at this width,
# a rounding grows by 1e5 in a step, and nothing can be compared.
CASES = {
    "MLP": Case("mlp", lambda m: m.MLP(48, (20, 10), 5), images(4), classified),
    "LeNet5": Case("convnet", lambda m: m.LeNet5(5), images(28, 1), classified),
    "ConvNet": Case(
        "convnet", lambda m: m.ConvNet(5, width=4, hidden=12, dropout=0.0), images(28, 1),
        classified,
    ),
    "resnet18": Case(
        "resnet", lambda m: m.resnet18(num_classes=5, width=4), images(64), classified
    ),
    "resnet34": Case(
        "resnet", lambda m: m.resnet34(num_classes=5, width=4, zero_init_residual=True),
        images(64), classified,
    ),
    "resnet50": Case(
        "resnet", lambda m: m.resnet50(num_classes=5, width=4, zero_init_residual=True),
        images(64), classified,
    ),
    "vgg11": Case(
        "vgg", lambda m: m.vgg11(num_classes=5, width=4, hidden=16, dropout=0.0), images(32),
        classified,
    ),
    "vgg16_bn": Case(
        "vgg", lambda m: m.vgg16_bn(num_classes=5, width=4, hidden=16, dropout=0.0), images(64),
        classified,
    ),
    "vit": Case(
        "vit", lambda m: m.VisionTransformer(16, 4, 2, 2, 16, 24, num_classes=5), images(16),
        classified,
    ),
    "lstm": Case(
        "lstm", lambda m: m.LSTMLanguageModel(17, 10, 12, 2, dropout=0.0), texts(17, 8),
        next_token,
    ),
    "lstm-tied": Case(
        "lstm", lambda m: m.LSTMLanguageModel(17, 12, 12, 1, tie_weights=True, dropout=0.0),
        texts(17, 8), next_token,
    ),
    "gpt2": Case("gpt", lambda m: m.gpt2(**TINY_GPT), texts(17, 12), next_token),
    "gpt2-by-parts": Case(
        "gpt", lambda m: m.gpt2(**TINY_GPT, fused_attention=False), texts(17, 12), next_token
    ),
    "VAE": Case(
        "vae", lambda m: m.VAE(36, 20, 4),
        lambda rng: [rng.uniform(size=(5, 1, 6, 6)), rng.normal(size=(5, 4))], bound,
    ),
    "DCGAN-generator": Case(
        "dcgan", lambda m: m.DCGANGenerator(6, 4, 2, 32),
        lambda rng: [rng.normal(size=(4, 6, 1, 1)), rng.uniform(-1, 1, (4, 2, 32, 32))], distance,
    ),
    "DCGAN-discriminator": Case(
        "dcgan", lambda m: m.DCGANDiscriminator(4, 2, 32), images(32, 2), called_real
    ),
}  # fmt: skip

# A large eps: some gradients are 0 but for rounding, as that of a bias before a batch norm, and
# Adam would make steps of full size out of the rounding.
OPTIMIZERS = {
    "SGD": lambda lib, p: lib.optim.SGD(p, lr=0.02, momentum=0.9),
    "AdamW": lambda lib, p: lib.optim.AdamW(p, lr=0.01, eps=1e-2),
}


def stirred(model: Any) -> Any:
    """A PyTorch model with noise on its parameters, so that none is all zeros or ones."""
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.from_numpy(rng.normal(size=p.shape)), alpha=0.02)
    return model


def pair(case: Case, dtype: str) -> tuple[Any, Any]:
    """A PyTorch model in training mode, and ours with the same weights, names and ``repr``."""
    torch.manual_seed(0)
    theirs = stirred(case.make(twin(case.file))).to(getattr(torch, dtype))
    ours = case.make(vars(models)[case.file]).to(getattr(gg, dtype))
    assert repr(ours) == repr(theirs)
    state = {name: gg.tensor(value.numpy()) for name, value in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    return theirs, ours


def tensors(lib: Any, arrays: list[Any], dtype: str) -> list[Any]:
    return [lib.tensor(a, dtype=getattr(lib, dtype) if a.dtype == float else None) for a in arrays]


def assert_same(ours: dict[str, Any], theirs: dict[str, Any], tolerance: float) -> None:
    """The same names, and values that differ by a share of the tensor's largest value at most.

    What is a thousand times smaller than the largest of all is held to that size.
    """
    assert list(ours) == list(theirs)
    arrays = {name: value.detach().numpy() for name, value in theirs.items()}
    least = max(np.abs(a).max() for a in arrays.values()) / 1000
    for name, expected in arrays.items():
        got = ours[name].detach().numpy()
        assert got.dtype == expected.dtype, name
        bound = tolerance * max(np.abs(expected).max(), least)
        np.testing.assert_allclose(got, expected, rtol=0, atol=bound, err_msg=name)


def gradients(model: Any) -> dict[str, Any]:
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", CASES)
def test_training_goes_as_in_pytorch(name: str, dtype: str, optimizer: str) -> None:
    """Same weights and batches: same loss, every gradient, and state after three steps.

    The state has the running statistics of batch norms.
    """
    case, tolerance = CASES[name], TOLERANCES[dtype]
    theirs, ours = pair(case, dtype)
    optimizers = [OPTIMIZERS[optimizer](lib, model.parameters())
                  for lib, model in ((torch, theirs), (gg, ours))]  # fmt: skip
    files = twin(case.file), vars(models)[case.file]
    # Numbers with which no input of a relu is so near zero that rounding decides its sign.
    rng = np.random.default_rng(3)
    for step in range(3):
        arrays = case.batch(rng)
        losses = []
        for lib, file, model, update in zip((torch, gg), files, (theirs, ours), optimizers):
            losses.append(case.loss(lib, file, model, tensors(lib, arrays, dtype)))
            update.zero_grad()
            losses[-1].backward()
        assert losses[1].item() == pytest.approx(losses[0].item(), rel=tolerance)
        if step == 0:
            assert_same(gradients(ours), gradients(theirs), tolerance)
        for update in optimizers:
            update.step()
    assert_same(dict(ours.state_dict()), dict(theirs.state_dict()), tolerance)


# Deep stacks of batch norms are left out: they make of bfloat16's rounding whatever they like.
@pytest.mark.parametrize("name", [n for n in CASES if not n.startswith("resnet") and "bn" not in n])
def test_mixed_precision_goes_as_in_pytorch(name: str) -> None:
    """Under autocast to bfloat16, loss and gradients agree as far as its rounding lets them."""
    case = CASES[name]
    models_, files = pair(case, "float32"), (twin(case.file), vars(models)[case.file])
    arrays, found = case.batch(np.random.default_rng(8)), []
    for lib, file, model in zip((torch, gg), files, models_):
        with lib.autocast("cpu", dtype=lib.bfloat16):
            loss = case.loss(lib, file, model, tensors(lib, arrays, "float32"))
        loss.backward()
        found.append({"loss": loss, **gradients(model)})
    assert found[1].pop("loss").item() == pytest.approx(found[0].pop("loss").item(), rel=1e-3)
    assert_same(found[1], found[0], 0.1)


@pytest.mark.parametrize("file", sorted(p.stem for p in FOLDER.glob("[!_]*.py")))
def test_every_file_is_a_pytorch_program(file: str) -> None:
    """It imports what PyTorch has under the same names, and runs with it."""
    assert twin(file).__doc__
    source = (FOLDER / f"{file}.py").read_text("utf-8")
    assert set(re.findall(r"(?:from|import) (gpugrad[\w.]*)", source)) <= {"gpugrad", "gpugrad.nn"}


def test_the_digits_network_is_the_same_in_pytorch() -> None:
    """It is no module: its parameters are a dict."""
    theirs, ours = twin("digits").DigitsCNN(), models.DigitsCNN()
    for name, p in theirs.parameters.items():
        ours.parameters[name] = gg.tensor(p.detach().numpy(), requires_grad=True)
    x = np.random.default_rng(7).uniform(size=(3, 1, 8, 8)).astype("float32")
    grads = []
    for lib, model in ((torch, theirs), (gg, ours)):
        model(lib.tensor(x)).square().sum().backward()
        grads.append({name: p.grad for name, p in model.parameters.items()})
    assert_same(grads[1], grads[0], 1e-4)


@pytest.mark.parametrize("name", ["ConvNet", "resnet50", "vgg16_bn", "DCGAN-generator"])
def test_evaluation_goes_as_in_pytorch(name: str) -> None:
    """In evaluation mode batch norms use what they have gathered, alike in both."""
    case = CASES[name]
    theirs, ours = pair(case, "float64")
    results = []
    for lib, model in ((torch, theirs), (gg, ours)):
        rng = np.random.default_rng(3)
        model(tensors(lib, case.batch(rng), "float64")[0])
        with lib.no_grad():
            results.append(model.eval()(tensors(lib, case.batch(rng), "float64")[0]))
    assert_same({"scores": results[1]}, {"scores": results[0]}, 1e-11)


#: Number of parameters, and a digest of the state dict's names and shapes, of the published
#: models: of torchvision 0.28.0, and of transformers 4.57.6's GPT2Model.
PUBLISHED = {
    "resnet18": (11_689_512, "761022b221a39ceb"),
    "resnet34": (21_797_672, "1a060acae7a42530"),
    "resnet50": (25_557_032, "3fa57287149b51c4"),
    "resnet101": (44_549_160, "0e9191dd134cb07d"),
    "resnet152": (60_192_808, "47360b6062c7afaa"),
    "vgg11": (132_863_336, "a4a2a4a84e73de05"),
    "vgg13": (133_047_848, "9dc9518e7646fe47"),
    "vgg16": (138_357_544, "6f36a6fd49b61819"),
    "vgg19": (143_667_240, "e05a894c9ad13251"),
    "vgg11_bn": (132_868_840, "6aaf84aad4159200"),
    "vgg13_bn": (133_053_736, "9a11dd9903f0e3cf"),
    "vgg16_bn": (138_365_992, "5f99e428d932f79e"),
    "vgg19_bn": (143_678_248, "4c042cc97e1d6342"),
    "vit_b_16": (86_567_656, "71b16a3b8dc241da"),
    "vit_b_32": (88_224_232, "2250913734da79e3"),
    "vit_l_16": (304_326_632, "621baca3950300fb"),
    "vit_l_32": (306_535_400, "f5d07f22f38310d1"),
    "vit_h_14": (632_045_800, "9e1cd5e1f66ba114"),
    "gpt2": (124_439_808, "fc811e2c1f11b4c2"),
    "gpt2-medium": (354_823_168, "e6a4724ab01bea9a"),
    "gpt2-large": (774_030_080, "8e4a5cb9c63bf2e5"),
    "gpt2-xl": (1_557_611_200, "92902cfe6e7768a0"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_are_the_published_ones(name: str) -> None:
    """The twin at full size, without memory, has the state dict of the published model."""
    family = next(f for f in ("resnet", "vgg", "vit", "gpt") if name.startswith(f))
    with torch.device("meta"):
        model = twin("gpt").gpt2(name) if family == "gpt" else getattr(twin(family), name)()
    shapes = "".join(f"{k} {tuple(v.shape)}\n" for k, v in model.state_dict().items())
    digest = hashlib.sha256(shapes.encode()).hexdigest()[:16]
    assert (sum(p.numel() for p in model.parameters()), digest) == PUBLISHED[name]


def test_a_file_of_pytorch_loads(tmp_path: Path) -> None:
    """What ``torch.save`` wrote, with the counts of batches that batch norms keep."""
    theirs = stirred(twin("resnet").resnet18(num_classes=3, width=2))
    theirs(torch.randn(2, 3, 32, 32))
    torch.save(theirs.state_dict(), tmp_path / "resnet.pth")
    ours = models.resnet18(weights=tmp_path / "resnet.pth", num_classes=3, width=2)
    assert ours.bn1.num_batches_tracked.item() == 1
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name].numpy(), value.numpy())


def layer(width: int, heads: int, inner: int, eps: float, activation: Any, state: Any) -> Any:
    """PyTorch's own transformer layer, with the weights of a block."""
    made = torch.nn.TransformerEncoderLayer(
        width, heads, inner, 0.0, activation, eps, batch_first=True, norm_first=True
    ).double()
    state = {name: torch.from_numpy(value.detach().numpy()) for name, value in state.items()}
    made.load_state_dict(state)
    return made


def test_a_block_of_gpt2_is_pytorchs_layer_with_a_causal_mask() -> None:
    """The architecture of a block against PyTorch's; GPT-2's weights are the other way round."""
    _, ours = pair(CASES["gpt2"], "float64")
    names = {
        "self_attn.in_proj_": "attn.c_attn.", "self_attn.out_proj.": "attn.c_proj.",
        "linear1.": "mlp.c_fc.", "linear2.": "mlp.c_proj.", "norm1.": "ln_1.", "norm2.": "ln_2.",
    }  # fmt: skip
    own = ours.h[0].state_dict()
    state = {t + part: own[g + part].T if own[g + part].ndim == 2 else own[g + part]
             for t, g in names.items() for part in ("weight", "bias")}  # fmt: skip
    theirs = layer(16, 2, 64, 1e-5, functools.partial(torch.nn.functional.gelu, approximate="tanh"),
                   state)  # fmt: skip
    x = np.random.default_rng(4).normal(size=(3, 12, 16))
    mask = torch.nn.Transformer.generate_square_subsequent_mask(12, dtype=torch.float64)
    expected = theirs(torch.from_numpy(x), mask)
    np.testing.assert_allclose(ours.h[0](gg.tensor(x)).detach(), expected.detach(), atol=1e-12)


def test_a_block_of_the_vision_transformer_is_pytorchs_layer() -> None:
    """The architecture of a block against PyTorch's."""
    _, ours = pair(CASES["vit"], "float64")
    block = ours.encoder.layers.encoder_layer_0
    names = {"self_attention.": "self_attn.", "mlp.0.": "linear1.", "mlp.3.": "linear2.",
             "ln_1.": "norm1.", "ln_2.": "norm2."}  # fmt: skip
    state = {}
    for name, value in block.state_dict().items():
        for own, other in names.items():
            name = name.replace(own, other)
        state[name] = value
    theirs = layer(16, 2, 24, 1e-6, "gelu", state)
    x = np.random.default_rng(5).normal(size=(3, 17, 16))
    expected = theirs(torch.from_numpy(x))
    np.testing.assert_allclose(block(gg.tensor(x)).detach(), expected.detach(), atol=1e-12)


def test_gpt2_continues_a_text_as_in_pytorch() -> None:
    """The likeliest tokens are the same, also beyond the positions that the model has."""
    theirs, ours = pair(CASES["gpt2"], "float64")
    tokens = np.random.default_rng(6).integers(0, 17, (2, 5))
    results = [
        model.generate(lib.tensor(tokens), 12, temperature=0).tolist()
        for lib, model in ((torch, theirs), (gg, ours))
    ]
    assert results[0] == results[1]
    assert len({*results[0][0], *results[0][1]}) > 3  # the model says something
