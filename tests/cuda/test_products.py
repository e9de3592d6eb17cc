"""Products on the device against NumPy in float64: dtypes, layouts, epilogues, capture, size.

Those named ``..._on_a_gpu`` need one; the others also run over the stand-in.
"""

import itertools

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.errors import KernelError

DTYPES = {gg.float64: 1e-13, gg.float32: 1e-5, gg.float16: 2e-3, gg.bfloat16: 1.6e-2}
SHAPES = [((65, 33), (33, 129)), ((7, 65, 33), (33, 16)), ((3, 4, 65, 32), (3, 4, 32, 8)),
          ((5, 1, 9, 17), (2, 17, 8)), ((1, 4096), (4096, 8)), ((4096,), (4096,)), ((3, 5), (5,)),
          ((512, 512), (512, 512)), ((1, 1), (1, 1)), ((2, 3, 0), (2, 0, 4))]  # fmt: skip
#: How an operand is handed over: what makes it, and what gives it its meaning back.
WAYS = {
    "as it is": lambda x: x,
    "turned": lambda x: x.mT.contiguous().mT if x.ndim > 1 else x,
    "in a wider one": lambda x: gg.nn.functional.pad(x, (0, 3))[..., : x.shape[-1]],
    "odd address": lambda x: gg.cat([x.flatten()[:1], x.flatten()])[1:].reshape(x.shape),
    "every second": lambda x: gg.stack([x, x], -1).flatten(-2)[..., ::2],
    "backwards": lambda x: x.flip(-1).contiguous().flip(-1),
}


def exactly(*tensors):
    return [t.detach().cpu().double().numpy() for t in tensors]


def close(ours, exact, dtype, terms):
    """Within the dtype's rounding and a sum of so many products of numbers about 1."""
    assert ours.dtype is dtype
    assert tuple(ours.shape) == np.shape(exact)
    bound = DTYPES[dtype] * max(1.0, terms**0.5)
    np.testing.assert_allclose(exactly(ours)[0], exact, rtol=DTYPES[dtype], atol=bound)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_products(dtype):
    """Every shape, operands in every way to lie and in pairs of ways."""
    gg.manual_seed(0)
    plain, *others = WAYS.values()
    pairs = [(plain, plain), *((w, plain) for w in others), *((plain, w) for w in others),
             *itertools.pairwise(others)]  # fmt: skip
    for (sa, sb), (left, right) in itertools.product(SHAPES, pairs):
        a, b = gg.randn(*sa, device="cuda").to(dtype), gg.randn(*sb, device="cuda").to(dtype)
        a, b = (way(x) if x.numel() else x for way, x in ((left, a), (right, b)))
        x, y = exactly(a, b)
        close(a @ b, x @ y, dtype, sa[-1])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_linear_and_its_gradients(dtype):
    """The bias in the product forward, its gradient with the weight's backward."""
    gg.manual_seed(0)
    for rows in ((64,), (3, 17)):
        x, w, b, g = (gg.randn(*s, device="cuda").to(dtype).requires_grad_()
                      for s in ((*rows, 40), (24, 40), (24,), (*rows, 24)))  # fmt: skip
        out = gg.nn.functional.linear(x, w, b)
        out.backward(g)
        xs, ws, bs, gs = exactly(x, w, b, g)
        flat, other = gs.reshape(-1, 24), xs.reshape(-1, 40)
        close(out, xs @ ws.T + bs, dtype, 40)
        close(x.grad, gs @ ws, dtype, 24)
        close(w.grad, flat.T @ other, dtype, len(flat))
        close(b.grad, flat.sum(0), dtype, len(flat))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_is_added(dtype):
    """addmm and baddbmm with factors: one product each."""
    gg.manual_seed(0)
    for shape in ((24,), (17, 24), (17, 1)):
        c, a, b = (gg.randn(*s, device="cuda").to(dtype) for s in (shape, (17, 40), (40, 24)))
        cs, x, y = exactly(c, a, b)
        close(gg.addmm(c, a, b, beta=0.5, alpha=2), 0.5 * cs + 2 * (x @ y), dtype, 80)
        close(gg.addmm(c, a, b), cs + x @ y, dtype, 40)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gelu_in_the_product(dtype):
    """The epilogue's GELU and its derivative are those of ``approximate="tanh"``."""
    gg.manual_seed(0)
    xp = gg.backends.cuda().xp
    b, x, w, g, v = (gg.randn(*s, device="cuda").to(dtype)._array
                     for s in ((24,), (50, 40), (24, 40), (50, 16), (16, 24)))  # fmt: skip
    out, z = xp.gelu_affine(b, x, w.T)
    zs = gg.from_numpy(z.get().astype("f8")).requires_grad_()
    exact = gg.nn.functional.gelu(zs, approximate="tanh")
    tolerance = {"rtol": 4 * DTYPES[dtype], "atol": 4 * DTYPES[dtype]}
    np.testing.assert_allclose(out.get().astype("f8"), exact.detach().numpy(), **tolerance)
    into = g.get().astype("f8") @ v.get().astype("f8")
    exact.backward(gg.from_numpy(into))
    ours = xp.gelu_matmul_grad(z, g, v).get().astype("f8")
    np.testing.assert_allclose(ours, zs.grad.numpy(), rtol=tolerance["rtol"], atol=0.05 * 40**0.5
                               if DTYPES[dtype] > 1e-3 else 1e-3)  # fmt: skip


