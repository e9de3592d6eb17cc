"""Steps of random programs: results, views, gradients and what belongs to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.engine.programs import Choices, Impossible, Table, flat, numbers

STEPS: Table = {}


def step(fn: Any) -> Any:
    STEPS[fn.__name__] = fn
    return fn


def start(lib: Any) -> list[Any]:
    """Three leaves that want gradients, and two tensors that do not."""
    shapes = [((2, 3), True), ((3,), True), ((), True), ((3, 2), False), ((1, 3), False)]
    return [
        lib.tensor(numbers(shape, 10 * i), dtype=lib.float64, requires_grad=grad)
        for i, (shape, grad) in enumerate(shapes)
    ]


def shape_of(t: Any) -> tuple[int, ...]:
    return tuple(t.shape)


def fits(a: Any, b: Any) -> bool:
    """Whether ``b`` broadcasts to the shape of ``a``."""
    try:
        return np.broadcast_shapes(shape_of(a), shape_of(b)) == shape_of(a)
    except ValueError:
        return False


# ---- results -----------------------------------------------------------------------------------

#: of a tensor and two that broadcast to it
ELEMENTWISE = {
    "tanh": lambda lib, a, b, c: a.tanh(),
    "sin": lambda lib, a, b, c: a.sin(),
    "sigmoid": lambda lib, a, b, c: a.sigmoid(),
    "square": lambda lib, a, b, c: a.square(),
    "abs": lambda lib, a, b, c: a.abs(),
    "relu": lambda lib, a, b, c: a.relu(),
    "exp": lambda lib, a, b, c: a.clamp(max=1.0).exp(),
    "sqrt": lambda lib, a, b, c: (a.abs() + 0.5).sqrt(),
    "log": lambda lib, a, b, c: a.abs().log1p(),
    "softplus": lambda lib, a, b, c: lib.nn.functional.softplus(a),
    "elu": lambda lib, a, b, c: lib.nn.functional.elu(a),
    "add": lambda lib, a, b, c: a + b,
    "flipped add": lambda lib, a, b, c: b + a,
    "mul": lambda lib, a, b, c: a * b,
    "flipped mul": lambda lib, a, b, c: b * a,
    "sub": lambda lib, a, b, c: 1.5 - a - b,
    "div": lambda lib, a, b, c: a / (b.abs() + 1),
    "flipped div": lambda lib, a, b, c: b / (a.abs() + 1),
    "number": lambda lib, a, b, c: (a * 2 - 1) / 3,
    "pow": lambda lib, a, b, c: a**3,
    "maximum": lambda lib, a, b, c: lib.maximum(a, b),
    "atan2": lambda lib, a, b, c: lib.atan2(a, b.abs() + 1),
    "hypot": lambda lib, a, b, c: lib.hypot(a, b.abs() + 1),
    "where": lambda lib, a, b, c: lib.where(a > 0, b, c * 2),
    "clamp": lambda lib, a, b, c: a.clamp(b - 0.5, c + 0.5),
    "lerp": lambda lib, a, b, c: lib.lerp(a, b.expand_as(a), c.expand_as(a)),
    "addcmul": lambda lib, a, b, c: lib.addcmul(a, b, c, value=0.5),
}


@step
def elementwise(c: Choices, pool: list[Any]) -> Any:
    i = c.var(pool)
    j, k = (c.var(pool, lambda t: fits(pool[i], t)) for _ in range(2))
    fn = ELEMENTWISE[c.of(ELEMENTWISE)]
    return lambda lib, p: fn(lib, p[i], p[j], p[k])


@step
def outer(c: Choices, pool: list[Any]) -> Any:
    i, j = (c.var(pool, lambda t: t.ndim == 1 and t.numel() <= 6) for _ in range(2))
    return lambda lib, p: lib.outer(p[i], p[j])


#: of a tensor and one of its dims
ALONG = {
    "sum": lambda lib, a, d: a.sum(d),
    "sum all": lambda lib, a, d: a.sum(),
    "mean": lambda lib, a, d: a.mean(d, keepdim=True),
    "amax": lambda lib, a, d: a.amax(d),
    "max": lambda lib, a, d: a.max(d)[0],
    "min all": lambda lib, a, d: a.min(),
    "logsumexp": lambda lib, a, d: a.logsumexp(d),
    "prod": lambda lib, a, d: a.prod(d),
    "norm": lambda lib, a, d: (a + 0.1).norm(dim=d),
    "var": lambda lib, a, d: a.var(d, unbiased=False),
    "softmax": lambda lib, a, d: a.softmax(d),
    "log_softmax": lambda lib, a, d: a.log_softmax(d),
    "cumsum": lambda lib, a, d: a.cumsum(d),
    "cumprod": lambda lib, a, d: a.cumprod(d),
    "logcumsumexp": lambda lib, a, d: a.logcumsumexp(d),
    "sort": lambda lib, a, d: a.sort(d)[0],
    "topk": lambda lib, a, d: a.topk(a.shape[d], d)[0],
    # PyTorch's median of an expanded tensor is wrong.
    "median": lambda lib, a, d: a.contiguous().median(d)[0],
    "flip": lambda lib, a, d: a.flip(d),
    "roll": lambda lib, a, d: a.roll(1, d),
    "diff": lambda lib, a, d: lib.diff(a, dim=d),
    "normalize": lambda lib, a, d: lib.nn.functional.normalize(a, dim=d),
    "gather": lambda lib, a, d: a.gather(d, a.argsort(d)),
    "getitem": lambda lib, a, d: a[lib.tensor([0, -1, 0])],
    "index_select": lambda lib, a, d: a.index_select(d, lib.tensor([0, 0])),
    "mask": lambda lib, a, d: a[a > 0],
    "take": lambda lib, a, d: a.take(lib.tensor([0, 0])),
    "stack": lambda lib, a, d: lib.stack([a, a * 2], d)[:, :4],
    "cat": lambda lib, a, d: lib.cat([a, a * 2], d)[:4],
    "layer_norm": lambda lib, a, d: lib.nn.functional.layer_norm(a, a.shape[-1:]),
}


@step
def along(c: Choices, pool: list[Any]) -> Any:
    i = c.var(pool, lambda t: t.ndim > 0 and t.numel() > 0)
    dim, fn = c.below(pool[i].ndim), ALONG[c.of(ALONG)]
    return lambda lib, p: fn(lib, p[i], dim)


@step
def matmul(c: Choices, pool: list[Any]) -> Any:
    i = c.var(pool, lambda t: t.ndim > 0)
    j = c.var(pool, lambda t: t.ndim in (1, 2) and t.shape[0] == pool[i].shape[-1])
    return lambda lib, p: p[i] @ p[j]


# ---- views -------------------------------------------------------------------------------------


def key_of(c: Choices, shape: tuple[int, ...]) -> Any:
    """A basic index."""
    kinds = [slice(None), c.below(4), slice(1, None), slice(None, None, 2), slice(0, 1)]
    key = [k % n if isinstance(k := c.of(kinds), int) and n else k if not isinstance(k, int)
           else slice(None) for n in shape]  # fmt: skip
    return (None, *key) if c.below(6) == 5 else tuple(key)


def _shapes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Other shapes of as many elements."""
    n = int(np.prod(shape))
    even = [(k, n // k) for k in (2, 3) if n and n % k == 0]
    return [(n,), (1, n), (n, 1), *even, *([()] if n == 1 else [])]


#: of a tensor, one of its dims of size n > 0, another dim, and a place k < n
VIEWS = {
    "transpose": lambda t, d, e, k: t.transpose(d, e),
    "select": lambda t, d, e, k: t.select(d, k),
    "narrow": lambda t, d, e, k: t.narrow(d, k, t.shape[d] - k),
    "movedim": lambda t, d, e, k: t.movedim(d, e),
    "permute": lambda t, d, e, k: t.permute(tuple(reversed(range(t.ndim)))),
    "squeeze": lambda t, d, e, k: t.squeeze(d),
    "unsqueeze": lambda t, d, e, k: t.unsqueeze(d),
    "flatten": lambda t, d, e, k: t.flatten(),
    "unfold": lambda t, d, e, k: t.unfold(d, k + 1, 1),
    "expand": lambda t, d, e, k: t.expand(2, *t.shape),
    "same": lambda t, d, e, k: t.view_as(t).expand(t.shape)[...],
    "diagonal": lambda t, d, e, k: t.diagonal(k - 1, d, e) if d != e else t.squeeze(),
    "matrix": lambda t, d, e, k: t.mT if t.ndim > 1 else t.t(),
    # PyTorch refuses writes to one of several views, so there it is made by hand.
    "unbind": lambda t, d, e, k: t.select(d, k) if _torch(t) else t.unbind(d)[k],
    "split": lambda t, d, e, k: t.narrow(d, k, 1) if _torch(t) else t.split(1, d)[k],
    "chunk": lambda t, d, e, k: t.narrow(d, 0, -(-t.shape[d] // 2)) if _torch(t)
             else t.chunk(2, d)[0],
}  # fmt: skip


def _torch(t: Any) -> bool:
    return type(t).__module__.startswith("torch")


def view_of(c: Choices, shape: tuple[int, ...]) -> Any:
    """A view of a tensor of this shape, as a function."""
    name = c.of(["slice", "reshape", "view", *VIEWS])
    if name == "slice":
        key = key_of(c, shape) or ...  # under no_grad, PyTorch gives x[()] a gradient
        return lambda t: t[key]
    if name in ("reshape", "view") or not shape:
        new = c.of(_shapes(shape))
        return lambda t: getattr(t, "view" if name == "view" else "reshape")(new)
    d, e = c.below(len(shape)), c.below(len(shape))
    if not shape[d] or (name in ("unfold", "unsqueeze", "expand") and len(shape) > 3):
        raise Impossible
    if name == "expand" and np.prod(shape) > 12:
        raise Impossible
    k = c.below(shape[d])
    return lambda t: VIEWS[name](t, d, e, k)


@step
def view(c: Choices, pool: list[Any]) -> Any:
    i = c.var(pool)
    look = view_of(c, shape_of(pool[i]))
    return lambda lib, p: look(p[i])


@step
def unrecorded(c: Choices, pool: list[Any]) -> Any:
    """Look under no_grad, at a tensor or a fresh result."""
    # What wants a gradient still claims to in PyTorch, seen through such a view.
    own = c.yes()
    i = c.var(pool, lambda t: own or not t.requires_grad)
    look = view_of(c, shape_of(pool[i]))

    def run(lib: Any, p: list[Any]) -> Any:
        with lib.no_grad():
            return look(p[i] * 2 if own else p[i])

    return run


# ---- gradients ---------------------------------------------------------------------------------


def total_of(t: Any) -> Any:
    return (t * t).sum() if t.numel() % 2 else t.sin().sum()


@step
def backward(c: Choices, pool: list[Any]) -> Any:
    i = c.var(pool, lambda t: t.requires_grad)
    retain, create = c.below(4) != 3, c.below(5) == 4

    def run(lib: Any, p: list[Any]) -> None:
        total_of(p[i]).backward(retain_graph=retain or create, create_graph=create)

    return run


@step
def grad(c: Choices, pool: list[Any]) -> Any:
    """Gradients of leaves and intermediates, recorded or not."""

    # PyTorch skips the hooks of one of several inputs that is no leaf.  After a write, also under
    # no_grad, it lets views depend on their base and no longer on each other.  And a tensor that
    # became a view of itself is what its other views depend on; ours depend on the memory.
    def asked(t: Any) -> bool:
        plain = not t._backward_hooks and not hasattr(t, "became")
        return t.requires_grad and plain and not (t._is_view() and t._version)

    i = c.var(pool, lambda t: t.requires_grad)
    j, k, create = c.var(pool, asked), c.var(pool, asked), c.below(3) != 2

    def run(lib: Any, p: list[Any]) -> Any:
        found = lib.autograd.grad(total_of(p[i]), [p[j], p[k]], create_graph=create,
                                  retain_graph=True, allow_unused=True)  # fmt: skip
        # What comes back may be one tensor twice, or a view: copies are alike in both libraries.
        return [g.clone() for g in flat(found)]

    return run


@step
def forget_gradients(c: Choices, pool: list[Any]) -> Any:
    def run(lib: Any, p: list[Any]) -> None:
        for t in p:
            if t.is_leaf:
                t.grad = None

    return run
