"""``where`` by bits gives what NumPy's gives, bit for bit."""

import itertools

import numpy as np
import pytest

from gpugrad.backends import NUMPY
from gpugrad.backends.additions import selection

AWKWARD = [0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan, 5e-324]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["plain", "turned"])
def test_where(dtype, layout, monkeypatch):
    monkeypatch.setattr(selection, "_LARGE", 0)
    pairs = np.array(list(itertools.product(AWKWARD, AWKWARD))).astype(dtype)
    a, b = (x.reshape(8, 8) for x in pairs.T.copy())
    if layout == "turned":
        a, b = a.T, b[::-1]
    for mask in (np.eye(8, dtype=bool), np.indices((8, 8)).sum(0) % 3 == 0):
        for values in ((a, b), (a, 0), (0.0, b), (a, -0.0), (-0.0, b), (2, b), (a, b[0])):
            found, expected = NUMPY.xp.where(mask, *values), np.where(mask, *values)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(
                found.view("u1"), np.array(expected, order="K").view("u1")
            )


def test_values_that_only_numpy_takes(monkeypatch):
    monkeypatch.setattr(selection, "_LARGE", 0)
    mask = np.array([True, False])
    assert [x.tolist() for x in NUMPY.xp.where(mask)] == [[0]]
    assert NUMPY.xp.where(mask, np.array([1, 2]), 0).tolist() == [1, 0]
    assert NUMPY.xp.where(mask, np.float32([1, 2]), np.float64([3, 4])).dtype == np.float64
    assert NUMPY.xp.where(mask, np.float32([[1], [2]]), 0).tolist() == [[1, 0], [2, 0]]
