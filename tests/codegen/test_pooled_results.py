"""Results of kernels lie in pooled memory: held by whoever looks into it, then used again."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.backends.memory import Lease
from gpugrad.backends.memory.host import POOL

F = gg.nn.functional
SHAPE = (512, 512)
OPS: dict[str, Callable[[Any], Any]] = {
    "elementwise": F.gelu,
    "rows": lambda x: gg.softmax(x, -1),
    "fused": gg.fuse(lambda x: gg.tanh(x * x) + x),
}


@pytest.mark.parametrize("name", OPS)
def test_results_and_gradients_are_pooled(name: str) -> None:
    """Forward and backward alike; once dropped, the same block serves the next call."""
    x = gg.randn(SHAPE, requires_grad=True)
    g = gg.randn(SHAPE)
    OPS[name](x).backward(g)
    want = x.grad.numpy().copy()
    x.grad = None
    before = POOL.allocated
    places = set()
    for _ in range(4):
        y = OPS[name](x)
        y.backward(g)
        for t in (y, x.grad):
            assert isinstance(t._array.base, Lease)
        np.testing.assert_array_equal(x.grad.numpy(), want)
        places.add(y.data_ptr())
        del y, t
        x.grad = None
    assert POOL.allocated == before
    assert len(places) < 3


@pytest.mark.parametrize(
    "look",
    [lambda t: t.numpy()[3:], lambda t: t.detach().T[5:].numpy(), lambda t: memoryview(t.numpy()),
     lambda t: np.from_dlpack(t)[1:]],
    ids=["numpy", "view", "memoryview", "dlpack"],
)  # fmt: skip
def test_what_looks_into_a_result_holds_it(look: Callable[[Any], Any]) -> None:
    """The memory is not handed out while an export of the dropped tensor lives."""
    x = gg.randn(SHAPE)
    y = F.gelu(x)
    seen = look(y)
    want = np.array(seen)
    del y
    for _ in range(3):
        others = [F.gelu(x * 0 + i) for i in range(3)]
    np.testing.assert_array_equal(np.asarray(seen), want)
    del others


def test_nothing_unwritten_is_read() -> None:
    """With NaN in all memory that is handed out, kernels give what they did before."""
    x = gg.randn(SHAPE, requires_grad=True)
    found = []
    for poisoned in (False, True):
        POOL.poison(poisoned)
        try:
            for op in OPS.values():
                x.grad = None
                y = op(x)
                y.sum().backward()
                found.append((y.detach().numpy().copy(), x.grad.numpy().copy()))
        finally:
            POOL.poison(False)
    for plain, poisoned in zip(found[: len(OPS)], found[len(OPS) :], strict=True):
        for a, b in zip(plain, poisoned, strict=True):
            np.testing.assert_array_equal(a, b)
