"""Normalisation over channels: the compiled loops and the CUDA text against exact values.

The text of ``kernels/channels.cu`` is executed on the host by ``gpugrad.testing.cuda_host``; the
Python that launches it is the real one, over NumPy's arrays.
"""

from __future__ import annotations

import shutil
from functools import cache
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import dtypes
from gpugrad.autograd import grad
from gpugrad.backends import NUMPY, compiled
from gpugrad.backends.additions import channels as array_code
from gpugrad.backends.memory.host import Lease
from gpugrad.backends.nvidia import channels as kernels
from gpugrad.backends.nvidia import flat
from gpugrad.config import config
from gpugrad.functional_namespace import F
from gpugrad.testing.cuda_host import HostModule

xp: Any = NUMPY.xp
NAMES = ("channel_norm", "channel_apply", "channel_norm_grad")
DTYPES = {"float32": np.dtype("f"), "float64": np.dtype("d"), "float16": np.dtype("e"),
          "bfloat16": dtypes.bfloat16.np}  # fmt: skip
#: Accepted errors: of sums in another order, and of a rounding to 16 bits.
PRECISION = {"float32": 2e-6, "float64": 1e-13, "float16": 1e-3, "bfloat16": 8e-3}
SHAPES = [(6, 5, 8, 8), (3, 8, 7, 3), (70, 72), (5, 3), (2, 3, 4, 5, 6), (40, 4, 9), (3, 2, 5000)]
needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is missing")


def last(x: Any) -> Any:
    """The same images with channels last in memory."""
    order = (0, *range(2, x.ndim), 1)
    return np.ascontiguousarray(x.transpose(order)).transpose(0, -1, *range(1, x.ndim - 1))


def drawn(shape: tuple[int, ...], dtype: Any = "f", layout: Any = np.ascontiguousarray) -> Any:
    """Images x, g and a residual, and weight, bias, g_mean and g_var in the dtype of statistics."""
    r = np.random.default_rng(len(shape))
    images = [layout((r.standard_normal(shape) * s + m).astype(dtype))
              for s, m in ((2, 0.5), (1, 0), (1, 0))]  # fmt: skip
    wide = array_code.wide(images[0].dtype)
    return images, [r.standard_normal(shape[1]).astype(wide) for _ in range(4)]


def exact(x: Any, w: Any, b: Any, g: Any, g_mean: Any, g_var: Any, eps: float) -> list[Any]:
    """Result, moments and gradients by their definitions, in float64."""
    x, w, b, g, g_mean, g_var = (a.astype("d") for a in (x, w, b, g, g_mean, g_var))
    over, n = (0, *range(2, x.ndim)), x.size // x.shape[1]

    def along(v: Any) -> Any:
        return v.reshape(-1, *(1,) * (x.ndim - 2))

    mean, var = x.mean(over), x.var(over)
    d, scale = x - along(mean), 1 / np.sqrt(var + eps)
    unit = d * along(scale)
    s_g, s_gu = g.sum(over), (g * unit).sum(over)
    dx = along(w * scale) * (g - along(s_g / n) - unit * along(s_gu / n))
    dx += along(g_mean / n) + d * along(2 * g_var / n)
    return [unit * along(w) + along(b), mean, var, dx, s_gu, s_g]


def found(own: Any, x: Any, w: Any, b: Any, g: Any, g_mean: Any, g_var: Any,
          eps: float) -> list[Any]:  # fmt: skip
    """The same by functions of arrays."""
    out, mean, var = own["channel_norm"](x, w, b, eps)
    back = own["channel_norm_grad"](g, x, mean, var, w, g_mean, g_var, eps, True)
    return [out, mean, var, *back]


