"""Elementwise kernels, sums and fused functions for a CUDA device, their text run on the host."""

from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.codegen import device as choosing
from gpugrad.codegen.cuda import Variant
from gpugrad.codegen.device import row_variant
from gpugrad.codegen.host import HostTarget
from gpugrad.errors import NotSupportedError
from gpugrad.testing.cuda_host import COMPILER
from gpugrad.testing.device_on_host import DeviceOnHost, using

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to run CUDA's text with")
F = gg.nn.functional


class Eager(HostTarget):
    """Kernels of the CPU also for small arrays."""

    least = 1


@pytest.fixture(params=["32-bit offsets", "64-bit offsets"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> DeviceOnHost:
    """A device whose arrays end at memory that may not be touched."""
    if request.param == "64-bit offsets":
        monkeypatch.setattr(choosing, "_FAR", 0)
    return DeviceOnHost(fenced=True)


def drawn(*shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def both(target: DeviceOnHost, f: Any, *arrays: Any) -> tuple[Any, Any, int]:
    """A function of tensors by array code and by kernels, and how many were launched."""
    want = f(*map(gg.from_numpy, arrays))
    before = len(target.launches)
    with using(target):
        got = f(*map(gg.from_numpy, arrays))
    return got, want, len(target.launches) - before


def repeated(a: Any) -> Any:
    """``a`` as large as ``WHOLE``, with steps of 0, as ``expand`` makes it."""
    strides = np.broadcast_to(a, (5, 6, 7, 32)).strides
    return np.lib.stride_tricks.as_strided(a, (5, 6, 7, 32), strides)


WHOLE = drawn(5, 6, 7, 32)
LAST = np.moveaxis(drawn(5, 7, 32, 6), -1, 1)
LAYOUTS = {
    "equal": (WHOLE, WHOLE * 2),
    "one value": (WHOLE, drawn(1)),
    "a column's": (WHOLE, drawn(32)),
    "columns of several dims": (WHOLE, drawn(7, 32)),
    "a row's": (WHOLE, drawn(5, 6, 7, 1)),
    "a channel's": (WHOLE, drawn(6, 1, 1)),
    "both broadcast": (drawn(5, 1, 7, 1), drawn(6, 1, 32)),
    "transposed": (WHOLE, drawn(32, 7, 6, 5).T),
    "both transposed": (WHOLE.T, drawn(5, 6, 7, 32).T),
    "channels last": (LAST, LAST * 2),
    "a channel's, channels last": (LAST, drawn(6, 1, 1)),
    "repeated along a row": (WHOLE, repeated(drawn(5, 6, 7, 1))),
    "repeated rows": (WHOLE, repeated(drawn(32))),
    "repeated in the middle": (WHOLE, repeated(drawn(5, 1, 7, 32))),
    "every second": (WHOLE[:, ::2], drawn(5, 3, 7, 32)),
    "backwards": (WHOLE[:, :, ::-1], WHOLE),
    "not aligned": (drawn(1001)[1:], drawn(1003)[3:]),
    "a tail": (drawn(1, 257), drawn(1, 257)),
    "one element": (drawn(1), drawn(1)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, device: DeviceOnHost) -> None:
    """Whatever the arrays lie like, one kernel gives the bits of the array code."""
    a, b = LAYOUTS[layout]
    got, want, launches = both(device, lambda x, y: x * y, a, b)
    np.testing.assert_array_equal(got.numpy(), want.numpy())
    assert got.stride() == want.stride()
    assert launches == 1


@pytest.mark.parametrize("dtype", [gg.bfloat16, gg.float16, gg.float64], ids=str)
@pytest.mark.parametrize("size", [1, 7, 8, 9, 4096, 4099])
def test_dtypes(dtype: Any, size: int, device: DeviceOnHost) -> None:
    """16-bit floats are computed in float32 and rounded once, as the array code does."""
    x, y = gg.from_numpy(drawn(size)).to(dtype), gg.from_numpy(drawn(size)[::-1].copy()).to(dtype)
    want = (x * y, x - y, x / y, x < y, F.relu(x), gg.where(x < y, x, y), x.to(gg.float32))
    with using(device):
        got = (x * y, x - y, x / y, x < y, F.relu(x), gg.where(x < y, x, y), x.to(gg.float32))
    for a, b in zip(got, want, strict=True):
        assert a.dtype is b.dtype
        np.testing.assert_array_equal(a.double().numpy(), b.double().numpy())


@pytest.mark.parametrize("dtype", [gg.int64, gg.int32, gg.uint8, gg.bool], ids=str)
def test_integers(dtype: Any, device: DeviceOnHost) -> None:
    """Integers wrap and compare as in array code."""
    x = gg.arange(300).to(dtype)
    y = x.flip(0)
    with using(device):
        got = (x & y, x == y, gg.maximum(x, y), x.to(gg.float32))
    for a, b in zip(got, (x & y, x == y, gg.maximum(x, y), x.to(gg.float32)), strict=True):
        assert (a.dtype, a.tolist()) == (b.dtype, b.tolist())


SUMS = {
    "everything": ((300, 700), None), "leading": ((300, 70), 0), "two": ((30, 40, 70), (0, 1)),
    "few long rows": ((3, 300_001), 1), "one dim": ((100_003,), 0), "the middle": ((5, 6, 7), 1),
    "short columns": ((1000, 3), 0), "wide columns": ((70, 1025), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "logsumexp"])
@pytest.mark.parametrize("case", SUMS)
def test_reductions(case: str, name: str, device: DeviceOnHost) -> None:
    """Rows, columns, everything: to the rounding of float32, in two stages where there are many."""
    shape, dim = SUMS[case]
    if name in ("logsumexp", "amax") and dim is None:
        dim = tuple(range(len(shape)))
    x = drawn(*shape)
    got, _, launches = both(device, lambda t: getattr(gg, name)(t, dim), x)
    want = getattr(gg, name)(gg.from_numpy(x.astype(np.float64)), dim)
    assert got.shape == want.shape
    scale = max(1.0, float(np.abs(want.numpy()).max()))
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=2e-6, atol=4e-6 * scale)
    if name in ("sum", "mean") and case != "the middle":
        assert 1 <= launches <= 3


def test_sums_repeat_bit_for_bit_in_any_order_of_threads() -> None:
    """Two stages in a fixed order: no bit depends on which thread or block is first."""
    x = drawn(5000, 37)
    found = []
    for order in ("forward", "reverse", 1, 2):
        with using(DeviceOnHost(order)):
            t = gg.from_numpy(x)
            found.append([t.sum(0).numpy(), t.sum().numpy(), t.mean(1).numpy()])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@gg.fuse
def normalised(x: Any, weight: Any) -> Any:
    scale = gg.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6)
    return gg.tanh(x * scale * weight)


@gg.fuse
def curve(x: Any) -> Any:
    return 0.5 * x * (1 + gg.tanh(0.7978845608 * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("dtype", [gg.float32, gg.bfloat16], ids=str)
@pytest.mark.parametrize("columns", [5, 256, 1027])
def test_fused_functions(columns: int, dtype: Any, device: DeviceOnHost) -> None:
    """One kernel forward and one backward (and one that adds up a weight's gradient)."""
    arrays = [drawn(9, columns), drawn(columns)]
    kinds = (gg.float64, dtype)
    found = []
    for kind in kinds:
        x, w = (gg.from_numpy(a).to(dtype).to(kind).requires_grad_() for a in arrays)
        before = len(device.launches)
        with using(device if kind is dtype else DeviceOnHost()):
            y = normalised(x, w)
            forward = len(device.launches) - before
            y.backward(gg.ones_like(y))
        found.append([t.detach().double().numpy() for t in (y, x.grad, w.grad)])
    assert forward == 1
    # ones_like is a launch of its own.
    assert len(device.launches) - before <= 1 + 1 + 2 + 1
    for got, want in zip(found[1], found[0], strict=True):
        bound = 1e-5 if dtype is gg.float32 else 0.04
        np.testing.assert_allclose(got, want, rtol=bound, atol=bound * np.abs(want).max())


def test_a_fused_function_is_one_kernel(device: DeviceOnHost) -> None:
    x = gg.from_numpy(drawn(1000)).requires_grad_()
    with using(device):
        y = curve(x)
    assert [grid for _, grid, _ in device.launches] == [(1, 1, 1)]
    want = F.gelu(x.detach().double(), approximate="tanh").numpy()
    np.testing.assert_allclose(y.detach().numpy(), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("eager", [DeviceOnHost, Eager])
def test_zeros_of_two_signs_are_two_constants(eager: Any) -> None:
    with using(eager()):
        x = gg.ones(300)
        for zero in (0.0, -0.0, 0.0, -0.0):
            for _ in range(3):
                assert (np.signbit((x * zero).numpy()) == np.signbit(zero)).all()


def test_devices_do_not_mix() -> None:
    with pytest.raises(NotSupportedError, match=r"fuse: tensors are on cpu, meta; accepted"):
        normalised(gg.ones(2, 3), gg.ones(3, device="meta"))


def test_a_chain_of_ops_and_its_gradient(device: DeviceOnHost) -> None:
    """The whole tape over kernels: an MLP with a norm, dropout off, cross entropy."""

    def run(dtype: Any) -> list[Any]:
        gg.manual_seed(0)
        model = gg.nn.Sequential(
            gg.nn.Linear(20, 33), gg.nn.LayerNorm(33), gg.nn.GELU(), gg.nn.Linear(33, 5)
        ).to(dtype)
        x, t = gg.from_numpy(drawn(17, 20)).to(dtype), gg.arange(17) % 5
        loss = F.cross_entropy(model(x), t)
        loss.backward()
        return [loss.detach(), *(p.grad for p in model.parameters())]

    want = run(gg.float64)
    with using(device):
        got = run(gg.float32)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-6)
    assert len(device.launches) > 10


class _Any:
    """A writer that takes so many registers per column."""

    def __init__(self, words: float) -> None:
        self._words = words

    heavy = False

    def words(self) -> float:
        return self._words


@pytest.mark.parametrize("words", [0.5, 1, 2, 4])
@pytest.mark.parametrize("columns", [1, 31, 33, 1023, 1025, 4097, 8192, 65537, 1 << 20])
@pytest.mark.parametrize("width", [1, 4, 8])
def test_every_column_has_a_thread(columns: int, width: int, words: float) -> None:
    """On chip, threads times accesses cover the row, and registers suffice."""
    v = row_variant(_Any(words), columns, width, False, False)  # type: ignore[arg-type]
    assert v.block <= 1024
    assert v.threads & (v.threads - 1) == 0
    if v.packs:
        assert v.threads * v.packs * width >= columns
        assert v.threads * (v.packs - 1) * width < columns
        assert v.packs == 1 or v.packs * width * words <= 80
        assert v.packs == 1 or v.packs * width <= 64


def test_a_wrong_grid_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: half the blocks are left out."""
    launch = DeviceOnHost.kernel

    def half(self: Any, source: str, name: str, what: str = "") -> Any:
        real = launch(self, source, name, what)
        inner = real.launch
        real.launch = lambda grid, *rest: inner((max(grid[0] // 2, 1), 1, 1), *rest)
        return real

    monkeypatch.setattr(DeviceOnHost, "kernel", half)
    got, want, _ = both(DeviceOnHost(), lambda x: x * 2, drawn(5000))
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(got.numpy(), want.numpy())


def test_variants_say_how_many_threads_a_block_has() -> None:
    assert [Variant(threads=t).block for t in (0, 4, 32, 64, 512)] == [256, 128, 128, 64, 512]