def test_twice_the_same_bits():
    """Products that are split along the sum, too."""
    for dtype in DTYPES:
        a = gg.randn(64, 20000, device="cuda").to(dtype)
        b = gg.randn(20000, 48, device="cuda").to(dtype)
        first, second = (a @ b).cpu(), (a @ b).cpu()
        assert gg.equal(first, second)


def test_tf32_is_a_choice():
    """Off by default; on, ten bits of mantissa are left of each operand."""
    a, b = gg.randn(256, 256, device="cuda"), gg.randn(256, 256, device="cuda")
    x, y = exactly(a, b)
    errors = []
    try:
        for precision in ("highest", "high"):
            gg.set_float32_matmul_precision(precision)
            errors.append(np.abs(exactly(a @ b)[0] - x @ y).max())
    finally:
        gg.set_float32_matmul_precision("highest")
    assert errors[0] < 1e-4 < errors[1] < 0.2


def test_the_fastest_on_a_gpu(tmp_path, monkeypatch):
    """Autotuning gives the same product, and leaves its choice on disk."""
    monkeypatch.setattr(gg.config, "cache_dir", str(tmp_path))
    monkeypatch.setattr(gg.config, "autotune", True)
    a, b = (gg.randn(*s, device="cuda").to(gg.bfloat16) for s in ((1111, 768), (768, 2304)))
    x, y = exactly(a, b)
    close(a @ b, x @ y, gg.bfloat16, 768)
    assert list((tmp_path / "products").iterdir())


def test_a_captured_step_on_a_gpu():
    """Forward and backward of two layers, captured and replayed on new values; new shapes raise."""
    import cupy

    gg.manual_seed(0)
    first = gg.nn.Linear(64, 128, device="cuda", dtype=gg.bfloat16)
    second = gg.nn.Linear(128, 32, device="cuda", dtype=gg.bfloat16)
    x = gg.randn(96, 64, device="cuda").to(gg.bfloat16)

    def step():
        for p in (*first.parameters(), *second.parameters()):
            p.grad = None
        out = second(first(x).relu())
        out.backward(gg.ones_like(out))
        return [out, *(p.grad for p in (*first.parameters(), *second.parameters()))]

    stream, pool = cupy.cuda.Stream(non_blocking=True), gg.backends.cuda().pool(0)
    private = gg.backends.memory.PrivatePool()
    with stream:
        step()
        with pool.private(private):
            stream.begin_capture()
            captured = step()
            graph = stream.end_capture()
        for seed in (1, 2):
            gg.manual_seed(seed)
            x.copy_(gg.randn(96, 64, device="cuda").to(gg.bfloat16))
            eager = [t.detach().clone() for t in step()]
            graph.launch(stream)
            stream.synchronize()
            for ours, wanted in zip(captured, eager, strict=True):
                assert gg.equal(ours.detach(), wanted)
        a = gg.randn(97, 61, device="cuda")
        stream.begin_capture()
        with pytest.raises(KernelError, match=r"\(97, 61\).*run the step once"):
            a @ a.T
        stream.end_capture()


def test_more_than_2_to_the_31_elements_on_a_gpu():
    """Offsets are 64 bits wide: the last row of a result of 2.2e9 elements is right."""
    a = gg.randn(70000, 64, device="cuda").to(gg.bfloat16)
    b = gg.randn(64, 31808, device="cuda").to(gg.bfloat16)
    out = a @ b
    assert out.numel() > 2**31
    x, y = exactly(a[-1:], b)
    close(out[-1:], x @ y, gg.bfloat16, 64)
    x, y = exactly(a[34000:34001], b)
    close(out[34000:34001], x @ y, gg.bfloat16, 64)
