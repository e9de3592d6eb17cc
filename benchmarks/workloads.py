"""What suite ``train`` runs: models written once over an engine with PyTorch's names.

Each function takes an ``Engine`` and returns one training step: forward, backward, update.  Data
and weights come from one seed through NumPy, so that every engine works on the same numbers, and
``GEMMS`` lists the matrix products that no engine avoids.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import jax_rows
from benchmarks.engines import Engine

Step = Callable[[], Any]

#: Forward products ``(m, k, n)``, how often each happens in a step, and which of its two gradients
#: (of the left factor, of the right) are wanted.
Products = list[tuple[int, int, int, int, str]]
_MLP: Products = [(64, 784, 256, 1, "r"), (64, 256, 128, 1, "lr"), (64, 128, 10, 1, "lr")]
GEMMS: dict[str, Products] = {
    "MLP, SGD": _MLP,
    "MLP, Adam": _MLP,
    "CNN, SGD": [(32, 27, 1024, 128, "l"), (64, 288, 256, 128, "lr"), (128, 4096, 10, 1, "lr")],
    "LSTM by hand, SGD": [(64, 256, 1024, 64, "r"), (64, 256, 1024, 64, "lr")],
    "char-GPT, AdamW": [
        (2048, 128, 384, 4, "lr"), (2048, 128, 128, 4, "lr"), (2048, 128, 512, 4, "lr"),
        (2048, 512, 128, 4, "lr"), (2048, 128, 96, 1, "lr"),
        (128, 32, 128, 256, "lr"), (128, 128, 32, 256, "lr"),
    ],
    # Without the products of its attention, which flash attention does otherwise.
    "GPT-2 124M, batch 32x1024, bf16": [
        (32768, 768, 2304, 12, "lr"), (32768, 768, 768, 12, "lr"), (32768, 768, 3072, 12, "lr"),
        (32768, 3072, 768, 12, "lr"), (32768, 768, 50304, 1, "lr"),
    ],
}  # fmt: skip


def scaled(shapes: Iterable[Sequence[int]]) -> list[np.ndarray[Any, Any]]:
    """Weights that depend on their shapes and order alone."""
    random = np.random.default_rng(0)
    found = []
    for shape in map(tuple, shapes):
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        values = random.standard_normal(shape) * (0.7 / np.sqrt(fan_in))
        found.append(values.astype(np.float32))
    return found


def _filled(torch: Any, parameters: Any) -> list[Any]:
    found = list(parameters)
    with torch.no_grad():
        for p, values in zip(found, scaled(p.shape for p in found), strict=True):
            p.copy_(torch.from_numpy(values))
    return found


def _supervised(engine: Engine, model: Any, optimizer: Any, x: Any, y: Any,
                half: bool = False) -> Step:  # fmt: skip
    """A step of a classifier; with ``half`` its products are in bfloat16, its weights float32."""
    model = engine.compiled(model)

    def step() -> Any:
        optimizer.zero_grad()
        low = engine.torch.autocast(engine.device, dtype=engine.torch.bfloat16)
        with low if half else contextlib.nullcontext():
            logits = model(x)
            loss = engine.functional.cross_entropy(
                logits.reshape(-1, logits.shape[-1]), y.reshape(-1)
            )
        loss.backward()
        optimizer.step()
        return loss

    return step


def mlp(engine: Engine, adam: bool) -> Step:
    """784-256-128-10, batch 64."""
    torch, nn = engine.torch, engine.torch.nn
    model = nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    ).to(engine.device)
    weights = _filled(torch, model.parameters())
    optimizer = torch.optim.Adam(weights) if adam else torch.optim.SGD(weights, lr=0.01)
    x, y = engine.normal(64, 784, seed=1), engine.whole(10, 64, seed=2)
    return _supervised(engine, model, optimizer, x, y)


def cnn(engine: Engine) -> Step:
    """Two 3x3 convolutions (32 and 64 channels) with ReLU and pooling on 3x32x32, batch 128."""
    nn = engine.torch.nn
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 8 * 8, 10),
    ).to(engine.device)  # fmt: skip
    weights = _filled(engine.torch, model.parameters())
    optimizer = engine.torch.optim.SGD(weights, lr=0.01, momentum=0.9)
    x, y = engine.normal(128, 3, 32, 32, seed=1), engine.whole(10, 128, seed=2)
    return _supervised(engine, model, optimizer, x, y)


def lstm(engine: Engine) -> Step:
    """An LSTM written in elementary ops: 64 steps, batch 64, 256 inputs, hidden size 256."""
    torch = engine.torch
    steps, batch, size = 64, 64, 256
    shapes = ((4 * size, size), (4 * size, size), (4 * size,), (10, size))
    zeros = [torch.zeros(*s, device=engine.device) for s in shapes]
    weights = _filled(torch, [torch.nn.Parameter(z) for z in zeros])
    w_input, w_hidden, bias, w_out = weights
    optimizer = torch.optim.SGD(weights, lr=0.01)
    x, y = engine.normal(steps, batch, size, seed=1), engine.whole(10, batch, seed=2)

    def forward(x: Any) -> Any:
        h = c = torch.zeros(batch, size, device=engine.device)
        for t in range(steps):
            gates = x[t] @ w_input.t() + h @ w_hidden.t() + bias
            i, f, g, o = gates.chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return h @ w_out.t()

    return _supervised(engine, forward, optimizer, x, y)


@dataclass(frozen=True)
class GptSize:
    """Sizes of a GPT; ``tied``: the head is the embedding, and GELU is the tanh formula."""

    vocabulary: int
    length: int
    width: int
    layers: int
    heads: int
    batch: int
    tied: bool
    half: bool


CHARACTERS = GptSize(96, 128, 128, 4, 4, 16, False, False)
GPT2 = GptSize(50304, 1024, 768, 12, 12, 32, True, True)


def _blocks(engine: Engine, size: GptSize) -> Any:
    """One transformer block as a module: attention and a feed-forward part, norms before each."""
    nn, functional, width = engine.torch.nn, engine.functional, size.width
    formula = {"approximate": "tanh"} if size.tied else {}

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            batch, length, _ = x.shape
            q, k, v = self.qkv(self.norm1(x)).split(width, dim=2)
            q, k, v = (
                part.view(batch, length, size.heads, width // size.heads).transpose(1, 2)
                for part in (q, k, v)
            )
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.proj(y.transpose(1, 2).contiguous().view(batch, length, width))
            return x + self.down(functional.gelu(self.up(self.norm2(x)), **formula))

    return Block


def gpt(engine: Engine, size: GptSize = CHARACTERS) -> Step:
    """A GPT; by default over 96 characters: 4 layers of width 128, batch 16 of 128 characters."""
    torch, nn = engine.torch, engine.torch.nn
    block = _blocks(engine, size)

    class Gpt(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Embedding(size.vocabulary, size.width)
            self.place = nn.Embedding(size.length, size.width)
            self.blocks = nn.Sequential(*(block() for _ in range(size.layers)))
            self.norm = nn.LayerNorm(size.width)
            self.head = nn.Linear(size.width, size.vocabulary, bias=not size.tied)
            if size.tied:
                self.head.weight = self.token.weight

        def forward(self, tokens: Any) -> Any:
            places = torch.arange(tokens.shape[1], device=engine.device)
            x = self.token(tokens) + self.place(places)
            return self.head(self.norm(self.blocks(x)))

    model = Gpt().to(engine.device)
    weights = _filled(torch, model.parameters())
    optimizer = torch.optim.AdamW(weights, lr=3e-4, fused=engine.cuda)
    tokens = engine.whole(size.vocabulary, size.batch, size.length + 1, seed=2)
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    return _supervised(engine, model, optimizer, x, y, half=size.half)


def resnet50(engine: Engine, batch: int = 256, side: int = 224) -> Step:
    """ResNet-50 (stride in the 3x3 convolution) on random images, channels last, bfloat16."""
    torch, nn = engine.torch, engine.torch.nn

    def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[Any]:
        layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        return [layer, nn.BatchNorm2d(outputs)]

    class Bottleneck(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            self.main = nn.Sequential(
                *conv(inputs, width, 1), nn.ReLU(), *conv(width, width, 3, stride), nn.ReLU(),
                *conv(width, 4 * width, 1),
            )  # fmt: skip
            same = stride == 1 and inputs == 4 * width
            self.side = nn.Sequential() if same else nn.Sequential(
                *conv(inputs, 4 * width, 1, stride))  # fmt: skip

        def forward(self, x: Any) -> Any:
            return engine.functional.relu(self.main(x) + self.side(x))

    layers, inputs = [*conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for nth in range(count):
            layers.append(Bottleneck(inputs, width, 1 if nth else stride))
            inputs = 4 * width
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))
    model = model.to(engine.device).to(memory_format=torch.channels_last)
    # Its norms begin as ones and zeros: with random ones it is so steep that roundings grow.
    norms = {
        id(p) for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()
    }
    _filled(torch, [p for p in model.parameters() if id(p) not in norms])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x = engine.normal(batch, 3, side, side, seed=1).contiguous(memory_format=torch.channels_last)
    return _supervised(engine, model, optimizer, x, engine.whole(1000, batch, seed=2), half=True)


@dataclass(frozen=True)
class Workload:
    """A model as a row: how a step is made, where, in JAX, and what one step works through."""

    make: Callable[[Engine], Step]
    devices: tuple[str, ...] = ("cpu", "cuda")
    jax: Callable[[Any, int], Any] | None = None
    items: tuple[int, str] = (0, "")
    dtype: str = "float32"


WORKLOADS: dict[str, Workload] = {
    "MLP, SGD": Workload(lambda e: mlp(e, False), jax=jax_rows.mlp),
    "MLP, Adam": Workload(lambda e: mlp(e, True)),
    "CNN, SGD": Workload(cnn),
    "LSTM by hand, SGD": Workload(lstm),
    "char-GPT, AdamW": Workload(gpt),
    # A step of these takes minutes on a CPU.
    "GPT-2 124M, batch 32x1024, bf16": Workload(
        lambda e: gpt(e, GPT2), ("cuda",), items=(32 * 1024, "tokens"), dtype="bfloat16"),
    "ResNet-50, batch 256, bf16": Workload(
        resnet50, ("cuda",), items=(256, "images"), dtype="bfloat16"),
}  # fmt: skip
