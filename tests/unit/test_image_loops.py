"""Compiled loops give what the NumPy passes give: the same patches, sums, windows and places."""

import numpy as np
import pytest

from gpugrad.backends import NUMPY, compiled
from gpugrad.backends.additions import convolution as module
from gpugrad.config import config

xp = NUMPY.xp
#: size, kernel, stride, padding (before and after), dilation, groups
GEOMETRIES = {
    "same": ((7, 6), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "same, dilated": ((7, 6), (3, 2), (1, 1), ((2, 2), (2, 1)), (2, 3), 1),
    "same, beyond": ((2, 3), (5, 7), (1, 1), ((2, 2), (3, 3)), (1, 1), 1),
    "bare": ((7, 6), (2, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "strided": ((9, 8), (3, 2), (2, 3), ((1, 1), (0, 1)), (1, 1), 2),
    "dilated": ((9, 9), (3, 3), (1, 2), ((2, 2), (3, 1)), (2, 3), 1),
    "wide padding": ((2, 3), (4, 5), (1, 1), ((3, 3), (4, 4)), (1, 1), 1),
    "many places": ((36, 34), (2, 3), (1, 1), ((0, 1), (1, 1)), (1, 1), 2),
    "line": ((11,), (3,), (2,), ((1, 1),), (2,), 1),
    "pointwise": ((5, 4), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 2),
}
#: padding is at most half the kernel, as public pooling wants it
WINDOWS = {
    "plain": ((6, 8), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1)),
    "overlapping": ((7, 7), (3, 3), (2, 1), ((1, 1), (1, 0)), (1, 1)),
    "dilated": ((8, 9), (2, 3), (1, 2), ((1, 1), (1, 1)), (3, 2)),
    "line": ((9,), (3,), (2,), ((1, 1),), (1,)),
}


def both(monkeypatch, call):
    """The result by NumPy, and by the compiled loops."""
    results = []
    for worth in (1 << 62, 0):
        monkeypatch.setattr(module, "WORTH", worth)
        results.append(call())
    return results


def numbers(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_convolution(name, dtype, monkeypatch):
    size, kernel, *settings, groups = GEOMETRIES[name]
    x, w = numbers(3, 4, *size, dtype=dtype), numbers(6, 4 // groups, *kernel, dtype=dtype, seed=1)
    bias = numbers(6, dtype=dtype)
    turned = np.swapaxes(np.swapaxes(x, 0, 1).copy(), 0, 1)  # another order of strides
    y, by_loops = both(monkeypatch, lambda: xp.convolution(turned, w, bias, *settings, groups))
    np.testing.assert_array_equal(y, by_loops)
    assert by_loops.flags.c_contiguous
    grads = (
        lambda: xp.conv_input_grad(y, w, size, *settings, groups),
        lambda: xp.conv_weight_grad(y, turned, kernel, *settings, groups),
    )
    for grad in grads:
        np.testing.assert_allclose(*both(monkeypatch, grad), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_patches(name, monkeypatch):
    size, kernel, *settings, _ = GEOMETRIES[name]
    x = numbers(3, 2, *size)
    columns, by_loops = both(monkeypatch, lambda: xp.im2col(x, kernel, *settings))
    np.testing.assert_array_equal(columns, by_loops)
    assert not np.may_share_memory(by_loops, x)
    before = columns.copy()
    sums, by_loops = both(monkeypatch, lambda: xp.col2im(columns, size, kernel, *settings))
    np.testing.assert_array_equal(sums, by_loops)
    np.testing.assert_array_equal(columns, before)  # they are the caller's


@pytest.mark.parametrize("side", [1, 2, 9, 33])  # fewer places than channels, and many
@pytest.mark.parametrize("groups", [1, 2])
def test_weight_gradient_by_places(groups, side):
    x, g = numbers(3, 4, side, side), numbers(3, 10, side, side, seed=1)
    settings = ((1, 1), ((1, 1), (1, 1)), (1, 1))
    columns = xp.im2col(x, (3, 3), *settings).reshape(3, groups, -1, side * side)
    places = g.reshape(3, groups, -1, side * side)
    expected = np.einsum("ngop,ngrp->gor", places, columns).reshape(10, 4 // groups, 3, 3)
    found = xp.conv_weight_grad(g, x, (3, 3), *settings, groups)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_many_images_go_in_parts(monkeypatch):
    x, w = numbers(40, 3, 6, 6), numbers(4, 3, 3, 3)
    settings = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    monkeypatch.setattr(module, "WORTH", 0)
    whole = (
        xp.convolution(x, w, None, *settings),
        xp.conv_weight_grad(numbers(40, 4, 6, 6), x, (3, 3), *settings),
    )
    monkeypatch.setattr(
        module, "_PATCH_BYTES", 7 * 27 * 36 * 4
    )  # 7 images at a time: 40 = 5 * 7 + 5
    parts = (
        xp.convolution(x, w, None, *settings),
        xp.conv_weight_grad(numbers(40, 4, 6, 6), x, (3, 3), *settings),
    )
    np.testing.assert_array_equal(whole[0], parts[0])
    np.testing.assert_allclose(whole[1], parts[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("values", ["distinct", "ties", "nan", "lowest"])
@pytest.mark.parametrize("name", WINDOWS)
def test_pooling(name, values, monkeypatch):
    size, *settings = WINDOWS[name]
    x = numbers(2, 3, *size)
    if values == "ties":
        x = np.round(x)
    elif values == "nan":
        x[np.random.default_rng(1).random(x.shape) < 0.2] = np.nan
    elif values == "lowest":
        x[:] = -np.inf
    (best, index), (by_loops, places) = both(monkeypatch, lambda: xp.max_pool(x, *settings))
    np.testing.assert_array_equal(best, by_loops)
    np.testing.assert_array_equal(index, places)
    g = numbers(*best.shape)
    np.testing.assert_allclose(
        *both(monkeypatch, lambda: xp.add_places(g, index, size)), rtol=1e-6, atol=1e-6
    )


def test_a_place_outside_is_refused(monkeypatch):
    monkeypatch.setattr(module, "WORTH", 0)
    for place in (-1, 4):
        with pytest.raises(IndexError, match="place"):
            xp.add_places(np.ones((1, 1, 1), "f"), np.full((1, 1, 1), place), (4,))


@pytest.mark.parametrize("name", ["same", "strided", "line"])
def test_threads_show_in_no_bit(name, monkeypatch):
    size, kernel, *settings, _ = GEOMETRIES[name]
    monkeypatch.setattr(module, "WORTH", 0)
    monkeypatch.setattr(compiled, "SHARE", 1)
    shares = []
    run = compiled.workers.run
    monkeypatch.setattr(compiled.workers, "run", lambda *args: (shares.append(args[2]), run(*args)))
    x = numbers(3, 5, *size)
    results = []
    for threads in (1, 4):
        monkeypatch.setattr(config, "num_threads", threads)
        columns = xp.im2col(x, kernel, *settings)
        pooled = xp.max_pool(x, kernel, *settings)
        added = xp.add_places(*pooled, size)
        results.append([columns, xp.col2im(columns, size, kernel, *settings), *pooled, added])
    for alone, shared in zip(*results, strict=True):
        np.testing.assert_array_equal(alone, shared)
    assert shares == [4] * 4  # im2col, col2im, max_pool, add_places


@pytest.mark.parametrize("worth", [0, 1 << 62])
def test_channels_last_in_is_channels_last_out(worth, monkeypatch):
    monkeypatch.setattr(module, "WORTH", worth)
    x, w = numbers(2, 6, 5, 4), numbers(4, 3, 3, 4)
    x, w = x.transpose(0, 3, 1, 2), w.transpose(0, 3, 1, 2)  # (n, c, h, w) over (n, h, w, c)
    settings = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    y = xp.convolution(np.ascontiguousarray(x), w, None, *settings)
    pooled = xp.max_pool(y, (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
    means = xp.avg_pool(y, (2, 2), (2, 2), ((0, 0), (0, 0)), True, None)
    found = [xp.convolution(x, w, None, *settings), y, *pooled, means,
             xp.conv_input_grad(y, w, (6, 5), *settings)]  # fmt: skip
    for array in found:
        assert array.transpose(0, 2, 3, 1).flags.c_contiguous
    plain = xp.convolution(*map(np.ascontiguousarray, (x, w)), None, *settings)
    assert plain.flags.c_contiguous
    np.testing.assert_allclose(plain, y, rtol=1e-5, atol=1e-5)
