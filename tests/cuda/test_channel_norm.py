"""Batch norm on a GPU is the CPU's, whatever the dtype and the layout, and the same every time."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.functional_namespace import F

SHAPES = {
    "pixels": (8, 64, 14, 14), "odd": (3, 5, 7, 9), "columns": (200, 72), "few": (5, 3),
    "volume": (2, 3, 4, 5, 6), "shared by blocks": (16, 4, 64, 64), "line": (4, 8, 1000),
}  # fmt: skip
#: What results may be off by, of the largest number.
PRECISION = {"float32": 2e-6, "float64": 1e-13, "float16": 2e-3, "bfloat16": 1.6e-2}


def step(device, shape, dtype, training, last):
    """Result, running statistics and gradients."""
    r = np.random.default_rng(0)
    c, wide = shape[1], "float64" if dtype == "float64" else "float32"
    x, g = (gg.tensor(r.standard_normal(shape) * 2 + 0.5, dtype=dtype, device=device)
            for _ in range(2))  # fmt: skip
    w, b, mean, var = (gg.tensor(r.random(c) + 0.5, dtype=wide, device=device) for _ in range(4))
    if last:
        x = x.contiguous(memory_format=gg.channels_last)
    for t in (x, w, b):
        t.requires_grad_()
    y = gg.nn.functional.batch_norm(x, mean, var, w, b, training, 0.3, 1e-3)
    y.backward(g)
    assert y.stride() == x.stride()
    return [t.detach().cpu() for t in (y, mean, var, x.grad, w.grad, b.grad)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize("name", SHAPES)
def test_as_on_the_cpu(name, dtype, training):
    """Values, running statistics and gradients; a second call gives the same bits."""
    shape = SHAPES[name]
    for last in {False, len(shape) == 4}:
        want, got, again = (step(d, shape, dtype, training, last) for d in ("cpu", "cuda", "cuda"))
        for a, b, e in zip(got, again, want, strict=True):
            assert a.dtype == e.dtype
            assert a.numpy().tobytes() == b.numpy().tobytes()
            exact = e.double().numpy()
            error = np.abs(a.double().numpy() - exact).max()
            terms = want[0].numel() // shape[1] / 16 if exact.ndim == 1 else 1  # sums cancel
            assert error <= PRECISION[dtype] * max(np.abs(exact).max(), terms)


@pytest.mark.parametrize("shape", [(4, 3, 5, 5), (8, 16, 12, 12)])
def test_relu_and_residual(shape):
    """In the same pass as after it, gradients included."""
    r = np.random.default_rng(0)
    arrays = [r.standard_normal(s) for s in (shape, shape[1], shape[1], shape)]
    results = []
    for device in ("cpu", "cuda"):
        inputs = [gg.tensor(a, device=device).requires_grad_() for a in arrays]
        out = F.channel_norm_relu(*inputs, 1e-3).out
        results.append([out.detach(), *gg.autograd.grad(out, inputs, out.detach())])
    for host, device in zip(*results, strict=True):
        np.testing.assert_allclose(device.cpu().numpy(), host.numpy(), rtol=1e-9, atol=1e-9)


def test_a_small_variance_far_from_zero():
    """No digits cancel: a mean of 1e4 and deviations of 0.01."""
    x = (np.random.default_rng(0).standard_normal((16, 8, 16, 16)) * 1e-2 + 1e4).astype("f")
    _, mean, var = F.channel_norm(gg.tensor(x).cuda(), None, None, 1e-5)
    np.testing.assert_allclose(mean.cpu().numpy(), x.mean((0, 2, 3), "d"), rtol=1.2e-7)
    np.testing.assert_allclose(var.cpu().numpy(), x.astype("d").var((0, 2, 3)), rtol=2e-6)
