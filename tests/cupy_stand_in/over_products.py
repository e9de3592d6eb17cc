"""Run by tests/unit/test_cublaslt.py over the stand-ins for CuPy and cuBLASLt; there is no GPU.

What is multiplied is decided by descriptors and addresses alone (see ``nvmath.py``), and compared
with NumPy in float64.
"""

import gc
import importlib
import itertools
import sys
import threading
import warnings

import cupy
import numpy as np
import pytest

import gpugrad as gg
from cupy_stand_in import nvmath as fake
from cupy_stand_in.array import ndarray
from cupy_stand_in.streams import get_current_stream
from gpugrad import dtypes
from gpugrad.backends.memory.private import PrivatePool
from gpugrad.backends.nvidia import cublaslt
from gpugrad.backends.nvidia import product_plans as plans
from gpugrad.backends.nvidia.products import Products
from gpugrad.config import config
from gpugrad.errors import KernelError, ShapeError
from gpugrad.op import registry

CUDA = gg.backends.cuda()
XP = CUDA.xp
#: dtype -> relative error of one rounding and of a sum of a few dozen terms.
ERRORS = {
    np.dtype("f8"): 1e-14, np.dtype("f4"): 2e-6, np.dtype("f2"): 1e-3, dtypes.bfloat16.np: 8e-3,
}  # fmt: skip
SHAPES = [tuple(a.shape for a in s.args) for s in registry["matmul"].samples] + [
    ((1, 4), (4, 1)), ((3, 1), (1, 5)), ((7, 1, 4), (7, 4, 5)), ((2, 3, 2, 4), (2, 3, 4, 3)),
    ((2, 1, 3, 4), (3, 4, 2)), ((33, 17), (17, 65)), ((6, 1, 4), (4, 5)), ((1, 1), (1, 1)),
    ((1, 2, 3, 4), (1, 1, 4, 5)),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _plain_settings():
    """Every test starts with nothing asked, run or delayed, and ends with nothing refused."""
    for happened in (fake.asked, fake.runs, fake.errors):
        happened.clear()
    yield
    assert fake.refuse or not fake.errors
    fake.refuse.clear()
    fake.delays.clear()
    config.autotune = False
    get_current_stream().capturing = False
    gg.set_float32_matmul_precision("highest")


def fresh_products():
    """Products that know no plan yet."""
    return Products(cupy, CUDA._private_pool, gg.backends.additions.additions(cupy))


def on_device(x):
    return cupy.asarray(x)


def laid(x, how):
    """An array of the device with the values of ``x``, laid out in a way of its own."""
    if how == "turned" and x.ndim > 1:
        return on_device(np.ascontiguousarray(x.swapaxes(-1, -2))).swapaxes(-1, -2)
    if how == "wide":
        wide = np.full((*x.shape[:-1], x.shape[-1] + 3), np.nan, x.dtype)
        wide[..., : x.shape[-1]] = x
        return on_device(wide)[..., : x.shape[-1]]
    if how == "tall and turned" and x.ndim > 1:
        tall = np.full((*x.shape[:-2], x.shape[-1], x.shape[-2] + 2), np.nan, x.dtype)
        tall[..., : x.shape[-2]] = x.swapaxes(-1, -2)
        return on_device(tall)[..., : x.shape[-2]].swapaxes(-1, -2)
    if how == "every second":
        wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, x.dtype)
        wide[..., ::2] = x
        return on_device(wide)[..., ::2]
    if how == "backwards":
        return on_device(np.ascontiguousarray(x[..., ::-1]))[..., ::-1]
    if how == "upside down" and x.ndim > 1:
        return on_device(np.ascontiguousarray(x[..., ::-1, :]))[..., ::-1, :]
    if how == "unaligned":
        flat = np.full(x.size + 1, np.nan, x.dtype)
        flat[1:] = x.ravel()
        return on_device(flat)[1:].reshape(x.shape)
    if how == "batch turned" and x.ndim > 3:
        return on_device(np.ascontiguousarray(x.swapaxes(0, 1))).swapaxes(0, 1)
    if how == "heads" and x.ndim > 2:  # (..., heads, rows, n) in memory as (..., rows, heads, n)
        return on_device(np.ascontiguousarray(x.swapaxes(-2, -3))).swapaxes(-2, -3)
    if how == "repeated" and x.ndim > 1:
        return cupy.broadcast_to(on_device(x[..., :1, :].copy()), x.shape)
    return on_device(x)


