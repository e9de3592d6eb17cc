"""Suite ``ops``: single ops, forward and backward, in ms.

The gradient that flows in is random, and every input that can have a gradient has one.  On a GPU
batches are sixteen times as large.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from benchmarks.engines import Engine
from benchmarks.rows import Row, Work

#: An op: a function of the engine and of tensors, their shapes, and how large its integers are and
#: of what shape, which come last.
Spec = tuple[Callable[..., Any], list[tuple[int, ...]], tuple[int, tuple[int, ...]] | None]


def _specs(n: int) -> dict[str, Spec]:
    matrix, name = (4096 * n, 1024), f"{4096 * n}x1024"
    image, images = (32 * n, 64, 56, 56), f"{32 * n}x64x56x56"
    return {
        "matmul 1024x1024": (lambda e, a, b: a @ b, [(1024, 1024)] * 2, None),
        f"batched matmul {64 * n}x(128x64x128)": (
            lambda e, a: a @ a.transpose(1, 2), [(64 * n, 128, 64)], None),
        f"linear {name} to 1024": (_of("linear"), [matrix, (1024, 1024), (1024,)], None),
        f"conv2d 3x3, 64 channels, {32 * n}x56x56": (
            _of("conv2d", padding=1), [image, (64, 64, 3, 3)], None),
        f"max_pool2d 3x3 stride 2, {images}": (
            lambda e, x: e.functional.max_pool2d(x, 3, 2, 1), [image], None),
        f"avg_pool2d 2x2, {images}": (lambda e, x: e.functional.avg_pool2d(x, 2), [image], None),
        f"attention {16 * n}x8 heads, 256x32, causal": (
            lambda e, q: e.functional.scaled_dot_product_attention(q, q, q, is_causal=True),
            [(16 * n, 8, 256, 32)], None),
        f"embedding 20000x128, {16 * n}K words": (
            lambda e, w, i: e.functional.embedding(i, w), [(20_000, 128)],
            (20_000, (64 * n, 256))),
        f"softmax {name}": (lambda e, x: e.functional.softmax(x, -1), [matrix], None),
        f"layer_norm {name}": (
            lambda e, x, w, b: e.functional.layer_norm(x, (1024,), w, b),
            [matrix, (1024,), (1024,)], None),
        f"batch_norm in training {images}": (
            lambda e, x, w, b: e.functional.batch_norm(x, None, None, w, b, True),
            [image, (64,), (64,)], None),
        f"gelu {name}": (_of("gelu"), [matrix], None),
        f"cross_entropy {name}": (_of("cross_entropy"), [matrix], (1024, matrix[:1])),
        f"sum {name}": (lambda e, x: x.sum(), [matrix], None),
        f"sum over rows {name}": (lambda e, x: x.sum(0), [matrix], None),
        f"cumsum {name}": (lambda e, x: e.torch.cumsum(x, -1), [matrix], None),
        f"transpose and copy {name}": (lambda e, x: x.t().contiguous(), [matrix], None),
        f"cat of 4, {name}": (lambda e, x: e.torch.cat([x, x, x, x], 1), [matrix], None),
        f"gather {name}": (
            lambda e, x, i: e.torch.gather(x, 1, i), [matrix], (1024, (matrix[0], 64))),
    }  # fmt: skip


def _of(name: str, **settings: Any) -> Callable[..., Any]:
    return lambda e, *tensors: getattr(e.functional, name)(*tensors, **settings)


def _make(spec: Spec, engine: Engine, seed: int) -> Work:
    fn, shapes, integers = spec
    inputs = [engine.normal(*s, seed=10 * seed + i, grad=True) for i, s in enumerate(shapes)]
    more = [] if integers is None else [engine.whole(integers[0], *integers[1], seed=seed)]
    run = engine.compiled(lambda *tensors: fn(engine, *tensors))
    g = engine.normal(*run(*inputs, *more).shape, seed=10 * seed + 9)

    def step() -> Any:
        for t in inputs:
            t.grad = None
        run(*inputs, *more).backward(g)
        return inputs[0].grad

    return Work(step, engine.size([*inputs, *more, g]))


def rows(device: str) -> list[Row]:
    """All rows of the suite."""
    specs = _specs(16 if device == "cuda" else 1)
    return [Row(what, functools.partial(_make, spec)) for what, spec in specs.items()]
