"""Suite ``kernels``: what generated kernels are for, forward and backward, in ms.

The column ``copy`` is a roof: the least bytes that the work must read and write, at the speed of
a large copy in the same run.  Forward reads x and writes y, backward reads x (or y) and the
gradient and writes one: five arrays.  A cross entropy reads its scores and writes their gradient;
a sum reads its input and writes the gradient; AdamW reads four arrays and writes three.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from benchmarks import jax_rows
from benchmarks.engines import Engine
from benchmarks.rows import Row, Work

_BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Sizes:
    """Shapes of the rows on one kind of device."""

    matrix: tuple[int, int]
    scores: tuple[int, int]
    summed: tuple[int, int]
    tensors: int
    elements: int
    dtypes: tuple[str, ...]


SIZES = {
    "cpu": Sizes((4096, 4096), (1024, 50304), (4096, 4096), 64, 256 << 10, ("float32",)),
    "cuda": Sizes((16384, 4096), (8192, 50304), (8192, 8192), 256, 1 << 20,
                  ("float32", "bfloat16")),
}  # fmt: skip


def gelu(torch: Any) -> Callable[[Any], Any]:
    """GELU by its tanh formula, written out in elementary ops."""
    return lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))


def there_and_back(engine: Engine, fn: Callable[[Any], Any], x: Any, g: Any) -> Callable[[], Any]:
    """Forward and backward; the gradient is the result."""

    def step() -> Any:
        x.grad = None
        fn(x).backward(g)
        return x.grad

    return step


def _matrix(name: str, shape: tuple[int, int], dtype: str, engine: Engine, seed: int) -> Work:
    f = engine.functional
    x = engine.normal(*shape, dtype=dtype, seed=2 * seed, grad=True)
    if name == "cross_entropy":
        classes = engine.whole(shape[1], shape[0], seed=seed)
        fn = engine.compiled(lambda x: f.cross_entropy(x, classes))
        return Work(there_and_back(engine, fn, x, None), engine.size([x]))
    fns: dict[str, Callable[[], Callable[[Any], Any]]] = {
        "gelu": lambda: engine.fused(gelu(engine.torch)),
        "softmax": lambda: engine.compiled(lambda x: f.softmax(x, -1)),
        "layer_norm": lambda: engine.compiled(lambda x: f.layer_norm(x, (shape[1],))),
        "sum": lambda: engine.compiled(lambda x: x.sum(0)),
    }
    out = (shape[1],) if name == "sum" else shape
    g = engine.normal(*out, dtype=dtype, seed=2 * seed + 1)
    return Work(there_and_back(engine, fns[name](), x, g), engine.size([x, g]))


def _adamw(sizes: Sizes, engine: Engine, seed: int) -> Work:
    torch, wanted = engine.torch, range(sizes.tensors)
    weights = [engine.normal(sizes.elements, seed=seed + i, grad=True) for i in wanted]
    for i, p in enumerate(weights):
        p.grad = engine.normal(sizes.elements, seed=seed + i + sizes.tensors)
    optimizer = torch.optim.AdamW(weights, fused=True)

    def step() -> Any:
        optimizer.step()
        return weights[0].detach()

    return Work(step, 4 * engine.size(weights))


def rows(device: str) -> list[Row]:
    """All rows of the suite."""
    s = SIZES[device]
    square, classes = "{}x{}".format(*s.matrix), "{}x{}".format(*s.scores)
    # Per row: name, title, shape, and how many such arrays are read and written.
    wanted = [
        ("gelu", f"GELU written out (fuse), {prod(s.matrix) >> 20}M", s.matrix, 5),
        ("layer_norm", f"layer_norm {square}", s.matrix, 5),
        ("softmax", f"softmax {square}", s.matrix, 5),
        ("cross_entropy", f"cross_entropy {classes}", s.scores, 2),
        ("sum", "sum over rows {}x{}".format(*s.summed), s.summed, 2),
    ]
    found = [
        Row(f"{title} {dtype}", functools.partial(_matrix, name, shape, dtype),
            functools.partial(jax_rows.matrix, name, shape, dtype),
            arrays * prod(shape) * _BYTES[dtype], dtype)
        for name, title, shape, arrays in wanted
        for dtype in (("float32",) if name == "sum" else s.dtypes)
    ]  # fmt: skip
    moved = 7 * 4 * s.tensors * s.elements
    found.append(Row(f"AdamW {s.tensors}x{s.elements >> 10}K, the update (torch: fused)",
                     functools.partial(_adamw, s),
                     functools.partial(jax_rows.adamw, s.tensors, s.elements), moved))  # fmt: skip
    return found