#: Ways to lie; those in the first line need no copy.
IN_PLACE = ("as it is", "turned", "wide", "tall and turned", "unaligned", "heads")
WAYS = (*IN_PLACE, "every second", "backwards", "upside down", "batch turned", "repeated")


def values(shape, dtype, seed):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(dtype)


def close(ours, exact, dtype, terms=1.0):
    """Within the rounding of the dtype, counted on the largest sum of absolute terms."""
    assert isinstance(ours, ndarray)
    assert ours.dtype == dtype
    assert ours.shape == np.shape(exact)
    scale = float(np.max(np.abs(exact), initial=1.0)) * terms
    found = ours.get().astype(np.float64)
    np.testing.assert_allclose(found, exact, rtol=0, atol=ERRORS[dtype] * scale)


@pytest.mark.parametrize("dtype", ERRORS, ids=str)
def test_every_shape_in_every_layout(dtype):
    """All shapes of matmul's record and more, both operands in every way to lie."""
    for (sa, sb), (ha, hb) in itertools.product(SHAPES, itertools.product(WAYS, WAYS)):
        a, b = laid(values(sa, dtype, 1), ha), laid(values(sb, dtype, 2), hb)
        exact = a.get().astype(np.float64) @ b.get().astype(np.float64)
        close(XP.matmul(a, b), exact, dtype)


def test_what_lies_well_is_not_copied():
    """Transposes, gaps between rows, odd addresses and batches are read where they are."""
    pairs = [((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 3, 2, 4), (2, 3, 4, 3))]
    for (sa, sb), ha, hb in itertools.product(pairs, IN_PLACE, IN_PLACE):
        if "heads" in (ha, hb) and len(sa) == 4:
            continue  # two batch dims that do not follow each other
        a, b = laid(values(sa, "f4", 1), ha), laid(values(sb, "f4", 2), hb)
        XP.matmul(a, b)
        at = fake.runs[-1]["at"]
        assert (at["b"], at["a"]) == (a.data.ptr, b.data.ptr), (sa, sb, ha, hb)


def test_one_product_instead_of_many():
    """A stack times one matrix is one product, also where the stack's matrices are single rows."""
    for shape in ((6, 3, 4), (6, 1, 4), (2, 3, 5, 4)):
        XP.matmul(on_device(values(shape, "f4", 1)), on_device(values((4, 5), "f4", 2)))
        assert [x[4] for x in fake.runs[-1]["layouts"]] == [1, 1, 1, 1]
    a, b = on_device(values((3, 4), "f4", 1)), on_device(values((6, 4, 5), "f4", 2))
    XP.matmul(a, b)  # rows of one result do not follow another's: one matrix for the whole batch
    assert [x[4:] for x in fake.runs[-1]["layouts"][:2]] == [(6, 20), (6, 0)]


def test_plans_are_made_once():
    """The library is asked once for what it computes alike, whatever the values and addresses."""
    products = fresh_products()
    b = on_device(values((4, 5), "f4", 2))
    for shape in ((6, 4), (2, 3, 4), (6, 4), (3, 2, 4)):
        products.matmul(on_device(values(shape, "f4", 1)), b)
    assert len(fake.asked) == 1
    products.matmul(laid(values((6, 4), "f4", 1), "unaligned"), b)
    assert len(fake.asked) == 2


