"""The cast from one dtype to another, which promotion and ``Tensor.to`` stand on."""

from __future__ import annotations

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.op import Array, elementwise
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec


@elementwise(
    c="({T})({0})", xp_name="astype", promotion=None, half="native", method=False, torch="",
    order=("input", "dtype"), result=lambda input, *, dtype: Spec(input.shape, dtype),
    samples=[
        Sample(A((3, 4), 0.0, 9.0), dtypes.float64), Sample(A((), 0.0, 9.0), dtypes.float32),
        Sample(A((0, 3), 0.0, 9.0), dtypes.float64), Sample(A((5,), 0.0, 9.0), dtypes.int32),
        Sample(A((5,), 0.0, 2.0), dtypes.bool_),
    ],
)  # fmt: skip
def to(xp, input: Array, *, dtype: DType) -> Array:
    """Every element as ``dtype``, in fresh memory.

    Floats become integers by dropping the fraction, anything but zero becomes True.
    """
    out = xp.astype(input, dtype)
    return xp.copy(input) if out is input else out


@to.vjp
def _(xp, g):
    return g  # the tape casts it back
