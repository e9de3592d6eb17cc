"""Ops of the user's own around kernels of any kind, under the names of ``torch.library``.

``custom_op`` makes an op of Python functions, one per kind of device; ``fused_op`` makes one of an
expression.  What the functions launch: ``cuda_kernel`` (CUDA C++ text), ``numba_kernel`` (a Numba
CUDA kernel), or anything else.  An elementwise op with one formula needs none of this: see
``gpugrad.elementwise``.
"""

from gpugrad.library.cuda_kernel import CudaKernel as CudaKernel
from gpugrad.library.cuda_kernel import cuda_kernel as cuda_kernel
from gpugrad.library.custom_op import CustomOpDef as CustomOpDef
from gpugrad.library.custom_op import custom_op as custom_op
from gpugrad.library.fused import fused_op as fused_op
from gpugrad.library.names import lookup as lookup
from gpugrad.library.names import register_autocast as register_autocast
from gpugrad.library.names import register_autograd as register_autograd
from gpugrad.library.names import register_fake as register_fake
from gpugrad.library.names import register_kernel as register_kernel
from gpugrad.library.numba_kernel import NumbaKernel as NumbaKernel
from gpugrad.library.numba_kernel import numba_kernel as numba_kernel

__all__ = ["cuda_kernel", "custom_op", "fused_op", "numba_kernel", "register_autocast",
           "register_autograd", "register_fake", "register_kernel"]  # fmt: skip