def test_what_the_library_does_not_multiply():
    """Integers, bools, mixed dtypes and nothing at all."""
    a, b = np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4)
    for dtype in ("i8", "i4", "u1", "?"):
        x, y = a.astype(dtype), b.astype(dtype)
        assert (XP.matmul(on_device(x), on_device(y)).get() == x @ y).all()
    assert XP.matmul(on_device(a.astype("f4")), on_device(b.astype("f8"))).dtype == np.float64
    assert not fake.runs
    for sa, sb in (((3, 0), (0, 2)), ((0, 3), (3, 2)), ((0, 2, 3), (3, 4)), ((0,), (0,)),
                   ((2, 3, 0), (2, 0, 4))):  # fmt: skip
        for dtype in ERRORS:
            out = XP.matmul(on_device(np.ones(sa, dtype)), on_device(np.ones(sb, dtype)))
            assert out.shape == np.matmul(np.ones(sa), np.ones(sb)).shape
            assert not out.get().astype("f8").any()
    with pytest.raises(ShapeError, match=r"\(2, 3\) float32 @ \(4, 2\) float32"):
        XP.matmul(on_device(np.ones((2, 3), "f4")), on_device(np.ones((4, 2), "f4")))


# ---- with something added ----------------------------------------------------------------------

ADDED = [((5,), (3, 4), (4, 5)), ((3, 5), (3, 4), (4, 5)), ((1, 5), (3, 4), (4, 5)),
         ((3, 1), (3, 4), (4, 5)), ((), (3, 4), (4, 5)), ((2, 3, 5), (2, 3, 4), (2, 4, 5)),
         ((5,), (2, 3, 4), (4, 5)), ((3, 5), (2, 3, 4), (4, 5)), ((3,), (3, 4), (4,)),
         ((5,), (4,), (4, 5)), ((), (4,), (4,)), ((2, 1, 5), (2, 3, 4), (4, 5)),
         ((5,), (3, 0), (0, 5)), ((5,), (0, 4), (4, 5)), ((1,), (3, 4), (4, 1))]  # fmt: skip


@pytest.mark.parametrize("dtype", ERRORS, ids=str)
def test_affine(dtype):
    """``beta * c + alpha * (a @ b)`` for whatever broadcasts, rounded once."""
    for (sc, sa, sb), (beta, alpha), how in itertools.product(
        ADDED, ((1, 1), (1, 2.5), (0.5, 1), (-3, 2), (0, 2)), WAYS
    ):
        given = [laid(values(s, dtype, i), how) if s else on_device(values(s, dtype, i))
                 for i, s in enumerate((sc, sa, sb))]  # fmt: skip
        c, a, b = (x.get().astype("f8") for x in given)
        close(XP.affine(*given, beta=beta, alpha=alpha), beta * c + alpha * (a @ b), dtype, 8)


def test_how_things_are_added():
    """A vector per column is an epilogue, rows of a matrix are C; NaN does not leak at beta 0."""
    a, b = on_device(values((16, 4), "f4", 1)), on_device(values((4, 8), "f4", 2))
    XP.affine(on_device(np.ones(8, "f4")), a, b)
    assert fake.runs[-1]["epilogue"] == plans.BIAS
    c = on_device(np.ones((16, 8), "f4"))
    XP.affine(c, a, b)
    assert (fake.runs[-1]["epilogue"], fake.runs[-1]["at"]["c"]) == (1, c.data.ptr)
    assert (c.get() == 1).all()  # and is left as it was
    odd = on_device(np.ones(9, "f4"))[1:]
    np.testing.assert_array_equal(XP.affine(odd, a, b).get(), XP.affine(odd.copy(), a, b).get())
    nan = on_device(np.full((16, 8), np.nan, "f4"))
    assert np.isfinite(XP.affine(nan, a, b, beta=0).get()).all()


def tanh_gelu(z):
    return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


