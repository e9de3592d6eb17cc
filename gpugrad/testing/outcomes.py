"""A call's results with its gradients, and when two of those count as the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad import backends, dtypes
from gpugrad.autograd import grad
from gpugrad.autograd.gradcheck import differentiable, flatten
from gpugrad.tensor import Tensor, wrap
from gpugrad.testing.calls import Call
from gpugrad.testing.comparing import assert_close

#: Relative error that a rounding of each dtype may leave after a few operations.
PRECISION = {
    dtypes.float64: 1e-12, dtypes.float32: 5e-5, dtypes.float16: 2e-2, dtypes.bfloat16: 1e-1,
}  # fmt: skip


def with_gradient(call: Call, arrays: Sequence[Any], weights: int = 0) -> list[Any]:
    """Results, then gradients for weights drawn by number."""
    wants = call.record.differentiable
    tensors = call.tensors(grad=wants, arrays=arrays)
    result = call(tensors)
    outs = differentiable(result)
    wanted = [t for t in tensors if t.requires_grad]
    gradients: list[Any] = []
    if outs and wanted:
        starts = [weights_like(o, weights + i) for i, o in enumerate(outs)]
        gradients = list(grad(outs, wanted, starts, allow_unused=True))
    return [*flatten(result), *gradients]


def weights_like(out: Tensor, seed: int) -> Tensor:
    """Gradients to start from: quarters, which every float dtype holds."""
    array = np.random.default_rng(seed).integers(-4, 5, tuple(out.shape)) / 4
    array = np.asarray(array).astype(out.dtype.np)
    return wrap(backends.for_array(out._array).from_numpy(array, out.device))


def ones_like(out: Tensor) -> Tensor:
    """The gradient to start from where its value does not matter."""
    return wrap(backends.for_array(out._array).xp.ones_like(out._array))


def close(a: Any, b: Any, precision: float, check_dtype: bool = True) -> None:
    """Compare two results relative to the largest element; NaN equals NaN."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        assert a == b or (a != a and b != b), f"{a!r} and {b!r} differ"
        return
    if not isinstance(b, Tensor) or not b.dtype.is_floating_point:
        assert_close(a, b, rtol=0, atol=0, equal_nan=True, check_dtype=check_dtype)
        return
    array = np.asarray(b.numpy(force=True), np.float64)
    finite = np.abs(array[np.isfinite(array)])
    scale = float(finite.max()) if finite.size else 0.0
    assert_close(a, b, rtol=precision, atol=precision * max(scale, 1e-3), equal_nan=True,
                 check_dtype=check_dtype)  # fmt: skip
