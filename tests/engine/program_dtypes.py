"""Steps of random programs on tensors of mixed dtypes: promotion, casts, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.engine.program_values import fits, shape_of, total_of
from tests.engine.programs import Choices, Table, numbers

STEPS: Table = {}

DTYPES = ("float64", "float32", "int64", "int32", "uint8", "bool")


def step(fn: Any) -> Any:
    STEPS[fn.__name__] = fn
    return fn


def start(lib: Any) -> list[Any]:
    """One tensor of each dtype, and 0-d ones, which promote differently."""
    shapes = [(2, 3), (3,), (2, 3), (3,), (2, 1), (2, 3)]
    pool = [
        lib.tensor(np.round(numbers(shape, 10 * i) * 4).tolist(), dtype=lib.float64)
        .abs().to(getattr(lib, name))
        for i, (shape, name) in enumerate(zip(shapes, DTYPES, strict=True))
    ]  # fmt: skip
    pool[0].requires_grad_()
    pool[1].requires_grad_()
    return [*pool, lib.tensor(2), lib.tensor(1.5), lib.tensor(True)]


def _number(c: Choices) -> Any:
    return c.of([2, 3, 1.5, True, 0.25])


BINARY = {
    "add": lambda lib, a, b: a + b,
    "mul": lambda lib, a, b: a * b,
    "sub": lambda lib, a, b: a - b,
    "div": lambda lib, a, b: a / (b + 1),
    "floor_divide": lambda lib, a, b: a // (b + 7),
    "remainder": lambda lib, a, b: a % (b + 7),
    "pow": lambda lib, a, b: a ** abs(b),
    "maximum": lambda lib, a, b: lib.maximum(a, b),
    "atan2": lambda lib, a, b: lib.atan2(a, b + 1),
    "fmod": lambda lib, a, b: lib.fmod(a, b + 7),
    "gt": lambda lib, a, b: a > b,
    "eq": lambda lib, a, b: a == b,
    "and": lambda lib, a, b: a & b,
    "or": lambda lib, a, b: a | b,
    "xor": lambda lib, a, b: a ^ b,
    "shift": lambda lib, a, b: a << 1,
    "logical_and": lambda lib, a, b: lib.logical_and(a, b),
    "where": lambda lib, a, b: lib.where(a > 1, a, b),
    "add alpha": lambda lib, a, b: lib.add(a, b, alpha=2),
    "clamp": lambda lib, a, b: a.clamp(min=b) if not isinstance(b, bool) else a,
    "masked_fill": lambda lib, a, b: a.masked_fill(a > 1, b),
    "full_like": lambda lib, a, b: lib.full_like(a, 3) + b,
}


@step
def binary(c: Choices, pool: list[Any]) -> Any:
    i = c.var(pool)
    j = c.var(pool, lambda t: fits(pool[i], t))
    fn = BINARY[c.of(BINARY)]
    return lambda lib, p: fn(lib, p[i], p[j])


@step
def with_number(c: Choices, pool: list[Any]) -> Any:
    i, value, fn = c.var(pool), _number(c), BINARY[c.of(BINARY)]
    return lambda lib, p: fn(lib, p[i], value)


UNARY = {
    "sqrt": lambda lib, a: a.sqrt(),
    "exp": lambda lib, a: (a * 0.1).exp(),
    "sin": lambda lib, a: a.sin(),
    "neg": lambda lib, a: -a,
    "abs": lambda lib, a: a.abs(),
    "invert": lambda lib, a: lib.bitwise_not(a),
    "sign": lambda lib, a: a.sign(),
    "floor": lambda lib, a: a.floor(),
    "sigmoid": lambda lib, a: lib.sigmoid(a),
    "relu": lambda lib, a: a.relu(),
    "square": lambda lib, a: a.square(),
    "sum": lambda lib, a: a.sum(),
    "sum dtype": lambda lib, a: a.sum(dtype=lib.float32),
    "mean": lambda lib, a: a.mean(),
    "prod": lambda lib, a: a.prod(),
    "max": lambda lib, a: a.max(),
    "argmax": lambda lib, a: a.flatten().argmin(),
    "any": lambda lib, a: a.any(),
    "cumsum": lambda lib, a: a.flatten().cumsum(0),
    "softmax": lambda lib, a: a.flatten().softmax(0),
    "var": lambda lib, a: a.var(),
    "matmul": lambda lib, a: a.flatten() @ a.flatten(),
    "clamp": lambda lib, a: a.clamp(0, 2),
    "clamp float": lambda lib, a: a.clamp(0.5, 2.5),
    "ones_like": lambda lib, a: lib.ones_like(a) * a,
    "nonzero": lambda lib, a: a.nonzero(),
    "sort": lambda lib, a: a.flatten().sort()[0],
    "count": lambda lib, a: lib.count_nonzero(a),
    "trunc": lambda lib, a: lib.trunc(a),
    "logsumexp": lambda lib, a: a.flatten().logsumexp(0),
    "norm": lambda lib, a: a.norm(),
    "index": lambda lib, a: lib.arange(4)[a.flatten()[:2]],
    "item": lambda lib, a: a * a.max().item(),
}


@step
def unary(c: Choices, pool: list[Any]) -> Any:
    i, fn = c.var(pool, lambda t: t.numel() > 0), UNARY[c.of(UNARY)]
    return lambda lib, p: fn(lib, p[i])


@step
def cast(c: Choices, pool: list[Any]) -> Any:
    i, name, kind = c.var(pool), c.of(DTYPES), c.below(3)
    if kind == 0:
        j = c.var(pool)
        return lambda lib, p: p[i].type_as(p[j])
    return lambda lib, p: p[i].to(getattr(lib, name), copy=kind == 1)


@step
def join(c: Choices, pool: list[Any]) -> Any:
    i = c.var(pool, lambda t: t.ndim > 0 and t.numel() <= 12)
    j, name = c.var(pool, lambda t: shape_of(t) == shape_of(pool[i])), c.of(["cat", "stack"])
    return lambda lib, p: getattr(lib, name)([p[i], p[j]])


WRITES = {
    "add_": lambda lib, t, a: t.add_(a),
    "mul_": lambda lib, t, a: t.mul_(a),
    "sub_": lambda lib, t, a: t.sub_(a),
    "div_": lambda lib, t, a: t.div_(a + 1),
    "pow_": lambda lib, t, a: t.pow_(2),
    "copy_": lambda lib, t, a: t.copy_(a),
    "fill_": lambda lib, t, a: t.fill_(a.sum() if hasattr(a, "sum") else a),
    "sqrt_": lambda lib, t, a: t.sqrt_(),
    "clamp_": lambda lib, t, a: t.clamp_(0, 2),
    "masked_fill_": lambda lib, t, a: t.masked_fill_(t > 1, 2),
    # A write of constants by these leaves a history of zeros in PyTorch, none here.
    "eq_": lambda lib, t, a: t.detach().clone().eq_(getattr(a, "data", a)),
    "logical_not_": lambda lib, t, a: t.detach().clone().logical_not_(),
    "bitwise_and_": lambda lib, t, a: t.bitwise_and_(a),
    "remainder_": lambda lib, t, a: t.remainder_(3),
    "cumsum_": lambda lib, t, a: t.view(-1).cumsum_(0),
    "index_add_": lambda lib, t, a: t.view(-1).index_add_(0, lib.tensor([0]), t.view(-1)[:1]),
}


@step
def write(c: Choices, pool: list[Any]) -> Any:
    i = c.var(pool, lambda t: not (t.is_leaf and t.requires_grad) and t._base is None)
    # PyTorch's fill_ gives an integer tensor a gradient.
    j = c.var(pool, lambda t: fits(pool[i], t)
              and (pool[i].is_floating_point() or not t.requires_grad))  # fmt: skip
    fn, value, kind = WRITES[c.of(WRITES)], _number(c), c.below(4)

    def put(lib: Any, p: list[Any]) -> Any:
        a = value if kind == 3 else p[j]
        if kind < 2:
            return fn(lib, p[i], a)
        if kind == 2 and p[i].ndim:
            p[i][0] = a[0] if getattr(a, "ndim", 0) == p[i].ndim else a
        else:
            p[i][p[i] > 1] = a if not getattr(a, "ndim", 0) else 2
        return None

    return put


@step
def backward(c: Choices, pool: list[Any]) -> Any:
    i = c.var(pool, lambda t: t.requires_grad)
    return lambda lib, p: total_of(p[i]).backward(retain_graph=True)