def check(got: list[Any], want: list[Any], x: Any, name: str) -> None:
    """Values, dtypes and layouts; errors are measured by the largest number of an array."""
    for i, (a, e) in enumerate(zip(got, want, strict=True)):
        images = i in (0, 3)
        assert a.dtype == (x.dtype if images else array_code.wide(x.dtype))
        assert not images or x.ndim == 3 or a.strides == x.strides  # a line has one layout
        tolerance = PRECISION[name if images else {"float64": name}.get(name, "float32")]
        np.testing.assert_allclose(a.astype("d"), e, 0, tolerance * max(np.abs(e).max(), 1))


def both(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Functions by NumPy and by the compiled loops."""

    def at(worth: int) -> Any:
        def run(name: str) -> Any:
            def call(*args: Any) -> Any:
                monkeypatch.setattr(array_code, "WORTH", worth)
                return getattr(xp, name)(*args)

            return call

        return {name: run(name) for name in NAMES}

    return [at(1 << 62), at(0)]


# ---- the compiled loops ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", [np.ascontiguousarray, last])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients(shape: Any, layout: Any, dtype: str,
                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Both ways give what float64 gives, in the layout of the input."""
    (x, g, _), (w, b, g_mean, g_var) = drawn(shape, DTYPES[dtype], layout)
    args = (x, w, b, g, g_mean, g_var, 1e-3)
    want = exact(*args)
    for own in both(monkeypatch):
        check(found(own, *args), want, x, dtype)


@pytest.mark.parametrize("layout", [np.ascontiguousarray, last])
@pytest.mark.parametrize("rest", [(None, False), ("residual", False), ("residual", True),
                                  (None, True)])  # fmt: skip
def test_given_moments_give_the_same_bits(rest: Any, layout: Any,
                                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """NumPy's passes and the loops write the same, a NaN and a residual in another layout too."""
    (x, _, more), (w, b, mean, var) = drawn((4, 6, 5, 7), "f", layout)
    x[0, 1, 2, 3], x[1, 2, 0, 0] = np.nan, -np.inf
    residual = None if rest[0] is None else last(more) if layout is not last else more.copy()
    args = (x, mean, var * var, w, b, 0.1, residual, rest[1])
    one, two = (own["channel_apply"](*args) for own in both(monkeypatch))
    np.testing.assert_array_equal(one, two)
    assert np.isnan(two[0, 1, 2, 3])
    assert not rest[1] or not (two < 0).any()


@pytest.mark.parametrize("layout", [np.ascontiguousarray, last])
@pytest.mark.parametrize("mean", [0, 3e3, -1e4])
@pytest.mark.parametrize("scale", [1e-2, 1.0])
def test_no_digits_cancel(scale: float, mean: float, layout: Any,
                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """A variance far below the square of the mean is as exact as any other."""
    r = np.random.default_rng(0)
    x = layout((r.standard_normal((16, 6, 12, 11)) * scale + mean).astype("f"))
    x[:, 4], x[:, 5] = mean, 0
    x[0, 3, 0, 0] += 1000 * scale  # an outlier where a running shift would begin
    want = x.astype("d").var((0, 2, 3))
    for own in both(monkeypatch):
        _, middle, var = own["channel_norm"](x, None, None, 1e-5)
        exactly = x.astype("d").mean((0, 2, 3))
        np.testing.assert_allclose(middle, exactly, rtol=1.2e-7, atol=4e-8 * scale)
        np.testing.assert_allclose(var, want, rtol=2e-6)
        assert var[4] == var[5] == 0


@pytest.mark.parametrize("layout", [np.ascontiguousarray, last])
def test_threads_show_in_no_bit(layout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread and four give the same, and four do take part."""
    monkeypatch.setattr(array_code, "WORTH", 0)
    monkeypatch.setattr(compiled, "SHARE", 1)
    shares = []
    run = compiled.workers.run
    monkeypatch.setattr(compiled.workers, "run", lambda *a: (shares.append(a[2]), run(*a)))
    (x, g, _), (w, b, g_mean, g_var) = drawn((9, 11, 15, 17), "f", layout)
    results = []
    for threads in (1, 4):
        monkeypatch.setattr(config, "num_threads", threads)
        results.append(found({n: getattr(xp, n) for n in NAMES}, x, w, b, g, g_mean, g_var, 1e-3))
    for alone, shared in zip(*results, strict=True):
        np.testing.assert_array_equal(alone, shared)
    assert shares == [4] * 4


@pytest.mark.parametrize("layout", [np.ascontiguousarray, last])
def test_large_results_are_handed_on_without_a_copy(layout: Any) -> None:
    """They look into pooled memory themselves: only then a leaf takes them as they are."""
    (x, g, _), (w, b, mean, var) = drawn((16, 8, 32, 32), "f", layout)
    out = xp.channel_norm(x, w, b, 1e-3)[0]
    dx = xp.channel_norm_grad(g, x, mean, var**2, w, None, None, 1e-3, True)[0]
    assert isinstance(out.base, Lease)
    assert isinstance(dx.base, Lease)


# ---- against PyTorch, at sizes where the loops run ---------------------------------------------


def in_torch(tensors: Any, dtype: str) -> Any:
    import torch

    return [torch.tensor(t, dtype=getattr(torch, dtype)) for t in tensors]


@pytest.mark.torch
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("layout", ["planes", "channels last"])
def test_as_pytorch(layout: str, dtype: str, training: bool) -> None:
    """Values, running statistics, gradients; 16-bit images with float32 parameters."""
    import torch

    r = np.random.default_rng(0)
    shape, wide = (8, 16, 13, 14), "float32" if dtype == "bfloat16" else dtype
    images = [r.standard_normal(shape) * 2 + 0.3 for _ in range(2)]
    vectors = [r.standard_normal(16), r.standard_normal(16), r.standard_normal(16), r.random(16)]
    results = []
    for lib in (gg, torch):
        x, g = (lib.tensor(i, dtype=getattr(lib, dtype)) for i in images)
        w, b, mean, var = (lib.tensor(v, dtype=getattr(lib, wide)) for v in vectors)
        if layout == "channels last":
            x = x.contiguous(memory_format=lib.channels_last)
        for t in (x, w, b):
            t.requires_grad_()
        y = lib.nn.functional.batch_norm(x, mean, var, w, b, training, 0.3, 1e-3)
        y.backward(g)
        results.append([y.detach(), mean, var, x.grad, w.grad, b.grad])
    precision = {"float32": 2e-5, "float64": 1e-12, "bfloat16": 2e-2}[dtype]
    for ours, theirs in zip(*results, strict=True):
        assert str(ours.dtype).split(".")[-1] == str(theirs.dtype).split(".")[-1]
        a, e = ours.double().numpy(), theirs.double().numpy()
        np.testing.assert_allclose(a, e, 0, precision * max(np.abs(e).max(), 1))


@pytest.mark.torch
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_second_derivatives_as_pytorch(affine: bool, training: bool) -> None:
    """The gradient of a function of the gradients, in every input, through the loops."""
    import torch

    r = np.random.default_rng(0)
    arrays = [r.standard_normal((8, 16, 12, 11)), r.standard_normal((8, 16, 12, 11)),
              r.standard_normal(16), r.standard_normal(16)]  # fmt: skip
    mean, var = r.standard_normal(16), r.random(16) + 0.5
    results = []
    for lib in (gg, torch):
        x, g, w, b = (lib.tensor(a, dtype=lib.float64).requires_grad_() for a in arrays)
        moments = (lib.tensor(m, dtype=lib.float64) for m in (mean, var))
        inputs = [x, w, b] if affine else [x]
        y = lib.nn.functional.batch_norm(
            x, *moments, *(inputs[1:] or (None, None)), training, 0.1, 1e-3
        )
        first = lib.autograd.grad(y, inputs, g, create_graph=True)
        total = sum((d * d * d).sum() for d in first)
        results.append(lib.autograd.grad(total, [x, g, *inputs[1:2]], allow_unused=True))
    for ours, theirs in zip(*results, strict=True):
        e = np.zeros_like(ours.numpy()) if theirs is None else theirs.numpy()
        np.testing.assert_allclose(ours.numpy(), e, 0, 1e-11 * max(np.abs(e).max(), 1))


@pytest.mark.torch
def test_a_small_variance_far_from_zero_as_pytorch() -> None:
    """Against float64 no worse than PyTorch's float32: a mean of 1e4, deviations of 0.01."""
    import torch

    r = np.random.default_rng(0)
    x = (r.standard_normal((16, 8, 16, 16)) * 1e-2 + 1e4).astype("f")
    wide = x.astype("d")
    want = (wide - wide.mean((0, 2, 3), keepdims=True)) / np.sqrt(
        wide.var((0, 2, 3), keepdims=True) + 1e-9
    )
    errors = [
        np.abs(lib.nn.functional.batch_norm(
            lib.tensor(x), None, None, training=True, eps=1e-9).numpy() - want).max()
        for lib in (gg, torch)
    ]  # fmt: skip
    assert errors[0] <= errors[1]
    # What is left is the mean's rounding to float32: half a step of 2 ** -10, in deviations.
    assert errors[0] <= 2**-11 / 1e-2 * 1.1


@pytest.mark.torch
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("shape", [(4, 3, 5, 5), (8, 16, 13, 14)], ids=["NumPy", "loops"])
def test_relu_and_residual_in_the_same_pass(shape: Any, residual: bool) -> None:
    """``channel_norm_relu`` is the three functions one after the other, gradients included."""
    import torch

    r = np.random.default_rng(0)
    arrays = [r.standard_normal(shape), r.standard_normal(shape[1]), r.standard_normal(shape[1]),
              r.standard_normal(shape)][: 4 if residual else 3]  # fmt: skip
    g = r.standard_normal(shape)
    ours = [gg.tensor(a).requires_grad_() for a in arrays]
    theirs = [t.requires_grad_() for t in in_torch(arrays, "float64")]
    out = F.channel_norm_relu(*ours, *(() if residual else (None,)), 1e-3).out
    normed = torch.nn.functional.batch_norm(theirs[0], None, None, *theirs[1:3], True, 0, 1e-3)
    want = torch.relu(normed + theirs[3] if residual else normed)
    np.testing.assert_allclose(out.detach().numpy(), want.detach().numpy(), atol=1e-12)
    want.backward(torch.tensor(g))
    for a, e in zip(grad(out, ours, gg.tensor(g)), theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), e.grad.numpy(), atol=1e-11)


# ---- the CUDA text -----------------------------------------------------------------------------


@cache
def module(source: str) -> HostModule:
    return HostModule(source)


class Host:
    """Takes the place of ``launch.kernel``; notes names and grids."""

    def __init__(self) -> None:
        self.order: str | int = "forward"
        self.ran: list[tuple[str, tuple[int, int, int]]] = []

    def kernel(self, source: str, name: str, what: str) -> Any:
        host = self

        class Kernel:
            def launch(self, grid: Any, block: Any, args: tuple[Any, ...]) -> None:
                host.ran.append((name, grid))
                given = [0 if a is None else _dense(a) for a in args]
                module(source).launch(name, grid, block, given, order=host.order, fenced=True)

        return Kernel()


def _dense(a: Any) -> Any:
    """Images with channels last as they lie in memory, for the fence behind them."""
    if not isinstance(a, np.ndarray) or a.flags.c_contiguous:
        return a
    return a.transpose(*np.argsort(a.strides)[::-1])


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    """Kernels run on the host, on NumPy's arrays."""
    made = Host()
    monkeypatch.setattr(kernels.launch, "kernel", made.kernel)
    monkeypatch.setattr(flat, "address", lambda array: array.ctypes.data)
    return made


device: Any = kernels.over(np, {n: getattr(xp, n) for n in NAMES})


@needs_gxx
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", [np.ascontiguousarray, last])
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kernels(shape: Any, bits: int, layout: Any, dtype: str, host: Host,
                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """They give what float64 gives, in the layout of the input, by two launches each way."""
    monkeypatch.setattr(kernels, "bits_for", lambda *counts: bits)
    (x, g, _), (w, b, g_mean, g_var) = drawn(shape, DTYPES[dtype], layout)
    args = (x, w, b, g, g_mean, g_var, 1e-3)
    check(found(device, *args), exact(*args), x, dtype)
    assert [name for name, _ in host.ran] == [
        "channel_moments", "channel_apply", "channel_sums", "channel_gradient",
    ]  # fmt: skip


@needs_gxx
@pytest.mark.parametrize("layout", [np.ascontiguousarray, last])
def test_any_order_of_threads_gives_the_same_bits(layout: Any, host: Host) -> None:
    """Several blocks share a channel, which each joins their parts in one order."""
    (x, g, _), (w, b, g_mean, g_var) = drawn((20, 8, 32, 32), "f", layout)
    results = []
    for order in ("forward", "reverse", 7, "forward"):
        host.order = order
        results.append(found(device, x, w, b, g, g_mean, g_var, 1e-3))
    assert all(grid[1] > 1 for _, grid in host.ran)
    check(results[0], exact(x, w, b, g, g_mean, g_var, 1e-3), x, "float32")
    for other in results[1:]:
        for a, e in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, e)


@needs_gxx
@pytest.mark.parametrize("layout", [np.ascontiguousarray, last])
@pytest.mark.parametrize("mean", [3e3, -1e4])
def test_no_digits_cancel_in_kernels(mean: float, layout: Any, host: Host) -> None:
    """As in the loops, with an outlier as the number that moments are taken about."""
    r = np.random.default_rng(0)
    x = layout((r.standard_normal((16, 6, 12, 12)) * 1e-2 + mean).astype("f"))
    x[:, 4], x[:, 5], x[0, 3, 0, 0] = mean, 0, mean + 10
    _, middle, var = device["channel_norm"](x, None, None, 1e-5)
    np.testing.assert_allclose(middle, x.astype("d").mean((0, 2, 3)), rtol=1.2e-7)
    np.testing.assert_allclose(var, x.astype("d").var((0, 2, 3)), rtol=2e-6)
    assert var[4] == var[5] == 0


@needs_gxx
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, last])
def test_what_may_be_left_out(layout: Any, dtype: str, host: Host) -> None:
    """Given moments, a residual, relu, no weight or bias: as the array code; NaN stays NaN."""
    (x, g, more), (w, b, mean, var) = drawn((4, 12, 6, 6), DTYPES[dtype], layout)
    x[1, 2, 3, 4] = np.nan
    var = var * var
    for args in ((x, mean, var, w, b, 0.1, more, True), (x, mean, var, None, b, 0.1, None, True),
                 (x, mean, var, w, None, 0.1, more.copy(), False)):  # fmt: skip
        got, want = (own["channel_apply"](*args) for own in (device, vars(xp)))
        np.testing.assert_allclose(got.astype("d"), want.astype("d"), 0, 16 * PRECISION[dtype])
    x[1, 2, 3, 4] = 1
    args = (g, x, mean, var, None, None, None, 0.1, False)
    for got, want in zip(
        *(own["channel_norm_grad"](*args) for own in (device, vars(xp))), strict=True
    ):
        np.testing.assert_allclose(got.astype("d"), want.astype("d"), 0, 64 * PRECISION[dtype])


@needs_gxx
def test_rows_that_are_not_aligned(host: Host) -> None:
    """Images that begin between two accesses of 16 bytes are moved element by element."""
    (x, g, _), (w, b, g_mean, g_var) = drawn((4, 8, 4, 4))
    off = np.empty(x.size + 1, "f")[1:].reshape(x.shape)
    off[...] = x
    assert off.ctypes.data % 16
    args = (w, b, g, g_mean, g_var, 1e-3)
    check(found(device, off, *args), exact(x, *args), x, "float32")
