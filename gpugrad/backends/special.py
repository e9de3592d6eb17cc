"""Special functions that NumPy lacks, over either array library.

Each takes the array library first and float arrays after it, and returns a new array of the same
dtype (float16, bfloat16, float32 or float64) and shape.  float64 results are good to a few units in
the last place away from zeros; narrower types are computed in float64 and rounded, but for erf,
erfinv and ndtri, which stay in float32.  Call them with floating-point warnings off, as the
backends' ``run`` does.
"""

from gpugrad.backends.special_bessel import i0, i0e, i1, i1e
from gpugrad.backends.special_erf import erf, erfc, erfcx, erfinv, log_ndtr, ndtr, ndtri
from gpugrad.backends.special_gamma import digamma, lgamma, polygamma, zeta

__all__ = [
    "erf", "erfc", "erfcx", "erfinv", "ndtr", "ndtri", "log_ndtr",
    "lgamma", "digamma", "polygamma", "zeta",
    "i0", "i0e", "i1", "i1e",
]  # fmt: skip