@pytest.mark.parametrize("dtype", ERRORS, ids=str)
@pytest.mark.parametrize("width", [8, 24, 5])
@pytest.mark.parametrize("shape", [(6, 4), (2, 3, 4)])
def test_gelu_and_its_gradient(dtype, width, shape):
    """Both outputs and the gradient through them; a width that the epilogue refuses, too."""
    w, bias = on_device(values((width, 4), dtype, 2)), on_device(values(width, dtype, 3))
    for how in ("as it is", "wide", "every second", "heads"):
        x = laid(values(shape, dtype, 1), how)
        out, z = XP.gelu_affine(bias, x, w.T)
        exact = x.get().astype("f8") @ w.get().astype("f8").T + bias.get().astype("f8")
        close(z, exact, dtype, 4)
        close(out, tanh_gelu(exact), dtype, 4)
        assert (fake.runs[-1]["epilogue"] == plans.GELU_AUX_BIAS) == (width % 8 == 0)
        g = on_device(values((*shape[:-1], 3), dtype, 4))
        v = on_device(values((3, width), dtype, 5))
        at, step = z.get().astype("f8"), 1e-6
        slope = (tanh_gelu(at + step) - tanh_gelu(at - step)) / (2 * step)
        ours = XP.gelu_matmul_grad(z, g, v)
        exact = g.get().astype("f8") @ v.get().astype("f8") * slope
        np.testing.assert_allclose(ours.get().astype("f8"), exact, atol=8 * ERRORS[dtype] + 1e-8)
        assert (fake.runs[-1]["epilogue"] == plans.DGELU) == (width % 8 == 0)


@pytest.mark.parametrize("dtype", ERRORS, ids=str)
def test_weight_and_bias_gradients_at_once(dtype):
    """One product gives both; where rows do not lie one after the other, two steps do."""
    for shape, how, n in itertools.product(((6,), (2, 3), ()), WAYS, (5, 1)):
        g, x = laid(values((*shape, n), dtype, 1), how), laid(values((*shape, 4), dtype, 2), how)
        weight, bias = XP.affine_grads(g, x)
        flat = g.get().astype("f8").reshape(-1, n)
        close(weight, flat.T @ x.get().astype("f8").reshape(-1, 4), dtype, 2)
        close(bias, flat.sum(0), dtype, 2)
    XP.affine_grads(on_device(values((6, 5), dtype, 1)), on_device(values((6, 4), dtype, 2)))
    assert fake.runs[-1]["epilogue"] == plans.BGRADB


# ---- tensors -----------------------------------------------------------------------------------


def test_tensors_of_16_bits_are_multiplied_as_they_are():
    """bfloat16 in and out, forward and backward, with one rounding each; the CPU is not asked."""
    x = gg.randn(6, 4, dtype=gg.bfloat16, device="cuda", requires_grad=True)
    w = gg.randn(5, 4, dtype=gg.bfloat16, device="cuda", requires_grad=True)
    b = gg.randn(5, dtype=gg.bfloat16, device="cuda", requires_grad=True)
    fake.runs.clear()
    out = gg.nn.functional.linear(x, w, b)
    g = gg.randn(6, 5, dtype=gg.bfloat16, device="cuda")
    out.backward(g)
    assert {r["layouts"][0][0] for r in fake.runs} == {14}
    epilogues = [r["epilogue"] for r in fake.runs]
    assert epilogues.count(plans.BIAS) == epilogues.count(plans.BGRADB) == 1
    assert len(fake.runs) == 3
    xs, ws, bs, gs = (t.detach().cpu().double().numpy() for t in (x, w, b, g))
    for ours, exact in ((out, xs @ ws.T + bs), (x.grad, gs @ ws), (w.grad, gs.T @ xs),
                        (b.grad, gs.sum(0))):  # fmt: skip
        found = ours.detach().cpu()
        assert found.dtype is gg.bfloat16
        rounded = exact.astype(dtypes.bfloat16.np).astype("f4")
        np.testing.assert_array_equal(found.float().numpy(), rounded)


def test_only_what_is_wanted_is_computed():
    """Without one of the two gradients there is no product for both."""
    for weight, bias in ((True, False), (False, True)):
        x, g = gg.randn(6, 4, device="cuda"), gg.randn(6, 5, device="cuda")
        w = gg.randn(5, 4, device="cuda").requires_grad_(weight)
        b = gg.randn(5, device="cuda").requires_grad_(bias)
        out = gg.nn.functional.linear(x, w, b)
        fake.runs.clear()
        out.backward(g)
        assert [r["epilogue"] for r in fake.runs] == ([1] if weight else [])


