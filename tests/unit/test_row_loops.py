"""Compiled loops over rows, and copies by blocks, give what NumPy gives."""

import numpy as np
import pytest

from gpugrad.backends import NUMPY, compiled
from gpugrad.backends.additions import indexing, scan, shape
from gpugrad.config import config

xp = NUMPY.xp


def numbers(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("lead", [(6, 5, 7), (1, 9, 3), (9, 4, 1)])
@pytest.mark.parametrize("threads", [1, 3])
def test_running_sums(threads, lead, axis, dtype, monkeypatch):
    monkeypatch.setattr(config, "num_threads", threads)
    monkeypatch.setattr(compiled, "SHARE", 1)
    x = numbers(*lead, dtype=dtype)[:, ::-1]  # one axis runs backwards, as in the gradient
    by_numpy = np.cumsum(x, axis, np.float64).astype(dtype)
    monkeypatch.setattr(scan, "WORTH", 0)
    np.testing.assert_array_equal(xp.cumsum(x, axis), by_numpy)


@pytest.mark.parametrize("width", [2, 5, 600])
def test_rows_that_are_added(width, monkeypatch):
    places = np.array([3, 0, 3, 1, 3])
    g = np.broadcast_to(numbers(width), (5, width))
    results = []
    for worth in (1 << 62, 0):
        monkeypatch.setattr(indexing, "WORTH", worth)
        results.append(xp.index_adjoint(g, (places,), (0,), (4, width)))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("place", [-1, 4])
def test_a_row_outside_is_refused(place, monkeypatch):
    monkeypatch.setattr(indexing, "WORTH", 0)
    with pytest.raises(IndexError, match="place"):
        indexing.combine(np, np.add, np.zeros((4, 2)), np.array([place]), np.ones((1, 2)))


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (0, 2, 1), (0, 1, 2)])
def test_copies_into_another_order(order, monkeypatch):
    x = numbers(70, 66, 67).transpose(order)
    monkeypatch.setattr(shape, "_LARGE", 0)
    copy = xp.dense(x)
    assert copy.flags.c_contiguous
    assert not np.may_share_memory(copy, x)
    np.testing.assert_array_equal(copy, x)


def test_reshape_copies_only_where_it_must(monkeypatch):
    monkeypatch.setattr(shape, "_LARGE", 0)
    x = numbers(64, 3, 80)
    assert np.shares_memory(xp.reshape(x[:, 1], (8, 8, 80)), x)
    turned = x.transpose(2, 1, 0)
    np.testing.assert_array_equal(xp.reshape(turned, (-1, 64)), turned.reshape(-1, 64))
