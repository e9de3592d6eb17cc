"""Values per channel: broadcast in the middle of a shape, and summed over all other dimensions."""

from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import backends
from gpugrad.codegen import host

SHAPES = [
    ((8, 32, 16, 32), (32, 1, 1)),
    ((8, 32, 16, 32), (1, 32, 1, 1)),
    ((4, 6, 64, 64), (4, 1, 1, 1)),
    ((4, 6, 64, 64), (1, 6, 1, 64)),
    ((2, 3, 4, 5000), (2, 1, 4, 1)),
    ((4, 6, 64, 64), (6, 64, 1)),
]


@pytest.mark.parametrize(("whole", "part"), SHAPES, ids=str)
def test_per_channel(whole: Any, part: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel gives the bits of NumPy's broadcasting, forward and backward."""
    ran: list[int] = []
    kernel = host.run

    def counted(program: Any, rows: int, *rest: Any) -> None:
        ran.append(rows)
        kernel(program, rows, *rest)

    monkeypatch.setattr(host, "run", counted)

    def found() -> list[Any]:
        rng = np.random.default_rng(1)
        x, w, g = (
            gg.tensor(rng.standard_normal(s, dtype=np.float32)) for s in (whole, part, whole)
        )
        x.requires_grad_(), w.requires_grad_()
        for _ in range(host.PATIENCE + 1):
            x.grad = w.grad = None
            y = (x * w + w) / w
            y.backward(g)
        return [t.detach().numpy() for t in (y, x.grad, w.grad)]

    got = found()
    middle = part[-1] == 1 and np.broadcast_shapes(part, whole[1:]) == whole[1:]
    assert any(rows > 1 for rows in ran) or not middle
    monkeypatch.setattr(host, "spread", lambda shape, arrays: arrays)
    for a, b in zip(got, found(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("shape", [(64, 8, 6, 6), (3, 5, 64, 64), (200, 100, 2), (1, 9, 50, 50)])
def test_sums_per_channel(shape: Any, keepdims: bool) -> None:
    """As exact as float32 allows, whichever way they are added."""
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32) + 5
    axes = (0, *range(2, len(shape)))
    got = backends.NUMPY.xp.sum(x, axes, keepdims)
    want = x.sum(axes, np.float64, keepdims=keepdims)
    assert (got.shape, got.dtype) == (want.shape, np.float32)
    np.testing.assert_allclose(got, want, rtol=4e-7)


def test_sums_of_infinities() -> None:
    """Infinite and undefined values reach their own channel's sum and no other."""
    x = gg.ones(32, 4, 16, 16)
    x[0, 0, 0, 0] = float("inf")
    x[0, 1, 0, 0] = float("nan")
    x[3, 2, 5, 0], x[4, 2, 0, 0] = float("inf"), -float("inf")
    found = x.sum((0, 2, 3)).tolist()
    assert found[0] == float("inf")
    assert np.isnan(found[1:3]).all()
    assert found[3] == 32 * 256