def test_addmm_is_one_product():
    """Forward with C as it lies, gradients through the recorded product."""
    c, a, b = (gg.randn(*s, device="cuda", requires_grad=True) for s in ((3, 5), (3, 4), (4, 5)))
    out = gg.addmm(c, a, b, beta=0.5, alpha=2)
    assert len(fake.runs) == 1
    out.sum().backward()
    assert c.grad.tolist() == [[0.5] * 5] * 3
    np.testing.assert_allclose(
        a.grad.cpu().numpy(), 2 * np.tile(b.detach().cpu().numpy().sum(1), (3, 1)), rtol=1e-5
    )


def test_wrong_shapes_are_named():
    """By the op that was called, as on the CPU."""
    x, w = gg.ones(6, 4, device="cuda"), gg.ones(5, 4, device="cuda")
    for call in (lambda: gg.nn.functional.linear(x, w, gg.ones(3, device="cuda")),
                 lambda: gg.addmm(gg.ones(3, device="cuda"), x, w.T),
                 lambda: x @ w, lambda: gg.nn.functional.linear(x, w.T)):  # fmt: skip
        with pytest.raises(ShapeError, match=r"^(linear|addmm|matmul): .*\((5|4|3),"):
            call()


def test_tf32_by_pytorchs_switches():
    """Only float32, only while it is allowed, and only where it matters do bits differ."""
    a, b = on_device(values((8, 64), "f4", 1)), on_device(values((64, 8), "f4", 2))
    exact = XP.matmul(a, b).get()
    for on in (lambda: gg.set_float32_matmul_precision("high"),
               lambda: setattr(gg.backends.cuda.matmul, "allow_tf32", True)):  # fmt: skip
        on()
        rough = XP.matmul(a, b).get()
        assert 1e-5 < np.abs(rough - exact).max() < 1e-2
        XP.matmul(a.astype("f8"), b.astype("f8"))
        assert fake.runs[-1]["compute"] == 70
        XP.matmul(a.astype("f2"), b.astype("f2"))
        assert fake.runs[-1]["compute"] == 68
        gg.backends.cuda.matmul.allow_tf32 = False
        np.testing.assert_array_equal(XP.matmul(a, b).get(), exact)


# ---- streams, capture, threads -----------------------------------------------------------------


def test_nothing_is_asked_during_a_capture():
    """What ran before runs; a product that is new is an error that says what to do."""
    products = fresh_products()
    a, b = on_device(values((3, 4), "f4", 1)), on_device(values((4, 5), "f4", 2))
    bias = on_device(values(5, "f4", 3))
    before = products.affine(bias, a, b)
    get_current_stream().capturing = True
    np.testing.assert_array_equal(products.affine(bias, a, b).get(), before.get())
    with pytest.raises(KernelError, match=r"\(4, 5\) float32 @ \(5, 1\) float32.*run the step"):
        products.matmul(b, bias)
    with pytest.raises(NotImplementedError):  # what CuPy says
        cupy.matmul(a, b)
    get_current_stream().capturing = False
    products.matmul(b, bias)
    get_current_stream().capturing = True
    products.matmul(b, bias)


def test_workspaces():
    """One per stream, one per private pool and stream, kept and never shared."""
    products = fresh_products()
    a, b = on_device(values((3, 4), "f4", 1)), on_device(values((4, 5), "f4", 2))
    streams = [get_current_stream(), cupy.cuda.Stream(), cupy.cuda.Stream()]
    seen = []
    for stream in (*streams, *streams):
        stream.use()
        products.matmul(a, b)
        seen.append(fake.runs[-1]["at"]["workspace"])
        assert fake.runs[-1]["stream"] == stream.ptr
    streams[0].use()
    assert seen[:3] == seen[3:]
    assert all(abs(x - y) >= cublaslt.WORKSPACE for x, y in itertools.combinations(seen[:3], 2))
    pool, graphs = CUDA.pool(0), [PrivatePool(), PrivatePool()]
    for graph in (*graphs, *graphs):
        with pool.private(graph):
            products.matmul(a, b)
            seen.append(fake.runs[-1]["at"]["workspace"])
    assert seen[6:8] == seen[8:]
    assert len({*seen}) == 5
    reserved = pool.allocated
    graphs[0].release()
    products.forget()
    assert reserved - pool.allocated == cublaslt.WORKSPACE


