"""Matrix products of CuPy arrays: what the namespace offers, and what goes where.

float16, bfloat16, float32 and float64 go to cuBLASLt (``multiplier`` says how they lie); integers,
bools and mixed dtypes to CuPy's own loops, and sizes of 0 need no product.

Epilogues, in milliseconds measured on an H200 at GPT-2's MLP (32,768 x 3,072 bfloat16, the product
alone 0.198); "apart" is reckoned, as the product and passes at the copy bandwidth, 0.094 for one:

| epilogue | ms | apart | default |
|---|---|---|---|
| bias | 0.223 | 0.292 | with it |
| bias, tanh-GELU, its input kept | 0.274 | 0.292 | with it |
| derivative of tanh-GELU | 0.274 | 0.338 | with it |
| that, and the bias gradient | 0.82 | 0.385 | apart |
| weight gradient and bias gradient | 0.206 | 0.245 | with it |

Apart is also how it is done where the library refuses an epilogue.  With ``config.autotune`` both
ways are timed once for each shape and the faster is kept, also on disk; a bias apart is added to a
16-bit product that was rounded already.  The two with GELU are for ops that know more than one
layer: an op that sees a product alone has no use for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gpugrad.backends.additions.linalg import added
from gpugrad.backends.nvidia import product_plans as plans
from gpugrad.backends.nvidia.cublaslt import Refused
from gpugrad.backends.nvidia.multiplier import Multiplier
from gpugrad.backends.nvidia.tuning import timed
from gpugrad.config import config
from gpugrad.errors import ShapeError

#: The library's vectors and the epilogue's own matrix must be aligned to so many bytes.
_ALIGNED = 16
_SQRT, _CUBE = math.sqrt(2 / math.pi), 0.044715


class Products(Multiplier):
    """``xp.matmul`` and its relatives for CuPy arrays.

    Args:
        cupy, private: see ``Multiplier``.
        plain: ``matmul`` for what cuBLASLt does not multiply, and for all where it is missing;
            ``sum`` for what is added apart.
    """

    def __init__(self, cupy: Any, private: Callable[[int], Any],
                 plain: Mapping[str, Callable[..., Any]]) -> None:  # fmt: skip
        super().__init__(cupy, private)
        self._plain, self._sum = plain["matmul"], plain["sum"]
        #: Whether an epilogue is used, where that was timed or refused.
        self._choices: dict[Any, bool] = {}

    def functions(self) -> dict[str, Callable[..., Any]]:
        """What the namespace gets, by name."""
        return {
            "matmul": self.matmul, "affine": self.affine, "gelu_affine": self.gelu_affine,
            "gelu_matmul_grad": self.gelu_matmul_grad, "affine_grads": self.affine_grads,
        }  # fmt: skip

    def matmul(self, a: Any, b: Any) -> Any:
        """``a @ b`` as NumPy defines it; 16-bit floats are summed in float32 and rounded once."""
        if not self._takes(a, b):
            return self._plain(a, b)
        x, y, shape = self._matrices(a, b)
        if 0 in shape or not a.shape[-1]:
            return self._cupy.zeros(shape, a.dtype)
        out = self._multiply(x, y)
        return out if out.shape == shape else out.reshape(shape)

    def affine(self, c: Any, a: Any, b: Any, beta: float = 1, alpha: float = 1) -> Any:
        """``beta * c + alpha * (a @ b)``, ``c`` broadcast to the product, rounded once."""
        if not self._takes(a, b) or c.dtype != a.dtype:
            return added(self._plain(a, b), c, beta, alpha)
        x, y, shape = self._matrices(a, b)
        if 0 in shape or not a.shape[-1]:
            return added(self._cupy.zeros(shape, a.dtype), c, beta, alpha)
        if beta == 0:
            return self._multiply(x, y, alpha=alpha).reshape(shape)
        if beta == 1 and self._is_bias(c, y):

            def together() -> Any:
                return self._multiply(x, y, alpha=alpha, epilogue=plans.BIAS, bias=c)

            def apart() -> Any:
                return added(self._multiply(x, y), c, 1, alpha)

            return self._faster("bias", x, y, together, apart).reshape(shape)
        try:
            c = self._cupy.broadcast_to(c, shape)
        except ValueError:
            raise ShapeError(
                f"affine: what is added, {tuple(c.shape)}, does not expand to the product's {shape}"
            ) from None
        c = c[..., None] if b.ndim == 1 else c
        c = c[..., None, :] if a.ndim == 1 else c
        return self._multiply(x, y, c=c, alpha=alpha, beta=beta).reshape(shape)

    def gelu_affine(self, c: Any, a: Any, b: Any) -> tuple[Any, Any]:
        """``z = a @ b + c`` for a bias vector ``c``, and ``gelu(z)`` by tanh: ``(gelu(z), z)``."""

        def apart() -> tuple[Any, Any]:
            z = self.affine(c, a, b)
            return gelu_tanh(self._cupy, z), z

        if not self._takes(a, b) or c.dtype != a.dtype or a.ndim < 2 or b.ndim < 2:
            return apart()
        x, y, shape = self._matrices(a, b)
        if 0 in shape or not a.shape[-1] or not self._is_bias(c, y) or shape[-1] % 8:
            return apart()

        def together() -> Any:
            z = self._cupy.empty(shape, a.dtype)
            return self._multiply(x, y, epilogue=plans.GELU_AUX_BIAS, bias=c, aux=z), z

        both: tuple[Any, Any] = self._faster("gelu", x, y, together, apart)
        return both

    def gelu_matmul_grad(self, z: Any, a: Any, b: Any) -> Any:
        """``(a @ b) * gelu'(z)``, the gradient that goes through ``gelu_affine`` to ``z``."""

        def apart() -> Any:
            return gelu_tanh_grad(self._cupy, self.matmul(a, b), z)

        if not self._takes(a, b) or z.dtype != a.dtype or a.ndim < 2 or b.ndim < 2:
            return apart()
        x, y, shape = self._matrices(a, b)
        fits = z.shape == shape and z.flags.c_contiguous and not z.data.ptr % _ALIGNED
        if 0 in shape or not a.shape[-1] or shape[-1] % 8 or not fits:
            return apart()

        def together() -> Any:
            return self._multiply(x, y, epilogue=plans.DGELU, aux=z)

        return self._faster("gelu_grad", x, y, together, apart)

    def affine_grads(self, g: Any, x: Any) -> tuple[Any, Any]:
        """Gradients of a weight ``(out, in)`` and of its bias ``(out,)``.

        Args:
            g: ``(..., out)``, the gradient of ``x @ weight.T + bias``.
            x: ``(..., in)``.
        """
        n = math.prod(g.shape[:-1])
        flat, other = g.reshape(n, g.shape[-1]), x.reshape(n, x.shape[-1])

        def apart() -> tuple[Any, Any]:
            return self.matmul(flat.T, other), self._sum(flat, axis=0)

        by_rows = flat.strides[1] == g.itemsize and flat.strides[0] >= g.shape[-1] * g.itemsize
        if not self._takes(g, x) or not x.size or min(flat.shape) < 2 or not by_rows:
            return apart()  # a vector does not tell whether it is turned, and it must be

        def together() -> tuple[Any, Any]:
            # The library's B is what lies as out x rows, so that its transpose is read.
            bias = self._cupy.empty(g.shape[-1], g.dtype)
            return self._multiply(flat.T, other, epilogue=plans.BGRADB, bias=bias), bias

        both: tuple[Any, Any] = self._faster("grads", flat, other, together, apart)
        return both

    def _is_bias(self, c: Any, b: Any) -> bool:
        """Whether ``c`` is what an epilogue adds: an aligned vector, an element per column."""
        whole = c.ndim == 1 and c.shape[0] == b.shape[-1]
        return whole and c.strides[0] == c.itemsize and not c.data.ptr % _ALIGNED

    # ---- with an epilogue, or apart --------------------------------------------------------

    def _faster(self, name: str, a: Any, b: Any, together: Callable[[], Any],
                apart: Callable[[], Any]) -> Any:  # fmt: skip
        """What one of two ways gives: the first, unless it was refused, or timed and slower."""
        known = self._choices.get(self._key(name, a, b)) if self._choices else None
        if known is None and config.autotune and not self._capturing():
            key = self._key(name, a, b)
            known = self._choices[key] = self._timed(key, together, apart)
        if known is False:
            return apart()
        try:
            return together()
        except Refused:
            self._choices[self._key(name, a, b)] = False
            return apart()

    def _capturing(self) -> bool:
        return bool(self._cupy.cuda.get_current_stream().is_capturing())

    def _key(self, name: str, a: Any, b: Any) -> tuple[Any, ...]:
        compute = plans.compute_type(plans.TYPES[a.dtype])
        return (self._device(), name, a.shape, a.strides, b.shape, b.strides, str(a.dtype), compute)

    def _timed(self, key: tuple[Any, ...], together: Callable[[], Any],
               apart: Callable[[], Any]) -> bool:  # fmt: skip
        """Whether the first of two ways is the faster, timed unless that is kept on disk."""
        kept, text = self._library().kept, repr(key[1:])
        answer = kept.get(text)
        if answer not in ("together", "apart"):
            try:
                best = timed(self._cupy, together)
            except Refused:
                best = math.inf
            answer = "together" if best <= timed(self._cupy, apart) else "apart"
            kept.put(text, answer)
        return answer == "together"


def gelu_tanh(lib: Any, z: Any) -> Any:
    """``0.5 z (1 + tanh(sqrt(2/pi) (z + 0.044715 z**3)))``, 16-bit floats by way of float32."""
    x = z.astype(np.float32) if z.itemsize == 2 else z
    return (0.5 * x * (1 + lib.tanh(_SQRT * (x + _CUBE * x * x * x)))).astype(z.dtype, copy=False)


def gelu_tanh_grad(lib: Any, g: Any, z: Any) -> Any:
    """``g`` times the derivative of ``gelu_tanh`` at ``z``."""
    x = z.astype(np.float32) if z.itemsize == 2 else z
    t = lib.tanh(_SQRT * (x + _CUBE * x * x * x))
    slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * _SQRT * (1 + 3 * _CUBE * x * x)
    return (g * slope).astype(z.dtype, copy=False)
