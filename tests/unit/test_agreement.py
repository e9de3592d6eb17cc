"""``equal`` and ``allclose``, against PyTorch where it is there."""

import pytest

import gpugrad as gg
from gpugrad.errors import DeviceError, DTypeError, ShapeError

NAN, INF = float("nan"), float("inf")
PAIRS = [
    ([1.0, 2.0], [1.0, 2.0]), ([1.0, 2.0], [1.0, 2.0 + 1e-7]), ([1.0], [1.1]), ([NAN], [NAN]),
    ([INF], [INF]), ([INF], [-INF]), ([0.0], [-0.0]), ([], []), ([1.0, 1.0], [1.0]),
]  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_as_pytorch_says(a, b):
    import torch

    mine = [gg.tensor(v, dtype=gg.float64) for v in (a, b)]
    theirs = [torch.tensor(v, dtype=torch.float64) for v in (a, b)]
    assert gg.equal(*mine) is torch.equal(*theirs)
    assert mine[0].equal(mine[1]) is torch.equal(*theirs)
    for kwargs in ({}, {"equal_nan": True}, {"rtol": 0.0, "atol": 1e-3}):
        assert gg.allclose(*mine, **kwargs) is torch.allclose(*theirs, **kwargs)


def test_answers_are_bools_and_shapes_matter():
    assert gg.equal(gg.ones(2), gg.ones(3)) is False
    assert gg.equal(gg.ones(2), gg.ones(2)) is True
    assert gg.equal(gg.ones(2), gg.ones(2, 1)) is False


def test_refusals():
    with pytest.raises(DTypeError, match=r"allclose.*float32 and float64"):
        gg.allclose(gg.ones(1), gg.ones(1, dtype=gg.float64))
    with pytest.raises(DeviceError, match=r"equal.*cpu and meta"):
        gg.equal(gg.ones(1), gg.ones(1, device="meta"))
    with pytest.raises(ShapeError, match=r"isclose|allclose"):
        gg.allclose(gg.ones(2), gg.ones(3))
