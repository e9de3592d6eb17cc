"""Softmax and its relatives: exponentials of what is left after taking the largest off.

Nothing here overflows on finite input.  A row of ``-inf`` only has the softmax NaN and the
logsumexp ``-inf``, the latter with gradient 0.
"""

from __future__ import annotations

import warnings
from typing import Any

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.errors import DTypeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, Dim, Dims, function, op
from gpugrad.ops.reduction import extent, kept, reduced
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec

_FN = "nn.functional"


def _same(input: Spec, *, dim: int, dtype: Any) -> Spec:
    _float(input.dtype, dtype)
    return Spec(input.shape, dtype or input.dtype)


def _float(own: DType, dtype: DType | None) -> None:
    if not (dtype or own).is_floating_point:
        raise DTypeError(
            f"softmax: takes floating dtypes, got {(dtype or own).name}; pass dtype=float32"
        )


def _below_largest(xp: Any, input: Any, dim: int, dtype: Any) -> Any:
    """A fresh array: the input in the dtype to compute in, minus the largest along ``dim``."""
    _float(dtypes.from_numpy(input.dtype), dtype)
    if dtype is not None:
        input = xp.astype(input, dtype)
    if dtype in dtypes.HALVES:
        input = xp.astype(input, dtypes.float32)
    if 0 in input.shape:
        return xp.zeros_like(input)
    return input - xp.max(input, axis=dim, keepdims=True)


_SAMPLES = [
    Sample(A((3, 4)), 1), Sample(A((3, 4), -90, 90), 0), Sample(A((2, 3, 5)), -2), Sample(A(()), 0),
    Sample(A((0, 3)), 0), Sample(A((3, 0)), 0), Sample(A((5,)), 0, dtype=dtypes.float64),
]  # fmt: skip


@op(result=_same, samples=_SAMPLES)
def softmax(xp, input: Array, *, dim: Dim, dtype: DType | None = None) -> Array:
    """``exp(x) / sum(exp(x))`` along ``dim``; ``dtype`` converts the input first."""
    y = _below_largest(xp, input, dim, dtype)
    y = xp.exp(y, out=y)
    y /= xp.sum(y, dim, True)
    return y if dtype is None else xp.astype(y, dtype)


@softmax.vjp
def _(xp, g, out, dim):
    weighed = g * out
    weighed -= out * xp.sum(weighed, dim, True)
    return weighed


@op(result=_same, samples=_SAMPLES)
def log_softmax(xp, input: Array, *, dim: Dim, dtype: DType | None = None) -> Array:
    """Logarithm of ``softmax``, computed without it so that small values keep their digits."""
    y = _below_largest(xp, input, dim, dtype)
    y -= xp.log(xp.sum(xp.exp(y), dim, True))
    return y if dtype is None else xp.astype(y, dtype)


@log_softmax.vjp
def _(xp, g, out, dim):
    total = xp.exp(out) * -xp.sum(g, dim, True)
    total += g
    return total


def _summed(input: Spec, *, dim: Any, keepdim: bool) -> Spec:
    own = input.dtype if input.dtype.is_floating_point else dtypes.as_dtype(float)
    return Spec(reduced(input.shape, dim, keepdim), own)


@op(promotion="float", aliases=("special.logsumexp",), result=_summed, samples=[
    Sample(A((3, 4)), 1), Sample(A((3, 4), -90, 90), (0, 1)), Sample(A((2, 3, 5)), -2, True),
    Sample(A(()), 0), Sample(A((0, 3)), 0), Sample(A((3, 4), kind="int"), 0),
])  # fmt: skip
def logsumexp(xp, input: Array, *, dim: Dims, keepdim: bool = False) -> Array:
    """Logarithm of the sum of exponentials over ``dim``."""
    if extent(input.shape, dim) == 0:
        return xp.full(reduced(input.shape, dim, keepdim), -xp.inf, dtype=input.dtype)
    largest = xp.max(input, axis=dim, keepdims=True)
    largest = xp.where(xp.isfinite(largest), largest, 0)
    y = xp.asarray(input - largest)
    y = xp.exp(y, out=y)
    total = xp.log(xp.sum(y, dim, True)) + largest
    return xp.reshape(total, reduced(input.shape, dim, keepdim))


@logsumexp.vjp
def _(xp, g, input, out, dim):
    shape = kept(input.shape, dim)
    finite = xp.where(xp.equal(out, float("-inf")), 0.0, out)
    return xp.reshape(g, shape) * xp.exp(input - xp.reshape(finite, shape))


# ---- as torch.nn.functional spells them --------------------------------------------------------


def _implicit(name: str, input: Any, dim: int | None) -> int:
    """PyTorch's old choice where ``dim`` is left out: 0 for 0, 1 or 3 dimensions, else 1."""
    if dim is not None:
        return dim
    warnings.warn(f"{name}: the implicit choice of dim is deprecated; pass dim=", stacklevel=4)
    return 0 if input.ndim in (0, 1, 3) else 1


_ROWS = [Sample(A((3, 4)), 1), Sample(A((2, 3, 5)), dim=0), Sample(A((5,)), -1, dtype="float64")]


@function(name="softmax", home=_FN, method=False, samples=_ROWS)
def functional_softmax(input: Any, dim: int | None = None, _stacklevel: int = 3,
                       dtype: Any = None) -> Any:  # fmt: skip
    """``exp(x) / sum(exp(x))`` along ``dim``."""
    return F.softmax(input, _implicit("softmax", input, dim), dtype=dtype)


@function(name="log_softmax", home=_FN, method=False, samples=_ROWS)
def functional_log_softmax(input: Any, dim: int | None = None, _stacklevel: int = 3,
                           dtype: Any = None) -> Any:  # fmt: skip
    """Logarithm of ``softmax`` along ``dim``."""
    return F.log_softmax(input, _implicit("log_softmax", input, dim), dtype=dtype)


@function(home=_FN, method=False, samples=_ROWS)
def softmin(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """Softmax of the negated input along ``dim``."""
    return F.softmax(-input, _implicit("softmin", input, dim), dtype=dtype)
