"""Suite ``kernels``: what generated kernels are for, forward and backward, in ms.

Engines take turns in one process; medians after a warm-up, in which kernels are compiled.  The
column ``copy`` is a roof: the least bytes that the work must read and write, at the speed at which
one thread of NumPy copies a large array in the same run.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from benchmarks.timing import median_ms

MATRIX = (4096, 4096)
TENSORS, SIDE = 64, 512
_ROWS = ("GELU written out (gpugrad.fuse), 16M", "softmax 4096x4096", "layer_norm 4096x4096",
         "AdamW 64x256K (torch fused), the update")  # fmt: skip


def _tensor(torch: Any, *shape: int, seed: int = 0) -> Any:
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return torch.from_numpy(values)


def gelu(torch: Any) -> Callable[[Any], Any]:
    """GELU by its tanh formula, written out in elementary ops."""
    return lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))


def _there_and_back(torch: Any, fn: Callable[[Any], Any]) -> Callable[[], Any]:
    x, g = _tensor(torch, *MATRIX).requires_grad_(), _tensor(torch, *MATRIX, seed=1)

    def step() -> Any:
        x.grad = None
        fn(x).backward(g)
        return x.grad

    return step


def _adamw(torch: Any, **settings: Any) -> Callable[[], Any]:
    parameters = [_tensor(torch, SIDE, SIDE, seed=i).requires_grad_() for i in range(TENSORS)]
    for i, p in enumerate(parameters):
        p.grad = _tensor(torch, SIDE, SIDE, seed=-i - 1 + 2**20)
    optimizer = torch.optim.AdamW(parameters, **settings)

    def step() -> Any:
        optimizer.step()
        return parameters[0].detach()

    return step


def _calls(torch: Any) -> dict[str, Callable[[], Any]]:
    """Per row what is timed."""
    f = importlib.import_module(f"{torch.__name__}.nn.functional")
    ours = torch.__name__ == "gpugrad"
    written_out = torch.fuse(gelu(torch)) if ours else gelu(torch)
    calls = (
        _there_and_back(torch, written_out),
        _there_and_back(torch, lambda x: f.softmax(x, -1)),
        _there_and_back(torch, lambda x: f.layer_norm(x, (MATRIX[1],))),
        _adamw(torch, **({} if ours else {"fused": True})),
    )
    return dict(zip(_ROWS, calls, strict=True))


def _copies(seconds: float) -> dict[str, float]:
    """The roof of each row, in ms: arrays that must be read or written, two to a copy."""
    a = np.ones(MATRIX, np.float32)
    b = np.empty_like(a)
    one = median_ms({"copy": lambda: np.copyto(b, a)}, seconds)["copy"]
    share = TENSORS * SIDE * SIDE / prod(MATRIX)
    # Forward reads x and writes y; backward reads g and x (or y), and writes the gradient.
    return dict(zip(_ROWS, (2.5 * one, 2.5 * one, 2.5 * one, 3.5 * one * share), strict=True))


def run(against: list[str], repeats: int, threads: int) -> list[dict[str, Any]]:
    """All rows of the suite; ``repeats`` is in tenths of a second per engine and row."""
    made = {name: _calls(importlib.import_module(name)) for name in ("gpugrad", *against)}
    if "torch" in made:
        torch = importlib.import_module("torch")
        compiled = torch.compile(gelu(torch))
        made["torch.compile"] = {_ROWS[0]: _there_and_back(torch, compiled)}
    roofs = _copies(repeats / 10)
    rows: list[dict[str, Any]] = []
    for what in _ROWS:
        steps = {name: calls[what] for name, calls in made.items() if what in calls}
        values = {name: step().numpy() for name, step in steps.items()}
        for name, value in values.items():
            if not np.allclose(values["gpugrad"], value, rtol=1e-3, atol=1e-4):
                raise RuntimeError(f"{what}: {name} and gpugrad do not agree")
        found = {**median_ms(steps, repeats / 10), "copy": roofs[what]}
        rows += [{"what": f"{what}: ms", "engine": k, "value": v} for k, v in found.items()]
    return rows
