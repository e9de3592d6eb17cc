"""A Numba CUDA kernel on tensors; needs numba-cuda beside a device."""

import pytest

import gpugrad as gg
from gpugrad.library import numba_kernel


def test_a_numba_kernel_runs_on_the_current_stream():
    """Over a block's border, with strides, behind work that is still queued."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is missing: pip install numba-cuda[cu13]")
    from numba import cuda

    @cuda.jit
    def scale(x, out, a, n):
        i = cuda.grid(1)
        if i < n:
            out[i] = a * x[i]

    kernel = numba_kernel(scale, grid=lambda *args: -(-args[-1] // 64), block=64,
                          mutates_args=["out"])  # fmt: skip
    with gg.cuda.stream(gg.cuda.Stream()):
        x = gg.arange(1.0e6, device="cuda").reshape(-1, 2).exp2().log2()[:, 1]
        out = gg.empty(500_000, device="cuda")
        kernel(x, out, 2.0, 500_000)
        expected = x * 2
    assert out.equal(expected)