def test_no_workspace_where_none_is_needed(monkeypatch):
    """The memory is taken when an algorithm first asks for some."""
    monkeypatch.setattr(fake, "workspace_size", 0)
    before = CUDA.pool(0).allocated
    products = fresh_products()
    products.matmul(on_device(values((3, 4), "f4", 1)), on_device(values((4, 5), "f4", 2)))
    assert fake.runs[-1]["at"]["workspace"] == 0
    assert CUDA.pool(0).allocated - before < 1 << 20


def test_threads_do_not_mix_up_their_vectors():
    """The address of a bias is in the descriptor, and the descriptor is one for all threads."""
    products = fresh_products()
    a, b = on_device(np.zeros((3, 4), "f4")), on_device(np.zeros((4, 5), "f4"))
    products.affine(on_device(np.zeros(5, "f4")), a, b)
    fake.delays[0] = 0.005
    wrong = []

    def work(number):
        bias = on_device(np.full(5, number, "f4"))
        for _ in range(5):
            wrong.extend([number] * int((products.affine(bias, a, b).get() != number).sum()))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(1, 5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_descriptors_are_destroyed(monkeypatch):
    """With the products, and those of the oldest plans once there are too many."""
    gc.collect()
    before = {n: kind for n, (kind, _) in fake.live.items()}
    products = fresh_products()
    monkeypatch.setattr(cublaslt, "PLANS", 3)
    for n in range(1, 30):
        products.matmul(on_device(values((n, 4), "f4", 1)), on_device(values((4, 5), "f4", 2)))
    kinds = [kind for n, (kind, _) in fake.live.items() if n not in before]
    assert kinds.count("desc") == 3
    assert kinds.count("layout") == 9
    assert kinds.count("preference") == 0
    del products
    gc.collect()
    assert [k for n, (k, _) in fake.live.items() if n not in before] == ["handle"]


def test_products_of_every_device():
    """A handle belongs to a device, and so do plans and workspaces."""
    for index in range(CUDA.device_count()):
        x = gg.ones(3, 4, device=f"cuda:{index}")
        assert (x @ x.T).tolist() == [[4] * 3] * 3


# ---- refusals ----------------------------------------------------------------------------------


def test_what_is_refused_is_tried_plainly():
    """Operands that the library will not read where they are are copied; then it is an error."""
    products = fresh_products()
    a = laid(values((3, 4), "f4", 1), "wide")
    b = laid(values((4, 5), "f4", 2), "turned")
    fake.refuse.append(lambda told: told["layouts"][1][3] == 7 or told["trans"][0] == 1)
    close(products.matmul(a, b), a.get().astype("f8") @ b.get().astype("f8"), np.dtype("f4"))
    fake.refuse.append(lambda told: True)
    with pytest.raises(KernelError, match=r"\(9, 4\) float32 @ \(4, 5\) float32.*NOT_SUPPORTED"):
        products.matmul(on_device(values((9, 4), "f4", 1)), b)


def test_an_epilogue_that_is_refused_is_done_apart():
    """And is not asked for again."""
    products = fresh_products()
    g, x = on_device(values((6, 5), "f4", 1)), on_device(values((6, 4), "f4", 2))
    fake.refuse.append(lambda told: told["epilogue"] != 1)
    for _ in range(3):
        weight, bias = products.affine_grads(g, x)
        close(weight, g.get().astype("f8").T @ x.get().astype("f8"), np.dtype("f4"))
        close(bias, g.get().astype("f8").sum(0), np.dtype("f4"))
    assert sum(told["epilogue"] != 1 for told in fake.asked) == 1


# ---- autotuning --------------------------------------------------------------------------------


def test_the_fastest_answer_is_taken_and_kept(tmp_path, monkeypatch):
    """By timing, once: later products and later processes take what was found."""
    monkeypatch.setattr(config, "cache_dir", str(tmp_path))
    gg.backends.cuda.matmul.autotune = True
    fake.delays.update({0: 0.04, 1: 0.03, 2: 0.0})
    a, b = on_device(values((3, 4), "f4", 1)), on_device(values((4, 5), "f4", 2))
    exact = a.get().astype("f8") @ b.get().astype("f8")
    for _ in range(2):
        products = fresh_products()
        close(products.matmul(a, b), exact, np.dtype("f4"))
        assert fake.runs[-1]["algorithm"] == 2
        timed, asked = len(fake.runs), len(fake.asked)
        close(products.matmul(a, b), exact, np.dtype("f4"))
        assert len(fake.runs) == timed + 1
    assert asked == 1  # the second took it from disk
    (file,) = (tmp_path / "products").iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    fresh_products().matmul(a, b)
    assert len(fake.asked) == 2
    monkeypatch.setattr(sys.modules["nvmath.bindings.cublasLt"], "get_version", lambda: 140000)
    fresh_products().matmul(a, b)
    assert len(fake.asked) == 3


def test_a_kept_algorithm_that_the_library_does_not_know(tmp_path, monkeypatch):
    """It is found anew."""
    monkeypatch.setattr(config, "cache_dir", str(tmp_path))
    config.autotune = True
    a, b = on_device(values((3, 4), "f4", 1)), on_device(values((4, 5), "f4", 2))
    fresh_products().matmul(a, b)
    monkeypatch.setattr(fake, "_promised", {})
    out = fresh_products().matmul(a, b)
    close(out, a.get().astype("f8") @ b.get().astype("f8"), np.dtype("f4"))
    assert len(fake.asked) == 2
    assert len(fake.errors) == 1
    fake.errors.clear()


def test_timing_leaves_what_is_added_alone(tmp_path, monkeypatch):
    """Trying an algorithm several times adds C once, also where the result takes its place."""
    monkeypatch.setattr(config, "cache_dir", str(tmp_path))
    config.autotune = True
    products = fresh_products()
    a, b = on_device(values((3, 4), "f4", 1)), on_device(values((4, 5), "f4", 2))
    for c in (on_device(np.ones((3, 1), "f4")), on_device(np.ones((3, 5), "f4"))):
        out = products.affine(c, a, b, beta=2)
        close(out, a.get().astype("f8") @ b.get().astype("f8") + 2, np.dtype("f4"), 4)


def test_an_epilogue_that_loses_is_left(tmp_path, monkeypatch):
    """Both ways are timed once; what won is used and kept."""
    monkeypatch.setattr(config, "cache_dir", str(tmp_path))
    config.autotune = True
    a, b = on_device(values((3, 4), "f4", 1)), on_device(values((4, 5), "f4", 2))
    bias = on_device(values(5, "f4", 3))
    exact = a.get().astype("f8") @ b.get().astype("f8") + bias.get()
    real = fake._compute

    def slow(told, at, alpha, beta):
        if told["epilogue"] == plans.BIAS:
            threading.Event().wait(0.04)
        real(told, at, alpha, beta)

    monkeypatch.setattr(fake, "_compute", slow)
    for _ in range(2):
        products = fresh_products()
        close(products.affine(bias, a, b), exact, np.dtype("f4"), 2)
        fake.runs.clear()
        close(products.affine(bias, a, b), exact, np.dtype("f4"), 2)
        assert [r["epilogue"] for r in fake.runs] == [1]


# ---- without the library -----------------------------------------------------------------------


def test_without_nvmath_cupy_multiplies(monkeypatch):
    """With one warning, which names the command that mends it."""
    monkeypatch.setitem(sys.modules, "nvmath.bindings", None)
    importlib.invalidate_caches()
    products = fresh_products()
    a, b = on_device(values((3, 4), "f4", 1)), on_device(values((4, 5), "f4", 2))
    with pytest.warns(RuntimeWarning, match=r"pip install 'gpugrad\[cuda13\]'"):
        assert not products.ready
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(products.matmul(a, b).get(), a.get() @ b.get())
        c = products.affine(on_device(np.ones(5, "f4")), a, b)
        np.testing.assert_array_equal(c.get(), a.get() @ b.get() + 1)
    assert not fake.runs
