"""Rows in JAX's own words: a function that is jitted, and pure.

Forward and backward are one compiled function that returns the result and the gradient, so that
nothing that PyTorch computes is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.engines import Jax
from benchmarks.rows import Work


def gelu(jax: Any, x: Any) -> Any:
    """By its tanh formula."""
    return 0.5 * x * (1 + jax.numpy.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))


def layer_norm(jax: Any, x: Any) -> Any:
    """Over the last dimension, in float32, without weights."""
    wide = x.astype(jax.numpy.float32)
    centred = wide - wide.mean(-1, keepdims=True)
    scale = jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
    return (centred * scale).astype(x.dtype)


def cross_entropy(jax: Any, x: Any, classes: Any) -> Any:
    """Mean over rows, in float32."""
    scores = jax.nn.log_softmax(x.astype(jax.numpy.float32), -1)
    return -jax.numpy.take_along_axis(scores, classes[:, None], -1).mean()


def _softmax(jax: Any, x: Any) -> Any:
    return jax.nn.softmax(x, -1)


def _sum(jax: Any, x: Any) -> Any:
    return x.sum(0)


_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "gelu": gelu, "layer_norm": layer_norm, "softmax": _softmax, "sum": _sum,
}  # fmt: skip


def matrix(name: str, shape: tuple[int, int], dtype: str, engine: Jax, seed: int) -> Work:
    """A row of suite ``kernels`` over one matrix."""
    jax = engine.jax
    x = engine.normal(*shape, dtype=dtype, seed=2 * seed)
    if name == "cross_entropy":
        classes = engine.whole(shape[1], shape[0], seed=seed)
        both = jax.jit(jax.value_and_grad(lambda x: cross_entropy(jax, x, classes)))
        return Work(lambda: both(x)[1], engine.size([x]))
    fn = _FUNCTIONS[name]

    def there_and_back(x: Any, g: Any) -> Any:
        y, pull = jax.vjp(lambda x: fn(jax, x), x)
        return y, pull(g)[0]

    out = (shape[1],) if name == "sum" else shape
    g = engine.normal(*out, dtype=dtype, seed=2 * seed + 1)
    step = jax.jit(there_and_back)
    return Work(lambda: step(x, g)[1], engine.size([x, g]))


def adamw(tensors: int, elements: int, engine: Jax, seed: int) -> Work:
    """AdamW's update with PyTorch's defaults, of all tensors in one compiled call."""
    jax, wanted = engine.jax, range(tensors)
    jnp = jax.numpy
    weights = [engine.normal(elements, seed=seed + i) for i in wanted]
    grads = [engine.normal(elements, seed=seed + i + tensors) for i in wanted]
    first, second = ([jnp.zeros(elements) for _ in wanted] for _ in range(2))

    def update(p: Any, g: Any, m: Any, v: Any, t: Any) -> Any:
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        change = (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8)
        return p * (1 - 1e-3 * 0.01) - 1e-3 * change, m, v

    def all_of_them(weights: Any, first: Any, second: Any, grads: Any, t: Any) -> Any:
        done = [update(p, g, m, v, t) for p, m, v, g in zip(weights, first, second, grads)]
        return tuple(list(part) for part in zip(*done))

    step = jax.jit(all_of_them, donate_argnums=(0, 1, 2))
    state: list[Any] = [weights, first, second, 0]

    def call() -> Any:
        state[3] += 1
        state[:3] = step(*state[:3], grads, float(state[3]))
        return state[0][0]

    return Work(call, 4 * engine.size(weights))


def mlp(engine: Jax, seed: int) -> Work:
    """A step of SGD of an MLP 784-256-128-10, batch 64; the loss is the result."""
    from benchmarks.workloads import scaled

    jax = engine.jax
    shapes = [(256, 784), (256,), (128, 256), (128,), (10, 128), (10,)]
    weights = [jax.numpy.asarray(w) for w in scaled(shapes)]
    x, y = engine.normal(64, 784, seed=1), engine.whole(10, 64, seed=2)

    def loss(weights: Any, x: Any, y: Any) -> Any:
        w1, b1, w2, b2, w3, b3 = weights
        h = jax.nn.relu(jax.nn.relu(x @ w1.T + b1) @ w2.T + b2)
        return cross_entropy(jax, h @ w3.T + b3, y)

    def step(weights: Any, x: Any, y: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(weights, x, y)
        return value, [w - 0.01 * g for w, g in zip(weights, grads)]

    compiled = jax.jit(step, donate_argnums=0)
    state = [weights]

    def call() -> Any:
        value, state[0] = compiled(state[0], x, y)
        return value

    return Work(call)
