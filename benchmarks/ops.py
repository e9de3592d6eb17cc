"""Suite ``ops``: single large ops, forward and backward, in ms.

Engines take turns in one process; medians after a warm-up.  The gradient that flows in is random,
and every input that can have a gradient has one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.timing import median_ms


def _tensor(torch: Any, *shape: int, grad: bool = True) -> Any:
    values = np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)
    t = torch.from_numpy(values)
    return t.requires_grad_() if grad else t


def _whole(numbers: Any, torch: Any, high: int, *shape: int) -> Any:
    return torch.from_numpy(numbers.integers(0, high, shape))


def _ops(torch: Any) -> dict[str, tuple[Callable[..., Any], list[Any]]]:
    """Per row a function of tensors and its inputs."""
    f = importlib.import_module(f"{torch.__name__}.nn.functional")
    numbers = np.random.default_rng(0)
    matrix = _tensor(torch, 4096, 1024)
    images = _tensor(torch, 32, 64, 56, 56)
    classes = _whole(numbers, torch, 1024, 4096)
    words = _whole(numbers, torch, 20_000, 64, 256)
    square = _tensor(torch, 1024, 1024)
    lengths = _tensor(torch, 1024)
    batch = _tensor(torch, 64, 128, 64)
    heads = _tensor(torch, 16, 8, 256, 32)
    return {
        "matmul 1024x1024": (lambda a, b: a @ b, [square, _tensor(torch, 1024, 1024)]),
        "batched matmul 64x(128x64x128)": (lambda a: a @ a.transpose(1, 2), [batch]),
        "linear 4096x1024 to 1024": (f.linear, [matrix, square, lengths]),
        "conv2d 3x3, 64 channels, 32x56x56": (
            lambda x, w: f.conv2d(x, w, padding=1), [images, _tensor(torch, 64, 64, 3, 3)]),
        "max_pool2d 3x3 stride 2, 32x64x56x56": (lambda x: f.max_pool2d(x, 3, 2, 1), [images]),
        "avg_pool2d 2x2, 32x64x56x56": (lambda x: f.avg_pool2d(x, 2), [images]),
        "attention 16x8 heads, 256x32, causal": (
            lambda q: f.scaled_dot_product_attention(q, q, q, is_causal=True), [heads]),
        "embedding 20000x128, 16K words": (
            lambda w: f.embedding(words, w), [_tensor(torch, 20_000, 128)]),
        "softmax 4096x1024": (lambda x: f.softmax(x, -1), [matrix]),
        "layer_norm 4096x1024": (
            lambda x, w, b: f.layer_norm(x, (1024,), w, b),
            [matrix, lengths, _tensor(torch, 1024)]),
        "gelu 4096x1024": (f.gelu, [matrix]),
        "cross_entropy 4096x1024": (lambda x: f.cross_entropy(x, classes), [matrix]),
        "sum 4096x1024": (lambda x: x.sum(), [matrix]),
        "sum over rows 4096x1024": (lambda x: x.sum(0), [matrix]),
        "cumsum 4096x1024": (lambda x: torch.cumsum(x, -1), [matrix]),
        "transpose and copy 4096x1024": (lambda x: x.t().contiguous(), [matrix]),
        "cat of 4, 4096x1024": (lambda x: torch.cat([x, x, x, x], 1), [matrix]),
        "gather 4096x1024": (
            lambda x: torch.gather(x, 1, _whole(np.random.default_rng(0), torch, 1024, 4096, 64)),
            [matrix]),
    }  # fmt: skip


def _step(torch: Any, fn: Callable[..., Any], inputs: list[Any]) -> Callable[[], Any]:
    out = fn(*inputs)
    g = _tensor(torch, *out.shape, grad=False)

    def step() -> Any:
        for t in inputs:
            t.grad = None
        out = fn(*inputs)
        out.backward(g)
        return out

    return step


def run(against: list[str], repeats: int, threads: int) -> list[dict[str, Any]]:
    """All rows of the suite; ``repeats`` is in tenths of a second per op."""
    tables = {name: importlib.import_module(name) for name in ("gpugrad", *against)}
    made = {name: _ops(torch) for name, torch in tables.items()}
    rows: list[dict[str, Any]] = []
    for what in made["gpugrad"]:
        steps = {name: _step(tables[name], *ops[what]) for name, ops in made.items()}
        values = {name: step().detach().numpy() for name, step in steps.items()}
        for name, value in values.items():
            if not np.allclose(values["gpugrad"], value, rtol=1e-2, atol=1e-2):
                raise RuntimeError(f"{what}: {name} and gpugrad do not agree")
        found = median_ms(steps, repeats / 10)
        rows += [{"what": f"{what}: ms", "engine": k, "value": v} for k, v in found.items()]
    return rows
