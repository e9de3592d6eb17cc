"""What suite ``train`` runs: four models, written once over a module with PyTorch's names.

Each function takes that module (``gpugrad`` or ``torch``) and returns one training step: forward,
backward, update.  Data and weights come from one seed through NumPy, so that every engine works on
the same numbers, and ``GEMMS`` lists the matrix products that no engine avoids.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

Step = Callable[[], Any]

#: Per workload the forward products ``(m, k, n)``, how often each happens in a step, and which of
#: its two gradients (of the left factor, of the right) are wanted.
GEMMS: dict[str, list[tuple[int, int, int, int, str]]] = {
    "MLP, SGD": [(64, 784, 256, 1, "r"), (64, 256, 128, 1, "lr"), (64, 128, 10, 1, "lr")],
    "MLP, Adam": [(64, 784, 256, 1, "r"), (64, 256, 128, 1, "lr"), (64, 128, 10, 1, "lr")],
    "CNN, SGD": [(32, 27, 1024, 128, "l"), (64, 288, 256, 128, "lr"), (128, 4096, 10, 1, "lr")],
    "LSTM by hand, SGD": [(64, 256, 1024, 64, "r"), (64, 256, 1024, 64, "lr")],
    "char-GPT, AdamW": [
        (2048, 128, 384, 4, "lr"), (2048, 128, 128, 4, "lr"), (2048, 128, 512, 4, "lr"),
        (2048, 512, 128, 4, "lr"), (2048, 128, 96, 1, "lr"),
        (128, 32, 128, 256, "lr"), (128, 128, 32, 256, "lr"),
    ],
}  # fmt: skip


def _filled(torch: Any, parameters: Any) -> list[Any]:
    """Give parameters numbers that depend on their shapes and order alone."""
    random = np.random.default_rng(0)
    found = list(parameters)
    with torch.no_grad():
        for p in found:
            fan_in = int(np.prod(p.shape[1:])) if p.ndim > 1 else 1
            values = random.standard_normal(tuple(p.shape)) * (0.7 / np.sqrt(fan_in))
            p.copy_(torch.from_numpy(values.astype(np.float32)))
    return found


def _data(torch: Any, *shape: int) -> Any:
    values = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    return torch.from_numpy(values)


def _labels(torch: Any, count: int, *shape: int) -> Any:
    return torch.from_numpy(np.random.default_rng(2).integers(0, count, shape))


def _supervised(torch: Any, model: Any, optimizer: Any, x: Any, y: Any) -> Step:
    functional = _functional(torch)

    def step() -> Any:
        optimizer.zero_grad()
        logits = model(x)
        loss = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))
        loss.backward()
        optimizer.step()
        return loss

    return step


def _functional(torch: Any) -> Any:
    return importlib.import_module(f"{torch.__name__}.nn.functional")


def mlp(torch: Any, adam: bool) -> Step:
    """784-256-128-10, batch 64."""
    nn = torch.nn
    model = nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    weights = _filled(torch, model.parameters())
    optimizer = torch.optim.Adam(weights) if adam else torch.optim.SGD(weights, lr=0.01)
    return _supervised(torch, model, optimizer, _data(torch, 64, 784), _labels(torch, 10, 64))


def cnn(torch: Any) -> Step:
    """Two 3x3 convolutions (32 and 64 channels) with ReLU and pooling on 3x32x32, batch 128."""
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 8 * 8, 10),
    )  # fmt: skip
    weights = _filled(torch, model.parameters())
    optimizer = torch.optim.SGD(weights, lr=0.01, momentum=0.9)
    x, y = _data(torch, 128, 3, 32, 32), _labels(torch, 10, 128)
    return _supervised(torch, model, optimizer, x, y)


def lstm(torch: Any) -> Step:
    """An LSTM written in elementary ops: 64 steps, batch 64, 256 inputs, hidden size 256."""
    steps, batch, size = 64, 64, 256
    shapes = ((4 * size, size), (4 * size, size), (4 * size,), (10, size))
    weights = _filled(torch, [torch.nn.Parameter(torch.zeros(*s)) for s in shapes])
    w_input, w_hidden, bias, w_out = weights
    optimizer = torch.optim.SGD(weights, lr=0.01)
    x, y = _data(torch, steps, batch, size), _labels(torch, 10, batch)
    functional = _functional(torch)

    def step() -> Any:
        optimizer.zero_grad()
        h = c = torch.zeros(batch, size)
        for t in range(steps):
            gates = x[t] @ w_input.t() + h @ w_hidden.t() + bias
            i, f, g, o = gates.chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        loss = functional.cross_entropy(h @ w_out.t(), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _blocks(torch: Any, width: int, heads: int) -> Any:
    """One transformer block as a module: attention and a feed-forward part, norms before each."""
    nn, functional = torch.nn, _functional(torch)

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
                part.view(batch, length, heads, width // heads).transpose(1, 2)
                for part in (q, k, v)
            )
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.proj(y.transpose(1, 2).contiguous().view(batch, length, width))
            return x + self.down(functional.gelu(self.up(self.norm2(x))))

    return Block


def gpt(torch: Any) -> Step:
    """A GPT over 96 characters: 4 layers of width 128 with 4 heads, batch 16 of 128 characters."""
    nn = torch.nn
    vocabulary, length, width = 96, 128, 128
    block = _blocks(torch, width, 4)

    class Gpt(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Embedding(vocabulary, width)
            self.place = nn.Embedding(length, width)
            self.blocks = nn.Sequential(*(block() for _ in range(4)))
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, vocabulary)

        def forward(self, tokens: Any) -> Any:
            x = self.token(tokens) + self.place(torch.arange(tokens.shape[1]))
            return self.head(self.norm(self.blocks(x)))

    model = Gpt()
    weights = _filled(torch, model.parameters())
    optimizer = torch.optim.AdamW(weights, lr=3e-4)
    tokens = _labels(torch, vocabulary, 16, length + 1)
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    return _supervised(torch, model, optimizer, x, y)


WORKLOADS: dict[str, Callable[[Any], Step]] = {
    "MLP, SGD": lambda torch: mlp(torch, False),
    "MLP, Adam": lambda torch: mlp(torch, True),
    "CNN, SGD": cnn,
    "LSTM by hand, SGD": lstm,
    "char-GPT, AdamW": gpt,
}
