"""``gpugrad.fuse``: values, gradients, second gradients, and what it refuses."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.errors import ArgumentError, NotSupportedError

F = gg.nn.functional


def gelu(x: Any) -> Any:
    return 0.5 * x * (1 + gg.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def norm(x: Any, w: Any, b: Any) -> Any:
    d = x - x.mean(-1, keepdim=True)
    return d / gg.sqrt((d * d).mean(-1, keepdim=True) + 1e-5) * w + b


def attend(x: Any, w: Any, b: Any) -> Any:
    return F.softmax(x * w, -1) * x - gg.logsumexp(x + b, -1, keepdim=True)


FUNCTIONS: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "gelu": (gelu, [(7, 33)]),
    "gelu of a vector": (gelu, [(65,)]),
    "two inputs": (lambda a, b: gg.exp(a) * b / (1 + b * b), [(5, 6), (5, 6)]),
    "bias": (lambda a, b: gg.relu(a + b), [(4, 5, 33), (33,)]),
    "per row": (lambda a, b: a * b + b, [(40, 9), (40, 1)]),
    "one value": (lambda a, b: a * b, [(40, 9), ()]),
    "norm": (norm, [(70, 40), (40,), (40,)]),
    "softmax and logsumexp": (attend, [(33, 31), (33, 31), (1, 31)]),
    "cross entropy of probabilities": (
        lambda a, p: -(F.log_softmax(a, -1) * p).sum(-1), [(9, 17), (9, 17)]
    ),
    "several results": (lambda a: (gg.exp(a), a.sum(-1, keepdim=True)), [(6, 7)]),
    "largest": (lambda a: a - a.amax(-1, keepdim=True), [(6, 7)]),
    "power and abs": (lambda a: (a.abs() + 1) ** 3, [(6, 7)]),
}  # fmt: skip


def results(fn: Callable[..., Any], shapes: list[tuple[int, ...]], dtype: Any) -> list[Any]:
    rng = np.random.default_rng(1)
    tensors = [gg.tensor(rng.standard_normal(s), dtype=dtype, requires_grad=True) for s in shapes]
    out = fn(*tensors)
    outs = out if isinstance(out, tuple) else (out,)
    loss = sum((o * gg.linspace(0.5, 1.5, o.numel(), dtype=dtype).reshape(o.shape)).sum()
               for o in outs)  # fmt: skip
    loss.backward()
    return [t.detach().double().numpy() for t in (*outs, *(t.grad for t in tensors))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients(name: str) -> None:
    """The fused function gives what the plain one does, in value and gradient."""
    fn, shapes = FUNCTIONS[name]
    got = results(gg.fuse(fn), shapes, gg.float32)
    for g, w in zip(got, results(fn, shapes, gg.float64), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-5, atol=2e-6 * max(1.0, np.abs(w).max()))


@pytest.mark.parametrize("name", ["gelu", "norm", "softmax and logsumexp"])
def test_second_gradients(name: str) -> None:
    """A gradient of the gradient is that of the plain function."""
    fn, shapes = FUNCTIONS[name]

    def second(f: Callable[..., Any]) -> Any:
        rng = np.random.default_rng(2)
        tensors = [gg.tensor(rng.standard_normal(s), dtype=gg.float32, requires_grad=True)
                   for s in shapes]  # fmt: skip
        first = gg.autograd.grad((f(*tensors) ** 2).sum(), tensors, create_graph=True)
        return gg.autograd.grad(sum((g * g).sum() for g in first), tensors)

    for g, w in zip(second(gg.fuse(fn)), second(fn), strict=True):
        scale = float(w.abs().max())
        np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=1e-3, atol=1e-4 * max(1.0, scale))


@pytest.mark.parametrize("dtype", [gg.float16, gg.bfloat16], ids=lambda d: d.name)
def test_16_bit(dtype: Any) -> None:
    """16-bit floats compute in float32 and are rounded once: at least as near as op by op."""
    fn, shapes = FUNCTIONS["norm"]
    for g, w in zip(results(gg.fuse(fn), shapes, dtype), results(fn, shapes, gg.float64)):
        np.testing.assert_allclose(g, w, rtol=0, atol=8 * gg.finfo(dtype).eps * np.abs(w).max())


def test_only_the_wanted_gradients() -> None:
    """An input that wants no gradient gets none; without any, nothing is recorded."""
    f = gg.fuse(lambda a, b: gg.exp(a) * b)
    a, b = gg.randn(4, 5, requires_grad=True), gg.randn(4, 5)
    f(a, b).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), (a.exp() * b).detach().numpy(), rtol=1e-6)
    assert b.grad is None
    assert not f(a.detach(), b).requires_grad


def test_numbers_and_shapes_make_kernels_of_their_own() -> None:
    """A number is a constant of the kernel; another number or shape is another call."""
    f = gg.fuse(lambda x, scale=2.0: gg.tanh(x) * scale)
    for shape in ((3, 4), (7,), (2, 3, 5)):
        x = gg.randn(*shape)
        for scale in (2.0, 0.37):
            np.testing.assert_allclose(f(x, scale).numpy(), np.tanh(x.numpy()) * scale, rtol=1e-6)


outside = gg.ones(4, 4)
REFUSED = {
    "another dim": (lambda x: x.sum(0), "sum"),
    "transposed": (lambda x: x.T + 1, "permute"),
    "a product": (lambda x: x @ x, "matmul"),
    "no vector form": (lambda x: gg.sin(x) + 1, "sin"),
    "a value": (lambda x: x if float(x.sum()) > 0 else -x, "values"),
    "a tensor from outside": (lambda x: x + outside, "argument"),
    "without keepdim": (lambda x: x - x.sum(-1), "keepdim"),
    "rows moved": (lambda x: x.reshape(2, 8) + 1, "rows"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_line_and_reason(name: str) -> None:
    """The message has the user's line and a word of the reason."""
    fn, word = REFUSED[name]
    with pytest.raises(
        NotSupportedError, match=rf"test_fuse\.py:\d+.*{word}|{word}.*test_fuse\.py"
    ):
        gg.fuse(fn)(gg.ones(4, 4))


def test_bad_arguments() -> None:
    """Arguments must be tensors and constants, and one a tensor on the CPU."""
    with pytest.raises(ArgumentError, match="at least one"):
        gg.fuse(lambda x: x)(3)
    with pytest.raises(ArgumentError, match="constants"):
        gg.fuse(lambda x, y: x)(gg.ones(3), [1])
    with pytest.raises(NotSupportedError, match="not a Tensor"):
        gg.fuse(lambda x: 3)(gg.ones(3))
    with pytest.raises(NotSupportedError, match="CPU"):
        gg.fuse(lambda x: x * 2)(gg.empty(3, device="meta"))


def test_modes() -> None:
    """Recorded once under any mode, the kernel serves the others; autocast leaves it alone."""
    x = gg.randn(6, 7, requires_grad=True)
    plain = gelu(x)
    for mode in (gg.no_grad(), gg.inference_mode(), gg.autocast("cpu", dtype=gg.bfloat16)):
        f = gg.fuse(gelu)
        with mode:
            inside = f(x.detach())
        np.testing.assert_allclose(inside.numpy(), plain.detach().numpy(), rtol=1e-5, atol=1e-6)
        f(x).sum().backward()
        assert x.grad is not None
        x.grad = None
