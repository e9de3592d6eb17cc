"""Hand-written kernels, executed on the host, give what the array code and PyTorch give.

The Python side is the real one, over NumPy's arrays; launches go to ``gpugrad.testing.cuda_host``,
which runs the text of ``kernels/`` with memory fenced off behind every array.
"""

from __future__ import annotations

import ctypes
import shutil
from functools import cache
from typing import Any

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.backends import NUMPY
from gpugrad.backends import philox as array_philox
from gpugrad.backends.additions import indexing
from gpugrad.backends.nvidia import compile as compiling
from gpugrad.backends.nvidia import flat, patches, philox, pooling, segments
from gpugrad.backends.nvidia.text import text
from gpugrad.errors import DeviceError
from gpugrad.testing.cuda_host import HostModule

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is missing")

xp: Any = NUMPY.xp
BF16 = dtypes.bfloat16.np
FLOATS = {"float32": np.dtype("f"), "float64": np.dtype("d"), "float16": np.dtype("e"),
          "bfloat16": BF16}  # fmt: skip
#: Accepted relative error: that of storing in the dtype, and of sums in another order.
PRECISION = {"float32": 2e-6, "float64": 1e-14, "float16": 1e-3, "bfloat16": 8e-3}
ORDERS: tuple[str | int, ...] = ("forward", "reverse", 7)


@cache
def module(source: str) -> HostModule:
    return HostModule(source)


class Host:
    """Takes the place of ``launch.kernel``: runs kernels on the host, in a chosen order of threads.

    Attributes:
        order: of threads and blocks.
        fenced: whether touching what lies behind an array fails; it begins at 16 bytes then.
        names: of the kernels that ran.
    """

    def __init__(self) -> None:
        self.order: str | int = "forward"
        self.fenced = True
        self.names: list[str] = []

    def kernel(self, source: str, name: str, what: str = "") -> Any:
        host = self

        class Kernel:
            def launch(self, grid: Any, block: Any, args: tuple[Any, ...]) -> None:
                host.names.append(name)
                given = [ctypes.c_void_p(0) if a is None else a for a in args]
                arrays = [a for a in args if isinstance(a, np.ndarray)]
                fenced = host.fenced and all(a.flags.c_contiguous for a in arrays)
                module(source).launch(name, grid, block, given, order=host.order, fenced=fenced)

        return Kernel()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    """Kernels run on the host, on NumPy's arrays."""
    made = Host()
    monkeypatch.setattr(flat.launch, "kernel", made.kernel)
    monkeypatch.setattr(flat, "address", lambda array: array.ctypes.data)
    return made


@pytest.fixture(params=[32, 64])
def bits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The bits of an element's number, whatever the size."""
    for where in (pooling, patches, segments):
        monkeypatch.setattr(where, "bits_for", lambda *counts: request.param)
    return int(request.param)


def numbers(shape: tuple[int, ...], dtype: Any = "f", seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def last(x: Any) -> Any:
    """The same images with channels last in memory."""
    order = (0, *range(2, x.ndim), 1)
    return np.ascontiguousarray(x.transpose(order)).transpose(
        0, x.ndim - 1, *range(1, x.ndim - 1)
    )  # fmt: skip


def close(got: Any, want: Any, name: str, terms: float = 1) -> None:
    """Equal but for the rounding of the dtype; ``terms``: how far sums may cancel."""
    assert got.shape == want.shape
    got, want = got.astype("d"), want.astype("d")
    np.testing.assert_allclose(got, want, rtol=PRECISION[name], atol=PRECISION[name] * terms)


def same_bits(host: Host, call: Any) -> Any:
    """What a call gives, which must be the same in every order of threads, and twice."""
    results = []
    for order in (*ORDERS, ORDERS[0]):
        host.order = order
        found = call()
        results.append([x.copy() for x in (found if isinstance(found, tuple) else (found,))])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert a.tobytes() == b.tobytes()
    return found


# ---- all files ---------------------------------------------------------------------------------


FILES = ("patches.cu", "philox.cu", "pooling.cu", "segments.cu")


@pytest.mark.parametrize("name", FILES)
def test_every_file_compiles_without_spills(name: str) -> None:
    """For one architecture; CI has the others."""
    try:
        compiling.version()
    except DeviceError as missing:
        pytest.skip(str(missing))
    found = compiling.compiled(text(name), "sm_90", name)
    assert found.usage
    assert {k for k, used in found.usage.items() if used.spill_stores or used.spill_loads} == set()


# ---- pooling -----------------------------------------------------------------------------------

#: size, kernel, stride, padding (before and after), dilation
WINDOWS: dict[str, Any] = {
    "plain": ((6, 8), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1)),
    "overlapping": ((7, 7), (3, 3), (2, 1), ((1, 1), (1, 0)), (1, 1)),
    "ceil": ((8, 9), (3, 2), (2, 2), ((1, 2), (1, 1)), (1, 1)),
    "apart": ((9, 10), (2, 2), (3, 4), ((0, 0), (1, 0)), (1, 1)),
    "line": ((33,), (3,), (2,), ((1, 1),), (1,)),
    "long line": ((1025,), (5,), (4,), ((2, 2),), (1,)),
    "one": ((1, 1), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    "volume": ((4, 5, 6), (2, 3, 2), (2, 1, 2), ((1, 0), (1, 1), (0, 0)), (1, 1, 1)),
    "volume of lines": ((31, 1, 32), (3, 1, 2), (1, 1, 2), ((1, 1), (0, 0), (0, 0)), (1, 1, 1)),
}
DILATED: dict[str, Any] = {
    "dilated": ((8, 9), (2, 3), (1, 2), ((1, 1), (1, 1)), (3, 2)),
    "dilated line": ((17,), (3,), (1,), ((1, 1),), (4,)),
    "dilated volume": ((5, 6, 7), (2, 2, 3), (1, 2, 1), ((1, 1), (0, 0), (1, 1)), (2, 1, 2)),
    "only padding": ((2,), (2,), (1,), ((1, 1),), (3,)),
}
GEOMETRIES = {**WINDOWS, **DILATED}
pool: Any = pooling.over(np, {})


@pytest.mark.parametrize("values", ["distinct", "ties", "nan", "lowest"])
@pytest.mark.parametrize("laid", ["planes", "channels last"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_largest_of_windows(name: str, laid: str, values: str, host: Host) -> None:
    """Values and places are the array code's to the bit, in float32 and in both layouts."""
    size, *settings = GEOMETRIES[name]
    x = numbers((2, 4, *size))
    if values == "ties":
        x = np.round(x)
    elif values == "nan":
        x[np.random.default_rng(1).random(x.shape) < 0.2] = np.nan
    elif values == "lowest":
        x[:] = -np.inf
    best, index = xp.max_pool(x, *settings)
    given = last(x) if laid == "channels last" else x
    found, places = same_bits(host, lambda: pool["max_pool"](given, *settings))
    np.testing.assert_array_equal(found, best)
    np.testing.assert_array_equal(places, index)
    wide = laid == "channels last" and len(size) > 1 and np.prod(size) > 1
    assert set(host.names) == {f"max_pool_float32_32_{4 if wide else 1}"}
    assert not wide or found.transpose(0, *range(2, x.ndim), 1).flags.c_contiguous
    if values == "lowest" and name == "only padding":
        return  # of nothing but padding: no element has a gradient
    inside = (index >= 0) & (index < np.prod(size))
    g = np.where(inside, numbers(best.shape, seed=2), 0).astype("f")
    want = xp.add_places(g, np.where(inside, index, 0), size)
    grad = same_bits(host, lambda: pool["max_pool_grad"](g, places, size, *settings))
    np.testing.assert_allclose(grad, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3, 8, 16])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["overlapping", "line", "volume", "dilated"])
def test_pooling_in_every_dtype(name: str, dtype: str, channels: int, bits: int,
                                host: Host) -> None:  # fmt: skip
    """16-bit floats are computed in float32, and 16 bytes are moved at once where rows allow."""
    size, *settings = GEOMETRIES[name]
    for layout in (last, np.ascontiguousarray):
        x = layout(numbers((2, channels, *size), FLOATS[dtype]))
        wide = x.astype("f" if x.itemsize == 2 else x.dtype)
        best, index = xp.max_pool(wide, *settings)
        found, places = pool["max_pool"](x, *settings)
        np.testing.assert_array_equal(found.astype(wide.dtype), best)
        np.testing.assert_array_equal(places, index)
        g = numbers(best.shape, FLOATS[dtype], seed=2)
        grad = pool["max_pool_grad"](g, places, size, *settings)
        assert grad.dtype == x.dtype
        close(grad, xp.add_places(g.astype(wide.dtype), index, size), dtype, 4)
        if name == "dilated":
            continue
        *settings_, _ = settings
        mean = pool["avg_pool"](x, *settings_, True, None)
        assert mean.dtype == x.dtype
        close(mean, xp.avg_pool(wide, *settings_, True, None), dtype)
        g = layout(numbers(mean.shape, FLOATS[dtype], seed=2))
        grad = pool["avg_pool_grad"](g, size, *settings_, True, None)
        close(grad, xp.avg_pool_grad(g.astype(wide.dtype), size, *settings_, True, None), dtype, 2)
    assert {n.split("_")[-2] for n in host.names} == {str(bits)}
    by_sixteen = {"float32": 4, "float16": 8, "bfloat16": 8}.get(dtype, 1)
    packs = bits == 32 and len(size) > 1 and not channels % by_sixteen
    assert {n.split("_")[-1] for n in host.names} == {"1", str(by_sixteen if packs else 1)}


@pytest.mark.parametrize("divisor", [None, 3])
@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("laid", ["planes", "channels last"])
@pytest.mark.parametrize("name", WINDOWS)
def test_means_of_windows(name: str, laid: str, include: bool, divisor: int | None,
                          host: Host) -> None:  # fmt: skip
    """Padding counts or not, windows of ``ceil_mode`` reach out, and both layouts agree."""
    size, *settings, _ = WINDOWS[name]
    x = numbers((2, 4, *size), "d")
    layout = last if laid == "channels last" else np.ascontiguousarray
    want = xp.avg_pool(x, *settings, include, divisor)
    found = same_bits(host, lambda: pool["avg_pool"](layout(x), *settings, include, divisor))
    close(found, want, "float64")
    g = numbers(want.shape, "d", seed=2)
    want = xp.avg_pool_grad(g, size, *settings, include, divisor)
    grad = same_bits(
        host, lambda: pool["avg_pool_grad"](layout(g), size, *settings, include, divisor)
    )
    close(grad, want, "float64")


@pytest.mark.torch
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("side", [1, 2, 31, 33])
def test_pooling_as_in_pytorch(side: int, ceil: bool, host: Host) -> None:
    """Values, places and gradients of 3 by 2 windows; padding of one side more with ``ceil``."""
    import torch

    x = torch.from_numpy(numbers((2, 3, side, 32), "d")).requires_grad_()
    options = {"kernel_size": (3, 2), "stride": (2, 2), "padding": (1, 1), "ceil_mode": ceil}
    best, index = torch.nn.functional.max_pool2d(x, return_indices=True, **options)
    mean = torch.nn.functional.avg_pool2d(x, count_include_pad=False, **options)
    after = [(o - 1) * 2 + k - n - 1 for o, k, n in zip(best.shape[2:], (3, 2), x.shape[2:])]
    settings = ((3, 2), (2, 2), tuple((1, max(a, 0)) for a in after))
    found, places = pool["max_pool"](x.detach().numpy(), *settings, (1, 1))
    np.testing.assert_array_equal(found, best.detach().numpy())
    np.testing.assert_array_equal(places, index.numpy())
    close(pool["avg_pool"](x.detach().numpy(), *settings, False, None), mean.detach().numpy(),
          "float64")  # fmt: skip
    g, h = numbers(best.shape, "d", 3), numbers(best.shape, "d", 4)
    (want,) = torch.autograd.grad(best, x, torch.from_numpy(g))
    close(pool["max_pool_grad"](g, places, (side, 32), *settings, (1, 1)), want.numpy(), "float64")
    (want,) = torch.autograd.grad(mean, x, torch.from_numpy(h))
    found = pool["avg_pool_grad"](h, (side, 32), *settings, False, None)
    close(found, want.numpy(), "float64")


def test_no_images_launch_nothing(host: Host) -> None:
    """Neither an empty batch nor no channels has a thread."""
    settings = ((2, 2), (2, 2), ((0, 0), (0, 0)))
    for shape in ((0, 3, 4, 4), (2, 0, 4, 4)):
        x = np.empty(shape, "f")
        best, index = pool["max_pool"](x, *settings, (1, 1))
        assert best.shape == index.shape == (*shape[:2], 2, 2)
        assert pool["max_pool_grad"](best, index, (4, 4), *settings, (1, 1)).shape == shape
    assert not host.names


def test_integers_keep_the_array_code(host: Host) -> None:
    """No kernel is compiled for them."""
    own = pooling.over(np, {"max_pool": xp.max_pool})
    x = np.arange(16).reshape(1, 1, 4, 4)
    best, _ = own["max_pool"](x, (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
    assert best.tolist() == [[[[5, 7], [13, 15]]]]
    assert not host.names


# ---- patches -----------------------------------------------------------------------------------

folds: Any = patches.over(np, {})
PATCHES: dict[str, Any] = {
    **GEOMETRIES,
    "wide padding": ((2, 3), (4, 5), (1, 1), ((3, 3), (4, 4)), (1, 1)),
    "beyond": ((2, 3), (5, 7), (1, 1), ((2, 2), (3, 3)), (1, 1)),
}


@pytest.mark.parametrize("name", PATCHES)
def test_patches(name: str, bits: int, host: Host) -> None:
    """Columns are copies, and their sums are added in the array code's order: equal to the bit."""
    size, *settings = PATCHES[name]
    x = numbers((3, 2, *size))
    want = xp.im2col(x, *settings)
    turned = np.swapaxes(np.swapaxes(x, 0, 1).copy(), 0, 1)
    for given in (x, last(x), turned):
        columns = same_bits(host, lambda given=given: folds["im2col"](given, *settings))
        np.testing.assert_array_equal(columns, want)
    sums = same_bits(host, lambda: folds["col2im"](want, size, *settings))
    np.testing.assert_array_equal(sums, xp.col2im(want, size, *settings))
    assert {n.split("_")[-1] for n in host.names} == {str(bits)}


@pytest.mark.parametrize("dtype", [*FLOATS.values(), np.dtype(bool)], ids=str)
def test_patches_in_every_dtype(dtype: Any, bits: int, host: Host) -> None:
    """Bits are moved as they are; sums are rounded once."""
    size, *settings = GEOMETRIES["overlapping"]
    x = numbers((2, 3, *size), "f").astype(dtype)
    columns = folds["im2col"](x, *settings)
    assert columns.dtype == dtype
    np.testing.assert_array_equal(columns, xp.im2col(x.astype("d"), *settings).astype(dtype))
    if dtype.kind == "b":
        return
    sums = folds["col2im"](columns, size, *settings)
    assert sums.dtype == dtype
    close(sums, xp.col2im(columns.astype("d"), size, *settings), dtype.name, 4)


@pytest.mark.torch
@pytest.mark.parametrize("settings", [((3, 2), 1, 0, 1), ((2, 3), (2, 1), (1, 2), (2, 1))])
def test_patches_as_in_pytorch(settings: Any, host: Host) -> None:
    """``unfold`` and ``fold``."""
    import torch

    kernel, stride, padding, dilation = settings
    two = [v if isinstance(v, tuple) else (v, v) for v in (stride, padding, dilation)]
    pairs = tuple((p, p) for p in two[1])
    x = numbers((2, 3, 9, 31), "d")
    want = torch.nn.functional.unfold(torch.from_numpy(x), kernel, dilation, padding, stride)
    columns = folds["im2col"](x, kernel, two[0], pairs, two[2])
    np.testing.assert_array_equal(columns, want.numpy())
    sums = torch.nn.functional.fold(want, (9, 31), kernel, dilation, padding, stride)
    close(folds["col2im"](columns, (9, 31), kernel, two[0], pairs, two[2]), sums.numpy(), "float64",
          4)  # fmt: skip


# ---- segments ----------------------------------------------------------------------------------

COUNTS = (0, 1, 31, 32, 33, 64, 65, 513, 1025)


def combined(ufunc: Any, out: Any, places: Any, values: Any) -> Any:
    """By NumPy, in float64 or in the integers themselves."""
    wide = out.astype("d") if out.dtype.kind not in "biu" else out.copy()
    ufunc.at(wide, places, values.astype(wide.dtype))
    return wide


def check_combine(host: Host, ufunc: Any, out: Any, places: Any, values: Any) -> None:
    def run() -> Any:
        result = out.copy()
        segments.combine(np, ufunc.__name__, result, places, values)
        return result

    found, want = same_bits(host, run), combined(ufunc, out, places, values)
    if out.dtype.kind in "biu":
        np.testing.assert_array_equal(found, want)
    else:
        terms = 1 + len(values) ** 0.5
        close(found, want, out.dtype.name, terms)


@pytest.mark.parametrize("width", [1, 3, 8, 33])
@pytest.mark.parametrize("n", COUNTS)
def test_rows_are_added_in_their_places(n: int, width: int, host: Host) -> None:
    """Whether places are hit once, often, all at once, by a few or by runs of every length."""
    rng = np.random.default_rng(n)
    values = numbers((n, width))
    for rows, places in {
        1: np.zeros(n, "q"), 4: rng.integers(0, 4, n), 3000: rng.permutation(3000)[:n],
        1100: np.sort(rng.geometric(0.01, n)) % 1100, 40: np.arange(n) // 30,
    }.items():  # fmt: skip
        check_combine(host, np.add, numbers((rows, width), seed=9), places, values)


@pytest.mark.parametrize("ufunc", [np.add, np.multiply, np.maximum, np.minimum])
@pytest.mark.parametrize("dtype", [*FLOATS, "int64", "int32", "int16", "int8", "uint8", "bool"])
def test_every_way_to_combine(dtype: str, ufunc: Any, host: Host) -> None:
    """In every dtype; integers wrap, bools are joined by "or" and "and"."""
    rng = np.random.default_rng(5)
    for n, rows, width in ((70, 3, 16), (1030, 500, 2), (40, 60, 1)):
        places = rng.integers(0, rows, n)
        shape = {"out": (rows, width), "values": (n, width)}
        if dtype in FLOATS:
            low = {k: rng.uniform(0.97, 1.02, s).astype(FLOATS[dtype]) for k, s in shape.items()}
        else:
            low = {k: rng.integers(0, 99, s).astype(dtype) for k, s in shape.items()}
            if dtype == "bool":
                low = {k: rng.random(s) < 0.5 for k, s in shape.items()}
        with np.errstate(over="ignore"):
            check_combine(host, ufunc, low["out"], places, low["values"])


@pytest.mark.parametrize("how", [np.maximum, np.minimum])
def test_nan_stays(how: Any, host: Host) -> None:
    """As in NumPy, whichever comes first."""
    values = numbers((100, 1))
    values[[3, 64]] = np.nan
    check_combine(host, how, numbers((5, 1)), np.arange(100) % 5, values)


def test_values_need_not_be_contiguous_nor_aligned(host: Host) -> None:
    """Rows that 16 bytes could move, at an address that is none of theirs."""
    host.fenced = False
    whole = numbers((1 + 50 * 8,))
    places = np.arange(50) % 7
    check_combine(host, np.add, numbers((7, 8)), places, whole[1:].reshape(50, 8))
    assert "combine_float32_1" in host.names
    check_combine(host, np.add, numbers((7, 8)), places, numbers((8, 50)).T)
    check_combine(host, np.add, numbers((7, 8)), np.repeat(places, 2)[::2], numbers((50, 8)))
    check_combine(host, np.add, numbers((7, 8)), places.astype("i"), numbers((50, 8)))
    check_combine(host, np.add, numbers((7, 8)), places, np.broadcast_to(numbers((8,)), (50, 8)))


def test_the_array_code_goes_through_the_kernels(host: Host) -> None:
    """``combine`` for a library that is not NumPy."""

    class Other:
        """NumPy under another name."""

        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

    out = np.zeros((3, 2), "f")
    indexing.combine(Other(), np.add, out, np.array([2, 0, 2]), np.ones((3, 2), "f"))
    assert out.tolist() == [[1, 1], [0, 0], [2, 2]]
    functions = indexing.build(Other())
    for half in (np.dtype("e"), BF16):  # sums of 16-bit floats are kept in float32
        g = np.full((4000, 1), 0.1, half)
        index = np.zeros(4000, "q")
        total = functions["index_adjoint"](g, (index,), (0,), (2, 1))
        assert total.dtype == half
        np.testing.assert_allclose(total.astype("d")[0], 4000 * float(g[0, 0]), rtol=4e-3)
        total = functions["gather_adjoint"](g, 0, index[:, None], (2, 1))
        np.testing.assert_allclose(total.astype("d")[0], 4000 * float(g[0, 0]), rtol=4e-3)
    assert {"combine_float16_1", "join_float16", "join_bfloat16"} <= set(host.names)


def test_chunks_are_as_long_as_the_text_says() -> None:
    assert f"#define GG_CHUNK {segments.CHUNK} " in text("segments.cu")


@pytest.mark.parametrize("dtype", [np.dtype(c) for c in "bedf?hilq"] + [BF16], ids=str)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_taking_rows(axis: int, dtype: Any, bits: int, host: Host) -> None:
    """By the widest access that rows allow, from any axis, with indices of any shape."""
    for shape in ((5, 3, 4), (4, 6, 16), (1, 7, 33), (9, 2, 1)):
        x = np.random.default_rng(1).integers(0, 99, shape).astype(dtype)
        for index_shape in ((), (7,), (2, 3), (0,)):
            index = np.random.default_rng(2).integers(0, shape[axis], index_shape)
            found = segments.take(np, x, index, axis)
            np.testing.assert_array_equal(found, np.take(x, index, axis))
        turned, index = x.swapaxes(0, 1), np.array([0, 0], "i")
        found = segments.take(np, turned, index, axis)
        np.testing.assert_array_equal(found, np.take(turned, index, axis))


@pytest.mark.parametrize("dtype", ["b", "e", "f", "d", "q"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_taking_elements(axis: int, dtype: str, bits: int, host: Host) -> None:
    """As ``take_along_axis``."""
    for shape, taken in (((5, 3, 4), 2), ((3, 33, 2), 70), ((1, 1, 1), 5), ((4, 2, 31), 1)):
        x = np.random.default_rng(1).integers(0, 99, shape).astype(dtype)
        wanted = (*shape[:axis], taken, *shape[axis + 1 :])
        index = np.random.default_rng(2).integers(0, shape[axis], wanted)
        found = same_bits(host, lambda x=x, index=index: segments.take_each(np, x, index, axis))
        np.testing.assert_array_equal(found, np.take_along_axis(x, index, axis))


# ---- random numbers ----------------------------------------------------------------------------

SEEDS = ((0, 0), (1234567890123456789, 3), (2**64 - 1, 2**40 + 5))
SIZES = (1, 2, 3, 4, 5, 31, 32, 33, 1025)


@pytest.mark.parametrize(("seed", "offset"), SEEDS)
def test_words_and_uniforms_are_the_host_s(seed: int, offset: int, host: Host) -> None:
    """To the bit, for every size and dtype."""
    for n in SIZES:
        for name in ("bits", "bits64"):
            args = (np, seed, offset, n)
            found = same_bits(host, lambda name=name, args=args: getattr(philox, name)(*args))
            np.testing.assert_array_equal(found, getattr(array_philox, name)(*args))
        for dtype in FLOATS.values():
            found = philox.uniform(np, seed, offset, n, dtype)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, array_philox.uniform(np, seed, offset, n, dtype))
        for low, high in ((0, 2), (-5, 10), (0, 1 << 32), (-(1 << 63), 1 << 63), (-3, 1 << 40),
                          (0, (1 << 32) - 1)):  # fmt: skip
            found = philox.integers(np, seed, offset, n, low, high)
            want = array_philox.integers(np, seed, offset, n, low, high)
            np.testing.assert_array_equal(found, want)
        found = philox.permutation(np, seed, offset, n)
        np.testing.assert_array_equal(found, array_philox.permutation(np, seed, offset, n))


def test_words_are_those_of_the_paper(host: Host) -> None:
    """The known answer that Random123 gives for Philox4x32-10, of a counter and a key of zeros."""
    assert philox.bits(np, 0, 0, 4).tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


@pytest.mark.parametrize("kind", ["normal", "exponential"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_normals_and_exponentials(dtype: str, kind: str, host: Host) -> None:
    """The host's but for the last digits of log, cos and sin."""
    for n in SIZES:
        found = getattr(philox, kind)(np, 5, 6, n, FLOATS[dtype])
        want = getattr(array_philox, kind)(np, 5, 6, n, FLOATS[dtype])
        assert found.dtype == FLOATS[dtype]
        close(found, want, dtype)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_dropout_keeps_no_mask(dtype: str, n: int, host: Host) -> None:
    """What falls away follows from the seed: of the gradient the same as of the input."""
    own = philox.over(np, {"philox_dropout": xp.philox_dropout})["philox_dropout"]
    for shape in ((n,), (n, 3)):
        x = numbers(shape, FLOATS[dtype])
        x.reshape(-1)[:2] = (np.inf, np.nan)[: x.size]
        for given in (x, np.asfortranarray(x), x[..., ::-1]):
            found = same_bits(host, lambda given=given: own(given, 0.3, 11, 12))
            wide = given.astype("f") if given.itemsize == 2 else given
            want = xp.philox_dropout(wide, 0.3, 11, 12).astype(given.dtype)
            assert found.dtype == given.dtype
            np.testing.assert_array_equal(found.astype("d"), want.astype("d"))
    assert not own(x, 1.0, 1, 2).any()
    assert set(host.names) == {f"dropout_{dtype}"}


def test_dropout_reads_what_is_not_aligned(host: Host) -> None:
    """A view that begins between two places of 16 bytes."""
    host.fenced = False
    own = philox.over(np, {})["philox_dropout"]
    x = numbers((65,))[1:]
    np.testing.assert_array_equal(own(x, 0.5, 1, 2), xp.philox_dropout(x, 0.5, 1, 2))
